"""Measure updates, rollbacks, quiet nights and commands beside what people run instead; a table ends it.

As root the sites belong to an ordinary user, for whom releases are clones by hard links. The name of a part measures it
alone; `sites` takes the number of sites, and makes a user, as root. `bundles` alone needs the network, and `rollbacks`
Debian's capistrano and nix-bin.
"""

import argparse
import contextlib
import functools
import hashlib
import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench_bundles import STARTS, make_program, measure_bundles, megabytes
from bench_rows import print_rows, report, time_acts, watch_memory
from figures import ONE, QUIET, STATUS, count_commands, print_counts

from tests.support.commands import (
    Finished,
    Identity,
    clean_environment,
    copy_for_every_user,
    named_users,
    reachable_python,
    run,
    started,
    uv_executable,
)
from tests.support.sites import SampleSite, SiteOptions
from tests.support.smtp import mail_server, read_mail

RELEASES = 10
CHANGED = 3  # packages of each release but the first
PACKAGES = [f"package{number:03}" for number in range(60)]
WHOLE = 3  # updates of all of them
CODE_FILES, DATA_FILES = 24, 29  # of a package
IMPORTED = 10  # of the code files: what the site's tests import
SMALL = [f"small{number:02}" for number in range(30)]  # packages of one module, for the quiet nights
NIGHTS, ROLLBACKS, COMMANDS = 11, 7, 21  # rounds
SEARCHED, CULPRITS, LONG = 22, ("small06", "small15"), 20  # packages, those that break the tests, seconds of tests
LONG_TESTS = f"""\
import runpy, time
time.sleep({LONG})
runpy.run_path("run_tests.py", run_name="__main__")
"""
HANGS, FLOODS = "kill -STOP $PPID; sleep 600", "head -c 1000000000 /dev/zero >/proc/$PPID/fd/1"  # in place of uv
ORDINARY = 61234  # a number that no user has


def modules(name: str, version: str) -> dict[str, str]:
    """Return the files of a package, 1.2 MB with their byte code; each differs in each version."""
    imported = "".join(f"from .part{number % 5} import module{number}\n" for number in range(IMPORTED))
    files = {f"{name}/__init__.py": f'__version__ = "{version}"\n{imported}'}
    for number in range(CODE_FILES):
        digests = [hashlib.sha256(f"{name} {version} {number} {line}".encode()).hexdigest() for line in range(80)]
        functions = (f'def function{i}(value):\n    return value, "{digest}"\n' for i, digest in enumerate(digests))
        files[f"{name}/part{number % 5}/module{number}.py"] = "\n\n".join(functions)
    for number in range(DATA_FILES):
        seed = hashlib.sha256(f"{name} {version} data {number}".encode()).hexdigest()
        files[f"{name}/data/table{number}.txt"] = "".join(f"{seed[i % 50 :]} {i}\n" for i in range(330))
    return files


def make_site(place: Path, user: Identity | None, options: SiteOptions, *, is_small: bool) -> SampleSite:
    """Make a site, with its packages on an index beside it; small packages have one module."""
    site = SampleSite(place, uv_cache=place / "uv-cache", user=user)
    site.index = place / "index"  # too large to be copied into a shadow, so it lies elsewhere
    site.index.mkdir(parents=True)
    if user:
        user.own(place)
    for name in ("localtools", "prodtools"):
        site.publish(name, "1.0")
    for name, version in options.packages.items():
        site.publish(name, version, modules=None if is_small else modules(name, version))
    for path, text in options.checkout().items():
        site.edit(path, text.replace("../index", str(site.index)))
    site.write_dotenv()
    site.uv("lock", "--quiet")
    site.git("init", "--quiet", "--bare", site.remote)
    for words in ("init --quiet", "add --all", "commit --quiet --message=Begin", f"remote add origin {site.remote}"):
        site.git(*words.split())
    site.git("push", "--quiet", "--set-upstream", "origin", "main")
    return site


