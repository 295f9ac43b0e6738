"""Whatever git does not track survives each move of a real checkout, or the move is refused and names it."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from releaser.errors import ToolError
from releaser.tools.in_the_way import advise_in_the_way
from tests.tools.repository import Repository

IGNORED = "media\nmedia/\ndata.json\npipe\nbuild\nnested\nfree\n"


def a_directory(place: Path) -> None:
    (place / "2026").mkdir(parents=True)
    (place / "2026" / "photo.jpg").write_bytes(b"a person's photo")


def an_empty_directory(place: Path) -> None:
    place.mkdir(parents=True)


def a_file(place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(b"a person's file")


def an_empty_file(place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.touch()


def a_symlink(place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to("/srv/uploads")


def a_symlink_to_a_directory(place: Path) -> None:
    there = place.parents[1] / "elsewhere"
    a_directory(there)
    place.parent.mkdir(exist_ok=True)
    place.symlink_to(there)


def a_pipe(place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(place)


def a_repository(place: Path) -> None:
    a_directory(place)
    a_directory(place / ".git" / "objects")


KINDS = (
    a_directory, an_empty_directory, a_file, an_empty_file, a_symlink, a_symlink_to_a_directory, a_pipe, a_repository,
)  # fmt: skip
# What the other commit tracks: its path, whether as a file, a symlink or a file in a directory; and where the person's
# own lies, which is at, above or below that.
PLACES = {
    "a file at it": ("media", "file", "media"),
    "a symlink at it": ("media", "symlink", "media"),
    "a file below it": ("media/index.html", "file", "media"),
    "a symlink below it": ("media/latest", "symlink", "media"),
    "a file far below it": ("media/a/b/index.html", "file", "media"),
    "a file above it": ("media", "file", "media/uploads"),
    "a symlink above it": ("media", "symlink", "media/uploads"),
}


class Scene:
    """A repository at `here`, another commit `there` that has something at a place, and what a person has there."""

    def __init__(self, base: Path, place: str) -> None:
        self.repository = Repository(base)
        self.repository.path.mkdir()
        self.repository.call("init", "--quiet", "--initial-branch=main")
        self.path, self.what, self.mine = PLACES[place]
        self.here = self.repository.commit({"code.py": "1\n", ".gitignore": IGNORED})
        target = self.repository.path / self.path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text("git's\n") if self.what == "file" else target.symlink_to("code.py")
        self.repository.call("add", "--force", self.path)
        self.there = self.repository.commit({"code.py": "2\n"})

    def arrive(self, *, after: str) -> None:
        """Be at the commit without the path, with the person's own there: before or after the other commit."""
        if after == "forward":
            self.repository.call("reset", "--quiet", "--hard", self.here)
            return
        # The commit that has the path is the earlier one, and the newer one has removed it.
        self.repository.call("rm", "--quiet", "-r", self.path)
        self.newer = self.repository.commit({"code.py": "3\n"})


def photograph(place: Path) -> dict[str, str]:
    """Return every path below a directory with its kind and content."""
    found = {}
    for directory, names, files in os.walk(place):
        for name in [*names, *files]:
            path = os.path.join(directory, name)
            if "/site/.git" in path and "/nested/" not in path and "/media" not in path:
                continue
            if os.path.islink(path):
                found[path] = f"-> {os.readlink(path)}"
            elif os.path.isdir(path):
                found[path] = "directory"
            else:
                found[path] = Path(path).read_bytes().hex() if Path(path).is_file() else "pipe"
    return found


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("way", ["forward", "backward"])
def test_a_move_loses_nothing_that_git_does_not_track(
    tmp_path: Path, place: str, kind: Callable[[Path], None], way: str
) -> None:
    scene = Scene(tmp_path, place)
    scene.arrive(after=way)
    kind(scene.repository.path / scene.mine)
    before = photograph(tmp_path)
    git, head = scene.repository.git, scene.repository.call("rev-parse", "HEAD")
    refusal = None
    try:
        git.fast_forward(scene.there) if way == "forward" else git.reset_keep(scene.there)
    except ToolError as error:
        refusal = error
    after = photograph(tmp_path)
    lost = {path for path, what in before.items() if after.get(path) != what and not path.endswith("code.py")}
    assert not lost
    if refusal is not None:
        assert "media" in refusal.message
        assert "mv " in refusal.advice
        assert after == before
        assert scene.repository.call("rev-parse", "HEAD") == head
        assert git.in_the_way(head, scene.there)
    else:
        assert scene.repository.call("rev-parse", "HEAD") == scene.there
    may_pass = "below" in place and kind in (a_directory, an_empty_directory, a_repository)
    assert (refusal is None) == may_pass


def test_a_path_that_git_tracks_is_never_in_the_way(tmp_path: Path) -> None:
    """A directory of tracked files becomes a file, and a file a directory."""
    repository = Repository(tmp_path)
    repository.path.mkdir()
    repository.call("init", "--quiet", "--initial-branch=main")
    first = repository.commit({"a/one": "1", "a/b/two": "2", "c": "3"})
    shutil.rmtree(repository.path / "a")
    (repository.path / "c").unlink()
    second = repository.commit({"a": "1", "c/d/e": "3"})
    assert repository.git.in_the_way(second, first) == []
    repository.git.reset_keep(first)
    assert repository.git.in_the_way(first, second) == []
    repository.git.fast_forward(second)
    assert repository.call("status", "--porcelain") == ""


def test_only_what_is_untracked_in_a_directory_is_named(tmp_path: Path) -> None:
    repository = Repository(tmp_path)
    repository.path.mkdir()
    repository.call("init", "--quiet", "--initial-branch=main")
    first = repository.commit({".gitignore": "*.jpg\n", "media/readme": "1"})
    shutil.rmtree(repository.path / "media")
    second = repository.commit({"media": "now a file"})
    repository.git.reset_keep(first)
    a_file(repository.path / "media" / "deep" / "photo.jpg")
    assert repository.git.in_the_way(first, second) == ["media/deep/photo.jpg"]
    with pytest.raises(ToolError, match=r"media/deep/photo\.jpg is not tracked"):
        repository.git.fast_forward(second)
    assert (repository.path / "media" / "deep" / "photo.jpg").exists()


def test_half_a_move_is_not_undone_over_what_git_does_not_track(tmp_path: Path) -> None:
    """A person has made a directory where the commit to go back to has a file."""
    scene = Scene(tmp_path, "a file at it")
    scene.arrive(after="backward")  # HEAD has no `media`; the move was to a commit without it, from one with it
    a_directory(scene.repository.path / "media")
    assert scene.repository.git.undo_half_merge(scene.there, scene.newer) == ["media/"]
    assert (scene.repository.path / "media" / "2026" / "photo.jpg").exists()


def test_a_name_in_a_commit_cannot_run_a_command_that_is_pasted() -> None:
    advice = advise_in_the_way(["a; touch b"], Path("/srv/shop"))
    assert "`mv '/srv/shop/a; touch b' /srv/`" in advice
