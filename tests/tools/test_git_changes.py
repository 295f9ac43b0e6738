"""What git is told when something is changed, as data; and half a merge that is undone, on a real repository."""

import itertools
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from releaser.errors import ToolError
from releaser.system.process import Finished, Runner
from releaser.tools.git import Git
from releaser.tools.git_state import Layout
from tests.support.templates import write_files
from tests.tools.repository import Repository


@dataclass(kw_only=True)
class Noting(Runner):
    """Runs nothing, and notes the words and environments of what it was asked to run."""

    asked: list[list[str]] = field(default_factory=list)
    environments: list[dict[str, str]] = field(default_factory=list)

    def run(self, argv: Sequence[str | Path], *, env: Any = None, **_: Any) -> Finished:
        """Note, and answer that one file has changed."""
        self.asked.append([str(word) for word in argv])
        self.environments.append(dict(env))
        words = tuple(self.asked[-1])
        return Finished(argv=words, returncode=0, stdout="M  uv.lock\n", stderr="", output="", seconds=0.0)


def test_whatever_git_writes_survives_a_power_cut(tmp_path: Path) -> None:
    """`git add` writes the object that the commit then finds and does not sync any more."""
    noting = Noting(environ={"UV_PROJECT_ENVIRONMENT": "/elsewhere"})
    git = Git(runner=noting, root=tmp_path, timeout=1)
    git.__dict__["layout"] = Layout(top=tmp_path, git_directory=tmp_path / ".git", common_directory=tmp_path / ".git")
    git.commit_only(["uv.lock"], "Update 1 package")
    git.fast_forward("c0ffee")
    git.push("origin", "main", "c0ffee")
    assert all(("-c", "core.fsync=all") in itertools.pairwise(words) for words in noting.asked)
    assert {env.get("UV_NO_SYNC") for env in noting.environments} == {"1"}, "hooks are told not to sync"
    told = [" ".join(words) for words in noting.asked]
    assert [one for one in told if one.endswith(" commit --quiet -m Update 1 package --only -- uv.lock")]
    assert [one for one in told if one.endswith(" push --quiet --porcelain origin c0ffee:refs/heads/main")], (
        "not by force"
    )


NAMES = ("a*b", "[x]", "?", "!a", "#a", "a  ", "a\\b", "a\u00e9", "below/a", "a\udcff")


@pytest.mark.parametrize("before", [b"", b"*.swp", b"*.swp\r\n/a\r\n", b"\xff\n"])
def test_what_is_excluded_is_exactly_that_and_a_persons_patterns_stay(tmp_path: Path, before: bytes) -> None:
    repository = Repository(tmp_path)
    repository.path.mkdir()
    repository.call("init", "--quiet")
    others = ("acb", "x", "b", "ab", "elsewhere/a*b", "below/b")
    write_files(repository.path, dict.fromkeys((*NAMES, *others), ""))
    file = repository.path / ".git" / "info" / "exclude"
    file.write_bytes(before)
    for _ in range(2):
        repository.git.exclude(*(repository.path / name for name in NAMES), tmp_path / "outside")
        assert {*repository.git.state().untracked} == {*others}
    lines = file.read_bytes().splitlines()
    assert lines[: len(lines) - len(NAMES)] == before.splitlines()


def test_a_member_of_the_group_excludes_files_in_the_repository_of_its_owner() -> None:
    """The file is only the owner's to write, as git makes it, and the directory is the group's."""
    user = 65534 if os.geteuid() == 0 else os.geteuid()  # to whom permissions apply
    with tempfile.TemporaryDirectory(dir="/tmp") as place:
        top = Path(place)
        write_files(top, {".git/info/exclude": "*.swp\n"})
        file, before = top / ".git" / "info" / "exclude", os.geteuid()
        file.chmod(0o444)
        for one in (top, file.parent):
            os.chown(one, user, -1)
        git = Git(runner=Runner(environ={}), root=top, timeout=1)
        git.__dict__["layout"] = Layout(top=top, git_directory=top / ".git", common_directory=top / ".git")
        os.seteuid(user)
        try:
            git.exclude(top / "dist")
        finally:
            os.seteuid(before)
        assert file.read_bytes() == b"*.swp\n/dist\n"


class TwoCommits(Repository):
    """A work tree with two commits; HEAD is at the first one."""

    def __init__(self, base: Path, before: dict[str, str], after: dict[str, str]) -> None:
        super().__init__(base, "work")
        self.path.mkdir()
        self.call("init", "--quiet")
        self.before = self.commit(before)
        (self.path / "gone").unlink(missing_ok=True)
        (self.path / "link").symlink_to("kept")
        self.after = self.commit(after)
        self.call("reset", "--quiet", "--hard", self.before)

    def texts(self, *names: str) -> list[str]:
        return [(self.path / name).read_text(encoding="utf-8") for name in names]

    def half_merged(self) -> Path:
        """Write what a merge writes, except for the index and HEAD; return a file that it adds."""
        self.call("--work-tree", str(self.path), "checkout", "--quiet", self.after, "--", ".")
        (self.path / "gone").unlink()
        self.call("reset", "--quiet")
        return self.path / "deep" / "er" / "added"

    def untouched(self) -> bool:
        return self.call("status", "--porcelain", "--untracked-files=all") == "" and not (self.path / "deep").exists()


