"""Drives a Django project's manage.py with the interpreter of a release."""

from __future__ import annotations

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
    f"print('{_MARK}', apps.is_installed('django.contrib.staticfiles') and bool(settings.STATIC_ROOT))"
)


def is_django(project: Path) -> bool:
    """Tell whether this project has a manage.py."""
    return (project / "manage.py").is_file()


@dataclass(frozen=True, kw_only=True)
class Manage:
    """manage.py of the project, run by the interpreter of `venv`; `timeout` bounds each call, in seconds."""

    runner: Runner
    project: Path
    venv: Path
    timeout: float

    def collects_static(self) -> bool:
        """Tell whether collectstatic can work here: the app is installed and STATIC_ROOT is set."""
        finished = self._run("shell", "-c", _PROBE, check=False)
        return f"{_MARK} True" in finished.stdout

    def collectstatic(self) -> Finished:
        """Collect the static files; nothing is cleared, as pages of older processes still name the old files.

        A power cut must not leave them empty: collectstatic takes whatever is newer than its source for finished.
        """
        finished = self._run("collectstatic", "--noinput")
        write_out(self.project)
        return finished

    def _run(self, *words: str, check: bool = True) -> Finished:
        return self.runner.run(
            [self.venv / "bin" / "python", "manage.py", *words],
            cwd=self.project,
            env=inside(self.venv, self.runner.environ),
            timeout=self.timeout,
            check=check,
        )
