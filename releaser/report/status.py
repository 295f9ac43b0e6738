"""One screen on the state of a site, and what needs attention."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import takewhile

import msgspec

from releaser.checkout.pending import read_pending
from releaser.checkout.publish import explain_waiting, list_unpushed
from releaser.checkout.repository import open_repository
from releaser.errors import BuildError, PreflightError, Problem, ToolError
from releaser.live.health import Users, find_illness, list_old_processes
from releaser.live.programs import may_restart
from releaser.live.restart import find_failed
from releaser.live.uv_run import find_changed_release
from releaser.packages.audit import Audit, read_audit
from releaser.packages.changes import compare_locks, describe_changes
from releaser.packages.hand_made import find_edited_venv
from releaser.packages.holds import LONGEST, Hold, HoldRow, Pause, describe_hold, find_old_holds, find_pause, list_holds
from releaser.packages.lock import read_lock
from releaser.releases.lease import HIDDEN, Process, list_holders, list_sentences
from releaser.releases.release import Release
from releaser.releases.store import Store
from releaser.releases.venv import list_installed
from releaser.releases.verify import DATA_ADVICE, find_product_faults, has_its_python, list_faults
from releaser.report.decision import LastDecision
from releaser.report.history import Record, read_history
from releaser.report.outbox import list_waiting
from releaser.site.run_lock import Running, find_running
from releaser.site.site import Site
from releaser.system.run import find_command, now
from releaser.system.space import require_room
from releaser.system.state import read_state
from releaser.system.text import count, format_time, join_few


class Status(msgspec.Struct, frozen=True):
    """The state of a site. `well` is False if anything is in `attention`; `pending` are commits that are not pushed.

    `last_run` is the last one that could change the site.
    """

    headline: str
    live: str | None
    previous: str | None
    last_run: Record | None
    last_updated: datetime | None
    well: bool
    attention: tuple[Problem, ...]
    on_hold: tuple[HoldRow, ...]
    pending: tuple[str, ...]
    #: The changes of each commit in `pending`.
    pending_changes: dict[str, str]
    pause: Pause | None
    #: The end of the pause; None if it has none, or if updates are not paused.
    paused_until: datetime | None
    #: The release that the next update makes live, if nothing differs then.
    ready: str | None
    #: The decision of the last update, with the versions that it skipped.
    decision: LastDecision | None
    #: The run that works; None if none does.
    running: Running | None
    #: The last audit of the live release; None without one.
    audit: Audit | None = None
    #: The processes that run on another release than the live one, oldest release first.
    old_processes: tuple[Process, ...] = ()
    notes: tuple[str, ...] = ()


def make_status(site: Site, store: Store, problems: Sequence[Problem]) -> Status:
    """Return the status of a site; `problems` are those that would refuse an update."""
    history, pending, holds = read_history(site.paths), list_pending(site), list_holds(site)
    people = [record for record in history if record.is_change and find_command(record.command).takes_live]
    updates = [record for record in history if find_command(record.command).is_nightly or record in people]
    last = updates[0] if updates else None
    pause = find_pause(holds)
    attention = [*problems, *([] if pause else _find_missing_updates(updates))]
    running = find_running(site.paths.run_lock)
    if site.paths.journal.exists() and running is None:
        message = "A run was interrupted; the next command that changes something finishes or undoes it."
        attention.append(Problem("unfinished", message, "Run `releaser update`."))
    if last is not None and last.is_trouble and not last.is_asked_anew:
        attention += last.problems or [Problem("last-run", last.headline)]
    attention = _merge(attention, find_attention(site, store, holds, history, pending))
    attention = [_advise_anew(problem, last) for problem in attention]
    well = "The site is well." if running is None else f"The site is well; {running.title} is at work."
    return Status(
        headline=well if not attention else f"{count(len(attention), 'problem')} to look at.",
        live=store.live.id if store.live else None,
        previous=store.previous.id if store.previous else None,
        last_run=last,
        last_updated=max(store.live.state.live_at, default=None) if store.live else None,
        well=not attention,
        attention=tuple(attention),
        on_hold=tuple(map(describe_hold, holds)),
        pending=tuple(pending),
        pending_changes=pending,
        pause=pause,
        paused_until=pause.until if pause else None,
        ready=next((each.id for each in store.releases if each.state.state == "ready" and each != store.live), None),
        decision=_read_decision(site, holds),
        running=running,
        audit=read_audit(site, store.live.venv) if store.live else None,
        notes=_compare_lock(site, store.live, holds) if store.live else (),
        old_processes=list_old_processes(site, store.link.release),
    )


def _advise_anew(problem: Problem, last: Record | None) -> Problem:
    """Return a problem with another advice than to run `releaser status`."""
    if last is None or problem.advice not in ("", "Run `releaser status`."):
        return problem
    return msgspec.structs.replace(problem, advice=f"Run `releaser logs {last.run}`.")


def list_pending(site: Site) -> dict[str, str]:
    """Return the commits of the checkout that wait for a push, oldest first, each with its changes."""
    commits = read_pending(site.paths).commits if site.settings.git.git_push else ()
    try:
        return list_unpushed(site, open_repository(site), commits)
    except ToolError:  # a problem of preflight
        return dict.fromkeys(commits, "")


def _compare_lock(site: Site, live: Release, holds: Sequence[Hold]) -> tuple[str, ...]:
    """Return a sentence if uv.lock in the checkout has other versions than the live release, with the command."""
    try:
        changes = compare_locks(read_lock(site.paths.lockfile), read_lock(live.lock))
    except (PreflightError, OSError):  # a problem of preflight
        return ()
    ended_by_people = {getattr(hold, "name", "") for hold in holds if hold.by not in ("index", "build")}
    held = [change.name for change in changes if change.name in ended_by_people]
    command = f"`releaser unhold {' '.join(held)}` lets the next update follow uv.lock." if held else ""
    advice = command or "`releaser update` follows it, or says why not."
    words = f"uv.lock in the checkout is not that of the live release, which has {describe_changes(changes)}."
    return (f"{words} {advice}",) if changes else ()


def _read_decision(site: Site, holds: Sequence[Hold]) -> LastDecision | None:
    """Return the last decision, without what was skipped for a hold that has ended since."""
    decision, names = read_state(site.paths.decision, LastDecision), {getattr(hold, "name", "") for hold in holds}
    if decision is None:
        return None
    skipped = tuple(each for each in decision.skipped if not each.holder or each.holder in names)
    sentence = decision.sentence if skipped == decision.skipped else "Since then, a hold has ended."
    return msgspec.structs.replace(decision, skipped=skipped, sentence=sentence)


#: Problems that are asked anew: `mail` replaces what the last run said, `not-pushed` adds nothing to it.
#: Problems of the last run that `_find_failed_steps` repeats as long as they last.
_ASKED_ANEW, _SAID_ONCE, _PASSING = "mail", "not-pushed", "not-restarted"


def _merge(reported: Sequence[Problem], current: Sequence[Problem]) -> list[Problem]:
    """Return the problems of the last run with those of now, each sentence once."""
    names_now, names_before = {problem.name for problem in current}, {problem.name for problem in reported}
    kept = [problem for problem in reported if problem.name not in {_PASSING, *names_now & {_ASKED_ANEW}}]
    kept += [problem for problem in current if problem.name != _SAID_ONCE or _SAID_ONCE not in names_before]
    return list({problem.message: problem for problem in kept}.values())


def find_attention(
    site: Site, store: Store, holds: Sequence[Hold], history: Sequence[Record], pending: dict[str, str]
) -> list[Problem]:
    """Return what needs attention on a site, whatever the last run has said."""
    history = [record for record in history if find_command(record.command).takes_live]
    installed = list_installed(store.live.venv) if store.live is not None else {}
    attention = [*find_damage(site, store), *find_old_holds(holds, installed)]
    attention += _find_old_processes(site, store, history)
    attention += find_changed_release(site, store.live) if store.live is not None else []
    attention += _find_old_preparations(history) if find_pause(holds) is None else []
    if store.live is not None and (audit := read_audit(site, store.live.venv)):
        attention += audit.problems
        if audit.unknown and site.settings.versions.has_fixes_alone:
            message = f"Updates do not know what to fix: {audit.headline}"
            attention.append(Problem("unknown-audit", message, "Run `releaser audit`."))
    names = {problem.name for problem in attention}
    attention += [problem for problem in _find_failed_steps(site, store, history) if problem.name not in names]
    try:
        require_room(site.paths.releases)
    except (BuildError, OSError) as error:
        attention += error.problems if isinstance(error, BuildError) else ()
    if waiting := list_waiting(site.paths.outbox):
        message = f"{count(len(waiting), 'mail')} could not be sent."
        attention.append(Problem("mail", message, f"Check `smtp_host`, {site.settings.mail.smtp_host}."))
    return [*attention, *explain_waiting(site, open_repository(site), pending)]


def _find_old_processes(site: Site, store: Store, history: list[Record]) -> list[Problem]:
    """Return a problem if a unit failed, the site fails its health check, or runs on another than the live release.

    Beside new ones, an old process may end its work for a day.
    """
    live = store.live
    if live is None:
        return []
    problems = find_failed(site)
    if illness := find_illness(site):
        may_return = store.previous is not None and has_its_python(site, store.previous)
        back = "; `releaser rollback` goes back" if may_return else ""
        advice = f"Look at the log of the site{back}."
        problems.append(Problem("unhealthy", illness, advice))
    old = list_old_processes(site, live.id)
    users = Users(list_holders(live.directory), tuple(process.pid for process in old))
    if old and users.are_old(site):
        used = join_few([*dict.fromkeys(process.release for process in old)])
        listens = "that listens " if may_restart(site) else ""
        message = f"No process {listens}uses the live release; {used} is in use."
        advice = "Restart the site: `releaser list --json` names the processes."
        problems.append(Problem("not-restarted", message, advice))
        return problems
    change = next((record for record in history if record.is_change), None)
    if change is not None and may_restart(site) and now() - change.ended_at > _LONGEST_WORK:
        known = [process for process in old if process.pid != HIDDEN]
        seen, since = list_sentences(known), format_time(change.ended_at)
        message = f"This has run on an earlier release since the change of {since}: {'; '.join(seen[:3])}."
        end = f"`kill {' '.join(str(process.pid) for process in known)}`"
        advice = f"`restart_workers` restarts workers with each change. To end it: {end}."
        problems += [Problem("old-processes", message, advice)] if seen else []
    return problems


def _find_missing_updates(updates: list[Record]) -> list[Problem]:
    """Return a problem if no update has run for a week."""
    age = now() - updates[0].ended_at if updates else timedelta()
    if age < LONGEST or not find_command(updates[0].command).has_nights:
        return []
    return [Problem("no-update", f"No update has run for {age.days} days.", "Look at `crontab -l` and cron's log.")]


_LONGEST_WORK = timedelta(days=1)  # of a process on an earlier release, after a change
#: Problems of a change that last until a later one, or, of a restart, until a process uses the live release.
_LASTING, _UNTIL_USED = ("after_live", "not-gone-back"), ("automatic-rollback", "not-restarted")


def _find_failed_steps(site: Site, store: Store, history: list[Record]) -> list[Problem]:
    """Return the problems of the last change that no quiet night has cured."""
    change = next((record for record in history if record.is_change), None)
    if change is None or store.live is None:
        return []
    users = Users(list_holders(store.live.directory), ())
    is_used = users.listen() if may_restart(site) else bool(users.new)
    names = _LASTING if is_used else (*_LASTING, *_UNTIL_USED)
    return [_advise_anew(problem, change) for problem in change.problems if problem.name in names]


def _find_old_preparations(history: list[Record]) -> list[Problem]:
    """Return a problem if updates have only prepared releases for a week, and none went live."""
    since = takewhile(lambda record: not (record.is_updated or record.result == "no-changes"), history)
    prepared = [record for record in since if record.result == "ready"]
    age = now() - prepared[-1].ended_at if prepared else timedelta()
    if age < LONGEST:
        return []
    message = f"Releases have been prepared for {age.days} days, and none went live."
    return [Problem("old-ready", message, "Run `releaser update`.")]


def find_damage(site: Site, store: Store) -> list[Problem]:
    """Return the problems of a live release that is not as it was sealed, Python and products included."""
    if store.live is None:
        return []
    problems, faults = find_product_faults(site, store.live), [*list_faults(site, store.live)]
    if damage := [fault.sentence for fault in faults if fault.kind in ("damage", "python")]:
        message = f"The live release is not as it was built: {join_few(damage, 3)}."
        problems.append(Problem("damaged-venv", message, "The next update builds it again."))
    if data := [fault.sentence for fault in faults if fault.kind == "data"]:
        message = f"Data of the live release have changed: {join_few(data, 3)}."
        problems.append(Problem("changed-data", message, DATA_ADVICE))
    if any(fault.kind == "hotfix" for fault in faults):
        problems += find_edited_venv(store.live, faults)
    return problems
