"""Which files are the code of a project, where no commit says so."""

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from releaser.checkout import staging
from releaser.checkout.shadow import list_code, record_code
from releaser.checkout.staging import see_aside, stage_aside, staging_tree
from releaser.core.run import new_log
from releaser.core.target import Target
from releaser.errors import BuildError, ToolError
from releaser.site.site import open_site
from releaser.tools.code_files import SMALL
from releaser.tools.git import Git


def code(root: Path) -> list[str]:
    variables = {"RELEASER_STAGING_LINK": "media", "RELEASER_STAGING_OMIT": "a/b", "RELEASER_STATE_DIR": "state"}
    return list_code(open_site(root, variables))


class Raising:
    """A function that always fails so."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __call__(self, *_: object, **__: object) -> None:
        raise self.error


def write(root: Path, names: str) -> None:
    for name in names.split():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name, encoding="utf-8")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Make a project with all that may lie in one."""
    root = tmp_path / "site"
    write(root, "app.py a/t.html a/b/x.py a/media/y.py .venv/z.py state/s.py env/pyvenv.cfg env/e.py __pycache__/c.py")
    write(root, "d.bin .env conf/prod.env uv.lock")
    (root / "large.py").write_bytes(b"#" * (SMALL + 1))
    (root / "linked.py").symlink_to("app.py")
    (root / "dangling.py").symlink_to("nowhere.py")
    (root / "directory").symlink_to("a")
    os.mkfifo(root / "pipe.py")
    return root


def test_code_is_small_and_no_data_and_no_secret_and_what_is_wanted_in_any_case(root: Path) -> None:
    assert code(root) == ["a/t.html", "app.py", "directory", "linked.py", "uv.lock"]
    (root / "uv.lock").write_bytes(b"#" * (SMALL + 1))
    assert "uv.lock" in code(root)


def test_symlinks_that_lead_out_are_no_code_as_tests_would_write_through_them(root: Path) -> None:
    before = code(root)
    (root.parent / "uploads").mkdir()
    (root / "above").symlink_to("../uploads")
    (root / "absolute").symlink_to(root / "a")
    (root / "a" / "up.py").symlink_to("../../other.py")
    (root / "a" / "inside.py").symlink_to("../app.py")
    assert {*code(root)} - {*before} == {"a/inside.py"}


def test_what_visitors_bring_is_no_code_and_another_site_is_apart(root: Path) -> None:
    before = code(root)
    wanted = "shop/static/v.py shop/static/templates/a.html"
    data = "staticfiles/page.html uploads/a.yml shop/static/x.html uploads/.env"
    apart = "shop/.releaser/inner/s.py shop/.inner.releaser-staging-live/x.py"
    write(root, f"{wanted} {data} {apart}")
    assert {*code(root)} - {*before} == {*wanted.split()}


def test_what_cannot_be_read_and_what_has_a_name_that_is_not_utf8_is_no_code(root: Path) -> None:
    before = code(root)
    with open(os.path.join(os.fsencode(root), b"caf\xe9.py"), "wb"):
        pass
    (root / "secret.py").touch(mode=0o000)
    (root / "closed").mkdir()
    (root / "closed" / "x.py").touch()
    (root / "closed").chmod(0o000)
    found = code(root)
    (root / "closed").chmod(0o700)
    assert {*found} - {*before} <= ({"secret.py", "closed/x.py"} if os.geteuid() == 0 else set())


@pytest.mark.parametrize("damage", ["all", "index", "HEAD", "objects", "lock"])
def test_one_that_is_lost_or_damaged_is_made_again(root: Path, damage: str) -> None:
    site = open_site(root, {"PATH": os.environ["PATH"], "RELEASER_GIT": "false"})
    site.state_dir.mkdir(parents=True)
    record_code(site)
    shadow = site.project.shadow
    place = {"all": shadow, "lock": shadow / "index.lock"}.get(damage, shadow / damage)
    if place.is_dir():
        shutil.rmtree(place)
    else:
        place.write_bytes(b"\0" * 9)
    write(root, "new.py")
    record_code(site)
    words: list[str | Path] = ["git", "--git-dir", shadow, "ls-tree", "-r", "--name-only", "HEAD"]
    recorded = subprocess.run(words, check=True, capture_output=True, text=True).stdout.split()
    assert {"app.py", "new.py"} <= {*recorded}


@pytest.mark.parametrize("is_dry", [True, False])
def test_a_staging_tree_that_fails_costs_no_dry_run_the_live_one_and_says_why_it_failed(
    root: Path, monkeypatch: pytest.MonkeyPatch, is_dry: bool
) -> None:
    site, log = open_site(root, {"PATH": os.environ["PATH"], "RELEASER_GIT": "false"}), new_log("update")
    site.state_dir.mkdir(parents=True)
    record_code(site)
    head, base = site.git.commit("HEAD"), root.parent / "aside"
    monkeypatch.setattr(Git, "fill_shadow" if is_dry else "add_work_tree", Raising(ToolError("git says no")))
    if not is_dry:
        monkeypatch.setattr(staging, "clear_name", Raising(PermissionError()))

    def stage() -> None:
        if is_dry:
            stage_aside(see_aside(site, base), log, Target(head=head, commit=head))
        else:
            staging_tree(site, log, head).__enter__()

    with pytest.raises(BuildError, match="git says no"):
        stage()
    assert site.git.commit("HEAD") == head


def test_a_staging_tree_is_for_this_user_alone_before_git_writes_there(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a checkout, git makes files readable for all that are for their owner alone in the project."""
    site, modes, add = open_site(root, {"PATH": os.environ["PATH"], "RELEASER_GIT": "false"}), [], Git.add_work_tree
    site.state_dir.mkdir(parents=True)
    record_code(site)

    def see_mode(git: Git, place: Path, commit: str) -> None:
        modes.append(stat.S_IMODE(place.stat().st_mode))
        add(git, place, commit)
        modes.append(stat.S_IMODE(place.stat().st_mode))

    monkeypatch.setattr(Git, "add_work_tree", see_mode)
    with staging_tree(site, new_log("update"), site.git.commit("HEAD")):
        pass
    assert modes == [0o700, 0o700]
