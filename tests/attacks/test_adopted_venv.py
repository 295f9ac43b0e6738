"""A venv that others may write is closed before it is adopted, or refused: its code runs as the owner of the site."""

import grp
import os
import shutil
import stat
from pathlib import Path

import pytest

from releaser.site.ownership import close_to_others, find_open
from releaser.site.sealed_python import look_at_start_files, new_start_files
from tests.attacks.test_exchanged_python import QUESTIONS
from tests.support.commands import run
from tests.support.guards import require
from tests.support.sites import SampleSite, SiteFactory

OTHERS = 1  # a group, and a user, that every host has


def give(path: Path, way: str) -> None:
    """Let others write a file or directory: its user, its group, or everybody."""
    if way == "user":
        os.chown(path, OTHERS, -1)
    else:
        os.chown(path, -1, OTHERS)
        path.chmod(path.stat().st_mode | (stat.S_IWOTH if way == "everybody" else stat.S_IWGRP))


def open_up(site: SampleSite, *, way: str) -> None:
    """Let others write the venv, as umask 002 does with the group of a web server."""
    require(os.geteuid() == 0 and grp.getgrgid(OTHERS), "root gives files to a group")
    packages = next(site.link.resolve().glob("lib/python*/site-packages"))
    for one in (packages, packages / "alpha", packages / "alpha" / "__init__.py"):
        give(one, way)


@pytest.mark.parametrize(("way", "may"), [("group", False), ("everybody", False), ("group", True)])
def test_it_is_closed_and_reported_unless_its_group_may_write_it(
    make_site: SiteFactory, way: str, *, may: bool
) -> None:
    site = make_site(venv=True, settings={"group_writable": may})
    open_up(site, way=way)
    told = [one for one in site.json("init")["problems"] if "others can write to" in one]
    assert ["3 files" in one and "releaser removed that access" in one for one in told] == [True] * (not may)
    for place, _, files in os.walk(site.link.resolve()):
        for one in (place, *(os.path.join(place, name) for name in files if name != ".lock")):
            assert may or os.path.islink(one) or not os.stat(one).st_mode & (stat.S_IWOTH | stat.S_IWGRP), one


@pytest.mark.parametrize("way", ["group", "everybody", "user"])
def test_a_venv_behind_a_symlink_or_with_files_of_another_user_is_refused(
    make_site: SiteFactory, tmp_path: Path, way: str
) -> None:
    site = make_site(venv=True)
    if way != "user":  # one behind a symlink of somebody's own is not releaser's to close
        site.link.rename(tmp_path / "venv")
        site.link.symlink_to(tmp_path / "venv")
    open_up(site, way=way)
    modes = {path: path.lstat().st_mode for path in site.link.resolve().rglob("*")} if way != "user" else {}
    before = site.snapshot()
    assert "others can write to" in site.releaser("check", check=3).stderr
    said = site.releaser("init", check=3).stderr
    assert "others can write to" in said
    assert site.snapshot() == before
    assert f"chmod -R go-w {os.path.realpath(site.link)}`" in said
    assert modes == {path: path.lstat().st_mode for path in modes}
    advised = said.partition("then run `")[2].partition("`")[0].replace("sudo ", "")
    run(["sh", "-c", advised], cwd=tmp_path, env=os.environ)
    site.releaser("init", check=0)


def test_a_file_that_is_exchanged_for_a_symlink_is_opened_to_no_user(tmp_path: Path) -> None:
    """Who may write in the venv can exchange a file at any moment; what is elsewhere keeps its mode."""
    key, link = tmp_path / "key", tmp_path / "link"
    key.touch(mode=0o600)
    key.chmod(0o620)
    link.symlink_to(key)
    close_to_others(str(link), os.geteuid())
    assert stat.S_IMODE(key.stat().st_mode) == 0o620
    close_to_others(str(key), os.geteuid() + 1)
    assert stat.S_IMODE(key.stat().st_mode) == 0o620
    close_to_others(str(key), os.geteuid())
    assert stat.S_IMODE(key.stat().st_mode) == 0o600


def test_access_by_a_control_list_counts_as_access_by_others(tmp_path: Path) -> None:
    require(shutil.which("setfacl"), "setfacl is needed")
    path = tmp_path / "x.pth"
    path.touch(mode=0o644)
    if run(["setfacl", "-m", f"u:{OTHERS}:rw", path], cwd=tmp_path, env=os.environ).returncode:
        pytest.skip("this file system has no access control lists")
    assert [who for _, who in find_open(str(tmp_path), os.geteuid(), group_writable=False)] == [
        "other users (access control list)"
    ]


