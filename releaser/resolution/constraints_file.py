"""The setting `constraints`: a file that says of packages which versions may come in, as pip takes one."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.utils import canonicalize_name

from releaser.errors import Finding, PreflightError, refuse
from releaser.locks.installed import environment_of
from releaser.locks.rules import Limit
from releaser.site import ownership
from releaser.site.ownership import Ownership
from releaser.system.files import read_text

if TYPE_CHECKING:
    from packaging.requirements import Requirement

    from releaser.site.site import Site

_HOW = "Write a name and a specifier, such as django<6; options, URLs and extras have no place there."


def read_limits(site: Site, *, python: str | None = None) -> dict[str, Limit]:
    """Return what the file says of packages on a `python`, or whatever their markers are; nothing if none is set.

    Raises PreflightError, with everything that is wrong.
    """
    if not site.settings.constraints:
        return {}
    root, given = site.project.root, Path(site.settings.constraints).expanduser()
    place = Path(os.path.normpath(root / given))
    if not given.is_absolute() and not place.is_relative_to(root):
        refuse(f"`constraints` is {given}, which is outside of the project", "Name a file in it, or an absolute path.")
    ownership.refuse(Ownership.of(root).unsafe(place))
    try:
        lines = read_text(place).splitlines()
    except (OSError, ValueError) as error:
        refuse(f"constraints {place} cannot be read: {error}", "Correct `constraints`, or unset it.")
    found, findings = dict[str, Limit](), list[Finding]()
    for number, line in enumerate(lines, start=1):
        words, where = re.sub(r"(^|\s)#.*", "", line).strip(), f"{given}:{number}"
        if not words:
            continue
        one = _parse(words)
        if one is None:
            findings.append(Finding(f"{where}: {words!r} is not a version constraint", advice=_HOW))
        elif one.marker is None or python is None or one.marker.evaluate(environment_of(python)):
            name, limit = canonicalize_name(one.name), Limit(specifier=str(one.specifier), source=where)
            found[name] = found[name].also(limit) if name in found else limit
    if findings:
        raise PreflightError(*findings)
    return found


def _parse(words: str) -> Requirement | None:
    from packaging.requirements import InvalidRequirement, Requirement  # which take long to import

    try:
        one = Requirement(words)
    except InvalidRequirement:
        return None
    return one if one.specifier and not one.extras and not one.url else None
