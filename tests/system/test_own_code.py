"""The code that a run keeps: it outlives the files."""

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
    if not name.startswith(apart) and not name.endswith("_releaser_pin"):
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


def keep(copied: Path, code: str = CODE) -> list[str]:
    start = f"import sys; sys.path[:0] = {[str(copied), sysconfig.get_path('stdlib')]!r}\n"
    finished = subprocess.run([sys.executable, "-c", start + code], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout.splitlines()


def test_what_a_run_may_need_is_imported_although_its_files_are_gone(copied: Path) -> None:
    missing, place = keep(copied)
    assert missing == ""
    assert Path(place) == copied / "releaser" / "reporting" / "mail.py", "a traceback names the file"


def test_byte_code_that_does_not_fit_is_not_used(copied: Path) -> None:
    module = copied / "releaser" / "reporting" / "mail.py"
    keep(copied, "import releaser.reporting.mail")  # which writes its byte code
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