def run_bare_steps(bare: SampleSite) -> None:
    """Do what an administrator would do with uv alone: lock, a new venv with byte code, the tests."""
    venv = bare.base / "new-venv"
    bare.env["UV_PROJECT_ENVIRONMENT"] = str(venv)
    bare.uv("lock", "--quiet", "--upgrade")
    bare.uv("venv", "--quiet", venv)
    bare.uv("sync", "--quiet", "--frozen", "--compile-bytecode", "--group", "local")
    bare.run(venv / "bin/python", "run_tests.py")


def seconds(act: Callable[[], object]) -> float:
    """Return how long a function takes, once nothing waits for the disk any more."""
    os.sync()
    began = time.monotonic()
    act()
    return time.monotonic() - began


def publish_large(site: SampleSite, names: Sequence[str], version: str) -> None:
    """Offer a new version of large packages."""
    for name in names:
        site.publish(name, version, modules=modules(name, version))


def measure_updates(place: Path, user: Identity | None) -> None:
    """Measure the disk of ten releases, and updates of few and of all packages beside the bare steps."""
    options = SiteOptions(packages=dict.fromkeys(PACKAGES, "1.0"), settings={"keep": RELEASES + 5})
    site = make_site(place, user, options, is_small=False)
    releases = site.state / "releases"
    site.releaser("init", check=0)
    one = megabytes(releases)
    print(f"one release: {one:.0f} MB, {len(PACKAGES)} packages", flush=True)
    bare = site.second_host()
    run_bare_steps(bare)  # fills uv's cache, as releaser's is now
    answers = list[dict[str, Any]]()

    def measure(what: str, rounds: Sequence[tuple[Sequence[str], str]], aim: float) -> None:
        times, processor = list[float](), list[float]()
        for number, (names, version) in enumerate(rounds):
            publish_large(site, names, version)
            shutil.rmtree(bare.base / "new-venv")
            update, steps = time_acts(number, lambda: answers.append(site.json("update")), lambda: run_bare_steps(bare))
            times.append(update.seconds / steps.seconds)
            processor.append(update.processor / steps.processor)
            parts = ", ".join(f"{step['step']} {step['seconds']:.1f}" for step in answers[-1]["steps"])
            print(f"{what}: {update} ({parts}); bare steps {steps}", flush=True)
        report(f"{what}: time beside uv's bare steps and the tests", times, aim)
        report("the same: processor time", processor, aim)

    few = [(PACKAGES[CHANGED * number : CHANGED * (number + 1)], "2.0") for number in range(1, RELEASES)]
    measure(f"an update of {CHANGED} of {len(PACKAGES)} packages", few, 0.35)
    count = len(site.json("list"))
    if count != RELEASES:
        sys.exit(f"There are {count} releases, not {RELEASES}.")
    report(f"disk of {RELEASES} releases beside one, {CHANGED} packages new in each", [megabytes(releases) / one], 1.6)
    measure("an update of all packages", [(PACKAGES, f"{number}.0") for number in range(3, 3 + WHOLE)], 0.8)

    publish_large(site, PACKAGES, "20.0")
    own, most = watch_memory(lambda: site.starting("update"))
    shutil.rmtree(bare.base / "new-venv")
    bare.uv("lock", "--quiet", "--upgrade")
    uv: list[str | Path] = [*(user.prefix if user else ()), user.programs / "uv" if user else uv_executable()]
    sync: list[str | Path] = [*uv, "sync", "--quiet", "--frozen", "--compile-bytecode", "--group", "local"]
    _, largest = watch_memory(lambda: started(sync, cwd=bare.path, env=bare.env))
    report("the same: memory of its largest program beside that of `uv sync`", [most / largest], 1.1)
    report("the same: memory of releaser itself in MB", [own], 50)


