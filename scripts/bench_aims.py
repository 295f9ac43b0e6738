"""What `make bench` measures against: every aim by name, whether or not it can be measured on a machine."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

START = "times `python -c pass`"


@dataclass(frozen=True, kw_only=True)
class Aim:
    """What is aimed at, and what was found."""

    #: The part of the bench that measures it.
    part: str
    what: str
    limit: float
    unit: str = "times"
    at_least: bool = False
    found: float | None = None
    #: Why nothing was found.
    reason: str = ""

    @property
    def is_met(self) -> bool:
        """Whether it is reached."""
        if self.found is None:
            return False
        return self.found >= self.limit if self.at_least else self.found <= self.limit

    @property
    def verdict(self) -> str:
        """How it stands, in a word or two."""
        return "not measured" if self.found is None else "met" if self.is_met else "missed"

    @property
    def said(self) -> str:
        """What was found, in words."""
        return self.reason if self.found is None else amount(self.found, self.unit)

    @property
    def share(self) -> float:
        """How much of what the aim allows is used: at most 1 where it is met; 100 stands for all above."""
        if self.found is None:
            return 0.0
        used = self.limit / max(self.found, 1e-9) if self.at_least else self.found / max(self.limit, 1e-9)
        return min(used, 100.0)

    @property
    def bound(self) -> str:
        """The aim in words."""
        return f"at {'least' if self.at_least else 'most'} {amount(self.limit, self.unit)}"


def amount(value: float, unit: str) -> str:
    """Write a figure with as many digits as it deserves."""
    digits = 0 if value >= 100 or value == int(value) else 1 if value >= 10 else 2 if value >= 0.1 else 3
    return f"{value:.{digits}f} {unit}".strip()


AIMS = (
    Aim(part="rollback", what="rollback faster than lock restored, uv sync", limit=10, at_least=True),
    Aim(part="rollback", what="rollback, 1 GB beside 10 MB, in as many files", limit=1.2),
    Aim(part="django", what="rollback of a Django site: releaser's own part", limit=0.3, unit="s"),
    Aim(part="django", what="rollbacks that collected static files again", limit=0, unit="of 6"),
    Aim(part="gaps", what="time without a whole `.venv`, 10,000 flips", limit=0, unit="s"),
    *(
        Aim(part="requests", what=f"slowest request during an update beside a quiet minute, {kind}", limit=1.2)
        for kind in ("gunicorn", "passenger", "systemd")
    ),
    Aim(part="nothing-newer", what="update, nothing newer: CPU over uv's", limit=0.15, unit="s"),
    Aim(part="nothing-newer", what="update, nothing newer, a real index, beside uv", limit=1.25),
    Aim(part="updates", what="update of 60 packages beside the bare steps of uv", limit=0.8),
    Aim(part="updates", what="update of 3 of 60 packages beside the bare steps of uv", limit=0.35),
    Aim(part="updates", what="starts of manage.py besides tests and collectstatic", limit=2, unit=""),
    Aim(part="commands", what="`--version`", limit=2, unit=START),
    Aim(part="commands", what="`list` of 5 releases", limit=6, unit=START),
    Aim(part="commands", what="`list` of 1,000 releases", limit=8, unit=START),
    Aim(part="commands", what="`exec`, over the program itself", limit=3, unit=START),
    Aim(part="commands", what="a starter, nothing due", limit=3, unit="times the program itself"),
    # A module that only holds a lease takes 1.05 ms: an import, fcntl and mmap, and their four system calls.
    Aim(part="commands", what="a pinned interpreter's start: wall time", limit=2, unit="ms more"),
    Aim(part="commands", what="a pinned interpreter's start: CPU", limit=2, unit="ms more"),
    Aim(part="memory", what="peak memory, 1,000 releases, 100 MB of output", limit=50, unit="MB"),
    *(
        Aim(part="disk", what=f"disk of 10 releases beside one, {kind}{which}", limit=limit)
        for kind in ("ext4", "XFS without reflinks", "XFS with reflinks")
        for which, limit in (("", 1.3), (", wholly new packages", 1.6))
    ),
    Aim(part="culprits", what="test runs to find 2 culprits in 22", limit=18, unit="runs"),
    Aim(part="many", what="200 sites, quiet night: CPU of each site", limit=0.12, unit="s"),
    Aim(part="many", what="200 sites, quiet night: memory of releaser", limit=60, unit="MB"),
    Aim(part="many", what="200 sites, quiet night: questions about each package", limit=1, unit=""),
    Aim(part="many", what="200 sites, quiet night: fetches from the repository of 100", limit=1, unit=""),
    *(
        Aim(part="sandbox", what=f"{what} in the sandbox ({kind})", limit=1.05)
        for what in (
            "the tests of djangorestframework",
            "a build of 60 packages, all wheels",
            "a build of 60 packages, 5 from source",
        )
        for kind in ("bwrap",)
    ),
)


def judge(part: str, found: Mapping[str, float], missing: Mapping[str, str], otherwise: str) -> tuple[Aim, ...]:
    """Return each aim of a part, with what was found, or why nothing was: `otherwise`, if no other reason is known."""
    return tuple(
        replace(aim, found=found.get(aim.what), reason="" if aim.what in found else missing.get(aim.what, otherwise))
        for aim in AIMS
        if aim.part == part
    )
