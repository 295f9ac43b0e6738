"""A release goes live as it was installed, even if its tests changed its venv."""

import importlib.util
import os
import py_compile
from collections.abc import Callable
from pathlib import Path

import pytest

from releaser.releases.contents import hash_of
from releaser.releases.touched import note_installed
from tests.support.sites import SiteFactory

# While it is tested, alpha changes what another package has installed.
ALPHA = """\
import os, pathlib
__version__ = "1.1.0"
beta = pathlib.Path(__file__).parents[1] / "beta" / "__init__.py"
if pathlib.Path("site_tests.py").exists() and "releaser-" in os.getcwd():
    beta.write_text(beta.read_text() + "# harm")
"""


@pytest.mark.parametrize("sandbox", ["auto", "off"])
def test_installed_files_that_tests_change_do_not_go_live(make_site: SiteFactory, sandbox: str) -> None:
    site = make_site.adopted()
    site.publish("alpha", "1.1.0", modules={"alpha/__init__.py": ALPHA})
    live = site.live_id()
    report = site.json("update", check=5, env={"RELEASER_SANDBOX": sandbox})
    assert (report["blame"], site.live_id()) == ("update", live)
    assert "changed installed files: " in report["headline"]
    held = [(one["name"], one["version"]) for one in site.json("status")["on_hold"]]
    assert held == [("alpha", "1.1.0")]


MODULE, RECORD = "beta/__init__.py", "beta-1.dist-info/RECORD"


def of_the_same_look(packages: Path) -> None:
    module = packages / MODULE
    before = module.stat()
    module.write_bytes(b"VALUE = 2\n")
    os.utime(module, ns=(before.st_atime_ns, before.st_mtime_ns))


def as_byte_code_of(packages: Path, name: str) -> None:
    """Compile another source that looks like that of the module: Python would take it for the module's."""
    module, other = packages / name, packages.parents[3] / "other.py"
    other.write_bytes(b"VALUE = 2\n")
    os.utime(other, ns=(0, module.stat().st_mtime_ns))
    py_compile.compile(str(other), importlib.util.cache_from_source(str(module)))


HARM: dict[str, tuple[Callable[[Path], object], str]] = {
    "contents": (lambda packages: (packages / MODULE).write_text("# harm"), MODULE),
    "contents of the same look": (of_the_same_look, MODULE),
    "mode": (lambda packages: (packages / MODULE).chmod(0o777), MODULE),
    "RECORD": (lambda packages: (packages / RECORD).write_text(""), RECORD),
    "deletion": (lambda packages: (packages / "beta-1.dist-info/WHEEL").unlink(), "beta-1.dist-info/WHEEL"),
    "module": (lambda packages: (packages / "beta/planted.py").touch(), "beta/planted.py"),
    "hook": (lambda packages: (packages / "planted.pth").touch(), "planted.pth"),
    "symlink": (lambda packages: (packages / "planted").symlink_to("/tmp"), "planted"),
    "program": (lambda packages: (packages.parents[2] / "bin/planted").touch(), "bin/planted"),
    "nothing": (lambda packages: os.utime(packages / MODULE, ns=(1, 1)), ""),
    "data": (lambda packages: (packages / "beta/cache.json").touch(), ""),
    "new byte code": (lambda packages: as_byte_code_of(packages, MODULE), ""),
    "changed byte code": (lambda packages: as_byte_code_of(packages, "beta/other.py"), ""),
}


@pytest.mark.parametrize("what", HARM)
def test_each_change_of_installed_code_is_found_and_byte_code_is_deleted(tmp_path: Path, what: str) -> None:
    harm, path = HARM[what]
    packages = tmp_path / "venv" / "lib" / "python3.11" / "site-packages"
    names = (MODULE, "beta/other.py", "beta-1.dist-info/WHEEL")
    for name in (*names, "../../../bin/python"):
        (packages / name).parent.mkdir(parents=True, exist_ok=True)
        (packages / name).write_text("VALUE = 1\n", encoding="utf-8")
    py_compile.compile(str(packages / "beta/other.py"))
    recorded = [f"{name},{hash_of(str(packages / name))},1" for name in names]
    (packages / RECORD).write_text("\n".join([*recorded, f"{RECORD},,"]), encoding="utf-8")
    installed = note_installed(tmp_path / "venv")
    assert installed.find_touched() == []
    harm(packages)
    touched = installed.find_touched()
    assert touched == ([path if path.startswith("bin/") else f"lib/python3.11/site-packages/{path}"] if path else [])
    kept = [*packages.glob("beta/__pycache__/*")]
    assert len(kept) == (what != "changed byte code")
    assert not [file for file in kept if "__init__" in file.name]
