"""One run of a command that takes the lock: lock, signals, recovery, and one outcome of what was returned or raised."""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import msgspec
from filelock import FileLock, Timeout

from releaser.candidate.space import explain_full_disk
from releaser.errors import BuildError, Interrupted, LockedError, Problem, ReleaserError, explain_os_error, refuse
from releaser.packages.holds import list_holds
from releaser.pipelines.recover import Recovery, recover, sweep
from releaser.pipelines.tell import run_on_failure, tell, tell_without_state
from releaser.releases.journal import drop_entry, read_entry
from releaser.releases.link import read_link
from releaser.releases.reserve import fill_reserve
from releaser.releases.store import Store
from releaser.report.history import append_record
from releaser.report.outcome import Outcome, name_result
from releaser.site.site import Site, open_site, prepare_state
from releaser.system.files import private_mode, set_aside, sync_file_system
from releaser.system.process import end_marked
from releaser.system.run import Run, Step, format_time_id, make_id, now, write_log
from releaser.system.signals import defer_signals, raise_on_signals
from releaser.system.text import clip_end, redact

logger = logging.getLogger(__name__)

Body = Callable[[Site, Run, Recovery], Outcome]
UNCHANGED = "The live release is unchanged."
UNFINISHED = "The new release is live; the next run does what is left."


def run_command(
    start: Path,
    environ: Mapping[str, str],
    command: str,
    body: Body,
    *,
    wait: float = 0,
    on_step: Callable[[str, Step | None], None] | None = None,
) -> Outcome:
    """Run a command on the site at `start`, under its lock, after recovery, and return its outcome.

    Every error becomes an outcome; `wait` is how many seconds to wait for another run.
    """
    run, site = Run(make_id(now()), command, on_step), None
    try:
        site = open_site(start, environ)
        os.umask(0o002 if site.is_shared else 0o022)  # of every program, too
        prepare_state(site)
        with _hold_lock(site, run, wait), write_log(site.paths.logs, run):
            return _run_body(site, run, body)
    except ReleaserError as error:
        outcome = _complete(make_failure(run, error), run)
        tell_without_state(start, environ, site, run, outcome)
        return outcome


def _run_body(site: Site, run: Run, body: Body) -> Outcome:
    before = read_link(site.paths).release
    try:
        with raise_on_signals():
            try:
                recovery = recover(site, run)
                before = read_link(site.paths).release
                outcome = body(site, run, recovery)
            finally:
                _clean_up(site, run)
    except ReleaserError as error:
        outcome = make_failure(run, explain_full_disk(site.paths.state, error) or error)
    except Interrupted as error:
        live = Store(site.paths).live if _has_flipped(site, run, before) else None
        headline = f"`releaser {run.command}` was {error}. {UNFINISHED if live else UNCHANGED}"
        changes = live.manifest.changes if live else ()
        outcome = Outcome("updated" if live else "refused", error.exit_code, headline, changes=changes)
    except OSError as error:
        logger.exception("the system refused something")
        message = f"The system refused something: {explain_os_error(error)}."
        failure = explain_full_disk(site.paths.state, error) or BuildError(message, "See `ls -l` of that path.")
        outcome = make_failure(run, failure)
    except Exception as error:
        logger.exception("a bug in releaser")
        message = f"releaser has a bug: {type(error).__name__}: {error}"
        advice = f"Report it, with {site.paths.logs / run.id}.log."
        outcome = Outcome("failed", 1, message, problems=(Problem("bug", message, advice),))
    if outcome.exit_code in (1, 3, 4, 5) and _has_flipped(site, run, before):
        outcome = msgspec.structs.replace(
            outcome, result="updated", exit_code=7, headline=f"{outcome.headline} {UNFINISHED}"
        )
    outcome = _complete(outcome, run, site)
    with contextlib.suppress(Interrupted, OSError), raise_on_signals(), defer_signals():
        outcome = tell(site, run, run_on_failure(site, run, outcome))
        if not outcome.is_paused:
            append_record(site.paths, run, outcome, now())
    return outcome


