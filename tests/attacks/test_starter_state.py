"""A starter runs nothing that another user could replace between its check and the start.

Its STATE may lie in a directory that a group may write, be reached by a stranger's symlink, or be made by a stranger in
/tmp before the first start.
"""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from releaser.pipelines.bootstrap import Starter, write_starter
from tests.attacks.people import MEMBER, OWNER, STRANGER, TEAM, People
from tests.e2e.test_group_use import base_python
from tests.support.commands import run


class Place:
    """A starter of the owner's, whose environment is there, and what is on the way to it."""

    def __init__(self, people: People, name: str) -> None:
        self.people, self.top = people, people.base / f"starter-{name}"
        self.shared = self.top / "shared"
        self.state, self.file = self.shared / "state", self.top / "shop.py"
        self.bin = self.state / "shop" / "venv" / "bin"
        self.bin.mkdir(parents=True)
        (self.bin / "python").symlink_to(base_python())
        (self.state / "shop" / ".venv").symlink_to("venv")
        self.program = self.bin / "shop"
        self.program.write_text("#!/bin/sh\necho started\n", encoding="utf-8")
        self.program.chmod(0o755)
        run(["chown", "-hR", f"{OWNER}:", self.shared], cwd=self.top, env=os.environ, check=0)
        self.write(self.state)

    def write(self, state: Path) -> None:
        text = Starter(name="shop", requirements=["shop"], state=str(state)).text()
        write_starter(self.file, text)
        self.file.chmod(0o755)

    def start(self) -> tuple[int, str, str]:
        env = {"PATH": "/usr/bin:/bin", "HOME": self.people.of(OWNER).pw_dir}
        done = self.people.run_as(OWNER, base_python(), self.file, env=env)
        return done.returncode, done.stdout.strip(), done.stderr


def open_to_the_team(path: Path) -> None:
    run(["chgrp", TEAM, path], cwd=path.parent, env=os.environ, check=0)
    path.chmod(0o775)


def the_directory_above(place: Place) -> None:
    open_to_the_team(place.shared)


def the_state(place: Place) -> None:
    open_to_the_team(place.state)


def the_project(place: Place) -> None:
    open_to_the_team(place.state / "shop")


def the_venv(place: Place) -> None:
    open_to_the_team(place.bin.parent)


def the_programs(place: Place) -> None:
    open_to_the_team(place.bin)


def a_strangers_symlink(place: Place) -> None:
    drop = place.top / "drop"
    drop.mkdir()
    drop.chmod(0o1777)
    (drop / "state").symlink_to(place.state)
    os.chown(drop / "state", place.people.of(STRANGER).pw_uid, -1, follow_symlinks=False)
    place.write(drop / "state")


def a_symlink_in_the_teams_directory(place: Place) -> None:
    drop = place.top / "drop"
    drop.mkdir()
    (drop / "state").symlink_to(place.state)
    open_to_the_team(drop)
    place.write(drop / "state")


WAYS = (
    the_directory_above,
    the_state,
    the_project,
    the_venv,
    the_programs,
    a_strangers_symlink,
    a_symlink_in_the_teams_directory,
)


@pytest.mark.parametrize("way", WAYS)
def test_what_others_could_exchange_is_not_started(people: People, way: Callable[[Place], None]) -> None:
    place = Place(people, way.__name__)
    assert place.start()[:2] == (0, "started")
    way(place)
    status, stdout, stderr = place.start()
    assert (status, stdout) == (1, "")
    assert "belongs to another user, or others can write to it" in stderr


def test_a_member_of_the_team_who_exchanges_the_state_gets_nothing_started(people: People) -> None:
    place = Place(people, "exchanged")
    open_to_the_team(place.shared)
    theirs = place.shared / "theirs"
    script = f"mv {place.state} {place.shared}/away && mkdir -p {theirs} && ln -s {theirs} {place.state}"
    assert people.run_as(MEMBER, "/bin/sh", "-c", script, env={"PATH": "/usr/bin:/bin"}).returncode == 0
    assert place.start()[:2] == (1, "")


def test_what_only_the_group_of_the_user_may_write_is_started(people: People) -> None:
    place = Place(people, "umask-002")
    run(["chmod", "-R", "g+w", place.shared], cwd=place.top, env=os.environ, check=0)
    assert place.start()[:2] == (0, "started")


def test_a_state_that_a_stranger_makes_meanwhile_is_not_used(people: People) -> None:
    place = Place(people, "meanwhile")
    drop = place.top / "drop"
    drop.mkdir()
    drop.chmod(0o1777)
    state, stranger = drop / "state", people.of(STRANGER)
    place.write(state)
    text = place.file.read_text(encoding="utf-8")
    # The stranger is quicker than the starter, which has just looked.
    raced = text.replace("            os.makedirs(state(), mode=0o700, exist_ok=True)\n", "            RACE()\n", 1)
    assert raced != text
    raced = raced.replace(
        "# What you may edit",
        f"def RACE():\n    os.mkdir({str(state)!r}, 0o777)\n    "
        f"os.chown({str(state)!r}, {stranger.pw_uid}, {stranger.pw_gid})\n\n\n# What you may edit",
        1,
    )
    place.file.write_text(raced, encoding="utf-8")
    done = people.run_as("root", base_python(), place.file, env={"PATH": "/usr/bin:/bin", "HOME": "/root"})
    assert (done.returncode, [*state.iterdir()]) == (1, [])
    assert f"{state} belongs to another user" in done.stderr
