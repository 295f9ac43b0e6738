"""An index that takes connections and never answers: the run ends in time, and the next one tries again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.e2e.refusals import refused, script
from tests.e2e.scenes import endless_server, from_server, step
from tests.support.commands import uv_executable

if TYPE_CHECKING:
    from tests.support.sites import SiteFactory

LIMIT = 6.0  # seconds
SLACK = 8.0  # seconds that a busy machine needs to end a program


def test_the_run_ends_within_the_limit_as_a_failed_resolve(make_site: SiteFactory) -> None:
    site = make_site.adopted(settings={"uv_timeout": f"{LIMIT:g}s", "min_age": "7d"})
    with endless_server(()) as url:
        from_server(site, url)
        site.commit("Take packages from a server")
        site.push()
        refusal = refused(site, code=4, timeout=300)
    assert step(refusal.report, "resolve")["seconds"] < LIMIT + SLACK
    refusal.says("no upgraded lock could be made", "still running after", "uv_timeout")
    assert "failed" in site.releaser("history").stdout
    assert site.json("status")["quarantined"] == []


def test_several_slow_answers_share_the_limit(make_site: SiteFactory) -> None:
    site = make_site.adopted()
    site.releaser("hold", "alpha", check=0)
    for name in ("alpha", "beta"):  # with one that is held, uv is asked at least twice
        site.publish(name, "1.1.0")
    slow = script(
        site.outer / "slow-uv", f'case " $* " in *" lock "*) sleep {0.7 * LIMIT};; esac; exec {uv_executable()} "$@"'
    )
    refusal = refused(site, code=4, env={"RELEASER_UV": str(slow), "RELEASER_UV_TIMEOUT": f"{LIMIT:g}s"}, timeout=300)
    assert step(refusal.report, "resolve")["seconds"] < LIMIT + SLACK
    refusal.says("no upgraded lock could be made", f"{LIMIT:g} s in all", "uv_timeout")
    assert site.json("update")["result"] == "activated", "the next night tries it again"
    assert site.live_version("beta") == "1.1.0"


def test_the_search_for_what_breaks_the_tests_has_no_limit_of_its_own(make_site: SiteFactory) -> None:
    """It would cost a night where an index becomes slow."""
    site = make_site.adopted()
    site.publish("alpha", "1.1.0", broken=True)
    site.publish("beta", "1.1.0")
    locked = site.outer / "locked"
    slow = script(
        site.outer / "slow-uv",
        f'case " $* " in *" lock "*) sleep {0.4 * LIMIT}; echo >> {locked};; esac; exec {uv_executable()} "$@"',
    )
    report = site.json("update", check=5, env={"RELEASER_UV": str(slow), "RELEASER_UV_TIMEOUT": f"{LIMIT:g}s"})
    assert len(locked.read_text(encoding="utf-8")) == 2
    (problem,) = [one for one in report["problems"] if "could not be locked" in one]
    assert f"{LIMIT:g} s in all" in problem
    assert "raise `uv_timeout`" in problem
    assert site.json("update")["result"] == "activated", "the next night goes on"
    assert (site.live_version("alpha"), site.live_version("beta")) == ("1.0.0", "1.1.0")
