"""Decides what an update does: once, from the releases, the checkout, the remote, the rules and the lock.

`update` acts on the answer; `update --dry-run` prints the same one, and writes nothing on the way.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import msgspec

from releaser.candidate.identity import choose_ready, find_failed, make_key, may_try_again
from releaser.candidate.shadow import Shadow, make_shadow
from releaser.candidate.trial import Attempt
from releaser.checkout.move import find_obstacles
from releaser.checkout.own_files import find_wrong_export, has_lock_of
from releaser.checkout.pending import read_pending
from releaser.checkout.products import find_deployed, find_missing_products, find_unchanged_products, plan_products
from releaser.checkout.publish import is_news, is_worth_commit, may_push
from releaser.checkout.repository import Repository
from releaser.checkout.target import Lowered, Target, choose_target, fetch_upstream, find_lowered, site_for_commit
from releaser.checkout.tree import copy_repository
from releaser.errors import BuildError, PreflightError, ToolError, refuse, require
from releaser.live.actions import find_problems
from releaser.live.outlook import Outlook
from releaser.live.uv_run import require_no_sync
from releaser.packages import complaints
from releaser.packages.audit import audit_venv, choose_fixes
from releaser.packages.changes import describe_changes, find_newest
from releaser.packages.hand_made import find_edited_venv, list_work
from releaser.packages.holds import Hold, VersionHold, find_held_code, find_pause, is_locked_again, list_holds
from releaser.packages.indexes import describe_moves, explain_moves, find_host_indexes, find_moves, may_change_index
from releaser.packages.lock import Lock, parse_lock, read_lock
from releaser.packages.resolve import (
    LiveVenv,
    Plan,
    choose_python,
    compare_with_venv,
    explain_python,
    read_constraints,
    read_live_venv,
    resolve,
    resolve_same_versions,
)
from releaser.packages.rules import Rules, Skipped, follow_people, make_rules
from releaser.packages.sources import copy_sources
from releaser.pipelines import checks
from releaser.releases.journal import Entry
from releaser.releases.release import Key, Release
from releaser.releases.store import SiteRun, Store
from releaser.releases.verify import find_live_damage, list_faults
from releaser.report.decision import (
    Adopt,
    Build,
    Decision,
    First,
    LockNews,
    Nothing,
    Paused,
    Prospect,
    Ready,
    Refused,
    StillFailing,
)
from releaser.site.site import Site
from releaser.system.run import Run, now
from releaser.system.space import explain_full_disk, require_room
from releaser.system.text import find_close, join_few

#: Looks at the tree of a commit with the upgraded lock, which is deleted after the decision.
Examine: TypeAlias = Callable[[Site, Path, Plan, Rules], None]


class UpdateOptions(msgspec.Struct, frozen=True):
    """`force` tries again what failed, `prepare` stops when the release is ready.

    `follow_remote` goes to the head of the remote, also if that moved back or was rewritten. A `dry_run` only decides.
    `names` are the packages to upgrade, empty for all; `accepted` those that may come from elsewhere than before.
    `only_security` takes fixes of vulnerabilities alone. `unfit` are versions that did not build on another Python.
    """

    force: bool = False
    prepare: bool = False
    follow_remote: bool = False
    dry_run: bool = False
    names: tuple[str, ...] = ()
    accepted: tuple[str, ...] = ()
    only_security: bool = False
    unfit: tuple[tuple[str, str, str], ...] = ()


def decide(
    site: Site, run: SiteRun, options: UpdateOptions, outlook: Outlook, examine: Examine | None = None
) -> Decision:
    """Return what an update does, on a site as `outlook` has it; `examine` may look at the resolved tree.

    A dry run writes nothing in the site, its state or its repository; else the upstream is fetched. Raises BuildError.
    """
    if (pause := find_pause(outlook.holds)) is not None:
        return Paused(pause)
    store = outlook.store
    try:
        if not store.releases and store.link.kind == "foreign" and not store.link.is_symlink:
            checks.look(site, store, mark=run.id, is_first=True).require_fit()
            return Adopt(str(site.paths.link))
        if store.link.kind == "missing" and not any(release.state.order for release in store.releases):
            view = checks.look(site, store, mark=run.id, is_first=True)
            head = view.require_fit().checkout.head
            if options.prepare or options.names:
                raise refuse("no-release", "No release is live yet.", "Run `releaser update` to make the first one.")
            if options.dry_run:
                with make_workplace(site, view.repository, run, is_dry=True) as (site, source, directory):
                    site, target = choose_first(site, run, source, head, options, view.repository)
                    copy_sources(site, run)
                    require_installable(site, source, directory, target.commit, is_new=True, mark=run.id)
            return First()
        view = checks.look(site, store, mark=run.id, force=options.force, instead=outlook.checkout)
        view.require_fit()
        require_room(site.paths.releases)
        with make_workplace(site, view.repository, run, is_dry=options.dry_run) as (site, source, directory):
            return _decide(site, run, options, outlook, view, source, directory, examine)
    except PreflightError as error:
        return Refused(error.problems)


@contextlib.contextmanager
def make_workplace(
    site: Site, repository: Repository, run: Run, *, is_dry: bool
) -> Iterator[tuple[Site, Repository, Path]]:
    """Yield the site, the repository that is fetched into, and the directory of a shadow.

    In a dry run all of that, and the cache of uv, is below a temporary directory. Raises BuildError if that is full.
    """
    if not is_dry:
        yield site, repository, site.paths.shadow(f"{run.id}-lock")
        return
    with tempfile.TemporaryDirectory(prefix="releaser-") as place:
        try:
            copy = copy_repository(site, repository, Path(place, "repository"), mark=run.id)
            site = msgspec.structs.replace(site, uv_cache=Path(place, "cache"), dry_sources=Path(place, "sources"))
            yield site, copy, Path(place, "shadow")
        except (BuildError, ToolError, OSError) as error:
            if (full := explain_full_disk(Path(place), error)) is not None:
                raise full from error
            raise


def choose_first(
    site: Site, run: SiteRun, source: Repository, head: str, options: UpdateOptions, checkout: Repository
) -> tuple[Site, Target]:
    """Return the commit of the remote that an update makes the first release from, and the site with its settings.

    `source` is fetched into. Raises PreflightError and BuildError.
    """
    fetch_upstream(site, run, source, *(["--keep"] if options.dry_run else []))
    pending, held_code = read_pending(site.paths), find_held_code(list_holds(site))
    target = choose_target(site, source, head, pending, held_code, follow_remote=options.follow_remote)
    run.add(*([target.problem] if target.problem and target.is_rewritten else []))
    require(find_obstacles(checkout, head, target.commit, source))
    return site_for_commit(site, source, target), target


def require_installable(
    site: Site, source: Repository, directory: Path, commit: str, *, is_new: bool, mark: str
) -> None:
    """Raise PreflightError or BuildError if the lock of a commit does not fit, or, into a new venv, is not for here."""
    with make_shadow(site, source, directory, commit, mark=mark) as shadow:
        python, _ = choose_python(site, shadow.project, None, mark=mark)
        complaints.require_fitting_lock(site, shadow.project, python, mark=mark)
        if is_new:
            compare_with_venv(site, shadow.project, shadow.project / ".no-venv", mark=mark, python=python)


def _decide(  # noqa: PLR0913 - all that a decision is made of
    site: Site,
    run: SiteRun,
    options: UpdateOptions,
    outlook: Outlook,
    view: checks.Look,
    source: Repository,
    directory: Path,
    examine: Examine | None,
) -> Decision:
    snapshot, live = view.require_fit(), outlook.store.find("live")
    head = snapshot.checkout.head
    # A dry run keeps the pack: unpacked objects would touch those that the copy shares by hard links.
    fetch_upstream(site, run, source, *(["--keep"] if options.dry_run else []))
    pending, held_code = read_pending(site.paths), find_held_code(outlook.holds)
    target = choose_target(site, source, head, pending, held_code, follow_remote=options.follow_remote)
    if target.commit != head:
        before = find_deployed(site, source, outlook.store, head) or live
        unchanged = find_unchanged_products(site.paths.top, before.directory)
        require(find_obstacles(view.repository, head, target.commit, source, unchanged))
    site = site_for_commit(site, source, target)
    copy_sources(site, run)
    commits = source.describe_commits(_find_commit(source, live, head), target.commit)
    keys = [source.code_key(commit, *site.committed_paths) for commit in (target.commit, head)]
    target = msgspec.structs.replace(target, code_key=keys[0], moves_code=keys[0] != keys[1])
    attempt, reason = make_attempt(site, run, options, source, target, live, outlook.holds, directory, examine)
    problems = (target.problem,) if target.problem is not None and target.is_rewritten else ()
    prospect = Prospect(source, snapshot, live, attempt, commits, problems, python=reason)
    return _compare(site, options, outlook, prospect)


def _find_commit(source: Repository, live: Release, head: str) -> str:
    """Return the commit of the live release; HEAD if the repository does not have it any more."""
    return head if live.state.commit == head else source.resolve(live.state.commit) or head


def make_attempt(  # noqa: PLR0913 - all that an attempt is made of
    site: Site,
    run: SiteRun,
    options: UpdateOptions,
    source: Repository,
    target: Target,
    live: Release,
    holds: Sequence[Hold],
    directory: Path,
    examine: Examine | None = None,
) -> tuple[Attempt, str]:
    """Return the attempt that takes a commit live with the newest packages, and why its Python is another one.

    Raises PreflightError and BuildError.
    """
    with make_shadow(site, source, directory, target.commit, mark=run.id) as shadow:
        _require_programs(site, shadow)
        if target.commit != target.head:
            require(complaints.find_problems(site, shadow.project, mark=run.id, commit=target.commit))
            require(find_wrong_export(site, shadow.project))
        committed = read_lock(shadow.project / "uv.lock", f"uv.lock of commit {target.commit[:12]}")
        require_names(committed, (*options.names, *options.accepted))
        ready = [each for each in run.store.releases if each.state.state == "ready"]
        known = [read_lock(release.lock) for release in (live, *ready)]
        with contextlib.suppress(PreflightError):
            known.append(parse_lock(source.file_at(target.head, site.paths.lockfile_in_tree) or ""))
        with run.step("resolve") as detail:
            venv, deployed = read_live_venv(site, live), _find_commit(source, live, target.head)
            text = (shadow.project / "uv.lock").read_bytes()
            lowered = find_lowered(site, source, deployed, target.commit)
            constraints = read_constraints(site, shadow.project)
            holds = [hold for hold in holds if not is_locked_again(hold, committed)]
            rules = make_rules(site.settings.versions, holds, options.names, constraints, now())
            rules = follow_people(rules, lowered.by_people, venv.installed).without(options.unfit)
            rules = _add_fixes(site, run, rules, options, venv, shadow.project)
            plan, rules = _resolve(site, run, shadow.project, venv, rules)
            reason = explain_python(live, venv, plan)
            if reason:
                (shadow.project / "uv.lock").write_bytes(text)
                plan = _choose_stage(site, run, shadow.project, venv, rules, plan, target)
            plan = judge_moves(site, shadow.project, plan, known, committed, options.accepted)
            plan = _explain_lowered(plan, lowered, venv.installed)
            detail.append(describe_changes(plan.changes or ()) or "no changes")
        if examine is not None:
            examine(site, shadow.project, plan, rules)
        if not (target.publishes and is_news(committed, plan.lock, plan.held)):
            require_no_sync(site, shadow.project, plan.lock, committed)
    own = find_host_indexes(site, committed, plan.lock)
    if own and target.publishes:
        words = f"uv.lock is not committed: it names {join_few(own)}, an index of this host alone."
        advice = "Name the index in pyproject.toml, or let another host upgrade, and set `upgrade` to `none` here."
        target = msgspec.structs.replace(target, publishes=False, reason=words, advice=advice)
    return Attempt(target, site, plan, make_key(site, plan, target.code_key)), reason


def _choose_stage(  # noqa: PLR0913 - all that a plan is made of
    site: Site, run: SiteRun, tree: Path, venv: LiveVenv, rules: Rules, newest: Plan, target: Target
) -> Plan:
    """Return the plan of the same versions on another Python, one change at a time; the newest if that did not last."""
    with contextlib.suppress(BuildError):
        same = resolve_same_versions(site, tree, venv, rules, mark=run.id)
        key = make_key(site, same, target.code_key)
        if find_failed(run.store, key) is None and _find_rolled_back(run.store, key) is None:
            return same
    (tree / "uv.lock").write_text(newest.lock.text, encoding="utf-8")
    return newest


def judge_moves(
    site: Site, tree: Path, plan: Plan, known: Sequence[Lock], committed: Lock, accepted: Sequence[str]
) -> Plan:
    """Return the plan with the packages that come from elsewhere than before. Raises PreflightError if one may not.

    `known` are locks whose packages may stay as they are, that of the live release first. A mirror of the host may be
    another index, but not have other files.
    """
    moves, own = find_moves(known, committed, plan.lock), find_host_indexes(site, committed, plan.lock)
    if may_change_index(site, tree):
        moves = [move for move in moves if move.is_same_version]
    left = {package.source.place for package in plan.lock.packages}  # a mirror takes the place of an index
    refused = [move for move in moves if move.has_other_files or move.after not in own or move.before in left]
    require(explain_moves([move for move in refused if move.name not in accepted], plan.lock))
    others = [move for move in find_moves(known[:1], committed, plan.lock) if move.has_other_files]
    renewed = frozenset(move.name for move in (*others, *refused) if move.is_same_version)
    return msgspec.structs.replace(plan, notes=tuple(describe_moves(moves, own)), renewed=renewed)


def decide_without_commit(site: Site, run: SiteRun, options: UpdateOptions, prospect: Prospect) -> Attempt:
    """Return the attempt that takes packages alone live, on the code of HEAD; `site` has the settings of that code.

    Raises PreflightError and BuildError.
    """
    holds, source, target = list_holds(site), prospect.repository, prospect.target
    held_code = find_held_code(holds) | {target.code_key}
    target = choose_target(
        site, source, target.head, read_pending(site.paths), held_code, follow_remote=options.follow_remote
    )
    directory = site.paths.shadow(f"{run.id}-lock")
    return make_attempt(site, run, options, source, target, prospect.live, holds, directory)[0]


def _add_fixes(site: Site, run: Run, rules: Rules, options: UpdateOptions, venv: LiveVenv, tree: Path) -> Rules:
    """Return the rules with the versions that fix known vulnerabilities, where fixes are taken before all others.

    Raises BuildError if a person asks for fixes alone, and the service does not answer.
    """
    if options.only_security:
        rules = msgspec.structs.replace(rules, level="security", levels={}, alone=frozenset())
    passes_age = rules.cutoff is not None and site.settings.versions.audit != "off"
    if "security" not in {rules.level, *rules.levels.values()} and not passes_age:
        return rules
    lock = read_lock(tree / "uv.lock")
    committed = {name: find_newest(labels, venv.installed.get(name, "0")) for name, labels in lock.versions.items()}
    audit = audit_venv(site, venv.venv, mark=run.id, versions=committed)
    if audit.unknown and options.only_security:
        message = f"The versions with security fixes are unknown: {audit.unknown}"
        raise BuildError(message, "Run it again, or update all: `releaser update`.")
    fixes = choose_fixes(audit.advisories)
    return msgspec.structs.replace(rules, fixes={name: fixes[name] for name in options.names or fixes if name in fixes})


def _resolve(site: Site, run: Run, tree: Path, venv: LiveVenv, rules: Rules) -> tuple[Plan, Rules]:
    """Return the plan within the rules; without the fixes, which are skipped, if there is no solution with them."""
    committed = (tree / "uv.lock").read_bytes()
    try:
        return resolve(site, tree, venv, rules, mark=run.id), rules
    except BuildError:
        if not rules.fixes:
            raise
    fixes, left_out = dict[str, str](), list[Skipped]()
    for name, fix in rules.fixes.items():
        (tree / "uv.lock").write_bytes(committed)
        try:
            resolve(site, tree, venv, msgspec.structs.replace(rules, fixes={**fixes, name: fix}), mark=run.id)
            fixes[name] = fix
        except BuildError as error:
            words = "fixes a known vulnerability, but"
            if fix in rules.skipped.get(name, ()):
                left_out.append(Skipped(name, fix, f"{words} is on hold {rules.holders[name]}", "hold", name))
            else:
                left_out.append(Skipped(name, fix, f"{words} cannot be taken: {error.message}"))
    (tree / "uv.lock").write_bytes(committed)
    rules = msgspec.structs.replace(rules, fixes=fixes)
    plan = resolve(site, tree, venv, rules, mark=run.id)
    return msgspec.structs.replace(plan, skipped=(*left_out, *plan.skipped)), rules


def _compare(site: Site, options: UpdateOptions, outlook: Outlook, prospect: Prospect) -> Decision:
    """Return the decision on a candidate, by what is live, what failed and what is ready."""
    live, store, attempt = prospect.live, outlook.store, prospect.attempt
    before, key = live.manifest.key, attempt.key
    failed = find_failed(store, key)
    if prospect.python:  # of which no hold remembers that it was rolled back
        failed = failed or _find_rolled_back(store, key)
    is_same = attempt.plan.changes == () and not attempt.plan.renewed
    is_same = is_same and (key.code_key, key.python) == (before.code_key, before.python)
    is_same = is_same and not key.find_changed_libraries(before)
    is_same = is_same or (attempt.plan.changes == () and _was_rolled_back(site, store, prospect))
    faults = [*list_faults(site, live)]
    if not options.force:
        require(find_edited_venv(live, faults))
    prospect = msgspec.structs.replace(prospect, edits=tuple(list_work(live, faults)))
    damage = find_live_damage(live, faults, is_lost=options.force or not is_same)
    damage += _find_missing_products(site, store, prospect) if is_same else []
    if is_same and not damage and not attempt.target.moves_code:
        return _decide_on_lock(site, outlook, prospect)
    if is_same and not damage and live.manifest.kind == "built":
        return Ready(prospect, live)  # HEAD has come apart from it, by `--keep-code` or by a person's pull
    if failed is not None and not may_try_again(failed) and not options.force:
        return StillFailing(prospect, failed)
    if (ready := choose_ready(site, store, key, attempt.target, may_return=not is_same)) is not None:
        head, commit = attempt.target.head, attempt.target.commit
        deployed = find_deployed(site, prospect.repository, store, head) or live
        entry = Entry("changing", "update", ready.id, deployed.id, ready.id, head=head, commit=commit)
        require(plan_products(site, prospect.repository, entry, back=False).problems)
        return Ready(prospect, ready)
    return Build(prospect, tuple(damage), find_failed(store, key))


def _find_rolled_back(store: Store, key: Key) -> Release | None:
    """Return the release of a candidate that a rollback has left, as one that failed."""
    left = (each for each in store.releases if each.manifest.key == key and each.state.state == "rolled-back")
    release = next(left, None)
    if release is None:
        return None
    manifest = msgspec.structs.replace(release.manifest, failed_gate="rollback", failure="it was rolled back")
    return msgspec.structs.replace(release, manifest=manifest)


def _was_rolled_back(site: Site, store: Store, prospect: Prospect) -> bool:
    """Return True if a rollback left this candidate, and the live release differs by what no hold can name.

    That is the content of a library beside the checkout, other files of a version, or a tag of git; the packages that
    it left with them are on hold.
    """
    live, key = prospect.live, prospect.attempt.key
    states = {
        each.id: each.state.state
        for each in store.releases
        if msgspec.structs.replace(each.manifest.key, lock_sha256=key.lock_sha256) == key
    }
    was_left = bool(states) and states[max(states)] == "rolled-back"
    if not (was_left or _find_rolled_back(store, key)) or key.python != live.manifest.key.python:
        return False
    paths = prospect.repository.changed_paths(live.manifest.commit, prospect.target.commit)
    return {*paths} <= {*site.committed_paths}


def _find_missing_products(site: Site, store: Store, prospect: Prospect) -> list[str]:
    """Return which products of the live release are missing, unless building it again did not help twice."""
    live, head, source = prospect.live, prospect.target.head, prospect.repository
    is_other_code = source.code_key(head, *site.committed_paths) != live.manifest.key.code_key
    alike = [release for release in store.releases if release.manifest.key == live.manifest.key and release.state.order]
    return [] if is_other_code or len(alike) > 2 else find_missing_products(site, source, live)


def _decide_on_lock(site: Site, outlook: Outlook, prospect: Prospect) -> Decision:
    """Return the decision where nothing is to be built: a lock or a commit may still be due."""
    target, live, source = prospect.target, prospect.live, prospect.repository
    path = site.paths.lockfile_in_tree
    is_due = (
        not target.is_rewritten
        and outlook.committed_lock != live.id
        and is_worth_commit(source, target.commit, path, live, prospect.attempt.plan.held)
    )
    is_unpushed = target.is_unpushed and site.settings.git.git_push
    if (is_due or is_unpushed) and target.problem is not None:  # each night until it can be published
        prospect = msgspec.structs.replace(prospect, problems=(*prospect.problems, target.problem))
    checkout = prospect.snapshot.checkout
    commits = is_due and target.publishes
    pushes = target.commit == target.head and may_push(site, source, checkout, read_pending(site.paths))
    has_lock = path in checkout.changed and has_lock_of(site, live)
    moves = target.commit != target.head
    if not (moves or commits or pushes or has_lock):
        return Nothing(prospect)
    return LockNews(prospect, moves, commits, pushes, has_lock)


def _explain_lowered(plan: Plan, lowered: Lowered, installed: Mapping[str, str]) -> Plan:
    """Return the plan with holds on what a commit of a person has left, and with what stays in spite of a revert."""
    reason = f"lowered by commit {lowered.commit}"
    holds = (
        VersionHold(name=name, version=installed[name], by="commit", reason=reason, since=now())
        for name, version in lowered.by_people.items()
        if installed.get(name, version) != version
    )
    stays = (
        Skipped(name, installed[name], f"stays: commit {lowered.commit} is a revert, which has {version}", is_live=True)
        for name, version in lowered.reverted.items()
        if name in installed
    )
    return msgspec.structs.replace(plan, holds=(*plan.holds, *holds), skipped=(*plan.skipped, *stays))


def require_names(lock: Lock, names: Sequence[str]) -> None:
    """Raise PreflightError if the lock does not have a package that a person has named."""
    known = lock.names if names else []
    for name in names:
        if name not in known:
            close = find_close(name, known)
            advice = f"Did you mean `{close}`?" if close else "Run `uv tree --outdated` to see what is in it."
            raise refuse("not-locked", f"`{name}` is not in uv.lock.", advice)


def _require_programs(site: Site, shadow: Shadow) -> None:
    """Raise PreflightError if a way to restart, or the health check, is neither in the checkout nor in the commit."""
    moved = msgspec.structs.replace(site, paths=msgspec.structs.replace(site.paths, project=shadow.project))
    require(find_problems(site) and find_problems(moved))
