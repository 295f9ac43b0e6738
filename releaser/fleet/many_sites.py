"""A command for many sites: a process for each, as its owner, several at once. A failure of one stops no other."""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from functools import partial
from pathlib import Path
from threading import Condition

from releaser.errors import ExitCode, ReleaserError
from releaser.fleet.crew import CrewGoneError, Crews
from releaser.fleet.sites_file import ListedSite
from releaser.reporting.many_sites import SiteAnswer, part
from releaser.site.settings import FIRST_FAILED_VARIABLE, PREFIX, PROJECT_VARIABLE, SPECS
from releaser.site.space import free_space
from releaser.system.environment import kind_of
from releaser.system.expression import expression
from releaser.system.files import read_if_there
from releaser.system.frozen import replace
from releaser.system.process import Runner, describe_status
from releaser.system.words import secrets_in_urls

_LONGEST = 6 * 3600.0  # seconds for one site, whose own steps have their limits
_SECRET = expression(r"PASSWORD|PASSWD|PASSPHRASE|SECRET|_PWD$|(^|_)KEY$")  # in the name of a variable
_MEMORY = 512  # MiB that must be available before another site starts, and that each may need
_SOON = 30.0  # seconds in which a site may not yet use that
_LARGEST_ANSWER = 8 << 20  # bytes: a list of 100 releases, each with 300 changes, has some 3 MiB
_DISK = 1024  # MiB that must be free for each running update before another starts
_AGAIN = "import sys; sys.argv[0] = 'releaser'; from releaser.__main__ import main; main()"
# Without the password, which is for the summary of whoever has it, these are of no use to others.
_OF_LOGIN = (f"{PREFIX}SMTP_USER", f"{PREFIX}SMTP_PASSWORD_FILE")
#: Exit codes, the worst first: a bug, what visitors may notice, what failed and changed nothing, what only waits.
_WORST = (
    ExitCode.BUG, ExitCode.ROLLED_BACK, ExitCode.TESTS, ExitCode.BUILD, ExitCode.PREFLIGHT, ExitCode.USAGE,
    ExitCode.NO_RELEASE, ExitCode.FOUND, ExitCode.FOLLOW_UP, ExitCode.LOCKED, ExitCode.OK,
)  # fmt: skip


def badness(exit_code: int) -> int:
    """Rank an exit code: the lower, the worse. A signal is worst of all."""
    return _WORST.index(ExitCode(exit_code)) if exit_code in _WORST else -1


class ManySites:
    """Runs releaser for each of some sites, `jobs` at once where there is memory for that, and disk for updates."""

    def __init__(self, sites: Iterable[ListedSite], *, jobs: int, environ: Mapping[str, str]) -> None:
        self.sites = tuple(sites)
        self.jobs = jobs
        self._environ = {
            name: value for name, value in environ.items() if name not in (FIRST_FAILED_VARIABLE, PROJECT_VARIABLE)
        }
        self._for_others = {name: value for name, value in self._environ.items() if not is_secret(name, value)}
        self._runner = Runner(environ=environ)
        self._running, self._begun, self._changed = 0, list[float](), Condition()
        self._crews = Crews({})

    @contextlib.contextmanager
    def _with_crews(self) -> Iterator[None]:
        with Crews.of(self.sites, self._runner, self._given) as self._crews:
            yield
        self._crews = Crews({})

    def ask(self, words: Sequence[str], *, as_json: bool) -> Iterator[SiteAnswer]:
        """Run a command for each site, and yield the answers in the order in which the commands end."""
        with self._with_crews():
            yield from self._run_each(self.sites, partial(self._run, words, as_json=as_json), disk=0)

    def update(self, words: Sequence[str]) -> Iterator[SiteAnswer]:
        """Update the sites that go first, then the others, which wait if one of the first does not end well."""
        with self._with_crews():
            yield from self._update(words)

    def _update(self, words: Sequence[str]) -> Iterator[SiteAnswer]:
        first, others = (
            [listed for listed in self.sites if listed.goes_first == is_first] for is_first in (True, False)
        )
        run, idle, variables = partial(self._run, words, as_json=True), set[str](), dict[str, str]()

        def note_failure(site: str, why: str) -> None:
            if why:
                variables[FIRST_FAILED_VARIABLE] = f"the update of {site} (listed in `first`) did not succeed: {why}"

        for answer in self._run_each(first, run):
            yield _with_waits(answer)
            note_failure(answer.site, explain_failure(answer))
            if part(answer.answer, "due_at", str):
                idle.add(answer.site)
        # One that did nothing now may have gone back a quarter of an hour ago, when the others were not due.
        asked = [first_site for first_site in first if str(first_site.path) in idle]
        for answer in self._run_each(asked, partial(self._run, ("status",), as_json=True), disk=0):
            note_failure(answer.site, explain_earlier_failure(answer))
        yield from map(_with_waits, self._run_each(others, partial(run, more=variables)))

    def _run_each(
        self, sites: Sequence[ListedSite], work: Callable[[ListedSite], SiteAnswer], *, disk: int = _DISK
    ) -> Iterator[SiteAnswer]:
        tasks: list[Future[SiteAnswer]] = []
        with ThreadPoolExecutor(max_workers=self.jobs) as pool:
            try:
                tasks += [pool.submit(self._run_with_memory, work, site, disk) for site in sites]
                yield from (task.result() for task in as_completed(tasks))
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                while not all(task.done() for task in tasks):
                    self._runner.stop()  # again, as one may just be begun; each run ends as it does on Ctrl-C
                    time.sleep(0.1)
                raise

    def _run_with_memory(self, work: Callable[[ListedSite], SiteAnswer], site: ListedSite, disk: int) -> SiteAnswer:
        with self._changed:
            while self._running and (
                _available_memory() < _MEMORY * (1 + self._newest())
                or _free_disk(site.path) < disk * (1 + self._running)
            ):
                self._changed.wait(1)
            self._running += 1
            self._begun.append(time.monotonic())
        try:
            return work(site)
        except Exception as error:  # noqa: BLE001 - of one site, which must not stop the others
            reason = error.message if isinstance(error, ReleaserError) else repr(error)
            return SiteAnswer(site=str(site.path), exit_code=ExitCode.BUG, errors=(reason,))
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()

    def _newest(self) -> int:
        self._begun = [at for at in self._begun if time.monotonic() - at < _SOON]
        return min(len(self._begun), self._running)

    def _run(
        self, words: Sequence[str], site: ListedSite, *, as_json: bool, more: Mapping[str, str] | None = None
    ) -> SiteAnswer:
        """Run a command for a site, in a process that ends when this one does. Raises ToolError."""
        command, *options = words
        own = ["--project", str(site.path), *(["--json"] if as_json else [])]
        words = [command, *own, *options]
        variables = {**site.settings, "RELEASER_JITTER": "0", **(more or {})}  # they do not begin at once
        run = partial(
            self._runner.run, [sys.executable, "-P", "-c", _AGAIN, *words], cwd=Path("/"), timeout=_LONGEST,
            env={**self._given(site.path), **variables}, check=False, daemons=True, whole=as_json,
            most=_LARGEST_ANSWER, death_signal=signal.SIGTERM,
        )  # fmt: skip
        try:
            crew = self._crews.find(site.path)
            finished = run(start=crew.starter(words, variables) if crew else None)
        except CrewGoneError:
            finished = run()
        code = finished.returncode if finished.returncode >= 0 else ExitCode.SIGNALLED - finished.returncode
        errors = tuple(finished.stderr.splitlines())
        if finished.returncode < 0 and not errors:
            with_crew = crew is not None and crew.has_ended()
            end = "ended with the process that had started it" if with_crew else describe_status(finished.returncode)
            errors = (f"the run was {end}",)
        if not as_json:
            return SiteAnswer(site=str(site.path), exit_code=code, answer=finished.stdout, errors=errors)
        try:
            answer = json.loads(finished.stdout, parse_constant=_finite, parse_float=_finite)
        except (ValueError, RecursionError):
            answer = None
        return SiteAnswer(site=str(site.path), exit_code=code, answer=answer, errors=errors if code else ())

    def _given(self, site: Path) -> Mapping[str, str]:
        """Return the variables for a site; the secrets of this user are not for others."""
        return self._environ if _is_of_this_user(site) else self._for_others


