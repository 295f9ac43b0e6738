"""The symlink: read, moved in one step, put in the place of a directory. On a real file system."""

import os
from pathlib import Path

import pytest

from releaser.releases import release as flip
from releaser.releases.store import target_of
from releaser.system import files as durable


@pytest.fixture
def outer(tmp_path: Path) -> Path:
    """Make a project, a state directory and two releases below one directory."""
    (tmp_path / "site").mkdir()
    for name in ("A", "B"):
        venv = tmp_path / ".releaser" / "site" / "releases" / name / "venv"
        venv.mkdir(parents=True)
        (venv / "pyvenv.cfg").write_text(name, encoding="utf-8")
    return tmp_path


def venv(outer: Path, name: str) -> Path:
    return outer / ".releaser" / "site" / "releases" / name / "venv"


def link(outer: Path) -> Path:
    return outer / "site" / ".venv"


def flip_to(outer: Path, name: str) -> None:
    flip.flip(link(outer), venv(outer, name), staging=outer / ".releaser" / "site")


def leads_to(place: Path) -> str:
    return (place / "pyvenv.cfg").read_text(encoding="utf-8")


def test_a_flip_makes_the_link_and_moves_it(outer: Path) -> None:
    staging = outer / ".releaser" / "site"
    (staging / "..venv.new").symlink_to("nowhere")  # left by a crash
    for name in ("A", "B", "B", "A"):
        flip_to(outer, name)
        assert leads_to(link(outer)) == name
    assert (os.listdir(outer / "site"), os.listdir(staging)) == ([".venv"], ["releases"])
    outer.rename(outer.with_name("elsewhere"))  # the link is relative, so that everything can be moved
    assert leads_to(outer.with_name("elsewhere") / "site" / ".venv") == "A"


def test_there_is_a_link_at_every_moment(outer: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is renamed over the link is a whole link already."""
    flip_to(outer, "A")
    seen = []
    rename = Path.replace

    def replace(self: Path, target: Path) -> Path:
        seen.append((leads_to(target), os.readlink(self)))
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    flip_to(outer, "B")
    assert seen == [("A", "../.releaser/site/releases/B/venv")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("../.releaser/site/releases/A/venv", ".releaser/site/releases/A/venv"),
        ("../.releaser/./site/releases/B/../A/venv/", ".releaser/site/releases/A/venv"),
        ("../gone", "gone"),
        ("env", "site/env"),
    ],
)
def test_where_a_link_leads_is_told_without_following_it(outer: Path, text: str, expected: str) -> None:
    link(outer).symlink_to(text)
    assert target_of(link(outer)) == outer / expected


def test_what_is_no_link_leads_nowhere(outer: Path) -> None:
    assert target_of(link(outer)) is None
    link(outer).mkdir()
    assert target_of(link(outer)) is None
    assert target_of(link(outer) / "below" / "nothing") is None


@pytest.mark.parametrize("at_once", [True, False])
def test_a_real_directory_is_exchanged_for_a_link_or_moved_and_linked_where_that_cannot_be(
    outer: Path, monkeypatch: pytest.MonkeyPatch, at_once: bool
) -> None:
    if not at_once:
        monkeypatch.setattr(flip, "exchange", lambda *_: False)
    link(outer).mkdir()
    (link(outer) / "pyvenv.cfg").write_text("real", encoding="utf-8")
    inode, new = link(outer).stat().st_ino, venv(outer, "C")
    new.parent.mkdir()
    assert flip.adopt_directory(link(outer), new) is at_once
    assert os.readlink(link(outer)) == "../.releaser/site/releases/C/venv"
    assert (new.is_symlink(), new.stat().st_ino, leads_to(link(outer))) == (False, inode, "real")


def test_an_exchange_swaps_whatever_the_two_are(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.symlink_to("x")
    assert durable.exchange(one, two) is True
    assert (os.readlink(one), two.is_dir()) == ("x", True)
    with pytest.raises(FileNotFoundError) as caught:
        durable.exchange(one, tmp_path / "three")
    assert (caught.value.filename, caught.value.filename2) == (str(one), str(tmp_path / "three"))