def add_start_file(site: SampleSite, mark: Path, name: str, *, way: str) -> None:
    """Put a file into the live venv that leaves a mark whenever its Python starts."""
    place = next(site.link.resolve().glob("lib/python*/site-packages")) / name
    place.parent.mkdir(exist_ok=True)
    code = f"import pathlib, sys; pathlib.Path({str(mark)!r}).write_text(repr(sys.orig_argv))\n"
    place.write_text(code, encoding="utf-8")
    for one in {place, place.parent} if "/" in name else {place}:
        if way != "owner":
            give(one, way)


@pytest.mark.parametrize(
    ("name", "is_seen"),
    [
        ("lib/python3.11/site-packages/a.pth", True),
        ("lib/python3.11/site-packages/a.py", False),
        ("lib/python3.11/site-packages/sitecustomize.py", True),
        ("lib/python3.11/site-packages/sitecustomize/deep/a.py", True),
        ("lib/python3.11/site-packages/_releaser_pin.py", True),
        ("lib/python3.11/site-packages/_releaser_pin_rare.py", True),
        ("lib/pypy3.11/site-packages/a.pth", True),
        ("lib64/python3.11/site-packages/a.pth", True),
        ("lib/python3.11/a.pth", False),
    ],
)
def test_start_up_files_are_found(tmp_path: Path, name: str, is_seen: bool) -> None:
    (tmp_path / "lib" / "python3.11" / "site-packages").mkdir(parents=True)
    sealed = look_at_start_files(str(tmp_path))
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text("import os\n", encoding="ascii")
    assert (new_start_files(str(tmp_path), sealed) == [name]) == is_seen
    sealed = look_at_start_files(str(tmp_path))
    assert new_start_files(str(tmp_path), sealed) == []
    (tmp_path / name).write_text("import sys\n", encoding="ascii")
    assert (new_start_files(str(tmp_path), sealed) == [name]) == is_seen


def test_an_unreadable_directory_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "lib" / "python3.11" / "site-packages"
    place.mkdir(parents=True)
    sealed = look_at_start_files(str(tmp_path))
    (tmp_path / "lib" / "aaa" / "site-packages").mkdir(parents=True)
    (place / "evil.pth").touch()
    real = os.listdir

    def refuse(path: str) -> list[str]:
        if "aaa" in path:
            raise PermissionError(13, "no", path)
        return real(path)

    monkeypatch.setattr(os, "listdir", refuse)
    assert new_start_files(str(tmp_path), sealed) == ["lib/aaa/site-packages", "lib/python3.11/site-packages/evil.pth"]


@pytest.mark.parametrize(
    ("name", "way"), [("evil.pth", "user"), ("sitecustomize.py", "group"), ("sitecustomize/__init__.py", "everybody")]
)
def test_files_that_others_added_after_the_adoption_are_not_started(
    make_site: SiteFactory, tmp_path: Path, name: str, way: str
) -> None:
    require(os.geteuid() == 0, "root gives files to others")
    site, mark = make_site(venv=True, settings={"group_writable": True}), tmp_path / "mark"
    site.releaser("init", check=0)
    live = site.live_id()
    add_start_file(site, mark, name, way=way)
    for words in QUESTIONS:
        finished = site.releaser(*(word.format(live=live, first=live) for word in words))
        assert not mark.exists(), words
        assert "Traceback" not in finished.stderr
        if words[0] in ("run", "status", "verify"):
            said = " ".join((finished.stdout + finished.stderr).split())
            assert f"{name}, which Python runs at each start, was added; " in said, words
            assert finished.returncode == 3 or words[0] != "run"
    site.releaser("update", check=0)
    assert not mark.exists()
    assert site.live_id() != live
    site.releaser("rollback", live, check=9)
    site.releaser("verify", check=0)


def test_files_that_the_owner_added_are_reported_and_removed_by_a_rebuild(
    make_site: SiteFactory, tmp_path: Path
) -> None:
    """The site runs it; so `run`, which starts programs as the site does, does not stand in its way."""
    site, mark = make_site(venv=True), tmp_path / "mark"
    site.releaser("init", check=0)
    live = site.live_id()
    add_start_file(site, mark, "own.pth", way="owner")
    for command in ("status", "verify"):
        assert "own.pth" in site.releaser(command).stdout
    assert not mark.exists()
    site.releaser("run", "--", "python", "-c", "", check=0)
    assert mark.exists()
    assert "own.pth is added" in str(site.json("update")["problems"])
    assert site.live_id() != live
