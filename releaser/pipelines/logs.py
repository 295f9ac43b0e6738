"""The logs of runs: finds one, and follows that of a run in progress."""

from __future__ import annotations

import os
import time
from datetime import datetime
from typing import TYPE_CHECKING

from releaser.core.run import begun_at, run_id_of
from releaser.errors import ExitCode, ReleaserError
from releaser.releases.journal import making_runs, read_history
from releaser.releases.release import refuse_without_live
from releaser.releases.store import store_of
from releaser.site.run_lock import find_running
from releaser.system.files import only_files
from releaser.system.frozen import Frozen
from releaser.system.words import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator

    from releaser.site.site import Site

_PAUSE = 0.2  # seconds between two looks at the log of a run in progress


class NoSuchRunError(ReleaserError):
    """There is no such run, or its log was deleted."""

    exit_code = ExitCode.NO_RELEASE
    code = "no-such-run"


class RunLogFile(Frozen):
    """The log of a run."""

    run: str
    path: str
    #: True while the run is in progress.
    running: bool


class RunLogText(RunLogFile):
    """The log of a run, and its text so far."""

    text: str


def list_logs(site: Site) -> list[str]:
    """Return the ids of the runs with a log, newest first. Raises OSError."""
    try:
        with os.scandir(site.project.logs) as entries:
            names = [entry.name for entry in entries if entry.is_file(follow_symlinks=False)]
    except FileNotFoundError:
        return []
    runs = [name.removesuffix(".log") for name in names if name.endswith(".log")]
    return sorted(filter(begun_at, runs), reverse=True)


def find_log(site: Site, run: str | None) -> RunLogFile:
    """Return the log of a run, by its id, a unique beginning of it, or `live`; by default of the last run.

    `live` is the run that made the live release. Raises NoSuchRunError, NoSuchReleaseError and OSError.
    """
    logs, running = list_logs(site), _find_running(site)
    if run is None:
        found = running or next(iter(logs), "")
        if not found:
            message = "there is no log, because there have been no runs yet"
            raise NoSuchRunError(message, "Run `releaser update`, or name another project with --project.")
    else:
        found = _find_making_run(site) if run == "live" else _find_by_id(site, run, [running, *logs])
    if found not in (running, *logs):
        message = f"the log of the run {found} was deleted"
        raise NoSuchRunError(message, "`releaser history --json` still has its steps and problems.")
    path = site.project.logs / f"{found}.log"
    return RunLogFile(run=found, path=str(path), running=found == running)


def _find_running(site: Site) -> str:
    """Return the id of the run in progress; empty without one."""
    holder = find_running(site.state_dir)
    try:
        return run_id_of(datetime.fromisoformat(holder.since), holder.pid) if holder else ""
    except ValueError:  # it has not written its note yet
        return ""


def _find_making_run(site: Site) -> str:
    store = store_of(site)
    live = store.live_id()
    if live is None:
        refuse_without_live(store)
    made = making_runs(read_history(site.state_dir)).get(live)
    if made is None:
        message = f"the history no longer has the run that made the live release {live}"
        raise NoSuchRunError(message, f"`releaser show {live}` has its tests and package changes.")
    return str(made.get("run_id"))


def _find_by_id(site: Site, run: str, runs: list[str]) -> str:
    known = dict.fromkeys(filter(None, [*runs, *(str(one.get("run_id", "")) for one in read_history(site.state_dir))]))
    fitting = [run] if run in known else [one for one in known if run and one.startswith(run)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        message = f"{run!r} matches several runs: {', '.join(fitting[:5])}"
        raise NoSuchRunError(message, f"Name one of them, such as `{fitting[0]}`.")
    message = f"there is no run {run!r} in {site.state_dir}"
    raise NoSuchRunError(message, f"{did_you_mean(run, [*known, 'live'])} See `releaser history`.".lstrip())


def lines_of(site: Site, log: RunLogFile, *, is_followed: bool = False) -> Iterator[list[str]]:
    """Yield the lines of a log; with `is_followed`, also those that its run adds until it ends. Raises OSError."""
    file, rest = None, b""
    try:
        while True:
            is_complete = (
                not is_followed or _find_running(site) != log.run
            )  # asked first: the run may write its last line
            if file is None and os.path.lexists(log.path):  # a run makes it with its first line
                file = open(log.path, "rb", opener=only_files)  # noqa: SIM115 - open while the run is
            *lines, rest = (rest + (file.read() if file else b"")).split(b"\n")
            lines += [rest] if is_complete and rest else []
            yield [line.decode(errors="replace") for line in lines]
            if is_complete:
                return
            time.sleep(_PAUSE)
    finally:
        if file is not None:
            file.close()
