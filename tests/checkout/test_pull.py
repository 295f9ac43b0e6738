"""Which commit of the remote may go live, and which a run refuses before it builds or stops anything."""

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from releaser.checkout.checks import take_snapshot
from releaser.checkout.pull import choose_target, fetch
from releaser.core.target import Target
from releaser.errors import PreflightError
from tests.checkout.project import PYPROJECT, Project
from tests.support.logs import a_log
from tests.support.templates import write_files


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def choose(project: Project, *, follow: bool = False, **variables: str) -> Target:
    """Fetch and choose, as an update does."""
    site, log = project.site(**variables), a_log()
    facts: Any = SimpleNamespace(checkout=SimpleNamespace(remote="origin", state=site.git.state()))
    head = fetch(site, log, facts, follow=follow)
    return choose_target(site, log, take_snapshot(site), facts, head, follow=follow)


def refused(project: Project, *, follow: bool = False, **variables: str) -> tuple[str, str]:
    """Return the code and the message of the one reason for which nothing is chosen."""
    head = project.git.commit("HEAD")
    with pytest.raises(PreflightError) as caught:
        choose(project, follow=follow, **variables)
    (finding,) = caught.value.findings
    assert finding.advice
    assert project.git.commit("HEAD") == head
    return finding.code, finding.message


def test_a_new_commit_is_chosen_and_of_what_releaser_itself_commits_no_code_comes(project: Project) -> None:
    assert choose(project) == Target(head=project.first, commit=project.first)
    lock = project.push_from_elsewhere({"uv.lock": "version = 2\n"})
    found = choose(project)
    assert (found.commit, found.brings_code, found.forward, len(found.commits)) == (lock, False, True, 1)
    code = project.push_from_elsewhere({"code.py": "2\n"})
    found = choose(project)
    assert (found.commit, found.brings_code, len(found.commits)) == (code, True, 2)
    project.git.fast_forward(code)
    mine = project.commit({"code.py": "mine\n"})
    assert choose(project) == Target(head=mine, commit=mine), "it is only ahead"


FILTERED = {"sub/.gitattributes": "*.bin filter=shout\n", "sub/a.bin": "quiet\n"}


def setting(line: str) -> dict[str, str]:
    return {"pyproject.toml": f"{PYPROJECT}\n[tool.releaser]\n{line}\n"}


@pytest.mark.parametrize(
    ("pushed", "configured", "code", "words"),
    [
        ({"a": ""}, ("merge.verifySignatures", "true"), "commit-unsigned", "commit {} has no trusted signature"),
        (FILTERED, ("filter.shout.smudge", "tr a-z A-Z"), "git-filter", "commit {} has files for git's filter shout"),
        (setting('state_dir = "../x"'), (), "commit-moves-places", "commit {} changes tool.releaser.state_dir from"),
        (setting('venv = "env"'), (), "commit-moves-places", "commit {} changes tool.releaser.venv from None to 'env'"),
        ({".gitignore": "", "conf/a.ini": ""}, (), "git-in-the-way", "conf/a.ini is not tracked"),
    ],
)
def test_a_commit_that_cannot_go_live_here_is_refused(
    project: Project, pushed: Mapping[str, str], configured: tuple[str, ...], code: str, words: str
) -> None:
    write_files(project.path, {"conf/a.ini": "mine"})
    if configured:
        project.call("config", *configured)
    commit = project.push_from_elsewhere(pushed)
    found, message = refused(project)
    assert found == code
    assert words.format(commit[:12]) in message


def test_a_filter_that_the_host_allows_and_a_setting_that_moves_nothing_are_chosen(project: Project) -> None:
    project.call("config", "filter.shout.smudge", "tr a-z A-Z")
    commit = project.push_from_elsewhere({**FILTERED, **setting("keep = 7")})
    assert choose(project, RELEASER_GIT_HOOKS="true").commit == commit


# A remote that is no fast-forward


def take(project: Project, *texts: str) -> list[str]:
    """Take commits of the remote, one after the other."""
    found = []
    for text in texts:
        found.append(project.push_from_elsewhere({"code.py": text}))
        project.git.fast_forward(choose(project).commit)
    return found


def test_branches_that_diverged_are_refused(project: Project) -> None:
    project.push_from_elsewhere({"code.py": "theirs"})
    project.commit({"mine.txt": ""})
    code, message = refused(project)
    assert (code, "main here and on origin have diverged" in message) == ("git-diverged", True)


def test_a_remote_that_was_moved_back_is_followed_only_on_demand_and_drops_nothing_of_here(project: Project) -> None:
    first, second = take(project, "one", "two")
    project.move_remote(first)
    code, message = refused(project)
    assert code == "git-rewritten"
    assert f"main on origin was moved back to {first[:12]}: it lacks 1 commit that is live here" in message
    found = choose(project, follow=True)
    assert (found.head, found.commit, found.forward) == (second, first, False)
    assert project.git.commit("HEAD") == second
    project.commit({"mine.txt": ""})
    assert refused(project, follow=True)[0] == "git-diverged"


def test_a_remote_that_was_rewritten_before_the_first_update_is_known_by_the_last_fetch(project: Project) -> None:
    second = project.commit({"code.py": "two"})
    project.call("push", "--quiet", "origin", "main")
    project.move_remote(project.first)
    other = project.push_from_elsewhere({"code.py": "another two"})
    code, message = refused(project)
    assert code == "git-rewritten"
    assert f"was rewritten to {other[:12]}" in message
    assert f"up to {second[:12]} (Work)" in message
    assert choose(project, follow=True).commit == other


def test_a_branch_that_was_renamed_on_the_remote_is_followed_as_the_advice_says(project: Project) -> None:
    project.call("--git-dir=../remote.git", "branch", "--move", "main", "trunk")
    with pytest.raises(PreflightError) as caught:
        choose(project)
    (finding,) = caught.value.findings
    command = "git branch --move main NAME"
    rename, push = finding.advice.index(f"`{command}`"), finding.advice.index("`git push origin main`")
    assert rename < push, "the push would bring back the earlier name, which gets no commits"
    project.call(*command.replace("NAME", "trunk").split()[1:])
    assert choose(project, RELEASER_BRANCH="trunk").commit == project.first
