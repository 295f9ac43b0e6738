"""Starters whose packages are in S3: the first start downloads them, and releaser keeps the mirror up to date."""

import json
import os
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.test_group_use import base_python
from tests.support.commands import console_script
from tests.support.s3 import S3, SECRET, s3_server
from tests.support.wheels import LocalIndex
from tests.tools.test_starter import APP, MAKING, SCRIPTS, Shop

pytestmark = pytest.mark.slow  # a server, and several starts
PLACE = "foobar-repository/eggs/foobar"  # as in the example of transmute
# Takes boto3 from the environment of the tests; no index of theirs has its wheel.
BOTO3 = f"import sys\nsys.path.insert(0, {sysconfig.get_path('purelib')!r})\ndel sys.modules['boto3']\nimport boto3\n"


@pytest.fixture
def s3(tmp_path: Path) -> Iterator[S3]:
    with s3_server(tmp_path) as server:
        server.put("foobar-repository")
        for name in ("notes.txt", "deeper/shop-9-py3-none-any.whl"):
            server.put(f"{PLACE}/{name}", b"no package")
        yield server


@pytest.fixture
def shop(s3: S3, tmp_path: Path, index: LocalIndex, uv_cache: Path) -> Shop:
    """A starter of a program that only S3 has."""
    shop = Shop(tmp_path, index, uv_cache)
    offer(s3, index.path / "shop-1.0-py3-none-any.whl")
    for wheel in index.path.glob("shop-*"):
        wheel.unlink()
    shop.env |= s3.env
    return shop


def offer(s3: S3, wheel: Path) -> None:
    s3.put(f"{PLACE}/{wheel.name}", wheel.read_bytes())


def test_the_first_start_takes_packages_from_s3_and_releaser_takes_newer_ones(shop: Shop, s3: S3) -> None:
    shop.has_uv()
    shop.write("WAIT = '5s'", "WAIT = '60s'", find_links=[f"s3://{PLACE}"], refresh="1s")
    s3.mood = "refuses"
    status, _, said = shop.start()
    assert (status, f"s3://{PLACE}: An error occurred (AccessDenied)" in said) == (1, True)
    s3.mood = "cuts a file once"  # which boto3 does not try again, so the next start does
    assert shop.start()[0] == 1
    assert shop.start("a") == (3, "shop a venv True", MAKING)
    mirror = shop.project / ".s3" / PLACE
    assert sorted(one.name for one in mirror.iterdir()) == [".mirror.json", "shop-1.0-py3-none-any.whl"]
    assert f'registry = ".s3/{PLACE}"' in (shop.project / "uv.lock").read_text()
    assert SECRET not in shop.file.read_text() + said
    s3.mood, s3.asked = "refuses", []
    assert shop.start() == (3, "shop venv True", "")
    assert s3.asked == []

    s3.mood = "is well"
    (shop.bin / "releaser").symlink_to(console_script())
    assert shop.start()[:2] == (3, "shop venv True")
    assert not [path for path in s3.asked if path.endswith(".whl")]  # releaser downloads none again
    assert ".releaser/shop/releases" in os.readlink(shop.project / ".venv")
    newer = {"shop/__init__.py": APP.replace('"shop"', '"newer"')}
    offer(s3, shop.index.publish("shop", "2.0", modules=newer, scripts=SCRIPTS))
    (shop.state / ".releaser/shop/run/looked").write_text("1 2\n")
    assert shop.start()[:2] == (3, "newer venv True")


def test_a_note_that_cannot_be_written_is_one_line(shop: Shop, s3: S3) -> None:
    shop.has_uv()
    shop.write(find_links=[f"s3://{PLACE}"])
    (shop.project / ".s3" / PLACE / ".mirror.json").mkdir(parents=True)
    status, _, said = shop.start()
    assert (status, "Traceback" in said) == (1, False)
    (line,) = [line for line in said.splitlines() if line.startswith(f"s3://{PLACE}: ")]
    assert "directory" in line


@pytest.mark.spread(1)
@pytest.mark.parametrize("has_uv", [True, False])
def test_a_python_without_boto3_gets_it_from_the_index(shop: Shop, s3: S3, *, has_uv: bool) -> None:
    shop.write(find_links=[str(shop.index.path), f"s3://{PLACE}"])
    shop.python = str(base_python())
    if has_uv:
        shop.has_uv()
        status, _, said = shop.start()
        assert (status, f"{shop.python} has no boto3" in said) == (1, True)
    shop.index.publish("boto3", "1.0", modules={"boto3/__init__.py": BOTO3})
    assert shop.start() == (3, "shop venv True", MAKING)
    assert not list(shop.state.glob("first-*/boto3"))
    note = json.loads((shop.project / ".s3" / PLACE / ".mirror.json").read_text())
    assert (bool(note["synced"]), [*note["files"]]) == (True, ["shop-1.0-py3-none-any.whl"])


def test_an_error_is_reported_although_an_earlier_download_is_used(shop: Shop, s3: S3) -> None:
    shop.has_uv()
    shop.write(find_links=[f"s3://{PLACE}"])
    assert shop.start() == (3, "shop venv True", MAKING)
    (shop.project / ".venv").unlink()
    s3.mood = "refuses"
    status, output, said = shop.start()
    assert (status, output) == (3, "shop venv True")
    (line,) = [line for line in said.splitlines() if line.startswith(f"s3://{PLACE}: ")]
    assert "AccessDenied" in line
    assert line.endswith("; the packages that an earlier start downloaded are used")
