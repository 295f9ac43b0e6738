"""The command `update`: the newest versions and commits go live, if the project's tests pass."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path

import msgspec

from releaser.candidate.shadow import Shadow, make_shadow
from releaser.candidate.space import require_room
from releaser.checkout.move import find_obstacles, move_checkout
from releaser.checkout.pending import read_pending
from releaser.checkout.publish import publish, push_pending, remember_remote
from releaser.checkout.repository import Repository, has_live_lock, open_repository
from releaser.checkout.target import Target, choose_target
from releaser.errors import BuildError, GateError, Problem, ToolError, refuse, require
from releaser.live import health, hooks, restart
from releaser.live.change import ChangeResult, make_live, undo_change
from releaser.live.hooks import run_before_live
from releaser.packages.changes import describe_changes
from releaser.packages.holds import EVERY, Pause, list_holds, read_holds, read_pause
from releaser.packages.lock import read_lock
from releaser.packages.publishing import is_worth_commit, prepare_commit
from releaser.packages.resolve import Held, Plan, resolve
from releaser.pipelines import checks
from releaser.pipelines.adopt import adopt
from releaser.pipelines.build import build_and_test, make_key
from releaser.pipelines.conclude import conclude
from releaser.pipelines.prune import prune_releases
from releaser.pipelines.snapshot import Snapshot, require_unchanged, take_snapshot
from releaser.releases.journal import Entry, write_entry
from releaser.releases.release import Key, Release
from releaser.releases.store import Store, write_state
from releaser.releases.verify import ask_python_version, find_damage, find_faults, list_installed, list_stray_files
from releaser.report.history import read_history
from releaser.report.outcome import Outcome
from releaser.site.site import Site, site_at
from releaser.system.run import Run
from releaser.system.signals import defer_signals
from releaser.system.text import clip_end, join_few


class UpdateOptions(msgspec.Struct, frozen=True):
    """`force` tries again what failed, `prepare` stops when the release is ready.

    `follow_remote` goes to the head of the remote, also if that moved back or was rewritten.
    """

    force: bool = False
    prepare: bool = False
    follow_remote: bool = False


def update(site: Site, run: Run, options: UpdateOptions) -> Outcome:
    """Called by session.run_command(): the lock is held and recovery is done."""
    if (pause := read_pause(site.paths, run)) is not None:
        return paused(run, pause)
    adopt_first_venv(site, run)
    checks.require_ready(site, force=options.force)
    require_room(site.paths.releases)
    write_entry(site.paths, Entry(phase="building", command="update", run=run.id))
    repository = open_repository(site, run.id)
    snapshot = take_snapshot(site, repository)
    fetch(site, run, repository)
    target = choose_commit(site, run, repository, follow_remote=options.follow_remote)
    if target.problem is not None and target.is_rewritten:
        run.report(target.problem.code, target.problem.message, target.problem.advice)
    deployed = repository.resolve(Store(site.paths).find("live").state.commit) or target.head
    commits = repository.describe_commits(deployed, target.commit)
    require(find_obstacles(repository, target.head, target.commit))
    before, site = site, site_for_commit(site, repository, target)
    target = msgspec.structs.replace(target, code=repository.code_key(target.commit, *site.committed_paths))
    live = Store(site.paths).find("live")
    with make_shadow(site, site.paths.shadow(run.id), target.commit, mark=run.id) as shadow:
        require_programs(site, shadow)
        with run.step("resolve") as detail:
            plan = resolve_candidate(site, run, shadow.project, live)
            detail.append(describe_changes(plan.changes or ()) or "no changes")
        key = make_key(site, plan, target.code)
        ready = choose_ready(site, key, target)
        if plan.installs_what_is_live and target.code == live.manifest.key.code and is_sound(run, live):
            let_go_of_ready(site, run, key, target, live)
            due = None if options.prepare else publish_live_lock(site, run, repository, snapshot, target, live)
            return due or no_changes(run, "")
        failed = find_failed(site, key)
        if failed is not None and not may_try_again(failed) and not options.force:
            return still_failing(site, failed)
        try:
            release = ready or build_and_test(site, run, shadow, target, plan, live_site=before)
            let_go_of_ready(site, run, key, target, release)
        except GateError as error:
            prune_releases(site, run, key)
            return candidate_failed(error, find_failed(site, key), commits, is_quiet=failed is not None)
    if options.prepare:
        prune_releases(site, run, key)
        return prepared(site, run, release, commits)
    try:
        run_before_live(site, run, release.id, live.id)
    except GateError as error:
        return candidate_failed(error, release, commits, is_quiet=has_failed_before(site, release))
    require_unchanged(site, repository, snapshot)
    require(find_obstacles(repository, target.head, target.commit))
    result = make_live(site, run, repository, make_entry(site, run, repository, release, target))
    published = conclude(site, run, repository, result)
    if result.rolled_back:
        return rolled_back(release, result, commits)
    if target.problem is not None and not target.is_rewritten:
        run.report(target.problem.code, target.problem.message, target.problem.advice)
    return updated(release, published.commit, commits)


def adopt_first_venv(site: Site, run: Run) -> None:
    """Adopt the venv of a site that has no release yet, so that a line in a crontab is all it needs."""
    if not is_to_be_adopted(site):
        return
    require(checks.find_problems(site, initializing=True))
    run.note(adopt(site, run, open_repository(site, run.id)).headline)


def is_to_be_adopted(site: Site) -> bool:
    """Return True for a venv that a person has made, on a site without any release."""
    store = Store(site.paths)
    return not store.releases and store.link.kind == "foreign" and not store.link.is_symlink


def fetch(site: Site, run: Run, repository: Repository) -> None:
    """Fetch the upstream, and push what an earlier night could not. Raises BuildError if the remote does not answer."""
    upstream = repository.upstream(site.settings.site.branch)
    if upstream is None or not site.settings.git.git_pull:
        return
    with run.step("fetch"):
        try:
            repository.fetch(upstream)
        except ToolError as error:
            message = f"The remote `{upstream.remote}` could not be fetched: {error.message}"
            branch = upstream.branch.removeprefix("refs/heads/")
            advice = f"Run `git -C {site.paths.top} fetch {upstream.remote} {branch}` to see why."
            raise BuildError(message, advice, output=error.output) from error


def choose_commit(site: Site, run: Run, repository: Repository, *, follow_remote: bool) -> Target:
    """Return the commit to go live, after releaser's own commits that are not pushed yet were pushed."""
    pending = read_pending(site.paths)
    if pending.commits and not follow_remote and (problem := push_pending(site, repository, pending)):
        run.report(problem.code, problem.message, problem.advice)
    held = read_holds(site.paths).code
    target = choose_target(site, repository, read_pending(site.paths), held, follow_remote=follow_remote)
    if target.publishes:
        remember_remote(site, repository)
    return target


