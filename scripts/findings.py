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


def list_findings() -> Mapping[str, str]:
    """Return the meaning of each code. Raises ValueError if a code has none, or a meaning has no code."""
    codes, meanings = {*_read_codes()}, tomllib.loads(MEANINGS.read_text(encoding="utf-8"))
    if unmatched := sorted(codes ^ {*meanings}):
        message = f"{MEANINGS}: add a line for each of these codes, or remove it: {', '.join(unmatched)}"
        raise ValueError(message)
    return {code: meanings[code] for code in sorted(codes)}


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
