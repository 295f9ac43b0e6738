"""Drives a Django project's manage.py with the interpreter of a release."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from releaser.tools.environment import inside
from releaser.tools.process import write_out

if TYPE_CHECKING:
    from pathlib import Path

    from releaser.tools.process import Finished, Runner

_MARK = "releaser-static:"
# `collectstatic` exists only with the staticfiles app, and fails without STATIC_ROOT, which `startproject` leaves out.
_PROBE = (
    "from django.apps import apps; from django.conf import settings; "
    f"print('{_MARK}' + str(apps.is_installed('django.contrib.staticfiles') and settings.STATIC_ROOT or ''))"
)


def is_django(project: Path) -> bool:
    """Tell whether this project has a manage.py."""
    return (project / "manage.py").is_file()


def doubt(static_root: Path, *, since: float) -> None:
    """Let collectstatic copy anew what was written after `since`, in seconds since 1970.

    A power cut may have emptied it, or worse, and collectstatic passes over whatever is newer than its source. Nothing
    is deleted: some sites keep files of their own there.
    """
    for place, _, names in os.walk(static_root):
        for path in (os.path.join(place, name) for name in names):
            with contextlib.suppress(OSError):  # somebody else's file, which is somebody else's to write
                if os.lstat(path).st_mtime >= since:
                    os.utime(path, (0, 0), follow_symlinks=False)


@dataclass(frozen=True, kw_only=True)
class Manage:
    """manage.py of the project, run by the interpreter of `venv`; `timeout` bounds each call, in seconds."""

    runner: Runner
    project: Path
    venv: Path
    timeout: float

    def static_root(self) -> Path | None:
        """Return STATIC_ROOT; None where collectstatic cannot work, as the app is not installed or that is not set."""
        finished = self._run("shell", "-c", _PROBE, check=False)
        lines = [line.removeprefix(_MARK) for line in finished.stdout.splitlines() if line.startswith(_MARK)]
        return self.project / lines[-1] if any(lines) else None

    def collectstatic(self, static_root: Path | None) -> Finished:
        """Collect the static files; nothing is cleared, as pages of older processes still name the old files.

        A power cut must not leave them empty: collectstatic takes whatever is newer than its source for finished.
        """
        finished = self._run("collectstatic", "--noinput")
        write_out(self.project)
        if static_root is not None and static_root.is_dir():  # it may lie on another file system
            write_out(static_root)
        return finished

    def _run(self, *words: str, check: bool = True) -> Finished:
        return self.runner.run(
            [self.venv / "bin" / "python", "manage.py", *words],
            cwd=self.project,
            env=inside(self.venv, self.runner.environ),
            timeout=self.timeout,
            check=check,
        )
