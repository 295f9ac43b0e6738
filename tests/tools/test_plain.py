"""A project without git, as others ask git."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from releaser.errors import ToolError
from releaser.system.process import Runner
from releaser.tools.git import Weight
from releaser.tools.plain import SMALL, PlainDirectory

if TYPE_CHECKING:
    from pathlib import Path


def directory(root: Path) -> PlainDirectory:
    own = frozenset({root / ".venv", root / "state"})
    return PlainDirectory(
        runner=Runner(environ={}), root=root, timeout=1, state_dir=root / "state", left_out=("media", "a/b"), own=own
    )


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Make a project with all that may lie in one."""
    root = tmp_path / "site"
    names = "app.py a/t.html a/b/x.py a/media/y.py .venv/z.py state/s.py env/pyvenv.cfg env/e.py __pycache__/c.py d.bin"
    for name in names.split():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name, encoding="utf-8")
    (root / "large.py").write_bytes(b"#" * (SMALL + 1))
    (root / "linked.py").symlink_to("app.py")
    (root / "dangling.py").symlink_to("nowhere.py")
    (root / "directory").symlink_to("a")
    os.mkfifo(root / "pipe.py")
    return root


def test_code_is_what_is_copied_and_no_data_and_where_links_to_directories_lead(root: Path) -> None:
    found = directory(root).read_code()
    assert [*found] == ["a/t.html", "app.py", "directory", "large.py", "linked.py"]
    assert found["app.py"] == found["linked.py"]
    assert directory(root).unknown_files() == ["a/t.html", "app.py", "d.bin", "large.py", "linked.py"]


def test_what_visitors_bring_is_no_code_and_another_site_is_apart(root: Path) -> None:
    before = directory(root).read_code()
    code = "shop/static/v.py shop/static/templates/a.html"
    data = "staticfiles/page.html uploads/a.yml shop/static/x.html"
    apart = "shop/.releaser/inner/s.py shop/.inner.releaser-staging-live/x.py"
    for name in " ".join((code, data, apart)).split():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name, encoding="utf-8")
    assert {*directory(root).read_code()} - {*before} == {*code.split()}
    assert {*apart.split()}.isdisjoint(directory(root).unknown_files())
    (root / "directory").unlink()
    (root / "directory").symlink_to("shop")
    assert directory(root).read_code()["directory"] != before["directory"]


def test_what_is_copied_is_weighed_by_its_place(root: Path) -> None:
    weights = directory(root).weigh()
    assert (weights["a"], weights["d.bin"], "large.py" in weights) == (
        Weight(files=1, bytes=8), Weight(files=1, bytes=5), False,
    )  # fmt: skip


def test_the_code_of_a_run_is_that_of_its_beginning(root: Path) -> None:
    run = directory(root)
    before = run.code_key(())
    (root / "d.bin").write_text("data", encoding="utf-8")
    assert directory(root).code_key(()) == before
    (root / "app.py").write_text("new", encoding="utf-8")
    assert run.code_key(()) == before
    assert directory(root).code_key(()) != before
    assert directory(root).code_key(("app.py", "linked.py")) == run.code_key(("app.py", "linked.py"))
    assert directory(root).code_key((), ends=(".html",)) == run.code_key((), ends=(".html",))


def test_a_staging_tree_is_releasers_while_that_is_noted(root: Path) -> None:
    git, place = directory(root), root.parent / ".site.releaser-staging"
    assert not git.has_work_tree(place)
    git.add_work_tree(place, "")
    assert place.is_dir()
    assert git.has_work_tree(place)
    assert not git.has_work_tree(root.parent / ".other.releaser-staging")
    git.forget_work_tree(place)
    git.forget_work_tree(place)
    assert not git.has_work_tree(place)


def test_what_only_git_can_do_is_an_error_that_says_so(root: Path) -> None:
    with pytest.raises(ToolError, match=r"is not under git, and `git push` was asked for"):
        directory(root).push("origin", "main", "HEAD")
