"""The code that a run keeps: it outlives the files."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import releaser

# Deletes the package, and all that was installed with it, and imports all modules that were there.
CODE = """\
import os, pkgutil, shutil, sys
from importlib import import_module
import releaser.errors
from releaser.system.own_code import _APART, keep_all

names = [one.name for one in pkgutil.walk_packages(releaser.__path__, "releaser.")]
apart = ("releaser.__main__", *_APART, "releaser.tools.starter", "releaser.tools.attestation_probe")
keep_all()
keep_all()
shutil.rmtree(releaser.__path__[0])
sys.path[:] = [one for one in sys.path[1:] if "site-packages" not in one and not os.path.exists(f"{one}/releaser")]
for name in ("jinja2", "tomlkit", "packaging.requirements", "packaging.tags", "dotenv.parser"):
    import_module(name)
missing = []
for name in names:
    if not name.startswith(apart) and not name.endswith(("_releaser_pin", "_releaser_pin_rare")):
        try:
            import_module(name)
        except ModuleNotFoundError as error:
            if (error.name or "").startswith("releaser"):
                missing.append(name)
print(*missing)
print(import_module("releaser.reporting.mail").__file__)
"""


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    shutil.copytree(Path(releaser.__file__).parent, tmp_path / "releaser")
    return tmp_path


def keep(copied: Path, code: str = CODE, **env: str) -> list[str]:
    start = f"import sys; sys.path[:0] = {[str(copied), sysconfig.get_path('stdlib')]!r}\n"
    words = [sys.executable, "-c", start + code]
    finished = subprocess.run(words, capture_output=True, text=True, check=False, env={**os.environ, **env})
    assert finished.returncode == 0, finished.stderr
    return finished.stdout.splitlines()


def test_what_a_run_may_need_is_imported_although_its_files_are_gone(copied: Path) -> None:
    missing, place = keep(copied)
    assert missing == ""
    assert Path(place) == copied / "releaser" / "reporting" / "mail.py", "a traceback names the file"


def test_byte_code_that_does_not_fit_is_not_used(copied: Path) -> None:
    module = copied / "releaser" / "reporting" / "mail.py"
    keep(copied, "import releaser.reporting.mail", PYTHONDONTWRITEBYTECODE="")  # which writes its byte code
    module.write_text("TEXT = 'changed'\n", encoding="utf-8")
    code = (
        "from releaser.system.own_code import keep_all; keep_all()\n"
        "import releaser.reporting.mail as module; print(module.TEXT)"
    )
    assert keep(copied, code) == ["changed"]


def test_a_module_that_vanishes_meanwhile_is_named(copied: Path) -> None:
    (copied / "releaser" / "reporting" / "mail.py").unlink()
    (copied / "releaser" / "reporting" / "mail.py").symlink_to("nowhere")
    code = (
        "from releaser.system.own_code import keep_all\ntry: keep_all()\nexcept ImportError as error: print(error.name)"
    )
    assert keep(copied, code) == ["releaser.reporting.mail"]


def test_byte_code_of_modules_that_are_kept_is_written_once_for_all_later_runs(copied: Path) -> None:
    for place in copied.rglob("__pycache__"):
        shutil.rmtree(place)
    code = (
        "import os, releaser; from importlib.util import cache_from_source\n"
        "from releaser.system.own_code import _kept; _kept.keep('releaser.reporting')\n"
        "print(os.stat(cache_from_source(releaser.__path__[0] + '/reporting/mail.py')).st_mtime_ns)"
    )
    first = keep(copied, code, PYTHONDONTWRITEBYTECODE="")
    assert keep(copied, code, PYTHONDONTWRITEBYTECODE="") == first


def test_a_module_whose_import_was_interrupted_is_imported_again_although_its_file_is_gone(copied: Path) -> None:
    module = copied / "releaser" / "reporting" / "mail.py"
    module.write_text("import sys\nif sys.argv.pop() == 'first':\n    raise KeyboardInterrupt\n", encoding="utf-8")
    code = (
        "from releaser.system.own_code import keep_all; keep_all()\n"
        f"import os, releaser.reporting; os.unlink({str(module)!r}); sys.argv[:] = ['', 'first']\n"
        "try: import releaser.reporting.mail\n"
        "except KeyboardInterrupt: import releaser.reporting.mail; print('imported')"
    )
    assert keep(copied, code) == ["imported"]
