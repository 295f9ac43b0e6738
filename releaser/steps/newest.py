"""Asking uv which versions there are, and what an update could bring if releaser kept nothing out."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from packaging.version import InvalidVersion, Version

from releaser.errors import PreflightError, ResolutionError, ToolError, Unfit, gist
from releaser.locking.foretold import parse_changes
from releaser.locking.lockfile import EMPTY, InvalidLockError, LockFile
from releaser.locking.question import ANSWER, Available, question, read_answer
from releaser.tools.uv import NO_SOLUTION

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from releaser.project.site import Site
    from releaser.tools.uv import Uv

_ADVICE = "See what uv says; check the network and the index, and ask again."
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_CLOSED = re.compile(r"could not be queried|\b40[13]\b|[Uu]nauthorized|[Ff]orbidden")


@dataclass(frozen=True, kw_only=True)
class Market:
    """The indexes of a site; `place` is a directory for questions, `python` the interpreter, `version` its version."""

    site: Site
    uv: Uv
    place: Path
    python: Path
    version: str

    def available(self, locked: Mapping[str, str]) -> dict[str, Available]:
        """Return what there is of each package that the index has, for this Python and for newer ones.

        Pre-releases count for a package that is locked at one. Raises ResolutionError.
        """
        wanted = {name: _bound(version) for name, version in locked.items()}
        while wanted:
            try:
                return self._ask(wanted)
            except ToolError as error:
                refused = _refused(error, wanted)
                if not refused or len(refused) == len(locked):
                    raise _unanswered(error, what="the package index could not be asked") from error
                wanted = {name: bound for name, bound in wanted.items() if name not in refused}
        return {}

    def _ask(self, wanted: Mapping[str, str]) -> dict[str, Available]:
        root = self.site.project.root
        text = question(wanted, root=root, uv=self.site.pyproject.table("tool", "uv"), uv_toml=_uv_toml(root))
        (self.place / "pyproject.toml").write_text(text, encoding="utf-8")
        (self.place / ANSWER).unlink(missing_ok=True)
        self.uv.newest(self.place, answer=ANSWER, python=self.python, python_version=self.version)
        try:
            return read_answer((self.place / ANSWER).read_text(encoding="utf-8"), python=self.version)
        except (OSError, ValueError) as error:
            message = f"uv left no list of versions that can be read: {error}"
            raise ResolutionError(message, advice="Check that `uv` is a working uv.") from error


def _bound(locked: str) -> str:
    try:
        return f">={locked}" if Version(locked).is_prerelease else ""
    except InvalidVersion:
        return ""


def _refused(error: ToolError, wanted: Mapping[str, str]) -> set[str]:
    """Return the packages of which uv says that there is no version to be had; none if it could not ask."""
    if error.returncode != NO_SOLUTION or _CLOSED.search(error.output):
        return set()
    return {word.rstrip(".") for word in _WORD.findall(error.output)} & wanted.keys()


def _uv_toml(root: Path) -> Mapping[str, Any] | None:
    path = root / "uv.toml"
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        message = f"{path} cannot be read: {error}"
        raise PreflightError((Unfit(message, advice="Correct it."),)) from error


def locked_in(site: Site) -> LockFile:
    """Return the lock of the checkout; an empty one if there is none that can be read."""
    try:
        return LockFile.read(site.project.lock)
    except (OSError, InvalidLockError):
        return EMPTY


def without_restraint(site: Site, uv: Uv, locked: LockFile, *, python: Path) -> Mapping[str, str] | None:
    """Return the versions that uv would lock now; None if what the project asks for has no solution.

    `locked` is the lock of the checkout. Raises ResolutionError.
    """
    try:
        text = uv.lock_dry_run(site.project.root, python=python, bounds={}, packages=())
    except ToolError as error:
        if error.returncode == NO_SOLUTION:
            return None
        raise _unanswered(error, what="it could not be found out what could come in") from error
    changes = parse_changes(text)
    gone = {change.name for change in changes if change.new is None}
    versions = {**locked.versions, **{change.name: change.new for change in changes if change.new}}
    return {name: version for name, version in versions.items() if name not in gone}


def _unanswered(error: ToolError, *, what: str) -> ResolutionError:
    """Turn uv's failure into the error of somebody who only asked."""
    message = f"{what}: {gist(error.output) or error.message}"
    return ResolutionError(message, advice=error.advice or _ADVICE, output=error.output)
