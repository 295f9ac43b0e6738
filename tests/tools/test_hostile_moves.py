"""Moves of a real checkout in which a person has left what git forgets, hides, or cannot name."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from releaser.errors import ToolError
from tests.tools.repository import Repository
from tests.tools.test_in_the_way import a_directory


class Checkout:
    """A repository with two commits, `here` and `there`, which is at the first; `mine` is what a person has in it."""

    def __init__(self, base: Path) -> None:
        self.repository = Repository(base)
        self.top = self.repository.path
        self.top.mkdir()
        self.git, self.call = self.repository.git, self.repository.call
        self.call("init", "--quiet", "--initial-branch=main")
        self.here = self.there = ""
        self.mine: set[Path] = set()

    def has(self, here: Mapping[str, str], there: Mapping[str, str]) -> None:
        """Commit both states; a text that begins with `->` is a symlink."""
        self.here = self.commit(here)
        self.call("rm", "--quiet", "-r", ".")
        self.there = self.commit(there)
        self.call("reset", "--quiet", "--hard", self.here)

    def commit(self, files: Mapping[str, str]) -> str:
        """Commit these files and what else has changed."""
        self.top.mkdir(exist_ok=True)
        for name, text in files.items():
            place = self.top / name
            place.parent.mkdir(parents=True, exist_ok=True)
            if text.startswith("->"):
                place.symlink_to(text[2:])
            else:
                place.write_text(text, encoding="utf-8")
        return self.repository.commit({})

    def ignore(self, *patterns: str) -> None:
        (self.top / ".git" / "info" / "exclude").write_text("\n".join(patterns) + "\n", encoding="utf-8")

    def put(self, place: Path) -> None:
        """Write a file of a person's own."""
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("a person's", encoding="utf-8")
        self.mine.add(place)

    def look(self) -> dict[Path, str | bytes]:
        """Return what there is of the person's own."""
        return {place: _look(place) for place in self.mine}


def _look(place: Path) -> str | bytes:
    if place.is_symlink():
        return f"-> {place.readlink()}"
    return place.read_bytes() if place.is_file() else f"{place.stat().st_mode:o}" if place.exists() else "nothing"


def ignored_name_with_newline(checkout: Checkout) -> None:
    checkout.has({"code": "1"}, {"code": "2", 'a\nb "c"/d': "git's"})
    checkout.ignore("a*")
    checkout.put(checkout.top / 'a\nb "c"' / "d")


def ignored_name_not_utf8(checkout: Checkout) -> None:
    name = os.fsdecode(b"caf\xe9")
    checkout.has({"code": "1"}, {"code": "2", name: "git's"})
    checkout.ignore("caf*")
    checkout.put(checkout.top / name)


def tracked_directory_became_link_to_uploads(checkout: Checkout) -> None:
    checkout.has({"code": "1", "media/keep": "k"}, {"code": "2", "media/keep": "new"})
    checkout.ignore("media", "uploads")
    checkout.put(checkout.top / "uploads" / "keep")
    (checkout.top / "media" / "keep").unlink()
    (checkout.top / "media").rmdir()
    (checkout.top / "media").symlink_to("uploads")
    checkout.mine.add(checkout.top / "media")


def tracked_directory_became_link_and_is_removed(checkout: Checkout) -> None:
    checkout.has({"code": "1", "media/keep": "k"}, {"code": "2"})
    checkout.ignore("media", "uploads")
    checkout.put(checkout.top / "uploads" / "keep")
    (checkout.top / "media" / "keep").unlink()
    (checkout.top / "media").rmdir()
    (checkout.top / "media").symlink_to("uploads")
    checkout.mine.add(checkout.top / "media")


def tracked_file_became_directory_and_is_removed(checkout: Checkout) -> None:
    checkout.has({"code": "1", "media": "k"}, {"code": "2"})
    checkout.ignore("media/")
    (checkout.top / "media").unlink()
    a_directory(checkout.top / "media")
    checkout.mine.add(checkout.top / "media" / "2026" / "photo.jpg")


def tracked_file_became_directory_and_changes(checkout: Checkout) -> None:
    checkout.has({"code": "1", "media": "k"}, {"code": "2", "media": "new"})
    checkout.ignore("media/")
    (checkout.top / "media").unlink()
    a_directory(checkout.top / "media")
    checkout.mine.add(checkout.top / "media" / "2026" / "photo.jpg")


