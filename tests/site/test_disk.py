"""The state directory, as it is made, and what preflight looks at on disk. On real file systems."""

import os
import re
import shlex
import stat
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace

import pytest

from releaser.errors import Finding
from releaser.site import disk
from releaser.site.project import Project
from releaser.site.state_dir import prepare
from tests.support.guards import other_file_system, require


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "outer" / "site").mkdir(parents=True)
    return tmp_path / "outer" / "site"


def project(root: Path, state_dir: str | None = None, venv: str = ".venv") -> Project:
    return Project.at(root, state_dir=state_dir, venv=venv)


def messages(findings: Iterable[Finding]) -> list[str]:
    found = list(findings)
    assert all(finding.advice for finding in found)
    return [finding.message for finding in found]


def deny(monkeypatch: pytest.MonkeyPatch, *forbidden: Path) -> None:
    """Let this user write everywhere but in these, whoever runs the tests."""
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: access(path, mode) and Path(path) not in forbidden)


# The state directory


@pytest.mark.parametrize("made", [False, True])
def test_a_state_directory_beside_the_project_is_fit(root: Path, made: bool) -> None:
    if made:
        prepare(project(root))
    assert messages(disk.state_findings(project(root))) == []


@pytest.mark.parametrize(
    ("state_dir", "words"),
    [
        ("../file", "is not a directory"),
        ("../file/below", "is not a directory"),
        (".venv/state", "is inside the venv"),
        ("..", "contains the project itself"),
        (".", "contains the project itself"),
    ],
)
def test_a_state_directory_in_the_wrong_place_is_unfit(root: Path, state_dir: str, words: str) -> None:
    (root.parent / "file").touch()
    (message,) = messages(disk.state_findings(project(root, state_dir)))
    assert message.startswith("state_dir ")
    assert words in message


def test_a_state_directory_on_another_file_system_is_unfit(root: Path) -> None:
    place = other_file_system(root) / f"releaser-state-{os.getpid()}"
    (message,) = messages(disk.state_findings(project(root, str(place))))
    assert message == f"state_dir {place} is not on the project's file system"


