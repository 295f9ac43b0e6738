"""The protocol by which a release goes live: journal, actions, and one automatic rollback.

The link decides. While it points to the earlier release, the change can be undone; once it points to the new one, the
change is finished, or goes back. Recovery calls the same functions.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import msgspec

from releaser.checkout.move import is_moved_by_person
from releaser.checkout.own_files import has_lock_of
from releaser.checkout.products import find_deployed
from releaser.checkout.repository import CheckoutState, Repository
from releaser.errors import BuildError, ChangeError, HostError, PreflightError, Problem, ReleaserError, explain_error
from releaser.live.actions import (
    ACTIONS,
    BEFORE_FLIP,
    BEFORE_RESTART,
    FROM_FLIP,
    HEALTH,
    RESTART,
    STATIC_FILES,
    UP_TO_FLIP,
    Action,
    move_again,
)
from releaser.live.health import find_unused_release, is_healthy_now, is_serving, list_old_processes
from releaser.live.hooks import run_after_live
from releaser.live.programs import may_restart
from releaser.live.restart import advise_start
from releaser.releases.journal import Entry, drop_entry, read_journal_time, write_entry
from releaser.releases.lease import list_holders, list_sentences
from releaser.releases.link import explain_changed_link, read_link
from releaser.releases.release import Release
from releaser.releases.reserve import release_reserve
from releaser.releases.store import SiteRun
from releaser.site.site import Site, open_site
from releaser.system.run import Run
from releaser.system.signals import check_signals, defer_signals, find_signal
from releaser.system.text import end_sentence, join_few, redact


class ChangeResult(msgspec.Struct, frozen=True):
    """How a change ended. `reason` is why it went back, empty if the new release is live; `advice` what to do then.

    `problem` is what failed on the way back, or after the change; `has_failed` says that the new release should have
    been left, and stays. `is_restarted` is False if no process uses it although the site has answered; `may_be_down`
    is True if a way back did not restart the site, and no health check has passed since.
    """

    entry: Entry
    reason: str = ""
    problem: Problem | None = None
    advice: str = ""
    is_restarted: bool = True
    has_failed: bool = False
    may_be_down: bool = False

    @property
    def rolled_back(self) -> bool:
        """True if the earlier release is live again."""
        return bool(self.reason)


def make_entry(
    site: Site, run: SiteRun, repository: Repository, release: Release, checkout: CheckoutState, commit: str
) -> Entry:
    """Return the journal's entry for taking a release live, with the checkout moved to `commit`."""
    live, deployed = run.store.live, find_deployed(site, repository, run.store, checkout.head)
    return Entry(
        phase="changing",
        command=run.command.name,
        run=run.id,
        earlier=live.id if live else None,
        release=release.id,
        link=run.store.link.text,
        head=checkout.head,
        commit=commit,
        had_lock=site.paths.lockfile_in_tree in checkout.changed and has_lock_of(site, live),
        products_of=deployed.id if deployed else None,
    )


def make_live(site: Site, run: Run, repository: Repository, entry: Entry) -> ChangeResult:
    """Take the target of an entry live: *checkout*, *flip*, *static files*, *restart*, *health*.

    A failure before the flip is undone and raised: PreflightError, ToolError or OSError. A failure after it goes back,
    once. A signal before the flip undoes, one after it is raised when all is finished. The journal stays, in the phase
    `publishing` (or `going-back`, if that is not whole), until the caller has recorded the result.
    """
    was_serving = is_serving(site, site.paths.releases / str(entry.earlier))
    was_healthy = _ask_before(_read_settings(site), run)
    entry = msgspec.structs.replace(entry, phase="changing", was_healthy=was_healthy, was_serving=was_serving)
    if not entry.is_way_back:  # a release that was live may rightly be in use
        entry = msgspec.structs.replace(entry, held_by=list_holders(site.paths.releases / str(entry.release)))
    with defer_signals():
        write_entry(site.paths, entry)
        try:
            for action in BEFORE_FLIP:
                do_action(site, run, repository, action, entry)
                check_signals(also_deferred=True)
            site = _read_settings(site)
            do_action(site, run, repository, FROM_FLIP[0], entry)
        except ChangeError as error:
            return _go_back(site, run, repository, entry, error, FROM_FLIP[0])
        except BaseException:
            if entry.has_flipped(read_link(site.paths)):
                return finish_change(site, run, repository, entry)
            undo_change(site, run, repository, entry)
            raise
        return _finish(site, run, repository, entry, FROM_FLIP[1:])


