"""How much room an update asks for. On releases that are made up, and what is noted of them."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from releaser.errors import PreflightError, ToolError
from releaser.locking.diff import Change, LockDiff
from releaser.locking.lockfile import LockFile
from releaser.project.project import Project
from releaser.project.room import LEAST_BYTES, LEAST_INODES
from releaser.releases.cost import Cost
from releaser.releases.disk_use import note
from releaser.releases.store import ReleaseStore
from releaser.steps.capacity import look_for_room, needs
from tests.releases.makers import built, live

if TYPE_CHECKING:
    from releaser.project.preflight import Fitness
    from releaser.project.site import Site
    from releaser.releases.release import Release
    from releaser.run import Run
    from releaser.steps.resolve import Resolution

MB = 1_000_000
SIZE = 400 * MB
FILES = 20_000
LOCK = b"""\
version = 1

[[package]]
name = "changed"
version = "2.0"
wheels = [{ url = "https://example.org/changed-2.0-py3-none-any.whl", size = 5_000_000 }]

[[package]]
name = "added"
version = "1.0"
wheels = [{ url = "https://example.org/added-1.0-py3-none-any.whl", size = 10_000_000 }]

[[package]]
name = "as-it-was"
version = "1.0"
wheels = [{ url = "https://example.org/as_it_was-1.0-py3-none-any.whl", size = 50_000_000 }]
"""
DIFF = LockDiff(
    changes=(
        Change(name="changed", old="1.0", new="2.0", bump="major"),
        Change(name="added", old=None, new="1.0", bump="added"),
        Change(name="gone", old="1.0", new=None, bump="removed"),
    )
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Make a checkout of three files."""
    place = tmp_path / "outer" / "site"
    place.mkdir(parents=True)
    (place / "uv.lock").write_bytes(LOCK)
    (place / "pyproject.toml").touch()
    (place / "manage.py").touch()
    return place


@pytest.fixture
def store(root: Path) -> ReleaseStore:
    project = Project.at(root, state_dir=None, venv=".venv")
    project.releases.mkdir(parents=True)
    return ReleaseStore(state_dir=project.state_dir, link=project.venv)


def a_site(root: Path, *, link_mode: str | None = None) -> Site:
    settings = SimpleNamespace(link_mode=link_mode, test_groups=())
    pyproject = SimpleNamespace(table=lambda *_: {})
    found = SimpleNamespace(
        project=Project.at(root, state_dir=None, venv=".venv"), settings=settings, pyproject=pyproject
    )
    return cast("Site", found)


def a_release(store: ReleaseStore, number: int, *, own: int, shared: int = 0, saved: int = 0, **more: Any) -> Release:
    """Make the `number`th release, and note that it takes so much."""
    release = live(store, number, size_bytes=own + shared, **more)
    note(store, release.id, Cost(own_bytes=own, shared_bytes=shared, inodes=FILES), saved=saved)
    return release


def test_without_a_release_the_least_is_asked_for(root: Path, store: ReleaseStore) -> None:
    release, scratch = needs(a_site(root), store, None)
    assert (release.place, release.bytes, release.inodes) == (store.state_dir, LEAST_BYTES, LEAST_INODES)
    assert scratch.place == root.parent
    assert (scratch.inodes, scratch.bytes) == (len(os.listdir(root)) + 4, 4 * len(LOCK))


def test_a_small_release_asks_for_the_least(root: Path, store: ReleaseStore) -> None:
    small = live(store, 1)
    note(store, small.id, Cost(own_bytes=1000, shared_bytes=0, inodes=10))
    assert needs(a_site(root), store, small)[0].bytes == LEAST_BYTES
    assert needs(a_site(root), store, small)[0].inodes == LEAST_INODES


def test_what_shares_nothing_is_needed_once_more_and_a_tenth(root: Path, store: ReleaseStore) -> None:
    before = a_release(store, 1, own=SIZE)
    (release, _) = needs(a_site(root), store, before)
    assert (release.bytes, release.inodes) == (int(1.1 * SIZE), int(1.1 * FILES))
    assert release.what == "another release"


def test_of_what_nothing_is_noted_the_size_is_known_all_the_same(root: Path, store: ReleaseStore) -> None:
    before = live(store, 1, size_bytes=SIZE)
    assert needs(a_site(root), store, before)[0].bytes == int(1.1 * SIZE)


