"""Whether people hear that nothing on a host isolates tests and builds."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

from releaser.candidate import isolated
from releaser.candidate.isolated import runs_open, tell_open
from tests.support.logs import a_log

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from releaser.site.site import Site


def test_that_nothing_isolates_is_logged_each_time_told_once_and_known_until_something_does(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    settings = SimpleNamespace(isolate="auto")
    site = cast("Site", SimpleNamespace(settings=settings, state_dir=tmp_path, runner=None))
    found: object = "there is no bubblewrap"
    monkeypatch.setattr(isolated, "find_isolation", lambda *_: found)
    told = []
    for _ in range(2):
        log = a_log()
        tell_open(site, log)
        told.append([one.message for one in log.findings])
    assert told == [["tests and builds are not isolated: there is no bubblewrap"], []]
    assert len(caplog.records) == 2
    assert runs_open(site)
    settings.isolate = "off"  # which somebody has asked for
    tell_open(site, log := a_log())
    assert not log.findings
    assert not runs_open(site)
    settings.isolate, found = "auto", object()
    tell_open(site, a_log())
    assert not runs_open(site)
