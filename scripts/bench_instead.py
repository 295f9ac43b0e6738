"""Compares releaser with the ways that people use now, each on a Django site under gunicorn, with a visitor.

Takes a directory to work in, and names of ways (default: all). Each way gets newer packages, then one that cannot be
imported, and is killed while it changes packages, together with the site. Prints a table for
docs/guides/compared.md; asks the usual package index, and Debian's. unattended-upgrades needs root, and Renovate the
program `renovate` on PATH.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from demo_web_server import toml
from instead_debian import Debian
from instead_renovate import BRANCH, Renovate
from stage import OLD_VERSIONS, PRICETAG, DemoError, Stage, publish, say, set_up
from web_server import OLD_GUNICORN, Gunicorn, started, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

PROGRAMS = Path(__file__).resolve().parents[1] / ".venv" / "bin"
SECONDS = 120.0
LONGEST = 900.0  # of one update, as releaser looks for the package at fault
PRICETAG |= {"1.2": PRICETAG["1.0"], "3.0": 'raise ImportError("this version is broken")\n'}
RESTART = "kill -HUP $(cat tmp/gunicorn.pid)"
SYNC = "uv sync --quiet --frozen --compile-bytecode"
# The steps of an updater that upgrades the live venv and tests it then; a red test restores the lock.
IN_PLACE = (
    f"uv lock --quiet --upgrade && {SYNC} && {RESTART} && "
    f".venv/bin/python manage.py test || {{ git checkout --quiet uv.lock; {SYNC}; {RESTART}; }}"
)
PIP_REVIEW = f".venv/bin/pip-review --auto --local && {RESTART}"
# In a separate clone, a pipeline: it merges a new lock whose tests are green.
PIPELINE = f"{SYNC} && .venv/bin/python manage.py test"
MERGE = (
    f'cd "$SERVER/pipeline/teashop" && uv lock --quiet --upgrade && {PIPELINE} && '
    "git commit --quiet --all --message Update && git push --quiet"
)
RENOVATE = (
    'cd "$SERVER/pipeline/teashop" && "$SERVER/renovate/open-request" && git fetch --quiet && '
    f"git checkout --quiet --detach origin/{BRANCH} && {PIPELINE} && git push --quiet origin HEAD:main :{BRANCH}"
)
SCRIPT = f"git pull --quiet && {SYNC} && {RESTART}"
WAYS = {
    "updater in place": IN_PLACE,
    "pip-review": PIP_REVIEW,
    "Renovate and a script": f"({RENOVATE}) && {SCRIPT}",
    "Capistrano": f'({MERGE}) && cd "$SERVER/deploy" && cap production deploy',
    "unattended-upgrades": "../debian/upgrade",
    "releaser": "releaser update",
}
CAPFILE = """\
require "capistrano/setup"
require "capistrano/deploy"
require "capistrano/scm/git"
install_plugin Capistrano::SCM::Git
"""
DEPLOY = """\
set :application, "teashop"
set :repo_url, "{place}/remote.git"
set :branch, "main"
set :deploy_to, "{server}/cap"
set :tmp_dir, "{server}/deploy"
set :linked_dirs, %w[tmp]
set :sshkit_backend, SSHKit::Backend::Local
server "localhost", roles: %w[app]
after "deploy:updated", :venv do
  on roles(:app) do
    within release_path do
      execute :uv, "sync", "--quiet", "--frozen", "--compile-bytecode"
    end
  end
end
after "deploy:published", :reload_site do
  on roles(:app) do
    execute "kill -HUP $(cat {server}/cap/shared/tmp/gunicorn.pid) || true"
  end
