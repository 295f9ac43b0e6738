"""An interpreter that merely cannot be seen from here, as by a run in a sandbox, is not one that is gone."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from releaser.errors import PreflightError, Unfit
from releaser.releases import leases, processes
from releaser.releases.interpreter import executable_of

if TYPE_CHECKING:
    from releaser.releases.release import Release

PAUSE = 1.0  # seconds between two looks at an interpreter: an upgrade of the system may be replacing it just now


def refuse_unseen(live: Release | None) -> None:
    """See that the interpreter of the live release is there, or gone for everybody. Raises PreflightError.

    That is for one on which processes still run, from a file that nobody has deleted.
    """
    if live is None or live.works() or not os.path.isdir(live.venv):
        return
    time.sleep(PAUSE)
    if live.works():
        return
    was = live.manifest.interpreter
    executable = was.executable if was is not None else executable_of(live.venv)
    running = [pid for pid in leases.holders(str(live.directory)) if processes.executable(pid) == executable]
    if not running:
        return
    count = "1 process runs" if len(running) == 1 else f"{len(running)} processes run"
    message = (
        f"the interpreter of the live release {live.id} cannot be seen from here ({executable}), yet {count} on it:"
        f" {', '.join(map(str, running))}"
    )
    advice = (
        "Nothing is changed. Let releaser see that file, which a sandbox, a mount or permissions hide from it; or"
        " `releaser rebuild`, if another interpreter is to take its place."
    )
    raise PreflightError((Unfit(message, advice=advice),))
