"""Releases on file systems on which files can share blocks: each costs what differs, and no more room is asked for."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from releaser.releases.cost import measure
from releaser.releases.dedupe import dedupe
from releaser.releases.extents import shared_bytes
from tests.support.images import mounted_image, used
from tests.support.sites import SiteFactory

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.sites import SampleSite
    from tests.support.templates import Templates

MB = 1_000_000
BLOCK = 4096
BULK = 90 * MB  # of a package, more than is left free
# Byte code of some 25 blocks. One of them has the time of the source, another one the path.
CODE = "\n".join(f"def function_{number}(value):\n    return value + {number}\n" for number in range(1000))


@pytest.fixture(scope="module", params=["xfs", "btrfs"])
def disk(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Mount a file system on which files can share blocks."""
    with mounted_image(
        request.param, tmp_path_factory.mktemp("images") / request.param, size=480 * 1024 * 1024
    ) as place:
        yield place


# Sharing


@pytest.fixture
def venvs(disk: Path, tmp_path: Path) -> tuple[Path, Path]:
    """Make two venvs of no files yet."""
    places = disk / tmp_path.name / "one" / "venv", disk / tmp_path.name / "two" / "venv"
    for place in places:
        place.mkdir(parents=True)
    return places


def blocks(*numbers: int, tail: bytes = b"") -> bytes:
    """Return blocks that are different from each other."""
    return b"".join(bytes([number]) * BLOCK for number in numbers) + tail


CASES = {
    "the same": (blocks(1, 2, 3, 4), blocks(1, 2, 3, 4), 4),
    "the same, with an end": (blocks(1, 2, 3, tail=b"end"), blocks(1, 2, 3, tail=b"end"), 4),
    "another head": (blocks(1, 2, 3, 4, tail=b"end"), blocks(9, 2, 3, 4, tail=b"end"), 4),
    "another end": (blocks(1, 2, 3, tail=b"end"), blocks(1, 2, 3, tail=b"END"), 3),
    "another middle": (blocks(1, 2, 3, 4, 5), blocks(1, 2, 9, 4, 5), 4),
    "longer": (blocks(1, 2, 3, tail=b"end"), blocks(1, 2, 3, tail=b"ending"), 3),
    "shorter": (blocks(1, 2, 3, 4), blocks(1, 2, 3), 3),
    "another": (blocks(1, 2, 3), blocks(4, 5, 6), 0),
    "longer than is looked at in one go": (
        blocks(*range(256)) * 2,
        blocks(*range(256)) + blocks(1, *range(1, 256)),
        511,
    ),
}


@pytest.mark.parametrize(("one", "two", "same"), CASES.values(), ids=CASES)
def test_what_is_the_same_is_shared_and_nothing_is_changed(
    venvs: tuple[Path, Path], one: bytes, two: bytes, same: int
) -> None:
    like, venv = venvs
    (like / "file").write_bytes(one)
    (venv / "file").write_bytes(two)
    os.utime(venv / "file", ns=(5, 1_234_567_891))
    used(venv)
    before = measure(venv.parent)
    saved = dedupe(venv, like)
    assert (like / "file").read_bytes() == one
    assert (venv / "file").read_bytes() == two
    assert (venv / "file").stat().st_mtime_ns == 1_234_567_891
    assert (saved + BLOCK - 1) // BLOCK == same
    used(venv)
    after = measure(venv.parent)
    assert after.shared_bytes == same * BLOCK
    assert after.size_bytes == before.size_bytes
    assert dedupe(venv, like) in (saved, 0), "once more is no harm"


def test_what_is_shared_is_free_again(venvs: tuple[Path, Path]) -> None:
    """Other than in their first block, the files are the same; btrfs frees no extent before all of it is out of use."""
    like, venv = venvs
    for number in range(40):
        for place, head in ((like, 1), (venv, 2)):
            (place / str(number)).write_bytes(blocks(head, *([3] * 99)))
    before = used(venv)
    assert dedupe(venv, like) == 40 * 99 * BLOCK
    assert before - used(venv) > 35 * 99 * BLOCK


def test_what_cannot_be_shared_is_left_alone(venvs: tuple[Path, Path]) -> None:
    like, venv = venvs
    for place in venvs:
        for name in ("missing", "a link", "a directory", "another type", "shared"):
            (place / name).write_bytes(blocks(1, 2, 3))
        (place / "small").write_bytes(b"small")
        (place / "empty").touch()
    for name in ("missing", "a link", "a directory", "another type"):
        (like / name).unlink()
    (like / "a link").symlink_to("shared")
    (like / "a directory").mkdir()
    os.mkfifo(like / "another type")
    before = {path.name: path.read_bytes() for path in venv.iterdir()}
    assert 3 * BLOCK <= dedupe(venv, like) <= 4 * BLOCK
    assert {path.name: path.read_bytes() for path in venv.iterdir()} == before


def test_another_file_system_shares_nothing_and_that_is_no_failure(disk: Path, venvs: tuple[Path, Path]) -> None:
    elsewhere = Path("/dev/shm") / f"releaser-{os.getpid()}"
    elsewhere.mkdir()
    try:
        (elsewhere / "file").write_bytes(blocks(1, 2, 3))
        (venvs[1] / "file").write_bytes(blocks(1, 2, 3))
        assert dedupe(venvs[1], elsewhere) == 0
        assert dedupe(elsewhere, venvs[1]) == 0
    finally:
        (elsewhere / "file").unlink()
        elsewhere.rmdir()


