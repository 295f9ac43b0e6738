"""A pause in the status, and no alarm because of it."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from releaser.core.status import Look, Service
from releaser.pipelines.pause_status import PauseStatus
from releaser.releases.pause import PAUSE, Pause
from releaser.releases.store import ReleaseStore, store_of
from releaser.reporting.monitoring import find_alarms, find_open_questions, usual_ages
from releaser.reporting.page import _list_pending
from releaser.reporting.text import status_text
from releaser.site.site import open_site
from releaser.system.files import plain, write_state
from tests.reporting.makers import BRIEF, WELL, changed, in_words

NOW = datetime.now(UTC).replace(microsecond=0)
HOUR = timedelta(hours=1)


def look(tmp_path: Path, pause: Pause | None, *runs: dict[str, Any]) -> Any:
    root = tmp_path / "outer" / "site"
    root.mkdir(parents=True)
    (root / "pyproject.toml").write_text('[project]\nname = "site"\n', encoding="utf-8")
    site = open_site(root, {})
    site.state_dir.mkdir(parents=True)
    if pause is not None:
        write_state(site.state_dir / PAUSE, pause)
    store: ReleaseStore = store_of(site)
    return PauseStatus.look(Look(site=site, store=store, live=None, runs=runs))


def run(hours_ago: float, **facts: Any) -> dict[str, Any]:
    return {"command": "update", "started_at": (NOW - hours_ago * HOUR).isoformat(), **facts}


@pytest.mark.parametrize(
    ("pause", "runs", "hours"),
    [
        (None, [], 0),
        (Pause(since=NOW - 3 * HOUR), [run(1, due_at="2026")], 3),
        (Pause(since=NOW - 3 * HOUR, until=NOW + HOUR, except_security=True), [run(1)], 3),
        (Pause(since=NOW - 9 * HOUR, until=NOW - HOUR), [run(10)], 8),
        (Pause(since=NOW - 9 * HOUR, until=NOW + HOUR, resumed=NOW - 2 * HOUR), [run(3, due_at="2026")], 7),
        (Pause(since=NOW - 9 * HOUR, until=NOW - HOUR), [run(0.5, due_at="2026"), run(0.6, only=["a"]), run(10)], 8),
        (Pause(since=NOW - 9 * HOUR, until=NOW - HOUR), [run(0.5), run(10)], 0),  # the first update after it
        (Pause(since=NOW - 9 * HOUR, until=NOW - HOUR), [], 8),
        (Pause(since=NOW - 9 * HOUR, until=NOW - HOUR), [{"command": "update", "started_at": "noon"}], 8),
        (Pause(since=NOW + 9 * HOUR), [], 0),  # the clock was set back
    ],
)
def test_how_long_no_update_was_to_start(
    tmp_path: Path, pause: Pause | None, runs: list[dict[str, Any]], hours: float
) -> None:
    found = look(tmp_path, pause, *runs)
    assert found.paused_seconds / 3600 == pytest.approx(hours, abs=0.9)  # the module may have begun long ago
    is_on = pause is not None and pause.is_on(NOW)
    assert bool(found.paused) is is_on


def test_a_pause_is_shown_and_its_time_raises_no_alarm() -> None:
    sentence, began = "updates are paused until Mon 2026-11-30 00:00", datetime.fromisoformat(BRIEF.started_at)
    week = timedelta(days=6).total_seconds()
    late = began + timedelta(days=7, hours=1)
    for status, level in (
        (changed(WELL, paused_seconds=week), None),
        (changed(WELL, paused_seconds=week / 2), Service.WARNING),
        (WELL, Service.CRITICAL),
    ):
        assert max((one.level for one in find_alarms(status, usual_ages(status), late)), default=None) == level
    since = BRIEF.started_at
    paused = changed(
        WELL, paused=sentence, waits=sentence, paused_since=since, paused_until="2026-11-30T00:00:00+00:00"
    )
    assert sentence in status_text(paused)
    assert [one.text for one in _list_pending(paused)] == ["a pause"]
    assert in_words(find_open_questions(paused)) == in_words(find_open_questions(WELL))
    only_fixes = changed(WELL, paused=sentence, paused_since=since, paused_until="2026", paused_except_security=True)
    assert status_text(only_fixes).count(sentence) == 1


def test_a_pause_without_an_end_is_a_remark_on_the_page() -> None:
    endless = changed(WELL, paused="updates are paused until `releaser resume`", paused_since=BRIEF.started_at)
    (more,) = set(in_words(find_open_questions(endless))) - set(in_words(find_open_questions(WELL)))
    assert more == (Service.WARNING, "the pause of updates has no end", "resume")
    assert not [*find_alarms(endless, usual_ages(endless), datetime.fromisoformat(BRIEF.started_at))]


def test_an_unreadable_pause_excuses_old_updates_and_raises_an_alarm(tmp_path: Path) -> None:
    look(tmp_path, None)
    file = tmp_path / "outer" / ".releaser" / "site" / PAUSE
    file.write_text("{", encoding="utf-8")
    site = open_site(tmp_path / "outer" / "site", {})
    found: Any = PauseStatus.look(Look(site=site, store=store_of(site), live=None, runs=()))
    assert "could not be read" in found.paused
    assert found.paused_seconds > timedelta(days=365).total_seconds()
    status = changed(WELL, **plain(found))
    (alarm,) = find_alarms(status, usual_ages(status), NOW)
    assert (alarm.text, alarm.command) == ("updates are paused because `pause.json` cannot be read", "resume")