def _ask_before(site: Site, run: Run) -> bool | None:
    """Return True if the site passes its health check before a change, as a step of the run; None without one."""
    if not site.settings.live.health_check:
        return None
    with run.step("health") as detail:
        is_healthy = is_healthy_now(site)
        detail.has_failed = not is_healthy
        detail.append("before the change" if is_healthy else "fails before the change")
    return is_healthy


def finish_change(site: Site, run: Run, repository: Repository, entry: Entry) -> ChangeResult:
    """Finish a change whose flip is done; go back if that fails."""
    return _finish(site, run, repository, entry, FROM_FLIP)


def _finish(site: Site, run: Run, repository: Repository, entry: Entry, actions: tuple[Action, ...]) -> ChangeResult:
    action = actions[0]
    try:
        for action in actions:
            do_action(site, run, repository, action, entry)
        problem = find_unused_release(site, entry, read_journal_time(site.paths))
    except (ChangeError, OSError) as error:
        return _go_back(site, run, repository, entry, error, action)
    if moved := _find_moved_link(site, entry, entry.release):
        return _let_stay(site, _keep_code(site, repository, entry), moved[0].message, moved[0].advice)
    if problem is None and entry.release and (stayed := list_old_processes(site, entry.release)):
        run.note(f"Still on an earlier release: {join_few(list_sentences(stayed))}.")
    run_after_live(site, run, repository, entry)  # before the journal says so: recovery runs it again
    entry = write_entry(site.paths, msgspec.structs.replace(entry, phase="publishing"))
    return ChangeResult(entry, problem=problem, is_restarted=problem is None)


def undo_change(site: Site, run: Run, repository: Repository, entry: Entry) -> None:
    """Undo a change whose flip is not done, and drop its journal.

    Raises PreflightError for a person's work that is in the way, ToolError, BuildError and OSError, such as for a full
    disk; the journal then stays for the next run. A checkout that a person has moved elsewhere is theirs, and reported.
    """
    try:
        for action in reversed(BEFORE_FLIP):
            if action.undo is not None:
                action.undo(site, repository, entry)
    except PreflightError as error:
        says = "The checkout was not put back: "
        problems = [msgspec.structs.replace(problem, message=says + problem.message) for problem in error.problems]
        if not is_moved_by_person(site, repository.state(), entry):
            raise PreflightError(*problems) from error
        run.add(*problems)
    drop_entry(site.paths)


def _go_back(
    site: Site, run: Run, repository: Repository, entry: Entry, error: ReleaserError | OSError, failed: Action
) -> ChangeResult:
    """Take the earlier release live again, if the change has one and may; else the new one stays, restarted or not."""
    reason = end_sentence(redact(explain_error(error)))
    advice = getattr(error, "advice", "")
    if entry.earlier is None or not may_go_back(entry):
        is_old = failed is RESTART and not getattr(error, "is_of_workers", False)
        return _let_stay(site, entry, reason, advice, failed=failed, is_old=is_old)
    is_of_host = entry.was_healthy is False or isinstance(error, HostError)
    may_hold = entry.may_hold and not is_of_host and find_signal() is None  # else that may be the reason: tried again
    held_by = list_holders(site.paths.releases / entry.earlier) if entry.earlier == entry.release else ()
    entry = msgspec.structs.replace(entry, reason=reason, failed_action=failed.name, held_by=held_by)
    entry = write_entry(site.paths, msgspec.structs.replace(entry, phase="going-back", may_hold=may_hold))
    return msgspec.structs.replace(go_back(site, run, repository, entry), advice=advice)


def _find_moved_link(site: Site, entry: Entry, *releases: str | None) -> list[Problem]:
    """Return a problem if what is in the place of the link leads to none of these releases: a person put it there."""
    link = read_link(site.paths)
    is_ours = link.release in releases if link.kind == "release" else link.kind == "missing" and len(releases) > 1
    return [] if is_ours or entry.plain else list(explain_changed_link(site.paths).problems)


def may_go_back(entry: Entry) -> bool:
    """Return True if a failure goes back: always for an update; for a rollback, if the release it left was healthy."""
    return not entry.is_way_back or entry.was_healthy is True