def removed_from_index_and_kept(checkout: Checkout) -> None:
    checkout.has({"code": "1", "conf": "k"}, {"code": "2", "conf": "new"})
    checkout.ignore("conf")
    checkout.call("rm", "--cached", "--quiet", "conf")
    checkout.put(checkout.top / "conf")


def removed_from_index_and_removed_there(checkout: Checkout) -> None:
    checkout.has({"code": "1", "conf": "k"}, {"code": "2"})
    checkout.ignore("conf")
    checkout.call("rm", "--cached", "--quiet", "conf")
    checkout.put(checkout.top / "conf")


def removed_from_index_and_becomes_directory(checkout: Checkout) -> None:
    checkout.has({"code": "1", "conf": "k"}, {"code": "2", "conf/x": "new"})
    checkout.ignore("conf")
    checkout.call("rm", "--cached", "--quiet", "conf")
    checkout.put(checkout.top / "conf")


def removed_directory_from_index_becomes_file(checkout: Checkout) -> None:
    checkout.has({"code": "1", "conf/a": "k", "conf/b": "k"}, {"code": "2", "conf": "new"})
    checkout.ignore("conf")
    checkout.call("rm", "--cached", "--quiet", "-r", "conf")
    checkout.put(checkout.top / "conf" / "a")


def staged_new_file_that_is_there_too(checkout: Checkout) -> None:
    checkout.has({"code": "1"}, {"code": "2", "new": "git's"})
    checkout.put(checkout.top / "new")
    checkout.call("add", "new")
    (checkout.top / "new").write_text("a person's, later", encoding="utf-8")


def assumed_unchanged(checkout: Checkout) -> None:
    checkout.has({"code": "1", "conf": "k"}, {"code": "2", "conf": "new"})
    checkout.call("update-index", "--assume-unchanged", "conf")
    checkout.put(checkout.top / "conf")


def assumed_unchanged_and_removed(checkout: Checkout) -> None:
    checkout.has({"code": "1", "conf": "k"}, {"code": "2"})
    checkout.call("update-index", "--assume-unchanged", "conf")
    checkout.put(checkout.top / "conf")


def skipped_and_changed(checkout: Checkout) -> None:
    checkout.has({"code": "1", "conf": "k"}, {"code": "2", "conf": "new"})
    checkout.call("update-index", "--skip-worktree", "conf")
    checkout.put(checkout.top / "conf")


def skipped_and_removed(checkout: Checkout) -> None:
    checkout.has({"code": "1", "conf": "k"}, {"code": "2"})
    checkout.call("update-index", "--skip-worktree", "conf")
    checkout.put(checkout.top / "conf")


def sparse_checkout_with_own_file(checkout: Checkout) -> None:
    checkout.has({"code": "1", "big/conf": "k"}, {"code": "2", "big/conf": "new", "big/more": "git's"})
    checkout.call("sparse-checkout", "set", "--no-cone", "/code")
    checkout.ignore("big")
    checkout.put(checkout.top / "big" / "conf")
    checkout.put(checkout.top / "big" / "more")


def link_to_outside_above(checkout: Checkout) -> None:
    checkout.has({"code": "1"}, {"code": "2", "media/a/b": "git's"})
    checkout.ignore("media")
    checkout.put(checkout.top.parent / "srv" / "a" / "b")
    (checkout.top / "media").symlink_to(checkout.top.parent / "srv")
    checkout.mine.add(checkout.top / "media")


def dangling_link_above(checkout: Checkout) -> None:
    checkout.has({"code": "1"}, {"code": "2", "media/a/b": "git's"})
    checkout.ignore("media")
    (checkout.top / "media").symlink_to("/nowhere/at/all")
    checkout.mine.add(checkout.top / "media")


def socket_at_path(checkout: Checkout) -> None:
    checkout.has({"code": "1"}, {"code": "2", "s": "git's"})
    checkout.ignore("s")
    os.mknod(checkout.top / "s", 0o140600)  # a socket
    checkout.mine.add(checkout.top / "s")


def directory_of_caches_becomes_file(checkout: Checkout) -> None:
    checkout.has({"code": "1", "pkg/a.py": "1"}, {"code": "2", "pkg": "now a file"})
    checkout.ignore("*.pyc")
    checkout.put(checkout.top / "pkg" / "__pycache__" / "a.pyc")


def directory_becomes_link(checkout: Checkout) -> None:
    checkout.has({"code": "1", "pkg/a.py": "1", "real/a.py": "1"}, {"code": "2", "pkg": "->real", "real/a.py": "1"})
    checkout.ignore("*.db")
    checkout.put(checkout.top / "pkg" / "site.db")


