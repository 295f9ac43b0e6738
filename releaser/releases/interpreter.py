"""The interpreter under a release: what it was when the release was sealed, what it is now, and that it starts.

A venv has no interpreter of its own but a link to one, which an upgrade of the operating system exchanges or removes.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from releaser.errors import ToolError
from releaser.releases.fingerprint import look_at
from releaser.system.environment import neutral

if TYPE_CHECKING:
    from collections.abc import Mapping

    from releaser.system.process import Runner

_TIMEOUT = 60.0  # seconds to start, also on a server that has other things to do
_SAID = ("version", "implementation", "abi", "build")
# It runs under the Pythons of sites. What an executable of a few kilobytes runs may all be in a shared library.
_IDENTITY = """\
import json, os, sys, sysconfig
with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as file:
    mapped = {line.split(None, 5)[5].strip() for line in file if "/libpython" in line}
print(json.dumps({
    "version": ".".join(map(str, sys.version_info[:3])),
    "implementation": sys.implementation.name,
    "abi": sysconfig.get_config_var("SOABI") or "",
    "build": " ".join(sys.version.split()[1:]),
    "landmarks": [*sorted(mapped), getattr(os, "__file__", "")],
}))
"""
# In figures, as the locale may not be able to print a path, or spell it in another way than it is on the disk.
_PREFIX = "import os, sys; print(os.fsencode(os.path.realpath(sys.prefix)).hex())"
# What is the machine's, and no fault of a release.
_SHORT_OF = (errno.ENOMEM, errno.EAGAIN, errno.EMFILE, errno.ENFILE)


@dataclass(frozen=True, kw_only=True)
class Interpreter:
    """One interpreter: where it is, and what it says of itself."""

    #: All links followed.
    executable: str
    version: str
    implementation: str
    #: What its extension modules are built for.
    abi: str
    #: Tells two builds of one version apart: when it was made, by which compiler.
    build: str
    #: What a look at its files shows, by path: while that is the same, it need not be asked.
    seen: Mapping[str, str]

    def __str__(self) -> str:
        name = "Python" if self.implementation == "cpython" else self.implementation
        return f"{name} {self.version}"

    @property
    def minor(self) -> str:
        """The version without its patch, such as `3.11`."""
        return ".".join(self.version.split(".")[:2])

    def is_where_it_was(self, venv: Path) -> bool:
        """Whether a look at its files shows the same as when it was asked, and a venv still leads to it."""
        return executable_of(venv) == self.executable and look_at(self.seen) == self.seen

    def is_same_as(self, other: Interpreter) -> bool:
        """Whether both are of one version, ABI and build, wherever they are."""
        return self.runs_what_is_for(other) and (self.version, self.build) == (other.version, other.build)

    def runs_what_is_for(self, other: Interpreter) -> bool:
        """Whether what was installed for the other one works with this one: another patch version does not matter."""
        return (self.implementation, self.minor, self.abi) == (other.implementation, other.minor, other.abi)


def executable_of(venv: Path) -> str:
    """Return where the interpreter of a venv lies, all links followed; it may be gone."""
    return os.path.realpath(venv / "bin" / "python")


def ask(runner: Runner, executable: str) -> Interpreter:
    """Ask an interpreter what it is. Raises ToolError when it does not start, or answers something else.

    Nothing that a site has put into its venv runs, and nothing is written.
    """
    words = [executable, "-I", "-S", "-B", "-c", _IDENTITY]
    finished = runner.run(words, cwd=Path("/"), env=neutral(runner.environ), timeout=_TIMEOUT)
    try:
        said = json.loads(finished.stdout)
        texts = {name: str(said[name]) for name in _SAID}
        landmarks = [str(one) for one in said["landmarks"] if one]
    except (ValueError, KeyError, TypeError) as error:
        message = f"{executable} printed {finished.stdout.strip()[:60]!r}, which is not Python's answer"
        raise ToolError(message, output=finished.output) from error
    return Interpreter(executable=executable, **texts, seen=look_at(dict.fromkeys((executable, *landmarks))))


def ask_if_possible(runner: Runner, venv: Path) -> Interpreter | None:
    """Ask that of a venv, for the manifest of a release; None when it does not start: others complain of that."""
    try:
        return ask(runner, executable_of(venv))
    except ToolError as error:
        import logging  # which takes long to import, for `releaser list`

        logging.getLogger(__name__).warning("the interpreter of %s cannot be asked: %s", venv, error)
        return None


def change(was: Interpreter, now: Interpreter) -> str:
    """Say what an interpreter was and what it is now; empty when it is the same, wherever it is."""
    if now.is_same_as(was):
        return ""
    before, after = str(was), str(now)
    if not now.runs_what_is_for(was):
        before, after = (f"{name} ({abi})" if abi else name for name, abi in ((before, was.abi), (after, now.abi)))
    elif before == after:
        before, after = f"{before} {was.build}", f"{after} {now.build}"
    moved = f", and now {now.executable}" if now.executable != was.executable else ""
    return f"{before} became {after} under it ({was.executable}{moved})"


def start_through(runner: Runner, link: Path, venv: Path, *, cwd: Path) -> None:
    """See that the Python of `venv` starts through the symlink, as the web server will start it. Raises ToolError.

    Until the flip it has only been started by its path in the release.
    """
    python = link / "bin" / "python"
    advice = f"See where {venv / 'bin' / 'python'} leads, and what it says when it is started."
    try:
        words: list[str | Path] = [python, "-I", "-B", "-c", _PREFIX]
        finished = runner.run(words, cwd=cwd, env=neutral(runner.environ), timeout=_TIMEOUT)
    except ToolError as error:
        if isinstance(error.__cause__, OSError) and error.__cause__.errno in _SHORT_OF:
            raise
        raise ToolError(error.message, advice=advice, output=error.output) from error
    try:  # the answer comes last, as start-up code of a site may print as well
        prefix = os.fsdecode(bytes.fromhex(finished.stdout.split()[-1]))
    except (IndexError, ValueError):
        prefix = ""
    if prefix != os.path.realpath(venv):
        reported = f"{prefix} as its venv" if prefix else "no venv of its own"
        message = f"{python} reports {reported} instead of {venv}"
        raise ToolError(message, advice=advice, output=finished.output)