def is_secret(name: str, value: str) -> bool:
    """True if a variable is for whoever starts releaser, and not for the owner of each site, who could read it."""
    spec = SPECS.get(name.removeprefix(PREFIX).lower()) if name.startswith(PREFIX) else None
    if spec is not None and not spec.secret and name not in _OF_LOGIN:
        return bool(secrets_in_urls(value))
    if name.lower().endswith("_proxy"):  # without which a site may reach nothing
        return False
    return kind_of(name, value) is not None or _SECRET.search(name) is not None or bool(secrets_in_urls(value))


def _is_of_this_user(place: Path) -> bool:
    try:
        return place.stat().st_uid == os.geteuid()
    except OSError:
        return False


def _finite(text: str) -> float:
    """Read a number. Raises ValueError for one that JSON does not have, or that is too large."""
    if math.isfinite(number := float(text)):
        return number
    message = f"{text} is not a finite number"
    raise ValueError(message)


def _available_memory() -> float:
    """Return how much memory is available, in MiB (proc(5)); infinite if unknown."""
    for line in (read_if_there(Path("/proc/meminfo")) or b"").splitlines():
        if line.startswith(b"MemAvailable:"):
            return int(line.split()[1]) / 1024
    return float("inf")


def _free_disk(place: Path) -> float:
    """Return the free disk space of a site, in MiB; infinite if unknown."""
    try:
        return free_space(place).bytes / 2**20
    except OSError:
        return float("inf")


# Sites that go first


def _with_waits(answer: SiteAnswer) -> SiteAnswer:
    return replace(answer, waits=part(answer.answer, "waits", str))


def explain_failure(answer: SiteAnswer) -> str:
    """Explain why the update of a site in `first` did not succeed; empty if it did.

    These are words of this program alone: other sites get to read them. One that was not due says nothing here.
    """
    if answer.exit_code or not isinstance(answer.answer, dict):
        return f"its update ended with exit code {answer.exit_code}" if answer.exit_code else "its answer is not known"
    kinds = {"blocked": "its updates are blocked", "waits": "its release waits", "culprits": "its tests failed"}
    return next((why for name, why in kinds.items() if answer.answer.get(name)), "")


def explain_earlier_failure(answer: SiteAnswer) -> str:
    """Explain why the last update of a site did not succeed, by its `status`; empty if it did.

    These are words of this program alone, too.
    """
    from msgspec import ValidationError, convert  # which take long to import, for an update

    from releaser.answers import Status

    try:
        status = convert(answer.answer, Status)
    except (ValidationError, ValueError, TypeError, OverflowError):
        return "its status is not known"
    running, last = status.running, status.last_deployment
    kinds = {
        "its update is not done yet": running is not None and running.command == "update",
        "its updates are blocked": status.blocked,
        "its release waits": status.waiting_reason,
        "its last update failed": last is not None and last.exit_code,
        "it was rolled back": last is not None and last.command == "rollback",
        "its tests failed": last is not None and last.culprits,
    }
    return next((why for why, is_so in kinds.items() if is_so), "")
