"""What the probe does with files; what it asks of Django, the end-to-end tests with the real one tell."""

import os
from pathlib import Path

import pytest

from releaser.tools.django_probe import obstacle, outdate


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """Make a source, and a target that is newer."""
    source, target = tmp_path / "source.css", tmp_path / "target.css"
    source.write_text("old", encoding="utf-8")
    target.write_text("new", encoding="utf-8")
    os.utime(source, (1000, 1000))
    os.utime(target, (2000, 2000))
    return source, target


def test_what_differs_from_its_source_is_made_to_look_old(files: tuple[Path, Path]) -> None:
    source, target = files
    outdate(str(source), str(target))
    assert (source.stat().st_mtime, target.stat().st_mtime) == (1000, 0)
    assert target.read_text(encoding="utf-8") == "new"  # it is sent to browsers until there is another


@pytest.mark.parametrize(("text", "changed"), [("new", 1000), ("old", 3000)])
def test_what_is_like_its_source_or_what_collectstatic_replaces_anyway_is_let_be(
    files: tuple[Path, Path], text: str, changed: int
) -> None:
    source, target = files
    source.write_text(text, encoding="utf-8")
    os.utime(source, (changed, changed))
    outdate(str(source), str(target))
    assert target.stat().st_mtime == 2000


def test_a_link_and_what_is_not_there_are_let_be(files: tuple[Path, Path]) -> None:
    source, target = files
    link = target.with_name("link.css")
    link.symlink_to(target.name)
    outdate(str(source), str(link))
    outdate(str(source), str(target.with_name("absent.css")))
    assert target.stat().st_mtime == 2000


def test_a_file_that_belongs_to_somebody_else_makes_room(
    files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the owner may date a file back, but whoever can write the directory may remove it."""

    def refuse(*_: object) -> None:
        raise PermissionError

    source, target = files
    monkeypatch.setattr(os, "utime", refuse)
    outdate(str(source), str(target))
    assert not target.exists()


def test_a_directory_that_is_to_be_made_is_no_obstacle(tmp_path: Path) -> None:
    assert obstacle(str(tmp_path / "a" / "b" / "c.css"), str(tmp_path)) == ""
    assert obstacle(str(tmp_path / "c.css"), str(tmp_path)) == ""
    assert obstacle(str(tmp_path / "absent" / "c.css"), str(tmp_path / "absent")) == ""


def test_what_stands_where_a_directory_or_a_file_goes_is_an_obstacle(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    (tmp_path / "b.css").mkdir()
    assert obstacle(str(tmp_path / "a" / "b" / "c.css"), str(tmp_path)) == str(tmp_path / "a")
    assert obstacle(str(tmp_path / "b.css"), str(tmp_path)) == str(tmp_path / "b.css")
