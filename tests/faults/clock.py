"""Runs releaser under another clock: a script, and what tests need to start it."""

from __future__ import annotations

import datetime
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.support.commands import Finished
    from tests.support.sites import SampleSite


def at_another_time(site: SampleSite, shift: datetime.timedelta, command: str, *args: str) -> Finished:
    """Run releaser with its clock ahead by `shift`, which may be negative; the programs that it starts are not."""
    from tests.support.commands import run

    words: list[str | Path] = [sys.executable, __file__, str(shift.total_seconds())]
    return run([*words, command, "--project", site.path, *args], cwd=site.outer.parent, env=site.environment())


def _main() -> None:
    shift = datetime.timedelta(seconds=float(sys.argv.pop(1)))
    real = datetime.datetime

    class Shifted(real):  # type: ignore[misc, valid-type]
        """A clock that is not right."""

        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> datetime.datetime:
            return real.now(tz) + shift

    datetime.datetime = Shifted  # type: ignore[misc]
    from releaser.__main__ import main

    main()


if __name__ == "__main__":
    _main()