CAPISTRANO = {
    "Capfile": """\
require "capistrano/setup"
require "capistrano/deploy"
require "capistrano/scm/git"
install_plugin Capistrano::SCM::Git
""",
    "config/deploy.rb": """\
set :application, "shop"
set :branch, "main"
set :format, :simpletext
set :log_level, :error
set :repo_url, ENV["REMOTE"]
set :deploy_to, ENV["TARGET"]
namespace :deploy do
  task(:restart) { on(roles(:all)) { execute :touch, release_path.join("restart.txt") } }
  after :publishing, :restart
end
""",
    "config/deploy/production.rb": "role :app, :local\n",
}


def make_capistrano(site: SampleSite) -> Path:
    """Return a directory of Capistrano, for a host that needs no ssh, with two releases of the site's code alone."""
    place = site.base / "capistrano"
    for name, text in CAPISTRANO.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(text)
    if site.user:
        site.user.own(place)
    site.env |= {"REMOTE": str(site.remote), "TARGET": str(place / "target")}
    site.run("cap", "production", "deploy", cwd=place)
    return place


def make_profile(site: SampleSite) -> Path:
    """Return a profile of Nix with two generations, in a store of its own."""
    place = site.base / "nix"
    for name in ("conf", "one", "two"):
        (place / name).mkdir(parents=True)
        (place / name / "nix.conf").write_text("build-users-group =\n")
    if site.user:
        site.user.own(place)
    site.env["USER"] = "shop"  # the number of the user has no name
    for name in ("store", "state", "log", "conf"):
        site.env[f"NIX_{name.upper()}_DIR"] = str(place / name)
    for name in ("one", "two"):
        stored = site.run("nix-store", "--add", place / name).stdout.strip()
        site.run("nix-env", "--profile", place / "profile", "--set", stored)
    return place / "profile"


def measure_rollbacks(place: Path, user: Identity | None) -> None:
    """Measure the rollback of an update of all packages beside uv's way, Capistrano's and Nix's."""
    for program, package in (("cap", "capistrano"), ("nix-env", "nix-bin")):
        if shutil.which(program) is None:
            print(f"No rollback is measured without Debian's {package}.")
            return
    site = make_site(place, user, SiteOptions(packages=dict.fromkeys(PACKAGES, "1.0")), is_small=False)
    site.releaser("init", check=0)
    bare = site.second_host()
    bare.make_venv()
    publish_large(site, PACKAGES, "2.0")
    site.releaser("update", check=0)
    bare.git("pull", "--quiet")
    sync = ["sync", "--quiet", "--frozen", "--compile-bytecode", "--group", "local"]
    bare.uv(*sync)
    releases = [entry["id"] for entry in site.json("list")]
    locks = [site.git("rev-parse", revision) for revision in ("HEAD", "HEAD~1")]
    capistrano, profile = make_capistrano(site), make_profile(site)

    def restore_lock(number: int) -> None:
        bare.git("checkout", "--quiet", locks[number % 2], "--", "uv.lock")
        bare.uv(*sync)

    ratios: dict[str, list[float]] = {"a lock restored and `uv sync`": [], "Capistrano's": [], "`nix-env`'s": []}
    for number in range(1, ROLLBACKS + 1):
        site.run("cap", "production", "deploy", cwd=capistrano)
        site.run("nix-env", "--profile", profile, "--switch-generation", "2")
        own, *others = time_acts(
            number,
            functools.partial(site.releaser, "rollback", releases[number % 2], check=0),
            functools.partial(restore_lock, number),
            functools.partial(site.run, "cap", "production", "deploy:rollback", cwd=capistrano),
            functools.partial(site.run, "nix-env", "--profile", profile, "--rollback"),
        )
        print(f"rollback {number}: {own}; {'; '.join(map(str, others))}", flush=True)
        for values, other in zip(ratios.values(), others, strict=True):
            values.append(own.processor / other.processor)
    for (name, values), aim in zip(ratios.items(), (0.1, 1, None), strict=True):
        report(f"a rollback: processor time beside {name}", values, aim)


