"""The last guard behind a flip: the site's Python is started once through the symlink, as the web server will do.

Until then it has only been started by its path in the release.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from releaser.errors import ToolError
from releaser.releases.whereabouts import is_missing_or_dangling
from releaser.tools.environment import neutral

if TYPE_CHECKING:
    from releaser.releases.release import Release
    from releaser.report.recorder import Step
    from releaser.run import Run

_TIMEOUT = 60.0  # seconds to start, also on a server that has other things to do
# In figures, as the locale may not be able to print a path, or spell it in another way than it is on the disk.
_QUESTION = "import os, sys; print(os.fsencode(os.path.realpath(sys.prefix)).hex())"
_SHORT_OF = (errno.ENOMEM, errno.EAGAIN, errno.EMFILE, errno.ENFILE)  # what is the machine's, and no fault of a release


def start_python(run: Run, release: Release, step: Step) -> None:
    """See that `.venv/bin/python` starts, and takes this release for its venv. Raises ToolError.

    What a person has let the symlink lead to since says nothing about the release.
    """
    link = run.site.project.venv
    if run.store.live_id() != release.id and not is_missing_or_dangling(link):
        step.warns(f"somebody has moved {link}")
        return
    python = link / "bin" / "python"
    try:
        finished = run.site.runner.run(
            [python, "-I", "-B", "-c", _QUESTION],
            cwd=run.site.project.root,
            env=neutral(run.site.runner.environ),
            timeout=_TIMEOUT,
        )
    except ToolError as error:
        if isinstance(error.__cause__, OSError) and error.__cause__.errno in _SHORT_OF:
            raise
        raise ToolError(error.message, advice=_advice(release), output=error.output) from error
    prefix = _read_prefix(finished.stdout)
    if prefix != os.path.realpath(release.venv):
        reported = f"{prefix} as its venv" if prefix else "no venv of its own"
        message = f"{python} reports {reported} instead of {release.venv}"
        raise ToolError(message, advice=_advice(release), output=finished.output)
    step.says(str(python))


def _advice(release: Release) -> str:
    return f"See where {release.venv / 'bin' / 'python'} leads, and what it says when it is started."


def _read_prefix(said: str) -> str:
    """Read the answer, which comes last, as start-up code of a site may print as well."""
    try:
        return os.fsdecode(bytes.fromhex(said.split()[-1]))
    except (IndexError, ValueError):
        return ""
