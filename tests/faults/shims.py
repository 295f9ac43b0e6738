"""git, uv and unshare as shims that count the programs that releaser starts, and do something at one of them."""

import os
import shlex
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

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


def python_action(function: str, *args: object) -> str:
    """Return a line of shell that calls a function of tests.faults.disk_filling with these arguments."""
    root = Path(__file__).parents[2]
    code = f"import sys; sys.path[:0] = [{str(root)!r}]; from tests.faults import filling; filling.{function}{args!r}"
    return shlex.join([sys.executable, "-c", code])
