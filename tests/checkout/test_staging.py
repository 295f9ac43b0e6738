"""What a staging tree gets of a commit: submodules, and copies of what a symlink leads to."""

import contextlib
import os
import re
from pathlib import Path

import pytest

from releaser.checkout.staging import see_aside, stage_aside, staging_tree
from releaser.core.target import Target
from releaser.errors import BuildError
from releaser.site.site import Site, open_site
from tests.checkout.project import Project
from tests.support.logs import a_log
from tests.tools.repository import Repository

ALLOWED = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "protocol.file.allow", "GIT_CONFIG_VALUE_0": "always"}


def read_staged(site: Site, commit: str, name: str) -> str:
    with staging_tree(site, a_log(), commit) as there:
        return (there.project.root / name).read_text(encoding="utf-8")


class Libraries:
    """A project, and a library with another one in it as a submodule."""

    def __init__(self, base: Path) -> None:
        self.project = Project(base)
        self.project.env |= ALLOWED
        self.site = self.project.site()
        outer = self.project.path.parent
        self.deep, self.library = Repository(outer, "deep"), Repository(outer, "library")
        for one in (self.deep, self.library):
            one.env |= ALLOWED
            one.path.mkdir()
            one.call("init", "--quiet", "--initial-branch=main")
            one.commit({"code.txt": "old"})
        self.library.call("submodule", "--quiet", "add", self.deep.path, "deep")
        self.library.commit({})


@pytest.fixture
def libraries(tmp_path: Path) -> Libraries:
    return Libraries(tmp_path)


def test_submodules_of_submodules_are_staged_and_move_as_well(libraries: Libraries) -> None:
    project, library = libraries.project, libraries.library
    project.call("submodule", "--quiet", "add", library.path, "vendored")
    project.call("submodule", "--quiet", "update", "--init", "--recursive")
    before = project.commit({})
    libraries.deep.commit({"code.txt": "new"})
    Repository(library.path, "deep").call("pull", "--quiet")
    newest = library.commit({})
    project.call("update-index", "--cacheinfo", f"160000,{newest},vendored")
    project.call("-c", "user.name=Ada", "-c", "user.email=ada@example.org", "commit", "--quiet", "-m", "Take it")
    after = project.git.commit("HEAD")
    project.call("reset", "--quiet", before)
    name = "vendored/deep/code.txt"
    assert read_staged(libraries.site, after, name) == "new"
    git = libraries.site.git
    for move, commit, text in ((git.fast_forward, after, "new"), (git.reset_keep, before, "old")):
        move(commit)
        assert (project.path / name).read_text(encoding="utf-8") == text
        assert project.call("status", "--porcelain") == ""


def test_a_new_submodule_is_refused_and_staged_once_it_comes_in_as_the_advice_says(libraries: Libraries) -> None:
    project, elsewhere = libraries.project, libraries.project.elsewhere
    elsewhere.env |= ALLOWED
    elsewhere.call("submodule", "--quiet", "add", libraries.library.path, "vendored")
    commit = elsewhere.commit({})
    elsewhere.call("push", "--quiet")
    project.git.fetch("origin", "main")
    with pytest.raises(BuildError, match="adds the submodule vendored") as caught:
        read_staged(libraries.site, commit, "code.py")
    for command in re.findall("`git (.+?)`", caught.value.advice):
        project.call(*command.replace("COMMIT", commit).split())
    assert read_staged(libraries.site, commit, "vendored/code.txt") == "old"


@pytest.mark.parametrize("is_dry", [True, False])
@pytest.mark.parametrize("is_absolute", [True, False])
def test_what_is_written_in_the_tree_never_goes_through_a_symlink_to_the_live_file(
    tmp_path: Path, is_absolute: bool, is_dry: bool
) -> None:
    root, shared = tmp_path.resolve() / "site", tmp_path.resolve() / "shared"
    root.mkdir()
    shared.mkdir()
    names = {"pyproject.toml": "[project]\n", "uv.lock": "version = 1\n", "uv.toml": "offline = true\n"}
    for name, text in names.items():
        (shared / name).write_text(text, encoding="utf-8")
        (root / name).symlink_to(shared / name if is_absolute else os.path.relpath(shared / name, root))
    site = open_site(root, {"PATH": os.environ["PATH"], "RELEASER_GIT": "false"})
    site.state_dir.mkdir(parents=True)
    site.git.record_code()
    head = site.git.commit("HEAD")
    with contextlib.ExitStack() as stack:
        there = (
            stage_aside(see_aside(site, tmp_path / "aside"), a_log(), Target(head=head, commit=head))
            if is_dry
            else stack.enter_context(staging_tree(site, a_log(), head))
        )
        for name, text in names.items():
            assert (there.project.root / name).read_text(encoding="utf-8") == text
            (there.project.root / name).write_text("other", encoding="utf-8")
    assert {name: (root / name).read_text(encoding="utf-8") for name in names} == names