end
"""


@dataclass(frozen=True)
class Supervised(Gunicorn):
    """gunicorn that is started again a second after it has ended, as systemd's `Restart=always` does."""

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Run the site during the block."""
        gunicorn = ".venv/bin/python -m gunicorn --config gunicorn.conf.py teashop.wsgi"
        words = ["sh", "-c", f"while :; do {gunicorn}; sleep 1; done"]
        with started(words, self.stage, self.stage.server / "gunicorn.log"):
            wait_for(self.address)
            yield


@dataclass(kw_only=True)
class Visits:
    """The requests of one visitor, how many failed, for how many seconds, and what the last one got."""

    requests: int = 0
    failed: int = 0
    down: float = 0.0
    django: str = ""


def visit(server: Gunicorn, seen: Visits, closed: threading.Event) -> None:
    """Ask for the page of the shop until it is closed; each answer has the version of Django."""
    while not closed.is_set():
        seen.requests += 1
        began = time.monotonic()
        connection = server.address.connection()
        try:
            connection.request("GET", "/")
            answer = connection.getresponse()
            body = answer.read().decode()
            seen.failed += answer.status != 200
            seen.django = body if answer.status == 200 else ""
        except (OSError, http.client.HTTPException):
            seen.failed += 1
            seen.django = ""
        finally:
            connection.close()
        time.sleep(0.01)
        if not seen.django:
            seen.down += time.monotonic() - began


@contextlib.contextmanager
def visited(server: Gunicorn) -> Iterator[Visits]:
    """Let a visitor ask during the block."""
    seen, closed = Visits(), threading.Event()
    thread = threading.Thread(target=visit, args=(server, seen, closed), daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        closed.set()
        thread.join(SECONDS)


def open_site(place: Path, name: str) -> tuple[Stage, Gunicorn]:
    """Make a site with old packages, ready for one way of updating it."""
    place.mkdir(parents=True)
    stage = Stage(place, os.environ, programs=PROGRAMS)
    server = Gunicorn.of(stage)
    stage.site.mkdir(parents=True)
    server.prepare()
    settings = {**server.settings, "health_retries": 2, "health_pause": "1s"}
    set_up(stage, add=toml(settings), requires=("gunicorn",), locked=(*OLD_VERSIONS, OLD_GUNICORN))
    stage.env |= {"PIP_FIND_LINKS": str(stage.wheels), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    stage.env |= {"SERVER": str(stage.server)}
    if name == "pip-review":
        stage.ask("uv", "pip", "install", "--python", stage.link / "bin" / "python", "pip", "pip-review")
    if name == "releaser":
        stage.ask("releaser", "init")
    if name in {"Renovate and a script", "Capistrano"}:
        clone = stage.server / "pipeline" / "teashop"
        stage.ask("git", "clone", "--quiet", stage.remote, clone)
        (clone.parent / "wheels").symlink_to(stage.wheels)
        stage.ask("git", "config", "user.email", "ada@example.org", cwd=clone)
        stage.ask("git", "config", "user.name", "Ada", cwd=clone)
        stage.ask("uv", "sync", "--frozen", cwd=clone)
    if name == "Capistrano":
        prepare_capistrano(place, stage)
    if name == "unattended-upgrades":
        Debian(stage=stage, place=stage.server / "debian").prepare(RESTART)
    if name == "Renovate and a script":
        Renovate(stage=stage, place=stage.server / "renovate").prepare()
    return stage, server


def prepare_capistrano(place: Path, stage: Stage) -> None:
    """Deploy the site once, and serve it from the link to the current release, which takes the checkout's place."""
    config, releases = stage.server / "deploy" / "config", stage.server / "cap" / "releases"
    (config / "deploy").mkdir(parents=True)
    (config.parent / "Capfile").write_text(CAPFILE)
    (config / "deploy.rb").write_text("")
    (config / "deploy" / "production.rb").write_text(DEPLOY.format(place=place, server=stage.server))
    releases.mkdir(parents=True)
    (releases / "wheels").symlink_to(stage.wheels)
    (releases / ".env").symlink_to(stage.server / ".env")
    stage.env |= {"LANG": "C.UTF-8"}
    conf = (stage.site / "gunicorn.conf.py").read_text().replace('abspath("', f'abspath("{stage.site}/')
    conf = conf.replace("    os.execve(", f"    os.chdir({str(stage.site)!r})\n    os.execve(")
    for clone in (stage.site, stage.server / "pipeline" / "teashop"):
        (clone / "gunicorn.conf.py").write_text(conf)
    stage.ask("git", "commit", "--quiet", "--all", "--message", "Serve the current release")
    stage.ask("git", "push", "--quiet")
    stage.ask("git", "reset", "--hard", "--quiet", cwd=stage.server / "pipeline" / "teashop")
    stage.ask("git", "pull", "--quiet", cwd=stage.server / "pipeline" / "teashop")
    stage.ask("cap", "production", "deploy", cwd=config.parent)
    shutil.rmtree(stage.site)
    stage.site.symlink_to(stage.server / "cap" / "current")


def offer(stage: Stage, name: str, version: str) -> None:
    """Publish a version of pricetag, where this way finds packages."""
    if name == "unattended-upgrades":
        Debian(stage=stage, place=stage.server / "debian").release(version)
    else:
        publish(stage.wheels, version)


