"""Runs releaser on a later day: a script, and what tests need to start it. Only releaser's own clock is moved."""

from __future__ import annotations

import datetime
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.support.commands import Finished
    from tests.support.sites import SampleSite

_VARIABLE = "DAYS_LATER"
_DAY = 86400.0


def on_night(number: int, site: SampleSite, command: str, *args: str) -> Finished:
    """Run releaser so many days from now."""
    from tests.support.commands import run

    words: list[str | Path] = [sys.executable, __file__, command, "--project", site.path, *args]
    return run(words, cwd=site.outer.parent, env=site.environment({_VARIABLE: str(number)}))


def _main() -> None:
    later = float(os.environ.pop(_VARIABLE)) * _DAY
    real_time, real_time_ns = time.time, time.time_ns

    class Later(datetime.datetime):
        """A date and time that are read off a clock which is ahead."""

        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return cls.fromtimestamp(time.time(), tz)

    time.time = lambda: real_time() + later
    time.time_ns = lambda: real_time_ns() + int(later * 1e9)
    datetime.datetime = Later  # type: ignore[misc]  # before releaser is imported
    from releaser.__main__ import main

    main()


if __name__ == "__main__":
    _main()
