"""Tests that delete uploads and rows never reach those of the live site, in no way in which releaser starts them."""

import sqlite3
from contextlib import closing

import pytest

from tests.support.sites import SampleSite, SiteFactory
from tests.tools.test_in_the_way import photograph

# Tests as some sites have them: they empty the uploads and the database, and write a log beside the checkout.
WILD = """\
import pathlib, shutil, sqlite3, sys
here = pathlib.Path(__file__).parent
log = here.parent / "logs" / "tests.log"
log.parent.mkdir(exist_ok=True)
with log.open("a") as file:
    file.write("tested\\n")
for place in (here / "media").rglob("*.jpg"):
    place.unlink()
database = here / "db.sqlite3"
if database.exists():
    with sqlite3.connect(database) as connection:
        connection.execute("delete from orders")
print("Ran 1 test in 0.1s\\n\\nOK")
"""


@pytest.fixture
def site(make_site: SiteFactory) -> SampleSite:
    """A site whose tests run wild, with uploads and a database that git ignores."""
    site = make_site(venv=True, files={"run_tests.py": WILD, ".gitignore": "__pycache__/\n/media/\n/db.sqlite3\n"})
    uploads = site.path / "media" / "2026"
    uploads.mkdir(parents=True)
    for number in range(700):  # more than would be copied
        (uploads / f"{number}.jpg").write_bytes(b"a person's photo")
    with closing(sqlite3.connect(site.path / "db.sqlite3")) as connection, connection:
        connection.execute("create table orders (what text)")
        connection.executemany("insert into orders values (?)", [("x" * 1000,)] * 2000)
    return site


@pytest.mark.parametrize("sandbox", ["auto", "off"])
def test_no_command_lets_tests_change_live_data(site: SampleSite, sandbox: str) -> None:
    site.write_dotenv({"RELEASER_SANDBOX": sandbox, "RELEASER_TEST_WRITABLE": None})
    before = {
        path: what for path, what in photograph(site.path).items() if "/media" in path or path.endswith("sqlite3")
    }
    assert len(before) > 700
    site.publish("alpha", "1.1.0")
    for words in (("init",), ("update",), ("verify", "--tests"), ("check",), ("update",)):
        site.releaser(*words)
        now = {path: what for path, what in photograph(site.path).items() if path in before}
        assert now == before, words
    assert site.live_version("alpha") == "1.1.0"
