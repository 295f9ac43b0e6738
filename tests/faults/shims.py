"""git, uv and unshare as shims that count the programs that releaser starts, and do something at one of them."""

import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.faults.tracing import Call, killing, read_record, recording
from tests.support.commands import git_executable, uv_executable
from tests.support.sites import SampleSite

KILL_PARENT = "kill -9 $PPID"
_SHIM = """\
#!/bin/sh
[ $PPID = 1 ] && exec {real} "$@"  # in a namespace: unshare was counted
number=$(($(wc -l < {calls}) + 1))
echo {program} "$@" | paste -sd ' ' >> {calls}  # the message of a commit has several lines
if [ $number = {at} ] && [ {when} = before ]; then
    {action}
fi
[ $number = {at} ] || exec {real} "$@"
{real} "$@"
status=$?
if [ {when} = after ]; then
    {action}
fi
exit $status
"""


@dataclass(frozen=True)
class Shims:
    """The directory of the shims of one site."""

    place: Path

    def install(self, site: SampleSite, *, at: int = 0, when: str = "after", action: str = ":") -> dict[str, str]:
        """Write the shims, which run a line of shell before or after program number `at`; return the variables."""
        self.place.mkdir(exist_ok=True)
        calls = self.place / "calls"
        calls.write_text("")
        unshare = ("unshare", shutil.which("unshare") or "unshare")
        for program, real in (("git", git_executable()), ("uv", uv_executable()), unshare):
            values = {"calls": shlex.quote(str(calls)), "real": shlex.quote(str(real)), "program": program}
            shim = self.place / program
            shim.write_text(_SHIM.format(at=at, when=when, action=action, **values), encoding="utf-8")
            shim.chmod(0o755)
        return {"PATH": os.pathsep.join([str(self.place), site.env["PATH"]])}

    def calls(self) -> list[str]:
        """Return the programs that were started, with their arguments."""
        return (self.place / "calls").read_text(encoding="utf-8").splitlines()


#: A git that is killed itself. `{start}` stands before each other call, `{kill}` in the place of number `at`.
_GIT = """\
#!/bin/sh
[ $PPID = 1 ] && exec {real} "$@"
number=$(($(wc -l < {calls}) + 1))
echo "$PWD" "$@" | paste -sd ' ' >> {calls}
[ $number = {at} ] || exec {start} {real} "$@"
{kill}
"""
KILL_ITSELF = "kill -9 $$"
_QUESTIONS: tuple[str, ...] = (
    "cat-file",
    "config",
    "diff",
    "for-each-ref",
    "log",
    "ls-files",
    "ls-tree",
    "merge-base",
    "remote",
)
_QUESTIONS += ("rev-list", "rev-parse", "status", "version")


@dataclass(frozen=True)
class GitCall:
    """A call of git that writes: its number among all, its words, and the calls of the system by which it writes."""

    number: int
    words: str
    writes: tuple[Call, ...]

    def faults(self, writes: Sequence[Call]) -> list[tuple[str, str]]:
        """Return what may kill it, with the line of shell that does it: before, at some writes, and after its work."""
        real = shlex.quote(str(git_executable()))
        at_writes = [(str(call), f'exec {killing(call)} {real} "$@"') for call in writes]
        return [("before", KILL_ITSELF), *at_writes, ("after", f'{real} "$@"; {KILL_ITSELF}')]


@dataclass(frozen=True)
class GitShim:
    """A shim of git in a directory of its own."""

    place: Path

    def install(self, site: SampleSite, *, at: int = 0, kill: str = "", start: str = "") -> dict[str, str]:
        """Write the shim; return the variables."""
        self.place.mkdir(exist_ok=True)
        (self.place / "calls").write_text("")
        real, calls = shlex.quote(str(git_executable())), shlex.quote(str(self.place / "calls"))
        (self.place / "git").write_text(_GIT.format(real=real, calls=calls, at=at, kill=kill, start=start))
        (self.place / "git").chmod(0o755)
        return {"PATH": os.pathsep.join([str(self.place), site.env["PATH"]])}

    def record(self, site: SampleSite) -> dict[str, str]:
        """Write a shim that records what each call writes; return the variables."""
        return self.install(site, start=recording(f"{shlex.quote(str(self.place))}/$number"))

    def calls(self, top: Path) -> list[GitCall]:
        """Return the recorded calls by which git wrote in a work tree."""
        calls = []
        for number, line in enumerate((self.place / "calls").read_text(encoding="utf-8").splitlines(), 1):
            place, _, words = line.partition(" --no-pager ")
            if place == str(top) and words.partition(" ")[0] not in _QUESTIONS:
                calls.append(GitCall(number, words, tuple(read_record(self.place / str(number)))))
        return calls


def python_action(function: str, *args: object) -> str:
    """Return a line of shell that calls a function of tests.faults.disk_filling with these arguments."""
    root = Path(__file__).parents[2]
    code = f"import sys; sys.path[:0] = [{str(root)!r}]; from tests.faults import filling; filling.{function}{args!r}"
    return shlex.join([sys.executable, "-c", code])