def run_quietly(act: Callable[[], Finished]) -> None:
    """Run a program that has to have nothing to say."""
    finished = act()
    if finished.stdout or finished.stderr:
        sys.exit(f"This should be quiet.\n{finished}")


def measure_quiet_nights(place: Path, user: Identity | None) -> None:
    """Measure a quiet night beside the bare steps, and count what commands start."""
    site = make_site(place, user, SiteOptions(packages=dict.fromkeys(SMALL, "1.0")), is_small=True)
    site.releaser("init", check=0)
    bare = site.second_host()
    bare.make_venv()
    steps = ("git fetch", "uv lock --upgrade", "uv sync --dry-run --frozen --group local")
    script = " && ".join(f"{step} --quiet" for step in steps)
    acts = [lambda: site.releaser("update", check=0), lambda: bare.run("sh", "-c", script)]
    timed = [functools.partial(run_quietly, act) for act in acts]
    time_acts(0, *timed)  # fills the caches
    ratios, more = list[float](), list[float]()
    for number in range(1, NIGHTS + 1):
        night, alone = time_acts(number, *timed)
        print(f"quiet night {number}: {night}; the bare steps {alone}", flush=True)
        ratios.append(night.processor / alone.processor)
        more.append(night.processor - alone.processor)
    print(f"the bare steps: {', '.join(steps)}")
    report(f"a quiet night of {len(SMALL)} packages: processor time beside bare steps", ratios)
    report("the same: seconds of a processor more", more, 0.15)
    print_counts(count_commands(site, SMALL[0], QUIET, ONE, STATUS))


def measure_commands(place: Path, user: Identity | None) -> None:
    """Measure `list` and `status` of five releases beside what an administrator would run instead."""
    site = make_site(place, user, SiteOptions(packages=dict.fromkeys(SMALL, "1.0")), is_small=True)
    site.releaser("init", check=0)
    for name in SMALL[:4]:
        site.publish(name, "2.0")
        site.releaser("update", check=0)
    instead = "git status && uv pip list --python .venv"
    rows = dict[str, list[float]]()
    for number in range(COMMANDS):
        start, listed, looked, status = time_acts(
            number,
            lambda: site.run(reachable_python(), "-c", "pass"),
            lambda: site.releaser("list", check=0),
            lambda: site.run("sh", "-c", instead),
            lambda: site.releaser("status", check=0),
        )
        for name, ratio in {
            "`list`: processor time beside `python -c pass`": listed.processor / start.processor,
            f"`status`: processor time beside `{instead}`": status.processor / looked.processor,
        }.items():
            rows.setdefault(name, []).append(ratio)
    for (name, values), aim in zip(rows.items(), (6, 2), strict=True):
        report(name, values, aim)


def update_at_length(site: SampleSite, answers: list[dict[str, Any]]) -> None:
    """Update without a limit of time."""
    with site.starting("update", "--json") as process:
        answers.append(json.loads(process.communicate()[0]))


