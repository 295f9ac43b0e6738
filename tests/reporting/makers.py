"""Reports and answers for the tests of what is made of them."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from releaser.answers import RunBrief, Status
from releaser.core.status import Alarm, Service
from releaser.errors import Finding
from releaser.locks.changes import Change
from releaser.report import Outcome, RunReport
from releaser.site.site import Site, open_site

STARTED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
QUIET = RunReport(
    command="update",
    project="mysite",
    path="/srv/mysite",
    host="web1",
    run_id="20260102-030405",
    started_at=STARTED,
    seconds=75.0,
    result="no-changes",
    exit_code=0,
    headline="Nothing to update.",
)
CHANGES = (
    Change(name="django", old="5.1.2", new="5.2", bump="minor"),
    Change(name="a-longer-name", old=None, new="1.0", bump="added"),
    Change(name="gone", old="3.0", new=None, bump="removed"),
)
BRIEF = RunBrief(
    command="update",
    run_id="1",
    started_at="2026-11-20T06:12:00+00:00",
    seconds=1.0,
    result="no-changes",
    exit_code=0,
    headline="Nothing to update.",
)


def a_site(tmp_path: Path, **settings: str) -> Site:
    """Make a project with these settings."""
    project = tmp_path / "outer" / "shop"
    project.mkdir(parents=True, exist_ok=True)
    (project / "pyproject.toml").write_text('[project]\nname = "shop"\n')
    return open_site(project, {f"RELEASER_{name.upper()}": value for name, value in settings.items()})


def a_sendmail(directory: Path, name: str = "sendmail", *, status: int = 0) -> Path:
    """Make a program that keeps a mail in the file `sent`, and its arguments in `sent.words`."""
    directory.mkdir(exist_ok=True)
    program, kept = directory / name, directory / "sent"
    program.write_text(f'#!/bin/sh\necho "$@" > {kept}.words; cat > {kept}; echo said by sendmail >&2; exit {status}\n')
    program.chmod(0o755)
    return program


def findings(*messages: str, advice: str = "") -> tuple[Finding, ...]:
    """Make problems, each with this advice."""
    return tuple(Finding("a", message=message, advice=advice) for message in messages)


def failed(*steps: str, detail: str = "") -> tuple[Outcome, ...]:
    """Make failed steps."""
    return tuple(Outcome(step=step, status="failed", detail=detail) for step in steps)


UPDATED = replace(
    QUIET,
    result="updated",
    headline="Updated to release r2.",
    live_changed=True,
    release="r2",
    previous="r1",
    changes=CHANGES,
)
WENT_BACK = replace(UPDATED, command="rollback", release="r1", previous="r2", changes=())
BROKEN = replace(QUIET, result="refused", exit_code=5, headline="The tests failed.", changes=CHANGES, blame="update")
ROLLED_BACK = replace(
    QUIET,
    result="rolled-back",
    exit_code=6,
    headline="health check failed: it answered 500",
    release="r2",
    previous="r1",
    steps=failed("health check", detail="health check failed: it answered 500"),
    problems=findings("health check failed: it answered 500"),
)
STILL_LIVE = replace(ROLLED_BACK, live_changed=True, steps=failed("health check", "flip back"))
REFUSED = replace(
    QUIET,
    result="refused",
    exit_code=3,
    headline="/srv/mysite: the tree is not clean: x",
    problems=findings("/srv/mysite: the tree is not clean: x", advice="Commit it."),
    advice="Commit it.",
)


def changed(status: Status, **facts: Any) -> Status:
    """Change facts of a status, those of capabilities included."""
    return replace(status, **facts)


def in_words(alarms: Iterable[Alarm]) -> list[tuple[Service, str, str]]:
    """Return what people see of alarms."""
    return [(one.level, one.text, one.command) for one in alarms]


# The answer of `status` for a project that is not adopted, and for a site without any problem.
STATUS = Status(
    project="shop", path="/srv/shop", releases_bytes=420_000_000, free_bytes=12_300_000_000, free_inodes=None,
    live=None, live_age_seconds=None, live_python=None, newer_python=None, link=None,
    last_run=None, last_deployment=None, last_change=None, last_success=None, running=None, blocked="",
    interrupted=False, push_pending=False, drift=None, failing_live_tests=None, asked=(), problems=(),
)  # fmt: skip
WELL = changed(
    STATUS,
    live="B",
    live_python="3.11.7",
    live_age_seconds=60.0,
    last_deployment=BRIEF,
    last_success=BRIEF,
    **({"vulnerable": 0} if hasattr(STATUS, "vulnerable") else {}),  # `make without` leaves that out
)
