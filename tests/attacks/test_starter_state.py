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


def open_to_the_team(_: People, path: Path) -> None:
    run(["chgrp", TEAM, path], cwd=path.parent, env=os.environ, check=0)
    path.chmod(0o775)


def open_to_all(_: People, path: Path) -> None:
    path.chmod(0o777)


def of_a_stranger(people: People, path: Path) -> None:
    os.chown(path, people.of(STRANGER).pw_uid, -1, follow_symlinks=False)


WAYS = [
    *((open_to_the_team, part) for part in (".", "state", "state/shop", "state/shop/venv", "state/shop/venv/bin")),
    *((open_to_all, part) for part in ("state", "state/shop", "state/shop/venv")),
    *((of_a_stranger, part) for part in ("state", "state/shop", "state/shop/.venv", "state/shop/venv")),
]


@pytest.mark.parametrize(("way", "part"), WAYS)
def test_files_that_others_could_replace_are_not_started(
    people: People, way: Callable[[People, Path], None], part: str
) -> None:
    place = Place(people, f"{way.__name__}-{part.replace('/', '-')}")
    assert place.start()[:2] == (0, "started")
    way(people, place.shared / part)
    see_that_nothing_is_started(place)


def see_that_nothing_is_started(place: Place) -> None:
    status, stdout, stderr = place.start()
    assert (status, stdout) == (1, "")
    assert "belongs to another user, or others can write to it" in stderr


@pytest.mark.parametrize("others", ["a stranger", "the team"])
def test_a_state_behind_a_symlink_that_others_could_exchange_is_not_used(people: People, others: str) -> None:
    place = Place(people, f"linked-by-{others.split()[1]}")
    drop = place.top / "drop"
    drop.mkdir()
    (drop / "state").symlink_to(place.state)
    if others == "the team":
        open_to_the_team(people, drop)
    else:
        drop.chmod(0o1777)
        of_a_stranger(people, drop / "state")
    place.write(drop / "state")
    see_that_nothing_is_started(place)


def test_a_team_member_who_replaces_the_state_starts_nothing(people: People) -> None:
    place = Place(people, "exchanged")
    open_to_the_team(people, place.shared)
    theirs = place.shared / "theirs"
    script = f"mv {place.state} {place.shared}/away && mkdir -p {theirs} && ln -s {theirs} {place.state}"
    assert people.run_as(MEMBER, "/bin/sh", "-c", script, env={"PATH": "/usr/bin:/bin"}).returncode == 0
    assert place.start()[:2] == (1, "")


def test_files_that_only_the_group_of_the_user_may_write_are_started(people: People) -> None:
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
    race = f"os.mkdir({str(state)!r}, 0o777); os.chown({str(state)!r}, {stranger.pw_uid}, {stranger.pw_gid})"
    raced = text.replace("            os.makedirs(state(), mode=0o700, exist_ok=True)\n", f"            {race}\n", 1)
    assert raced != text
    place.file.write_text(raced, encoding="utf-8")
    done = people.run_as("root", base_python(), place.file, env={"PATH": "/usr/bin:/bin", "HOME": "/root"})
    assert (done.returncode, [*state.iterdir()]) == (1, [])
    assert f"{state} belongs to another user" in done.stderr
