"""What a failing test says: which packages it names, and what it complains of."""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING

from releaser.errors import gist
from releaser.report.capping import one_line

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from importlib.metadata import Distribution
    from pathlib import Path

_IN_A_RELEASE = re.compile(r"/(?:site|dist)-packages/([^/\\\s\"']+)")
_ERROR = re.compile(r"(?:E\s+)?((?:\w+\.)*\w*(?:Error|Exception|Failed|Failure|Warning)\b(?:: .*)?)\s*$")
_RAISED = re.compile(r"((?:\w+\.)*\w+(?:: .*)?)\s*$")  # below the indented lines of a traceback
_LONGEST = 200  # characters
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def suspects(output: str, venv: Path, names: Collection[str]) -> tuple[str, ...]:
    """Return those of `names` that the output of a failed test names, none if that is more than half of them.

    A framework is in every traceback, so that a crowd of suspects is no hint.
    """
    words = {word.rstrip(".").lower() for word in _WORD.findall(output)}
    modules = {module.lower() for module in _IN_A_RELEASE.findall(output)}
    known = _modules(venv, names)
    found = [name for name in names if name in words or known.get(name, frozenset()) & (modules | words)]
    return tuple(found) if len(found) * 2 <= len(names) else ()


def _modules(venv: Path, names: Collection[str]) -> dict[str, frozenset[str]]:
    """Map packages to what stands of them in site-packages, in small letters; nothing of a damaged one."""
    from importlib.metadata import distributions  # which a night without anything new need not import

    places = [str(place) for place in venv.glob("lib/python*/site-packages")]
    found: dict[str, frozenset[str]] = {}
    for distribution in distributions(path=places):
        try:
            name = re.sub(r"[-_.]+", "-", distribution.name).lower()
            if name in names:
                found[name] = frozenset(_tops(distribution))
        except Exception:  # noqa: BLE001, S112 - it is a hint, and metadata may be garbage of any kind
            continue
    return found


def _tops(distribution: Distribution) -> Iterator[str]:
    for file in distribution.files or ():
        top = file.parts[0]
        if top != ".." and not top.endswith((".dist-info", ".data", ".pth")) and top != "__pycache__":
            yield top.lower()
            yield top.lower().removesuffix(".py")


def complaint(output: str) -> str:
    """Return what a failed test says went wrong, in a few words after a colon; empty if it says nothing."""
    lines = ["", *output.splitlines()]
    errors = [
        found
        for above, line in itertools.pairwise(lines)
        if (found := _ERROR.match(line) or (above.startswith("    ") and _RAISED.match(line)))
    ]
    said = errors[-1].group(1) if errors else gist(output)
    return f": {one_line(said, limit=_LONGEST)}" if said else ""
