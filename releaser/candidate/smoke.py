"""The smoke test: the application of a candidate is imported in the shadow, as its server will do after the flip."""

from __future__ import annotations

from pathlib import Path

from releaser.candidate.namespace import run_in_shadow
from releaser.candidate.shadow import Shadow
from releaser.packages.lock import Lock
from releaser.site.django import find_django
from releaser.site.site import Site
from releaser.system.process import Finished

_TIMEOUT = 120.0  # seconds
# Threads that the application has started are not waited for.
_IMPORT = """
import importlib, os, sys
sys.path[:0], names = ["", sys.argv[1]], sys.argv[2:]
del sys.argv[1:]
for name in names:
    importlib.import_module(name)
os._exit(0)
"""


def find_applications(site: Site, project: Path, lock: Lock) -> list[str]:
    """Return the modules of a project with its WSGI and ASGI applications; none if nothing is to be imported."""
    if site.settings.live.smoke == "off" or "django" not in lock.versions:
        return []
    django, modules = find_django(site, project), list[str]()
    for path in django.applications:
        place = path.relative_to(django.directory) if path.is_relative_to(django.directory) else path
        modules += [".".join(place.with_suffix("").parts)] if path.name != "passenger_wsgi.py" else []
    return modules


def import_applications(site: Site, shadow: Shadow, venv: Path, modules: list[str], *, mark: str) -> Finished:
    """Import modules with the packages of a venv, the settings and the environment of the service."""
    django, project = find_django(site, shadow.project), site.paths.project if shadow.is_mounted else shadow.project
    env = site.tool_environment(venv, mark) | shadow.map_values(site.service) | django.variables
    env["PYTHONDONTWRITEBYTECODE"] = "1"
    words: list[str | Path] = [venv / "bin" / "python", "-c", _IMPORT, project, *modules]
    return run_in_shadow(site, shadow, words, env=env, timeout=_TIMEOUT, check=False, directory=django.directory)
