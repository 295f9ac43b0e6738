"""Measure ten releases on disk, an update, a quiet night, a search for culprits, and a start; needs no network.

As root the sites belong to an ordinary user, for whom releases are clones by hard links. Say `updates`, `quiet`,
`search`, `starter` or `sites` for a part of it; `sites` takes the number of sites, and makes a user, as root.
`sites` and `bundles`, which needs the network, are measured by their names alone.
"""

import argparse
import contextlib
import functools
import hashlib
import json
import os
import pwd
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench_bundles import STARTS, make_program, measure_bundles, megabytes
from figures import ONE, QUIET, STATUS, count_commands, print_counts

from tests.support.commands import (
    Finished,
    Identity,
    clean_environment,
    copy_for_every_user,
    named_users,
    reachable_python,
    run,
)
from tests.support.sites import SampleSite, SiteOptions
from tests.support.smtp import mail_server, read_mail

RELEASES = 10
CHANGED = 3  # packages of each release but the first
PACKAGES = [f"package{number:03}" for number in range(150)]
CODE_FILES, DATA_FILES = 24, 29  # of a package
IMPORTED = 10  # of the code files: what the site's tests import
SMALL = [f"small{number:02}" for number in range(30)]  # packages of one module, for the quiet nights
NIGHTS = 11
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
    """Do what an administrator would do with uv alone: lock, a new venv, sync, the tests."""
    venv = bare.base / "new-venv"
    bare.env["UV_PROJECT_ENVIRONMENT"] = str(venv)
    bare.uv("lock", "--quiet", "--upgrade")
    bare.uv("venv", "--quiet", venv)
    bare.uv("sync", "--quiet", "--frozen", "--group", "local")
    bare.run(venv / "bin/python", "run_tests.py")


def seconds(act: Callable[[], object]) -> float:
    """Return how long a function takes, once nothing waits for the disk any more."""
    os.sync()
    began = time.monotonic()
    act()
    return time.monotonic() - began


def measure_updates(place: Path, user: Identity | None) -> None:
    """Print the disk of ten releases, and the time of an update beside that of the bare steps."""
    options = SiteOptions(packages=dict.fromkeys(PACKAGES, "1.0"), settings={"keep": RELEASES + 5})
    site = make_site(place, user, options, is_small=False)
    releases = site.state / "releases"
    site.releaser("init", check=0)
    one = megabytes(releases)
    print(f"one release: {one:.0f} MB, {len(PACKAGES)} packages", flush=True)
    bare = site.second_host()
    run_bare_steps(bare)  # fills uv's cache, as releaser's is now
    pairs, answers = [], list[dict[str, Any]]()
    for number in range(1, RELEASES):
        for name in PACKAGES[CHANGED * number : CHANGED * (number + 1)]:
            site.publish(name, "2.0", modules=modules(name, "2.0"))
        shutil.rmtree(bare.base / "new-venv")
        acts = [lambda: run_bare_steps(bare), lambda: answers.append(site.json("update"))]
        if number % 2:
            steps, update = (seconds(act) for act in acts)
        else:
            update, steps = (seconds(act) for act in reversed(acts))
        pairs.append(update / steps)
        parts = ", ".join(f"{step['step']} {step['seconds']:.1f}" for step in answers[-1]["steps"])
        print(f"update {number}: {update:.1f} s ({parts}); uv's bare steps and the tests {steps:.1f} s", flush=True)
    count = len(site.json("list"))
    if count != RELEASES:
        sys.exit(f"There are {count} releases, not {RELEASES}.")
    total = megabytes(releases)
    print(f"disk of {RELEASES} releases, {CHANGED} packages changed in each: {total:.0f} MB, {total / one:.2f} of one")
    print(
        f"update of {CHANGED} packages beside uv's bare steps: {statistics.median(pairs):.2f} (median of {len(pairs)})"
    )


