"""Versions are compared with the lock, and group and mode with what releaser gives to files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from releaser.locking.installed import Pin
from releaser.releases.agreement import package_findings, permission_findings

LOCKED = ("alpha", "beta", "of-linux", "site")
PINS = (Pin("alpha", "1.0"), Pin("beta", "2.0.0"), Pin("of-linux", "3"))
SOUND = {"alpha": "1.0", "beta": "2", "site": "0"}


@pytest.mark.parametrize(
    ("found", "sealed", "expected"),
    [
        pytest.param(SOUND, SOUND, {}, id="what a marker keeps out is not missed"),
        pytest.param(
            SOUND, {}, {"of-linux": "it is not installed, and the lock says 3"}, id="unless nobody knows what was there"
        ),
        pytest.param({**SOUND, "alpha": "1.1"}, SOUND, {"alpha": "it is 1.1, and the lock says 1.0"}, id="another"),
        pytest.param({**SOUND, "alpha": "x"}, SOUND, {"alpha": "it is x, and the lock says 1.0"}, id="no version"),
        pytest.param(
            {"alpha": "1.0"}, SOUND, {"beta": "it is not installed, and the lock says 2.0.0"}, id="one removed"
        ),
        pytest.param(
            {**SOUND, "gamma": "1"}, SOUND, {"gamma": "1 is installed, and it is not in the lock"}, id="one added"
        ),
        pytest.param({**SOUND, "pip": "1"}, {**SOUND, "pip": "1"}, {}, id="what was adopted with it"),
    ],
)
def test_versions_are_compared(found: dict[str, str], sealed: dict[str, str], expected: dict[str, str]) -> None:
    said = package_findings(PINS, found, sealed, locked=LOCKED)
    assert {one.package: one.message for one in said} == expected


def test_one_of_several_locked_versions_will_do() -> None:
    pins = (Pin("Alpha_x", "1"), Pin("alpha-x", "2"))
    assert list(package_findings(pins, {"alpha-x": "2"}, {}, locked=["Alpha_x"])) == []
    (one,) = package_findings(pins, {"alpha-x": "3"}, {}, locked=["Alpha_x"])
    assert one.message == "it is 3, and the lock says 1 or 2"


def test_group_and_mode_are_compared(tmp_path: Path) -> None:
    files = {"right": 0o664, "closed": 0o600, "program": 0o755, "open": 0o666}
    for name, mode in files.items():
        (tmp_path / name).touch()
        (tmp_path / name).chmod(mode)
    (tmp_path / "link").symlink_to("right")
    there = {path.name: path.lstat() for path in tmp_path.iterdir()}
    group = os.lstat(tmp_path / "right").st_gid
    said = {one.path: one.message for one in permission_findings(there, group=group, others=True)}
    assert said == {
        "closed": "its mode is 600, and should be 664",
        "open": "its mode is 666, and should be 664",
        "program": "its mode is 755, and should be 775",
    }
    said = {one.path: one.message for one in permission_findings(there, group=group + 1, others=True)}
    assert said["link"] == f"it belongs to group {group}, and not to {group + 1}"
