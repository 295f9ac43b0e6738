"""Pushes of several sites and hosts to one repository: each succeeds, and no untested code and lock are combined."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from releaser.checkout.publish import SEEN, push_what_is_due
from releaser.core.follow_up import note_due, read_pending
from releaser.releases.store import store_of
from releaser.report import RunLog
from tests.checkout.project import Project
from tests.releases import makers
from tests.support.logs import a_log
from tests.support.signing import make_key

OURS = {"uv.lock": "version = 1\n# ours\n"}
OF_ANOTHER = {"blog/uv.lock": "version = 1\n"}
LOCK = """\
version = 1
requires-python = ">=3.11"

[[package]]
name = "alpha"
version = "{alpha}"
source = {{ registry = "https://example.org/simple" }}
"""


@pytest.fixture(params=[False, True], ids=["first", "later"])
def project(tmp_path: Path, request: pytest.FixtureRequest) -> Project:
    """A project, whose remote head releaser has accepted before or not."""
    project = Project(tmp_path)
    if request.param:
        project.git.set_reference(SEEN, project.first)
    return project


def commit(project: Project, files: Mapping[str, str] = OURS) -> str:
    """Make a commit as releaser does, whose push is due."""
    made = project.commit(files, "Update 1 package\n\nalpha: 1.0 -> 1.1")
    note_due(project.site(), commits=(made,), push=True)
    return made


def push(
    project: Project, variables: Mapping[str, str] | None = None, *, may_move: bool = True
) -> tuple[str, str, RunLog]:
    """Push the due commits; return the status and the detail of that step, and the log."""
    log = a_log()
    push_what_is_due(project.site(**variables or {}), log, may_move=may_move)
    (step,) = log.outcomes
    return step.status, step.detail, log


def remote_head(project: Project) -> str:
    return project.call("ls-remote", "origin", "refs/heads/main").split()[0]


def remote_head_by_file(project: Project) -> str:
    """Return the head without the program that answers a fetch."""
    return project.call("--git-dir=../remote.git", "rev-parse", "refs/heads/main").strip()


# The files that another site pushes meanwhile, the settings, the words of the step, and where the branch of the
# checkout is afterwards.
MEANWHILE: dict[str, tuple[Mapping[str, str], Mapping[str, str], str, str]] = {
    "the same lock": (OURS, {}, "origin has the same uv.lock", "theirs"),
    "another lock": ({"uv.lock": "version = 1\n# theirs\n"}, {}, "to origin", "follows"),
    "the lock of another site": (OF_ANOTHER, {}, "to origin", "on top"),
    "the same, and no pull": (OF_ANOTHER, {"RELEASER_GIT_PULL": "false"}, "push rejected", "refused"),
    "code": ({"code.py": "2\n"}, {}, "push rejected", "refused"),
    "code, and the lock of another site": ({"code.py": "2\n", **OF_ANOTHER}, {}, "push rejected", "refused"),
}


@pytest.mark.parametrize("what", MEANWHILE)
def test_a_push_that_comes_second(what: str, project: Project) -> None:
    files, variables, detail, outcome = MEANWHILE[what]
    ours, theirs = (
        commit(project),
        project.push_from_elsewhere({**files, "uv.lock": files.get("uv.lock", "version = 1\n")}),
    )
    status, said, log = push(project, variables)
    head, now = project.git.commit("HEAD"), remote_head(project)
    assert (status, detail in said) == ("failed" if outcome == "refused" else "ok", True), said
    assert (now == theirs) is (outcome in ("theirs", "refused"))
    assert head == (ours if outcome in ("refused", "on top") else now)
    assert project.git.state().dirty == ()
    assert read_pending(project.site().state_dir).push is (outcome == "refused")
    assert log.follow_up_failed is (outcome == "refused")
    if now != theirs:
        project.call("fetch", "--quiet")
        assert project.git.commit(f"{now}^") == theirs
        assert project.git.message(now) == project.git.message(ours)
        assert project.git.changed_since_parting(now, theirs) == {"uv.lock"}
        assert project.git.content(now, "uv.lock") == OURS["uv.lock"]


def test_the_branch_stays_for_the_rest_of_a_run_that_has_just_begun(project: Project) -> None:
    ours = commit(project)
    theirs = project.push_from_elsewhere(OURS)
    assert push(project, may_move=False)[0] == "ok"
    assert (project.git.commit("HEAD"), remote_head(project)) == (ours, theirs)


def test_nothing_is_fetched_while_the_remote_head_is_the_last_accepted_one(project: Project) -> None:
    project.call("config", "remote.origin.uploadpack", "false")
    project.git.set_reference(SEEN, project.first)
    ours = commit(project)
    assert push(project)[:2] == ("ok", "to origin")
    assert (remote_head_by_file(project), project.git.reference(SEEN)) == (ours, ours)
    assert (read_pending(project.site().state_dir).commits, read_pending(project.site().state_dir).push) == ((), False)


def test_a_mirror_that_is_behind_is_pushed_to_as_well(project: Project) -> None:
    project.call("clone", "--quiet", "--bare", "../remote.git", "../mirror.git")
    project.git.set_reference(SEEN, project.commit({"code.py": "2\n"}))
    project.call("push", "--quiet", "origin", "main")
    for name in ("remote", "mirror"):
        project.call("remote", "set-url", "--push", "--add", "origin", f"../{name}.git")
    ours = commit(project)
    assert push(project)[:2] == ("ok", "to origin")
    assert (remote_head(project), project.call("ls-remote", "../mirror.git", "main").split()[0]) == (ours, ours)


def test_a_remote_branch_that_was_moved_back_stays_there(project: Project) -> None:
    accepted = project.commit({"code.py": "2\n"})
    project.call("push", "--quiet", "origin", "main")
    project.git.set_reference(SEEN, accepted)
    commit(project)
    project.move_remote(project.first)
    assert push(project)[0] == "failed"
    assert remote_head(project) == project.first


def test_a_commit_of_a_person_is_never_moved(project: Project) -> None:
    project.commit({"uv.lock": "version = 1\n# a person's\n"})
    ours = commit(project)
    theirs = project.push_from_elsewhere(OF_ANOTHER)
    status, said, _ = push(project)
    assert (status, "1 of your commits is not pushed" in said) == ("failed", True)
    assert (project.git.commit("HEAD"), remote_head(project)) == (ours, theirs)


def test_a_lock_with_newer_versions_stays_and_is_no_failure(project: Project) -> None:
    """Another host has upgraded further; this one has a hold, say."""
    commit(project, {"uv.lock": LOCK.format(alpha="1.1")})
    live = makers.live(store_of(project.site()), 1)
    live.lock.write_text(LOCK.format(alpha="1.1"), encoding="utf-8")
    theirs = project.push_from_elsewhere({"uv.lock": LOCK.format(alpha="1.2")})
    status, said, log = push(project)
    assert (status, said) == ("skipped", "origin has a newer uv.lock")
    assert remote_head(project) == theirs
    assert [found.code for found in log.findings] == ["lock-not-committed"]
    assert not read_pending(project.site().state_dir).push


def test_a_push_of_another_host_after_the_fetch_is_no_failure(project: Project) -> None:
    ours = commit(project)
    again = project.path.parent / "again"
    elsewhere = project.elsewhere
    elsewhere.commit(OF_ANOTHER)
    project.hook("pre-push", f"[ -e {again} ] || {{ touch {again}; git -C {elsewhere.path} push --quiet; }}")
    assert push(project, {"RELEASER_GIT_HOOKS": "true"})[:2] == ("ok", "to origin")
    assert again.exists()
    assert project.git.commit(f"{remote_head(project)}^") == elsewhere.git.commit("HEAD")
    assert project.git.commit("HEAD") == ours


@pytest.mark.parametrize("words", ["no", "fetch first", "! [rejected] main -> main (non-fast-forward)"])
def test_a_remote_that_refuses_is_asked_once(project: Project, words: str) -> None:
    """A hook may print words of git: only git itself says that the remote has other commits."""
    commit(project)
    hook = project.path.parent / "remote.git" / "hooks" / "pre-receive"
    hook.write_text(f"#!/bin/sh\necho asked >> ../asked\necho '{words}' >&2\nexit 1\n", encoding="utf-8")
    hook.chmod(0o755)
    status, said, log = push(project)
    assert (status, "push rejected" in said) == ("failed", False)
    assert f"the remote refuses it: pre-receive hook declined (it says: {words})" in log.findings[0].message
    assert "Let this user push to the branch" in log.findings[0].advice
    assert (project.path.parent / "asked").read_text(encoding="utf-8") == "asked\n"


def test_a_commit_that_is_put_on_top_is_signed_as_all_others(project: Project, tmp_path: Path) -> None:
    key, _ = make_key(tmp_path)
    for name, value in {"gpg.format": "ssh", "user.signingKey": str(key), "commit.gpgSign": "true"}.items():
        project.call("config", name, value)
    commit(project)
    project.push_from_elsewhere(OF_ANOTHER)
    assert push(project)[0] == "ok"
    project.call("fetch", "--quiet")
    assert "BEGIN SSH SIGNATURE" in project.call("cat-file", "commit", remote_head(project))
