"""The state of a site for monitoring: the line of a Nagios plugin, and metrics for Prometheus."""

from __future__ import annotations

import math
import sys
from datetime import UTC, datetime
from enum import IntEnum
from typing import TYPE_CHECKING

from releaser.errors import Finding, PreflightError
from releaser.system.frozen import Frozen
from releaser.system.words import age, first_few, plural

if TYPE_CHECKING:
    from collections.abc import Iterator

    from releaser.answers import Status


class Service(IntEnum):
    """The state of a service, which is the exit status of a Nagios plugin.

    Source: https://nagios-plugins.org/doc/guidelines.html
    """

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3


class Ages(Frozen):
    """The age of the last successful update, in seconds, from which it is a warning, and critical."""

    warning: float
    critical: float


_DAY = 86400.0  # seconds


def usual_ages(status: Status) -> Ages:
    """Return the limits for a page and a table of many sites: 2 and 7 days, more if updates are due less than daily."""
    longer = max(0.0, status.interval_seconds - _DAY)
    return Ages(warning=2 * _DAY + longer, critical=7 * _DAY + longer)


class Alarm(Frozen):
    """A problem of a site: its severity, a sentence, and the command of releaser that shows more or solves it."""

    level: Service
    text: str
    command: str = ""


def nagios(status: Status, ages: Ages, *, now: datetime) -> tuple[Service, str]:
    """Return the state of a site as a service, and the line with the reasons and performance data."""
    alarms = list(find_alarms(status, ages, now))
    state = max((one.level for one in alarms), default=Service.OK)
    summary = "; ".join(one.text for one in alarms if one.level == state) or f"{status.live} is live"
    return state, nagios_line(state, f"{status.project}: {summary}") + " | " + " ".join(_performance(status, ages, now))


def nagios_line(state: Service, text: str) -> str:
    """Return the line of a Nagios plugin, without bars, as a bar starts the performance data."""
    return f"RELEASER {state.name} - " + " ".join(text.replace("|", "/").split())


def find_alarms(status: Status, ages: Ages, now: datetime) -> Iterator[Alarm]:
    """Yield the problems of a site about which monitoring alerts."""
    yield from (Alarm(level=Service.CRITICAL, text=problem, command="check") for problem in status.problems)
    if status.live is None:
        yield Alarm(level=Service.CRITICAL, text="no release is live", command="init")
    run = status.last_deployment
    if run is not None and run.exit_code:
        text = f"the last {run.command} ended with exit code {run.exit_code}: {run.headline}"
        yield Alarm(level=Service.WARNING, text=text, command="history -n 5")
    elif status.blocked:
        yield Alarm(level=Service.WARNING, text=f"updates cannot go live: {status.blocked}", command="outdated")
    since = _seconds_since(status, now)
    for level, limit in ((Service.CRITICAL, ages.critical), (Service.WARNING, ages.warning)):
        if since > limit:
            known = math.isfinite(since)
            level = min(level, Service.WARNING) if status.blocked else level  # the site runs, and is well
            text = f"the last successful update was {age(since)} ago" if known else "no update has succeeded yet"
            yield Alarm(level=level, text=text, command="update")
            break
    others = {
        f"{plural(status.vulnerable or 0, 'package')} with known vulnerabilities": (status.vulnerable, "audit"),
        "a run was interrupted": (status.interrupted, "update"),
        "a commit has not been pushed": (status.push_pending, "update"),
        f"{plural(status.mails_pending, 'mail')} waiting to be sent": (status.mails_pending, "test-mail"),
        f"{plural(len(status.asked), 'package')} waiting for `releaser accept`": (status.asked, "status"),
        f"{plural(len(status.left_behind), 'process')} of an earlier release": (status.left_behind, "status"),
        f"the tests of the live release fail: {status.failing_live_tests and status.failing_live_tests.reason}": (
            status.failing_live_tests,
            "check --tests",
        ),
        "updates restart nothing: see `releaser check`": (status.not_restarted, "check"),
        "packages or files of the live release were changed": (status.drift, "verify"),
    }
    for text, (found, command) in others.items():
        if found:
            yield Alarm(level=Service.WARNING, text=text, command=command)


def find_open_questions(status: Status) -> Iterator[Alarm]:
    """Yield what keeps a site from being well although no service alerts about it.

    A package may stay on hold for months until the site supports it; an alert every night would be ignored.
    """
    for by, reason in (("tests", "the tests fail"), ("rollback", "the site was rolled back")):
        held = [f"{one.name} {one.version}".strip() for one in status.on_hold if one.by == by]
        if held:
            text = f"updates skip {first_few(held)}: {reason} with {'it' if len(held) == 1 else 'them'}"
            yield Alarm(level=Service.WARNING, text=text, command="outdated")
    if status.commits_on_hold:
        commits = first_few(one.subject or one.commit[:12] for one in status.commits_on_hold)
        text = f"{plural(len(status.commits_on_hold), 'commit')} on hold: {commits}"
        yield Alarm(level=Service.WARNING, text=text, command="status")
    if status.waiting_reason:
        yield Alarm(level=Service.WARNING, text=status.waiting_reason, command="status")
    if status.live is not None and status.vulnerable is None and status.is_audited:
        text = "the live release was not checked for known vulnerabilities"
        yield Alarm(level=Service.WARNING, text=text, command="audit")


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
    yield f"held={len(status.on_hold)}"
    yield f"vulnerable={'U' if status.vulnerable is None else status.vulnerable}"
    yield f"releases={status.releases_bytes}B"
    yield f"free={status.free_bytes}B"


def prometheus(status: Status) -> str:
    """Return the state of a site in the text format of Prometheus. Raises PreflightError without its library.

    Unknown values are omitted.
    """
    try:
        from prometheus_client import CollectorRegistry, Gauge, generate_latest
    except ImportError as error:
        advice = f"In {sys.prefix}, releaser's own environment: `pip install 'venv-releaser[prometheus]'`."
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
        "mails_pending": ("Mails that wait to be sent", status.mails_pending),
        "updates_blocked": ("1 if failures block newer packages or commits", bool(status.blocked)),
        "on_hold": ("Packages and versions that are on hold", len(status.on_hold)),
        "vulnerable_packages": ("Live packages with known vulnerabilities", status.vulnerable),
        "to_accept": ("Packages that wait for releaser accept", len(status.asked)),
        "left_behind_processes": ("Processes of an earlier release", len(status.left_behind)),
        "live_tests_failing": ("1 if the tests of the live release fail", status.failing_live_tests is not None),
        "drift": ("1 if files of the live release were changed", status.drift is not None),
        "problems": ("Problems with the site", len(status.problems)),
        "releases_bytes": ("Disk space of the releases", status.releases_bytes),
        "free_bytes": ("Free space on that disk", status.free_bytes),
    }
