"""The lock files that a dead git has left, and those of one at work, in real repositories."""

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from releaser.errors import ToolError
from tests.support.commands import git_executable
from tests.support.guards import require
from tests.support.templates import write_files
from tests.tools.repository import Repository


def test_a_killed_git_leaves_no_lock_behind_and_that_of_another_git_stays(repository: Repository) -> None:
    hook = repository.hook("pre-commit", "kill -9 $PPID")
    write_files(repository.path, {"uv.lock": "new"})
    other = repository.path / ".git" / "refs" / "heads" / "other.lock"
    other.touch()
    os.utime(other, (other.stat().st_mtime - 60,) * 2)
    with pytest.raises(ToolError, match="SIGKILL"):
        repository.git.commit_only(["uv.lock"], "Update")
    hook.unlink()
    assert [path.name for path in (repository.path / ".git").rglob("*.lock")] == ["other.lock"]
    assert repository.git.commit_only(["uv.lock"], "Update")


def test_a_killed_push_leaves_the_index_to_whoever_has_locked_it(repository: Repository) -> None:
    repository.hook("pre-push", "touch .git/index.lock; kill -9 $PPID")
    repository.commit({"code.py": "two"})
    with pytest.raises(ToolError, match="SIGKILL"):
        repository.git.push("origin", "main", "HEAD")
    assert (repository.path / ".git" / "index.lock").exists()


def test_locks_that_outlive_every_git_are_taken_away(repository: Repository) -> None:
    git_directory = repository.path / ".git"
    dead = [git_directory / name for name in ("index.lock", "HEAD.lock", "refs/heads/main.lock")]
    older = git_directory / "config.lock"
    for lock in (*dead, older):
        lock.touch()
    os.utime(older, (1000, 1000))
    assert repository.git.remove_dead_locks(time.time() - 60)
    assert [lock.exists() for lock in (*dead, older)] == [False, False, False, True]


@contextlib.contextmanager
def at_work(place: Path, *, program: Path | None = None, user: int | None = None) -> Iterator[None]:
    """Let somebody's git wait for input in a directory, or another program of its kind."""
    words = [str(program)] if program else [str(git_executable()), "stripspace"]
    with subprocess.Popen(
        words, cwd=place, user=user, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as somebody:
        name = os.path.basename(words[0])[:15]
        with open(f"/proc/{somebody.pid}/comm", encoding="utf-8") as comm:
            while comm.read().strip() != name:  # the kernel sets it a little after the new program was begun
                comm.seek(0)
        yield
        assert somebody.poll() is None
        somebody.kill()


@pytest.fixture
def lock(repository: Repository) -> Path:
    """Leave a lock of the index, as a git that waits for an editor does."""
    found = repository.path / ".git" / "index.lock"
    found.touch()
    return found


def test_locks_stay_while_a_git_is_at_work_there(repository: Repository, lock: Path, tmp_path: Path) -> None:
    lock.unlink()
    repository.call("worktree", "add", "--quiet", "--detach", "../linked")
    (repository.path.parent / "linked" / "deeper").mkdir()
    lock.touch()
    for place in (".", ".git", "../linked", "../linked/deeper"):
        with at_work(repository.path / place):
            assert not repository.git.remove_dead_locks(0), place
    pushing = tmp_path / "git-receive-pack"  # of which the kernel keeps 15 characters
    shutil.copy("/bin/cat", pushing)
    with at_work(repository.path / ".git", program=pushing):
        assert not repository.git.remove_dead_locks(0)
    assert lock.exists()
    assert repository.git.remove_dead_locks(0)
    assert not lock.exists()


def test_neither_a_git_elsewhere_nor_one_of_another_user_keeps_a_lock_but_that_user_its_own(
    repository: Repository, elsewhere: Repository, lock: Path
) -> None:
    require(os.geteuid() == 0, "root, to be another user")
    theirs, nobody = lock.with_name("config.lock"), 65534
    theirs.touch()
    os.chown(theirs, nobody, nobody)
    with at_work(elsewhere.path), at_work(repository.path, user=nobody):
        assert repository.git.remove_dead_locks(0)
    assert (lock.exists(), theirs.exists()) == (False, True)


def test_the_locks_of_another_work_tree_are_left_to_it(repository: Repository, lock: Path) -> None:
    lock.unlink()
    repository.call("worktree", "add", "--quiet", "--detach", "../linked")
    linked = Repository(repository.path.parent, "linked")
    own, shared = (linked.git.layout.git_directory / "index.lock", repository.path / ".git" / "packed-refs.lock")
    for one in (lock, own, shared):
        one.touch()
    assert linked.git.remove_dead_locks(0)
    assert [one.exists() for one in (lock, own, shared)] == [True, False, False]


def test_a_lock_that_has_taken_the_place_of_a_dead_one_stays(
    repository: Repository, lock: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def somebody_locks(*_: object, **__: object) -> bool:
        lock.rename(lock.with_name("gone"))
        lock.touch()
        return False

    monkeypatch.setattr("releaser.tools.git.may_be_running", somebody_locks)
    repository.git.remove_dead_locks(0)
    assert lock.exists()