def site_for_commit(site: Site, repository: Repository, target: Target) -> Site:
    """Return the site with the settings of the commit that goes live. Raises PreflightError."""
    if target.commit == target.head:
        return site
    path = site.paths.pyproject.relative_to(site.paths.top).as_posix()
    text = repository.file_at(target.commit, path)
    if text is None:
        message = f"Commit {target.commit[:12]} has no {path}."
        raise refuse("no-pyproject", message, "Revert the commit that deleted it.")
    return site_at(site, text, target.commit)


def require_programs(site: Site, shadow: Shadow) -> None:
    """Raise PreflightError if a way to restart, or the health check, is neither in the checkout nor in the commit."""
    moved = msgspec.structs.replace(site, paths=msgspec.structs.replace(site.paths, project=shadow.project))
    for each in (restart, health, hooks):
        require(each.find_problems(site) and each.find_problems(moved))


def resolve_candidate(site: Site, run: Run, project: Path, live: Release) -> Plan:
    """Return the plan for tonight. Raises BuildError."""
    venv = live.venv if ask_python_version(site, live.venv) else None
    installed = list_installed(live.venv)
    held: dict[str, Held] = {}
    for hold in list_holds(site):
        if not hold.code and (hold.version != EVERY or hold.name in installed):
            versions = held[hold.name].versions if hold.name in held else ()
            held[hold.name] = Held((*versions, hold.version), installed.get(hold.name))
    return resolve(site, project, live=venv, held=held, mark=run.id)


def is_sound(run: Run, live: Release) -> bool:
    """Return True if the live release is as it was built; an adopted one may be as a person left it."""
    damage = find_damage(live.venv) if live.manifest.origin == "built" else []
    damage += [f"{path} was put there by hand" for path in list_stray_files(live.venv)]  # gone by `--force`
    if damage:
        run.note(f"The live release is damaged, and is built again: {join_few(damage)}.")
    return not damage


def find_failed(site: Site, key: Key) -> Release | None:
    """Return the newest release that failed as this candidate would."""
    releases = Store(site.paths).releases
    return next((release for release in releases if release.manifest.failed_gate and release.manifest.key == key), None)


def may_try_again(failed: Release) -> bool:
    """Return True if a person may have removed the reason of a failure without a change of code or lock."""
    return failed.manifest.was_failing or failed.manifest.failed_gate == "migrations"


def choose_ready(site: Site, key: Key, target: Target) -> Release | None:
    """Return the newest ready release that may go live as this candidate.

    Migrations are not asked about again: all were applied when it was tested, and only a person takes one back.
    """
    ready = [release for release in Store(site.paths).releases if release.state.state == "ready"]
    return next((release for release in ready if not explain_outdated(site, release, key, target)), None)


