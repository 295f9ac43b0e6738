"""Which interpreter a venv was made from, whatever made the venv."""

from __future__ import annotations

from pathlib import Path

import pytest

from releaser.project.base_python import find_base


def installed(prefix: Path, minor: str = "3.10") -> Path:
    """Make what an installation of Python has in its bin; return the interpreter."""
    (prefix / "bin").mkdir(parents=True)
    python = prefix / "bin" / f"python{minor}"
    python.touch()
    for alias in ("python3", "python"):
        (prefix / "bin" / alias).symlink_to(python.name)
    return python


def venv(place: Path, home: Path | str, target: Path | None, version: str = "3.10.13") -> Path:
    """Make a venv whose interpreter is a link to `target`, or a copy of its own; return that interpreter."""
    (place / "bin").mkdir(parents=True)
    (place / "pyvenv.cfg").write_text(f"home = {home}\nversion = {version}\n", encoding="utf-8")
    python = place / "bin" / "python"
    if target is None:
        python.touch()
    else:
        python.symlink_to(target)
    return python


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return installed(tmp_path.resolve() / "opt")


def test_outside_of_a_venv_it_is_itself(base: Path) -> None:
    assert find_base(base) == base
    assert find_base(base.with_name("python3")) == base.with_name("python3")
    assert find_base(Path("/nowhere/python")) == Path("/nowhere/python")


@pytest.mark.parametrize("name", ["python", "python3", "python3.10"])
def test_of_a_venv_it_is_the_one_in_its_home(base: Path, tmp_path: Path, name: str) -> None:
    assert find_base(venv(tmp_path / "venv", base.parent, base.with_name(name))) == base


def test_the_path_by_which_home_names_it_is_kept(base: Path, tmp_path: Path) -> None:
    """A link to the newest patch version, as uv and Homebrew have it, is there for venvs to follow."""
    (tmp_path / "newest").symlink_to(base.parent.parent)
    home = tmp_path / "newest" / "bin"
    assert find_base(venv(tmp_path / "venv", home, home / "python3.10")) == home / "python3.10"


def test_by_a_link_to_the_venv_too(base: Path, tmp_path: Path) -> None:
    venv(tmp_path / "releases" / "venv", base.parent, base)
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / ".venv").symlink_to("../releases/venv")
    (tmp_path / "site" / "python").symlink_to(".venv/bin/python")
    assert find_base(tmp_path / "site" / ".venv" / "bin" / "python") == base
    assert find_base(tmp_path / "site" / "python") == base


def test_a_venv_may_be_made_from_a_venv(base: Path, tmp_path: Path) -> None:
    first = venv(tmp_path / "first", base.parent, base)
    assert find_base(venv(tmp_path / "second", first.parent, first)) == base


def test_a_copy_is_of_what_home_has_in_that_version(base: Path, tmp_path: Path) -> None:
    assert find_base(venv(tmp_path / "copied", base.parent, None)) == base
    assert find_base(venv(tmp_path / "orphan", "/nowhere", None)) is None
    assert find_base(venv(tmp_path / "newer", base.parent, None, version="3.11.2")) is None


def test_what_was_linked_again_is_what_it_links_to(base: Path, tmp_path: Path) -> None:
    other = installed(tmp_path.resolve() / "other", "3.12")
    assert find_base(venv(tmp_path / "venv", base.parent, other)) == other


def test_one_that_leads_to_itself_has_none(tmp_path: Path) -> None:
    place = tmp_path.resolve() / "venv"
    assert find_base(venv(place, place / "bin", place / "bin" / "python")) is None
