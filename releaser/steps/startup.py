"""Putting the start-up module into a venv, so that its processes are pinned to it and can be counted."""

from __future__ import annotations

import contextlib
import logging
import sys
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
    """Put the start-up module into a venv, compiled, unless that is switched off. Raises OSError.

    It is compiled here because who starts the interpreter later may not be able to write there.
    """
    if not run.site.settings.pin:
        return
    for module in startup.put_into(venv):
        if module.parent.parent.name == _our_library():
            startup.compile_here(module)
        else:
            _compile_there(run, venv, module)
        startup.open_byte_code(module)


def _our_library() -> str:
    """Return the name of the library directory of Pythons that understand the byte code of this one."""
    major, minor = sys.version_info[:2]
    return f"python{major}.{minor}" if sys.implementation.name == "cpython" else ""


def _compile_there(run: Run, venv: Path, module: Path) -> None:
    with contextlib.suppress(ToolError):
        run.site.runner.run(
            # Without site, the module does not run yet.
            [venv / "bin" / "python", "-I", "-S", "-m", "compileall", "-q", *_LEVELS, module],
            cwd=venv,
            env=inside(venv, run.site.runner.environ),
            timeout=_TIMEOUT,
        )


def fit_if_possible(run: Run, venv: Path) -> str:
    """Do the same for a venv that somebody else has made; say why when it is not possible, as it does without."""
    try:
        fit(run, venv)
    except OSError as error:
        log.warning("%s gets no start-up module: %s", venv, error)
        return f"its processes are neither pinned nor counted: {error}"
    return ""
