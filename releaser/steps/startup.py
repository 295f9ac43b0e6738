"""Putting the start-up module into a venv, so that its processes are pinned to it and can be counted."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING

from releaser.errors import ToolError
from releaser.releases import startup
from releaser.tools.environment import inside

if TYPE_CHECKING:
    from pathlib import Path

    from releaser.run import Run

log = logging.getLogger(__name__)

_LEVELS = ("-o", "0", "-o", "1", "-o", "2")  # as `python`, `python -O` and `python -OO` look for it
_TIMEOUT = 60.0  # seconds for an interpreter to compile one module


def fit(run: Run, venv: Path) -> None:
    """Put the start-up module into a venv, compiled, unless that is switched off. Raises OSError."""
    if not run.site.settings.pin:
        return
    for module in startup.put_into(venv):
        # Who starts the interpreter later may not be able to write here. Without site, the module does not run yet.
        with contextlib.suppress(ToolError):
            run.site.runner.run(
                [venv / "bin" / "python", "-I", "-S", "-m", "compileall", "-q", *_LEVELS, module],
                cwd=venv,
                env=inside(venv, run.site.runner.environ),
                timeout=_TIMEOUT,
            )
        startup.open_byte_code(module)


def fit_if_possible(run: Run, venv: Path) -> str:
    """Do the same for a venv that somebody else has made; say why when it is not possible, as it does without."""
    try:
        fit(run, venv)
    except OSError as error:
        log.warning("%s gets no start-up module: %s", venv, error)
        return f"its processes are neither pinned nor counted: {error}"
    return ""
