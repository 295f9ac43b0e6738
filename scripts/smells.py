"""Part of `make lint`: counts phrases and names that are hard to read, and fails if a package has more than its limit.

`scripts/smells.toml` has the phrases, the words of names and the limits. `--list PACKAGE` prints each place, `--save`
lowers the limits.
"""

from __future__ import annotations

import argparse
import ast
import io
import re
import sys
import tokenize
import tomllib
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[1]
LIST = ROOT / "scripts" / "smells.toml"
_CODE = re.compile(
    r"(?ms)^```.*?^```|^    [^\n]*$|`[^`\n]*`|\]\([^)]*\)|<!-- (?P<made>[^\n]+) -->\n.*?<!-- end of (?P=made) -->"
)
_LIMITS = "# The most that each package may have; `scripts/smells.py --save` lowers them.\n[limits]\n"


class Place(NamedTuple):
    """A line with a phrase of the list."""

    path: Path
    line: int
    phrase: str
    text: str


def main() -> int:
    """Compare each package with its limit; return 1 if one has more."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--list", metavar="PACKAGE")
    parser.add_argument("--save", action="store_true")
    arguments = parser.parse_args()
    known = tomllib.loads(LIST.read_text(encoding="utf-8"))
    phrases, names = ({key: re.compile(text) for key, text in known[table].items()} for table in ("phrases", "names"))
    places = {package: list(_find(package, phrases, names)) for package in _packages()}
    for place in places.get(arguments.list or "", ()):
        print(f"{place.path.relative_to(ROOT)}:{place.line}: {place.phrase}: {place.text}")
    counts = {package: len(found) for package, found in places.items()}
    if arguments.save:
        _save(counts)
    worse = [package for package, count in counts.items() if count > known["limits"].get(package, 0)]
    for package in worse if not arguments.save else ():
        limit = known["limits"].get(package, 0)
        print(f"{package}: {counts[package]} phrases of scripts/smells.toml, {limit} before; see `--list {package}`")
    kinds = Counter(place.phrase for found in places.values() for place in found)
    if not arguments.list:
        most = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
        print(f"{sum(counts.values())} phrases to rewrite: {most}")
    return int(bool(worse) and not arguments.save)


def _packages() -> Iterator[str]:
    yield "pages"
    yield "releaser"
    yield from (path.parent.name for path in sorted((ROOT / "releaser").glob("*/__init__.py")))


def _find(package: str, phrases: dict[str, re.Pattern[str]], names: dict[str, re.Pattern[str]]) -> Iterator[Place]:
    for path in _files(package):
        source = path.read_text(encoding="utf-8")
        texts = _prose(source) if path.suffix == ".md" else _words(source)
        for line, text in texts:
            for name, phrase in phrases.items():
                for found in phrase.finditer(text):
                    shown = text[max(0, found.start() - 30) : found.end() + 40].replace("\n", " ")
                    yield Place(path, line + text.count("\n", 0, found.start()), name, shown)
        for line, text in _names(source) if path.suffix == ".py" else ():
            yield from (Place(path, line, name, text) for name, words in names.items() if words.search(text.lower()))


def _files(package: str) -> Iterator[Path]:
    if package == "pages":
        yield from (
            ROOT / "README.md",
            ROOT / "CONTRIBUTING.md",
            ROOT / "SECURITY.md",
            *sorted((ROOT / "docs").rglob("*.md")),
        )
    elif package == "releaser":
        yield from sorted((ROOT / "releaser").glob("*.py"))
    else:
        yield from sorted((ROOT / "releaser" / package).rglob("*.py"))


def _prose(source: str) -> Iterator[tuple[int, str]]:
    """Yield the text of a page without code, links and the parts that are made, which come from docstrings."""
    yield 1, _CODE.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), source)


def _words(source: str) -> Iterator[tuple[int, str]]:
    """Yield the comments, docstrings and other texts of a module, each with its line."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string.lstrip("#: ")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            yield node.lineno, re.sub(r"`[^`\n]*`", " ", node.value)


def _names(source: str) -> Iterator[tuple[int, str]]:
    """Yield the names of functions, classes, arguments and variables, each with its line.

    Fields of classes are skipped: they may be keys of JSON and of files, which stay.
    """
    tree = ast.parse(source)
    classes = (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef))
    fields = {part.target for node in classes for part in node.body if isinstance(part, ast.AnnAssign)}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.lineno, node.name
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node not in fields:
            yield node.lineno, node.id


def _save(counts: dict[str, int]) -> None:
    before, _, _ = LIST.read_text(encoding="utf-8").partition(_LIMITS)
    LIST.write_text(
        before + _LIMITS + "".join(f'"{one}" = {count}\n' for one, count in counts.items()), encoding="utf-8"
    )


if __name__ == "__main__":
    sys.exit(main())
