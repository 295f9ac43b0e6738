"""Known vulnerabilities of locked packages, from `uv audit`; an incomplete answer counts as unknown."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal

from releaser.locks.versions import is_older, order
from releaser.system.frozen import Frozen
from releaser.system.sections import Section

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from releaser.locks.changes import Change


class Vulnerability(Frozen):
    """A known vulnerability of one version of a package.

    `id` is its main name, `aliases` are its other names, `fixed` has the first fixed version of each branch of the
    package, lowest first, and `link` leads to more information. All but the id may be empty.
    """

    name: str
    version: str
    id: str
    aliases: tuple[str, ...] = ()
    summary: str = ""
    fixed: tuple[str, ...] = ()
    link: str = ""

    @property
    def ids(self) -> frozenset[str]:
        """All names, in lower case."""
        return frozenset(vulnerability_id.lower() for vulnerability_id in (self.id, *self.aliases))

    @property
    def fix(self) -> str | None:
        """The lowest newer version without the vulnerability; None if unknown."""
        return next((version for version in self.fixed if is_older(self.version, version)), None)

    def is_in(self, others: Iterable[Vulnerability]) -> bool:
        """True if one of `others` is this vulnerability of this package, in any version."""
        return any(other.name == self.name and other.ids & self.ids for other in others)


class Audit(Frozen):
    """The known vulnerabilities of a set of packages; `reason` says why an answer is unknown."""

    known: bool
    reason: str = ""
    vulnerabilities: tuple[Vulnerability, ...] = ()

    def without(self, ignored: Collection[str]) -> Audit:
        """Return the audit without the vulnerabilities that have a name in `ignored`."""
        names = {name.lower() for name in ignored}
        kept = tuple(vulnerability for vulnerability in self.vulnerabilities if not vulnerability.ids & names)
        return Audit(known=self.known, reason=self.reason, vulnerabilities=kept)

    def fixes(self) -> dict[str, str]:
        """Return, by package, the lowest version that fixes all its fixable vulnerabilities; skip unfixable ones."""
        found: dict[str, str] = {}
        for vulnerability in self.vulnerabilities:
            if vulnerability.fix is not None and (
                vulnerability.name not in found or is_older(found[vulnerability.name], vulnerability.fix)
            ):
                found[vulnerability.name] = vulnerability.fix
        return found

    def fixed_in(self, changes: Iterable[Change]) -> dict[str, tuple[str, ...]]:
        """Return, by package, the ids of vulnerabilities that the new versions fix, judged by version numbers."""
        new = {change.name: change.new.split(", ") for change in changes if change.new is not None}
        found: dict[str, tuple[str, ...]] = {}
        for vulnerability in self.vulnerabilities:
            fix = vulnerability.fix
            if (
                fix is not None
                and vulnerability.name in new
                and not any(is_older(version, fix) for version in new[vulnerability.name])
            ):
                found[vulnerability.name] = (*found.get(vulnerability.name, ()), vulnerability.id)
        return found


def unknown(reason: str) -> Audit:
    """Return an unknown answer."""
    return Audit(known=False, reason=reason)


def fixed_by(before: Audit, after: Audit) -> tuple[Vulnerability, ...]:
    """Return the vulnerabilities that are in `before` and not in `after`; empty unless both are known."""
    if not before.known or not after.known:
        return ()
    return tuple(
        vulnerability for vulnerability in before.vulnerabilities if not vulnerability.is_in(after.vulnerabilities)
    )


class SecuritySection(Section):
    """The known vulnerabilities of the release that is live after a run."""

    #: True if the `vulnerabilities` of the live release after the run are known; empty if the run did not ask.
    audit: Literal["", "known", "unknown"] = ""
    #: Why they are not known.
    audit_reason: str = ""
    #: True if an earlier report has said why they are not known.
    audit_told: bool = False
    vulnerabilities: tuple[Vulnerability, ...] = ()
    #: The vulnerabilities that this run has fixed.
    fixed: tuple[Vulnerability, ...] = ()


class AuditsSoFar(Section):
    """The audits of a run so far: of the release that was live, and of the new one; None without one."""

    before: Audit | None = None
    after: Audit | None = None

    def at_end(self, *, live_changed: bool, clean: Callable[[str], str]) -> Section:
        """Return the vulnerabilities of the release that is live at the end of the run."""
        found = self.after if live_changed else self.before
        if found is None:
            return SecuritySection()
        return SecuritySection(
            audit="known" if found.known else "unknown",
            audit_reason=clean(found.reason),
            vulnerabilities=found.vulnerabilities,
            fixed=fixed_by(self.before, found) if live_changed and self.before else (),
        )


def parse_audit(text: str, *, packages: int) -> Audit:
    """Read what `uv audit --output-format json` prints (uv 0.13; its schema is called a preview).

    `packages` is the number of packages in the question. An incomplete answer counts as unknown.
    """
    try:
        content = json.loads(text)
        summary, entries = content["summary"], content["vulnerabilities"]
        found = tuple(
            sorted(map(_vulnerability, entries), key=lambda vulnerability: (vulnerability.name, vulnerability.id))
        )
        whole = summary["audited_packages"] == packages and summary["vulnerabilities"] == len(found)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        return unknown(f"uv's answer cannot be read ({type(error).__name__}: {error})")
    if not whole:
        return unknown(f"uv's answer is incomplete: {json.dumps(summary)} for {packages} packages")
    return Audit(known=True, vulnerabilities=found)


def _vulnerability(entry: Mapping[str, Any]) -> Vulnerability:
    # `id` is the id in the database of uv; `display_id` is the preferred name among the id and the aliases.
    shown = str(entry.get("display_id") or entry["id"])
    names = dict.fromkeys([str(entry["id"]), *map(str, entry.get("aliases") or ())])
    return Vulnerability(
        name=str(entry["dependency"]["name"]),
        version=str(entry["dependency"]["version"]),
        id=shown,
        aliases=tuple(name for name in names if name != shown),
        summary=" ".join(str(entry.get("summary") or "").split()),
        fixed=tuple(sorted(map(str, entry.get("fix_versions") or ()), key=order)),
        link=str(entry.get("link") or ""),
    )