def test_where_releases_share_the_most_that_one_took_is_needed(root: Path, store: ReleaseStore) -> None:
    a_release(store, 1, own=SIZE, origin="adopted")
    for number, saved in ((2, 90), (3, 60), (4, 10), (5, 10), (6, 10), (7, 10)):
        newest = a_release(store, number, own=10 * MB, shared=SIZE, saved=saved * MB)
    (release, _) = needs(a_site(root), store, newest)
    inodes = int(1.1 * FILES)
    assert release.bytes == int(1.5 * 70 * MB) + 1000 * inodes
    assert release.what == "another release, which shares what does not change"


@pytest.mark.parametrize("why", ["copied from now on", "the last one was", "only what was adopted shares", "too much"])
def test_what_shares_no_more_is_needed_whole(root: Path, store: ReleaseStore, why: str) -> None:
    site = a_site(root, link_mode="copy" if why == "copied from now on" else None)
    origin = "adopted" if why == "only what was adopted shares" else "built"
    newest = a_release(store, 1, own=5 * MB, shared=SIZE, origin=origin, saved=SIZE if why == "too much" else 0)
    if why == "the last one was":
        newest = a_release(store, 2, own=SIZE + 5 * MB)
    (release, _) = needs(site, store, newest)
    assert (release.bytes, release.what) == (int(1.1 * (SIZE + 5 * MB)), "another release")


# What is known once the lock is


def a_run(root: Path, store: ReleaseStore) -> Run:
    return cast("Run", SimpleNamespace(site=a_site(root), store=store))


def a_fitness(cache: Path | None) -> Fitness:
    def cache_directory() -> Path:
        if cache is None:
            message = "uv failed"
            raise ToolError(message)
        return cache

    uv = SimpleNamespace(cache_directory=cache_directory, python_version=lambda _: "3.12.1")
    return cast("Fitness", SimpleNamespace(uv=uv, python=Path("python3.12"), group=None))


def a_resolution(diff: LockDiff = DIFF) -> Resolution:
    return cast("Resolution", SimpleNamespace(lock=LockFile.parse(LOCK), diff=diff))


def free(monkeypatch: pytest.MonkeyPatch, megabytes: int) -> None:
    found = SimpleNamespace(f_bavail=megabytes, f_frsize=MB, f_files=10**7, f_favail=10**6)
    monkeypatch.setattr(os, "statvfs", lambda _: found)


def refusal(root: Path, store: ReleaseStore, before: Release | None, *, cache: Path, diff: LockDiff = DIFF) -> str:
    """Return what is said against an update; empty if nothing is."""
    try:
        look_for_room(a_run(root, store), a_fitness(cache), a_resolution(diff), before)
    except PreflightError as error:
        (finding,) = error.problems
        return finding.message
    return ""


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """Make a cache in which there is something."""
    (tmp_path / "cache" / "archive-v0").mkdir(parents=True)
    return tmp_path / "cache"


def test_what_is_downloaded_and_what_is_added_needs_room(
    root: Path, store: ReleaseStore, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = a_release(store, 1, own=SIZE)  # 440 MB, 40 MB for what is added, 60 MB for the cache
    free(monkeypatch, 541)
    assert refusal(root, store, before, cache=cache) == ""
    free(monkeypatch, 539)
    message = refusal(root, store, before, cache=cache)
    assert "no space for another release: 539 MB free" in message
    assert "540 MB needed (480 MB for another release, 60 MB for uv's cache)" in message


def test_with_an_empty_cache_everything_is_downloaded(
    root: Path, store: ReleaseStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = a_release(store, 1, own=SIZE)
    free(monkeypatch, 600)
    for cache in (tmp_path / "gone", root):
        assert "260 MB for uv's cache" in refusal(root, store, before, cache=cache)


def test_a_first_release_is_as_large_as_what_it_is_made_of(
    root: Path, store: ReleaseStore, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free(monkeypatch, 309)
    nothing = LockDiff(changes=())
    assert "310 MB needed" in refusal(root, store, None, cache=cache, diff=nothing)
    free(monkeypatch, 311)
    assert refusal(root, store, None, cache=cache, diff=nothing) == ""


def test_a_uv_that_does_not_say_where_its_cache_is_is_left_to_the_build(
    root: Path, store: ReleaseStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    free(monkeypatch, 1)
    look_for_room(a_run(root, store), a_fitness(None), a_resolution(), built(store, 1))
