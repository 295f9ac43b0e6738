"""Runs releaser under another clock: a script, and what tests need to start it. Only releaser's own clock is moved."""

import dataclasses
import datetime
import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec

from releaser.__main__ import main
from releaser.releases.release import manifest_type
from tests.support.commands import Finished, run
from tests.support.forks import import_all
from tests.support.sites import SampleSite

_VARIABLE = "SECONDS_LATER"


def at_another_time(site: SampleSite, shift: datetime.timedelta, command: str, *args: str) -> Finished:
    """Run releaser with its clock ahead by `shift`, which may be negative."""
    words: list[str | Path] = [sys.executable, __file__, command, "--project", site.path, *args]
    env = site.environment({_VARIABLE: str(shift.total_seconds())})
    return run(words, cwd=site.outer.parent, env=env)


def _main() -> None:
    later = float(os.environ.pop(_VARIABLE))
    real_time, real_time_ns = time.time, time.time_ns

    class Meta(type):
        def __instancecheck__(cls, instance: object) -> bool:
            return isinstance(instance, datetime.datetime)

    class Later(datetime.datetime, metaclass=Meta):
        """A date and time that are read off a clock that is ahead."""

        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime.datetime.fromtimestamp(time.time(), tz)

    time.time = lambda: real_time() + later
    time.time_ns = lambda: real_time_ns() + int(later * 1e9)
    msgspec.json.Decoder(manifest_type())  # made at run time of the classes of all capabilities
    for module in import_all():
        _read_clock_of(module, Later)
    main()


def _read_clock_of(module: ModuleType, later: type) -> None:
    """Let a module ask the clock that is ahead. msgspec must know the real type by then, as it reads no other."""
    for found in vars(module).values():
        if isinstance(found, type) and dataclasses.is_dataclass(found):
            with suppress(TypeError, NameError):  # a class that no state file holds
                msgspec.json.Decoder(found)
    if vars(module).get("datetime") is datetime.datetime:
        module.datetime = later  # type: ignore[attr-defined]


if __name__ == "__main__":
    _main()
