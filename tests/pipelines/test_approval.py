"""Approvals: which release waits for one and until when, who may give it, and when people are asked."""

import math
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import click
import pytest

from releaser.commands import approve
from releaser.core.gate import Case, Wait, find_opening
from releaser.core.run import Run, Workspace
from releaser.errors import NoSuchReleaseError, UsageError
from releaser.gates import approval
from releaser.gates.approval import Approval, wait_for_approval
from releaser.locks.changes import Change
from releaser.locks.lock import EMPTY
from releaser.pipelines import approval as pipeline
from releaser.pipelines import approval_mail
from releaser.pipelines.approval import decide_approve
from releaser.pipelines.approval_mail import ask_for_approval
from releaser.pipelines.decide import Goal
from releaser.pipelines.maintenance import plan_change
from releaser.pipelines.update import case_of
from releaser.releases.approvals import Approval as Given
from releaser.releases.approvals import ApprovalSection, list_approved, note_approval, note_asked, read_approvals
from releaser.releases.journal import journal_of
from releaser.releases.release import Release
from releaser.releases.store import ReleaseStore, store_of
from releaser.site.site import Pulled, Site, open_site
from releaser.site.windows import Window
from releaser.system.words import show_time
from tests.releases import makers
from tests.site.fakes import with_settings
from tests.support.logs import a_log

NOON = datetime(2026, 11, 26, 12, 0).astimezone()
TWO_DAYS = 2 * 86400.0


class Clock(datetime):
    @classmethod
    def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
        return NOON.astimezone(tz)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """A site with a live release."""
    for module in (approval, approval_mail, pipeline):
        monkeypatch.setattr(module, "datetime", Clock)
    (tmp_path / "site").mkdir()
    found = with_settings(open_site(tmp_path / "site", {}), approve_after=TWO_DAYS)
    makers.live(store_of(found), 1)
    return found


@pytest.fixture
def ready(site: Site) -> Release:
    """A newer release, which waits."""
    release = makers.built(store_of(site), 2)
    store_of(site).record_waiting(release, "it waits", keeps=True)
    return release


def case(site: Site, release: Release | None, **facts: Any) -> Case:
    log = a_log()
    log.started_at = NOON
    work = SimpleNamespace(site=site, log=log, live=store_of(site).live())
    return Case(work=cast("Workspace", work), lock=EMPTY, venv=release.venv if release else None, **facts)


FIX = Change(name="alpha", old="1.0", new="1.1", bump="minor", fixes=("CVE-1",))


@pytest.mark.parametrize(
    ("asked_days_ago", "after", "windows", "facts", "days"),
    [
        (None, None, (), {}, None),  # the setting is not set
        (None, TWO_DAYS, (), {}, 2),
        (1, TWO_DAYS, (), {}, 1),
        (2, TWO_DAYS, (), {}, None),
        (1, TWO_DAYS, ("03:00-05:00",), {}, 1 + 15 / 24),  # in the window after the two days
        (9, math.inf, ("03:00-05:00",), {}, math.inf),
        (None, TWO_DAYS, (), {"changes": (FIX,)}, 2),  # a security fix waits, too
        (None, TWO_DAYS, (), {"is_repair": True}, None),
        (None, TWO_DAYS, (), {"is_repair": True, "changes": (FIX,)}, 2),  # the site runs, and this is news
        (None, TWO_DAYS, (), {"is_repair": True, "is_down": True, "changes": (FIX,)}, None),
        (None, TWO_DAYS, (), {"is_down": True}, None),
        (None, TWO_DAYS, (), {"may_wait": False}, None),  # a person rebuilds
    ],
)
def test_a_release_waits_for_approval_or_its_time_unless_the_site_needs_it(
    site: Site,
    ready: Release,
    asked_days_ago: int | None,
    after: float | None,
    windows: tuple[str, ...],
    facts: dict[str, Any],
    days: float | None,
) -> None:
    site = with_settings(site, approve_after=after, window=tuple(map(Window.parse, windows)))
    if asked_days_ago is not None:
        note_asked(site.state_dir, ready.id, NOON - timedelta(days=asked_days_ago))
    judged = case(site, ready, **facts)
    verdict = Approval().judge(judged)
    section = ApprovalSection.of(judged.log)
    if days is None:
        assert (verdict, section) == (None, ApprovalSection())
        return
    until = None if days == math.inf else (NOON + timedelta(days=days)).astimezone(UTC)
    assert isinstance(verdict, Wait)
    assert (verdict.keeps, verdict.always, verdict.error) == (True, True, None)
    assert verdict.until == section.goes_live_at == until
    assert section.needs_approval == ready.id
    alone = f"it goes live anyway on {show_time(until)}" if until else "it does not go live without approval"
    assert verdict.reason == f"it needs approval (`releaser approve {ready.id}`); {alone}"
    note_approval(site.state_dir, ready.id, Given(by="ada", at=NOON))
    assert Approval().judge(case(site, ready, **facts)) is None


