"""Django: static files, which the change collects."""

from __future__ import annotations

from pathlib import Path

from releaser.candidate.migrations import is_django
from releaser.errors import ChangeError
from releaser.packages.lock import read_lock
from releaser.site.site import Site
from releaser.system import process
from releaser.system.files import sync_file_system
from releaser.system.text import find_error_line

_TIMEOUT = 600.0  # seconds
_NO_STATIC_FILES = ("Unknown command: 'collectstatic'", "having set the STATIC_ROOT", "No module named 'django'")
# Django keeps a copy that is newer than its source: after a rollback, that of the release that was left.
_COLLECT = """
import runpy, sys
sys.argv, sys.path[0] = sys.argv[1:], ""
try:
    from django.contrib.staticfiles.management.commands.collectstatic import Command
    def differs(self, path, prefixed_path, source_storage):
        if not self.storage.exists(prefixed_path):
            return True
        with source_storage.open(path) as source, self.storage.open(prefixed_path) as copy:
            if source.read() == copy.read():
                return False
        self.storage.delete(prefixed_path)
        return True
    Command.delete_file = differs
except ImportError:
    pass
runpy.run_path("manage.py", run_name="__main__")
"""


def has_static_files(site: Site) -> bool:
    """Return True if static files may have to be collected."""
    setting = site.settings.live.collectstatic
    return setting == "on" or (setting == "auto" and is_django(site.paths.project, read_lock(site.paths.lockfile)))


def collect_static_files(site: Site, venv: Path) -> str:
    """Run `manage.py collectstatic` in the checkout and return what it said. May be repeated. Raises ChangeError."""
    words: list[str | Path] = [venv / "bin" / "python", "-c", _COLLECT, "manage.py", "collectstatic", "--noinput"]
    env = site.service_environment(venv)
    finished = process.run(words, cwd=site.paths.project, env=env, timeout=_TIMEOUT, check=False)
    if finished.status == 0:
        sync_file_system(site.paths.outer)  # where STATIC_ROOT lies in most sites
        return finished.stdout.strip().rpartition("\n")[2]
    if site.settings.live.collectstatic == "auto" and any(text in finished.output for text in _NO_STATIC_FILES):
        return "none"
    raise ChangeError(
        f"`collectstatic` failed ({finished.ending}): {find_error_line(finished.output)}",
        "Run `releaser run -- python manage.py collectstatic`, or set `collectstatic` to `off`.",
        output=finished.output,
    )
