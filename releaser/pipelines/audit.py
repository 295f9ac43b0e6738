"""The audit in an update: the gate before a release goes live, and what is said of the live one each night."""

from __future__ import annotations

import contextlib

import msgspec

from releaser.errors import AuditError, BuildError
from releaser.packages.audit import audit_venv, list_current, read_audit
from releaser.releases.release import Release
from releaser.report.history import read_history
from releaser.site.site import Site
from releaser.system.files import write_json
from releaser.system.run import Run
from releaser.system.text import join_few


def require_audit(site: Site, run: Run, release: Release, live: Release) -> None:
    """Ask for what a release would bring, where `audit` is `refuse`.

    Raises AuditError if it would bring a known vulnerability, and BuildError if the service does not answer.
    """
    if site.settings.versions.audit != "refuse" or release.id == live.id:
        return
    with run.step("audit") as detail:
        audit = audit_venv(site, release.venv, mark=run.id)
        new = audit.advisories
        if new:
            known = {advisory.key for advisory in audit_venv(site, live.venv, mark=run.id).advisories}
            new = tuple(advisory for advisory in new if advisory.key not in known)
        detail.append(audit.headline)
        detail.has_failed = bool(new or audit.unknown)
    if new:
        names = " ".join(sorted({advisory.name for advisory in new}))
        message = f"Release {release.id} does not go live: {' '.join(advisory.sentence for advisory in new)}"
        ids = join_few([advisory.id for advisory in new])
        raise AuditError(message, f"Run `releaser hold {names}`, or accept it: add {ids} to `audit_ignore`.")
    if audit.unknown:
        advice = "The next run tries again; without an answer, `RELEASER_AUDIT=report releaser update` goes on."
        raise BuildError(f"Release {release.id} does not go live: {audit.headline}", advice)


def audit_live(site: Site, run: Run, live: Release) -> None:
    """Ask for the known vulnerabilities of the live release, and say which are new, and which are gone."""
    if site.settings.versions.audit == "off":
        return
    before = read_audit(site)
    with run.step("audit") as detail:
        audit = audit_venv(site, live.venv, mark=run.id)
        detail.append(audit.headline)
    if audit.unknown:  # what was known stays so
        kept = {advisory.key: advisory for advisory in (*list_current(site, live.venv, before), *audit.advisories)}
        audit = msgspec.structs.replace(audit, advisories=tuple(kept.values()))
    # By the history, people hear again of what a run was killed with.
    heard = [note for record in read_history(site.paths) for note in record.notes]
    for advisory in audit.advisories:
        if not any(note.startswith(advisory.claims) for note in heard):
            run.note(advisory.sentence)
    with contextlib.suppress(OSError):
        write_json(site.paths.audit, audit)