def let_go_of_ready(site: Site, run: Run, key: Key, target: Target, tested: Release) -> None:
    """Let prune have the ready releases whose place another one takes, which is tested by now; the run says why."""
    for release in Store(site.paths).releases:
        if release.state.state == "ready" and release.id != tested.id:
            reason = explain_outdated(site, release, key, target) or "a newer one is"
            write_state(release, state="failed")
            run.note(f"Release {release.id} was prepared, but {reason}. It does not go live.")


def explain_outdated(site: Site, release: Release, key: Key, target: Target) -> str:
    """Return why a ready release is not this candidate, tested as it would be, and whole; empty if it is."""
    before = release.manifest.key
    differences = {
        "another commit": before.code != key.code or release.manifest.commit != target.commit,
        "another lock": before.lock_sha256 != key.lock_sha256,
        "another Python": before.python != key.python,
        "another group, extras or members": before.selection != key.selection,
        "other settings of build and tests": before.recipe != key.recipe,
    }
    if any(differences.values()):
        return f"for {join_few([difference for difference, differs in differences.items() if differs])}"
    faults = find_faults(site, release)
    return f"is damaged: {join_few(faults, 2)}" if faults else ""


def make_entry(site: Site, run: Run, repository: Repository, release: Release, target: Target) -> Entry:
    """Return the journal's entry for taking a release live."""
    store = Store(site.paths)
    path = site.paths.lockfile_in_tree
    news = target.publishes and is_worth_commit(
        repository, target.commit, path, read_lock(release.lock), may_lower=False
    )
    return Entry(
        phase="changing", command=run.command, run=run.id, origin=store.live.id if store.live else None,
        target=release.id, link=store.link.text, head=target.head, commit=target.commit,
        had_lock=path in repository.changed_tracked_files() and has_live_lock(site), commits_lock=news,
    )  # fmt: skip


def publish_live_lock(
    site: Site, run: Run, repository: Repository, snapshot: Snapshot, target: Target, live: Release
) -> Outcome:
    """End a night without changes: follow commits that change the lock alone, and publish what is still due."""
    path, lock = site.paths.lockfile_in_tree, read_lock(live.lock)
    is_due = not target.is_rewritten and is_worth_commit(repository, target.commit, path, lock, may_lower=False)
    if target.problem is not None and is_due:  # each night until it can be published
        run.report(target.problem.code, target.problem.message, target.problem.advice)
    entry = make_entry(site, run, repository, live, target)
    if target.commit == target.head and not entry.commits_lock and not entry.had_lock:
        return no_changes(run, "")
    require(find_obstacles(repository, target.head, target.commit))
    require_unchanged(site, repository, snapshot)
    with defer_signals():
        write_entry(site.paths, entry)
        try:
            move_checkout(site, repository, entry, back=False)
        except BaseException:
            undo_change(site, run, repository, entry)
            raise
        write_entry(site.paths, msgspec.structs.replace(entry, phase="publishing"))
    write = partial(prepare_commit, site, repository, live.lock, "update", mark=run.id)
    published = publish(site, run, repository, write)
    write_entry(site.paths, Entry(phase="building", command="update", run=run.id))
    if published.problem is not None:
        run.report(published.problem.code, published.problem.message, published.problem.advice)
    remember_remote(site, repository)
    return no_changes(run, published.commit)


def no_changes(run: Run, commit: str) -> Outcome:
    """Return the outcome of a night without changes; it is quiet unless something could not be published."""
    code = 7 if run.problems else 0
    commits = (commit,) if commit else ()
    return Outcome("no-changes", code, "Everything is up to date.", commits=commits, is_quiet=True)


def paused(run: Run, pause: Pause) -> Outcome:
    """Return the outcome of an update during a pause: it is no news, and no run to remember, unless recovery was."""
    headline = f"{pause.sentence} `releaser resume` ends the pause."
    is_paused = not run.problems and not run.notes
    return msgspec.structs.replace(no_changes(run, ""), headline=headline, is_paused=is_paused)


def prepared(site: Site, run: Run, release: Release, commits: tuple[str, ...]) -> Outcome:
    """Return the outcome of `update --prepare`: quiet if people have heard of this release."""
    is_known = any(record.result == "ready" and record.release == release.id for record in read_history(site.paths))
    changes = release.manifest.changes
    headline = f"Release {release.id} is ready: {describe_changes(changes) or 'the same packages'}."
    headline += " The live release is unchanged; `releaser update` makes this one live."
    code = 7 if is_known and run.problems else 0
    return Outcome("ready", code, headline, release.id, changes=changes, new_commits=commits, is_quiet=is_known)


def has_failed_before(site: Site, release: Release) -> bool:
    """Return True if the last update ended with this release, too: people have heard of it."""
    last = next((record for record in read_history(site.paths) if record.command == "update"), None)
    return last is not None and last.exit_code == GateError.exit_code and last.release == release.id


