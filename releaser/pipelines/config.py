"""What `releaser config` tells: every setting as it counts here, and where that comes from. Changes nothing."""

from __future__ import annotations

import contextlib
import grp
import shlex
from typing import TYPE_CHECKING, Any

from releaser.answers import SettingValue
from releaser.errors import UsageError
from releaser.reporting.mail_setup import sender_of
from releaser.site import serving
from releaser.site.conventions import find_commonest_group, find_conventions
from releaser.site.schema import spell, spell_in_line
from releaser.site.settings import SPECS
from releaser.system.words import MASK
from releaser.tools.uv import find_uv

if TYPE_CHECKING:
    from collections.abc import Sequence

    from releaser.site.site import Site

PROJECT = "project"  # which is not set like the others
#: What a run finds out if nothing is set, and finding out would take a run.
LATER = ("python", "vulnerability_service", "link_mode", "smtp_security", "sendmail")
EACH_RUN = "found by each run"
_GIVEN = {
    "COMMANDLINE": ("command line", "--project"),
    "ENVIRONMENT": ("environment", "environment: RELEASER_PROJECT"),
}


def find_values(site: Site, *, by: str = "") -> list[SettingValue]:
    """Return the project and every setting; `by` names what the project was given by, as click calls it."""
    origin, source = _GIVEN.get(by, ("found out", "the current directory"))
    root = str(site.project.root)
    found_out = {**dict.fromkeys(LATER, (None, EACH_RUN)), **_find_out(site)}
    found = [SettingValue(name=PROJECT, value=root, origin=origin, source=source)]  # type: ignore[arg-type]
    return found + [_find_value(site, name, found_out) for name in SPECS]


def pick(found: Sequence[SettingValue], name: str) -> SettingValue:
    """Return the setting of this name, in either spelling; UsageError if there is none."""
    wanted = name.lower().removeprefix("releaser_").removeprefix("tool.releaser.")
    for one in found:
        if one.name == wanted:
            return one
    import difflib  # which takes long to import

    close = difflib.get_close_matches(wanted, [one.name for one in found], n=1, cutoff=0.75)
    message = f"{name} is not a setting of releaser"
    raise UsageError(message, advice=f"Did you mean {close[0]}?" if close else "`releaser config` lists all of them.")


def in_line(one: SettingValue) -> str:
    """Write a value on one line, as a variable has it; empty if there is none."""
    spec = SPECS.get(one.name)
    if spec is None or one.value in (None, MASK):
        return str(one.value or "")
    return spell_in_line(spec.parse(one.value), spec.parse)


def _find_value(site: Site, name: str, found_out: dict[str, tuple[Any, str]]) -> SettingValue:
    spec, value, source = SPECS[name], getattr(site.settings, name), site.sources.get(name)
    if source is not None:
        origin = "environment" if source.startswith("environment: ") else ".env"
        origin = "pyproject.toml" if source.startswith(f"{site.pyproject.path}: ") else origin
    elif spec.secret and value:  # of a file that is set, or of systemd's credentials
        origin = source = "file"
    elif name in found_out:
        value, source = found_out[name]
        return SettingValue(name=name, value=value, origin="found out", source=source)
    else:
        origin = source = "default"
    shown = MASK if spec.secret and value else spell(value, spec.parse)
    return SettingValue(name=name, value=shown, origin=origin, source=source)  # type: ignore[arg-type]


def _find_out(site: Site) -> dict[str, tuple[Any, str]]:
    """Return what is found out for settings that are not set, and what says so."""
    settings, project = site.settings, site.project
    conventions = {one.what: (one.value, one.source) for one in find_conventions(site)}
    words, why = conventions.get("test command", (None, "no tests were found"))
    nothing = (None, "nothing was found")
    found: dict[str, tuple[Any, str]] = {
        "state_dir": (str(project.state_dir), "beside the checkout"),
        "environment": conventions["environment"],
        "group": conventions.get("dependency group", (None, "the group of the environment is missing")),
        "test_command": (shlex.split(words) if words else None, why),
        "uv": nothing,
        "restart_file": nothing,
        "passenger_app_root": (str(serving.app_root(site)), "the directory of the project"),
        "mail_from": (sender_of(settings), "the name of this host"),
        "unix_group": (None, "the commonest group of the project's files has no name"),
    }
    if executable := find_uv(None, environ=site.runner.environ, project=project.root):
        found["uv"] = (str(executable), "PATH, or the uv beside releaser")
    if file := serving.restart_file(site):
        found["restart_file"] = (str(file), "is there to be touched")
    if not project.has_git:
        found |= dict.fromkeys(("git_pull", "git_push"), (False, "the project is not under git"))
    if not settings.unix_group:
        with contextlib.suppress(KeyError, OSError):
            name = grp.getgrgid(find_commonest_group(project.root)).gr_name
            found["unix_group"] = (name, "the commonest group of the project's files")
    return found
