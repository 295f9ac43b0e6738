"""The codes of everything that releaser finds wrong, with the sentences that say so, read from its source."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

PACKAGE = Path(__file__).resolve().parents[1] / "releaser"


def list_findings() -> Mapping[str, Sequence[str]]:
    """Return the sentences of each code, with `…` for what is filled in."""
    found = defaultdict[str, dict[str, None]](dict)
    for code, said in _read_codes():
        found[code].setdefault(said)
    return {code: list(filter(None, said)) for code, said in found.items()}


def _read_codes() -> Iterator[tuple[str, str]]:
    for module in sorted(PACKAGE.rglob("*.py")):
        tree = ast.parse(module.read_bytes())
        for node in ast.walk(tree):
            match node:
                case ast.Call(func=ast.Name(id="Finding" | "refuse"), args=[ast.Constant(value=str(code)), said, *_]):
                    yield code, _words(said, tree)
                case ast.Call(func=ast.Name(id="Finding"), args=[ast.Constant(value=str(code))]):
                    yield code, _words(node.keywords[0].value, tree)
                case ast.ClassDef(name=name, body=body) if name.endswith("Error"):
                    for one in body:
                        match one:
                            case ast.Assign(targets=[ast.Name(id="code")], value=ast.Constant(value=str(code))):
                                yield code, (ast.get_docstring(node) or "").partition("\n")[0].rstrip(".")


def _words(said: ast.expr, tree: ast.AST) -> str:
    """Return the text of a sentence; of a name, what it was last given above."""
    match said:
        case ast.Constant(value=str(text)):
            return " ".join(text.split())
        case ast.JoinedStr(values=parts):
            text = "".join(str(one.value) if isinstance(one, ast.Constant) else "…" for one in parts)
            return " ".join(text.split())
        case ast.Name(id=name):
            above = (value for line, value in _values(name, tree) if line < said.lineno)
            return _words(last, tree) if (last := next(above, None)) else ""
        case ast.Call(func=ast.Name(id=name)):
            made = [one for one in ast.walk(tree) if isinstance(one, ast.FunctionDef) and one.name == name]
            ends = (end.value for one in made for end in ast.walk(one) if isinstance(end, ast.Return) and end.value)
            return "; ".join(filter(None, (_words(end, tree) for end in ends)))
        case ast.IfExp(body=body, orelse=orelse):
            return f"{_words(body, tree)}; {_words(orelse, tree)}".strip("; ")
        case _:
            return ""


def _values(name: str, tree: ast.AST) -> Iterator[tuple[int, ast.expr]]:
    """Give what a name is set to, with the line, the last one first."""
    found = []
    for node in ast.walk(tree):
        match node:
            case ast.Assign(targets=[ast.Tuple(elts=names)], value=ast.Tuple(elts=values)):
                found += [(node.lineno, value) for one, value in zip(names, values, strict=False) if _is(one, name)]
            case ast.Assign(targets=[one], value=value) if _is(one, name):
                found.append((node.lineno, value))
    return iter(sorted(found, key=lambda one: -one[0]))


def _is(target: ast.expr, name: str) -> bool:
    return isinstance(target, ast.Name) and target.id == name
