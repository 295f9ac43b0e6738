"""When the next update may begin, by the history, the interval, the windows and the jitter."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from releaser.core.due import Due
from releaser.pipelines import due
from releaser.pipelines.session import Request
from releaser.releases.journal import HISTORY
from releaser.releases.proposal import ProposalSection
from releaser.releases.tests_only import TestsOnlySection
from releaser.site.run_lock import acquire
from releaser.site.site import Site, open_site
from releaser.site.windows import Window
from tests.site.fakes import with_settings

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


class Clock(datetime):
    @classmethod
    def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]  # noqa: ARG003 - as that of its parent
        return NOW


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    root = tmp_path / "outer" / "site"
    root.mkdir(parents=True)
    (root / "pyproject.toml").write_text('[project]\nname = "site"\n', encoding="utf-8")
    monkeypatch.setattr(due, "datetime", Clock)
    return open_site(root, {})


def with_runs(site: Site, *runs: tuple[float, int], **settings: Any) -> Site:
    """Give a site a history: how many hours ago runs began, and how they ended, newest first."""
    site.state_dir.mkdir(parents=True, exist_ok=True)
    lines = [
        {"command": "update", "started_at": (NOW - timedelta(hours=ago)).isoformat(), "exit_code": code}
        for ago, code in reversed(runs)
    ]
    (site.state_dir / HISTORY).write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return replace(site, settings=replace(site.settings, **settings))


def in_hours(found: Due) -> float:
    assert found.at is not None
    return round((found.at - NOW) / timedelta(hours=1), 2)


@pytest.mark.parametrize(
    ("runs", "hours", "waits"),
    [
        ([], 0, False),
        ([(1, 0)], 22.97, True),  # two minutes are let off, as cron is not that exact
        ([(23.97, 0)], 0, False),
        ([(1, 5)], 22.97, True),
        ([(0.5, 4)], 0.47, True),  # the network was down: soon
        ([(1, 4)], -0.03, False),
        ([(1, 4), (2, 4)], 0.97, True),  # and less and less often
        ([(1, 3), (2, 4), (3, 4), (4, 4), (5, 4), (6, 4)], 22.97, True),
        ([(1, 4), (2, 0)], 21.97, True),  # as the last good one is recent
        ([(1, 4), (30, 0)], -0.03, False),
        ([(-1, 0)], 0, False),  # the clock was set back
    ],
)
def test_an_update_is_due_when_the_interval_has_passed(
    site: Site, runs: list[tuple[float, int]], hours: float, waits: bool
) -> None:
    found = due.find_due(with_runs(site, *runs), if_due=True)
    assert (in_hours(found), bool(found.reason)) == (hours, waits)
    assert due.find_due(with_runs(site, *runs), if_due=False) == Due(at=NOW)


def test_other_commands_updates_of_some_packages_and_what_cannot_be_read_do_not_count(site: Site) -> None:
    site, now = with_runs(site), NOW.isoformat()
    for line in ({"command": "prune"}, {"started_at": None}, {"due_at": now}, {"only": ["alpha"]}):
        text = json.dumps({"command": "update", "started_at": now, "exit_code": 0, **line}) + "\n"
        (site.state_dir / HISTORY).write_text(text, encoding="utf-8")
        assert due.find_due(site, if_due=True) == Due(at=NOW)


TESTS_ONLY = frozenset({"tests_only"})


@pytest.mark.parametrize(("limits", "hours"), [(frozenset(), 21.97), (TESTS_ONLY, 22.97)])
def test_runs_that_cannot_go_live_have_an_interval_of_their_own_and_need_no_window(
    site: Site, monkeypatch: pytest.MonkeyPatch, limits: frozenset[str], hours: float
) -> None:
    site = with_runs(site, every=86400.0)
    runs: list[dict[str, Any]] = [
        {"started_at": NOW - timedelta(hours=2)},
        {"started_at": NOW - timedelta(hours=1), "tests_only": True},
    ]
    lines = [json.dumps({"command": "update", "exit_code": 0, **run}, default=str) + "\n" for run in runs]
    (site.state_dir / HISTORY).write_text("".join(lines), encoding="utf-8")
    assert in_hours(due.find_due(site, if_due=True, limits=limits)) == hours
    closed = with_settings(site, window=(window(6, 7),))
    for if_due, at in ((False, 0 if limits else 6), (True, hours if limits else 30)):
        found = due.find_due(closed, if_due=if_due, limits=limits)
        assert (in_hours(found), bool(found.reason)) == (at, at != 0)
    monkeypatch.setattr(due, "_when_ready", lambda _: NOW + timedelta(hours=1))  # which such runs do not make live
    assert in_hours(due.find_due(closed, if_due=True, limits=limits)) == (hours if limits else 6)
    assert due.limits_of([TestsOnlySection(tests_only=True), ProposalSection(proposed="here")]) == TESTS_ONLY
    assert due.limits_of([TestsOnlySection()]) == frozenset()


def window(first: float, last: float) -> Window:
    """Return a window from now, in hours."""
    local = NOW.astimezone().replace(tzinfo=None)
    return Window.parse(f"{local + timedelta(hours=first):%H:%M}-{local + timedelta(hours=last):%H:%M}")


def test_a_window_keeps_an_update_that_is_due_and_one_that_is_not(site: Site) -> None:
    closed, open_now = window(2, 3), window(-1, 1)
    for if_due in (False, True):
        waiting = due.find_due(with_runs(site, (30, 0), window=(closed,)), if_due=if_due)
        assert (in_hours(waiting), "waits for the maintenance window, which opens" in waiting.reason) == (2, True)
    later = due.find_due(with_runs(site, (1, 0), window=(closed,)), if_due=True)
    assert (in_hours(later), "next update is due" in later.reason) == (26, True)
    assert in_hours(due.find_due(with_runs(site, (30, 0), window=(open_now,)), if_due=True)) == -1
    assert in_hours(due.find_due(with_runs(site, (24.5, 0), window=(open_now,)), if_due=True)) == -0.53


@pytest.mark.parametrize(
    ("every", "window", "days"),
    [
        (None, (), 1),
        (3600.0, (), 1),
        (7 * 86400.0, (), 7),
        (None, ("01:00-05:00",), 1),
        (86400.0, ("01:00-05:00",), 1),
        (None, ("Sat-Sun 01:00-05:00",), 6),
        (None, ("Sat 01:00-05:00", "Wed 01:00-05:00"), 4),
        (None, ("Mon 12:00-13:00",), 7),
        (10 * 86400.0, ("Mon 01:00-05:00",), 17),
    ],
)
def test_how_long_two_updates_may_lie_apart(
    site: Site, every: float | None, window: tuple[str, ...], days: float
) -> None:
    site = with_runs(site, every=every, window=tuple(map(Window.parse, window)))
    assert due.find_interval(site) == days * 86400


def beside(site: Site) -> list[Site]:
    """Return many sites in other places: which jitter one has is chance, as a test has another place each time."""
    return [replace(site, project=replace(site.project, root=site.project.root / str(one))) for one in range(400)]


def test_jitter_is_the_same_each_time_spreads_sites_and_moves_no_rhythm(site: Site) -> None:
    hour = with_runs(site, (23.5, 0), jitter=3600.0)
    mine = due.jitter_of(hour)
    assert timedelta(0) < mine < timedelta(hours=1)
    assert mine == due.jitter_of(hour)
    assert len({due.jitter_of(one) // timedelta(minutes=10) for one in beside(hour)}) == 6
    # It began with the jitter, and is to begin a day later, not a day and the jitter.
    assert due.find_due(hour, if_due=True).at == NOW + timedelta(hours=0.5, minutes=-2) - mine
    window = (Window.parse("01:00-01:01"),)
    assert due.jitter_of(with_settings(hour, window=window)) < timedelta(minutes=1)


def test_one_that_is_due_since_a_moment_waits_for_the_rest_of_its_jitter(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    several = beside(with_runs(site, jitter=3600.0))
    site = next(one for one in several if due.jitter_of(one) > timedelta(minutes=2))
    request = Request(path=site.project.root, environ={}, command="update")
    for minutes in (0, 1, 60):
        due._wait(site, request, Due(at=NOW - timedelta(minutes=minutes)))
    jitter = due.jitter_of(site).total_seconds()
    assert slept == [pytest.approx(jitter), pytest.approx(jitter - 60)]


def test_only_one_waits_or_runs(site: Site) -> None:
    with due._alone(site) as without_state:
        assert without_state
    (site.state_dir / "run").mkdir(parents=True, exist_ok=True)
    with due._alone(site) as first, due._alone(site) as second:
        assert (first, second) == (True, False)
    with acquire(site.state_dir, command="update", now=NOW), due._alone(site) as beside:
        assert not beside


@pytest.mark.parametrize(("runs", "is_due"), [([], True), ([(2, 0)], True), ([(0.5, 4)], False), ([(0.5, 0)], False)])
def test_an_update_for_a_release_that_waits_begins_once_then_the_interval_counts_again(
    site: Site, monkeypatch: pytest.MonkeyPatch, runs: list[tuple[float, int]], is_due: bool
) -> None:
    waiting = SimpleNamespace(id="R", until=NOW - timedelta(hours=1))
    snapshot = SimpleNamespace(find_waiting=lambda: waiting, lifecycles={"R": waiting})
    monkeypatch.setattr(due, "store_of", lambda _: SimpleNamespace(snapshot=lambda: snapshot))
    assert bool(due.find_due(with_runs(site, *runs, window=(window(-1, 1),)), if_due=True).reason) is not is_due


@pytest.mark.parametrize(
    ("ready", "windows", "hours", "waits"),
    [
        (3, (), 3, True),
        (-1, (), -1, False),
        (3, (window(2, 4),), 3, True),
        (-1, (window(-1, 1),), -1, False),
        # The window in which it was to go live is over: the host was off, a pause has ended, or it was another window.
        (-8, (window(-9, -6),), 15, True),
        (3, (window(6, 7),), 6, True),
    ],
)
def test_a_release_that_waits_is_due_at_its_time_whatever_the_interval_says_but_in_a_window(
    site: Site,
    monkeypatch: pytest.MonkeyPatch,
    ready: float,
    windows: tuple[Window, ...],
    hours: float,
    waits: bool,
) -> None:
    monkeypatch.setattr(due, "_when_ready", lambda _: NOW + timedelta(hours=ready))
    found = due.find_due(with_runs(site, (1, 0), window=windows), if_due=True)
    local = NOW.astimezone().replace(tzinfo=None) + timedelta(hours=hours)
    later = f"a release is ready, and may go live {local:%a %Y-%m-%d %H:%M}"
    assert (in_hours(found), found.reason) == (hours, later if waits else "")
    cron = due.find_due(with_runs(site, (1, 0), window=windows), if_due=False)
    assert bool(cron.reason) is (waits and windows != ())
