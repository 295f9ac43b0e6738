"""What `make without` does: leaves out one capability at a time, and sees that releaser works without it.

For each, in a copy of the repository: its files and its tests are deleted, and its names are taken out of the list that
registers them. Types, the direction of imports, and real updates and rollbacks must still be right. One line each.
"""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CAPABILITIES = tomllib.loads((ROOT / "scripts" / "house.toml").read_text(encoding="utf-8"))["without"]
#: What must still pass: real updates and rollbacks of sites, and the unit tests of others.
TESTS = ("tests/extension", "tests/deployment", "tests/locks", "tests/releases", "tests/reporting", "tests/site")


def main() -> int:
    """Try each capability, or those that are named; return 1 if releaser does not work without one."""
    chosen = sys.argv[1:] or list(CAPABILITIES)
    is_right = [_try(name) for name in chosen]
    return int(not all(is_right))


def _try(name: str) -> bool:
    facts = CAPABILITIES[name]
    with tempfile.TemporaryDirectory(prefix="releaser-without-") as place:
        copy = Path(place)
        _copy(copy)
        for path in (*facts["files"], *facts["tests"]):
            (copy / path).unlink()
        modules = {one.removesuffix(".py").replace("/", ".") for one in facts["files"]}
        for path in facts["lists"]:
            _take_out(copy / path, modules)
        checks = {
            "types": [sys.executable, "-m", "mypy", "--cache-dir", str(copy / ".mypy_cache"), "releaser"],
            "imports": [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"],
            "tests": [sys.executable, "-m", "pytest", "-q", "-n", "2", "-p", "no:cacheprovider", *TESTS],
        }
        for check, words in checks.items():
            done = subprocess.run(words, cwd=copy, env=_environment(copy), capture_output=True, text=True, check=False)
            if done.returncode:
                print(f"without {name}: {check} fail\n{done.stdout[-3000:]}{done.stderr[-1000:]}", flush=True)
                return False
    print(f"without {name}: types, imports, update and rollback are right", flush=True)
    return True


def _copy(copy: Path) -> None:
    """Copy what git tracks."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for path in filter(None, listed.split("\0")):
        (copy / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / path, copy / path, follow_symlinks=False)


def _environment(copy: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(copy)}


def _take_out(path: Path, modules: set[str]) -> None:
    """Take what these modules define out of a module that lists it: its imports, and its place in tuples."""
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    imports = [one for one in tree.body if isinstance(one, ast.ImportFrom) and one.module in modules]
    names = {alias.asname or alias.name for one in imports for alias in one.names}
    gone = {number for one in imports for number in range(one.lineno, (one.end_lineno or one.lineno) + 1)}
    lines = text.splitlines(keepends=True)
    for node in ast.walk(tree):
        if isinstance(node, ast.Tuple):
            kept = [ast.unparse(one) for one in node.elts if names.isdisjoint(_names_in(one))]
            if len(kept) < len(node.elts):
                first, last = node.lineno, node.end_lineno or node.lineno
                start, end = lines[first - 1][: node.col_offset], lines[last - 1][node.end_col_offset :]
                lines[first - 1] = f"{start}({', '.join(kept)}{',' if len(kept) == 1 else ''}){end}"
                gone |= set(range(first + 1, last + 1))
    path.write_text("".join(line for number, line in enumerate(lines, 1) if number not in gone), encoding="utf-8")


def _names_in(node: ast.AST) -> set[str]:
    return {one.id for one in ast.walk(node) if isinstance(one, ast.Name)}


if __name__ == "__main__":
    raise SystemExit(main())
