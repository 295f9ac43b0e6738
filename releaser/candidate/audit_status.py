"""The known vulnerabilities of the live release in the status."""

from collections.abc import Mapping, Sequence
from typing import Any

from releaser.core.status import Alarm, Figure, Line, Look, Pending, Question, Shows, StatusSection
from releaser.locks.vulnerabilities import SecuritySection, Vulnerability
from releaser.releases.journal import read_entry
from releaser.system.words import plural


class AuditStatus(StatusSection):
    """The result of the last audit."""

    #: How many packages of the live release had known vulnerabilities at the last audit; None without an audit.
    vulnerable: int | None = None
    #: True if this host looks up known vulnerabilities: not with `vulnerability_service = "none"`.
    is_audited: bool = True

    @classmethod
    def look(cls, at: Look) -> StatusSection:
        from releaser.candidate.audit import is_asked

        found = known_vulnerabilities(at.runs)
        return cls(vulnerable=None if found is None else count_packages(found), is_audited=is_asked(at.site))

    def show(self) -> Shows:
        if self.vulnerable:
            packages = plural(self.vulnerable, "package")
            yield Line(f"vulnerable: {packages}; see `releaser audit`", 24)
            yield Pending(f"{packages} vulnerable", 50)
            yield Alarm(text=f"{packages} with known vulnerabilities", command="audit", rank=10)
        if self.vulnerable is None and self.is_audited and getattr(self, "live", None):
            yield Question(text="the live release was not checked for known vulnerabilities", command="audit", rank=30)
        meaning = "Live packages with known vulnerabilities"
        yield Figure("vulnerable_packages", meaning, self.vulnerable, "vulnerable")


def known_vulnerabilities(runs: Sequence[Mapping[str, Any]]) -> tuple[Vulnerability, ...] | None:
    """Return the vulnerabilities from the newest known audit; None if the live release has changed since."""
    for run in runs:
        if run.get("audit") == "known":
            found = read_entry(SecuritySection, run)
            return found.vulnerabilities if found else None
        if run.get("live_changed"):
            return None
    return None


def count_packages(vulnerabilities: Sequence[Vulnerability]) -> int:
    """Count the packages that have vulnerabilities."""
    return len({vulnerability.name for vulnerability in vulnerabilities})
