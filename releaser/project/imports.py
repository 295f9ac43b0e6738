"""Which modules the code of a project names, without running any of it."""

from __future__ import annotations

import ast
import re
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
_LARGEST = 1_000_000  # bytes; what is larger was made by a program


@dataclass(frozen=True, kw_only=True)
class Modules:
    """Top-level modules that the code imports, and those that it may mention in a text, as settings of Django do."""

    imported: frozenset[str]
    mentioned: frozenset[str]


def modules_used(root: Path, files: Iterable[str]) -> Modules:
    """Look through the Python files among `files`, relative to `root`; what cannot be read or parsed is passed over."""
    imported: set[str] = set()
    mentioned: set[str] = set()
    for name in files:
        if not name.endswith(".py"):
            continue
        for node in _nodes(root / name):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                imported.add(node.module.partition(".")[0])
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and _DOTTED.fullmatch(node.value):
                mentioned.add(node.value.partition(".")[0])
    return Modules(imported=frozenset(imported), mentioned=frozenset(mentioned))


def _nodes(path: Path) -> Iterator[ast.AST]:
    try:
        if path.is_symlink() or path.stat().st_size > _LARGEST:
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the code that is read
            tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError):
        return
    yield from ast.walk(tree)
