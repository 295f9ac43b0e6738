"""Which modules of a venv are compiled."""

import py_compile
import subprocess
import sys
from importlib.util import cache_from_source
from pathlib import Path

from releaser.candidate.compiling import _COMPILING, _list_modules


def test_it_compiles_what_has_no_byte_code_and_skips_what_does_not_compile(tmp_path: Path) -> None:
    lib = tmp_path / "lib"
    lib.mkdir()
    for name in ("taken", "new", "installed_again"):
        (lib / f"{name}.py").write_text("", encoding="utf-8")
    (lib / "broken.py").write_text("print 1", encoding="utf-8")
    py_compile.compile(str(lib / "taken.py"), doraise=True)
    before = Path(cache_from_source(str(lib / "taken.py"))).stat()
    due = _list_modules(str(tmp_path), {"lib/taken.py", "lib/installed_again.py"})
    words: list[str | Path] = [sys.executable, "-I", "-S", "-W", "ignore", "-c", _COMPILING, tmp_path]
    subprocess.run(words, input="\0".join(due).encode(), check=True)
    compiled = {file.name.partition(".")[0] for file in lib.rglob("*.pyc")}
    assert compiled == {"taken", "new", "installed_again"}
    assert Path(cache_from_source(str(lib / "taken.py"))).stat().st_ino == before.st_ino
