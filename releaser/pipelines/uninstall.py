"""The command `uninstall`: `.venv` becomes a plain directory with the live packages, and releaser's files are deleted.

The exchange of link and directory is the commit point. What was made before it is swept by the next run. After it,
`.venv` is a person's directory for every other command, and `uninstall` again does what is left: no journal is needed.
"""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

import msgspec

from releaser.candidate.build import copy_plain_venv
from releaser.checkout.repository import open_repository
from releaser.errors import (
    ChangeError,
    Interrupted,
    PreflightError,
    Problem,
    ReleaserError,
    ToolError,
    explain_error,
    require,
)
from releaser.live.actions import AFTER_STATIC_FILES, FLIP
from releaser.live.change import do_action
from releaser.live.health import check_health
from releaser.live.programs import may_restart
from releaser.pipelines.init import list_patterns
from releaser.releases.journal import Entry, is_interrupted
from releaser.releases.lease import is_used, name_users, remove_startup_module
from releaser.releases.release import ID
from releaser.releases.store import SiteRun, Store, delete_release
from releaser.report.outbox import list_waiting
from releaser.report.outcomes import Outcome, make_unchanged
from releaser.site.crontab import is_own_line, list_lines, remove_lines
from releaser.site.site import Site
from releaser.site.timer import find_timer_of_root, list_units, remove_units
from releaser.system import process, signals
from releaser.system.files import name_temporary, remove_path
from releaser.system.text import count, join_few, word

_CRONTAB_TIMEOUT = 10.0  # seconds
_PATIENCE, _PAUSE = 10.0, 0.1  # seconds for processes to end after a restart
_AGAIN = "then run `releaser uninstall` again"


def uninstall(site: Site, run: SiteRun) -> Outcome:
    """Called by session.run_command(): the lock is held, recovery is done, `run.store` is read."""
    require(site.problems)
    store, copy, remarks = run.store, name_temporary(site.paths.link), _list_remarks(site, run.store)
    if store.link.kind == "release":
        with run.step("build"):
            copy_plain_venv(site, copy, mark=run.id)
    elif store.link.kind == "foreign" and site.paths.link.is_dir() and not site.paths.link.is_symlink():
        remove_startup_module(site.paths.link)
    with contextlib.suppress(Interrupted), signals.defer_signals():  # a signal comes too late: all is done
        outcome = _leave(site, run, copy)
    if outcome.result != "rolled-back":
        _unschedule(site, run)
        run.notes += remarks
    return outcome


def _unschedule(site: Site, run: SiteRun) -> None:
    """Remove what `schedule` has installed, so that no update adopts the site again."""
    with contextlib.suppress(PreflightError):  # no cron, whose lines the remarks would name
        run.notes += [f"Removed from the crontab: `{line}`." for line in remove_lines(site)]
    try:
        run.notes += [f"Removed the timer: {join_few(paths)}."] if (paths := remove_units(site)) else []
    except OSError as error:
        run.add_problem("timer", f"The timer stays: {explain_error(error)}", "Run `systemctl list-timers`.")


def _list_remarks(site: Site, store: Store) -> list[str]:
    """Return what a person has to know of crontab and lock."""
    live, text = store.live, ""
    with contextlib.suppress(ToolError):  # no crontab, or no cron
        env = site.tool_environment()
        text = process.run(["crontab", "-l"], cwd=Path("/"), env=env, timeout=_CRONTAB_TIMEOUT).stdout
    lines = [line.strip() for line in text.splitlines() if "releaser" in line and str(site.paths.project) in line]
    remarks = [
        f"Still in the crontab, and would adopt the venv again at its next run: `{line}`. Remove it: `crontab -e`."
        for line in lines
        if line[0] != "#" and not is_own_line(site, line)
    ]
    if name := find_timer_of_root(site):
        remarks.append(f"Still a timer, which would adopt the venv again: `sudo systemctl disable --now {name}`.")
    if live is not None and live.lock.read_bytes() != site.paths.lockfile.read_bytes():
        remarks.append("The venv is not what uv.lock of the checkout installs: `uv sync --frozen` would change it.")
    return remarks


def _leave(site: Site, run: SiteRun, copy: Path) -> Outcome:
    """Exchange the link, restart the site, and delete what nothing uses any more; or go back."""
    store, repository, problems = run.store, open_repository(site, run.id), len(run.problems)
    is_link, link = store.link.kind == "release", site.paths.link
    entry = Entry("changing", run.command.name, run.id, store.link.release, link=store.link.text, plain=str(copy))
    if is_link:
        do_action(site, run, repository, FLIP, entry)
    try:
        if is_link or store.releases:
            _restart(site, run, entry)
    except ChangeError as error:
        if is_link:
            return _go_back(site, run, entry, error)
        run.add_problem("restart", f"{error.message} `{site.paths.state}` is kept.", f"Restart the site, {_AGAIN}.")
    else:
        remove_path(copy)
        with run.step("prune") as detail:
            detail.has_failed = not _delete_state(site, run)
    words = f"`{link}` is a plain directory with the packages of release {store.link.release}. " if is_link else ""
    is_whole = len(run.problems) == problems
    end = "Nothing of releaser is left." if is_whole else "Some of releaser's files are left."
    if is_link or store.releases:
        return Outcome("updated", 0, words + end, news="heard")
    return make_unchanged(words + end)