def begin(stage: Stage, name: str) -> subprocess.Popen[bytes]:
    """Start one way of updating the site."""
    quiet = subprocess.DEVNULL
    words = ["sh", "-c", WAYS[name]]
    return subprocess.Popen(
        words, cwd=stage.site, env=stage.env, stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True
    )


def wait_until(is_so: object, *, seconds: float = SECONDS) -> bool:
    """Wait until a function returns true; False if it never does."""
    ends_at = time.monotonic() + seconds
    while time.monotonic() < ends_at:
        if is_so():  # type: ignore[operator]
            return True
        time.sleep(0.002)
    return False


def update(place: Path, name: str) -> tuple[str, str]:
    """Return what newer packages and then a broken one do: seconds until live, and failed requests of all."""
    stage, server = open_site(place, name)
    if name != "releaser":  # whose own successor of gunicorn a supervisor would start twice; it needs none here
        server = Supervised(stage, server.address)
    with server.running(), visited(server) as seen:
        wait_until(lambda: seen.django)
        before = seen.django
        offer(stage, name, "1.2")
        began, failed, asked = time.monotonic(), seen.failed, seen.requests
        process = begin(stage, name)
        is_live = wait_until(lambda: seen.django not in ("", before))
        took = time.monotonic() - began
        process.wait(LONGEST)
        live = f"{took:.1f} s, {seen.failed - failed} of {seen.requests - asked} failed" if is_live else "never"
        failed, asked, down = seen.failed, seen.requests, seen.down
        offer(stage, name, "3.0")
        begin(stage, name).wait(LONGEST)
        time.sleep(3)  # as the new workers of gunicorn start and end meanwhile
        asked_by_now = seen.requests
        wait_until(lambda: seen.requests > asked_by_now + 1)  # one that began after the restart was answered
        wait_until(lambda: seen.django, seconds=10)
        well = "up" if seen.django else "DOWN"
        broken = f"{seen.failed - failed} of {seen.requests - asked} failed, in {seen.down - down:.1f} s; then {well}"
    return live, broken


def kill_all(leader: int) -> None:
    """Kill a process and all that it started, in whatever session, as a power cut does."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
    doomed = {leader}
    while more := {pid for pid, parent in parents.items() if parent in doomed} - doomed:
        doomed |= more
    for pid in doomed:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def cut(place: Path, name: str) -> str:
    """Kill a way of updating while it changes packages, and the site with it; return what starts afterwards."""
    stage, server = open_site(place, name)
    if name == "unattended-upgrades":
        offer(stage, name, "1.0")
    packages = next((stage.link / "lib").glob("*/site-packages"))
    old = next(packages.glob("django-*.dist-info"))
    releases = stage.server / ".releaser" / stage.site.name / "releases"
    venv = "venv/lib"
    if name == "Capistrano":
        releases, venv = stage.server / "cap" / "releases", ".venv/lib"
    known = len(list(releases.glob(f"*/{venv}")))

    def is_half_done() -> bool:
        return len(list(releases.glob(f"*/{venv}"))) > known or not (old / "RECORD").exists()

    with server.running():  # releaser leaves a site alone that is down already
        process = begin(stage, name)
        reached = wait_until(is_half_done)
        kill_all(process.pid)
        stage.ask("sh", "-c", "kill -KILL $(cat tmp/gunicorn.pid)")
        process.wait()
    if not reached:
        return "not reached"
    try:
        with server.running(), visited(server) as seen:
            if not wait_until(lambda: seen.django, seconds=10):
                return "does not start"
    except (DemoError, OSError):
        return "does not start"
    done = subprocess.run(
        ["uv", "sync", "--quiet", "--frozen", "--check"],
        cwd=stage.site,
        env=stage.env,
        capture_output=True,
        check=False,
    )
    return "starts, as before" if done.returncode == 0 else "starts, with some packages newer"


def main(words: list[str]) -> None:
    """Measure each way, and print the table."""
    place = Path(words[0]).absolute()
    rows = ["| | newer packages: time to live, requests | a package that cannot be imported | killed half-way |"]
    rows.append("|---|---|---|---|")
    for number, name in enumerate(words[1:] or WAYS):
        if name == "Renovate and a script" and Renovate.missing():
            say(f"{name}: not run, {Renovate.missing()}")
            continue
        live, broken = update(place / f"{number}-update", name)
        rows.append(f"| {name} | {live} | {broken} | {cut(place / f'{number}-cut', name)} |")
        say(rows[-1])
    say("\n".join(rows))


if __name__ == "__main__":
    main(sys.argv[1:])