def go_back(site: Site, run: Run, repository: Repository, entry: Entry) -> ChangeResult:
    """Take the earlier release of a change live again, with its checkout; each action after the flip is tried.

    Where a person's work is in the way of the checkout, the new release stays live, and whole. Raises BuildError if
    checkout or flip stop half-way: the journal stays, and the next run goes on.
    """
    release_reserve(site.paths.reserve)
    if obstacles := _find_moved_link(site, entry, entry.release, entry.earlier):
        return _stay_whole(site, run, repository, entry, obstacles)
    problem, is_well, may_be_down = None, False, False
    for action in ACTIONS:
        is_flipped = not entry.has_flipped(read_link(site.paths))
        try:
            do_action(site, run, repository, action, entry)
            site = _read_settings(site)
            is_well = action is HEALTH and action.applies(site)
        except (ReleaserError, OSError) as error:
            if isinstance(error, PreflightError) and not is_flipped:
                return _stay_whole(site, run, repository, entry, error.problems)
            message = f"The automatic rollback: {action.name}: {explain_error(error)}"
            advice = getattr(error, "advice", "")
            if not isinstance(error, ChangeError | PreflightError) and action in UP_TO_FLIP:
                message = f"{entry.reason} {message} Release {entry.release} is still live; the next run goes on."
                raise BuildError(message, advice, output=getattr(error, "output", str(error))) from error
            if action is not HEALTH and action.name == entry.failed_action:  # it fails with any release
                entry = msgspec.structs.replace(entry, may_hold=False)
            may_be_down = may_be_down or action not in (STATIC_FILES, BEFORE_RESTART)
            problem = problem or Problem("automatic-rollback", message, advice)
    may_be_down = may_be_down and not is_well
    if problem is not None:
        start = advise_start(site) if may_be_down else "Run `releaser status`."
        problem = msgspec.structs.replace(problem, advice=f"{start} {problem.advice}".strip())
    return ChangeResult(entry, entry.reason, problem, may_be_down=may_be_down)


def _stay_whole(
    site: Site, run: Run, repository: Repository, entry: Entry, obstacles: Sequence[Problem]
) -> ChangeResult:
    """Let the new release stay live with its checkout, as a person's work is in the way of going back."""
    entry = _keep_code(site, repository, entry)
    for action in FROM_FLIP[:-1]:
        with contextlib.suppress(ReleaserError, OSError):  # why it goes back is said
            do_action(site, run, repository, action, entry)
    messages, advice = " ".join(each.message for each in obstacles), dict.fromkeys(each.advice for each in obstacles)
    reason = f"{entry.reason} It could not be rolled back: {messages}"
    return _let_stay(site, entry, reason, f"{' '.join(advice)} To go back, run `releaser rollback` then.")


def _keep_code(site: Site, repository: Repository, entry: Entry) -> Entry:
    """Let the checkout have the code of the new release, with the committed lock: the other is not for other hosts."""
    entry = msgspec.structs.replace(entry, phase="changing", commits_lock=False)
    with contextlib.suppress(PreflightError):  # a person's work stays, too
        move_again(site, repository, entry, back=False)
    return entry


def _let_stay(
    site: Site, entry: Entry, reason: str, advice: str, *, failed: Action | None = None, is_old: bool = False
) -> ChangeResult:
    """Record that the new release stays live although it failed, by an action unless a person's work is in the way.

    `is_old` says that the site runs on the earlier release, which ends once something serves the new one.
    """
    is_live = read_link(site.paths).release == entry.release
    stays = f"Release {entry.release} stays live, with its code." if is_live else f"The code of {entry.release} stays."
    message = f"{reason} {stays}"
    is_restarted = failed in (None, HEALTH) or not may_restart(site)
    problem = Problem("not-restarted" if is_old else "not-gone-back", message, advice)
    staying = write_entry(site.paths, msgspec.structs.replace(entry, phase="publishing"))
    return ChangeResult(staying, problem=problem, is_restarted=is_restarted, has_failed=True)


def do_action(site: Site, run: Run, repository: Repository, action: Action, entry: Entry) -> None:
    """Do an action as a step of the run, if the site has it. Raises what the action raises."""
    if not action.applies(site):
        return
    with run.step(action.name) as detail:
        signal = find_signal()
        try:
            words = action.do(site, repository, entry)
        except ChangeError:
            if find_signal() == signal:
                raise
            words = action.do(site, repository, entry)  # the signal may have ended its program, too
        detail.extend(filter(None, [words]))


def _read_settings(site: Site) -> Site:
    """Return the site with the settings of what is checked out now; as it is if they are wrong."""
    try:
        changed = open_site(site.paths.project, site.environ)
    except ReleaserError:
        return site
    return site if changed.problems or changed.paths != site.paths else changed
