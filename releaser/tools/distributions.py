"""Asks the interpreter of an environment what is installed there."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packaging.utils import canonicalize_name

from releaser.errors import ToolError, gist
from releaser.tools.distributions_probe import MARK
from releaser.tools.environment import neutral
from releaser.tools.process import describe_status

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from releaser.tools.process import Runner

_PROBE = Path(__file__).with_name("distributions_probe.py")


@dataclass(frozen=True, kw_only=True)
class Distribution:
    """An installed distribution, as its metadata and the place of that tell of it.

    `requires` are its requirements as it has them, `requires_python` the Pythons it is for; `modules` are what can be
    imported of it, `metadata` the name of the directory or file that says all this, and `location` where that lies.
    `installer` is who has installed it, empty if that is not known; `by_pip` says that pip has left a list of its
    files, as it did for packages without a wheel; `requested` that it was asked for by name. `direct_url` tells where
    it was taken from, if from no index. One that is `outside` is not in the environment itself: it is of the operating
    system, or of whatever is below a venv.
    """

    name: str
    version: str
    requires: tuple[str, ...] = ()
    requires_python: str = ""
    modules: frozenset[str] = frozenset()
    metadata: str = ""
    location: str = ""
    installer: str = ""
    by_pip: bool = False
    requested: bool = False
    direct_url: Mapping[str, Any] | None = None
    outside: bool = False


@dataclass(frozen=True, kw_only=True)
class Environment:
    """An interpreter and what is installed for it; `markers` are the values of environment markers there."""

    python: Path
    markers: Mapping[str, str]
    distributions: tuple[Distribution, ...]

    @property
    def version(self) -> str:
        """The version of the interpreter."""
        return self.markers["python_full_version"]

    @property
    def versions(self) -> dict[str, str]:
        """The versions of what is in the environment itself, by name."""
        return {one.name: one.version for one in self.distributions if not one.outside}


def ask(runner: Runner, python: Path, *, timeout: float) -> Environment:
    """Ask an interpreter what it would import; nothing of that is imported. Raises ToolError.

    What lies in the current directory, in PYTHONPATH or in the home of this user does not count.
    """
    finished = runner.run(
        [python, "-I", "-B", _PROBE], cwd=Path("/"), env=neutral(runner.environ), timeout=timeout, check=False
    )
    lines = [line.removeprefix(MARK) for line in finished.stdout.splitlines() if line.startswith(MARK)]
    if not lines:
        reason = gist(finished.output) or describe_status(finished.returncode)
        message = f"{python} does not tell what is installed: {reason}"
        raise ToolError(message, returncode=finished.returncode, output=finished.output)
    answer: dict[str, Any] = json.loads(lines[-1])
    is_venv = bool(answer["is_venv"])
    found = [_distribution(one, is_venv=is_venv) for one in answer["distributions"]]
    return Environment(python=python, markers=answer["markers"], distributions=_first_of_each(found))


def _distribution(said: Mapping[str, Any], *, is_venv: bool) -> Distribution:
    """Make one of what the probe says; the name of one whose metadata is broken is empty."""
    inside = said["in_prefix"] if is_venv else said["installer"] in ("pip", "uv") or said["by_pip"]
    direct_url = _object(said["direct_url"])
    return Distribution(
        name=canonicalize_name(said["name"] or ""),
        version=said["version"] or "",
        requires=tuple(said["requires"]),
        requires_python=said["requires_python"] or "",
        modules=frozenset(said["modules"]),
        metadata=said["metadata"],
        location=said["location"],
        installer=said["installer"],
        by_pip=said["by_pip"],
        requested=said["requested"],
        direct_url=direct_url,
        outside=not inside and direct_url is None and said["in_site_directory"],
    )


def _object(text: str | None) -> Mapping[str, Any] | None:
    try:
        content = json.loads(text or "null")
    except ValueError:
        return None
    return content if isinstance(content, dict) else None


def _first_of_each(found: Iterable[Distribution]) -> tuple[Distribution, ...]:
    """Keep of each name the one that comes first on sys.path; what has no name or version was half-way removed."""
    by_name: dict[str, Distribution] = {}
    for one in found:
        if one.name and one.version:
            by_name.setdefault(one.name, one)
    return tuple(by_name[name] for name in sorted(by_name))


def interpreter_of(place: Path) -> Path | None:
    """Return the interpreter of a venv or another installation of Python, or `place` if it is one; None without one."""
    if place.is_file():
        return place if os.access(place, os.X_OK) else None
    # Of an operating system, the one without a number may be Python 2.
    candidates = (place / "bin" / name for name in ("python3", "python"))
    return next((one for one in candidates if os.access(one, os.X_OK)), None)
