"""Every gate lets a fit release pass, every restart method restarts or says why not; and how answers of gates count."""

import itertools
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast, get_args

import pytest

from releaser import gates
from releaser.core.gate import Case, Found, Gate, Refusal, Stage, Verdict, Wait
from releaser.core.restart import Restart
from releaser.core.run import Workspace
from releaser.errors import Finding, PreflightError, ToolError
from releaser.gates.before_live import BeforeLive
from releaser.locks.changes import Change
from releaser.locks.lock import EMPTY
from releaser.locks.vulnerabilities import AuditsSoFar, unknown
from releaser.pipelines.preflight import Scope, check
from releaser.releases.release import lock_of
from releaser.releases.store import store_of
from releaser.report import Step
from releaser.serving import restarts
from releaser.serving.restarts import restart_of
from releaser.serving.restarts.command import Command
from releaser.site.site import find_site, open_site
from tests.e2e.scenes import outer_snapshot
from tests.site.fakes import with_settings
from tests.support.logs import a_log
from tests.support.sites import SampleSite, SiteFactory


@pytest.fixture(scope="module")
def live(make_scene: SiteFactory) -> Iterator[SampleSite]:
    """A site that is well; nothing here changes it."""
    site = make_scene.adopted("1.1.0")
    before = outer_snapshot(site)
    yield site
    after = outer_snapshot(site)
    changed = {path for path in {*before, *after} if before.get(path) != after.get(path)}
    noted = site.state_dir / "releases" / str(site.live_id()) / "migrations.json"  # what its Django says is noted again
    assert changed <= {str(noted), str(noted.parent)}


@pytest.mark.parametrize("gate", gates.GATES, ids=lambda gate: type(gate).__name__)
def test_a_gate_lets_a_fit_release_pass_and_changes_nothing(live: SampleSite, gate: Gate) -> None:
    here = find_site(live.path, live.env)
    release = store_of(here).live()
    assert release is not None
    log = a_log()
    facts = check(here, release, Scope(asks=()))
    work = Workspace(site=here, log=log, facts=facts, before=facts, live=release, examine_lock=lambda *_: {})
    log.add(AuditsSoFar(before=unknown("the service does not answer")))
    changes = release.manifest.changes
    case = Case(work=work, lock=lock_of(release), venv=release.venv, changes=changes, asks_others=True)
    verdict = gate.judge(case)
    if isinstance(verdict, Found):
        assert replace(release.manifest, **verdict.facts) == release.manifest
    else:
        assert verdict is None
    assert gate.stage in get_args(Stage)
    assert log.findings == []


def a_case(**facts: Any) -> Case:
    return Case(work=cast("Workspace", SimpleNamespace(site=None, log=a_log())), lock=EMPTY, **facts)


class Answers(Gate):
    """A gate with a ready answer."""

    def __init__(self, verdict: Verdict, *, is_forcible: bool = False) -> None:
        self.verdict, self.is_forcible = verdict, is_forcible

    def judge(self, case: Case) -> Verdict:
        return self.verdict


REFUSES = Refusal(error=PreflightError(Finding("a", "the door is locked", advice="Find the key.")))
WAIT, LATER = Wait(reason="the door is closed"), Wait(reason="it is night")


@pytest.mark.parametrize(("is_forcible", "force", "is_repair"), [*itertools.product((False, True), repeat=3)])
def test_a_refusal_counts_unless_it_is_forcible_and_forced_or_the_release_is_a_repair(
    monkeypatch: pytest.MonkeyPatch, is_forcible: bool, force: bool, is_repair: bool
) -> None:
    monkeypatch.setattr(gates, "GATES", (Answers(WAIT), Answers(REFUSES, is_forcible=is_forcible), Answers(LATER)))
    case = a_case(is_repair=is_repair)
    if is_forcible and (force or is_repair):
        assert gates.ask("ready", case, force=force) == (None if force else WAIT)
        assert [one.message for one in case.log.findings] == ["the door is locked"]
    else:
        with pytest.raises(PreflightError, match="the door is locked"):
            gates.ask("ready", case, force=force)
    assert gates.ask("resolved", case) is None, "which none of them is asked"


class UnlessUrgent(Gate):
    """Lets a release wait that fixes nothing."""

    def judge(self, case: Case) -> Verdict:
        return None if case.is_urgent else WAIT


def test_gates_see_what_earlier_ones_found_out_about_the_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    change = Change(name="alpha", old="1.0", new="1.1", bump="minor")
    case = a_case(changes=(change,), asks_others=True)
    monkeypatch.setattr(gates, "GATES", (Answers(Found(facts={})), UnlessUrgent()))
    assert gates.ask("ready", case) == WAIT
    fixes = Found(facts={"changes": (replace(change, fixes=("CVE-1",)),)})
    monkeypatch.setattr(gates, "GATES", (Answers(fixes), UnlessUrgent()))
    assert gates.ask("ready", case) is None


@pytest.mark.parametrize(("is_forcible", "may_wait", "force"), [*itertools.product((False, True), repeat=3)])
def test_what_is_wrong_lets_a_release_wait_although_it_is_forced_or_nothing_else_may_wait(
    monkeypatch: pytest.MonkeyPatch, *, is_forcible: bool, may_wait: bool, force: bool
) -> None:
    wrong = Wait(reason="the stairs are missing", error=PreflightError(Finding("a", "no stairs", advice="Build them.")))
    monkeypatch.setattr(gates, "GATES", (Answers(wrong, is_forcible=is_forcible), Answers(LATER)))
    case = a_case(may_wait=may_wait)
    expected = None if is_forcible and (force or not may_wait) else wrong
    assert gates.ask("ready", case, force=force) == expected


