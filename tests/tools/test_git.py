"""Driving git: what its status says, and real repositories."""

import contextlib
import os
import shutil
import socket
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from releaser.bundles.code import write_bundle
from releaser.errors import ToolError
from releaser.system import common, process
from releaser.system.process import Runner
from releaser.system.temporary import PREFIX, temporary_directory
from releaser.tools.git import Git
from releaser.tools.git_reader import LAYOUT, asks_for_credentials
from releaser.tools.git_state import CheckoutState, Layout, parse_status
from tests.support.answers import is_asked
from tests.support.commands import clean_environment, git_executable, run
from tests.support.guards import require
from tests.support.templates import write_files
from tests.tools.repository import SECONDS, Repository

OID = "1" * 40
HEADERS = f"# branch.oid {OID}\0# branch.head main\0# branch.upstream origin/main\0# branch.ab +0 -0\0"
ONE = f"N... 100644 100644 100644 {OID} {OID}"

# What git prints, and branch, head, what is dirty, what is untracked.
STATUSES: list[tuple[str, str | None, str | None, list[str], list[str]]] = [
    ("", None, None, [], []),
    (HEADERS, "main", OID, [], []),
    (HEADERS.replace("head main", "head (detached)"), None, OID, [], []),
    (HEADERS.replace(f"oid {OID}", "oid (initial)"), "main", None, [], []),
    (HEADERS + f"1 .M {ONE} a.py\0", "main", OID, ["a.py"], []),
    (HEADERS + f"1 A. {ONE} two words.py\0", "main", OID, ["two words.py"], []),
    (HEADERS + f"1 .M {ONE} a\nb\0? c\nd\0", "main", OID, ["a\nb"], ["c\nd"]),
    (HEADERS + f"1 .M {ONE} ? a\0? 1 b\0", "main", OID, ["? a"], ["1 b"]),
    (HEADERS + f"2 R. {ONE} R100 new\0? old\0? x\0", "main", OID, ["new"], ["x"]),
    (HEADERS + f"2 C. {ONE} C75 copy\0original\0", "main", OID, ["copy"], []),
    (HEADERS + f"u UU N... 100644 100644 100644 100644 {OID} {OID} {OID} a b\0", "main", OID, ["a b"], []),
    (HEADERS + f"1 .M S.M. 160000 160000 160000 {OID} {OID} sub module\0", "main", OID, ["sub module"], []),
    (HEADERS + "? dir/file\0! ignored\0", "main", OID, [], ["dir/file"]),
    (HEADERS + "# stash 3\0", "main", OID, [], []),
]  # fmt: skip


@pytest.mark.parametrize(("text", "branch", "head", "dirty", "untracked"), STATUSES)
def test_a_status_is_understood(
    text: str, branch: str | None, head: str | None, dirty: list[str], untracked: list[str]
) -> None:
    expected = CheckoutState(branch=branch, head=head, dirty=tuple(dirty), untracked=tuple(untracked))
    assert parse_status(text) == expected


def test_the_state_of_a_real_checkout(repository: Repository) -> None:
    head = repository.call("rev-parse", "HEAD")
    assert repository.git.state() == CheckoutState(branch="main", head=head, dirty=(), untracked=())
    repository.call("mv", "code.py", "new name.py")
    write_files(repository.path, {"uv.lock": "two", "dir/new\nline": "", "ignored.log": "", "größe": ""})
    state = repository.git.state()
    assert (state.dirty, state.untracked) == (("new name.py", "uv.lock"), ("dir/new\nline", "größe"))


def test_the_branch(repository: Repository) -> None:
    git, head = repository.git, repository.path / ".git" / "HEAD"
    assert git.branch() == git.layout.branch() == "main"
    repository.call("checkout", "--quiet", "-b", "größe/2")
    assert git.branch() == git.layout.branch() == git.state().branch == "größe/2"
    repository.call("checkout", "--quiet", "--detach")
    assert git.branch() is git.layout.branch() is git.state().branch is None
    for text in ("ref: refs/heads/.invalid\n", "ref: refs/tags/one\n"):  # the first is that of the format reftable
        head.write_text(text, encoding="utf-8")
        assert git.layout.branch() is None


def test_looking_does_not_touch_the_index(repository: Repository) -> None:
    index = repository.path / ".git" / "index"
    os.utime(repository.path / "code.py", (1, 1))  # git would note that only the time differs
    before = index.read_bytes()
    repository.git.state()
    assert index.read_bytes() == before