def _restart(site: Site, run: SiteRun, entry: Entry) -> None:
    """Restart the site and check its health, as in going live. Raises ChangeError."""
    repository = open_repository(site, run.id)
    for action in AFTER_STATIC_FILES:
        do_action(site, run, repository, action, entry)
    deadline = time.monotonic() + min(_PATIENCE, site.settings.live.health_timeout)
    while may_restart(site) and not site.paths.link.is_symlink() and _list_used(site) and time.monotonic() < deadline:
        signals.wait(_PAUSE)
    check_health(site)  # again: the processes of the release may have answered


def _go_back(site: Site, run: SiteRun, entry: Entry, error: ChangeError) -> Outcome:
    """Put the link back after the site has failed on the plain venv."""
    back = msgspec.structs.replace(entry, phase="going-back")
    try:
        do_action(site, run, open_repository(site, run.id), FLIP, back)
        _restart(site, run, back)
    except ChangeError as again:
        run.add_problem("automatic-rollback", f"The automatic rollback: {again.message}", "Run `releaser status`.")
    headline = f"The site failed on the plain venv, and release {entry.earlier} is live again."
    problem = Problem("rolled-back", error.message, error.advice or "Run `releaser status`.")
    return Outcome("rolled-back", 6, headline, entry.earlier, problems=(problem,))


def _list_used(site: Site) -> list[Path]:
    return [path for path in sorted(site.paths.releases.glob("*")) if ID.fullmatch(path.name) and is_used(path)]


def _delete_state(site: Site, run: SiteRun) -> bool:
    """Delete the state directory and the lines in .git/info/exclude; report what stays, and why."""
    state, waiting = site.paths.state, len(list_waiting(site.paths.outbox))
    if used := _list_used(site):
        message = f"{join_few([path.name for path in used])} is in use by {name_users(*used)}, so `{state}` is kept."
        run.add_problem("not-restarted", message, f"Restart or end that, {_AGAIN}.")
        return False
    try:
        for release in filter(lambda path: ID.fullmatch(path.name), list(site.paths.releases.iterdir())):
            delete_release(release)
        kept = {site.paths.releases, site.paths.replaced} | ({site.paths.outbox} if waiting else set())
        for path in site.paths.state_entries:
            remove_path(path) if path not in kept else None
        for path in (site.paths.releases, site.paths.replaced):
            with contextlib.suppress(OSError):  # unless something of a person's is in it
                path.rmdir()
        open_repository(site, run.id).unexclude(*list_patterns(site))
        if not (left := sorted(path.name for path in state.iterdir())):
            state.rmdir()
            with contextlib.suppress(OSError):  # other sites may have theirs there
                state.parent.rmdir() if state.parent.name == ".releaser" else None
            return True
        mails = f"{count(waiting, 'mail')} that no server took" if waiting else "files that releaser did not make"
        message = f"`{state}` is kept for {mails}: {join_few(left)}."
    except (OSError, ReleaserError) as error:
        message = f"`{state}` could not be deleted: {explain_error(error)}"
    run.add_problem("state-kept", message, f"Look at it, then run `rm -r {word(state)}`.")
    return False


def _is_scheduled(site: Site) -> bool:
    with contextlib.suppress(PreflightError):  # no cron
        if list_lines(site):
            return True
    return bool(list_units(site))


def describe_uninstall(site: Site) -> str:
    """Return what `uninstall` does, as it is said before anything is deleted; empty if nothing is left to do."""
    store, state, waiting = Store(site.paths), site.paths.state, len(list_waiting(site.paths.outbox))
    words = ["finish or undo an interrupted run"] if is_interrupted(site.paths) else []
    if store.link.kind == "release":
        words.append(f"make `{site.paths.link}` a plain directory with the packages of release {store.link.release}")
        words += ["restart the site"] if may_restart(site) else []
    if state.is_dir():
        words.append(f"delete `{state}`, with {count(len(store.releases), 'release')}, logs and history")
    words += ["remove what `releaser schedule` has installed"] if _is_scheduled(site) else []
    words += [f"keep {count(waiting, 'mail')} that no server took, in `{site.paths.outbox}`"] if waiting else []
    return "; ".join(words)


def preview_uninstall(site: Site) -> Outcome:
    """Say what `uninstall` would do. Writes nothing."""
    require(site.problems)
    words = describe_uninstall(site)
    if not words:
        return make_unchanged("Nothing of releaser is here.")
    return make_unchanged(" ".join([f"Would {words}.", *_list_remarks(site, Store(site.paths))]))
