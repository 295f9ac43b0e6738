"""Helpers of the end-to-end tests: people at work during a run, hooks, and questions about answers."""

import contextlib
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.commands import Finished
from tests.support.servers import meeting
from tests.support.sites import SampleSite

#: The words of INTERFACE for the steps of a run that exist so far.
STEPS = ("fetch", "resolve", "build", "test", "checkout", "flip", "restart", "health", "publish", "prune")
_BUG = re.compile(r'File ".*/releaser/(\w+/)*\w+\.py"')
CODE = {"shop.py": "EDITION = 2\nBROKEN = False\n"}
#: A health check: once `../sick` exists, every version of alpha but 1.0.0 fails it.
NEW_IS_SICK = 'sh -c "test ! -e ../sick || test -e .venv/lib/python3*/site-packages/alpha-1.0.0.dist-info"'
#: What people met, of which several files play a part, and the public reports.
MET_NEVER_WORKED = ["a health check or a restart that never worked", "agile_predict #66", "opencodelists #2148"]
MET_NEVER_WORKED += ["railway docs #616", "acme.sh #4440", "deployer #2917", "hackerspace-ntnu #723"]
BROKEN_CODE = {"shop.py": "EDITION = 2\nBROKEN = True\n"}


def mostly_slow(values: Iterable[Any], *quick: Any, met: Mapping[Any, Sequence[str]] = {}) -> list[Any]:
    """Return the values for a table of which only those in `quick` are tried by `make test`.

    `met` are the arguments of the marker of that name for some of them.
    """
    marks = {value: [] if value in quick else [pytest.mark.slow] for value in values}
    for value, words in met.items():
        marks[value] = [*marks[value], pytest.mark.met(*words)]
    return [pytest.param(value, marks=marks[value]) for value in marks]


def silent(finished: Finished) -> None:
    """Assert that a command succeeded without a word."""
    assert (finished.returncode, finished.stdout, finished.stderr) == (0, "", ""), str(finished)


def says(finished: Finished, *words: str | Path) -> None:
    """Assert that a refusal names all of these on stderr, and shows no traceback."""
    missing = [str(word) for word in words if str(word) not in finished.stderr]
    assert not missing, f"{missing} should be on stderr\n{finished}"
    assert not _BUG.search(finished.stderr + finished.stdout), str(finished)


@contextlib.contextmanager
def no_change(site: SampleSite) -> Iterator[None]:
    """Assert that the block changes nothing that people or the web server see."""
    earlier = site.snapshot()
    yield
    later = site.snapshot()
    assert later == earlier, {key for key in {*earlier, *later} if earlier.get(key) != later.get(key)}


def refused(site: SampleSite, command: str, *args: str, code: int = 3, **options: Any) -> Finished:
    """Run a command that must end with `code`, say so, and change nothing."""
    with no_change(site):
        finished = site.releaser(command, *args, check=code, **options)
    says(finished)
    assert finished.stderr.strip(), "a refusal always prints"
    return finished


@dataclass
class Background:
    """A run in the background; `finished` is set at its end."""

    process: subprocess.Popen[str]
    finished: Finished | None = None

    def end(self) -> Finished:
        """Wait for the end of the run."""
        if self.finished is None:
            stdout, stderr = self.process.communicate(timeout=60)
            self.finished = Finished(returncode=self.process.returncode, stdout=stdout, stderr=stderr)
        return self.finished


@contextlib.contextmanager
def during_tests(site: SampleSite, command: str = "update", *args: str, code: int = 0) -> Iterator[Background]:
    """Hold a run at the tests of its candidate, `WAITING_TESTS`, for the block; the run must end with `code` then."""
    with meeting() as met, site.starting(command, *args, env=met.env) as process:
        run = Background(process)
        with met.kept_waiting():
            yield run
        finished = run.end()
    assert finished.returncode == code, str(finished)


def eventually(happened: Callable[[], object], event: str, seconds: float = 20) -> None:
    """Wait for something that another process does; fail the test if it does not happen."""
    ends_at = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > ends_at:
            pytest.fail(f"{event} did not happen within {seconds:g} s")
        time.sleep(0.02)


def is_open(pid: int, path: Path) -> bool:
    """Tell if a process has opened a file."""
    with contextlib.suppress(OSError):
        return any(os.readlink(entry) == str(path) for entry in Path(f"/proc/{pid}/fd").iterdir())
    return False


def hook(repository: Path, name: str, script: str = "exit 1") -> Path:
    """Put a hook into a repository; by default it refuses."""
    path = repository / "hooks" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


@contextlib.contextmanager
def small_disk(place: Path, size: str = "256m") -> Iterator[None]:
    """Mount a small file system at a directory, with what is in it."""
    away = place.with_name("original")
    place.rename(away)
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place], check=True)
    try:
        subprocess.run(["cp", "-a", f"{away}/.", place], check=True)
        yield
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


def make_old(path: Path, key: str, days: float) -> None:
    """Set every time under a key of a JSON file back, to some days before now."""
    time = (datetime.now(UTC) - timedelta(days=days)).isoformat()
    path.write_text(re.sub(rf'("{key}": ?)"[^"]+"', rf'\1"{time}"', path.read_text(encoding="utf-8")), encoding="utf-8")


def changes(answer: Mapping[str, Any]) -> dict[str, tuple[str | None, str | None]]:
    """Return the old and the new version of each package that a run changed."""
    return {change["name"]: (change["old"], change["new"]) for change in answer["changes"]}


def step_names(answer: Mapping[str, Any]) -> list[str]:
    """Return the names of the steps of a run, in order."""
    return [step["step"] for step in answer["steps"]]


def changed_files(site: SampleSite, commit: str = "HEAD") -> set[str]:
    """Return the paths that a commit changes."""
    return set(site.git("show", "--name-only", "--format=", commit).splitlines())


def times_of_tree(directory: Path) -> dict[str, int]:
    """Return the time of change of everything below a directory: any write changes one."""
    times = {}
    for place, directories, files in os.walk(directory):
        for name in [".", *directories, *files]:
            path = Path(place, name)
            times[str(path)] = path.lstat().st_mtime_ns
    return times
