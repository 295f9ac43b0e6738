"""Taking up requests: which of them, in which order, and their records. No run takes place here."""

import errno
import itertools
import os
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest import mock

import pytest
from filelock import FileLock

from releaser.core import request as kinds
from releaser.core.request import RequestedSection, RequestKind, Wanted
from releaser.errors import Interrupted, PreflightError, UsageError
from releaser.pipelines import requests
from releaser.pipelines.holds import decide_unhold
from releaser.pipelines.request_prelude import carry_out_before_update
from releaser.pipelines.request_status import RequestStatus
from releaser.pipelines.requests import Taken, carry_out_requests
from releaser.pipelines.session import Request
from releaser.releases.blocks import StoredBlock, change_blocks
from releaser.releases.pause import PAUSE, Pause
from releaser.releases.requests import REQUESTS, Requests, Waiting, leave, read_taken
from releaser.report import RunReport
from releaser.site import run_lock
from releaser.site.site import Site, open_site
from releaser.system.files import write_state

LIVE = "20260101T020304Z"


def make_kept_site(place: Path) -> Site:
    """Make a site that has releases, and a directory for requests."""
    root = place / "outer" / "site"
    root.mkdir(parents=True)
    (root / "pyproject.toml").write_text('[project]\nname = "site"\n', encoding="utf-8")
    (place / "requests").mkdir(mode=0o700)
    (place / "outer" / ".env").write_text(f"RELEASER_REQUEST_DIR={place / 'requests'}\n", encoding="utf-8")
    site = open_site(root, {})
    site.project.releases.mkdir(parents=True)
    return site


def report_of(request: Request, exit_code: int) -> RunReport:
    return RunReport(
        command=request.command, project="site", path=str(request.path), host="web1", run_id="1", seconds=1.0,
        started_at=datetime.now(UTC), result="updated", exit_code=exit_code, headline="done",
    )  # fmt: skip


def carried_out(site: Site, exit_code: int = 0) -> tuple[tuple[Taken, ...], list[Request]]:
    """Take up the waiting requests, with runs that only note their parameters."""
    runs: list[Request] = []

    def perform(request: Request, wanted: Wanted, _: datetime) -> RunReport:
        if wanted.name == "missing":
            message = "missing is not in uv.lock"
            raise UsageError(message)
        if wanted.name == "full":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        runs.append(request)
        return report_of(request, exit_code)

    real: Mapping[str, RequestKind] = kinds.request_kinds()
    fakes = {name: RequestKind(**{**vars(kind), "perform": perform}) for name, kind in real.items()}
    with mock.patch.object(requests, "request_kinds", return_value=fakes):
        found = carry_out_requests(Request(path=site.project.checkout, environ={}, command="run-requests"))
    return found, runs


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return make_kept_site(tmp_path)


def ask(site: Site, action: str, **more: str) -> str:
    place = site.project.outer.parent / "requests"
    return leave(place, Wanted(project=str(site.project.checkout), action=action, **more))


def test_requests_are_taken_in_their_order_and_the_same_one_once(site: Site) -> None:
    ids = [ask(site, *words) for words in (("update",), ("update",), ("resume",))]
    found, runs = carried_out(site)
    assert [one.request.id for one in found] == ids
    assert [one.request.result for one in found] == ["updated", "refused", "updated"]
    assert [run.command for run in runs] == ["update", "resume"]
    page = found[0].request.by
    assert page.startswith("the page of ")
    assert all(run.asked == (RequestedSection(requested_by=page),) for run in runs)
    assert [one.id for one in read_taken(site.state_dir).requests] == ids[::-1]
    assert carried_out(site) == ((), [])


def test_an_error_of_one_request_does_not_keep_the_next_from_its_run(site: Site) -> None:
    ask(site, "update-package", name="missing", by="alice")
    ask(site, "update-package", name="alpha", by="bob")
    found, runs = carried_out(site, exit_code=5)
    assert [(one.request.exit_code, one.request.by.partition(" ")[0]) for one in found] == [(2, "alice"), (5, "bob")]
    assert len(runs) == 1


def test_an_error_of_the_system_drops_no_report_and_no_later_request(site: Site) -> None:
    ask(site, "update")
    ask(site, "update-package", name="full")
    ask(site, "rollback", live=LIVE)
    found, _ = carried_out(site)
    assert [(one.request.result, one.request.exit_code) for one in found] == [
        ("updated", 0), ("refused", 4), ("updated", 0),
    ]  # fmt: skip
    assert "No space left" in found[1].request.headline

    ask(site, "resume")
    real, looks = Requests.waiting, itertools.count()

    def waiting(place: Requests) -> list[Waiting]:
        if next(looks):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(place)

    with mock.patch.object(Requests, "waiting", waiting):
        found, runs = carried_out(site)
    assert ([run.command for run in runs], len(found)) == (["resume"], 1)