def still_failing(site: Site, failed: Release) -> Outcome:
    """Return the outcome for a candidate that failed before: quiet if people have heard of it."""
    is_known = any(record.release == failed.id and record.exit_code == 5 for record in read_history(site.paths))
    headline = f"Nothing newer than release {failed.id}, which failed its tests: {failed.manifest.failure}."
    advice = f"See {failed.tests_log}. `releaser update --force` tries again, `releaser hold NAME` goes without."
    problems = GateError(headline, advice).problems
    return Outcome("failed", 5, headline, problems=problems, failed_release=failed.id, is_quiet=is_known)


def candidate_failed(error: GateError, failed: Release | None, commits: tuple[str, ...], *, is_quiet: bool) -> Outcome:
    """Return the outcome for a candidate that failed a gate; quiet if it has failed before."""
    manifest = failed.manifest if failed else None
    return Outcome(
        "failed", 5, error.message, changes=manifest.changes if manifest else (), problems=error.problems,
        failed_gate=manifest.failed_gate or error.code if manifest else "", failed_release=failed.id if failed else "",
        new_commits=commits, output=clip_end(error.output, 20, 2000), is_quiet=is_quiet,
        is_to_blame=manifest is not None and manifest.failed_gate == "tests" and not manifest.was_failing,
    )  # fmt: skip


def rolled_back(release: Release, result: ChangeResult, commits: tuple[str, ...] = ()) -> Outcome:
    """Return the outcome of an automatic rollback."""
    entry = result.entry
    headline = f"Release {release.id} failed and was rolled back: {result.reason} {entry.origin} is live."
    if entry.was_healthy is False:
        headline += " The site was already failing its health check."
    problem = Problem("rolled-back", result.reason, result.advice or "Run `releaser status`.")
    return Outcome(
        "rolled-back", 6, headline, entry.origin, changes=release.manifest.changes, problems=(problem,),
        failed_release=release.id, new_commits=commits,
    )  # fmt: skip


def updated(release: Release, commit: str, new_commits: tuple[str, ...]) -> Outcome:
    """Return the outcome of an update that is live."""
    changes = release.manifest.changes
    headline = f"Release {release.id} is live: {describe_changes(changes) or 'the same packages'}."
    commits = (commit,) if commit else ()
    return Outcome("updated", 0, headline, release.id, changes=changes, commits=commits, new_commits=new_commits)


def preview_update(site: Site, options: UpdateOptions) -> Outcome:
    """Resolve away from the site and say what an update would change. Writes nothing there."""
    if is_to_be_adopted(site):
        require(checks.find_problems(site, initializing=True))
        headline = f"Would adopt `{site.paths.link}` as the first release, then update it."
        return Outcome("no-changes", 0, headline)
    checks.require_ready(site, force=options.force)
    live = Store(site.paths).find("live")
    with tempfile.TemporaryDirectory(prefix="releaser-") as place:
        site = msgspec.structs.replace(site, uv_cache=Path(place) / "cache")
        run = Run("preview", "update")
        head = open_repository(site).head()
        with make_shadow(site, Path(place) / "shadow", head, mark="preview") as shadow:
            repository = Repository(site, shadow.map_path(site.paths.top), mark="preview")
            fetch(site, run, repository)
            pending, held = read_pending(site.paths), read_holds(site.paths).code
            target = choose_target(site, repository, pending, held, follow_remote=options.follow_remote)
            repository.run("checkout", "--quiet", "--force", "--detach", target.commit, "--")
            site = site_for_commit(site, repository, target)
            code = repository.code_key(target.commit, *site.committed_paths)
            plan = resolve_candidate(site, run, shadow.project, live)
    words = []
    if code != live.manifest.key.code:
        words.append(f"commit {target.commit[:12]}")
    words += [describe_changes(plan.changes)] if plan.changes else []
    if site.paths.journal.exists():
        words.append("first of all, an interrupted run is finished or undone")
    key = make_key(site, plan, code)
    failed = find_failed(site, key)
    is_known = failed is not None and not may_try_again(failed) and not options.force
    if failed is not None and is_known:
        words.append(f"it failed before, as {failed.id}, and is not tried again")
    ready = [release for release in Store(site.paths).releases if release.state.state == "ready"]
    if any(not explain_outdated(site, release, key, target) for release in ready):
        words.append("it is prepared, and not built again")
    if (pause := read_pause(site.paths)) is not None:
        words.append(f"{pause.sentence[0].lower()}{pause.sentence.rstrip('.')[1:]}")
    verb = "prepare" if options.prepare else "update"
    verb = "change nothing" if pause is not None or is_known else verb
    headline = f"Would {verb}: {'; '.join(words)}." if words else "Everything is up to date."
    return Outcome("no-changes", 0, headline, live.id, changes=plan.changes or ())
