"""The schedule of a site's updates: a line in the crontab of its owner, or a systemd timer."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from releaser.answers import Schedule
from releaser.core.confinement import confinement
from releaser.errors import ToolError, UsageError, refuse
from releaser.site.location import find_project
from releaser.site.ownership import Ownership, admit, name_of
from releaser.site.setting_files import MAIL_VARIABLES, find_mail_settings, write_mail_settings
from releaser.site.settings import this_host
from releaser.site.site import Site, find_site
from releaser.system.environment import find_own_program
from releaser.system.frozen import Frozen, replace
from releaser.system.process import Runner
from releaser.tools.crontab import Crontab, find_jobs, find_variables, format_line, with_job, without_job
from releaser.tools.systemd import LINGERING, Job, Systemd, packaged_timer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


Kind = Literal["cron", "systemd"]
_HOUR = 3  # when few visitors come
_MAILTO = (
    "cron mails the output of releaser, for example that another run holds the lock, to the MAILTO above the "
    "line;"
    " without MAILTO, to the user of the crontab"
)


class Scheduler(Protocol):
    """One of the two ways to start updates; what changes something raises PreflightError."""

    @property
    def kind(self) -> Kind:
        """Which it is."""

    def show(self) -> Schedule:
        """Return the installed schedule, or the schedule that `install` would add."""

    def changes(self) -> tuple[str, ...]:
        """Describe what `install` would change; nothing if it is already in place."""

    def leftovers(self) -> tuple[str, ...]:
        """Describe what `remove` would take away."""

    def install(self) -> None:
        """Install the schedule of updates."""

    def remove(self) -> None:
        """Remove the schedule of updates."""


class _Cron(Frozen):
    """The crontab of this user."""

    project: Path
    #: The `.env` of the site, into which mail settings are moved that stand in the crontab.
    env_file: Path
    crontab: Crontab
    #: The requested time, as fields of a crontab; None for the time of the existing line, or `usual`.
    when: str | None
    usual: str
    kind: Kind = "cron"

    def show(self) -> Schedule:
        line = format_line(self.when or self.usual, _update(self.project))
        return Schedule(kind=self.kind, line=line, units={}, advice=(_MAILTO,))

    def changes(self) -> tuple[str, ...]:
        before = self.crontab.read()
        after = self._with_job(before)
        job = find_jobs(after, self.project)[0]
        line = after.split("\n")[job.number]
        moved = find_mail_settings(find_variables(before, self.project), self.env_file)
        moves = (f"move from the crontab to {self.env_file}: {', '.join(moved)}",) if moved else ()
        return (*moves, *(() if after == before else (f"add to the crontab: {line}",)))

    def leftovers(self) -> tuple[str, ...]:
        before = self.crontab.read()
        kept = without_job(before, self.project)
        return () if kept == before else (f"remove the line for {self.project} from the crontab",)

    def install(self) -> None:
        before = self.crontab.read()
        after = self._with_job(before)
        if moved := find_mail_settings(find_variables(before, self.project), self.env_file):
            write_mail_settings(moved, self.env_file)  # first, so that no run is without them
        if after != before:
            self.crontab.replace(before, after)

    def remove(self) -> None:
        before = self.crontab.read()
        after = without_job(before, self.project)
        if after != before:
            self.crontab.replace(before, after)

    def _with_job(self, crontab: str) -> str:
        return with_job(crontab, self.project, _update(self.project), self.when, self.usual, MAIL_VARIABLES)


class _Timer(Frozen):
    """A timer of systemd; of the system if root installs it, else of this user."""

    job: Job
    systemd: Systemd
    kind: Kind = "systemd"

    def show(self) -> Schedule:
        units = {str(path): text for path, text in self.job.units(self.systemd.runner.environ).items()}
        return Schedule(kind=self.kind, line="", units=units, advice=tuple(self._advice()))

    def _advice(self) -> list[str]:
        if self.job.user:
            cache = Path(self.job.writable[-1].removeprefix("-"))
            missing = [] if cache.is_dir() else [f"make {cache}, as {self.job.user}, for uv's cache"]
            return [f"updates can write to {', '.join(self.job.writable)}; to add a place, use --writable", *missing]
        name = name_of(os.geteuid())
        lingers = "" if (LINGERING / name).exists() else f"; to let it linger, run `sudo loginctl enable-linger {name}`"
        return [f"the timers of a user run only while that user is logged in, or lingers{lingers}"]

    def changes(self) -> tuple[str, ...]:
        if not self.systemd.would_change(self.job):
            return ()
        units = ", ".join(map(str, self.job.units(self.systemd.runner.environ)))
        return (f"write {units}", f"enable and start {self.job.timer}")

    def leftovers(self) -> tuple[str, ...]:
        return (f"disable and delete {self.job.timer}",) if self.systemd.is_there(self.job) else ()

    def install(self) -> None:
        self.systemd.install(self.job)

    def remove(self) -> None:
        self.systemd.remove(self.job)


def find_scheduler(
    path: Path, kind: Kind, environ: Mapping[str, str], *, at: str | None = None, writable: Sequence[str] = ()
) -> Scheduler:
    """Return what would start the updates of the project at the time `at`, HH:MM.

    Root installs system units, and reads nothing of another user's project for that. Raises PreflightError.
    """
    start = os.path.realpath(path.expanduser())
    root = Path(find_project(start) or start)
    owner = Ownership.of_missing(root)
    if kind == "systemd" and not os.geteuid() and owner.owner:
        return _timer(root, owner, [str(root.parent), *writable], at, Runner(environ=environ))
    admit(path, "schedule", environ)
    return scheduler_of(find_site(path, environ), kind, at=at, writable=writable)


def scheduler_of(site: Site, kind: Kind, *, at: str | None = None, writable: Sequence[str] = ()) -> Scheduler:
    """Return what would start the updates of a site whose settings are known."""
    root = site.project.root
    if kind == "systemd":
        return _timer(root, Ownership.of(root), [*_places(site), *writable], at, site.runner)
    hour, minute = _time(root, at)
    usual = f"{minute} {hour} * * *"
    return _Cron(
        project=root,
        env_file=site.project.outer / ".env",
        crontab=Crontab(runner=site.runner),
        when=usual if at else None,
        usual=usual,
    )


def find_schedulers(site: Site) -> list[Scheduler]:
    """Return what starts updates of a site, and can be removed. Raises PreflightError for what releaser cannot remove.

    releaser cannot remove a line that a person wrote into the crontab, nor, without root, a system timer.
    """
    found, root = [], site.project.root
    if find_own_program("crontab", site.runner.environ, root):
        cron = scheduler_of(site, "cron")
        crontab = Crontab(runner=site.runner).read()
        if others := find_jobs(without_job(crontab, root), root):
            line = without_job(crontab, root).split("\n")[others[0].number]
            refuse(
                "schedule-foreign",
                f"the crontab already updates the site, by a line that releaser did not write: {line}",
                "Remove that line with `crontab -e`.",
            )
        found.append(cron)
    timer = _timer(root, Ownership.of(root), (), None, site.runner)
    others_timer = replace(timer, job=replace(timer.job, user="root"))
    if os.geteuid() and others_timer.leftovers():
        advice = f"Run `sudo releaser schedule systemd --remove --project {root}`."
        refuse("schedule-foreign", f"a timer of root, {timer.job.timer}, already updates the site", advice)
    if packaged := packaged_timer(root):
        advice = f"Run `sudo systemctl disable --now {shlex.quote(packaged)}`."
        refuse("schedule-foreign", f"the timer {packaged} already updates the site", advice)
    return [scheduler for scheduler in (*found, timer) if scheduler.leftovers()]


def _timer(root: Path, owner: Ownership, writable: Sequence[str], at: str | None, runner: Runner) -> _Timer:
    hour, minute = _time(root, at)
    is_root = not os.geteuid()
    job = Job(
        project=root,
        words=_update(root),
        user=(name_of(owner.owner) or str(owner.owner)) if is_root else "",
        writable=(*dict.fromkeys(writable), f"-{_cache(owner.owner, runner.environ)}"),
        when=f"*-*-* {hour:02}:{minute:02}:00",
    )
    return _Timer(job=job, systemd=Systemd(runner=runner, of_user=not is_root))


def _places(site: Site) -> list[str]:
    """Return the directories that updates of a site write: around the checkout, and elsewhere."""
    project, found = site.project, [site.project.outer]
    places = [project.state_dir, project.venv.parent, *(Path(path) for path in confinement().writable(site))]
    with contextlib.suppress(ToolError):
        layout = site.git.layout
        places += [layout.top.parent, layout.common_directory]
    for place in places:
        absolute = Path(os.path.normpath(project.root / place.expanduser()))
        if not any(absolute.is_relative_to(scheduler) for scheduler in found):
            found.append(absolute)
    return [str(scheduler) for scheduler in found]


def _cache(owner: int, environ: Mapping[str, str]) -> str:
    import pwd

    if owner == os.geteuid() and environ.get("UV_CACHE_DIR"):
        return environ["UV_CACHE_DIR"]
    with contextlib.suppress(KeyError):
        return str(Path(pwd.getpwuid(owner).pw_dir, ".cache", "uv"))
    return "/.cache/uv"


def _time(root: Path, at: str | None) -> tuple[int, int]:
    """Return hour and minute; the minute follows from site and host, so that not all sites update at once."""
    if at is None:
        return _HOUR, hashlib.sha256(f"{this_host()}:{root}".encode()).digest()[0] % 60
    found = re.fullmatch(r"([01]?\d|2[0-3]):([0-5]\d)", at)
    if found is None:
        message = f"--at {at} is not a time of day"
        raise UsageError(message, "Write it as 03:12.")
    return int(found[1]), int(found[2])


def _update(root: Path) -> tuple[str, ...]:
    """Return the words that update a site, by the releaser that runs now."""
    program = Path(sys.executable).with_name("releaser")
    if program.is_symlink():  # to the launcher
        program = program.readlink()
    words = (str(program),) if program.exists() else (sys.executable, "-m", "releaser")
    return (*words, "update", "--project", str(root))