@pytest.fixture
def repository(tmp_path: Path) -> TwoCommits:
    return TwoCommits(
        tmp_path, {"kept": "old\n", "gone": "old\n", "other": "old\n"}, {"kept": "new\n", "deep/er/added": "Grüße\n"}
    )


@pytest.mark.parametrize("length", [0, 3, 5, None])  # the first 5 bytes end within a letter
def test_half_a_merge_is_undone_whole_however_far_it_came(repository: TwoCommits, length: int | None) -> None:
    added = repository.half_merged()
    added.write_bytes(added.read_bytes()[:length])
    assert not repository.untouched()
    for _ in range(2):
        repository.git.undo_half_merge(repository.before, repository.after)
        assert repository.untouched()
        assert repository.texts("kept", "gone") == ["old\n", "old\n"]


def test_what_is_not_from_the_merge_stays(repository: TwoCommits) -> None:
    mine = {"deep/er/added": "mine\n", "note": "", "other": "mine\n"}
    write_files(repository.path, {**mine, "kept": "new\n"})  # git had written one file
    (repository.path / "link").symlink_to("note")
    repository.git.undo_half_merge(repository.before, repository.after)
    assert repository.texts(*mine, "kept") == [*mine.values(), "old\n"]
    assert (repository.path / "link").readlink() == Path("note")


def test_what_lies_behind_a_symlink_is_not_deleted(repository: TwoCommits, tmp_path: Path) -> None:
    added = repository.half_merged()
    (repository.path / "deep").rename(tmp_path / "elsewhere")
    (repository.path / "deep").symlink_to(tmp_path / "elsewhere")
    assert repository.git.in_the_way(repository.before, repository.after) == ["deep", "link"]
    repository.git.undo_half_merge(repository.before, repository.after)
    assert (repository.path / "deep").is_symlink()
    assert added.read_text(encoding="utf-8") == "Grüße\n"


@pytest.mark.parametrize("is_edited", [False, True])
def test_a_fast_forward_that_a_power_cut_tore_is_taken_back_without_what_somebody_wrote(
    repository: TwoCommits, is_edited: bool
) -> None:
    """HEAD and index have moved, and the files are names alone."""
    repository.call("reset", "--quiet", "--hard", repository.after)
    write_files(repository.path, {"kept": "mine\n" if is_edited else "", "deep/er/added": ""})
    with pytest.raises(ToolError):
        repository.git.reset_keep(repository.before)
    stayed = repository.git.reset_torn(repository.before, repository.after, power_cut=True, keep=print)
    assert (stayed, repository.texts("kept")) == ((["kept"], ["mine\n"]) if is_edited else ([], ["old\n"]))
    assert repository.untouched() is not is_edited
    assert repository.call("rev-parse", "HEAD") == repository.before
    assert ((repository.path / "gone").exists(), (repository.path / "deep").exists()) == (True, False)


@pytest.mark.parametrize("power_cut", [False, True])
def test_without_a_power_cut_only_the_file_that_git_was_writing_can_be_torn(tmp_path: Path, power_cut: bool) -> None:
    """What a person has cut short or emptied stays; what git had begun is kept aside before it is replaced."""
    old, new = ({name: f"{age} {name}\n" for name in "abcd"} for age in ("old", "new"))
    repository = TwoCommits(tmp_path, old, new)
    # git was cut off in b, and a person has cut d.
    write_files(repository.path, {"a": "new a\n", "b": "new", "d": "ne"})
    kept: list[tuple[str, str]] = []
    stayed = repository.git.reset_torn(
        repository.before,
        repository.after,
        power_cut=power_cut,
        keep=lambda path: kept.append((path.name, path.read_text(encoding="utf-8"))),
    )
    assert (stayed, kept) == (([], [("b", "new"), ("d", "ne")]) if power_cut else (["d"], [("b", "new")]))
    assert repository.texts(*"abc") == ["old a\n", "old b\n", "old c\n"]
    assert repository.texts("d") == ["old d\n" if power_cut else "ne"]


def test_what_is_staged_stays_staged_when_the_checkout_goes_back(tmp_path: Path) -> None:
    files = {"code": "1", "both": "1", "staged": "1", "more": "1"}
    repository = TwoCommits(tmp_path, files, {"code": "2"})
    repository.git.fast_forward(repository.after)
    write_files(repository.path, {"both": "staged", "staged": "staged", "new": "staged"})
    repository.call("rm", "--quiet", "--cached", "more")
    repository.call("add", "both", "staged", "new")
    write_files(repository.path, {"both": "and edited"})
    state = repository.call("status", "--porcelain")
    assert "MM both" in state
    repository.git.reset_keep(repository.before)
    assert repository.call("status", "--porcelain") == state
    assert repository.call("show", ":both") == "staged"
    assert repository.texts("both") == ["and edited"]
