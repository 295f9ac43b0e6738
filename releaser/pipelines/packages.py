"""What is installed in a release: how old it is, who asks for it, and what is newer or known to be wrong with it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from releaser.candidate.audit import audit_release
from releaser.errors import ReleaserError
from releaser.locks.lock import Graph, asked_by_project
from releaser.locks.versions import is_newer, uploads_in
from releaser.locks.vulnerabilities import Audit, unknown
from releaser.pipelines.status import find_release, known_vulnerabilities
from releaser.releases.contents import sizes_of_packages
from releaser.releases.journal import read_history
from releaser.releases.listing import InstalledPackage
from releaser.releases.venv import versions_in
from releaser.resolution.newest import ask_newest
from releaser.resolution.resolve import lock_of
from releaser.site.pythons import choose

if TYPE_CHECKING:
    from collections.abc import Mapping

    from releaser.releases.release import Release
    from releaser.site.site import Site


def list_packages(site: Site, release: str | None, *, offline: bool) -> tuple[tuple[InstalledPackage, ...], str]:
    """List what is installed in a release, or the live one; and say why something is not known, if so.

    Nothing of the site is started. `offline` asks nobody: vulnerabilities are then those that the last run knew of.
    Raises NoSuchReleaseError.
    """
    found = find_release(site, release)
    lock, versions, now = lock_of(found), versions_in(found.venv), datetime.now(UTC)
    graph, asked, times = Graph.of(lock), asked_by_project(lock), uploads_in(lock, now).times
    sizes = sizes_of_packages(str(found.venv))
    wanted = {name: version for name, version in versions.items() if name in graph.from_index}
    newer, unasked, audit = ({}, "", _remembered(site, found)) if offline else _ask(site, found, wanted)
    wrong: dict[str, list[str]] = {}
    for one in audit.vulnerabilities:
        wrong.setdefault(one.name, []).append(one.id)
    packages = []
    for name, version in sorted(versions.items()):
        uploaded, latest = times.get((name, version)), newer.get(name)
        packages.append(
            InstalledPackage(
                name=name,
                version=version,
                asked_by=(*asked.get(name, ()), *(one for one in graph.askers.get(name, ()) if one in versions)),
                age_seconds=(now - uploaded).total_seconds() if uploaded else None,
                newer=None if latest is None else latest if is_newer(latest, version) else "",
                vulnerabilities=tuple(wrong.get(name, ())) if audit.known else None,
                size_bytes=sizes.get(name),
            )
        )
    reasons = (unasked, "" if audit.known else f"known vulnerabilities could not be looked up: {audit.reason}")
    return tuple(packages), "; ".join(filter(None, reasons)) if not offline else ""


def _ask(site: Site, release: Release, versions: Mapping[str, str]) -> tuple[dict[str, str], str, Audit]:
    """Ask for newer versions and vulnerabilities; return why that of the first was not possible as well."""
    try:
        audit = audit_release(site, site.uv.executable, release)
    except ReleaserError as error:  # there is no uv
        return {}, error.message, unknown(error.message)
    try:
        found = ask_newest(site, site.uv, versions, choose(site, site.uv)) if versions else {}
    except ReleaserError as error:
        return {}, error.message, audit
    return {name: one.newest for name, one in found.items()}, "", audit


def _remembered(site: Site, release: Release) -> Audit:
    """Return what the last run knew; of what is not live, nobody has asked."""
    found = known_vulnerabilities(read_history(site.state_dir)) if release.live else None
    return Audit(known=found is not None, vulnerabilities=found or ())
