"""The codes of everything that releaser finds wrong, read from its source, and their meanings, from findings.toml."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path(__file__).resolve().parents[1]
MEANINGS = ROOT / "scripts" / "findings.toml"


def list_findings() -> tuple[Mapping[str, str], Mapping[str, str]]:
    """Return the meanings of the codes that need an explanation, and of all others; empty if the name says it.

    Raises ValueError if a code has no line, or a line has no code.
    """
    known = tomllib.loads(MEANINGS.read_text(encoding="utf-8"))
    explained, others = (dict(sorted(known[name].items())) for name in ("explained", "others"))
    if unmatched := sorted({*_read_codes()} ^ {*explained, *others}):
        message = f"{MEANINGS}: add a line for each of these codes, or remove it: {', '.join(unmatched)}"
        raise ValueError(message)
    return explained, others


def _read_codes() -> Iterator[str]:
    for module in (ROOT / "releaser").rglob("*.py"):
        for node in ast.walk(ast.parse(module.read_bytes())):
            match node:
                case ast.Call(func=ast.Name(id="Finding" | "refuse"), args=[ast.Constant(value=str(code)), _, *_]):
                    yield code
                case ast.Call(func=ast.Name(id="Finding"), args=[ast.Constant(value=str(code))]):
                    yield code
                case ast.ClassDef(name=name, body=body) if name.endswith("Error"):
                    for one in body:
                        match one:
                            case ast.Assign(targets=[ast.Name(id="code")], value=ast.Constant(value=str(code))):
                                yield code
