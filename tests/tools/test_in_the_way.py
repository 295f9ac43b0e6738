"""Whatever git does not track survives each move of a real checkout, or the move is refused and names it."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from releaser.errors import ToolError
from releaser.tools.in_the_way import advise_in_the_way
from tests.tools.repository import Repository

GITS, MINE = "git's", "a person's"
NOT_UTF8 = os.fsdecode(b"caf\xe9")


class Checkout(Repository):
    """A repository with two commits, `here` and `there`, which is at the first; `mine` is what a person has in it."""

    def __init__(self, base: Path) -> None:
        super().__init__(base)
        self.path.mkdir()
        self.call("init", "--quiet", "--initial-branch=main")
        self.here = self.there = ""
        self.mine: set[Path] = set()

    def has(self, here: Mapping[str, str], there: Mapping[str, str]) -> None:
        """Commit both states, in which the code differs."""
        self.write({"code": "1", **here})
        self.here = self.commit({})
        self.call("rm", "--quiet", "-r", ".")
        self.path.mkdir(exist_ok=True)
        self.write({"code": "2", **there})
        self.there = self.commit({})
        self.call("reset", "--quiet", "--hard", self.here)

    def write(self, files: Mapping[str, str]) -> set[Path]:
        """Write files; a text that begins with `->` is a symlink."""
        for name, text in files.items():
            place = self.path / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(text[2:]) if text.startswith("->") else place.write_text(text, encoding="utf-8")
        return {self.path / name for name in files}

    def ignore(self, *patterns: str) -> None:
        (self.path / ".git" / "info" / "exclude").write_text("\n".join(patterns), encoding="utf-8")

    def put(self, *names: str) -> None:
        """Write files of a person's own."""
        self.mine |= self.write(dict.fromkeys(names, MINE))

    def move(self, way: str) -> ToolError | None:
        """Go to `there`; one that is refused has left the checkout at its commit."""
        head = self.call("rev-parse", "HEAD")
        try:
            self.git.fast_forward(self.there) if way == "forward" else self.git.reset_keep(self.there)
        except ToolError as error:
            assert self.call("rev-parse", "HEAD") == head
            return error
        assert self.call("rev-parse", "HEAD") == self.there
        return None


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


# What a person may have at a path, and where the other commit has something


def a_directory(place: Path) -> None:
    (place / "2026").mkdir(parents=True)
    (place / "2026" / "photo.jpg").write_bytes(b"a person's photo")


def an_empty_directory(place: Path) -> None:
    place.mkdir()


def a_file(place: Path) -> None:
    place.write_bytes(b"a person's file")


def an_empty_file(place: Path) -> None:
    place.touch()


def a_symlink(place: Path) -> None:
    place.symlink_to("/srv/uploads")


def a_symlink_to_a_directory(place: Path) -> None:
    there = place.parents[1] / "elsewhere"
    a_directory(there)
    place.symlink_to(there)


def a_pipe(place: Path) -> None:
    os.mkfifo(place)


def a_repository(place: Path) -> None:
    a_directory(place)
    a_directory(place / ".git" / "objects")


KINDS = (
    a_directory, an_empty_directory, a_file, an_empty_file, a_symlink, a_symlink_to_a_directory, a_pipe, a_repository,
)  # fmt: skip
# What the other commit tracks, and where the person's own lies.
PLACES = {
    "a file at it": ({"media": GITS}, "media"),
    "a symlink at it": ({"media": "->code"}, "media"),
    "a file below it": ({"media/index.html": GITS}, "media"),
    "a symlink below it": ({"media/latest": "->code"}, "media"),
    "a file far below it": ({"media/a/b/index.html": GITS}, "media"),
    "a file above it": ({"media": GITS}, "media/uploads"),
    "a symlink above it": ({"media": "->code"}, "media/uploads"),
}


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
    tmp_path: Path, checkout: Checkout, place: str, kind: Callable[[Path], None], way: str
) -> None:
    there, mine = PLACES[place]
    checkout.has({}, there)
    checkout.ignore("media")
    (checkout.path / mine).parent.mkdir(exist_ok=True)
    kind(checkout.path / mine)
    before = photograph(tmp_path)
    refusal = checkout.move(way)
    after = photograph(tmp_path)
    assert not {path for path, what in before.items() if after.get(path) != what and not path.endswith("/code")}
    if refusal is not None:
        assert "media" in refusal.message
        assert "mv " in refusal.advice
        assert after == before
        assert checkout.git.in_the_way(checkout.here, checkout.there)
    may_pass = "below" in place and kind in (a_directory, an_empty_directory, a_repository)
    assert (refusal is None) == may_pass


# What git forgets, hides, or cannot name


