"""A disk that fills up after the flip: the site goes back all the same, and the next run with room finishes."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from tests.e2e.refusals import small_file_system
from tests.e2e.scenes import body, states

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.sites import SampleSite, SiteFactory

# A health check of a site whose new release fills the disk with its log.
FILL = """\
import os, sys
file = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT, 0o644)
for size in (1 << 20, 4096, 1):
    try:
        while True:
            os.write(file, bytes(size))
    except OSError:
        pass
sys.exit(os.environ.get("SAID", "the log has filled the disk") or 0)
"""


@pytest.fixture
def small(tmp_path: Path, make_site: SiteFactory) -> Iterator[SampleSite]:
    """Make an adopted site on a small disk, which its health check fills from the tests on, while `sick` is there."""
    filler = tmp_path / "fill.py"
    filler.write_text(FILL, encoding="utf-8")
    with small_file_system(tmp_path / "small", size="120m") as place:
        check = f"sh -c 'test ! -e {place}/sick || {sys.executable} {filler} {place}/log'"
        settings = {"health_check": check, "health_retries": 0}
        site = make_site(outer=f"{place.name}/outer", venv=True, settings=settings)
        site.env["TMPDIR"] = str(tmp_path)
        site.releaser("init", check=0)
        site.publish("alpha", "1.1.0")
        site.env["RELEASER_TEST_COMMAND"] = f"touch {place}/sick"  # as the check is made before the build, too
        yield site


def make_room(site: SampleSite) -> None:
    (site.outer.parent / "log").unlink()
    (site.outer.parent / "sick").unlink()
    del site.env["RELEASER_TEST_COMMAND"]


def test_a_disk_that_the_new_release_fills_does_not_keep_it_live(small: SampleSite) -> None:
    before, live = small.snapshot(), small.live_id()
    finished = small.releaser("update", check=6)
    assert "health check failed" in finished.stderr
    assert small.live_id() == live
    assert small.live_version("alpha") == "1.0.0"
    make_room(small)
    small.releaser("prune", check=0)
    after = small.snapshot()
    for one in (before, after):
        del one["(restarted at)"]
        one.pop("config/tmp/restart.txt", None)
    changed = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    assert not {name for name in changed if not name.startswith("static_out")}
    assert not (small.state_dir / "journal.json").exists()


def test_a_good_release_stays_live_on_a_disk_that_has_no_room_for_the_records(small: SampleSite) -> None:
    """Nothing is wrong with it; what could not be committed, pushed and mailed is, by the next run."""
    small.releaser("update", env={"SAID": ""}, check=7)
    new = small.live_id()
    assert (small.live_version("alpha"), small.outbox_mails()) == ("1.1.0", [])
    make_room(small)
    report = small.json("update")
    assert (report["result"], small.live_id()) == ("unchanged", new)
    assert len(small.outbox_mails()) == 1
    assert "alpha 1.0.0 → 1.1.0" in body(small)
    assert small.remote_head() == small.head()
    assert states(small)[new] == "live"
