"""The seal of a venv, and what differs from it: a table of changes."""

import zipfile
from collections.abc import Callable, Set
from pathlib import Path

import pytest

from releaser import releases
from releaser.packages.hand_made import list_work
from releaser.releases.release import Manifest, Release, State
from releaser.releases.sealed import list_differences, take_seal
from releaser.releases.venv import find_unknown, list_installed, list_stray_files, list_unrecorded
from releaser.releases.verify import list_damage, list_faults
from releaser.site.settings import Settings
from tests.support.wheels import build_wheel
from tests.unit.samples import KEY, NOW, make_site

PACKAGES = "lib/python3.11/site-packages"
#: Files of the packages `tea` and `cup`; both own `common.py`, and only one of them is right about it.
MODULES = {
    "tea": {"tea/__init__.py": "", "tea/data.json": "{}", "common.py": "TEA"},
    "cup": {"cup.py": "", "common.py": "CUP"},
    "pip": {"pip/__init__.py": ""},
}


@pytest.fixture
def venv(tmp_path: Path) -> Path:
    """A venv with two packages, an empty directory, byte code, a script without RECORD and a name that is no UTF-8."""
    packages = tmp_path / "venv" / PACKAGES
    for name, modules in MODULES.items():
        with zipfile.ZipFile(build_wheel(tmp_path, name, "1.0", modules=modules)) as wheel:
            wheel.extractall(packages)
    (packages / "tea.libs").mkdir()
    (packages / "__pycache__").mkdir()
    (packages / "__pycache__" / "cup.pyc").write_bytes(b"")
    (tmp_path / "venv" / "bin").mkdir()
    (tmp_path / "venv" / "bin" / "brew").write_text("#!python\n", encoding="utf-8")
    (tmp_path / "venv" / "bin" / "brew").chmod(0o755)
    (tmp_path / "venv" / "bin" / "python").symlink_to("/usr/bin/python3")
    (tmp_path / "venv" / "bin" / "\udcff").write_bytes(b"")
    (tmp_path / "venv" / "pyvenv.cfg").write_text("relocatable = true\n", encoding="utf-8")
    return tmp_path / "venv"


def write(name: str, text: str = "new") -> Callable[[Path], None]:
    """Return a change that writes a file."""

    def change(venv: Path) -> None:
        path = venv / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    return change


def delete(name: str) -> Callable[[Path], None]:
    """Return a change that deletes a file."""
    return lambda venv: (venv / name).unlink()


def rename(old: str, new: str) -> Callable[[Path], object]:
    """Return a change that renames something."""
    return lambda venv: (venv / old).rename(venv / new)