@pytest.mark.parametrize("is_down", [True, False])
def test_a_gate_learns_that_nothing_can_run_on_the_live_release(site: Site, is_down: bool) -> None:
    resolution, rebuild = SimpleNamespace(lock=EMPTY, diff=()), SimpleNamespace(is_down=is_down)
    goal = SimpleNamespace(work=case(site, None).work, resolution=resolution, is_repair=False, rebuild=rebuild)
    assert case_of(cast("Goal", goal)).is_down == is_down


@pytest.mark.parametrize("asked", [None, NOON + timedelta(days=365)])
def test_the_time_begins_when_people_are_asked_and_not_with_a_build_that_takes_longer_or_another_clock(
    site: Site, ready: Release, asked: datetime | None
) -> None:
    if asked is not None:
        note_asked(site.state_dir, ready.id, asked)
    judged = case(site, ready)
    judged.log.started_at = NOON - timedelta(days=3)
    verdict = Approval().judge(judged)
    assert isinstance(verdict, Wait)
    assert verdict.until == NOON.astimezone(UTC) + timedelta(seconds=TWO_DAYS)
    assert report_of(site, ready.id, NOON - timedelta(days=3)).noteworthy
    assert read_approvals(site.state_dir).asked == {ready.id: NOON}
    assert not report_of(site, ready.id).noteworthy


def test_before_a_build_a_dry_run_says_it_and_without_a_live_release_nothing_waits(site: Site) -> None:
    verdict = Approval().judge(case(site, None))
    assert isinstance(verdict, Wait)
    assert (verdict.reason, verdict.until) == ("it needs approval", None)
    ready = makers.built(store_of(site), 2)
    store_of(site).record_waiting(ready, "it waits", keeps=True)
    assert Approval().judge(case(site, None)) == wait_for_approval(site, ready.id, NOON)
    note_approval(site.state_dir, ready.id, Given(by="ada", at=NOON))
    assert Approval().judge(case(site, None)) is None
    site.project.venv.unlink()
    assert Approval().judge(case(site, None)) is None


@pytest.mark.parametrize(("pulled", "waits"), [(None, False), (Pulled(old="a", new="b", count=1), True)])
def test_a_commit_is_not_approved_because_the_live_release_is_damaged(
    site: Site, ready: Release, pulled: Pulled | None, waits: bool
) -> None:
    site = replace(site, tree=replace(site.tree, pulled=pulled))
    assert (Approval().judge(case(site, ready, is_repair=True)) is not None) is waits


def test_a_commit_cannot_switch_its_own_approval_off(site: Site, ready: Release) -> None:
    judged = case(site, ready)
    staged = SimpleNamespace(outside=site, pulled=None, settings=with_settings(site, approve_after=None).settings)
    work = SimpleNamespace(site=staged, log=judged.log, live=judged.work.live)
    assert Approval().judge(Case(work=cast("Workspace", work), lock=EMPTY, venv=ready.venv)) is not None


def apply(site: Site, *, on: bool) -> bool:
    """Approve the newest release, or take that back; return whether that changed anything."""
    change = decide_approve(site, "@0", on=on)
    if change.apply is not None:
        change.apply()
    return change.apply is not None


@pytest.mark.parametrize("windows", [(), ("03:00-05:00",)])
def test_an_approved_release_goes_live_at_the_next_opening_and_waits_again_without(
    site: Site, ready: Release, monkeypatch: pytest.MonkeyPatch, windows: tuple[str, ...]
) -> None:
    monkeypatch.setenv("SUDO_USER", "ada\x1b[2J")
    site = with_settings(site, window=tuple(map(Window.parse, windows)))
    assert plan_change(site, lambda s: decide_approve(s, ready.id, on=True)).would == (f"{ready.id} would be approved",)
    assert list_approved(site.state_dir) == {}
    assert (apply(site, on=True), apply(site, on=True)) == (True, False)
    opening = find_opening(site, NOON)
    found = store_of(site).snapshot().lifecycles[ready.id]
    assert (found.until, found.kept) == (opening, True)
    when = f"on {show_time(opening)}" if windows else "with the next update"
    (remark,) = list_approved(site.state_dir).values()
    assert remark.startswith("was approved by ada")
    assert "\x1b" not in remark
    assert found.waits == f"{remark.removeprefix('was ')}; it goes live {when}"
    assert (apply(site, on=False), apply(site, on=False)) == (True, False)
    found = store_of(site).snapshot().lifecycles[ready.id]
    assert "needs approval" in found.waits
    assert found.until is not None
    assert found.until > opening
    assert list_approved(site.state_dir) == {}


