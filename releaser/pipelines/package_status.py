"""The packages that wait for their window or for a review, in the status."""

from collections.abc import Iterator
from datetime import UTC, datetime

from releaser.core.status import Look, Remark, Shows, StatusSection
from releaser.locks.blocks import PackageWait
from releaser.locks.rules import find_command
from releaser.system.words import first_few


class PackageStatus(StatusSection):
    """The packages that an update would not take now."""

    #: The packages that wait now, by pattern; for each package, its exact name or else the first pattern counts.
    package_waits: tuple[PackageWait, ...] = ()

    @classmethod
    def look(cls, at: Look) -> StatusSection:
        from releaser.core.due import find_package_waits

        return cls(package_waits=find_package_waits(at.site, datetime.now(UTC)))

    def show(self) -> Shows:
        yield from _explain(self.package_waits)


def _explain(waits: tuple[PackageWait, ...]) -> Iterator[Remark]:
    """Yield a remark for each reason."""
    by_reason: dict[tuple[str, str], list[str]] = {}
    for wait in waits:
        if wait.reason:
            by_reason.setdefault((wait.reason, wait.by), []).append(wait.packages)
    for (reason, by), patterns in by_reason.items():
        named = "all other packages" if patterns == ["*"] and len(waits) > 1 else f"packages {first_few(patterns)}"
        yield Remark(f"{named} wait: {reason}; to update one now: {find_command(by, 'NAME')}", 12)
