"""The guard against uv: where it is put and proposed, and that it is taken out; tests/tools/ shows that uv heeds it."""

import errno
import os
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from releaser.releases.integrity import Damage, Drift
from releaser.releases.release import Release
from releaser.releases.uv_guard import NAMES, TEXT, GuardSettings, advise, guard, remark, take_out
from releaser.site.site import Site
from tests.releases.makers import a_manifest, on_paper

ALPHA, BETA = (f"{name}-1.0.dist-info" for name in ("alpha", "beta"))
PLACE = "lib/python3.11/site-packages"


@pytest.fixture
def release(tmp_path: Path) -> Release:
    """A release with two packages."""
    made = on_paper(tmp_path, a_manifest())
    for info in (ALPHA, BETA):
        (made.venv / PLACE / info).mkdir(parents=True)
    return made


def site_with(venv: Path, *, on: bool) -> Site:
    return cast("Site", SimpleNamespace(settings=GuardSettings(uv_guard=on), project=SimpleNamespace(venv=venv)))


def guarded(venv: Path, *, on: bool = True) -> list[str]:
    """Put the guard in place, and return where it is."""
    guard(site_with(venv, on=on), venv)
    return found(venv)


def found(venv: Path) -> list[str]:
    files = sorted(path for path in venv.rglob("*") if path.is_file() and path.read_text(encoding="utf-8") == TEXT)
    return [str(path.relative_to(venv / PLACE)) for path in files]


@pytest.mark.parametrize(
    ("written", "place"),
    [
        ((), f"{ALPHA}/{NAMES[0]}"),
        ((f"{ALPHA}/{NAMES[0]}",), f"{BETA}/{NAMES[0]}"),
        ((f"{ALPHA}/{NAMES[0]}", f"{BETA}/{NAMES[0]}"), f"{ALPHA}/{NAMES[1]}"),
    ],
    ids=["first package", "next package", "other file"],
)
def test_it_takes_the_place_of_no_file_and_leaves_none_behind(
    release: Release, written: tuple[str, ...], place: str
) -> None:
    for name in written:
        (release.venv / PLACE / name).write_text("{}", encoding="utf-8")
    assert guarded(release.venv, on=False) == []
    assert guarded(release.venv) == [place]
    take_out(release.venv)
    left = [path for path in release.venv.rglob("*") if path.is_file()]
    assert sorted(left) == [release.venv / PLACE / name for name in written]


def test_it_takes_out_the_guard_of_another_version(release: Release) -> None:
    (release.venv / PLACE / BETA / NAMES[0]).write_text(
        '"This environment belongs to releaser. Ask it."', encoding="utf-8"
    )
    take_out(release.venv)
    assert not [path for path in release.venv.rglob("*") if path.is_file()]


def test_a_venv_without_packages_gets_none(tmp_path: Path) -> None:
    assert guarded(tmp_path) == []
    take_out(tmp_path)


@pytest.mark.parametrize(
    ("by", "on", "is_proposed"),
    [("uv as ada on 2026-11-26", False, True), ("uv as ada on 2026-11-26", True, False), ("pip as ada", False, False)],
)
def test_it_is_proposed_after_a_change_by_uv(release: Release, by: str, on: bool, is_proposed: bool) -> None:
    guarded(release.venv, on=on)
    damage = Damage(kind="files", reason="alpha 1.0 removed", drift=Drift(by=by))
    assert ("uv_guard=true" in advise(release, damage)) is is_proposed


def test_check_says_what_uv_does_in_the_checkout(release: Release, tmp_path: Path) -> None:
    link = tmp_path / ".venv"
    assert remark(site_with(link, on=False)) == ""
    link.symlink_to(release.venv)
    assert "`releaser setup --set uv_guard=true`" in remark(site_with(link, on=False))
    assert "`releaser rebuild`" in remark(site_with(link, on=True))
    guarded(release.venv)
    assert remark(site_with(link, on=True)) == "uv in the checkout: refuses the live release"


def test_what_root_has_left_unreadable_stops_neither_check_nor_the_repair(
    release: Release, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def is_file(path: Path) -> bool:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    (link := tmp_path / ".venv").symlink_to(release.venv)
    monkeypatch.setattr(Path, "is_file", is_file)
    damage = Damage(kind="files", reason="alpha 1.0 removed", drift=Drift(by="uv as root"))
    assert "uv_guard=true" in advise(release, damage)
    assert "changes the live release" in remark(site_with(link, on=False))
