"""The packages of a release: as a list with ages and newer versions, and as a lock for other tools."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from releaser.candidate.audit import audit_release
from releaser.candidate.audit_status import known_vulnerabilities
from releaser.errors import ReleaserError, ResolutionError, ToolError, refuse
from releaser.locks.installed import groups_in
from releaser.locks.lock import Graph, LockFile, asked_by_project
from releaser.locks.versions import is_newer, uploads_in
from releaser.locks.vulnerabilities import Audit, unknown
from releaser.pipelines.status import find_release
from releaser.releases.contents import sizes_of_packages
from releaser.releases.journal import read_history
from releaser.releases.listing import Exported, InstalledPackage
from releaser.releases.release import Release, lock_of
from releaser.releases.venv import versions_in
from releaser.resolution.newest import ask_newest
from releaser.site.conventions import default_groups, keep_locked
from releaser.site.pythons import choose
from releaser.system.expression import expression
from releaser.system.temporary import temporary_tree
from releaser.tools.uv_arguments import requirements_arguments

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from releaser.site.site import Site

Format = Literal["requirements", "constraints", "pylock"]
_RELATIVE = expression(r'(?<=source = \{ registry = )"(?!/|[a-z+]+://)([^"\\]*)"')


def export_release(site: Site, release: str | None, form: Format) -> Exported:
    """Export the packages of a release, by default the live one, from its own lock, whatever the checkout has.

    `constraints` have no hashes, which pip does not accept there, and no extras, which uv does not write. Raises
    NoSuchReleaseError, PreflightError and ResolutionError.
    """
    found = find_release(site, release)
    lock, group = lock_of(found), found.manifest.group
    if lock.root is None:
        refuse(
            "lock-unreadable",
            f"{found.lock} cannot be exported: it is not the lock of a project",
            "Choose another release.",
        )
    defaults = default_groups(site)
    groups = sorted(groups_in(lock)) if defaults is None else [*keep_locked(defaults, lock)]
    with temporary_tree() as tree:
        _write_stand_in(tree, lock, groups, site.project.root)
        words = requirements_arguments(group=group, hashes=form != "constraints", pylock=form == "pylock")
        try:
            text = site.uv.run([*words, "--python", str(choose(site, site.uv).python)], tree=tree)
        except ToolError as error:
            message = f"uv cannot export the lock of {found.id}: {error.message}"
            raise ResolutionError(message, error.advice or "See uv's message.", output=error.output) from error
    return Exported(release=found.id, format=form, text=text)


def _write_stand_in(tree: Path, lock: LockFile, groups: list[str], root: Path) -> None:
    """Write the lock, and a minimal pyproject.toml for uv: the one of that time may be gone.

    Relative paths of directories with files become absolute, as they start at the project.
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
        "members = []",  # otherwise uv might use a project in a directory above
    ]
    (tree / "pyproject.toml").write_text("\n".join([*lines, ""]), encoding="utf-8")
    text = _RELATIVE.sub(lambda found: json.dumps(str(root / found[1])), lock.data.decode("utf-8"))
    (tree / "uv.lock").write_text(text, encoding="utf-8")


def list_packages(site: Site, release: str | None, *, offline: bool) -> tuple[tuple[InstalledPackage, ...], str]:
    """List the packages of a release, by default the live one; and return why some facts are unknown, if so.

    No program of the site runs. `offline` uses no network: vulnerabilities are then those that the last run found.
    Raises NoSuchReleaseError.
    """
    found = find_release(site, release)
    lock, versions, now = lock_of(found), versions_in(found.venv), datetime.now(UTC)
    graph, asked, times = Graph.of(lock), asked_by_project(lock), uploads_in(lock, now).times
    sizes = sizes_of_packages(str(found.venv))
    wanted = {name: version for name, version in versions.items() if name in graph.from_index}
    newer, unasked, audit = ({}, "", _recall_audit(site, found)) if offline else _ask(site, found, wanted)
    wrong: dict[str, list[str]] = {}
    for vulnerability in audit.vulnerabilities:
        wrong.setdefault(vulnerability.name, []).append(vulnerability.id)
    packages = []
    for name, version in sorted(versions.items()):
        uploaded, latest = times.get((name, version)), newer.get(name)
        packages.append(
            InstalledPackage(
                name=name,
                version=version,
                asked_by=(*asked.get(name, ()), *(asker for asker in graph.askers.get(name, ()) if asker in versions)),
                age_seconds=(now - uploaded).total_seconds() if uploaded else None,
                newer=None if latest is None else latest if is_newer(latest, version) else "",
                vulnerabilities=tuple(wrong.get(name, ())) if audit.known else None,
                size_bytes=sizes.get(name),
            )
        )
    reasons = (unasked, "" if audit.known else f"the query for known vulnerabilities failed: {audit.reason}")
    return tuple(packages), "; ".join(filter(None, reasons)) if not offline else ""


def _ask(site: Site, release: Release, versions: Mapping[str, str]) -> tuple[dict[str, str], str, Audit]:
    """Look up newer versions and vulnerabilities; the text says why newer versions are unknown, if so."""
    try:
        audit = audit_release(site, site.uv.executable, release)
    except ReleaserError as error:  # there is no uv
        return {}, error.message, unknown(error.message)
    try:
        found = ask_newest(site, site.uv, versions, choose(site, site.uv)) if versions else {}
    except ReleaserError as error:
        return {}, error.message, audit
    return {name: one.newest for name, one in found.items()}, "", audit


def _recall_audit(site: Site, release: Release) -> Audit:
    """Return the vulnerabilities that the last run found; unknown for a release that is not live."""
    found = known_vulnerabilities(read_history(site.state_dir)) if release.live else None
    return Audit(known=found is not None, vulnerabilities=found or ())
