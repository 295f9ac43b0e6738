"""Django in a candidate: its applications are imported as a server will do, and it is asked for its migrations.

A candidate that needs migrations which are not applied does not go live by itself.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from pathlib import Path

from releaser.candidate.namespace import run_in_shadow
from releaser.candidate.shadow import Shadow
from releaser.errors import BuildError
from releaser.packages.lock import Lock
from releaser.site.django import Django, advise_on_variables, find_django
from releaser.site.site import Site
from releaser.system.text import find_error_line

_IMPORT_TIMEOUT, _TIMEOUT = 120.0, 600.0  # seconds
_NO_DATABASE = "settings.DATABASES is improperly configured"
_PLANNED = re.compile(r"\[.\]\s+(\S+)(?: \.\.\. \((.*)\))?")
_UNAPPLIED, _APPLIED = "[ ]", "[X]"
# Threads that the application has started are not waited for.
_IMPORT = """
import importlib, os, sys
name, sys.argv[1:], sys.path[0] = sys.argv[1], [], ""
try:
    importlib.import_module(name).application
except SystemExit as error:
    sys.exit(f"SystemExit: {error}")
os._exit(0)
"""


def is_django(site: Site, project: Path, lock: Lock) -> bool:
    """Return True if the project is a Django site: Django is in its lock, and it has one manage.py."""
    return "django" in lock.versions and find_django(site, project).manage is not None


def django_command(django: Django, name: str) -> str:
    """Return a command of manage.py for `releaser run`, with the settings of the service: it may assign others."""
    return shlex.join(["python", str(django.manage or "manage.py"), *django.call(name)[1:]])


def list_migrations(site: Site, shadow: Shadow, venv: Path, *, mark: str) -> tuple[list[str], list[str], list[str]]:
    """Return the migrations of a candidate, as `app.name`: those that its database lacks, those that it has, and forks.

    A fork is one of several last migrations of an application: Django applies none then.

    By `manage.py showmigrations --plan`, in the shadow: a database in a file is a copy there. Raises BuildError if
    Django does not answer.
    """
    django = find_django(site, shadow.project)
    words: list[str | Path] = [venv / "bin" / "python", *django.call("showmigrations", "--plan", "--verbosity=2")]
    env = site.tool_environment(venv, mark) | shadow.map_values(site.service) | django.variables
    finished = run_in_shadow(site, shadow, words, env=env, timeout=_TIMEOUT, check=False, directory=django.directory)
    if finished.status != 0 and _NO_DATABASE in finished.output:
        return [], [], []
    if finished.status != 0:
        reason = find_error_line(finished.output) + advise_on_variables(finished.output)
        message = f"Django does not say which migrations are not applied: {reason}"
        advice = f"Run `releaser run -- {django_command(django, 'showmigrations')}`, or set `migrations` to `ignore`."
        raise BuildError(message, shadow.advise_on_read_only(finished.output) or advice, output=finished.output)
    lines = [line.strip() for line in finished.stdout.splitlines()]
    unapplied, applied = (
        [line.removeprefix(box).split()[0] for line in lines if line.startswith(box)] for box in (_UNAPPLIED, _APPLIED)
    )
    return unapplied, applied, _find_forks(lines)


def _find_forks(lines: Iterable[str]) -> list[str]:
    """Return the last migrations of each application that has several; none from a plan without dependencies."""
    last = dict[str, list[str]]()
    found = [match.groups() for line in lines if (match := _PLANNED.match(line))]
    needed = {(name.split(".")[0], need) for name, needs in found for need in (needs or "").split(", ")}
    for name, _ in found:
        if (name.split(".")[0], name) not in needed:
            last.setdefault(name.split(".")[0], []).append(name)
    return [name for names in last.values() if len(names) > 1 and len(needed) > 1 for name in names]


def find_import_errors(site: Site, shadow: Shadow, venv: Path, lock: Lock, *, mark: str) -> dict[Path, tuple[str, str]]:
    """Return the applications that cannot be imported, each with the reason: in a line, and in full.

    They get the packages of a venv, and the settings and the environment of the service. Each has its own process.
    """
    errors: dict[Path, tuple[str, str]] = {}
    if site.settings.live.smoke == "off" or "django" not in lock.versions:
        return errors
    django = find_django(site, shadow.project)
    env = site.tool_environment(venv, mark) | shadow.map_values(site.service) | django.variables
    for path, place in django.imported.items():
        module = ".".join(path.relative_to(place).with_suffix("").parts)
        words: list[str | Path] = [venv / "bin" / "python", "-B", "-c", _IMPORT, module]
        finished = run_in_shadow(site, shadow, words, env=env, timeout=_IMPORT_TIMEOUT, check=False, directory=place)
        if finished.status:
            output = finished.output.replace(str(venv), ".venv").replace(str(shadow.root), str(shadow.original))
            errors[path] = find_error_line(output) or finished.ending, output
    return errors
