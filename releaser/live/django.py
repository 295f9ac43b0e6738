"""Django: migrations and static files, which the change applies and collects; and what applies to the live site."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

from releaser.candidate.django import django_command, is_django
from releaser.checkout.repository import Repository
from releaser.errors import ChangeError
from releaser.packages.lock import read_lock
from releaser.releases.journal import Entry
from releaser.releases.release import Release
from releaser.site.django import Django, advise_on_variables, find_django
from releaser.site.site import Site
from releaser.system import process
from releaser.system.files import sync_file_system
from releaser.system.text import find_error_line, join_few

_TIMEOUT, _MIGRATE_TIMEOUT = 600.0, 86400.0  # seconds: a migration that is killed leaves half of its work
_NO_STATIC_FILES = ("Unknown command: 'collectstatic'", "having set the STATIC_ROOT", "No module named 'django'")
_APPLIED = re.compile(r"^\s*Applying (\S+)\.\.\. ?OK", re.MULTILINE)
# Django keeps a copy that is newer than its source: after a rollback, that of the release that was left. A storage that
# is no local directory is left to Django: reading a file of it may cost, or be refused.
_COLLECT = """
import runpy, sys
sys.argv, sys.path[0] = sys.argv[1:], ""
try:
    from django.contrib.staticfiles.management.commands.collectstatic import Command
    from django.core.files.storage import FileSystemStorage
    own = Command.delete_file
    def differs(self, path, prefixed_path, source_storage):
        if getattr(self.storage.__class__, "_open", None) is not FileSystemStorage._open:
            return own(self, path, prefixed_path, source_storage)
        if not self.storage.exists(prefixed_path):
            return True
        try:
            with source_storage.open(path) as source, self.storage.open(prefixed_path) as copy:
                if source.read() == copy.read():
                    return False
        except FileNotFoundError:  # a link that leads nowhere
            return own(self, path, prefixed_path, source_storage)
        self.storage.delete(prefixed_path)
        return True
    Command.delete_file = differs
except ImportError:
    pass
runpy.run_path(sys.argv[0], run_name="__main__")
"""
# manage.py may set more than the module of the settings, and need not call Django for that.
_ANSWER = '["releaser", '  # among the lines that the project prints
_DESCRIBE = """
import contextlib, json, os, runpy, sys
script, *options = sys.argv[1:]
sys.argv, sys.path[0] = [script, "help"], ""
from django.core import management
management.execute_from_command_line = lambda argv=None: None
with contextlib.suppress(SystemExit):
    runpy.run_path(script, run_name="__main__")
