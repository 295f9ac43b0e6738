"""What `make without` does: leaves out one capability at a time, and sees that releaser works without it.

For each, in a copy of the repository: its entry in `releaser/capabilities.py` is deleted, with the files that nothing
else imports and with its tests. Types, the direction of imports, the toys with their real updates and rollbacks, and
the unit tests of other packages must still be right. One line each.
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
from typing import TypeGuard

ROOT = Path(__file__).resolve().parents[1]
CAPABILITIES = tomllib.loads((ROOT / "scripts" / "house.toml").read_text(encoding="utf-8"))["without"]
#: What must still pass: real updates and rollbacks of sites, and the unit tests of others.
_PACKAGES = ("extension", "core", "serving", "fleet", "sandbox", "locks", "releases", "reporting", "site")
TESTS = tuple(f"tests/{name}" for name in _PACKAGES)
PYTEST = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider")
LAYERS = "tests/sandbox/test_layers.py"


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
            _delete(copy / path)
        _take_out(copy / "releaser" / "capabilities.py", name)
        checks = {
            "types": [sys.executable, "-m", "mypy", "--cache-dir", str(copy / ".mypy_cache"), "releaser"],
            "imports": [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"],
            "tests": [*PYTEST, "-n", "2", "--ignore", LAYERS, *(one for one in TESTS if (copy / one).exists())],
        }
        if (copy / LAYERS).exists():
            # They mount file systems, which the sandboxes of tests next to them would see come and go.
            checks["tests of layers"] = [*PYTEST, LAYERS]
        for check, words in checks.items():
            done = subprocess.run(words, cwd=copy, env=_environment(copy), capture_output=True, text=True, check=False)
            if done.returncode:
                print(f"without {name}: {check} fail\n{done.stdout[-3000:]}{done.stderr[-1000:]}", flush=True)
                return False
    print(f"without {name}: types, imports, update and rollback are right", flush=True)
    return True


def _copy(copy: Path) -> None:
    """Copy what git tracks, and files that are new."""
    words = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for path in filter(None, listed.split("\0")):
        (copy / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / path, copy / path, follow_symlinks=False)


def _delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def _environment(copy: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(copy)}


def _take_out(path: Path, name: str) -> None:
    """Delete the entry of a capability from the list of all."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    (entry,) = (one for one in ast.walk(ast.parse("".join(lines))) if _is_entry(one, name))
    path.write_text("".join(lines[: entry.lineno - 1] + lines[entry.end_lineno :]), encoding="utf-8")


def _is_entry(node: ast.AST, name: str) -> TypeGuard[ast.Call]:
    return isinstance(node, ast.Call) and any(
        one.arg == "name" and isinstance(one.value, ast.Constant) and one.value.value == name for one in node.keywords
    )


if __name__ == "__main__":
    raise SystemExit(main())
