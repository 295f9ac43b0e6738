"""The state of a site for monitoring: the line of a Nagios plugin, and metrics for Prometheus."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from releaser.core.status import Alarm, Excused, Figure, Question, Service, nagios_line, shown
from releaser.errors import Finding, PreflightError
from releaser.system.environment import how_to_add
from releaser.system.frozen import Frozen
from releaser.system.words import age, plural

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from releaser.answers import Status


class Ages(Frozen):
    """The age of the last successful update, in seconds, from which it is a warning, and critical."""

    warning: float
    critical: float


_DAY = 86400.0  # seconds


def usual_ages(status: Status) -> Ages:
    """Return the limits for a page and a table of many sites: 2 and 7 days, more if updates are due less than daily."""
    longer = max(0.0, getattr(status, "interval_seconds", _DAY) - _DAY)
    return Ages(warning=2 * _DAY + longer, critical=7 * _DAY + longer)


def worst(alarms: Iterable[Alarm]) -> Service:
    """Return the state of a site with these alarms."""
    return max((one.level for one in alarms), default=Service.OK)


def nagios(status: Status, ages: Ages, *, now: datetime) -> tuple[Service, str]:
    """Return the state of a site as a service, and the line with the reasons and performance data."""
    alarms = find_alarms(status, ages, now)
    state = worst(alarms)
    summary = "; ".join(one.text for one in alarms if one.level == state) or f"{status.live} is live"
    return state, nagios_line(state, f"{status.project}: {summary}") + " | " + " ".join(_performance(status, ages, now))


def find_alarms(status: Status, ages: Ages, now: datetime) -> list[Alarm]:
    """Return the problems of a site about which monitoring alerts."""
    return shown(status, Alarm, *_alarms_of_core(status, ages, now))


def _alarms_of_core(status: Status, ages: Ages, now: datetime) -> Iterator[Alarm]:
    for problem in status.problems:
        yield Alarm(level=Service.CRITICAL, text=problem, command="check")
    if status.live is None:
        yield Alarm(level=Service.CRITICAL, text="no release is live", command="init")
    run = status.last_deployment
    if run is not None and run.exit_code:
        text = f"the last {run.command} ended with exit code {run.exit_code}: {run.headline}"
        yield Alarm(text=text, command="history -n 5")
    elif status.blocked:
        yield Alarm(text=f"updates cannot go live: {status.blocked}", command="outdated")
    since, excused = _seconds_since(status, now), sum(one.seconds for one in shown(status, Excused))
    for level, limit in ((Service.CRITICAL, ages.critical), (Service.WARNING, ages.warning)):
        if since - excused > limit:
            known = math.isfinite(since)
            level = min(level, Service.WARNING) if status.blocked else level  # the site runs, and is well
            text = f"the last successful update was {age(since)} ago" if known else "no update has succeeded yet"
            yield Alarm(level=level, text=text, command="update")
            break
    red = status.failing_live_tests
    others = {
        "a run was interrupted": (status.interrupted, "update", 20),
        "a commit has not been pushed": (status.push_pending, "update", 20),
        f"{plural(len(status.asked), 'package')} waiting for `releaser accept`": (status.asked, "status", 30),
        f"the tests of the live release fail: {red and red.reason}": (red, "check --tests", 40),
        "packages or files of the live release were changed": (status.drift, "verify", 50),
    }
    for text, (found, command, rank) in others.items():
        if found:
            yield Alarm(text=text, command=command, rank=rank)


def find_open_questions(status: Status) -> list[Question]:
    """Return what keeps a site from being well although no service alerts about it.

    A package may stay on hold for months until the site supports it; an alert every night would be ignored.
    """
    return shown(status, Question)


def _seconds_since(status: Status, now: datetime) -> float:
    """Return the age of the last successful update, or without one, of the live release; inf without either."""
    run, live = status.last_success, status.live_age_seconds
    if run is None:
        return math.inf if live is None else live
    return (now - datetime.fromisoformat(run.started_at)).total_seconds()


def _performance(status: Status, ages: Ages, now: datetime) -> Iterator[str]:
    since = _seconds_since(status, now)
    limits = f"{ages.warning:.0f};{ages.critical:.0f}"
    yield f"last_success={f'{since:.0f}s' if math.isfinite(since) else 'U'};{limits}"
    for one in shown(status, Figure):
        if one.label:
            yield f"{one.label}={'U' if one.value is None else one.value}"
    yield f"releases={status.releases_bytes}B"
    yield f"free={status.free_bytes}B"


def prometheus(status: Status) -> str:
    """Return the state of a site in the text format of Prometheus. Raises PreflightError without its library.

    Unknown values are omitted.
    """
    try:
        from prometheus_client import CollectorRegistry, Gauge, generate_latest
    except ImportError as error:
        advice = f"To install it, {how_to_add('prometheus')}."
        raise PreflightError(
            Finding("prometheus-missing", "metrics need the package prometheus-client", advice)
        ) from error
    registry = CollectorRegistry()
    for name, (text, value) in _metrics(status).items():
        if value is not None:
            gauge = Gauge(f"releaser_{name}", text, ["site", "path"], registry=registry)
            gauge.labels(status.project, status.path).set(value)
    if status.live:
        live = Gauge("releaser_live_info", "The live release", ["site", "path", "release", "python"], registry=registry)
        live.labels(status.project, status.path, status.live, status.live_python or "").set(1)
    return generate_latest(registry).decode()


def _metrics(status: Status) -> dict[str, tuple[str, float | None]]:
    run, now = status.last_deployment, datetime.now(UTC)
    since = _seconds_since(status, now)
    last_began = datetime.fromisoformat(status.last_run.started_at).timestamp() if status.last_run else None
    return {
        "last_run_timestamp_seconds": ("When the last run began", last_began),
        "last_deployment_exit_code": (
            "How the last update, rebuild, rollback or init ended",
            run.exit_code if run else None,
        ),
        "last_success_timestamp_seconds": (
            "When the last successful update began; before the first, when the live release was made",
            round(now.timestamp() - since) if math.isfinite(since) else None,
        ),
        "live_timestamp_seconds": (
            "When the live release was made",
            None if status.live_age_seconds is None else round(now.timestamp() - status.live_age_seconds),
        ),
        "interrupted": ("1 if a run was interrupted", status.interrupted),
        "push_pending": ("1 if a commit waits for a push", status.push_pending),
        "updates_blocked": ("1 if failures block newer packages or commits", bool(status.blocked)),
        **{one.name: (one.meaning, one.value) for one in shown(status, Figure)},
        "to_accept": ("Packages that wait for releaser accept", len(status.asked)),
        "live_tests_failing": ("1 if the tests of the live release fail", status.failing_live_tests is not None),
        "drift": ("1 if files of the live release were changed", status.drift is not None),
        "problems": ("Problems with the site", len(status.problems)),
        "releases_bytes": ("Disk space of the releases", status.releases_bytes),
        "free_bytes": ("Free space on that disk", status.free_bytes),
    }
