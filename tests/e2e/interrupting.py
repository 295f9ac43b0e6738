"""Runs releaser, and ends it at a chosen call: a script, and what tests need to start it.

A crash at a boundary of the protocol is made by really ending the process there, not by writing what it might leave.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import itertools
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.commands import Finished
    from tests.support.sites import SampleSite

_VARIABLE = "INTERRUPT_AT"


@dataclass(frozen=True, kw_only=True)
class Point:
    """Before or after the `number`th call of a function, named `module:attribute`."""

    place: str
    when: Literal["before", "after"] = "after"
    number: int = 1

    def __str__(self) -> str:
        name = self.place.rpartition(":")[2].rpartition(".")[2].lstrip("_")
        module = self.place.partition(":")[0].rpartition(".")[2]
        return f"{self.when}-{module}-{name}" + (f"-{self.number}" if self.number > 1 else "")


# Points of an update that takes a package and a commit; between the guard and the flip there are but milliseconds.
BEFORE_THE_GUARD = {
    "fetched": Point(place="releaser.pipelines.update:fetch"),
    "staged": Point(place="releaser.tools.git:Git.add_work_tree"),
    "resolved": Point(place="releaser.sources.upgrade:resolve"),
    "built": Point(place="releaser.candidate.install:install"),
    "tested": Point(place="releaser.candidate.testing:make_candidate"),
    "sealed": Point(place="releaser.releases.store:ReleaseStore.complete"),
    "at the guard": Point(place="releaser.pipelines.deploy:refuse_changes", when="before"),
}
AFTER_THE_GUARD = {
    "checkout moved": Point(place="releaser.actions.checkout:move_checkout"),  # the flip is next
    "flipped": Point(place="releaser.releases.release:flip"),
    "lock placed": Point(place="releaser.actions.checkout:place_files"),
    "collected": Point(place="releaser.serving.static_files:collectstatic"),
    "about to commit": Point(place="releaser.pipelines.deploy:publish_lock", when="before"),
    "about to push": Point(place="releaser.tools.git:Git.push_over", when="before"),
}


def interrupted(
    site: SampleSite, command: str, *args: str, at: Point, exchange: bool = True, by: str = "SIGKILL"
) -> Finished:
    """Run releaser and let the signal `by` hit it at a point; without `exchange` the file system cannot exchange."""
    from tests.support.commands import run

    env = site.environment({_VARIABLE: json.dumps([at.place, at.when, at.number, by, exchange])})
    return run(_words(site, command, args), cwd=site.outer.parent, env=env)


@contextlib.contextmanager
def stopped(site: SampleSite, command: str, *args: str, at: Point) -> Iterator[subprocess.Popen[str]]:
    """Start releaser, which stands still at a point until it gets SIGCONT; it is ended at the end of the block."""
    from tests.support.commands import beside

    env = site.environment({_VARIABLE: json.dumps([at.place, at.when, at.number, "SIGSTOP", True])})
    with beside(_words(site, command, args), cwd=site.outer.parent, env=env) as process:
        happened = os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        assert happened is not None
        assert happened.si_code == os.CLD_STOPPED, f"releaser never came to {at}: {process.communicate()}"
        yield process


def _words(site: SampleSite, command: str, args: tuple[str, ...]) -> list[str | Path]:
    return [sys.executable, __file__, command, "--project", site.path, *args]


def go_on(process: subprocess.Popen[str], code: int) -> str:
    """Let a releaser that stands still go on, see with which status it ends, and return what it says of that."""
    os.kill(process.pid, signal.SIGCONT)
    _, error = process.communicate(timeout=120)
    assert process.returncode == code, error
    return error


def _main() -> None:
    place, when, number, name, can_exchange = json.loads(os.environ.pop(_VARIABLE))
    if not can_exchange:
        _patch("releaser.releases.release:exchange", lambda _: lambda *_: False)
    _patch(place, lambda function: _ending(function, when, number, signal.Signals[name]))
    from releaser.__main__ import main

    main()


def _patch(place: str, change: Callable[[Any], Any]) -> None:
    module, _, path = place.partition(":")
    owner: Any = importlib.import_module(module)
    *owners, name = path.split(".")
    for part in owners:
        owner = getattr(owner, part)
    setattr(owner, name, change(getattr(owner, name)))


def _ending(function: Callable[..., Any], when: str, number: int, by: signal.Signals) -> Callable[..., Any]:
    calls = itertools.count(1)

    @functools.wraps(function)
    def wrapped(*args: Any, **options: Any) -> Any:
        hit = next(calls) == number
        if hit and when == "before":
            os.kill(os.getpid(), by)
        result = function(*args, **options)
        if hit and when == "after":
            os.kill(os.getpid(), by)
        return result

    return wrapped


if __name__ == "__main__":
    _main()