def test_directories_that_are_not_writable_are_unfit(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deny(monkeypatch, root, root.parent)
    assert messages(disk.state_findings(project(root))) == [
        f"state_dir {root.parent / '.releaser' / 'site'} is not writable by this user",
        f"{root} is not writable by this user",
        f"{root.parent} is not writable by this user, so it cannot hold the staging tree",
    ]
    monkeypatch.undo()
    prepare(project(root))
    releases = project(root).releases
    deny(monkeypatch, releases)
    assert messages(disk.state_findings(project(root))) == [f"state_dir {releases.parent} is not writable by this user"]


@pytest.mark.parametrize("advice", ["sudo chown ", "sudo install -d -o "])
def test_an_outer_directory_of_another_user_is_explained_with_a_command(
    root: Path, monkeypatch: pytest.MonkeyPatch, advice: str
) -> None:
    if "install" in advice:  # as others have something there, too
        (root.parent / "blog").mkdir()
    deny(monkeypatch, root.parent)
    found = disk.find_unwritable_outer(project(root))
    assert found is not None
    assert f"`{advice}" in found.advice
    assert shlex.quote(str(root.parent)) in found.advice


# What stands at the place of the symlink


def test_nothing_and_any_symlink_and_a_real_venv_may_be_replaced(root: Path) -> None:
    (root / "link").symlink_to("nowhere")
    (root / "venv").mkdir()
    (root / "venv" / "pyvenv.cfg").touch()
    for name in ("nothing", "link", "venv"):
        assert messages(disk.venv_findings(root / name)) == []


@pytest.mark.parametrize(
    ("venv", "words"),
    [
        ("../bin", "is a directory, but not a venv"),
        ("file", "is neither a directory nor a symlink"),
        ("fifo", "is neither a directory nor a symlink"),
        ("gone/env", "venv: .* does not exist"),
        ("file/env", "venv: .* cannot be accessed"),
    ],
)
def test_anything_else_is_unfit(root: Path, venv: str, words: str) -> None:
    (root / "../bin").mkdir()
    (root / "file").touch()
    os.mkfifo(root / "fifo")
    (message,) = messages(disk.venv_findings(root / venv))
    assert re.match(words if "/env" in venv else f"{root / venv} {words}", message)


@pytest.mark.parametrize(
    ("is_link", "owner", "group", "user", "fit"),
    [
        (True, 1000, 50, 1000, True),
        (False, 1000, 50, 1000, True),
        (True, 1001, 50, 1000, True),  # a member of the group may move a symlink
        (True, 1001, 51, 1000, False),
        (False, 1001, 50, 1000, False),
        (True, 1000, 0, 0, False),  # root would leave files that the owner cannot change
        (False, 1000, 0, 0, False),
        (False, 0, 0, 0, True),
    ],
)
def test_only_who_may_replace_it_is_fit(
    root: Path, monkeypatch: pytest.MonkeyPatch, is_link: bool, owner: int, group: int, user: int, fit: bool
) -> None:
    link = root / ".venv"
    link.mkdir()
    (link / "pyvenv.cfg").touch()
    kind = stat.S_IFLNK if is_link else stat.S_IFDIR
    seen = SimpleNamespace(st_mode=kind | 0o755, st_uid=owner, st_gid=group)
    with monkeypatch.context() as patched:
        patched.setattr(os, "lstat", lambda _: seen)
        patched.setattr(os, "geteuid", lambda: user)
        patched.setattr(os, "getegid", lambda: 49)
        patched.setattr(os, "getgroups", lambda: [49, 50])
        said = messages(disk.venv_findings(link))
    assert said == ([] if fit else [f"{link} is owned by another user (uid {owner}; this is uid {user})"])


# Cloning


def test_it_is_tried_whether_copies_share_their_blocks(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def ioctl(descriptor: int, request: int, source: int) -> int:
        asked.append((os.fstat(descriptor).st_dev, request, os.fstat(source).st_size))
        return 0

    monkeypatch.setattr("fcntl.ioctl", ioctl)
    assert disk.can_clone(root) is True
    assert asked == [(root.stat().st_dev, 0x40049409, 1)]
    assert os.listdir(root) == []

    def refuse(*_: object) -> int:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("fcntl.ioctl", refuse)
    assert disk.can_clone(root) is False
    with pytest.raises(FileNotFoundError):
        disk.can_clone(root / "gone")


# The state directory, as it is made


@pytest.fixture(params=[0o022, 0o077])
def umask(request: pytest.FixtureRequest) -> object:
    """Run under a usual and under a strict umask: it must make no difference."""
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def a_project(root: Path, mode: int, state_dir: str | None = None) -> Project:
    root.chmod(mode)
    return project(root, state_dir)


def modes(*places: Path) -> list[str]:
    return [f"{stat.S_IMODE(place.stat().st_mode):04o}" for place in places]


@pytest.mark.usefixtures("umask")
@pytest.mark.parametrize(
    ("like", "above", "shared"), [(0o755, "0755", "2751"), (0o750, "0750", "2750"), (0o700, "0750", "2750")]
)
def test_the_web_server_gets_to_the_venv_if_it_gets_to_the_project(
    root: Path, like: int, above: str, shared: str
) -> None:
    found = a_project(root, like)
    prepare(found)
    assert modes(found.state_dir.parent) == [above]
    assert modes(found.state_dir, found.releases) == [shared, shared]
    assert modes(found.logs, found.outbox) == ["2750", "2750"]  # not for everybody, whatever the project is
    prepare(found, group_writable=True)
    assert modes(found.logs, found.outbox) == ["2770", "2770"]
    assert modes(found.state_dir, found.releases) == [f"{shared[:2]}7{shared[3:]}"] * 2


def test_what_an_earlier_version_has_opened_to_the_group_is_closed_unless_that_may_write_the_project(
    root: Path,
) -> None:
    found = a_project(root, 0o755)
    prepare(found, group_writable=True)
    code, outside = found.releases / "A" / "venv" / "code.py", root.parent / "outside"
    code.parent.mkdir(parents=True)
    for file in (code, outside):
        file.touch()
        file.chmod(0o664)
    (code.parent / "link").symlink_to(outside)
    code.parent.chmod(0o2775)
    places = (found.state_dir, found.releases, found.logs, found.outbox, code.parent, code, outside)
    before = modes(*places)
    for mode, group_writable in ((0o775, False), (0o755, True)):
        found.root.chmod(mode)
        prepare(found, group_writable=group_writable)
        assert modes(*places) == before
    prepare(found)
    assert modes(*places) == ["2751", "2751", "2750", "2750", "2755", "0644", "0664"]


@pytest.mark.usefixtures("umask")
def test_missing_parents_are_made_too_whatever_the_group(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    found = a_project(root, 0o755, "../a/b/c")
    monkeypatch.setattr(os, "chown", refuse)
    prepare(found)
    assert modes(*(found.outer / name for name in ("a", "a/b", "a/b/c"))) == ["0755", "0755", "2751"]


def test_what_is_there_is_left_as_it_is(root: Path) -> None:
    found = a_project(root, 0o755)
    found.releases.mkdir(parents=True)
    found.state_dir.chmod(0o700)
    found.releases.chmod(0o711)
    for _ in range(2):
        prepare(found)
    assert modes(found.state_dir, found.releases) == ["0700", "0711"]
    assert found.logs.is_dir()


def test_the_state_belongs_to_the_group_of_the_project(root: Path) -> None:
    require(os.geteuid() == 0, "only root may give files to any group")
    os.chown(root, -1, 54321)
    found = project(root)
    prepare(found)
    (found.releases / "A").mkdir()  # the directory hands it on
    places = (found.state_dir, found.releases, found.logs, found.releases / "A")
    assert {place.stat().st_gid for place in places} == {54321}


def test_releases_that_are_there_are_opened_to_a_group_that_is_to_write_them(root: Path) -> None:
    place = project(root)
    place.releases.mkdir(parents=True)
    release, link = place.releases / "20260101T000000Z", place.releases / "20260101T000001Z"
    somebodys, elsewhere = place.releases / "2026-photos", place.releases.parent / "elsewhere"
    for one in (release, somebodys, elsewhere):
        one.mkdir(mode=0o750)
    for one in (release, elsewhere):
        (one / ".releaser").touch()
    link.symlink_to(elsewhere)
    prepare(place, group_writable=True)
    assert [bool(one.stat().st_mode & stat.S_IWGRP) for one in (release, somebodys, elsewhere)] == [True, False, False]