# Sites


@pytest.fixture(scope="module")
def site(disk: Path, templates: Templates) -> SampleSite:
    """Make a site whose live release is larger than what will be free, with uv's cache on the same file system."""
    made = SiteFactory(disk, templates)(packages={"alpha": "1.0.0", "beta": "1.0.0", "bulk": "1.0.0"})
    made.env["UV_CACHE_DIR"] = str(disk / "cache")
    made.releaser("init", check=0)
    made.publish("bulk", "1.1.0", modules={"bulk/__init__.py": CODE, "bulk/data.txt": "x" * BULK})
    made.releaser("update", check=0)
    return made


def released(site: SampleSite, version: str) -> tuple[dict[str, Any], int]:
    """Publish a version and update; return the new release as it is listed, and how much more is in use."""
    site.publish("alpha", version)
    before = used(site.outer)
    site.releaser("update", check=0)
    assert site.live_version("alpha") == version
    return site.json("list")[0], used(site.outer) - before


def test_a_release_costs_what_differs(site: SampleSite) -> None:
    newest, taken = released(site, "1.1.0")
    assert newest["size_bytes"] > BULK
    assert newest["own_bytes"] < MB
    among = noted_among(site)
    assert among.keys() == {row["id"] for row in site.json("list")}
    assert among[newest["id"]] == among.keys()
    assert taken < newest["own_bytes"] + MB, "but for the inodes, the log, the history, the repository and the mail"
    for row in site.json("list")[:2]:
        code = next(Path(row["path"]).glob("lib/python3*/site-packages/bulk/__pycache__/__init__*.pyc"))
        assert code.stat().st_size > 20 * BLOCK
        assert own_bytes(code) <= 3 * BLOCK, "byte code is shared, but for what is different"


def test_what_is_listed_stays_true_when_releases_are_pruned(site: SampleSite) -> None:
    released(site, "1.2.0")
    kept, *others = site.json("list")
    before, together = used(site.outer), site.json("status")["releases_bytes"]
    site.releaser("prune", check=0, env={"RELEASER_KEEP": "1", "RELEASER_KEEP_WITHIN": "0"})
    now = site.json("list")
    left = {row["id"] for row in now}
    gone = {row["id"] for row in others} - left
    assert gone
    assert noted_among(site) == dict.fromkeys(left, left)
    freed = before - used(site.outer)
    assert abs(freed - sum(row["own_bytes"] for row in others if row["id"] in gone)) < 2 * MB
    assert now[0]["id"] == kept["id"]
    found = site.json("status")
    assert 0 <= together - found["releases_bytes"] < freed + MB
    assert BULK < found["releases_bytes"] < BULK + 5 * MB
    noted = [row["own_bytes"] for row in now]
    aside = (site.state_dir / "disk-use.json").rename(site.outer / "aside")
    assert [row["own_bytes"] for row in site.json("list")] == noted, "measured again"
    aside.rename(site.state_dir / "disk-use.json")


@pytest.mark.parametrize("disk", ["xfs"], indirect=True)  # of btrfs, no certain part can be left free
def test_no_more_room_is_asked_for_than_what_differs_needs(site: SampleSite) -> None:
    site.publish("alpha", "1.3.0")
    with filled(site.outer, leave=75 * MB):
        assert site.json("list")[0]["size_bytes"] > 75 * MB
        whole = site.releaser("update", env={"RELEASER_LINK_MODE": "copy"}, check=3)
        assert "no space for another release: 75 MB free" in whole.stderr
        assert site.json("status")["free_bytes"] // MB in (74, 75)
        site.releaser("update", check=0)
    assert site.live_version("alpha") == "1.3.0"
    site.publish("alpha", "1.4.0")
    with filled(site.outer, leave=30 * MB):
        refused = site.releaser("update", check=3)
    assert "no space for another release, which shares what does not change: 30 MB free" in refused.stderr
    assert "50 MB needed" in refused.stderr


@pytest.mark.parametrize("disk", ["xfs"], indirect=True)
def test_what_uv_had_to_copy_is_shared_all_the_same(site: SampleSite, tmp_path: Path) -> None:
    """Its cache lies elsewhere, so that a release takes all its room at first, for which the next one asks."""
    site.publish("alpha", "1.5.0")
    site.releaser("update", check=0, env={"UV_CACHE_DIR": str(tmp_path / "cache")})
    newest = site.json("list")[0]
    assert newest["size_bytes"] > BULK
    assert newest["own_bytes"] < MB
    site.publish("alpha", "1.6.0")
    with filled(site.outer, leave=75 * MB):
        refused = site.releaser("update", check=3)
    assert "no space for another release: 75 MB free" in refused.stderr


@contextlib.contextmanager
def filled(place: Path, *, leave: int) -> Iterator[None]:
    """Take all that is free but so many bytes, and give it back."""
    ballast = place / "ballast"
    used(place)
    free = os.statvfs(place)
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, free.f_bavail * free.f_frsize - leave)
    try:
        yield
    finally:
        ballast.unlink()


def noted_among(site: SampleSite) -> dict[str, set[str]]:
    """Return among which releases it was found out what each takes."""
    noted = json.loads((site.state_dir / "disk-use.json").read_text(encoding="utf-8"))["releases"]
    return {name: set(one["among"]) for name, one in noted.items()}


def own_bytes(path: Path) -> int:
    """Return what of a file belongs to it alone."""
    return path.stat().st_blocks * 512 - shared_bytes(str(path))
