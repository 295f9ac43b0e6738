"""What `make architecture` does: writes the list of the attacks that are tried."""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from made import fill

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[1]
ATTACKS = ROOT / "tests" / "attacks"


def main() -> int:
    """Write the page, or tell whether it is up to date."""
    is_right = fill(ROOT / "docs" / "project" / "security-details.md", {"attacks": "\n".join(_attacks())})
    return int("--check" in sys.argv[1:] and not is_right)


def _attacks() -> Iterator[str]:
    """List every test that is an attack; its name says what is tried, and what holds."""
    tests = ATTACKS.parent
    for path in (*sorted(ATTACKS.glob("test_*.py")), *sorted(set(tests.rglob("test_*.py")) - {*ATTACKS.glob("*.py")})):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        found = [one for one in tree.body if isinstance(one, ast.FunctionDef) and one.name.startswith("test_")]
        names = [one.name for one in found if path.parent == ATTACKS or _is_marked(one)]
        if not names:
            continue
        title = path.relative_to(ATTACKS if path.parent == ATTACKS else tests)
        yield from (f"### `{title}`", "", _summary(path), "")
        yield from (f"- {name.removeprefix('test_').replace('_', ' ')}" for name in names)
        yield ""


def _is_marked(test: ast.FunctionDef) -> bool:
    return any(ast.unparse(one) == "pytest.mark.attack" for one in test.decorator_list)


def _summary(path: Path) -> str:
    source = path / "__init__.py" if path.is_dir() else path
    text = ast.get_docstring(ast.parse(source.read_text(encoding="utf-8"))) or ""
    return " ".join(text.partition("\n\n")[0].split())


if __name__ == "__main__":
    raise SystemExit(main())