def processor_seconds(act: Callable[[], Finished]) -> float:
    """Return the processor time of a program, and of those that it starts; it must have nothing to say."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    finished = act()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if finished.stdout or finished.stderr:
        sys.exit(f"This should be quiet.\n{finished}")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure_quiet_nights(place: Path, user: Identity | None) -> None:
    """Print the processor time of a quiet night beside that of the bare steps, and what commands start."""
    site = make_site(place, user, SiteOptions(packages=dict.fromkeys(SMALL, "1.0")), is_small=True)
    site.releaser("init", check=0)
    bare = site.second_host()
    bare.make_venv()
    steps = ("git fetch", "uv lock --upgrade", "uv sync --dry-run --frozen --group local")
    script = " && ".join(f"{step} --quiet" for step in steps)
    acts = [lambda: bare.run("sh", "-c", script), lambda: site.releaser("update", check=0)]
    for act in acts:
        processor_seconds(act)  # fills the caches
    pairs = []
    for number in range(1, NIGHTS + 1):
        if number % 2:
            alone, night = (processor_seconds(act) for act in acts)
        else:
            night, alone = (processor_seconds(act) for act in reversed(acts))
        pairs.append(night / alone)
        print(f"quiet night {number}: {night:.3f} s of a processor; the bare steps {alone:.3f} s", flush=True)
    ratio = statistics.median(pairs)
    print(f"quiet night of {len(SMALL)} packages beside {', '.join(steps)}: {ratio:.2f} (median of {len(pairs)})")
    print_counts(count_commands(site, SMALL[0], QUIET, ONE, STATUS))


def update_at_length(site: SampleSite, answers: list[dict[str, Any]]) -> None:
    """Update without a limit of time."""
    with site.starting("update", "--json") as process:
        answers.append(json.loads(process.communicate()[0]))


def measure_search(place: Path, user: Identity | None) -> None:
    """Print how many test runs find two culprits among 22, and the ratio of the times with two jobs and with one."""
    searches, updates = [], []
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
        runs = len(site.test_runs()) - before - 2  # the first, and that of the live release
        found = ", ".join(answers[0]["culprits"])
        print(f"test_jobs = {jobs}: {found} after {runs} runs; search {searches[-1]:.0f} s", flush=True)
    for name, (alone, both) in {"search": searches, "whole update": updates}.items():
        print(f"{name} for {len(CULPRITS)} culprits among {SEARCHED}, two jobs beside one: {both / alone:.2f}")


def measure_starter(place: Path, user: Identity | None) -> None:
    """Print the processor time of a start with nothing new by the starter, beside that of its Python alone."""
    program = make_program(place)
    live = program.place / "project/.venv/bin/python"
    bare, starts = [], []
    for _ in range(STARTS):
        bare.append(processor_seconds(lambda: run([live, "-c", "pass"], cwd=place, env=program.env)))
        starts.append(processor_seconds(program.start))
    ratio = statistics.median(starts) / statistics.median(bare)
    print(f"a start with nothing new by the starter beside `python -c pass`: {ratio:.2f} (median of {STARTS})")


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
            print(
                f"{command} --all beside {number} single ones: {statistics.median(ratios):.2f} of processor time;",
                end=" ",
            )
            print(f"--jobs 2: {statistics.median(walls):.2f} of wall time")
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
        print(f"{time.monotonic() - began:.0f} s, {processor:.1f} s of processor, {memory / 1024:.0f} MiB at most")
        print("\n".join(finished.stdout.splitlines()[:8]), finished.stderr, sep="\n")
        for _, message, _ in server.mails:
            print(message["Subject"], read_mail(message), sep="\n")


SECTIONS = {
    "updates": measure_updates,
    "quiet": measure_quiet_nights,
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
    chosen = options.section
    with tempfile.TemporaryDirectory(prefix="releaser-bench-", ignore_cleanup_errors=True) as directory:
        place, user = Path(directory), None
        place.chmod(0o755)
        if os.geteuid() == 0:
            copy_for_every_user(place / "programs")
            # The user cannot write byte code there, and would compile everything in each run.
            subprocess.run([reachable_python(), "-m", "compileall", "-q", place / "programs/lib"], check=True)
            user = Identity(user=ORDINARY, group=ORDINARY, programs=place / "programs/bin")
        for section in [chosen] if chosen else (name for name in SECTIONS if name != "bundles"):
            if section == "sites":
                measure_sites(place / section, user, options.number)
            else:
                SECTIONS[section](place / section, user)


if __name__ == "__main__":
    main()
