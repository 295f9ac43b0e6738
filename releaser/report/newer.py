"""What is newer than what is locked, as plain text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from releaser.report.capping import one_line
from releaser.report.text import aligned

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

NOTHING = "nothing, it comes with the next update"


def outdated_text(packages: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what `outdated` prints for people, from what it prints as JSON: a line for each package, reasons below."""
    rows = [[one_line(one["name"]), one["locked"], one["latest"], _keepers(one)] for one in packages]
    heading, *table = aligned([["PACKAGE", "LOCKED", "LATEST", "KEPT BY"], *rows])
    lines = [heading]
    for line, one in zip(table, packages, strict=True):
        lines += [line, *(f"    {one_line(keeper['reason'])}" for keeper in one["kept_by"])]
    return lines


def _keepers(package: Mapping[str, Any]) -> str:
    return ", ".join(dict.fromkeys(keeper["by"] for keeper in package["kept_by"])) or NOTHING
