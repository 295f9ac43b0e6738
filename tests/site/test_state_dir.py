"""The state directory, as it is made. On a real file system."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

from releaser.site import disk
from releaser.site.project import Project
from tests.support.guards import require

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(params=[0o022, 0o077])
def umask(request: pytest.FixtureRequest) -> object:
    """Run under a usual and under a strict umask: it must make no difference."""
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def project(tmp_path: Path, mode: int, *, state_dir: str | None = None) -> Project:
    root = tmp_path / "outer" / "site"
    root.mkdir(parents=True)
    root.chmod(mode)
    return Project.at(root, state_dir=state_dir, venv=".venv")


def modes(*places: Path) -> list[str]:
    return [f"{stat.S_IMODE(place.stat().st_mode):04o}" for place in places]


@pytest.mark.usefixtures("umask")
@pytest.mark.parametrize(
    ("like", "above", "shared"), [(0o755, "0755", "2775"), (0o750, "0750", "2770"), (0o700, "0750", "2770")]
)
def test_the_web_server_gets_to_the_venv_if_it_gets_to_the_project(
    tmp_path: Path, like: int, above: str, shared: str
) -> None:
    found = project(tmp_path, like)
    disk.prepare(found)
    assert modes(found.state_dir.parent) == [above]
    assert modes(found.state_dir, found.releases) == [shared, shared]
    assert modes(found.logs, found.outbox) == ["2770", "2770"]  # not for everybody, whatever the project is


@pytest.mark.usefixtures("umask")
def test_missing_parents_are_made_too(tmp_path: Path) -> None:
    found = project(tmp_path, 0o755, state_dir="../a/b/c")
    disk.prepare(found)
    assert modes(*(found.outer / name for name in ("a", "a/b", "a/b/c"))) == ["0755", "0755", "2775"]


def test_what_is_there_is_left_as_it_is(tmp_path: Path) -> None:
    found = project(tmp_path, 0o755)
    found.releases.mkdir(parents=True)
    found.state_dir.chmod(0o700)
    found.releases.chmod(0o711)
    disk.prepare(found)
    disk.prepare(found)
    assert modes(found.state_dir, found.releases) == ["0700", "0711"]
    assert found.logs.is_dir()


def test_the_state_belongs_to_the_group_of_the_project(tmp_path: Path) -> None:
    require(os.geteuid() == 0, "only root may give files to any group")
    found = project(tmp_path, 0o755)
    os.chown(found.root, -1, 54321)
    disk.prepare(found)
    assert [place.stat().st_gid for place in (found.state_dir, found.releases, found.logs)] == [54321] * 3
    (found.releases / "A").mkdir()
    assert (found.releases / "A").stat().st_gid == 54321  # the directory hands it on


def test_a_group_of_others_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "chown", refuse)
    found = project(tmp_path, 0o755)
    disk.prepare(found)
    assert modes(found.state_dir) == ["2775"]


def test_a_file_in_the_way_is_an_error_of_the_system(tmp_path: Path) -> None:
    found = project(tmp_path, 0o755)
    (found.outer / ".releaser").touch()
    with pytest.raises(NotADirectoryError):
        disk.prepare(found)
