"""What `make architecture` does: writes the tables of rooms and modules into docs/architecture.md."""

from __future__ import annotations

import ast
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "releaser"
PAGE = ROOT / "docs" / "architecture.md"
BEGIN, END = "<!-- rooms -->\n", "<!-- end of rooms -->"


def main() -> int:
    """Write the page, or tell whether it is up to date."""
    before = PAGE.read_text(encoding="utf-8")
    after = with_rooms(before)
    if "--check" in sys.argv[1:]:
        return int(before != after)
    PAGE.write_text(after, encoding="utf-8")
    return 0


def with_rooms(page: str) -> str:
    """Return the page with the tables as they should be."""
    head, _, rest = page.partition(BEGIN)
    return head + BEGIN + "\n".join(_lines()) + "\n" + END + rest.partition(END)[2]


def _lines() -> Iterator[str]:
    rows = [layer.split(" | ") for layer in _layers()]
    yield from ("| room | holds |", "|---|---|")
    for row in rows:
        rooms = [module if (module := PACKAGE / f"{name}.py").exists() else PACKAGE / name for name in row]
        names = ", ".join(f"`{room.name}/`" if room.is_dir() else f"`{room.name}`" for room in rooms)
        yield f"| {names} | {' '.join(map(_summary, rooms))} |"
    for room in (PACKAGE / name for row in rows for name in row):
        modules = sorted(path for path in room.glob("*.py") if path.name != "__init__.py") if room.is_dir() else []
        if modules:
            yield from ("", f"### {room.name}/", "", "| module | holds |", "|---|---|")
            yield from (f"| `{path.name}` | {_summary(path)} |" for path in modules)


def _layers() -> list[str]:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    layers: list[str] = next(one["layers"] for one in settings["contracts"] if one["type"] == "layers")
    return layers


def _summary(path: Path) -> str:
    source = path / "__init__.py" if path.is_dir() else path
    text = ast.get_docstring(ast.parse(source.read_text(encoding="utf-8"))) or ""
    return " ".join(text.partition("\n\n")[0].split())


if __name__ == "__main__":
    raise SystemExit(main())
