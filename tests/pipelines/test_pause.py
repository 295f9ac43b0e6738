"""A pause of updates: its end, what it keeps from starting, and a file that cannot be read."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from releaser.core.due import GOES_LIVE, Due, OnlyFixes, find_delay
from releaser.core.gate import find_opening
from releaser.errors import UsageError
from releaser.pipelines import due, pause
from releaser.releases.journal import HISTORY
from releaser.releases.pause import PAUSE, Pause, current_pause, read_pause
from releaser.site.site import Site, open_site
from releaser.site.windows import Window
from releaser.system.files import write_state
from tests.site.fakes import with_settings

THURSDAY = datetime(2026, 11, 26, 12, 0).astimezone()
NOW = datetime.now(UTC)
SOON = NOW + timedelta(hours=1)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    root = tmp_path / "outer" / "site"
    root.mkdir(parents=True)
    (root / "pyproject.toml").write_text('[project]\nname = "site"\n', encoding="utf-8")
    site = open_site(root, {})
    site.state_dir.mkdir(parents=True)
    return site


@pytest.mark.parametrize(
    ("length", "day", "end"),
    [
        ("48h", None, "2026-11-28 12:00"),
        ("1w", None, "2026-12-03 12:00"),
        (None, "monday", "2026-11-30 00:00"),
        (None, " Fri ", "2026-11-27 00:00"),
        (None, "thursday", "2026-12-03 00:00"),  # the next one: today has begun
        (None, "2026-12-24", "2026-12-24 00:00"),
        (None, "2026-12-24 08:30", "2026-12-24 08:30"),
        (None, "2026-12-24t08:30", "2026-12-24 08:30"),
    ],
)
def test_the_end_of_a_pause(length: str | None, day: str | None, end: str) -> None:
    found = pause.read_end(length, day, THURSDAY)
    assert found is not None
    assert f"{found.astimezone():%Y-%m-%d %H:%M}" == end
    assert pause.read_end(None, None, THURSDAY) is None


@pytest.mark.parametrize(
    ("length", "day", "said"),
    [
        ("0", None, "--for '0' is in the past"),
        ("", None, "--for '' is not a duration such as 48h or 7d"),
        ("monday", None, "--for 'monday' is not a duration"),
        ("99999d", None, "--for '99999d' is not a duration"),
        (None, "", "--until '' is not a day such as monday"),
        (None, "never", "--until 'never' is not a day"),
        (None, "2026-02-30", "--until '2026-02-30' is not a day"),
        (None, "2026-11-26", "--until '2026-11-26' is in the past"),
        (None, "2020-01-01", "--until '2020-01-01' is in the past"),
    ],
)
def test_no_end_in_the_past_and_no_nonsense(length: str | None, day: str | None, said: str) -> None:
    with pytest.raises(UsageError) as refused:
        pause.read_end(length, day, THURSDAY)
    assert said in refused.value.message
    assert refused.value.advice


@pytest.mark.parametrize(
    ("stored", "summary"),
    [
        (None, ""),
        (Pause(until=SOON), "updates are paused until {}"),
        (Pause(until=SOON, reason="the sale"), "updates are paused until {}: the sale"),
        (Pause(), "updates are paused until `releaser resume`"),
        (Pause(until=NOW - timedelta(minutes=1)), ""),  # it resumes by itself
        (Pause(until=SOON, resumed=NOW), ""),
        (Pause(resumed=NOW + timedelta(days=9)), ""),  # ended with a clock that was ahead
        (Pause(since=NOW + timedelta(days=9)), "updates are paused until `releaser resume`"),  # begun with such a clock
    ],
)
def test_when_updates_are_paused(site: Site, stored: Pause | None, summary: str) -> None:
    if stored is not None:
        write_state(site.state_dir / PAUSE, stored)
    found = current_pause(site.state_dir)
    assert (found.summary if found else "") == summary.format(f"{SOON.astimezone():%a %Y-%m-%d %H:%M}")
    delay = find_delay(site)
    assert (delay.reason if delay else "") == (found.summary if found else "")
    assert (delay.at if delay else None) == (found.until if found else None)
    answers = [due.find_due(site, if_due=if_due, by_rules=rules) for if_due in (True, False) for rules in (True, False)]
    assert {one.reason for one in answers} == {found.summary if found else ""}
    assert {one.advice for one in answers} == {delay.advice if delay else Due(at=None).advice}


@pytest.mark.parametrize(
    ("until", "opens"),
    [(None, "2026-11-27 03:00"), ("2026-11-27 04:00", "2026-11-27 04:00"), ("2026-11-28 00:00", "2026-11-28 03:00")],
)
def test_after_a_pause_a_ready_release_waits_for_the_next_window(
    site: Site, monkeypatch: pytest.MonkeyPatch, until: str | None, opens: str
) -> None:
    site = with_settings(site, window=(Window.parse("03:00-05:00"),))
    found = Pause(until=datetime.fromisoformat(until).astimezone()) if until else None
    monkeypatch.setattr(pause, "current_pause", lambda _: found)
    assert f"{find_opening(site, THURSDAY).astimezone():%Y-%m-%d %H:%M}" == opens


def test_an_unreadable_pause_counts_as_one_and_a_naive_time_as_local(site: Site) -> None:
    file = site.state_dir / PAUSE
    file.write_text("{", encoding="utf-8")
    assert read_pause(site.state_dir) == PAUSE.substitute
    assert "the file with the pause could not be read" in due.find_due(site, if_due=False).reason
    file.unlink()
    file.symlink_to(file.name)  # an error of the system, also for root
    assert read_pause(site.state_dir) == PAUSE.substitute
    file.unlink()
    write_state(file, Pause(until=SOON))
    text, local = file.read_text(encoding="utf-8"), SOON.astimezone().replace(tzinfo=None)
    stored = next(line for line in text.splitlines() if "until" in line)
    file.write_text(text.replace(stored, f' "until": "{local.isoformat()}",'), encoding="utf-8")
    assert read_pause(site.state_dir) == Pause(until=local)
    assert current_pause(site.state_dir) is not None


def test_a_pause_is_longer_than_a_window_and_a_ready_release_waits_for_its_end(site: Site) -> None:
    open_now = Window.parse("00:00-24:00")
    site = with_settings(site, window=(open_now,))
    assert (due.find_due(site, if_due=False).reason, due.find_next(site) is not None) == ("", True)
    write_state(site.state_dir / PAUSE, Pause(until=SOON))
    assert due.find_due(site, if_due=False).at == SOON
    assert [pause.next_opening(site, at) for at in (NOW, SOON + timedelta(1))] == [SOON, SOON + timedelta(1)]
    write_state(site.state_dir / PAUSE, Pause())
    assert pause.next_opening(site, NOW) == NOW


def test_in_a_pause_except_security_only_updates_by_the_rules_start_in_their_window(site: Site) -> None:
    write_state(site.state_dir / PAUSE, Pause(until=SOON, except_security=True))
    delay = find_delay(site)
    assert delay is not None
    assert "updates other than security fixes are paused until" in delay.reason
    started = due.find_due(site, if_due=True)
    assert (started.reason, started.anyway) == ("", (OnlyFixes(only_security=True),))
    assert due.find_due(site, if_due=True, by_rules=False) == delay  # a channel, or named packages
    assert due.find_next(site) is None  # the status says it in another place
    local = NOW.astimezone()
    closed = Window.parse(f"{local + timedelta(hours=2):%H:%M}-{local + timedelta(hours=3):%H:%M}")
    assert (
        "waits for the maintenance window" in due.find_due(with_settings(site, window=(closed,)), if_due=False).reason
    )


def test_runs_for_fixes_alone_count_for_their_own_interval(site: Site) -> None:
    history = [
        {"command": "update", "started_at": (NOW - timedelta(hours=hours)).isoformat(), "exit_code": 0, **facts}
        for hours, facts in ((30, {}), (2, {"only_security": True}))
    ]
    (site.state_dir / HISTORY).write_text("".join(json.dumps(run) + "\n" for run in history), encoding="utf-8")
    assert due.find_due(site, if_due=True).reason == ""
    assert "the next update is due" in due.find_due(site, if_due=True, limits=GOES_LIVE).reason
