"""A health check that an old worker answers proves nothing: a release that breaks the site is taken back all the same.

The server does as gunicorn does on SIGHUP: the old process goes on answering for a while after the restart was told to
it, then a new one takes over. Whether processes have a lease or not, every one of many tries must end well.
"""

from pathlib import Path
from typing import Any

import pytest

from tests.e2e.scenes import step
from tests.e2e.test_restart_effect import Servers, served
from tests.support.sites import SiteFactory


def update(web: Servers, version: str, *words: str, delay: str = "0.3", seconds: str = "4", **options: Any) -> Any:
    """Update with a restart that takes effect after a delay; pages must show that alpha 1.0.0 is loaded."""
    patient: dict[str, Any] = {
        "health_text": "1.0.0",
        "health_pause": "0.2s",
        "health_retries": "20",
        "health_seconds": f"{seconds}s",
    }
    return web.update(f"later {delay}", version, *words, **patient, **options)


def see_that_it_is_taken_back(report: Any, live: str) -> None:
    assert (report["result"], report["previous"]) == ("rolled-back", live)
    assert "'1.0.0' is not in the page" in report["headline"]
    assert [answer["good"] for answer in report["answers"]] == [False, True]


# Each is tried once; `make demo-health` tries it 20 times.
@pytest.mark.parametrize(("pin", "delays"), [(False, ("0.2",)), (True, ("0.7",))])
def test_a_release_that_breaks_the_site_is_taken_back_each_time(
    make_site: SiteFactory, tmp_path: Path, *, pin: bool, delays: tuple[str, ...]
) -> None:
    with served(make_site, tmp_path, settings={"pin_processes": pin}) as web:
        live = web.site.live_id()
        for delay in delays:
            see_that_it_is_taken_back(update(web, "1.1.0", "--force", delay=delay, check=6), live)
            assert web.site.live_id() == live


def test_a_good_release_stays_and_the_step_says_how_long_it_was_asked(make_site: SiteFactory, tmp_path: Path) -> None:
    with served(make_site, tmp_path, settings={"pin_processes": False}) as web:
        found = step(update(web, "1.2.0", package="beta", seconds="2"), "health check")
        once = step(update(web, "1.3.0", package="beta", seconds="0"), "health check")
    assert found["status"] == "ok"
    assert found["detail"].endswith("answered 200, and kept answering well for 2 s")
    assert 2 <= found["seconds"] < 30
    assert once["detail"].endswith("answered 200")  # with zero seconds the site is asked once