def _has_flipped(site: Site, run: Run, before: str | None) -> bool:
    """Return True if this run has made a release live and left the rest to the next one."""
    entry, live = read_entry(site.paths, run), read_link(site.paths).release
    return entry is not None and entry.phase != "building" and live == entry.target != before


def _clean_up(site: Site, run: Run) -> None:
    """Delete what a run that ended before its change has begun."""
    with contextlib.suppress(OSError):
        end_marked(f"{site.paths.state}/")
        entry = read_entry(site.paths, run)
        if entry is None or entry.phase == "building":
            sweep(site, run)
            sync_file_system(site.paths.cache)  # without the journal, the next run trusts it
            drop_entry(site.paths)
            fill_reserve(site.paths.reserve)


def make_failure(run: Run, error: ReleaserError) -> Outcome:
    """Return the outcome for an error."""
    logger.warning("%s: %s\n%s", error.code, error.message, error.output)
    output = clip_end(error.output, 20, 2000)
    return Outcome(name_result(error.exit_code), error.exit_code, error.message, problems=error.problems, output=output)


def _complete(outcome: Outcome, run: Run, site: Site | None = None) -> Outcome:
    """Add what the run has recorded; problems of a run that went well make it exit 7."""
    code = outcome.exit_code
    if code == 0 and outcome.result == "updated" and run.problems:
        code = 7
    is_restarted = all(problem.code != "not-restarted" for problem in run.problems)
    result = outcome.result if is_restarted or outcome.result != "updated" else "updated-not-restarted"
    problems = tuple(
        msgspec.structs.replace(problem, message=redact(problem.message), advice=redact(problem.advice))
        for problem in (*outcome.problems, *run.problems)
    )
    completed = msgspec.structs.replace(
        outcome,
        result=result,
        headline=redact(outcome.headline),
        output=redact(outcome.output),
        new_commits=tuple(map(redact, outcome.new_commits)),
        exit_code=code,
        problems=problems,
        steps=tuple(run.steps),
        notes=tuple(run.notes),
        is_quiet=outcome.is_quiet and not run.notes and not run.problems,
    )
    if site is None:
        return completed
    store = Store(site.paths)
    return msgspec.structs.replace(
        completed,
        release=outcome.release or store.link.release,
        previous=outcome.previous or (store.previous.id if store.previous else None),
        on_hold=list_holds(site),
    )


@contextlib.contextmanager
def _hold_lock(site: Site, run: Run, wait: float) -> Iterator[None]:
    """Hold the lock of the site. Raises LockedError with who holds it since when, and PreflightError without flock."""
    path = site.paths.run_lock
    if path.is_symlink() or (path.exists() and not path.is_file()):
        aside = set_aside(path)
        run.note(f"`{path}` was no file. It is now `{aside}`.")
    lock = FileLock(path, timeout=wait, mode=private_mode(path.parent), fallback_to_soft=False)
    try:
        lock.acquire()
    except Timeout as error:
        raise LockedError(_name_holder(path), "Run it again later, or with `--wait 600`.") from error
    except (OSError, NotImplementedError) as error:
        message = f"The lock `{path}` cannot be taken: {error}."
        raise refuse("no-lock-file", message, "Set `state_dir` to a local file system of this user.") from error
    try:
        with contextlib.suppress(OSError):
            holder = {"pid": os.getpid(), "command": run.command, "since": format_time_id(run.id)}
            path.write_text(json.dumps(holder), encoding="utf-8")
        yield
    finally:
        lock.release()


def _name_holder(path: Path) -> str:
    try:
        holder = json.loads(path.read_text(encoding="utf-8"))
        who = f"`releaser {holder['command']}` (process {holder['pid']}) has been running since {holder['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        who = "Another run of releaser holds the lock"
    return f"{who}. Nothing was changed."
