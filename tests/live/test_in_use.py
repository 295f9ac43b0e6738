"""Releases in use are named in the list, and never deleted, whatever kind of process uses them."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.commands import console_script, run
from tests.support.guards import require
from tests.support.sites import SampleSite, SiteFactory
from tests.support.templates import Templates

pytestmark = pytest.mark.slow

NOBODY = 65534
FEW = {"RELEASER_KEEP": "0", "RELEASER_KEEP_WITHIN": "0", "RELEASER_KEEP_FAILED": "0"}
SAY = "import json, os, sys; print(json.dumps({'pid': os.getpid(), 'prefix': sys.prefix}), flush=True)\n"

PURE = SAY + "input()"
EXTENSION = (
    "import sys; sys.path.insert(0, sys.argv[1]); import _ctypes\n"
    "assert sys.argv[1] in open('/proc/self/maps').read()\n" + PURE
)
ORPHAN = "import os\nif os.fork():\n    os._exit(0)\n" + PURE
# A child that C code has forked: Python knows nothing of it.
FORKED_BY_C = "import ctypes, os\nif ctypes.CDLL(None).fork():\n    os._exit(0)\n" + PURE
DAEMON = SAY + (
    "import os\n"
    "if os.fork(): os._exit(0)\n"
    "os.setsid()\n"
    "if os.fork(): os._exit(0)\n"
    "keep = os.dup2(0, 1000), os.dup2(1, 1001)\n"
    "os.closerange(3, 1000)\n"
    "print(json.dumps({'pid': os.getpid(), 'prefix': sys.prefix}), flush=True)\n"
    "os.read(0, 1)\n"
)


class User:
    """A process that uses a release until it is told to end; `pid` is that of the process that stays."""

    def __init__(self, site: SampleSite, program: str, *args: str | Path, before: tuple[str, ...] = ()) -> None:
        words = [*before, str(site.link / "bin" / "python"), "-c", program, *map(str, args)]
        self.release = site.live_id()
        self.pid = 0
        self.process = subprocess.Popen(
            words, cwd="/", env=site.environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def wait_until_ready(self, *, lines: int = 1) -> None:
        """Read what it says of itself; it is on the release that was live when it started."""
        assert self.process.stdout is not None
        for _ in range(lines):
            said = json.loads(self.process.stdout.readline())
        self.pid = said["pid"]
        assert self.release in said["prefix"]

    def end(self) -> None:
        """Let it end, and see that it does."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write("x\n")
            self.process.stdin.close()
        self.process.stdout.read()  # to the end: the last process that has it has ended
        self.process.stdout.close()
        self.process.wait(timeout=60)


@pytest.fixture
def site(templates: Templates) -> Iterator[SampleSite]:
    """Make a site that every user can get at, with an interpreter that every user may start."""
    require(os.geteuid() == 0 and shutil.which("setpriv") and shutil.which("unshare"), "only root can be somebody else")
    base = Path(tempfile.mkdtemp(prefix="in-use-"))  # pytest's own directories are for one user alone
    try:
        base.chmod(0o755)
        python = f"/usr/bin/python{sys.version_info[0]}.{sys.version_info[1]}"
        require(Path(python).exists(), "an interpreter that everybody may start is needed")
        site = SiteFactory(base, templates)(settings={"python": python, "collectstatic": "off", "git_push": False})
        site.releaser("init", check=0)
        yield site
    finally:
        shutil.rmtree(base)


def with_an_extension(site: SampleSite) -> User:
    """Some extension of the standard library stands for those that a site has; this copy lies in the release."""
    source = next(Path(site.python("import sysconfig; print(sysconfig.get_path('stdlib'))")).glob("*/_ctypes.*.so"))
    place = site.link.resolve() / "extensions"
    place.mkdir()
    shutil.copy(source, place)
    return User(site, EXTENSION, place)


ANOTHER_USER = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
CONTAINER = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")  # it shares the directory, not the processes
KINDS: dict[str, Callable[[SampleSite], User]] = {
    "pure Python": lambda site: User(site, PURE),
    "C extension": with_an_extension,
    "forked, parent gone": lambda site: User(site, ORPHAN),
    "forked by C, parent gone": lambda site: User(site, FORKED_BY_C),
    "daemon that closes its descriptors": lambda site: User(site, DAEMON),
    "another user's": lambda site: User(site, PURE, before=ANOTHER_USER),
    "in a container": lambda site: User(site, PURE, before=CONTAINER),
}


def test_releases_in_use_are_named_and_kept_until_their_users_end(site: SampleSite) -> None:
    users = {kind: started(site, kind, number) for number, kind in enumerate(KINDS)}
    for number in (100, 101):  # what was live until the last flip is kept anyway
        move_on(site, number)
    try:
        held = {user.release for user in users.values()}
        assert held.isdisjoint({site.live_id()})
        for user in users.values():
            (row,) = [row for row in site.json("list") if row["id"] == user.release]
            assert row["in_use_by"] == [user.pid]
        seen = {row["id"]: row["processes"] for row in site.json("list") if row["processes"]}
        assert seen[users["another user's"].release][0]["user"] == "nobody"
        assert "-c import json" in seen[users["pure Python"].release][0]["command"]
        decided = verdicts(site)
        assert {release for release, action in decided.items() if action == "keep"} >= held
        assert held <= {*site.releases()}, "0 deleted"
        shown = site.releaser("show", users["pure Python"].release, check=0).stdout
        assert str(users["pure Python"].pid) in shown
        words: list[str | Path] = [
            *CONTAINER,
            console_script(),
            "prune",
            "--project",
            site.path,
        ]  # where none of them can be seen
        run(words, cwd=site.path, env=site.environment(FEW), check=0)
        assert held <= {*site.releases()}, "what cannot be seen is not deleted either"
    finally:
        for user in users.values():
            user.end()
    verdicts(site)
    assert not held & {*site.releases()}


def started(site: SampleSite, kind: str, number: int) -> User:
    """Start a process on what is live, and let another release go live."""
    user = KINDS[kind](site)
    user.wait_until_ready(lines=2 if kind.startswith("daemon") else 1)
    if kind == "in a container":  # where its number is another
        children = Path(f"/proc/{user.process.pid}/task/{user.process.pid}/children").read_text(encoding="ascii")
        user.pid = int(children.split()[0])
    move_on(site, number)
    return user


def move_on(site: SampleSite, number: int) -> None:
    site.publish("alpha", f"2.{number}.0")
    site.releaser("update", check=0, env={"RELEASER_KEEP": "100"})


def verdicts(site: SampleSite) -> dict[str, str]:
    return {entry["release"]: entry["action"] for entry in site.json("prune", env=FEW)}
