"""Runs releaser under another clock: a script, and what tests need to start it."""

from __future__ import annotations

import datetime
import importlib
import pkgutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.commands import Finished
    from tests.support.sites import SampleSite


_READING = ("releaser.releases.release", "releaser.releases.journal")


def at_another_time(site: SampleSite, shift: datetime.timedelta, command: str, *args: str) -> Finished:
    """Run releaser with its clock ahead by `shift`, which may be negative; the programs that it starts are not."""
    from tests.support.commands import run

    words: list[str | Path] = [sys.executable, __file__, str(shift.total_seconds())]
    return run([*words, command, "--project", site.path, *args], cwd=site.outer.parent, env=site.environment())


def _main() -> None:
    import releaser

    shift = datetime.timedelta(seconds=float(sys.argv.pop(1)))
    real = datetime.datetime

    class Shifted(real):  # type: ignore[misc, valid-type]
        """A clock that is not right."""

        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> datetime.datetime:
            return real.now(tz) + shift

    from releaser.__main__ import main

    for found in pkgutil.walk_packages(releaser.__path__, "releaser."):
        if found.name == "releaser.__main__":
            continue
        module = importlib.import_module(found.name)
        # State files are read as the real type, by the names of the types that these modules have.
        if vars(module).get("datetime") is real and found.name not in _READING:
            vars(module)["datetime"] = Shifted
    main()


if __name__ == "__main__":
    _main()
