"""`rollback --force` stays on the older release although its health check fails, too: a person has decided."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from tests.e2e.scenes import body, states, step, steps

if TYPE_CHECKING:
    from tests.support.sites import SampleSite, SiteFactory

ILL = {"RELEASER_HEALTH_CHECK": "false", "RELEASER_HEALTH_RETRIES": "0"}


def updated(make_site: SiteFactory) -> tuple[SampleSite, str, str]:
    """Make a site with two releases; return both, the earlier one first."""
    site = make_site.adopted("1.1.0")
    earlier, later = site.releases()
    return site, earlier, later


def test_with_force_the_older_release_stays_and_the_failure_is_told(make_site: SiteFactory) -> None:
    site, earlier, later = updated(make_site)
    report = site.json("rollback", "--force", check=7, env=ILL)
    assert site.live_id() == earlier
    assert site.live_version("alpha") == "1.0.0"
    assert (report["result"], report["live_changed"]) == ("activated", True)
    assert "flip back" not in steps(report)
    assert step(report, "health check")["status"] == "failed"
    (problem,) = report["problems"]
    assert problem.startswith("health check failed")
    assert f"{earlier} stays live anyway, as --force says" in problem
    assert "stays live anyway" in " ".join(body(site).split())
    assert states(site)[later] == "bad"


def test_a_run_that_is_killed_behind_the_flip_stays_too(make_site: SiteFactory) -> None:
    site, earlier, _ = updated(make_site)
    kills = {"RELEASER_HEALTH_CHECK": "sh -c 'kill -9 $PPID'", "RELEASER_HEALTH_RETRIES": "0"}
    assert site.releaser("rollback", "--force", env=kills).returncode == -signal.SIGKILL
    site.releaser("init", env=ILL)  # any command finishes first what was begun
    assert site.live_id() == earlier