def measure_search(place: Path, user: Identity | None) -> None:
    """Print how many test runs find two culprits among 22, and the ratio of the times with two jobs and with one."""
    searches, updates, runs = [], [], list[int]()
    for jobs in (1, 2):
        settings = {"test_command": "python long_tests.py", "test_jobs": jobs, "culprits": 16}
        packages = dict.fromkeys(SMALL[:SEARCHED], "1.0")
        options = SiteOptions(packages=packages, settings=settings, files={"long_tests.py": LONG_TESTS})
        site = make_site(place / str(jobs), user, options, is_small=True)
        site.write_dotenv({"RELEASER_CULPRITS": None})  # which other measurements do without
        site.releaser("init", check=0)
        for name in packages:
            site.publish(name, "2.0", broken=name in CULPRITS)
        before, answers = len(site.test_runs()), list[dict[str, Any]]()
        updates.append(seconds(functools.partial(update_at_length, site, answers)))
        steps = [step["seconds"] for step in answers[0]["steps"] if step["step"] == "test"]
        searches.append(sum(steps[1:]))
        runs.append(len(site.test_runs()) - before - 2)  # the first, and that of the live release
        found = ", ".join(answers[0]["culprits"])
        print(f"test_jobs = {jobs}: {found} after {runs[-1]} runs; search {searches[-1]:.0f} s", flush=True)
    report("test runs of this search", runs[:1], 18)
    for name, (alone, both) in {"search": searches, "whole update": updates}.items():
        report(f"{name} for {len(CULPRITS)} culprits among {SEARCHED}: time with two jobs beside one", [both / alone])


def measure_starter(place: Path, user: Identity | None) -> None:
    """Measure a start with nothing new by the starter beside its Python alone."""
    program = make_program(place)
    live = program.place / "project/.venv/bin/python"
    bare = functools.partial(run, [live, "-c", "pass"], cwd=place, env=program.env)
    timed = [functools.partial(run_quietly, act) for act in (program.start, bare)]
    pairs = [time_acts(number, *timed) for number in range(STARTS)]
    ratios = [start.processor / alone.processor for start, alone in pairs]
    report("a start with nothing new by the starter: processor time beside `python -c pass`", ratios, 1.6)


def run_each(sites: Sequence[SampleSite], command: str) -> float:
    """Run a command for one site after the other; return the processor time."""
    before = sum(os.times()[2:4])
    for site in sites:
        site.releaser(command, check=0)
    return sum(os.times()[2:4]) - before


def run_all(place: Path, programs: Path, *words: str) -> tuple[Finished, float, int]:
    """Run a command for all sites; return its end, its processor time, and the most memory of its own processes, in kB.

    These are the parent and its workers, but not what runs for a site.
    """
    env = clean_environment(place / "home", place / "cache", programs) | {"XDG_STATE_HOME": str(place / "state")}
    before, most, out = sum(os.times()[2:4]), 0, place / "out"
    with out.open("w") as file, (place / "err").open("w") as errors:
        line: list[str | Path] = [programs / "releaser", words[0], "--all", "--sites", place / "sites.toml", *words[1:]]
        process = subprocess.Popen(line, env=env, cwd=place, stdout=file, stderr=errors)
        while process.poll() is None:
            for pid in (process.pid, *_children(process.pid)):
                with contextlib.suppress(OSError, IndexError):
                    status = Path(f"/proc/{pid}/status").read_text()
                    most = max(most, int(status.partition("VmHWM:")[2].split()[0]))
            time.sleep(0.05)
    finished = Finished(returncode=process.returncode, stdout=out.read_text(), stderr=(place / "err").read_text())
    return finished, sum(os.times()[2:4]) - before, most


