"""The scratch tree. On a real file system."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from releaser.locking.scratch import remove_scratch, scratch_tree
from tests.support import snapshots


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Make a checkout with neighbours."""
    root = tmp_path / "outer" / "site"
    for name in ("site/src/app", "site/.git", "site/.venv/bin", "index", "common-lib"):
        (root.parent / name).mkdir(parents=True)
    for name in (
        "pyproject.toml",
        "uv.lock",
        ".python-version",
        "src/app/code.py",
        ".venv/bin/python",
        "../index/x.whl",
    ):
        (root / name).write_text(name, encoding="utf-8")
    return root


def place(root: Path) -> Path:
    return root.parent / ".site.releaser-scratch"


def test_what_uv_writes_is_copied_and_all_else_leads_to_the_checkout(root: Path) -> None:
    with scratch_tree(root, place(root), without=root / ".venv") as tree:
        assert tree == place(root)
        assert sorted(os.listdir(tree)) == [".git", ".python-version", "pyproject.toml", "src", "uv.lock"]
        for name in ("pyproject.toml", "uv.lock"):
            assert not (tree / name).is_symlink()
            assert (tree / name).read_text(encoding="utf-8") == name
        assert os.readlink(tree / "src") == str(root / "src")
        assert (tree / "src/app/code.py").read_text(encoding="utf-8") == "src/app/code.py"
    assert not place(root).exists()


def test_the_checkout_does_not_see_what_happens_in_it(root: Path) -> None:
    before = snapshots.tree(root)
    with scratch_tree(root, place(root), without=root / ".venv") as tree:
        (tree / "uv.lock").write_text("upgraded", encoding="utf-8")
        (tree / "pyproject.toml").unlink()
        (tree / ".venv").mkdir()
        (tree / ".venv" / "new").touch()
    assert snapshots.tree(root) == before


def test_paths_upwards_lead_to_the_same_places(root: Path) -> None:
    with scratch_tree(root, place(root), without=root / ".venv") as tree:
        assert (tree / ".." / "index" / "x.whl").read_text(encoding="utf-8") == "../index/x.whl"
        assert Path(os.path.normpath(tree / "../common-lib")).samefile(root / "../common-lib")


def test_only_this_user_may_look_into_it(root: Path) -> None:
    with scratch_tree(root, place(root), without=root / ".venv") as tree:
        assert tree.stat().st_mode & 0o777 == 0o700


def test_what_a_crash_left_is_taken_away_first(root: Path) -> None:
    (place(root) / "src").mkdir(parents=True)
    (place(root) / "old").symlink_to(root / "src")
    (place(root) / "uv.lock").write_text("stale", encoding="utf-8")
    with scratch_tree(root, place(root), without=root / ".venv") as tree:
        assert (tree / "uv.lock").read_text(encoding="utf-8") == "uv.lock"
        assert not (tree / "old").exists()


def test_removal_does_not_follow_links(root: Path) -> None:
    before = snapshots.tree(root)
    with scratch_tree(root, place(root), without=root / ".venv"):
        pass
    (place(root) / "deep" / "deeper").mkdir(parents=True)
    (place(root) / "deep" / "deeper" / "to-code").symlink_to(root / "src")
    remove_scratch(place(root))
    assert not place(root).exists()
    assert snapshots.tree(root) == before
    remove_scratch(place(root))  # there is nothing to do


def test_a_link_in_its_place_is_not_followed(root: Path) -> None:
    place(root).symlink_to(root / "src")
    remove_scratch(place(root))
    assert not place(root).is_symlink()
    assert (root / "src/app/code.py").exists()


def test_a_file_in_its_place_goes(root: Path) -> None:
    place(root).touch()
    remove_scratch(place(root))
    assert not place(root).exists()


def test_it_goes_when_the_work_in_it_fails(root: Path) -> None:
    def work() -> None:
        with scratch_tree(root, place(root), without=root / ".venv"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    assert not place(root).exists()


def test_it_goes_when_it_cannot_be_made_whole(root: Path) -> None:
    (root / "uv.lock").unlink()
    (root / "uv.lock").mkdir()
    with pytest.raises(IsADirectoryError), scratch_tree(root, place(root), without=root / ".venv"):
        pytest.fail("there is no lock to copy")
    assert not place(root).exists()


def test_the_venv_may_have_another_name(root: Path) -> None:
    (root / ".venv").rename(root / "env")
    with scratch_tree(root, place(root), without=root / "env") as tree:
        assert "env" not in os.listdir(tree)
        assert ".venv" not in os.listdir(tree)
