"""`uninstall`: replaces the symlink by a plain copy of the live venv, and deletes all files of releaser."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from releaser.actions.restart import restart_site
from releaser.capabilities import gather, state_files
from releaser.checkout.output import leave_output, list_output
from releaser.errors import (
    ActivationError,
    BuildError,
    ExitCode,
    Finding,
    FollowUpError,
    LockedError,
    ToolError,
    os_reason,
    reason_of,
    refuse,
)
from releaser.fleet.schedule import find_schedulers
from releaser.pipelines.recovery import find_left_temporaries
from releaser.pipelines.session import PipelineResult, Request, run_session
from releaser.releases import leases
from releaser.releases.journal import journal_of
from releaser.releases.release import MADE, is_id, is_marked
from releaser.releases.store import store_of
from releaser.releases.venv import relocate, start_through
from releaser.report import Plan, RunLog, RunReport
from releaser.site import run_lock
from releaser.site.site import Site, find_site
from releaser.site.state_dir import OWNER, release_work_tree
from releaser.system.environment import find_own_program
from releaser.system.files import (
    UnreadableStateError,
    clear_name,
    exchange,
    link_text,
    replace_symlink,
    sync_directory,
    sync_file_system,
)
from releaser.system.frozen import replace
from releaser.system.temporary import LIVE_COPY
from releaser.system.words import first_few, plural

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from releaser.core.run import Run

_PATIENCE = 10.0  # seconds for restarted processes to end
_AGAIN = "Restart these processes. Then run `releaser uninstall` again, which deletes the remaining files."
_RESTART = "Restart all other processes of the site, such as workers: until then they use the release."


def plan_uninstall(site: Site, *, keep_state: bool = False) -> Plan:
    """Describe what `uninstall` would do. Raises PreflightError."""
    _refuse_unfinished(site)
    link, live = site.project.venv, store_of(site).live_id()
    would = [leftover for scheduler in find_schedulers(site) for leftover in scheduler.leftovers()]
    if live is not None:
        would.append(
            f"replace the symlink {link} with a plain directory with the packages of {live}, and restart the site"
        )
    if site.state_dir.is_dir() and not keep_state:
        would.append(f"delete {site.state_dir}, with {plural(len(store_of(site).all()), 'release')}")
    return Plan(would=tuple(f"would {line}" for line in would) or ("no files of releaser were found",))


def uninstall(request: Request, *, keep_state: bool = False) -> RunReport:
    """Replace the symlink, restart the site, and delete the state directory once nothing runs there."""

    restarted = False

    def pipeline(run: Run) -> PipelineResult:
        nonlocal restarted
        schedulers, live, link = find_schedulers(run.site), run.store.live_id(), run.site.project.venv
        if live is None and not link.is_dir() and run.store.live_by_record():
            refuse(
                "venv-missing",
                f"{link} is missing or dangling, so no venv would remain",
                "Run `releaser update` first.",
            )
        with _plain_copy(run.site, run.log, live) as put_in_place:
            _leave_output(run.site, run.log, live)
            for scheduler in schedulers:
                with run.log.step(f"{scheduler.kind} schedule") as step:
                    step.says("; ".join(scheduler.leftovers()))
                    scheduler.remove()
            try:
                put_in_place()
            except OSError:
                if schedulers:
                    advice = "Run `releaser uninstall` again. To restore the schedule instead, run `releaser schedule`."
                    run.log.note(
                        Finding("schedule-removed", "the schedule was removed, so no updates start now", advice)
                    )
                raise
        if live is not None:
            restarted = _restart(run.site, run.log)
        with contextlib.suppress(ToolError, OSError):  # releaser's files in git's directory
            release_work_tree(run.site.project, run.site.git.layout)
            run.site.git.drop_references()
        if live is None:
            headline = f"{link.name} does not lead to a release, and is unchanged"
            return PipelineResult(result="no-changes", headline=headline)
        headline = f"releaser is uninstalled; {link.name} is a plain venv"
        return PipelineResult(result="updated", headline=headline, advice=_RESTART)

    site = find_site(request.path, request.environ)
    _refuse_unfinished(site)
    was_there = site.state_dir.is_dir()
    report = run_session(request, pipeline)
    if (keep_state and was_there) or report.exit_code not in (ExitCode.OK, ExitCode.FOLLOW_UP):
        return report
    try:
        return replace(report, noted=_remove_state(site, patient=restarted), log_file="")
    except FollowUpError as error:
        return replace(report, exit_code=ExitCode.FOLLOW_UP).with_problems(error.finding)


def _refuse_unfinished(site: Site) -> None:
    """Refuse while a run that was cut off is not finished. Raises PreflightError."""
    with contextlib.suppress(UnreadableStateError):
        entry = journal_of(site).read()
        if entry is not None and entry.phase != "reporting" and run_lock.find_running(site.state_dir) is None:
            advice = "Run `releaser prune`, which finishes or undoes it. Then run `releaser uninstall` again."
            refuse("run-cut-off", f"an earlier `releaser {entry.command}` was interrupted", advice)


@contextlib.contextmanager
def _plain_copy(site: Site, log: RunLog, live: str | None) -> Iterator[Callable[[], None]]:
    """Copy the live venv, with scripts that start its Python by the path of the link; yield the function that moves it.

    Until then only the copy changes, and processes on the release go on. Raises BuildError, PreflightError, OSError.
    """
    if live is None:
        yield lambda: None
        return
    link, venv, place = site.project.venv, store_of(site).path(live) / "venv", site.state_dir / LIVE_COPY
    real, text = os.path.realpath(venv), os.readlink(link)
    if why := site.runner.distrust(str(venv)):
        refuse(
            "venv-unkeepable",
            f"{live} cannot become the plain venv: {why}",
            "Run `releaser rebuild` to replace it. Check who changed it.",
        )
    if venv.is_symlink():  # adopted through the symlink of a person, which is put back
        yield lambda: _put_back(site, real, text)
        _take_out(Path(real))
        return
    clear_name(place, of_directory=is_marked(place))
    copied = None
    try:
        with log.step("copy"):
            _copy(site, venv, place)
        copied = os.lstat(place)
        yield lambda: leave_directory(link, place, text)
        (link / MADE).unlink(missing_ok=True)
        log.say(f"{link} is now a plain directory with the packages of {live}.")
    except ToolError as error:
        message = f"no plain venv was made: {error.reason}"
        advice = (
            error.advice
            or "Nothing was changed. Check free space and permissions, then run `releaser uninstall` again."
        )
        raise BuildError(message, advice, output=error.output) from error
    finally:
        # A file that a person has put in the place of the symlink belongs to that person: do not delete it.
        if copied is None or (os.path.lexists(place) and os.path.samestat(copied, os.lstat(place))):
            clear_name(place, of_directory=True)


def _leave_output(site: Site, log: RunLog, live: str | None) -> None:
    """Replace the symlinks to the output of `before_build` in the checkout by copies. Raises BuildError."""
    venv = store_of(site).path(live) / "venv" if live is not None else None
    if venv is None or not list_output(venv):
        return
    with log.step("build output") as step:
        try:
            step.says(", ".join(leave_output(site, venv)))
        except OSError as error:
            message = f"the files that before_build made cannot be copied to {site.project.root}: {os_reason(error)}"
            raise BuildError(
                message, "Check free space and permissions, then run `releaser uninstall` again."
            ) from error


def _put_back(site: Site, real: str, text: str) -> None:
    if link_text(site.project.venv) != text:
        raise OSError(errno.EBUSY, "it was changed at the same time", str(site.project.venv))
    replace_symlink(site.project.venv, real, staging=site.state_dir)


def _take_out(venv: Path) -> None:
    for take_out in gather("removals"):
        take_out(venv)


def _copy(site: Site, venv: Path, place: Path) -> None:
    cp = find_own_program("cp", site.runner.environ, site.project.root) or "/bin/cp"  # a crontab may set any PATH
    words = [cp, "-a", "--reflink=auto", f"{os.path.realpath(venv)}/.", str(place)]
    place.mkdir(mode=0o700)
    (place / MADE).touch()  # so that a later run can delete it if this one is cut off
    site.runner.run(words, cwd=site.state_dir, timeout=site.settings.uv_timeout)
    _take_out(place)
    clear_name(place / "share" / "releaser", of_directory=True)  # it is in the checkout now
    for old in dict.fromkeys((venv, venv.parent.resolve() / "venv")):
        relocate(place, old, site.project.venv)
    start_through(site.runner, place, place, cwd=site.project.root)
    sync_file_system(place)


def _restart(site: Site, log: RunLog) -> bool:
    """Restart the site; return whether that was done. A failure is reported."""
    with log.step("restart") as step:
        try:
            restart_site(site, log, site.project.venv, step)
        except ToolError as error:
            step.warns(reason_of(error))
            message = f"the site could not be restarted: {reason_of(error)}"
            log.note_failure(ActivationError(message, "Restart the site, so that it runs on the plain venv."))
    return step.status == "ok"


def _remove_state(site: Site, *, patient: bool) -> str:
    """Delete releaser's files in the state directory, and the directory if it is empty then; say which files stay.

    After a crash, another `uninstall` deletes the rest. Raises FollowUpError.
    """
    state_dir, store = site.state_dir, store_of(site)
    try:
        with run_lock.acquire(state_dir, command="uninstall", now=datetime.now(UTC), wait=_PATIENCE):
            ends_at = time.monotonic() + (_PATIENCE if patient else 0)
            names = [name for name in os.listdir(store.directory) if is_id(name) and name not in store.foreign()]
            while used := [name for name in names if leases.is_used(str(store.path(name)))]:
                if time.monotonic() >= ends_at:
                    message = f"processes still run on {first_few(used, 3)}, so {state_dir} is kept"
                    raise FollowUpError(message, _AGAIN)
                time.sleep(0.2)
            failures = {**store.remove(*names), **store.finish_removal(*store.half_removed())}
            for error in failures.values():
                raise error
            left = _remove_files(site)
        if left:
            kept = first_few(left, 5)
            return f"{state_dir} is kept, because it has mails, or files that releaser did not make: {kept}."
        (state_dir / OWNER).unlink(missing_ok=True)
        state_dir.rmdir()
        if state_dir.parent.name == ".releaser" and not os.listdir(state_dir.parent):
            state_dir.parent.rmdir()
    except (OSError, LockedError) as error:
        reason = os_reason(error) if isinstance(error, OSError) else error.message
        message = f"{state_dir} could not be deleted: {reason}"
        raise FollowUpError(message, _AGAIN) from error
    return ""


def _remove_files(site: Site) -> list[str]:
    """Delete all files of releaser except the releases; return the names of the files that stay."""
    for path in find_left_temporaries(site):
        clear_name(path, of_directory=is_marked(path))
    for file in state_files():
        file.uninstall(site.state_dir)
    return sorted(name for name in os.listdir(site.state_dir) if name != OWNER)


def leave_directory(link: Path, directory: Path, text: str) -> None:
    """Replace the symlink with the text `text` by a real directory, durably, by one exchange if possible.

    Otherwise `link` is missing for some microseconds, as in `adopt_directory`. `directory` is on the same file system,
    and synced. Raises OSError, also if a person has changed `link`; then `link` stays, unless the error says where it
    is now.
    """
    is_exchanged = exchange(link, directory)
    aside = directory if is_exchanged else directory.with_name(f".{link.name}.new")
    if not is_exchanged:
        clear_name(aside)
        link.rename(aside)
        try:
            directory.rename(link)
        except OSError:
            aside.rename(link)
            raise
    if link_text(aside) != text:
        is_back = False
        with contextlib.suppress(OSError):
            if is_exchanged:
                is_back = exchange(link, directory)
            else:
                link.rename(directory)
                aside.rename(link)
                is_back = True
        where = "" if is_back else f"; the new entry could not be moved back, and is now {aside}"
        raise OSError(errno.EBUSY, f"it was changed at the same time{where}", str(link))
    sync_directory(link.parent)
    aside.unlink()
