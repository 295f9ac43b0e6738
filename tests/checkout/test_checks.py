"""What people do to the checkout while a run builds and tests is seen before anything goes live."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from releaser.checkout.checks import check_checkout, find_changes, take_snapshot
from releaser.errors import Findings
from tests.checkout.project import Project
from tests.support.templates import write_files


@pytest.fixture
def project(tmp_path: Path) -> Project:
    found = Project(tmp_path)
    found.commit({"conf/site.py": ""})
    (found.path / ".venv").symlink_to("../releases/1/venv")
    (found.path / ".git" / "info" / "exclude").write_text("/.venv\n", encoding="utf-8")
    write_files(found.path, {"../.env": "", "conf/a.ini": "1", "conf/b.ini": "1", "site.db": "1"})
    return found


def edits(*names: str, commits: bool = False) -> Callable[[Project], object]:
    """Return what adds a line to files, and may commit them."""

    def act(project: Project) -> None:
        for name in names:
            with (project.path / name).open("a", encoding="utf-8") as file:
                file.write("# mine\n")
        if commits:
            project.commit({})

    return act


def moves_the_symlink(project: Project) -> None:
    (project.path / ".venv").unlink()
    (project.path / ".venv").symlink_to("../mine")


ACTS: Mapping[str, tuple[Callable[[Project], object], list[str]]] = {
    "commits": (edits("mine.txt", commits=True), ["checkout-commit"]),
    "edits uv.lock": (edits("uv.lock"), ["checkout-changed"]),
    "commits uv.lock": (edits("uv.lock", commits=True), ["checkout-commit", "checkout-changed"]),
    "edits pyproject.toml": (edits("pyproject.toml"), ["checkout-changed"]),
    "edits code": (edits("code.py"), ["checkout-edited"]),
    "switches the branch": (lambda project: project.call("switch", "--quiet", "--create", "mine"), ["checkout-moved"]),
    "changes .env": (edits("../.env"), ["checkout-changed"]),
    "moves the symlink": (moves_the_symlink, ["venv-changed"]),
    "edits configuration that git does not track": (edits("conf/a.ini"), ["untracked-changed"]),
    "edits configuration that is left out": (edits("conf/b.ini"), []),
    "lets the site write its data": (edits("site.db"), []),
}


@pytest.mark.parametrize("act", ACTS)
def test_each_act_is_found(project: Project, act: str) -> None:
    site = project.site(RELEASER_STAGING_OMIT="conf/b.ini")
    before = take_snapshot(site)
    assert find_changes(site, before) == ()
    do, codes = ACTS[act]
    do(project)
    assert [one.code for one in find_changes(site, before)] == codes


@pytest.mark.parametrize("is_told", [False, True])
def test_edits_that_git_is_told_to_overlook_are_named(project: Project, is_told: bool) -> None:
    """The tests would run without them, and visitors would get them."""
    (project.path / ".venv").unlink()
    site, findings = project.site(), Findings(())
    project.call("config", "status.showUntrackedFiles", "no")
    project.call("update-index", "--skip-worktree", "code.py")
    project.call("update-index", "--assume-unchanged", "uv.lock")
    if is_told:
        edits("code.py", "uv.lock", "deep ü.txt")(project)
    check_checkout(site, findings, frozenset(), frozenset())
    said = {one.code: one.message for one in findings}
    assert [*said] == (["git-dirty", "git-hidden-files"] if is_told else [])
    if is_told:
        assert said["git-dirty"].endswith("not clean: deep ü.txt")
        assert said["git-hidden-files"].endswith(": code.py, uv.lock")


@pytest.mark.parametrize(("allowed", "found"), [("true", []), ("false", ["git-filter"])])
def test_a_file_is_not_called_edited_only_because_git_may_not_start_its_filter(
    project: Project, allowed: str, found: list[str]
) -> None:
    project.call("config", "filter.turn.smudge", "rev")
    project.call("config", "filter.turn.clean", "rev")
    project.commit({".gitattributes": "*.bin filter=turn\n", "a.bin": "abc\n"})
    (project.path / "a.bin").touch()  # so that git reads it again
    findings = Findings()
    check_checkout(project.site(RELEASER_GIT_HOOKS=allowed), findings, frozenset(), frozenset())
    assert [finding.code for finding in findings] == found