@dataclass(frozen=True)
class Case:
    """Both commits, what git ignores, and what a person has, after taking a path away or telling git something."""

    here: Mapping[str, str]
    there: Mapping[str, str]
    ignored: str
    mine: Mapping[str, str]
    gone: str = ""
    git: str = ""

    def __call__(self, checkout: Checkout) -> None:
        checkout.has(self.here, self.there)
        if self.gone:
            (checkout.path / self.gone).rename(checkout.path.parent / "gone")
        checkout.ignore(*self.ignored.split())
        if self.git:
            checkout.call(*self.git.split())
        checkout.mine = checkout.write(self.mine)


def staged_new_file_that_is_there_too(checkout: Checkout) -> None:
    checkout.has({}, {"new": GITS})
    checkout.put("new")
    checkout.call("add", "new")
    checkout.write({"new": "a person's, later"})


def socket_at_path(checkout: Checkout) -> None:
    checkout.has({}, {"s": GITS})
    checkout.ignore("s")
    os.mknod(checkout.path / "s", 0o140600)
    checkout.mine.add(checkout.path / "s")


def submodule_with_ignored_file(checkout: Checkout) -> None:
    inner = Repository(checkout.path.parent, "inner")
    inner.path.mkdir()
    inner.call("init", "--quiet", "--initial-branch=main")
    first = inner.commit({"code": "1", ".gitignore": "data\n"})
    (inner.path / "data").write_text(GITS, encoding="utf-8")
    inner.call("add", "--force", "data")
    second = inner.commit({"code": "2"})
    checkout.call("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(inner.path), "sub")
    inside = Repository(checkout.path, "sub")
    inside.call("checkout", "--quiet", first)
    checkout.here = checkout.commit({"code": "1"})
    inside.call("checkout", "--quiet", second)
    checkout.there = checkout.commit({"code": "2"})
    checkout.call("reset", "--quiet", "--hard", checkout.here)
    inside.call("checkout", "--quiet", first)
    checkout.put("sub/data")


def directory_becomes_submodule(checkout: Checkout) -> None:
    submodule_with_ignored_file(checkout)
    (checkout.path / "sub").rename(checkout.path.parent / "away")
    checkout.call("rm", "--quiet", "--cached", "sub")
    checkout.here = checkout.commit({"sub/own": GITS})
    checkout.call("reset", "--quiet", "--hard", checkout.here)
    checkout.put("sub/data")
    checkout.ignore("data")


def put_repository(checkout: Checkout, name: str) -> None:
    own = Repository(checkout.path, name)
    own.path.mkdir()
    own.call("init", "--quiet")
    own.commit({"mine": MINE})
    checkout.mine |= {own.path / "mine", own.path / ".git" / "HEAD"}


def nested_repository_at_a_submodules_place(checkout: Checkout) -> None:
    submodule_with_ignored_file(checkout)
    (checkout.path / "sub").rename(checkout.path.parent / "away")
    checkout.call("rm", "--quiet", "--cached", "sub")
    (checkout.path / ".gitmodules").unlink()
    checkout.here = checkout.commit({"code": "3"})
    checkout.ignore("sub")
    put_repository(checkout, "sub")


def repository_below_directory_that_becomes_file(checkout: Checkout) -> None:
    checkout.has({"pkg/a.py": "1"}, {"pkg": GITS})
    checkout.ignore("own")
    put_repository(checkout, "pkg/own")


UPLOADS = {"uploads/keep": MINE, "media": "->uploads"}
PHOTO, CONF, CONF_1, CONF_2 = {"media/2026/photo.jpg": MINE}, {"conf": MINE}, {"conf": "1"}, {"conf": "2"}
HIDDEN, SKIPPED = "update-index --assume-unchanged conf", "update-index --skip-worktree conf"
BIG = {"big/conf": MINE, "big/more": MINE}
CASES: dict[str, Callable[[Checkout], None]] = {
    "an ignored name with a newline": Case({}, {'a\nb "c"/d': GITS}, "a*", {'a\nb "c"/d': MINE}),
    "an ignored name that is not UTF-8": Case({}, {NOT_UTF8: GITS}, "caf*", {NOT_UTF8: MINE}),
    "a directory became a link to uploads": Case(
        {"media/keep": "1"}, {"media/keep": "2"}, "media uploads", UPLOADS, gone="media"
    ),
    "a directory became a link to uploads, and is removed": Case(
        {"media/keep": "1"}, {}, "media uploads", UPLOADS, gone="media"
    ),
    "a file became a directory, and is removed": Case({"media": "1"}, {}, "media/", PHOTO, gone="media"),
    "a file became a directory, and changes": Case({"media": "1"}, {"media": "2"}, "media/", PHOTO, gone="media"),
    "removed from the index, and changes": Case(CONF_1, CONF_2, "conf", CONF, git="rm -q --cached conf"),
    "removed from the index, and there": Case(CONF_1, {}, "conf", CONF, git="rm -q --cached conf"),
    "removed from the index, and becomes a directory": Case(
        CONF_1, {"conf/x": "2"}, "conf", CONF, git="rm -q --cached conf"
    ),
    "a directory removed from the index becomes a file": Case(
        {"conf/a": "1", "conf/b": "1"}, CONF_2, "conf", {"conf/a": MINE}, git="rm -q --cached -r conf"
    ),
    "assumed unchanged, and changes": Case(CONF_1, CONF_2, "", CONF, git=HIDDEN),
    "assumed unchanged, and removed": Case(CONF_1, {}, "", CONF, git=HIDDEN),
    "skipped, and changes": Case(CONF_1, CONF_2, "", CONF, git=SKIPPED),
    "skipped, and removed": Case(CONF_1, {}, "", CONF, git=SKIPPED),
    "a sparse checkout with files of its own": Case(
        {"big/conf": "1"}, {"big/conf": "2", "big/more": GITS}, "big", BIG, git="sparse-checkout set --no-cone /code"
    ),
    "a link to the outside above": Case({}, {"media/a/b": GITS}, "media", {"../srv/a/b": MINE, "media": "->../srv"}),
    "a dangling link above": Case({}, {"media/a/b": GITS}, "media", {"media": "->/nowhere/at/all"}),
    "a directory of caches becomes a file": Case(
        {"pkg/a.py": "1"}, {"pkg": GITS}, "*.pyc", {"pkg/__pycache__/a.pyc": MINE}
    ),
    "a directory becomes a link": Case(
        {"pkg/a.py": "1", "real/a.py": "1"}, {"pkg": "->real", "real/a.py": "1"}, "*.db", {"pkg/site.db": MINE}
    ),
    "two levels change places": Case(
        {"a/b/c": "1"}, {"a": "1", "b/a": "2"}, "*.log b", {"a/b/x.log": MINE, "b/a": MINE}
    ),
    "a new file that is staged, and there": staged_new_file_that_is_there_too,
    "a socket": socket_at_path,
    "a submodule with an ignored file": submodule_with_ignored_file,
    "a directory becomes a submodule": directory_becomes_submodule,
    "a repository at the place of a submodule": nested_repository_at_a_submodules_place,
    "a repository below a directory that becomes a file": repository_below_directory_that_becomes_file,
}


def look(place: Path) -> str | bytes:
    if place.is_symlink():
        return f"-> {place.readlink()}"
    return place.read_bytes() if place.is_file() else f"{place.stat().st_mode:o}" if place.exists() else "nothing"


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("way", ["forward", "backward"])
def test_nothing_of_a_person_is_lost(checkout: Checkout, case: str, way: str) -> None:
    CASES[case](checkout)
    before = {place: look(place) for place in checkout.mine}
    assert before
    checkout.move(way)
    assert {place: look(place) for place in checkout.mine} == before


# What is in the way


def test_a_path_that_git_tracks_is_never_in_the_way(checkout: Checkout) -> None:
    """A directory of tracked files becomes a file, and a file a directory."""
    checkout.has({"a/one": "1", "a/b/two": "2", "c": "3"}, {"a": "1", "c/d/e": "3"})
    assert checkout.git.in_the_way(checkout.here, checkout.there) == []
    checkout.git.fast_forward(checkout.there)
    assert checkout.git.in_the_way(checkout.there, checkout.here) == []
    checkout.git.reset_keep(checkout.here)
    assert checkout.call("status", "--porcelain") == ""


def test_only_what_is_untracked_in_a_directory_is_named(checkout: Checkout) -> None:
    checkout.has({"media/readme": "1"}, {"media": "now a file"})
    checkout.ignore("*.jpg")
    checkout.put("media/deep/photo.jpg")
    assert checkout.git.in_the_way(checkout.here, checkout.there) == ["media/deep/photo.jpg"]
    with pytest.raises(ToolError, match=r"media/deep/photo\.jpg is not tracked"):
        checkout.git.fast_forward(checkout.there)


def test_half_a_move_is_not_undone_over_what_git_does_not_track(checkout: Checkout) -> None:
    """A person has made a directory where the commit to go back to has a file."""
    checkout.has({}, {"media": GITS})
    checkout.put("media/2026/photo.jpg")
    assert checkout.git.undo_half_merge(checkout.there, checkout.here) == ["media/"]
    assert (checkout.path / "media" / "2026" / "photo.jpg").exists()


def test_a_name_in_a_commit_cannot_run_a_command_that_is_pasted() -> None:
    advice = advise_in_the_way(["a; touch b"], Path("/srv/shop"))
    assert "`mv '/srv/shop/a; touch b' /srv/`" in advice
