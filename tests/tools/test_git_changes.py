"""What git is told when something is changed, as data; and half a merge that is undone, on a real repository."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from releaser.errors import ToolError
from releaser.system.process import Finished, Runner
from releaser.system.words import Redactor
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

    def told(self, subcommand: str) -> list[str]:
        """Return the words of the one call of a subcommand, from the repository's on."""
        (words,) = (words[3:] for words in self.asked if subcommand in words)
        return words


@pytest.fixture
def noting() -> Noting:
    """Make a runner that notes."""
    return Noting(environ={"UV_PROJECT_ENVIRONMENT": "/elsewhere"}, redactor=Redactor([]))


@pytest.fixture
def told(noting: Noting, tmp_path: Path) -> Git:
    """Make a git that runs nothing."""
    made = Git(runner=noting, root=tmp_path, timeout=1)
    made.__dict__["layout"] = Layout(top=tmp_path, git_directory=tmp_path / ".git", common_directory=tmp_path / ".git")
    return made


def options(words: list[str]) -> set[str]:
    """Return what `-c` sets."""
    return {after for before, after in itertools.pairwise(words) if before == "-c"}


def test_whatever_git_writes_survives_a_power_cut(told: Git, noting: Noting) -> None:
    """`git add` writes the object that the commit then finds and does not sync any more."""
    told.commit_only(["uv.lock"], "Update 1 package")
    told.fast_forward("c0ffee")
    told.push("origin", "main", "c0ffee")
    assert all("core.fsync=all" in options(words) for words in noting.asked)
    assert {env.get("UV_NO_SYNC") for env in noting.environments} == {"1"}, "hooks are told not to sync"
    words = noting.told("commit")
    assert words[words.index("commit") :] == [
        *["commit", "--quiet", "-m", "Update 1 package", "--only", "--", "uv.lock"]
    ]
    words = noting.told("push")
    assert words[words.index("push") :] == ["push", "--quiet", "origin", "c0ffee:refs/heads/main"], "not by force"


# A real repository


class TwoCommits(Repository):
    """A work tree with two commits; HEAD is at the first one."""

    def __init__(self, base: Path) -> None:
        super().__init__(base, "work")
        self.path.mkdir()
        self.call("init", "--quiet")
        self.before = self.commit({"kept": "old\n", "gone": "old\n"})
        (self.path / "gone").unlink()
        (self.path / "link").symlink_to("kept")
        self.after = self.commit({"kept": "new\n", "deep/er/added": "Grüße\n"})
        self.call("reset", "--quiet", "--hard", self.before)

    def half_merged(self) -> None:
        """Write what a merge writes, except for the index and HEAD."""
        self.call("--work-tree", str(self.path), "checkout", "--quiet", self.after, "--", ".")
        (self.path / "gone").unlink()
        self.call("reset", "--quiet")

    def untouched(self) -> bool:
        return self.call("status", "--porcelain", "--untracked-files=all") == "" and not (self.path / "deep").exists()


@pytest.fixture
def repository(tmp_path: Path) -> TwoCommits:
    """Make a repository."""
    return TwoCommits(tmp_path)


def test_half_a_merge_is_undone_whole_however_far_it_came(repository: TwoCommits) -> None:
    repository.git.undo_half_merge(repository.before, repository.after)
    assert repository.untouched()
    added = repository.path / "deep" / "er" / "added"
    for length in (0, 3, None):  # even within a letter
        repository.half_merged()
        added.write_bytes(added.read_bytes()[:length])
        assert not repository.untouched()
        repository.git.undo_half_merge(repository.before, repository.after)
        assert repository.untouched()
        assert (repository.path / "kept").read_text(encoding="utf-8") == "old\n"


def test_what_is_not_from_the_merge_stays(repository: TwoCommits) -> None:
    (repository.path / "deep" / "er").mkdir(parents=True)
    mine = repository.path / "deep" / "er" / "added"
    mine.write_text("mine\n", encoding="utf-8")
    (repository.path / "link").symlink_to("gone")
    repository.git.undo_half_merge(repository.before, repository.after)
    assert mine.read_text(encoding="utf-8") == "mine\n"
    assert (repository.path / "link").readlink() == Path("gone")


def torn(repository: TwoCommits) -> None:
    """Leave what a power cut leaves of a fast-forward: HEAD and index have moved, the files are names alone."""
    repository.call("reset", "--quiet", "--hard", repository.after)
    for path in (repository.path / "kept", repository.path / "deep" / "er" / "added"):
        path.write_bytes(b"")


def test_a_fast_forward_that_a_power_cut_tore_is_taken_back(repository: TwoCommits) -> None:
    torn(repository)
    with pytest.raises(ToolError):
        repository.git.reset_keep(repository.before)
    assert repository.git.reset_torn(repository.before, repository.after, power_cut=True, keep=print) == []
    assert repository.untouched()
    assert repository.call("rev-parse", "HEAD") == repository.before
    assert (repository.path / "kept").read_text(encoding="utf-8") == "old\n"
    assert (repository.path / "gone").exists()


