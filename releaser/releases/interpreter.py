"""The interpreter under a release: what it was when the release was sealed, and what it is now.

A venv has no interpreter of its own but a link to one, which an upgrade of the operating system exchanges or removes.
"""

from __future__ import annotations

import logging
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from releaser.durable import check_texts, check_types
from releaser.errors import ToolError
from releaser.releases.files import look_at
from releaser.tools.python import identify

if TYPE_CHECKING:
    from collections.abc import Mapping

    from releaser.tools.process import Runner

log = logging.getLogger(__name__)

_TEXTS = ("executable", "version", "implementation", "abi", "build")


@dataclass(frozen=True, kw_only=True)
class Interpreter:
    """One interpreter: where it lies, all links followed, and what it says of itself.

    `abi` is what its extension modules are built for, `build` tells two builds of one version apart. `seen` is what a
    look at its files shows, by path: while that is the same, it need not be asked.
    """

    executable: str
    version: str
    implementation: str
    abi: str
    build: str
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
        """Whether both are of one version, ABI and build, wherever they lie."""
        return self.runs_what_is_for(other) and (self.version, self.build) == (other.version, other.build)

    def runs_what_is_for(self, other: Interpreter) -> bool:
        """Whether what was installed for the other one works with this one: another patch version does not matter."""
        return (self.implementation, self.minor, self.abi) == (other.implementation, other.minor, other.abi)

    def as_json(self) -> dict[str, Any]:
        """Return what a manifest holds of it."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Interpreter:
        """Read what `as_json` wrote; KeyError or TypeError when it is something else."""
        check_types(content, {**dict.fromkeys(_TEXTS, str), "seen": dict})
        check_texts((*content["seen"], *content["seen"].values()))
        return cls(**{name: content[name] for name in _TEXTS}, seen=dict(content["seen"]))


def executable_of(venv: Path) -> str:
    """Return where the interpreter of a venv lies, all links followed; it may be gone."""
    return os.path.realpath(venv / "bin" / "python")


def ask(runner: Runner, executable: str) -> Interpreter:
    """Start an interpreter to see what it is. Raises ToolError when it does not start."""
    said = identify(runner, Path(executable))
    return Interpreter(
        executable=executable,
        version=said.version,
        implementation=said.implementation,
        abi=said.abi,
        build=said.build,
        seen=look_at(dict.fromkeys((executable, *said.landmarks))),
    )


def ask_if_possible(runner: Runner, venv: Path) -> Interpreter | None:
    """Ask that of a venv, for the manifest of a release; None when it does not start: others complain of that."""
    try:
        return ask(runner, executable_of(venv))
    except ToolError as error:
        log.warning("the interpreter of %s cannot be asked: %s", venv, error)
        return None


def change(was: Interpreter, now: Interpreter) -> str:
    """Say what an interpreter was and what it is now; empty when it is the same, wherever it lies."""
    if now.is_same_as(was):
        return ""
    before, after = str(was), str(now)
    if not now.runs_what_is_for(was):
        before, after = (f"{name} ({abi})" if abi else name for name, abi in ((before, was.abi), (after, now.abi)))
    elif before == after:
        before, after = f"{before} {was.build}", f"{after} {now.build}"
    moved = f", and now {now.executable}" if now.executable != was.executable else ""
    return f"{before} became {after} under it ({was.executable}{moved})"
