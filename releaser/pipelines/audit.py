"""The audit in an update: the gate before a release goes live, and what is said of the live one each night."""

from __future__ import annotations

import contextlib

import msgspec

from releaser.errors import AuditError, BuildError
from releaser.packages.audit import audit_venv, read_audit
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
        known = audit_venv(site, live.venv, mark=run.id) if audit.advisories else audit
        keys, unknown = {each.key for each in known.advisories}, audit if audit.unknown else known
        new = [] if known.unknown else [each for each in audit.advisories if each.key not in keys]
        detail.append(audit.headline)
        detail.has_failed = bool(new or unknown.unknown)
    if new:
        names, ids = " ".join(sorted({each.name for each in new})), join_few([each.id for each in new])
        message = f"Release {release.id} does not go live: {' '.join(each.sentence for each in new)}"
        raise AuditError(message, f"Run `releaser hold {names}`, or accept it: add {ids} to `audit_ignore`.")
    if unknown.unknown:
        advice = "The next run tries again. To update without an answer: `RELEASER_AUDIT=report releaser update`."
        raise BuildError(f"Release {release.id} does not go live: {unknown.headline}", advice)


def audit_live(site: Site, run: Run, live: Release) -> None:
    """Ask for the known vulnerabilities of the live release, and say which are new."""
    if site.settings.versions.audit == "off":
        return
    with run.step("audit") as detail:
        audit = audit_venv(site, live.venv, mark=run.id)
        detail.append(audit.headline)
    if audit.unknown and (before := read_audit(site, live.venv)):  # what was known stays so
        known = {advisory.key: advisory for advisory in (*before.advisories, *audit.advisories)}
        audit = msgspec.structs.replace(audit, advisories=tuple(known.values()))
    # By the history, people hear again of what a run was killed with.
    heard = [note for record in read_history(site.paths) for note in record.notes]
    for advisory in audit.advisories:
        if not any(note.startswith(advisory.claim) for note in heard):
            run.note(advisory.sentence)
    with contextlib.suppress(OSError):
        write_json(site.paths.audit, audit)
