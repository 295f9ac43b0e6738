"""A command for many sites: each in a process of its own, as its owner, some of them at once, and none stops others."""

from __future__ import annotations

import contextlib
import json
import signal
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Condition
from typing import Any

from releaser.errors import ExitCode, ToolError
from releaser.reporting.many_sites import SiteAnswer
from releaser.site.sites_file import ListedSite
from releaser.system.files import read_if_there
from releaser.system.process import Runner

_DAY = 86400.0  # seconds
_FREE_MEMORY = 512  # MiB that must be available before another site is begun beside one
_AGAIN = "import sys; sys.argv[0] = 'releaser'; from releaser.__main__ import main; main()"
#: Exit codes, the worst first: a bug, what visitors may notice, what failed and changed nothing, what only waits.
_WORST = (
    ExitCode.BUG, ExitCode.ROLLED_BACK, ExitCode.FOLLOW_UP, ExitCode.TESTS, ExitCode.BUILD, ExitCode.PREFLIGHT,
    ExitCode.USAGE, ExitCode.NO_RELEASE, ExitCode.FOUND, ExitCode.LOCKED, ExitCode.OK,
)  # fmt: skip


def badness(exit_code: int) -> int:
    """Rank an exit code: the lower, the worse. A signal is worst of all."""
    return _WORST.index(ExitCode(exit_code)) if exit_code in _WORST else -1


class ManySites:
    """Runs releaser for each of some sites, `jobs` at once where there is memory for that."""

    def __init__(self, sites: Iterable[ListedSite], *, jobs: int, environ: Mapping[str, str]) -> None:
        self.sites = tuple(sites)
        self.jobs = jobs
        self._environ = environ
        self._runner = Runner(environ=environ)
        self._begun, self._changed = 0, Condition()

    def ask(self, words: Sequence[str], *, as_json: bool) -> Iterator[SiteAnswer]:
        """Run a command for each, and yield what it says, in the order in which they end."""
        yield from self._each(self.sites, partial(self._run, words, as_json=as_json))

    def update(self, words: Sequence[str]) -> Iterator[SiteAnswer]:
        """Update each: first those that go first; what would get a version with which one of these has failed waits."""
        first = [one for one in self.sites if one.goes_first]
        failed: dict[tuple[str, str], str] = {}
        for answer in self._each(first, partial(self._run, words, as_json=True)):
            yield answer
            if answer.exit_code not in (ExitCode.OK, ExitCode.LOCKED, ExitCode.FOLLOW_UP):
                failed |= dict.fromkeys(_versions(answer), answer.site)
        others = [one for one in self.sites if not one.goes_first]
        yield from self._each(others, partial(self._update_unless, failed, words))

    def _update_unless(
        self, failed: Mapping[tuple[str, str], str], words: Sequence[str], site: ListedSite
    ) -> SiteAnswer:
        if failed:
            plan = self._run([*words, "--dry-run"], site, as_json=True)
            for name, version in sorted(_versions(plan) & failed.keys()):
                why = f"it waits, as {failed[name, version]} has failed with {name} {version}"
                return replace(plan, answer=None, waits=why, errors=())
        return self._run(words, site, as_json=True)

    def _each(self, sites: Sequence[ListedSite], work: Any) -> Iterator[SiteAnswer]:
        with ThreadPoolExecutor(max_workers=self.jobs) as pool:
            try:
                tasks = [pool.submit(self._when_there_is_memory, partial(work, site)) for site in sites]
                yield from (task.result() for task in as_completed(tasks))
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                self._runner.stop()  # each tells its run to end, which leaves the site as it is
                raise

    def _when_there_is_memory(self, work: Any) -> SiteAnswer:
        with self._changed:
            while self._begun and _available_memory() < _FREE_MEMORY:
                self._changed.wait(1)
            self._begun += 1
        try:
            answer: SiteAnswer = work()
            return answer
        finally:
            with self._changed:
                self._begun -= 1
                self._changed.notify_all()

    def _run(self, words: Sequence[str], site: ListedSite, *, as_json: bool) -> SiteAnswer:
        command, *options = words
        own = ["--project", str(site.path), *(["--json"] if as_json else [])]
        argv = [sys.executable, "-P", "-c", _AGAIN, command, *own, *options]
        env = {name: value for name, value in self._environ.items() if name != "RELEASER_PROJECT"}
        env |= dict(site.settings)
        try:
            done = self._runner.run(
                argv, cwd=Path("/"), timeout=_DAY, env=env, check=False, whole=True, daemons=True,
                death_signal=signal.SIGTERM,
            )  # fmt: skip
        except ToolError as error:
            return SiteAnswer(site=str(site.path), exit_code=ExitCode.BUG, errors=(error.message,))
        code = done.returncode if done.returncode >= 0 else ExitCode.SIGNALLED - done.returncode
        told = tuple(done.stderr.splitlines())
        answer: Any = done.stdout
        if as_json:
            answer, told = None, told if code else ()
            with contextlib.suppress(ValueError):
                answer = json.loads(done.stdout)
        return SiteAnswer(site=str(site.path), exit_code=code, answer=answer, errors=told)


def _versions(answer: SiteAnswer) -> set[tuple[str, str]]:
    """Return the packages that a run, or the plan of one, is about, with their new versions."""
    changes = answer.answer.get("changes") if isinstance(answer.answer, dict) else None
    return {(str(one.get("name")), str(one.get("new"))) for one in changes or () if one.get("new")}


def _available_memory() -> float:
    """Return how much memory is available, in MiB (proc(5)); what cannot be found out keeps nothing back."""
    for line in (read_if_there(Path("/proc/meminfo")) or b"").splitlines():
        if line.startswith(b"MemAvailable:"):
            return int(line.split()[1]) / 1024
    return float("inf")
