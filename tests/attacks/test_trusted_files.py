"""A file of signers or of sites is trusted only if no other user could have written or replaced it.

The allowed signers of bundles, the revoked keys and the list of sites are looked at in one way: the file, and each
directory and symlink that leads there.
"""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from releaser.bundles.trust import Trust
from releaser.errors import PreflightError
from releaser.fleet.sites_file import read_sites
from releaser.system.process import Runner
from tests.attacks.people import STRANGER, TEAM, People
from tests.support.commands import run

DATA = b"a manifest"


class Place:
    """A directory of root's with a key, its signature, and the files that are tried."""

    def __init__(self, base: Path) -> None:
        self.base = base
        base.mkdir(mode=0o755)
        keygen = partial(run, cwd=base, env=os.environ, check=0)
        keygen(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "key", "-f", base / "key"])
        (base / "data").write_bytes(DATA)
        keygen(["ssh-keygen", "-q", "-Y", "sign", "-f", base / "key", "-n", "releaser-bundle", base / "data"])
        public = (base / "key.pub").read_text(encoding="utf-8")
        signers = f'builder@example.org namespaces="releaser-bundle" {public}'
        self.texts = {"signers": signers, "revoked": "", "sites": "first = ['/srv/x']\n"}
        self.signers = self.make("signers", "good")

    def make(self, kind: str, directory: str) -> Path:
        """Write a file of that kind into a new directory, as root alone may write it."""
        file = self.base / directory / kind
        file.parent.mkdir(mode=0o755)
        file.write_text(self.texts[kind], encoding="utf-8")
        file.chmod(0o644)
        return file

    def read(self, kind: str, file: Path) -> None:
        """Let releaser go by a file."""
        if kind == "sites":
            read_sites(file)
            return
        signers, revoked = (file, None) if kind == "signers" else (self.signers, file)
        signature, runner = (self.base / "data.sig").read_bytes(), Runner(environ=dict(os.environ))
        signer = Trust(signers=signers, revoked=revoked).verify(runner, DATA, signature)
        assert signer == "builder@example.org"


@pytest.fixture(scope="module")
def place(people: People) -> Place:
    return Place(people.base / "trust")


def _open_to_the_team(path: Path, mode: int) -> None:
    run(["chgrp", TEAM, path], cwd=path.parent, env=os.environ, check=0)
    path.chmod(mode)


def _link_by(owner: int, base: Path, target: Path, *, named: str) -> Path:
    link = base / named
    link.symlink_to(target)
    os.chown(link, owner, owner, follow_symlinks=False)
    return link


# How somebody else gets at the file, by what that makes of the path that is given to releaser.
def group_writable(_: People, file: Path) -> Path:
    _open_to_the_team(file, 0o664)
    return file


def writable_and_sticky(_: People, file: Path) -> Path:
    file.chmod(0o1666)  # the bit protects entries of a directory, and no file
    return file


def in_a_group_writable_directory(_: People, file: Path) -> Path:
    _open_to_the_team(file.parent, 0o775)
    return file


def below_a_writable_directory(_: People, file: Path) -> Path:
    (file.parent / "deep").mkdir(mode=0o755)
    file = file.rename(file.parent / "deep" / file.name)
    file.parent.parent.chmod(0o777)
    return file


def by_a_strangers_symlink(people: People, file: Path) -> Path:
    shared = file.parent / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    return _link_by(people.of(STRANGER).pw_uid, shared, file, named="here")


def by_a_symlink_in_a_strangers_directory(people: People, file: Path) -> Path:
    home = Path(people.of(STRANGER).pw_dir)
    second = _link_by(0, home, file, named=f"to-{file.parent.name}")
    return _link_by(0, file.parent, second, named="here")


def of_a_stranger(people: People, file: Path) -> Path:
    os.chown(file, people.of(STRANGER).pw_uid, 0)
    return file


WAYS = (
    group_writable,
    writable_and_sticky,
    in_a_group_writable_directory,
    below_a_writable_directory,
    by_a_strangers_symlink,
    by_a_symlink_in_a_strangers_directory,
    of_a_stranger,
)


@pytest.mark.parametrize("kind", ["signers", "revoked", "sites"])
@pytest.mark.parametrize("way", WAYS)
def test_a_file_that_another_user_could_have_written_is_refused(
    people: People, place: Place, way: Callable[[People, Path], Path], kind: str
) -> None:
    file = place.make(kind, f"{way.__name__}-{kind}")
    place.read(kind, file)
    with pytest.raises(PreflightError, match=r"can be written by others|belongs to uid"):
        place.read(kind, way(people, file))


@pytest.mark.parametrize("kind", ["signers", "revoked", "sites"])
def test_symlinks_in_a_circle_are_refused(place: Place, kind: str) -> None:
    one, two = place.base / f"one-{kind}", place.base / f"two-{kind}"
    one.symlink_to(two)
    two.symlink_to(one)
    with pytest.raises(PreflightError, match="cannot be read: Too many levels"):
        place.read(kind, one)
