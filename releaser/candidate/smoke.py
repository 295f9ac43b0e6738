"""The smoke test: the application of a candidate is imported in the shadow, as its server will do after the flip."""

from __future__ import annotations

from pathlib import Path

from releaser.candidate.namespace import run_in_shadow
from releaser.candidate.shadow import Shadow
from releaser.packages.lock import Lock
from releaser.site.django import find_django
from releaser.site.site import Site
from releaser.system.text import find_error_line

_TIMEOUT = 120.0  # seconds
# Threads that the application has started are not waited for.
_IMPORT = """
import importlib, os, sys
names, sys.argv[1:], sys.path[0] = sys.argv[1:], [], ""
for name in names:
    importlib.import_module(name)
os._exit(0)
"""


def find_applications(site: Site, project: Path, lock: Lock) -> list[str]:
    """Return the modules with Django's WSGI and ASGI applications; none if nothing is to be imported."""
    django = find_django(site, project)
    paths = [path for path in django.applications if path.is_relative_to(django.directory)]
    if site.settings.live.smoke == "off" or "django" not in lock.versions:
        return []
    names = [path.relative_to(django.directory).with_suffix("").parts for path in paths]
    return [".".join(name) for name in names if name[-1] != "passenger_wsgi"]  # which may execute another Python


def find_import_error(site: Site, shadow: Shadow, venv: Path, lock: Lock, *, mark: str) -> tuple[str, str]:
    """Return why the applications cannot be imported, in a line and in full; empty if they can be, or there are none.

    They get the packages of a venv, and the settings and the environment of the service.
    """
    django, modules = find_django(site, shadow.project), find_applications(site, shadow.project, lock)
    if not modules:
        return "", ""
    env = site.tool_environment(venv, mark) | shadow.map_values(site.service) | django.variables
    words: list[str | Path] = [venv / "bin" / "python", "-B", "-c", _IMPORT, *modules]
    finished = run_in_shadow(site, shadow, words, env=env, timeout=_TIMEOUT, check=False, directory=django.directory)
    return (find_error_line(finished.output) or finished.ending, finished.output) if finished.status else ("", "")
