"""Every registered reporter sends through the outbox, fails no run, loses no notice and tells no secret."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from releaser.core.reporter import Reporter
from releaser.reporting import notices, reporters
from tests.reporting.makers import QUIET, a_site
from tests.reporting.test_notices import REPORT, Server, give, server, told, waiting

__all__ = ["server"]

#: The settings with which each one sends to a host; a new reporter is entered here.
SETTINGS: dict[str, Callable[[str], dict[str, str]]] = {
    "Webhooks": lambda host: {"webhook": f"http://{host}/t0ken4you"},
    "Apprise": lambda host: {"notify": f"json://u:t0ken4you@{host}/in"},
}


def test_each_is_tried_here() -> None:
    assert {*SETTINGS} == {type(one).__name__ for one in reporters.REPORTERS}


@pytest.mark.parametrize("reporter", reporters.REPORTERS, ids=lambda one: type(one).__name__)
def test_a_notice_waits_until_it_is_taken_and_tells_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reporter: Reporter, server: Server, dead_port: int
) -> None:
    pytest.importorskip("apprise")
    give(monkeypatch, 20.0)
    unset = a_site(tmp_path)
    assert ([*reporter.receivers(unset)], [*reporter.findings(unset)]) == ([], [])
    for name, host in (("ill", server.url.removeprefix("http://")), ("dead", f"127.0.0.1:{dead_port}")):
        server.status, server.got = 500, []
        site = a_site(tmp_path / name, **SETTINGS[type(reporter).__name__](host))
        (receiver,) = reporter.receivers(site)
        assert "t0ken4you" not in receiver.queue + receiver.address
        assert json.loads(receiver.content(site, REPORT))
        report = told(site)
        (problem,) = report.problems
        assert "t0ken4you" not in str(problem)
        assert (report.exit_code, waiting(site)) == (0, 1)
        (kept,) = (site.project.outbox / "new").iterdir()
        assert kept.stat().st_mode & 0o007 == 0
        if name == "ill":
            server.status, server.got = 200, []
            assert notices.send(site, QUIET, {}) == QUIET
            assert (len(server.got), waiting(site)) == (1, 0)