@pytest.mark.parametrize(("may_wait", "force"), [*itertools.product((False, True), repeat=2)])
def test_a_wait_that_always_counts_is_neither_forced_nor_skipped_for_a_release_that_may_not_wait(
    monkeypatch: pytest.MonkeyPatch, *, may_wait: bool, force: bool
) -> None:
    always = replace(LATER, always=True)
    monkeypatch.setattr(gates, "GATES", (Answers(WAIT), Answers(always)))
    expected = WAIT if may_wait and not force else always
    assert gates.ask("ready", a_case(may_wait=may_wait), force=force) == expected


def test_what_is_wrong_comes_before_other_waits_and_one_gate_is_enough_to_keep_the_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wrong = Wait(reason="the stairs are missing", error=PreflightError(Finding("a", "no stairs", advice="Build them.")))
    monkeypatch.setattr(gates, "GATES", (Answers(WAIT), Answers(wrong), Answers(replace(LATER, keeps=True))))
    assert gates.ask("ready", a_case()) == replace(wrong, keeps=True)
    monkeypatch.setattr(gates, "GATES", (Answers(WAIT), Answers(LATER)))
    assert gates.ask("ready", a_case()) == WAIT


@pytest.mark.parametrize(("may_wait", "force"), [(True, False), (False, False), (True, True)])
def test_a_gate_that_acts_is_not_asked_while_another_one_waits(
    monkeypatch: pytest.MonkeyPatch, *, may_wait: bool, force: bool
) -> None:
    """As the hook `before_live`, which may migrate; for a rebuild, nothing waits."""
    monkeypatch.setattr(BeforeLive, "judge", lambda *_: REFUSES)
    monkeypatch.setattr(gates, "GATES", (Answers(WAIT), BeforeLive()))
    case = a_case(may_wait=may_wait)
    if may_wait and not force:
        assert gates.ask("ready", case) == WAIT
    else:
        with pytest.raises(PreflightError, match="the door is locked"):
            gates.ask("ready", case, force=force)


def test_what_is_made_waits_for_nothing_and_the_manifest_gets_what_gates_have_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    case = a_case()
    monkeypatch.setattr(gates, "GATES", (Answers(Found(facts={"migrations": ("one",)})), Answers(Found(facts={}))))
    assert gates.examine("ready", case) == {"migrations": ("one",)}
    assert gates.ask("ready", case) is None
    monkeypatch.setattr(gates, "GATES", (Answers(WAIT),))
    with pytest.raises(PreflightError, match="no release is built: the door is closed"):
        gates.examine("ready", case)
    assert gates.examine("ready", case, force=True) == {}
    with pytest.raises(LookupError):
        _ = case.built


@pytest.mark.parametrize(("is_forcible", "force", "is_repair"), [*itertools.product((False, True), repeat=3)])
def test_a_dry_run_says_what_could_be_forced_and_raises_the_rest(
    monkeypatch: pytest.MonkeyPatch, is_forcible: bool, force: bool, is_repair: bool
) -> None:
    monkeypatch.setattr(Answers, "stage", "begun")
    monkeypatch.setattr(gates, "GATES", (Answers(REFUSES, is_forcible=is_forcible),))
    case = a_case(is_repair=is_repair)
    if is_forcible:
        said = [] if force or is_repair else ["it would be refused: the door is locked"]
        assert [*gates.foresee(case, force=force)] == said
    else:
        with pytest.raises(PreflightError, match="the door is locked"):
            [*gates.foresee(case, force=force)]


def write_programs(place: Path, script: str) -> None:
    for name in ("passenger-config", "run"):
        (place / name).write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        (place / name).chmod(0o755)


@pytest.mark.parametrize("restart", [*restarts.RESTARTS, Command()], ids=lambda one: one.word or "a command")
def test_a_restart_method_is_selected_checks_itself_without_an_effect_and_restarts(
    tmp_path: Path, restart: Restart
) -> None:
    for name in ("tmp", "bin"):
        (tmp_path / name).mkdir()
    write_programs(tmp_path / "bin", "echo Restarting")
    words = (restart.word,) if restart.word else ("run", "now")
    opened = open_site(tmp_path, {"PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin"})
    site = with_settings(opened, restart=words, restart_file="tmp/restart.txt")
    assert type(restart_of(site)) is type(restart)
    if restart.word == "systemd":  # without its two settings it says so, and restarts nothing
        assert [one.code for one in restart.findings(site)] == ["restart-unit", "restart-socket"]
        with pytest.raises(ToolError):
            restart.restart(site, tmp_path, Step())
        return
    assert [*restart.findings(site)] == []
    assert not (tmp_path / "tmp" / "restart.txt").exists()
    restart.restart(site, tmp_path, Step())
    write_programs(tmp_path / "bin", "exit 1")
    shutil.rmtree(tmp_path / "tmp")
    (tmp_path / "tmp").symlink_to("nowhere")
    if restart.word not in ("none", "gunicorn"):  # without a gunicorn, there is nothing to exchange
        with pytest.raises(ToolError) as caught:
            restart.restart(site, tmp_path, Step())
        assert caught.value.message


def test_each_word_selects_one_method() -> None:
    assert len({*restarts.restart_words()}) == len(restarts.RESTARTS)
