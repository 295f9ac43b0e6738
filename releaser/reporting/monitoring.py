"""The state of a site for monitoring: the line of a Nagios plugin, and metrics for Prometheus."""

from __future__ import annotations

import math
import sys
from datetime import UTC, datetime
from enum import IntEnum
from typing import TYPE_CHECKING

from releaser.errors import Finding, PreflightError
from releaser.system.frozen import Frozen
from releaser.system.words import age, plural

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


#: The limits for a page and for a table of many sites.
USUAL_AGES = Ages(warning=2 * 86400.0, critical=7 * 86400.0)


def nagios(status: Status, ages: Ages, *, now: datetime) -> tuple[Service, str]:
    """Return the state of a site as a service, and the line with the reasons and performance data."""
    alarms = sorted(find_alarms(status, ages, now), reverse=True)  # the worst first
    state = max((level for level, _ in alarms), default=Service.OK)
    said = "; ".join(text for level, text in alarms if level == state) or f"{status.live} is live"
    return state, nagios_line(state, f"{status.project}: {said}") + " | " + " ".join(_performance(status, ages, now))


def nagios_line(state: Service, text: str) -> str:
    """Return the line of a Nagios plugin, without bars, as a bar starts the performance data."""
    return f"RELEASER {state.name} - " + " ".join(text.replace("|", "/").split())


def find_alarms(status: Status, ages: Ages, now: datetime) -> Iterator[tuple[Service, str]]:
    """Yield the problems of a site, each with its severity."""
    yield from ((Service.CRITICAL, problem) for problem in status.problems)
    if status.live is None:
        yield Service.CRITICAL, "no release is live"
    run = status.last_deployment
    if run is not None and run.exit_code:
        yield Service.WARNING, f"the last {run.command} ended with code {run.exit_code}: {run.headline}"
    elif status.blocked:
        yield Service.WARNING, f"updates cannot go live: {status.blocked}"
    since = _seconds_since(status, now)
    for level, limit in ((Service.CRITICAL, ages.critical), (Service.WARNING, ages.warning)):
        if since > limit:
            known = math.isfinite(since)
            level = min(level, Service.WARNING) if status.blocked else level  # the site runs, and is well
            yield level, f"the last successful update was {age(since)} ago" if known else "no update has succeeded yet"
            break
    others = {
        f"{plural(status.vulnerable or 0, 'package')} with known vulnerabilities": status.vulnerable,
        "a run was interrupted": status.interrupted,
        "a commit has not been pushed": status.push_pending,
        f"{plural(status.mails_pending, 'mail')} waiting to be sent": status.mails_pending,
        f"{plural(len(status.asked), 'package')} waiting for `releaser accept`": status.asked,
        f"{plural(len(status.left_behind), 'process')} of an earlier release": status.left_behind,
        f"the tests of the live release fail: {status.red_tests and status.red_tests.reason}": status.red_tests,
        "updates restart nothing: see `releaser check`": status.not_restarted,
        "packages or files of the live release were changed": status.drift,
    }
    yield from ((Service.WARNING, text) for text, there in others.items() if there)


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
        "tests_red": ("1 if the tests of the live release fail", status.red_tests is not None),
        "drift": ("1 if files of the live release were changed", status.drift is not None),
        "problems": ("Problems with the site", len(status.problems)),
        "releases_bytes": ("Disk space of the releases", status.releases_bytes),
        "free_bytes": ("Free space on that disk", status.free_bytes),
    }
