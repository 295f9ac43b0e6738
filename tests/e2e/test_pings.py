"""Pings of a monitor at the beginning and the end of an update or rollback: `ping_url`."""

import socket
import time

import pytest

from tests.e2e.scenes import refused, says
from tests.support.servers import web_site
from tests.support.sites import SiteFactory


@pytest.mark.slow
def test_law_20_a_monitor_hears_of_the_beginning_and_the_end_of_each_run(make_site: SiteFactory) -> None:
    site = make_site.live(due="1.1.0")
    with web_site(lambda: 200) as monitor:
        url = monitor.url.replace("/health", "/ping/5f2e?create=1")

        def pings() -> list[str]:
            asked = list(monitor.asked)
            monitor.asked.clear()
            assert all(path.startswith("/ping/5f2e/") and path.endswith("?create=1") for path in asked)
            return [path.removeprefix("/ping/5f2e/").removesuffix("?create=1") for path in asked]

        site.write_dotenv(ping_url=url)
        for command in (
            "update --dry-run",
            "rollback --dry-run",
            "status",
            "check",
            "prune",
            "hold alpha",
            "unhold alpha",
        ):
            site.releaser(command)
        assert pings() == []
        site.releaser("update", check=0)
        assert pings() == ["start", "0"]
        site.releaser("update", check=0)
        assert pings() == ["start", "0"], "a quiet night is one, too"
        site.releaser("rollback", check=0)
        assert pings() == ["start", "0"]
        site.write_dotenv(ping_url=url, health_check="false", health_timeout="0s")
        site.publish("alpha", "1.2.0")
        site.releaser("update", check=6)
        assert pings() == ["start", "6"]
        site.edit("shop.py", "mine")
        refused(site, "update")
        assert pings() == ["start", "3"]
        refused(site, "update", env={"RELEASER_STATE_DIR": "/proc/releaser"})
        assert pings() == ["3"], "it never had the lock"
        assert "***" in site.releaser("config", check=0).stdout
        assert "5f2e" not in site.releaser("config", check=0).stdout


@pytest.mark.slow
@pytest.mark.parametrize("monitor", ["refuses", "hangs", "is gone"])
def test_law_42_a_monitor_that_does_not_answer_fails_no_run(make_site: SiteFactory, monitor: str) -> None:
    site = make_site.live(due="1.1.0")
    with socket.create_server(("127.0.0.1", 0)) as silent, web_site(lambda: 500) as angry:
        url = {
            "refuses": angry.url,
            "hangs": f"http://127.0.0.1:{silent.getsockname()[1]}",
            "is gone": "http://127.0.0.1:1",
        }
        site.write_dotenv(ping_url=url[monitor])
        began = time.monotonic()
        finished = site.releaser("update", "-v", check=0)
        assert time.monotonic() - began < 60, "each ping has a limit"
    assert (site.version("alpha"), "ping" in finished.stderr) == ("1.1.0", False)
    log = max((site.state / "logs").iterdir()).read_text(encoding="utf-8")
    assert ("the ping `start`" in log, url[monitor] in log) == (True, False)


def test_a_wrong_ping_url_is_refused_without_being_shown(make_site: SiteFactory) -> None:
    site = make_site(dotenv={"RELEASER_PING_URL": "hc-ping.com/5f2e-7a01"})
    finished = site.releaser("check", check=3)
    says(finished, "RELEASER_PING_URL", "an http or https URL")
    assert "5f2e" not in str(finished)
