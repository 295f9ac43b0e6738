"""Reasons why updates skip a package or a version."""

from __future__ import annotations

from datetime import datetime

from releaser.system.frozen import Frozen
from releaser.system.sections import Section
from releaser.system.words import first_few


class Block(Frozen):
    """A version that updates skip or, without a version, a package that they do not upgrade; by which rule, and why."""

    name: str
    version: str = ""
    reason: str
    #: `person`, `rollback` if it was rolled back, `tests` if they fail with it, `undecided` if a search ended before
    #: the cause was known; or the rule: `ignore`, `window`, `publish`, `policy`, `age`, `constraint`, `downgrade`.
    by: str = "rollback"
    #: Since when, as ISO 8601, if that is known.
    since: str = ""
    #: The release whose tests failed, for `releaser show`; empty without one.
    release: str = ""
    #: The tests that failed.
    tests: tuple[str, ...] = ()
    #: The versions that can only be installed together with it, such as `celery 5.6.0`.
    together: tuple[str, ...] = ()
    #: The end of the output of the failed tests.
    output: str = ""

    @property
    def why(self) -> str:
        """The reason with the tests that failed, by what and since when; settings are not named again."""
        reason = self.reason + (f" in {first_few(self.tests)}" if self.tests else "")
        holder = {"tests": "on hold by the tests", "person": "on hold by you"}.get(self.by, "")
        words = " ".join(filter(None, (holder, f"since {self.since[:10]}" if self.since else "")))
        return f"{reason} ({words})" if reason and words else reason or words

    def __post_init__(self) -> None:
        if self.by == "activation":  # as earlier versions wrote it
            object.__setattr__(self, "by", "rollback")


class PackageWait(Frozen):
    """The packages of a pattern in an update: whether they wait, and until when."""

    #: The pattern of names.
    packages: str
    #: Why they stay at their versions; empty if they do not.
    reason: str = ""
    #: `window`, or `publish` if they wait for a review.
    by: str = "window"
    #: When the window opens; None for a review.
    until: datetime | None = None


class PackageWaits(Section):
    """The packages that wait in an update, although the update may begin."""

    #: By pattern; for each package, its exact name or else the first pattern that matches counts.
    package_waits: tuple[PackageWait, ...] = ()


class CulpritsSection(Section):
    """The upgrades that break the tests."""

    #: Found by this run, such as `alpha 1.1.0`.
    culprits: tuple[str, ...] = ()

    def in_headline(self) -> str:
        """Describe how many upgrades are on hold, and which."""
        named = ", ".join(self.culprits)
        return named and f", {len(self.culprits)} on hold because the tests fail with {named}"
