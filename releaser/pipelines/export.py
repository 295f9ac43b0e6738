"""The lock of a release in the forms that other tools read."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Literal

from releaser.errors import ResolutionError, ToolError, refuse
from releaser.locks.installed import groups_in
from releaser.pipelines.status import find_release
from releaser.releases.listing import Exported
from releaser.resolution.resolve import lock_of
from releaser.site.conventions import default_groups, keep_locked
from releaser.site.pythons import choose
from releaser.system.temporary import temporary_directory
from releaser.tools.uv_arguments import requirements_arguments

if TYPE_CHECKING:
    from pathlib import Path

    from releaser.locks.lock import LockFile
    from releaser.site.site import Site

Format = Literal["requirements", "constraints", "pylock"]
_RELATIVE = re.compile(r'(?<=source = \{ registry = )"(?!/|[a-z+]+://)([^"\\]*)"')


def export_release(site: Site, release: str | None, form: Format) -> Exported:
    """Return what is installed in a release, or the live one, from its own lock, whatever the checkout has.

    `constraints` are without hashes, as pip takes no others; uv writes no extras. Raises NoSuchReleaseError,
    PreflightError and ResolutionError.
    """
    found = find_release(site, release)
    lock, group = lock_of(found), found.manifest.group
    if lock.root is None:
        refuse(f"{found.lock} is not the lock of a project that can be exported", "Choose another release.")
    defaults = default_groups(site)
    groups = sorted(groups_in(lock)) if defaults is None else [*keep_locked(defaults, lock)]
    with temporary_directory() as tree:
        _write_stand_in(tree, lock, groups, site.project.root)
        words = requirements_arguments(group=group, hashes=form != "constraints", pylock=form == "pylock")
        try:
            text = site.uv.run([*words, "--python", str(choose(site, site.uv).python)], tree=tree)
        except ToolError as error:
            message = f"uv cannot export the lock of {found.id}: {error.message}"
            raise ResolutionError(message, advice=error.advice or "See uv's message.", output=error.output) from error
    return Exported(release=found.id, format=form, text=text)


def _write_stand_in(tree: Path, lock: LockFile, groups: list[str], root: Path) -> None:
    """Write what uv needs to know of the project beside its lock: the pyproject.toml of that time may be gone.

    Directories of files are named by their whole paths, as they are relative to the project.
    """
    own = lock.root or {"name": ""}
    lines = [
        "[project]",
        f"name = {json.dumps(own['name'])}",
        f"version = {json.dumps(own.get('version', '0'))}",
        f"requires-python = {json.dumps(lock.content.get('requires-python', ''))}",
        "[dependency-groups]",
        *(f"{json.dumps(name)} = []" for name in sorted(groups_in(lock))),
        "[tool.uv]",
        f"default-groups = {json.dumps(groups)}",
        "[tool.uv.workspace]",
        "members = []",  # else a project in a directory above might be looked at
    ]
    (tree / "pyproject.toml").write_text("\n".join([*lines, ""]), encoding="utf-8")
    text = _RELATIVE.sub(lambda found: json.dumps(str(root / found[1])), lock.data.decode("utf-8"))
    (tree / "uv.lock").write_text(text, encoding="utf-8")