def two_levels_swap(checkout: Checkout) -> None:
    checkout.has({"code": "1", "a/b/c": "1"}, {"code": "2", "a": "1", "b/a": "2"})
    checkout.ignore("*.log", "b")
    checkout.put(checkout.top / "a" / "b" / "x.log")
    checkout.put(checkout.top / "b" / "a")


def submodule_with_ignored_file(checkout: Checkout) -> None:
    inner = Repository(checkout.top.parent, "inner")
    inner.path.mkdir()
    inner.call("init", "--quiet", "--initial-branch=main")
    first = inner.commit({"code": "1", ".gitignore": "data\n"})
    (inner.path / "data").write_text("git's")
    inner.call("add", "--force", "data")
    second = inner.commit({"code": "2"})
    checkout.call("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(inner.path), "sub")
    inside = Repository(checkout.top, "sub")
    inside.call("checkout", "--quiet", first)
    checkout.here = checkout.commit({"code": "1"})
    inside.call("checkout", "--quiet", second)
    checkout.there = checkout.commit({"code": "2"})
    checkout.call("reset", "--quiet", "--hard", checkout.here)
    inside.call("checkout", "--quiet", first)
    checkout.put(checkout.top / "sub" / "data")


def directory_becomes_submodule(checkout: Checkout) -> None:
    submodule_with_ignored_file(checkout)
    with_submodule = checkout.there
    (checkout.top / "sub").rename(checkout.top.parent / "away")
    checkout.call("rm", "--quiet", "--cached", "sub")
    checkout.here = checkout.commit({"sub/own": "git's"})
    checkout.there = with_submodule
    checkout.call("reset", "--quiet", "--hard", checkout.here)
    checkout.put(checkout.top / "sub" / "data")
    checkout.ignore("data")


def nested_repository_at_a_submodules_place(checkout: Checkout) -> None:
    submodule_with_ignored_file(checkout)
    (checkout.top / "sub").rename(checkout.top.parent / "away")
    checkout.call("rm", "--quiet", "--cached", "sub")
    (checkout.top / ".gitmodules").unlink()
    checkout.here = checkout.commit({"code": "3"})
    checkout.ignore("sub")
    own = Repository(checkout.top, "sub")
    own.path.mkdir()
    own.call("init", "--quiet")
    own.commit({"mine": "a person's"})
    checkout.mine |= {own.path / "mine", own.path / ".git" / "HEAD"}


def repository_below_directory_that_becomes_file(checkout: Checkout) -> None:
    checkout.has({"code": "1", "pkg/a.py": "1"}, {"code": "2", "pkg": "now a file"})
    checkout.ignore("own")
    own = Repository(checkout.top / "pkg", "own")
    own.path.mkdir()
    own.call("init", "--quiet")
    checkout.mine.add(own.path / ".git" / "HEAD")


SCENES = [
    ignored_name_with_newline,
    ignored_name_not_utf8,
    tracked_directory_became_link_to_uploads,
    tracked_directory_became_link_and_is_removed,
    tracked_file_became_directory_and_is_removed,
    tracked_file_became_directory_and_changes,
    removed_from_index_and_kept,
    removed_from_index_and_removed_there,
    removed_from_index_and_becomes_directory,
    removed_directory_from_index_becomes_file,
    staged_new_file_that_is_there_too,
    assumed_unchanged,
    assumed_unchanged_and_removed,
    skipped_and_changed,
    skipped_and_removed,
    sparse_checkout_with_own_file,
    link_to_outside_above,
    dangling_link_above,
    socket_at_path,
    directory_of_caches_becomes_file,
    directory_becomes_link,
    two_levels_swap,
    submodule_with_ignored_file,
    directory_becomes_submodule,
    nested_repository_at_a_submodules_place,
    repository_below_directory_that_becomes_file,
]


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)
@pytest.mark.parametrize("way", ["forward", "backward"])
def test_nothing_of_a_person_is_lost(tmp_path: Path, scene: Callable[[Checkout], None], way: str) -> None:
    """A move that is refused has left the checkout at its commit."""
    checkout = Checkout(tmp_path)
    scene(checkout)
    before, head = checkout.look(), checkout.call("rev-parse", "HEAD")
    assert before
    git = checkout.git
    try:
        git.fast_forward(checkout.there) if way == "forward" else git.reset_keep(checkout.there)
    except ToolError:
        assert checkout.call("rev-parse", "HEAD") == head
    assert checkout.look() == before