def _children(pid: int) -> list[str]:
    """Return the children of a process that run its own program."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [child for child in children if b"--all" in Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")]
    except OSError:
        return []


def measure_sites(place: Path, user: Identity | None, number: int) -> None:
    """Print what quiet nights of many sites cost, beside one after the other; then with sites that misbehave."""
    if user is None:
        sys.exit("Only root can run sites as their owners.")
    with named_users(user.programs, "bench") as (owner,), mail_server() as server:
        first = make_site(place / "first", owner, SiteOptions(packages=dict.fromkeys(SMALL, "1.0")), is_small=True)
        first.releaser("init", check=0)
        first.releaser("update", check=0)
        sites = [first.copy(place / f"site{count:03}") for count in range(number)]
        owner.own(*(site.base for site in sites))
        name = pwd.getpwuid(owner.user).pw_name
        tables = [f"[[site]]\npath = '{site.path}'\nowner = '{name}'\n" for site in sites]
        mail = f"limit = '1m'\n[mail]\nsmtp_host = '{server.host}'\nupdater_admins = 'ops@example.org'\n"
        (place / "sites.toml").write_text(mail + "".join(tables))
        for command in ("update", "status"):
            run_each(sites, command)  # fills the caches
            ratios, walls = list[float](), list[float]()
            for _ in range(max(1, 60 // number)):
                began = time.monotonic()
                alone = run_each(sites, command)
                alone_wall, began = time.monotonic() - began, time.monotonic()
                _, together, memory = run_all(place, user.programs, command)
                wall, began = time.monotonic() - began, time.monotonic()
                run_all(place, user.programs, command, "--jobs", "2")
                two = time.monotonic() - began
                print(
                    f"{command}: {alone:.1f} s of processor, --all {together:.1f} s, {memory / 1024:.0f} MiB;", end=" "
                )
                print(f"{alone_wall:.1f} s of time, --all {wall:.1f} s, --jobs 2 {two:.1f} s", flush=True)
                ratios.append(together / alone)
                walls.append(two / alone_wall)
            what = f"`{command} --all` of {number} sites"
            report(f"{what}: processor time beside single ones", ratios, 1.1)
            report(f"{what}: time of `--jobs 2` beside single ones", walls, 0.7 if command == "update" else 0.65)
        for site, text in zip(sites, (HANGS, HANGS, FLOODS), strict=False):
            program = site.outer / "program"
            program.write_text(f"#!/bin/sh\n{text}\n")
            program.chmod(0o755)
            site.write_dotenv(uv=str(program))
            owner.own(site.outer)
        # A pipe of root's is open to root alone, so the one that floods is root's own.
        subprocess.run(["chown", "-R", "root:root", sites[2].base], check=True)
        tables[2] = tables[2].replace(name, "root")
        (place / "sites.toml").write_text(mail + "".join(tables))
        (sites[3].path / "pyproject.toml").unlink()
        began = time.monotonic()
        finished, processor, memory = run_all(place, user.programs, "update", "--jobs", "2")
        print(f"\ntwo hang, one prints 1 GB, one is broken: exit {finished.returncode}, ", end="")
        print(f"{time.monotonic() - began:.0f} s, {processor:.1f} s of processor")
        report("the same: memory of `--all` in MiB, while a site prints 1 GB", [memory / 1024], 60)
        print("\n".join(finished.stdout.splitlines()[:8]), finished.stderr, sep="\n")
        for _, message, _ in server.mails:
            print(message["Subject"], read_mail(message), sep="\n")


SECTIONS: dict[str, Callable[[Path, Identity | None], None]] = {
    "updates": measure_updates,
    "rollbacks": measure_rollbacks,
    "quiet": measure_quiet_nights,
    "commands": measure_commands,
    "search": measure_search,
    "starter": measure_starter,
    "bundles": measure_bundles,
}


def main() -> None:
    """Measure in a temporary directory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("section", nargs="?", choices=[*SECTIONS, "sites"], help="measure this alone")
    parser.add_argument("number", nargs="?", type=int, default=20, help="how many sites")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="releaser-bench-", ignore_cleanup_errors=True) as directory:
        place, user = Path(directory), None
        place.chmod(0o755)
        if os.geteuid() == 0:
            copy_for_every_user(place / "programs")
            # The user cannot write byte code there, and would compile everything in each run.
            subprocess.run([reachable_python(), "-m", "compileall", "-q", place / "programs/lib"], check=True)
            user = Identity(user=ORDINARY, group=ORDINARY, programs=place / "programs/bin")
        sections = SECTIONS | {"sites": functools.partial(measure_sites, number=options.number)}
        chosen = [options.section] if options.section else [name for name in sections if user or name != "sites"]
        try:
            for section in chosen:
                sections[section](place / section, user)
        finally:
            print_rows()


if __name__ == "__main__":
    main()
