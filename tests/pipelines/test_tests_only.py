"""`--tests-only`: when a release that passed its tests goes live."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from releaser.core.gate import Case, Wait
from releaser.core.run import Workspace
from releaser.gates import tests_only
from releaser.gates.tests_only import TestsOnly, TestsOnlyKeepsCheckout
from releaser.locks.lock import EMPTY
from releaser.releases.tests_only import TestsOnlySection
from releaser.site.pythons import Choice, PythonRequest
from releaser.site.site import open_site
from releaser.site.windows import Window
from releaser.system.words import show_time
from tests.site.fakes import with_settings
from tests.support.logs import a_log

NOON = datetime(2026, 11, 26, 12, 0).astimezone()


class Clock(datetime):
    @classmethod
    def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
        return NOON.astimezone(tz)


@pytest.mark.parametrize(
    ("windows", "hours"),
    [
        ((), None),
        (("03:00-05:00",), 15),
        (("11:00-13:00",), None),  # it is open, and the next update need not wait
        (("Sat 03:00-05:00", "Fri 22:00-23:00"), 34),
    ],
)
@pytest.mark.parametrize("is_repair", [False, True])
def test_it_goes_live_in_the_next_window_or_with_the_next_update(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, windows: tuple[str, ...], hours: int | None, is_repair: bool
) -> None:
    monkeypatch.setattr(tests_only, "datetime", Clock)
    site, log = with_settings(open_site(tmp_path, {}), window=tuple(map(Window.parse, windows))), a_log()
    case = Case(work=cast("Workspace", SimpleNamespace(site=site, log=log)), lock=EMPTY, is_repair=is_repair)
    assert (TestsOnly().judge(case), TestsOnlyKeepsCheckout().judge(case)) == (None, None)
    log.add(TestsOnlySection(tests_only=True))
    until = (NOON + timedelta(hours=hours)).astimezone(UTC) if hours else None
    when = f"on {show_time(until)}" if until else "with the next update"
    expected = Wait(reason=f"its tests passed; it goes live {when}", until=until, keeps=True, always=True)
    assert (TestsOnly().judge(case), TestsOnlyKeepsCheckout().judge(case)) == (expected, expected)


@pytest.mark.parametrize(
    ("choice", "reason", "request_"),
    [
        ({}, "", "releaser rebuild"),
        ({"wanted": "3.13"}, "", "releaser rebuild --python 3.13"),
        ({"wanted": "/opt/a b/python"}, "", "releaser rebuild --python '/opt/a b/python'"),
        (
            {"wanted": "3.13", "goes_back": PythonRequest(version="3.12", source=".python-version")},
            "; before it can go live, set .python-version to '3.13' and commit the change; the tests then run again",
            "releaser rebuild --python 3.13",
        ),
    ],
)
def test_a_rebuild_for_tests_only_goes_live_on_request_alone(
    tmp_path: Path, choice: dict[str, Any], reason: str, request_: str
) -> None:
    log, facts = a_log(), SimpleNamespace(choice=Choice(python=Path("/python"), version="3.13.1", **choice))
    work = SimpleNamespace(site=open_site(tmp_path, {}), log=log, facts=facts)
    case = Case(work=cast("Workspace", work), lock=EMPTY, may_wait=False)
    assert TestsOnly().judge(case) is None
    log.add(TestsOnlySection(tests_only=True))
    expected = f"Python 3.13.1: tests passed, not live{reason}"
    assert TestsOnly().judge(case) == Wait(reason=expected, keeps=True, always=True, request=request_)
