"""The smoke test: a candidate's applications are imported in the shadow, as their server will do after the flip."""

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
name, sys.argv[1:], sys.path[0] = sys.argv[1], [], ""
try:
    importlib.import_module(name).application
except SystemExit as error:
    sys.exit(f"SystemExit: {error}")
os._exit(0)
"""


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
        finished = run_in_shadow(site, shadow, words, env=env, timeout=_TIMEOUT, check=False, directory=place)
        if finished.status:
            output = finished.output.replace(str(venv), ".venv").replace(str(shadow.root), str(shadow.original))
            errors[path] = find_error_line(output) or finished.ending, output
    return errors
