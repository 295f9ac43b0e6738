"""The command `rebuild`: builds the lock of the live release again, also on another Python, and takes it live.

It decides by itself, as it asks neither the remote nor the index for anything newer; the rest is that of an update.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec

from releaser.candidate.identity import make_key
from releaser.candidate.shadow import make_shadow
from releaser.candidate.trial import Attempt
from releaser.checkout.target import Target, may_commit_older
from releaser.errors import BuildError, refuse, require
from releaser.live.outlook import Outlook, foresee
from releaser.packages.changes import compare_locks, describe_changes
from releaser.packages.hand_made import find_edited_venv, list_work
from releaser.packages.holds import Hold, find_held_code, list_holds
from releaser.packages.resolve import (
    Plan,
    choose_python,
    explain_python,
    find_unfit,
    read_constraints,
    read_live_venv,
    require_lasting_python,
    resolve_same_versions,
)
from releaser.packages.rules import Rules, make_rules
from releaser.packages.sources import copy_sources
from releaser.pipelines import checks
from releaser.pipelines.decide import UpdateOptions, judge_moves, make_workplace
from releaser.pipelines.update import take_live
from releaser.releases.journal import Entry, write_entry
from releaser.releases.release import Release
from releaser.releases.store import SiteRun, Store
from releaser.releases.verify import find_live_damage, list_faults
from releaser.report.decision import Build, Prospect
from releaser.report.outcomes import Outcome, make_preview
from releaser.site.site import Site
from releaser.system.run import REBUILD, now
from releaser.system.space import require_room


def rebuild(site: Site, run: SiteRun, python: str) -> Outcome:
    """Called by session.run_command(): the lock is held, recovery is done, `run.store` is read.

    `python` is the interpreter as uv takes it; empty for that of an update.
    """
    write_entry(site.paths, Entry("building", run.command.name, run.id))
    holds = list_holds(site)
    rules = _make_rules(site, holds)
    while True:
        decision = _decide(site, run, python, Outlook(run.store, holds), rules)
        try:
            return take_live(site, run, decision, UpdateOptions(force=True))
        except BuildError as error:
            further = rules.without(find_unfit(error.output))  # from source, as it turned out
            if further == rules or not decision.prospect.python:
                raise
            rules = further


def _make_rules(site: Site, holds: Iterable[Hold]) -> Rules:
    return make_rules(site.settings.versions, holds, (), read_constraints(site, site.paths.project), now())


def preview_rebuild(site: Site, python: str) -> Outcome:
    """Decide, as `rebuild` will, and print it: no lock, no write, no recovery."""
    run, outlook = SiteRun("preview", REBUILD), foresee(site, Store(site.paths))
    run.store = outlook.store
    rules = _make_rules(site, outlook.holds)
    outcome = make_preview(_decide(site, run, python, outlook, rules, is_dry=True), outlook.recovery, does="rebuild")
    previous = outlook.store.previous
    return msgspec.structs.replace(outcome, previous=previous.id if previous else None, on_hold=outlook.holds)


def _decide(site: Site, run: SiteRun, python: str, outlook: Outlook, rules: Rules, *, is_dry: bool = False) -> Build:
    """Return what is built: the code of the checkout, with the lock of the live release.

    On another Python, versions may have to move within the rules. Raises PreflightError and BuildError.
    """
    live = outlook.store.find("live")
    view = checks.look(site, outlook.store, mark=run.id, instead=outlook.checkout)
    snapshot, repository = view.require_fit(), view.repository
    faults = [*list_faults(site, live)]
    require(find_edited_venv(live, faults))
    require_room(site.paths.releases)
    head = snapshot.checkout.head
    code_key = repository.code_key(head, *site.committed_paths)
    if code_key != live.manifest.key.code_key:
        message = f"The checkout does not have the code of the live release, {live.id}."
        raise refuse("other-code", message, "Run `releaser update`, which tests and takes both live.")
    publishes = may_commit_older(site, repository, head, find_held_code(outlook.holds))
    target = Target(head, head, code_key, publishes)
    with make_workplace(site, repository, run, is_dry=is_dry) as (site, source, directory):
        copy_sources(site, run)
        with make_shadow(site, source, directory, head, mark=run.id) as shadow, run.step("resolve") as detail:
            plan, reason = _plan(site, shadow.project, live, python, rules, mark=run.id)
            detail.append(describe_changes(plan.changes or ()) or "the same packages")
    attempt = Attempt(target, site, plan, make_key(site, plan, code_key))
    edits, damage = tuple(list_work(live, faults)), tuple(find_live_damage(live, faults, is_lost=True))
    prospect = Prospect(repository, snapshot, live, attempt, edits=edits, python=reason)
    return Build(prospect, damage)


def _plan(site: Site, tree: Path, live: Release, python: str, rules: Rules, *, mark: str) -> tuple[Plan, str]:
    """Return the plan of the lock of the live release, and why its Python is another one; empty if it is the same."""
    venv, asked = read_live_venv(site, live), site
    if python:
        asked = site.with_settings("site", python=python)
    lock = venv.lock
    (tree / "uv.lock").write_text(lock.text, encoding="utf-8")
    plan = Plan(lock, *choose_python(asked, tree, venv, mark=mark))
    reason = explain_python(live, venv, plan)
    if reason:
        require_lasting_python(site, tree, venv, plan, mark=mark)
        plan = resolve_same_versions(asked, tree, venv, rules, mark=mark)
        plan = judge_moves(asked, tree, plan, [lock], lock, ())
    return msgspec.structs.replace(plan, changes=compare_locks(lock, plan.lock), is_rebuild=True), reason