os.environ.update(zip(["DJANGO_SETTINGS_MODULE"], options[1:]))
from django.conf import settings
storage = (getattr(settings, "STORAGES", None) or {}).get("staticfiles", {}).get("BACKEND")
databases = {name: [each.get("ENGINE", "none"), str(each.get("NAME"))] for name, each in settings.DATABASES.items()}
root = getattr(settings, "STATIC_ROOT", None)
module = os.environ["DJANGO_SETTINGS_MODULE"]
print("\\n" + json.dumps(["releaser", module, databases, root and str(root), storage]))
"""


def has_static_files(site: Site) -> bool:
    """Return True if static files may have to be collected, or migrations to be applied."""
    live = site.settings.live
    may_ask = live.collectstatic == "auto" or live.migrations == "run"
    return live.collectstatic == "on" or (may_ask and _is_django(site))


def _is_django(site: Site) -> bool:
    return is_django(site, site.paths.project, read_lock(site.paths.lockfile))


def collect_static_files(site: Site, repository: Repository, entry: Entry) -> str:
    """Apply migrations, but not on a way back, and collect static files in the checkout, as far as they are asked for.

    Returns what was done. May be repeated. Raises ChangeError.
    """
    django, done = find_django(site, site.paths.project), list[str]()
    venv, goes_back = site.paths.releases / str(entry.final) / "venv", entry.goes_back or entry.is_way_back
    if site.settings.live.migrations == "run" and not goes_back and _is_django(site):
        done.append(_migrate(site, django, venv))
    if site.settings.live.collectstatic != "off":
        done.append(_collect(site, django, venv))
    return "; ".join(done)


def _migrate(site: Site, django: Django, venv: Path) -> str:
    finished = _ask(site, django, venv, *django.call("migrate", "--noinput"), timeout=_MIGRATE_TIMEOUT)
    applied = _APPLIED.findall(finished.stdout)
    if finished.status != 0:
        after = f" after {join_few(applied)}" if applied else ""
        message = f"`migrate` failed{after} ({finished.ending}): {find_error_line(finished.output)}"
        advice = f"Look at the database: `releaser run -- {django_command(django, 'showmigrations')}`."
        raise ChangeError(message, advice, output=finished.output)
    return f"applied {join_few(applied)}" if applied else "no migrations"


def _collect(site: Site, django: Django, venv: Path) -> str:
    finished = _ask(site, django, venv, "-c", _COLLECT, *django.call("collectstatic", "--noinput"))
    if finished.status == 0:
        sync_file_system(site.paths.outer)  # where STATIC_ROOT lies in most sites
        return finished.stdout.strip().rpartition("\n")[2]
    if site.settings.live.collectstatic == "auto" and any(text in finished.output for text in _NO_STATIC_FILES):
        return "none"
    raise ChangeError(
        f"`collectstatic` failed ({finished.ending}): {find_error_line(finished.output)}",
        f"Run `releaser run -- {django_command(django, 'collectstatic')}`, or set `collectstatic` to `off`.",
        output=finished.output,
    )


def _ask(site: Site, django: Django, venv: Path, *words: str, timeout: float = _TIMEOUT) -> process.Finished:
    """Run Python in the checkout, beside manage.py, with the settings and the environment of the service."""
    env, directory = site.service_environment(venv) | django.variables, site.paths.project / django.directory
    return process.run([venv / "bin" / "python", *words], cwd=directory, env=env, timeout=timeout, check=False)


def explain_kept_migrations(releases: Sequence[Release]) -> str:
    """Return a sentence about the migrations of releases, which a rollback leaves as they are; empty without any."""
    names = [*dict.fromkeys(name for release in releases for name in release.manifest.migrations)]
    return f"A rollback does not undo these migrations, if they were applied: {join_few(names)}." if names else ""


def describe_django(site: Site) -> tuple[str, ...]:
    """Return which settings, database, static files, groups and gates apply, as the live release has them."""
    live, groups = site.settings.live, [name for name in (site.group,) if name]
    groups += ["the default groups"] if site.settings.site.default_groups else []
    gates = f"`migrations` is `{live.migrations}`, `collectstatic` `{live.collectstatic}`, `smoke` `{live.smoke}`"
    lines = [f"Dependency groups: {', '.join(groups) or 'none'}.", f"Gates: {gates}."]
    if not _is_django(site):
        return tuple(lines)
    django, venv = find_django(site, site.paths.project), site.paths.link
    finished = _ask(site, django, venv, "-c", _DESCRIBE, *django.call())
    answers = [line for line in finished.stdout.splitlines() if line.startswith(_ANSWER)]
    if not answers:
        reason = find_error_line(finished.output)
        return (*lines, f"Django does not say its settings: {reason.rstrip('.')}{advise_on_variables(finished.output)}")
    _, module, databases, root, storage = json.loads(answers[0])
    lines.append(f"Django settings: `{module}`, by {django.modules.get(module, django.manage)}.")
    lines += [f"Database `{name}`: {engine}, {place}." for name, (engine, place) in databases.items()]
    lines.append(f"Static files: {root or 'no STATIC_ROOT'}" + (f", by {storage}." if storage else "."))
    return tuple(lines)