@pytest.mark.parametrize("on", [True, False])
def test_the_next_approve_finishes_one_that_was_cut_off(
    site: Site, ready: Release, monkeypatch: pytest.MonkeyPatch, on: bool
) -> None:
    if not on:
        apply(site, on=True)
    with monkeypatch.context() as patch:
        patch.setattr(ReleaseStore, "record_waiting", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            apply(site, on=on)
    assert bool(list_approved(site.state_dir)) == on
    assert (apply(site, on=on), apply(site, on=on)) == (True, False)
    assert store_of(site).snapshot().lifecycles[ready.id].waits.startswith("approved by") == on


def older(site: Site) -> str:
    """Let a release wait that is newer than the one that waited."""
    waiting, newer = store_of(site).snapshot().find_waiting(), makers.built(store_of(site), 3)
    store_of(site).record_waiting(newer, "it waits")
    return waiting.id if waiting else ""


@pytest.mark.parametrize(
    ("name", "error", "said"),
    [
        (lambda _: "20200101T000000Z", NoSuchReleaseError, "there is no release"),
        (lambda _: "live", UsageError, "is already live"),
        (older, UsageError, "does not wait to go live: its state in `releaser list` is candidate"),
    ],
)
@pytest.mark.parametrize("on", [True, False])
def test_only_the_release_that_waits_can_be_approved(
    site: Site, ready: Release, name: Callable[[Site], str], error: type[Exception], said: str, on: bool
) -> None:
    with pytest.raises(error, match=said):
        decide_approve(site, name(site), on=on)
    assert store_of(site).get(ready.id)
    assert read_approvals(site.state_dir).given == {}


def test_without_the_setting_there_is_nothing_to_approve(site: Site, ready: Release) -> None:
    with pytest.raises(UsageError, match="`approve_after` is not set"):
        decide_approve(with_settings(site, approve_after=None), ready.id, on=True)


def test_the_shell_completes_the_release_that_waits(
    site: Site, ready: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(approve, "own_site", lambda _: site)
    context, parameter = click.Context(approve.approve), approve.approve.params[-1]
    assert approve.complete_waiting(context, parameter, "2026") == [ready.id]
    assert approve.complete_waiting(context, parameter, "x") == []
    makers.go_to(store_of(site), ready.id)
    assert approve.complete_waiting(context, parameter, "") == []


def report_of(site: Site, release: str, began: datetime = NOON) -> Any:
    """Return the run, and its report as people would get it."""
    log = a_log()
    log.started_at = began
    log.add(ApprovalSection(needs_approval=release))
    run = Run(site=site, log=log)
    return ask_for_approval(run, run.report(result="no-changes", exit_code=0, headline="it waits"))


def test_people_are_asked_once_for_each_release_and_again_if_a_run_was_killed_before(
    site: Site, ready: Release
) -> None:
    assert not report_of(site, "").noteworthy
    assert not report_of(site, "gone").noteworthy
    asks = report_of(site, ready.id)
    since = show_time(datetime.fromisoformat(store_of(site).snapshot().lifecycles[ready.id].since))
    assert asks.noted == (
        f"Approval needed for new code: {ready.id} has been ready since {since}, and does not go live without approval."
    )
    assert asks.advice.startswith(f"Read the changes, then run `releaser approve {ready.id}`.")
    entry = journal_of(site).read()
    assert entry is not None
    assert entry.phase == "reporting"  # the next run mails that, if this one is killed now
    assert read_approvals(site.state_dir).asked == {ready.id: NOON}
    assert not report_of(site, ready.id).noteworthy
    newer = makers.built(store_of(site), 3)
    assert not report_of(site, newer.id).noteworthy  # it does not wait
    store_of(site).record_waiting(newer, "it waits")
    store_of(site).remove(ready.id)
    assert report_of(site, newer.id).noteworthy
    assert {*read_approvals(site.state_dir).asked} == {newer.id}