def test_the_layout_of_a_project_below_the_top_and_of_a_linked_work_tree(repository: Repository) -> None:
    top = repository.path
    assert repository.git.layout == Layout(top=top, git_directory=top / ".git", common_directory=top / ".git")
    repository.commit({"web/code.py": ""})
    assert replace(repository.git, root=top / "web").layout.top == top
    repository.call("worktree", "add", "--quiet", "-b", "other", "../linked")
    assert replace(repository.git, root=top.parent / "linked").layout == Layout(
        top=top.parent / "linked",
        git_directory=top / ".git" / "worktrees" / "linked",
        common_directory=top / ".git",
    )


@pytest.mark.parametrize(
    ("change", "asks"),
    [
        ((), False),
        (("checkout", "--quiet", "--detach"), False),
        (("pack-refs", "--all"), False),
        (("checkout", "--quiet", "--orphan", "empty"), False),
        (("config", "core.worktree", "{top}/web"), True),
        (("config", "core.bare", "true"), True),
        (("init", "--quiet", "--separate-git-dir={top}/../elsewhere"), True),
    ],
)
def test_the_usual_layout_is_known_without_asking_git(
    repository: Repository, change: tuple[str, ...], *, asks: bool
) -> None:
    repository.commit({"web/code.py": ""})
    if change:
        repository.call(*(word.format(top=repository.path) for word in change))
    git, found = replace(repository.git, runner=Runner(environ=repository.env)), None
    with contextlib.suppress(ToolError):  # of git, as a bare repository has no work tree
        found = git.layout
        answer = repository.call("rev-parse", "--path-format=absolute", "--show-toplevel", "--git-dir")
        assert [str(found.top), str(found.git_directory)] == answer.splitlines()
    assert (found is None or (git.root, *LAYOUT) in git.runner.remembered) == asks


def test_only_git_knows_the_layout_of_an_unusual_repository(repository: Repository) -> None:
    repository.commit({"web/code.py": ""})
    own = repository.path / ".git"
    assert Layout.usual(repository.path) is not None
    assert Layout.usual(repository.path / "web") is None
    head = (own / "HEAD").read_bytes()
    for broken in (b"", b"ref: elsewhere\n"):
        (own / "HEAD").write_bytes(broken)
        assert Layout.usual(repository.path) is None
    (own / "HEAD").write_bytes(head)
    (own / "commondir").touch()
    assert Layout.usual(repository.path) is None
    (own / "commondir").unlink()
    own.rename(repository.path / "moved")
    own.symlink_to("moved")
    assert Layout.usual(repository.path) is None


@pytest.mark.parametrize("name", [".", ".git"])
def test_git_itself_decides_about_a_repository_of_another_user(repository: Repository, name: str) -> None:
    require(os.geteuid() == 0, "only root can give a directory to another user")
    os.chown(repository.path / name, 12345, -1)
    assert Layout.usual(repository.path) is None


@pytest.mark.parametrize("relative", ["true", "false"])  # of git 2.48 and later
def test_git_is_not_asked_for_what_its_files_say(repository: Repository, relative: str) -> None:
    """The layout of a work tree that was just made is as git itself tells it; nothing lies between HEAD and itself."""
    head = repository.commit({"web/code.py": ""})
    repository.call("config", "worktree.useRelativePaths", relative)
    repository.call("update-ref", "refs/remotes/origin/main", head)
    git, place = replace(repository.git, root=repository.path / "web"), repository.path.parent / "made"
    git.add_work_tree(place, head)
    told = replace(git, root=place / "web", runner=Runner(environ=repository.env)).layout
    tree = replace(git, root=place / "web")
    assert git.blob(head, "code.py") is not None
    git.__dict__["_program"] = tree.__dict__["_program"] = "nowhere/git"
    assert tree.layout == told
    assert git.tracked("origin", "main") == head
    assert git.commits(head, "HEAD") == ()
    assert git.data(head, "code.py", likely=b"one") == b"one"
    with pytest.raises(ToolError):  # it is another one, so git is asked
        git.data(head, "code.py", likely=b"two")