def test_what_somebody_wrote_meanwhile_is_not_taken_for_torn(repository: TwoCommits) -> None:
    torn(repository)
    (repository.path / "kept").write_text("mine\n", encoding="utf-8")
    stayed = repository.git.reset_torn(repository.before, repository.after, power_cut=True, keep=print)
    assert stayed == ["kept"]
    assert (repository.path / "kept").read_text(encoding="utf-8") == "mine\n"
    assert not (repository.path / "deep").exists()
    assert repository.call("rev-parse", "HEAD") == repository.before


@pytest.mark.parametrize("power_cut", [False, True])
def test_without_a_power_cut_only_the_file_that_git_was_writing_can_be_torn(tmp_path: Path, power_cut: bool) -> None:
    """What a person has cut short or emptied stays; what git had begun is kept aside before it is replaced."""
    repository = Repository(tmp_path)
    repository.path.mkdir()
    repository.call("init", "--quiet", "--initial-branch=main")
    names = ["a", "b", "c", "d"]
    before = repository.commit({name: f"old {name}\n" for name in names})
    after = repository.commit({name: f"new {name}\n" for name in names})
    repository.call("reset", "--quiet", "--hard", before)
    # git was cut off in b, and a person has cut d.
    write_files(repository.path, {"a": "new a\n", "b": "new", "c": "old c\n", "d": "ne"})
    kept: list[tuple[str, str]] = []
    stayed = repository.git.reset_torn(
        before, after, power_cut=power_cut, keep=lambda path: kept.append((path.name, path.read_text(encoding="utf-8")))
    )
    assert (stayed, kept) == (([], [("b", "new"), ("d", "ne")]) if power_cut else (["d"], [("b", "new")]))
    texts = {name: (repository.path / name).read_text(encoding="utf-8") for name in names}
    assert texts == {name: f"old {name}\n" for name in names} | ({} if power_cut else {"d": "ne"})


def test_what_is_staged_stays_staged_when_the_checkout_goes_back(tmp_path: Path) -> None:
    repository = Repository(tmp_path)
    repository.path.mkdir()
    repository.call("init", "--quiet", "--initial-branch=main")
    before = repository.commit({"code": "1", "both": "1", "staged": "1", "gone": "1"})
    repository.commit({"code": "2"})
    write_files(repository.path, {"both": "staged", "staged": "staged", "new": "staged"})
    repository.call("rm", "--quiet", "--cached", "gone")
    repository.call("add", "both", "staged", "new")
    write_files(repository.path, {"both": "and edited"})
    state = repository.call("status", "--porcelain")
    assert "MM both" in state
    repository.git.reset_keep(before)
    assert repository.call("status", "--porcelain") == state
    assert repository.call("show", ":both") == "staged"
    assert (repository.path / "both").read_text(encoding="utf-8") == "and edited"


def test_a_push_from_another_branch_pushes_the_commit_alone(repository: TwoCommits, tmp_path: Path) -> None:
    remote = tmp_path / "remote.git"
    repository.call("init", "--quiet", "--bare", str(remote))
    repository.call("remote", "add", "origin", str(remote))
    repository.call("switch", "--quiet", "--create", "feature")
    (repository.path / "kept").write_text("half\n", encoding="utf-8")
    repository.commit({})
    repository.git.push("origin", "main", repository.before)
    assert repository.call("ls-remote", "--heads", "origin").split() == [repository.before, "refs/heads/main"]


def test_what_lies_behind_a_symlink_is_not_deleted(repository: TwoCommits, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere" / "er" / "added"
    elsewhere.parent.mkdir(parents=True)
    repository.half_merged()
    data = (repository.path / "deep" / "er" / "added").read_bytes()
    repository.git.undo_half_merge(repository.before, repository.after)
    elsewhere.write_bytes(data)
    (repository.path / "deep").symlink_to(tmp_path / "elsewhere")
    assert repository.git.in_the_way(repository.before, repository.after) == ["deep"]
    repository.git.undo_half_merge(repository.before, repository.after)
    assert (repository.path / "deep").is_symlink()
    assert elsewhere.read_bytes() == data


def test_going_back_overwrites_no_file_that_git_ignores(repository: TwoCommits) -> None:
    """By itself `git reset --keep` does: a site may keep its own data where an earlier commit had a file."""
    (repository.path / "data.json").write_text("committed\n", encoding="utf-8")
    repository.call("add", "data.json")
    repository.commit({})
    earlier = repository.call("rev-parse", "HEAD")
    repository.call("rm", "--quiet", "data.json")
    (repository.path / ".gitignore").write_text("data.json\n", encoding="utf-8")
    repository.call("add", ".gitignore")
    repository.commit({})
    (repository.path / "data.json").write_text("the site's own\n", encoding="utf-8")
    with pytest.raises(ToolError, match=r"data\.json is not tracked"):
        repository.git.reset_keep(earlier)
    assert (repository.path / "data.json").read_text(encoding="utf-8") == "the site's own\n"