def test_an_interrupt_leaves_the_others_waiting_and_starts_no_update(site: Site) -> None:
    ask(site, "update")
    ask(site, "rollback", live=LIVE)
    found, runs = carried_out(site, exit_code=130)
    assert (len(found), len(runs)) == (1, 1)
    with mock.patch.object(requests, "carry_out_requests", return_value=found), pytest.raises(Interrupted):
        carry_out_before_update(Request(path=site.project.checkout, environ={}, command="update"))


def test_no_request_is_taken_while_another_run_is_in_progress_or_takes_requests(site: Site) -> None:
    ask(site, "update")
    with mock.patch.object(run_lock, "find_running", return_value=mock.Mock()):
        assert carried_out(site) == ((), [])
    (site.state_dir / run_lock.DIRECTORY).mkdir(parents=True, exist_ok=True)
    with FileLock(site.state_dir / run_lock.REQUESTS):
        assert carried_out(site) == ((), [])
    assert len(carried_out(site)[1]) == 1


def test_a_hold_that_began_after_a_request_stays(site: Site) -> None:
    now = datetime.now(UTC)
    since = now.isoformat(timespec="seconds")
    new = StoredBlock(name="alpha", by="person", reason="the sale", since=since)
    site.state_dir.mkdir(exist_ok=True)
    change_blocks(site.state_dir, lambda blocks: blocks.with_new(new))
    with pytest.raises(UsageError, match="put on hold after this was requested"):
        decide_unhold(site, "alpha", asked_at=now - timedelta(minutes=1))
    assert decide_unhold(site, "alpha", asked_at=now + timedelta(minutes=1)).state == "is not on hold"
    assert decide_unhold(site, "alpha").state == "is not on hold"


def test_a_site_counts_only_its_own_requests(site: Site) -> None:
    ask(site, "update")
    leave(site.project.outer.parent / "requests", Wanted(project="/srv/other", action="update"))
    status = RequestStatus.look(mock.Mock(site=site))
    assert isinstance(status, RequestStatus)
    assert status.requests_waiting == 1


def test_another_user_than_the_owner_gets_the_reason(site: Site) -> None:
    ask(site, "update")
    stranger = mock.Mock(of=mock.Mock(return_value=mock.Mock(owner=54321)))
    with mock.patch.object(requests, "Ownership", stranger), pytest.raises(PreflightError, match="only uid 54321"):
        carried_out(site)
    assert len(carried_out(site)[1]) == 1


def test_wrong_settings_keep_no_rollback_from_its_run(site: Site) -> None:
    ask(site, "rollback", live=LIVE)
    (site.project.outer / ".env").write_text(
        (site.project.outer / ".env").read_text(encoding="utf-8") + "RELEASER_KEEP=many\n", encoding="utf-8"
    )
    assert [run.command for run in carried_out(site)[1]] == ["rollback"]


@pytest.mark.parametrize("action", ["update", "pause", "resume"])
def test_a_pause_that_began_after_a_request_overrules_it(site: Site, action: str) -> None:
    length = {"length": "1d"} if action == "pause" else {}
    site.state_dir.mkdir(exist_ok=True)
    write_state(site.state_dir / PAUSE, Pause(since=datetime.now(UTC) - timedelta(minutes=1), reason="before"))
    ask(site, action, **length)
    assert len(carried_out(site)[1]) == 1
    ask(site, action, **length)
    write_state(site.state_dir / PAUSE, Pause(since=datetime.now(UTC) + timedelta(seconds=1), reason="incident"))
    found, runs = carried_out(site)
    assert (runs, found[0].request.result) == ([], "refused")
    assert (
        "a later decision by a person overrules the request: updates are paused until `releaser resume`: incident"
        in (found[0].request.headline)
    )
    ask(site, "rollback", live=LIVE)
    assert len(carried_out(site)[1]) == 1


def test_a_record_that_cannot_be_read_or_written_stops_no_request(site: Site) -> None:
    (site.state_dir / REQUESTS).mkdir()
    ask(site, "rollback", live=LIVE)
    assert len(carried_out(site)[1]) == 1