@pytest.mark.parametrize(
    "left",
    [
        {},
        {"locked": "initializing"},
        {"locked": "initializing", "gitdir": ""},
        {"HEAD": "0" * 40, "commondir": "../..", "logs/HEAD": "", "index.lock": ""},
        {"ORIG_HEAD": "", "index": ""},
        {"gitdir": "", "HEAD": "0" * 40, "commondir": "../..", "index": ""},
    ],
)
def test_what_is_left_of_a_work_tree_is_forgotten_by_its_name_and_no_other(
    repository: Repository, left: dict[str, str]
) -> None:
    """Each but the last is what a `git worktree add` left that was killed at one of its system calls.

    The last is what a power cut leaves, after which files are empty that were not synced.
    """
    places = [repository.path.parent / name for name in (".site.tree", ".site.tree-live")]
    for place in places:
        repository.call("worktree", "add", "--quiet", "--detach", str(place))
    for record in (repository.path / ".git" / "worktrees").iterdir():
        shutil.rmtree(record)
        record.mkdir()
        write_files(record, left)
    git = repository.git
    assert git.has_work_tree(places[0])
    git.forget_work_tree(places[0])
    assert [git.has_work_tree(place) for place in places] == [False, True]


def test_a_work_tree_is_added_without_a_copy_of_releaser(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fork copies the tables of all memory, and then each page that either process writes to."""
    started = list[dict[str, Any]]()

    class Watched(subprocess.Popen[bytes]):
        def __init__(self, words: list[str], **options: Any) -> None:
            started.append(options)
            super().__init__(words, **options)

    monkeypatch.setattr(subprocess, "Popen", Watched)
    repository.git.add_work_tree(repository.path.parent / "tree", "HEAD")
    assert started
    assert not any(options["preexec_fn"] for options in started)


def test_outside_of_a_checkout_git_fails(tmp_path: Path) -> None:
    git = Git(runner=Runner(environ=clean_environment(tmp_path / "home", tmp_path)), root=tmp_path, timeout=SECONDS)
    with pytest.raises(ToolError) as caught:
        _ = git.layout
    assert "not a git repository" in caught.value.output


def test_a_real_merge_in_conflict_is_one(repository: Repository) -> None:
    repository.call("checkout", "--quiet", "-b", "other")
    repository.commit({"code.py": "theirs"})
    repository.call("checkout", "--quiet", "main")
    repository.commit({"code.py": "ours"})
    who = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
    assert repository.git.layout.in_progress() is None
    merge: list[str | Path] = [git_executable(), *who, "merge", "other"]
    assert run(merge, cwd=repository.path, env=repository.env).returncode == 1
    assert repository.git.layout.in_progress() == "a merge"
    assert repository.git.state().dirty == ("code.py",)


# Remotes


def test_the_remote_of_a_branch(tmp_path: Path) -> None:
    found = Repository(tmp_path)
    found.path.mkdir()
    found.call("init", "--quiet", "--template=")
    assert found.git.state() == CheckoutState(branch="main", head=None, dirty=(), untracked=())
    cases: list[tuple[list[str], str, str | None]] = [  # the remotes, which is configured, which it is
        ([], "", None),
        (["with.dots"], "", "with.dots"),
        (["with.dots"], ".", "with.dots"),
        (["with.dots", "one"], "", None),
        (["with.dots", "one"], "one", "one"),
        (["with.dots", "one", "origin"], "", "origin"),
        (["with.dots", "one", "origin"], "one", "one"),
        (["with.dots", "one", "origin"], "gone", "origin"),
    ]
    for remotes, configured, expected in cases:
        config = "".join(f'[remote "{name}"]\n\turl = ../{name}\n' for name in remotes)
        config += f'[branch "main"]\n\tremote = {configured}\n' if configured else ""
        (found.path / ".git" / "config").write_text(f"[core]\n\trepositoryformatversion = 0\n{config}")
        git = Git(runner=Runner(environ=found.env), root=found.path, timeout=SECONDS)
        assert git.remote("main") == expected, (remotes, configured)


def test_a_branch_that_the_remote_lacks_and_a_remote_that_is_gone(repository: Repository) -> None:
    assert repository.git.remote_commit("origin", "live") is None
    with pytest.raises(ToolError) as caught:
        repository.git.fetch("origin", "live")
    assert "couldn't find remote ref" in caught.value.output
    (repository.path.parent / "remote.git").rename(repository.path.parent / "gone.git")
    with pytest.raises(ToolError) as caught:
        repository.git.fetch("origin", "main")
    assert asks_for_credentials(caught.value) == ""
    with pytest.raises(ToolError):
        repository.git.remote_commit("origin", "main")


NO_NAME = "fatal: could not read Username for 'https://x': terminal prompts disabled"
NOT_LET_IN = "fatal: Authentication failed for 'https://x'"


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (NO_NAME, NO_NAME),
        (f"remote: no\n{NOT_LET_IN}", NOT_LET_IN),
        ("git@x: Permission denied (publickey).\nfatal: end", "git@x: Permission denied (publickey)."),
        ("Host key verification failed.\nfatal: end", "Host key verification failed."),
        ("fatal: unable to access 'https://x': Could not resolve host: x", ""),
        ("", ""),
    ],
)
def test_what_asks_for_credentials_is_told_apart(output: str, expected: str) -> None:
    assert asks_for_credentials(ToolError("git failed", output=output)) == expected


# Moving forward and back


def test_a_fetch_moves_nothing_and_a_fast_forward_branch_and_files(
    repository: Repository, elsewhere: Repository
) -> None:
    git, before = repository.git, repository.call("rev-parse", "HEAD")
    theirs = elsewhere.commit({"code.py": "two", "new.py": ""})
    elsewhere.call("push", "--quiet")
    assert git.remote_commit("origin", "main") == theirs
    assert git.fetch("origin", "main") == theirs
    assert (git.state().head, (repository.path / "new.py").exists()) == (before, False)
    git.fast_forward(theirs)
    assert git.state() == CheckoutState(branch="main", head=theirs, dirty=(), untracked=())
    assert (repository.path / "new.py").exists()
    assert git.changed_since_parting(theirs, before) == {"code.py", "new.py"}
    git.reset_keep(before)
    assert git.state() == CheckoutState(branch="main", head=before, dirty=(), untracked=())
    assert not (repository.path / "new.py").exists()


def test_there_is_never_a_merge(repository: Repository, elsewhere: Repository) -> None:
    ours = repository.commit({"code.py": "ours"})
    elsewhere.commit({"other.py": ""})
    elsewhere.call("push", "--quiet")
    theirs = repository.git.fetch("origin", "main")
    assert [len(commits) for commits in repository.git.list_diverged("HEAD", theirs)] == [1, 1]
    assert [len(commits) for commits in repository.git.list_diverged("HEAD^", theirs)] == [0, 1]
    with pytest.raises(ToolError):
        repository.git.fast_forward(theirs)
    assert repository.git.state() == CheckoutState(branch="main", head=ours, dirty=(), untracked=())


def test_going_back_keeps_uncommitted_work_or_refuses(repository: Repository) -> None:
    before = repository.call("rev-parse", "HEAD")
    after = repository.commit({"code.py": "two"})
    write_files(repository.path, {"uv.lock": "mine", "note": "mine"})
    repository.git.reset_keep(before)
    assert (repository.path / "uv.lock").read_text(encoding="utf-8") == "mine"
    assert (repository.path / "note").exists()
    repository.call("checkout", "--quiet", "uv.lock")
    repository.git.reset_keep(after)
    write_files(repository.path, {"code.py": "mine"})
    with pytest.raises(ToolError):
        repository.git.reset_keep(before)
    assert (repository.path / "code.py").read_text(encoding="utf-8") == "mine"
    assert repository.git.state().head == after


@pytest.mark.parametrize("allowed", [True, False])
def test_a_file_of_a_commit_is_read_behind_the_filters_that_are_allowed(repository: Repository, allowed: bool) -> None:
    repository.call("config", "filter.turn.smudge", "rev")
    repository.call("config", "filter.turn.clean", "rev")
    commit = repository.commit({".gitattributes": "uv.lock filter=turn\n", "uv.lock": "abc\n", "other": "abc\n"})
    git = replace(repository.git, hooks=allowed)
    assert (git.data(commit, "uv.lock"), git.data(commit, "other")) == (b"abc\n" if allowed else b"cba\n", b"abc\n")
    assert git.data(commit, "gone") is None


def test_hooks_do_not_run_when_the_checkout_moves(repository: Repository) -> None:
    before = repository.call("rev-parse", "HEAD")
    after = repository.commit({"code.py": "two"})
    for name in ("post-checkout", "post-merge", "reference-transaction"):
        repository.hook(name, "touch hooked")
    repository.git.reset_keep(before)
    repository.git.fast_forward(after)
    assert not (repository.path / "hooked").exists()


def test_what_head_names_is_read_in_every_state_of_the_repository(repository: Repository) -> None:
    head = repository.call("rev-parse", "HEAD")
    assert repository.git.commit("HEAD") == head
    repository.commit({"code.py": "two"})
    now = repository.call("rev-parse", "HEAD")
    assert repository.git.commit("HEAD") == now
    repository.call("pack-refs", "--all")
    assert repository.git.commit("HEAD") == now
    repository.call("checkout", "--quiet", "--detach", head)
    assert repository.git.commit("HEAD") == head
    (repository.path / ".git" / "HEAD").write_bytes(b"\0" * 41)  # as a power cut may leave it
    with pytest.raises(ToolError):
        repository.git.commit("HEAD")


# Committing and pushing


def test_only_the_named_files_are_committed(repository: Repository) -> None:
    write_files(repository.path, {"uv.lock": "two", "requirements.txt": "new", "code.py": "two", "other": ""})
    repository.call("add", "code.py")
    assert repository.git.commit_only(["uv.lock", "requirements.txt"], "Update 1 package\n\nalpha: 1 -> 2") is True
    assert repository.call("show", "--name-only", "--format=%B").split("\n") == [
        "Update 1 package", "", "alpha: 1 -> 2", "", "", "requirements.txt", "uv.lock",
    ]  # fmt: skip
    assert repository.call("diff", "--cached", "--name-only") == "code.py"  # what somebody had staged stays so
    assert repository.git.state().untracked == ("other",)


def test_nothing_is_committed_where_nothing_differs(repository: Repository) -> None:
    head = repository.call("rev-parse", "HEAD")
    write_files(repository.path, {"code.py": "two"})
    assert repository.git.commit_only(["uv.lock"], "Nothing") is False
    os.utime(repository.path / "uv.lock", (1, 1))
    assert repository.git.commit_only(["uv.lock"], "Nothing") is False
    assert repository.call("rev-parse", "HEAD") == head


def test_a_commit_has_an_author_even_if_nobody_is_configured(repository: Repository) -> None:
    write_files(repository.path, {"uv.lock": "two"})
    repository.git.commit_only(["uv.lock"], "Update")
    assert repository.call("log", "-1", "--format=%an <%ae>").startswith("releaser <releaser@")
    repository.call("config", "user.name", "Grace")
    repository.call("config", "user.email", "grace@example.org")
    repository.git.runner.remembered.clear()  # as in the next run
    write_files(repository.path, {"uv.lock": "three"})
    repository.git.commit_only(["uv.lock"], "Update")
    assert repository.call("log", "-1", "--format=%an <%ae>") == "Grace <grace@example.org>"


def test_a_commit_that_git_or_a_hook_refuses_is_a_failure(repository: Repository) -> None:
    write_files(repository.path, {".gitignore": "new.lock\n", "new.lock": "one"})
    with pytest.raises(ToolError) as caught:
        repository.git.commit_only(["new.lock"], "Lock")
    assert "ignored" in caught.value.output
    repository.hook("pre-commit", "echo not today >&2; exit 1")
    write_files(repository.path, {"uv.lock": "two"})
    with pytest.raises(ToolError) as caught:
        repository.git.commit_only(["uv.lock"], "Update")
    assert "not today" in caught.value.output


def test_a_commit_that_cannot_be_signed_says_how_it_can_be_made(repository: Repository) -> None:
    for pair in ("commit.gpgSign true", "gpg.format ssh", "user.signingKey /nonexistent"):
        repository.call("config", *pair.split())
    write_files(repository.path, {"uv.lock": "two"})
    with pytest.raises(ToolError, match="the commit cannot be signed") as caught:
        repository.git.commit_only(["uv.lock"], "Update")
    assert f"git -C {repository.path} config --replace-all commit.gpgSign false" in caught.value.advice


def test_a_push_moves_the_remote_and_never_by_force(repository: Repository, elsewhere: Repository) -> None:
    head = repository.commit({"code.py": "two"})
    repository.call("switch", "--quiet", "--create", "feature")
    repository.commit({"code.py": "half"})
    repository.git.push("origin", "main", head)
    assert repository.git.remote_commit("origin", "main") == head
    elsewhere.commit({"code.py": "three"})
    with pytest.raises(ToolError) as caught:
        elsewhere.git.push("origin", "main", "HEAD")
    assert "[rejected]" in caught.value.output
    assert repository.git.remote_commit("origin", "main") == head


def test_a_proposal_reaches_a_mirror_that_is_behind_and_replaces_no_commit_of_others_there(
    repository: Repository, elsewhere: Repository
) -> None:
    """After a night without the mirror, each later night was refused: its branch was not as on the first address."""
    first, place = repository.call("rev-parse", "HEAD"), "refs/heads/releaser/update"
    repository.call("clone", "--quiet", "--bare", "../remote.git", "../mirror.git")
    for name in ("remote", "mirror"):
        repository.call("remote", "set-url", "--push", "--add", "origin", f"../{name}.git")
    names = ("../remote.git", "../mirror.git")

    def heads() -> list[str]:
        return [repository.call("ls-remote", name, place).partition("\t")[0] for name in names]

    older, newer = (repository.commit({"uv.lock": text}) for text in ("two", "three"))
    repository.call("push", "--quiet", "../remote.git", f"{older}:{place}")
    repository.git.push_over("origin", "releaser/update", newer, older)
    assert heads() == [newer, newer]
    repository.call("push", "--quiet", "--force", "../mirror.git", f"{older}:{place}")
    repository.git.push_over("origin", "releaser/update", newer, newer, is_own=lambda commit: commit == older)
    assert heads() == [newer, newer]
    theirs = elsewhere.commit({"code.py": "theirs"})
    elsewhere.call("push", "--quiet", "--force", "../mirror.git", f"{theirs}:{place}")
    with pytest.raises(
        ToolError, match=rf"mirror.git has commit {theirs[:12]} there, which this site did not"
    ) as caught:
        repository.git.push_over("origin", "releaser/update", first, newer)
    assert "git push ../mirror.git --delete releaser/update" in caught.value.advice
    assert heads() == [first, theirs]
    with pytest.raises(ToolError):
        repository.git.delete_branch("origin", "releaser/update", first)
    repository.call("push", "--quiet", "../mirror.git", "--delete", place)
    repository.call("push", "--quiet", "../remote.git", f"{first}:{place}")
    repository.git.delete_branch("origin", "releaser/update", first)
    assert heads() == ["", ""]


# What is committed


def test_no_character_of_a_subject_confuses_the_list_of_commits(repository: Repository) -> None:
    before = repository.git.commit("HEAD")
    commit = repository.commit({"a.txt": "a"}, "A\x1fseparator\tand more")
    (found,) = repository.git.commits(before, "HEAD")
    assert (found.id, found.subject, found.author) == (commit, "A separator and more", "Ada")


def test_the_key_of_a_large_repository_is_that_of_all_its_files(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "KEPT_HEAD", 10)
    monkeypatch.setattr(process, "KEPT_TAIL", 10)
    repository.commit({f"{number}.txt": "a" for number in range(20)})
    before = repository.git.code_key([])
    repository.commit({"10.txt": "b"})
    assert repository.git.code_key([]) != before


def test_the_key_of_the_code_is_that_of_what_is_committed_without_our_own_files(repository: Repository) -> None:
    key = repository.git.code_key(["uv.lock", "requirements.txt"])
    repository.commit({"uv.lock": "two", "requirements.txt": "new"})
    write_files(repository.path, {"code.py": "not committed"})
    assert repository.git.code_key(["uv.lock", "requirements.txt"]) == key
    assert repository.git.code_key(["requirements.txt"]) != key


def test_the_key_of_the_code_tells_of_every_change(repository: Repository) -> None:
    code = repository.path / "code.py"
    other = code.with_name("other.py")
    changes: list[Callable[[], object]] = [
        lambda: code.write_text("two", encoding="utf-8"),
        lambda: code.chmod(0o755),
        lambda: code.rename(other),
        lambda: (repository.path / "uv.lock2").touch(),
        other.unlink,
    ]
    keys = {repository.git.code_key(["uv.lock"])}
    for change in changes:
        change()
        repository.commit({})
        keys.add(repository.git.code_key(["uv.lock"]))
    assert len(keys) == 6


def test_files_are_known_tracked_or_ignored(repository: Repository) -> None:
    write_files(repository.path, {"dir/größe": ""})
    repository.commit({})
    assert repository.git.tracked_files() == [".gitignore", "code.py", "dir/größe", "uv.lock"]
    assert repository.git.ignores("site.log")
    assert not repository.git.ignores("code.py")
    assert repository.git.content("HEAD", "code.py") == "one"
    assert repository.git.content("HEAD", "gone.py") is None
    with pytest.raises(ToolError):
        repository.git.commit("no-such-commit")


def test_the_environment_of_a_caller_leads_git_nowhere_else(repository: Repository, tmp_path: Path) -> None:
    misleading = {"GIT_DIR": "/nowhere", "GIT_WORK_TREE": "/nowhere", "GIT_INDEX_FILE": "/nowhere", "LC_ALL": "de_DE"}
    git = Git(runner=Runner(environ={**repository.env, **misleading}), root=repository.path, timeout=SECONDS)
    assert git.state().branch == "main"
    assert git.layout.top == repository.path


def test_a_bundle_leaves_alone_what_a_project_in_the_same_repository_is_packing(
    repository: Repository, tmp_path: Path
) -> None:
    beside = repository.git.layout.common_directory / "bundle"
    dead = beside.with_name(f".bundle.{PREFIX}{'a' * 8}")
    dead.mkdir(mode=0o700)
    with temporary_directory(next_to=beside) as others:
        (others / "code.pack").touch()
        write_bundle(repository.git, tmp_path / "code.bundle", repository.git.commit("HEAD"))
        assert (others / "code.pack").exists()
    assert not [one for one in beside.parent.iterdir() if PREFIX in one.name]


@pytest.fixture
def together(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Let sites share answers, as with `--all`."""
    place = tmp_path / "answers"
    place.mkdir()
    monkeypatch.setattr(common, "_place", str(place))


@pytest.mark.usefixtures("together")
def test_clones_fetch_once_until_one_of_them_pushes(repository: Repository, elsewhere: Repository) -> None:
    shutil.copytree(repository.path, repository.path.parent / "second")
    second = Repository(repository.path.parent, "second").git
    first = elsewhere.commit({"code.py": "two"})
    elsewhere.call("push", "--quiet")
    assert repository.git.fetch("origin", "main", shared=True) == first
    other = elsewhere.commit({"code.py": "three"})
    elsewhere.call("push", "--quiet")
    assert second.fetch("origin", "main", shared=True) == first  # from the first clone
    assert second.has_commit(first)
    assert not second.has_commit(other)
    assert second.fetch("origin", "main") == other  # such as before a push
    assert repository.git.fetch("origin", "main", shared=True) == other
    with pytest.raises(ToolError):
        second.push("origin", "main", first)  # which is not the newest
    pushed = elsewhere.commit({"code.py": "four"})
    elsewhere.call("push", "--quiet")
    assert repository.git.fetch("origin", "main", shared=True) == pushed


@pytest.mark.usefixtures("together")
def test_at_a_remote_that_hangs_no_clone_waits_for_another_one(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:  # takes connections, and never answers
        repository.call("remote", "set-url", "origin", f"git://127.0.0.1:{server.getsockname()[1]}/x")
        git = Git(runner=Runner(environ=repository.env), root=repository.path, timeout=0.5)
        fetch, waits = git._fetch, list[bool]()

        def noting(_: Git, *words: str) -> str:
            waits.append(is_asked(Path(common._place)))
            return fetch(*words)

        monkeypatch.setattr(Git, "_fetch", noting)
        for _ in range(3):
            with pytest.raises(ToolError, match="still running"):
                git.fetch("origin", "main", shared=True)
    assert waits == [True, False, False]


@pytest.mark.usefixtures("together")
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("remote.origin.url", "../another.git"), ("http.extraHeader", "X-Other: 1"), ("core.sshCommand", "ssh -i x"),
        ("url.../another.git.insteadOf", "../remote.git"), ("include.path", "more"),
    ],
)  # fmt: skip
def test_a_clone_that_may_fetch_otherwise_asks_by_itself(
    repository: Repository, elsewhere: Repository, name: str, value: str
) -> None:
    shutil.copytree(repository.path, repository.path.parent / "second")
    shutil.copytree(repository.path.parent / "remote.git", repository.path.parent / "another.git")
    second = Repository(repository.path.parent, "second")
    second.call("config", name, value)
    first = elsewhere.commit({"code.py": "two"})
    elsewhere.call("push", "--quiet")
    assert repository.git.fetch("origin", "main", shared=True) == first
    other = elsewhere.commit({"code.py": "three"})
    elsewhere.call("push", "--quiet")
    expected = second.call("rev-parse", "HEAD") if "another" in f"{name} {value}" else other
    assert second.git.fetch("origin", "main", shared=True) == expected