CHANGES: dict[str, tuple[Callable[[Path], object], list[tuple[str, str]]]] = {
    "nothing": (lambda venv: None, []),
    "another pip": (
        rename(f"{PACKAGES}/pip-1.0.dist-info", f"{PACKAGES}/pip-2.0.dist-info"),
        [("pip is 2.0, and was 1.0", "data")],
    ),
    "a program that is none": (
        lambda venv: (venv / "bin/brew").chmod(0o644),
        [("bin/brew is not executable", "damage")],
    ),
    "a closed file": (
        lambda venv: (venv / PACKAGES / "cup.py").chmod(0),
        [("cup.py is not as it was sealed", "damage")],
    ),
    "byte code": (write(f"{PACKAGES}/__pycache__/cup.pyc"), []),
    "an empty directory": (lambda venv: (venv / PACKAGES / "cup.libs").mkdir(), []),
    "uv's lock": (write(".lock"), []),
    "code": (write(f"{PACKAGES}/tea/__init__.py"), [("tea/__init__.py is not as it was sealed", "hotfix")]),
    "a file of two packages": (write(f"{PACKAGES}/common.py"), [("common.py is not as it was sealed", "hotfix")]),
    "data": (write(f"{PACKAGES}/tea/data.json"), [("tea/data.json is not as it was sealed", "data")]),
    "data is gone": (delete(f"{PACKAGES}/tea/data.json"), [("tea/data.json is missing", "damage")]),
    "a file beside": (write(f"{PACKAGES}/tea/cache/a.json"), [("tea/cache was added", "data")]),
    "a module": (write(f"{PACKAGES}/local.py"), [("local.py was added", "edit")]),
    "a program": (write("lib/node_modules/left/pad.js"), [("lib/node_modules was added", "edit")]),
    "a RECORD": (
        write(f"{PACKAGES}/tea-1.0.dist-info/RECORD", ""),
        [("tea-1.0.dist-info/RECORD is not as it was sealed", "damage")],
    ),
    "a version": (
        rename(f"{PACKAGES}/cup-1.0.dist-info", f"{PACKAGES}/cup-2.0.dist-info"),
        [("cup is 2.0, and was 1.0", "edit")],
    ),
    "another interpreter": (rename("bin/python", "bin/python2"), [
        ("bin/python is missing", "damage"), ("bin/python2 was added", "edit"),
    ]),
    "the configuration": (write("pyvenv.cfg"), [("pyvenv.cfg is not as it was sealed", "damage")]),
    "a start-up module": (
        write(f"{PACKAGES}/_releaser.pth"), [("the start-up module is missing or changed", "damage")]
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_law_39_what_differs_from_the_seal(venv: Path, name: str) -> None:
    change, differences = CHANGES[name]
    write("../built/made/app.js", "1")(venv)
    sealed = take_seal(venv, venv.parent / "built", "3.11.2")
    assert ({*sealed.packages}, {*sealed.products}) == ({*MODULES}, {"made/app.js"})
    change(venv)
    assert [(each.sentence, each.kind) for each in list_differences(venv, sealed)] == differences


def test_all_work_of_a_person_is_found_by_one_look(tmp_path: Path, venv: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the Python does not start; each look reads the whole venv."""
    sealed, looks = take_seal(venv, tmp_path / "built", "3.11.2"), list[Path]()
    (tmp_path / "uv.lock").write_text(
        "".join(f'[[package]]\nname = "{name}"\nversion = "1.0"\n' for name in MODULES), encoding="utf-8"
    )
    live = Release(tmp_path, Manifest("1", NOW, "built", KEY, "x", sealed=sealed), State("good", 1))
    write(f"{PACKAGES}/local.py")(venv)
    write(f"{PACKAGES}/tea/__init__.py")(venv)

    def look(venv: Path, known: Set[str]) -> list[str]:
        looks.append(venv)
        return find_unknown(venv, known)

    monkeypatch.setattr(releases.sealed, "find_unknown", look)
    work = ["local.py was added", "tea/__init__.py is not as it was sealed"]
    assert sorted(list_work(live, list_damage(live))) == work
    assert len(looks) == 1
    monkeypatch.setattr(releases.verify, "ask_python_version", lambda *_: "")
    faults = [*list_faults(make_site(Settings()), live)]
    assert list_work(live, faults) == work[:1]


def test_a_package_whose_record_is_lost_is_named(venv: Path) -> None:
    assert list_unrecorded(venv) == []
    (venv / PACKAGES / "cup-1.0.dist-info" / "RECORD").unlink()
    (venv / PACKAGES / "tea-1.0.dist-info" / "RECORD").write_bytes(b"\0" * 99)
    assert list_unrecorded(venv) == ["cup==1.0", "tea==1.0"]


@pytest.mark.parametrize("info", ["pot_lid-1.0.egg-info", "pot_lid-1.0-py3.11.egg-info"])
def test_law_19_what_setup_py_has_installed_is_a_package(tmp_path: Path, venv: Path, info: str) -> None:
    """By pip before 23.1, in a venv without `wheel`."""
    place = venv / PACKAGES / info
    before = list_stray_files(venv)
    files = ["PKG-INFO", "../pot_lid/__init__.py", "../pot_lid/__pycache__/__init__.pyc", "../lid.so"]
    files.append("../../../../share/pot, lid.txt")
    for name in files:
        write(f"{PACKAGES}/{info}/{name}", "1")(venv)
    assert list_stray_files(venv) != before
    (place / "installed-files.txt").write_text("".join(f"{name}\n" for name in files), encoding="utf-8")
    assert list_stray_files(venv) == before
    assert (list_installed(venv)["pot-lid"], list_unrecorded(venv)) == ("1.0", [])
    sealed = take_seal(venv, tmp_path / "built", "3.11.2")
    write(f"{PACKAGES}/pot_lid/__init__.py", "2")(venv)
    (venv / PACKAGES / "lid.so").unlink()
    differences = [(each.sentence, each.kind) for each in list_differences(venv, sealed)]
    assert differences == [
        ("lid.so is missing", "damage"), ("pot_lid/__init__.py is not as it was sealed", "hotfix"),
    ]  # fmt: skip
