"""The tables of a command on many sites: a row for each site, or for each package with the sites that have it."""

from __future__ import annotations

import os
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from releaser.reporting.many_sites import COLUMNS, explain_errors, rows
from releaser.system.frozen import Frozen
from releaser.system.words import first_few

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from releaser.answers import OutdatedPackage
    from releaser.releases.listing import InstalledPackage
    from releaser.reporting.many_sites import SiteAnswer

T = TypeVar("T")
_MOST = 3  # vulnerabilities in a cell


class SitesTable(Frozen):
    """A table of the answers of all sites."""

    columns: tuple[str, ...]
    rows: Callable[[Sequence[SiteAnswer]], Sequence[Sequence[str]]]
    #: Returns a line for each site that the table lacks.
    others: Callable[[Sequence[SiteAnswer]], Sequence[str]] = lambda _: ()
    #: The line for people if the table has no row.
    empty: str = ""


def find_table(command: str) -> SitesTable | None:
    """Return the table of a command; None if its answers are shown one after the other."""
    by_site = {name: SitesTable(columns=COLUMNS, rows=partial(rows, name)) for name in ("update", "check", "status")}
    by_package = {
        "packages": SitesTable(
            columns=("PACKAGE", "VERSION", "NEWER", "VULNERABLE", "SITES"),
            rows=_rows_of_packages,
            others=partial(_list_unread, _read_packages),
            empty="no package is installed",
        ),
        "outdated": SitesTable(
            columns=("PACKAGE", "LOCKED", "LATEST", "BLOCKED BY", "SITES"),
            rows=_rows_of_outdated,
            others=partial(_list_unread, _read_outdated),
            empty="all packages are at their newest versions",
        ),
    }
    return {**by_site, **by_package}.get(command)


def _rows_of_packages(answers: Sequence[SiteAnswer]) -> list[list[str]]:
    """Return a row for each version of each package."""
    named, table = _name_sites(answers), list[list[str]]()
    for (name, version), found in _group(answers, _read_packages, lambda one: (one.name, one.version)).items():
        newer = {one.newer or "-" for _, one in found if one.newer is not None} or {"?"}
        known = [one.vulnerabilities for _, one in found if one.vulnerabilities is not None]
        ids = sorted({vulnerability for one in known for vulnerability in one})
        vulnerable = first_few(ids, _MOST) or ("-" if len(known) == len(found) else "?")
        table.append([name, version, ", ".join(sorted(newer)), vulnerable, named([site for site, _ in found])])
    return table


def _rows_of_outdated(answers: Sequence[SiteAnswer]) -> list[list[str]]:
    """Return a row for each package and each of its locked versions, with the same reasons against a newer one."""
    from releaser.reporting.text import describe_next

    def describe(one: OutdatedPackage) -> tuple[str, ...]:
        blockers = ", ".join(dict.fromkeys(blocker.by for blocker in one.blocked_by)) or "nothing"
        return one.name, one.locked, one.latest, f"{blockers}{describe_next(one)}"

    named = _name_sites(answers)
    found = _group(answers, _read_outdated, describe)
    return [[*words, named([site for site, _ in sites])] for words, sites in found.items()]


def _group(
    answers: Sequence[SiteAnswer], read: Callable[[SiteAnswer], Sequence[T] | None], key: Callable[[T], tuple[str, ...]]
) -> Mapping[tuple[str, ...], list[tuple[str, T]]]:
    """Return the sites that answer alike, by the key, each with its item; in alphabetical order."""
    found: dict[tuple[str, ...], list[tuple[str, T]]] = {}
    for answer in sorted(answers, key=lambda one: one.site):
        for one in read(answer) or ():
            found.setdefault(key(one), []).append((answer.site, one))
    return dict(sorted(found.items()))


def _name_sites(answers: Sequence[SiteAnswer]) -> Callable[[Sequence[str]], str]:
    """Return a function that names some of these sites: by their directories, or by paths where two have one name."""
    count = Counter(os.path.basename(one.site) for one in answers)

    def name(sites: Sequence[str]) -> str:
        if len(sites) == len(answers) > 1:
            return f"all {len(answers)}"
        return ", ".join(base if count[base := os.path.basename(site)] == 1 else site for site in dict.fromkeys(sites))

    return name


def _list_unread(read: Callable[[SiteAnswer], object], answers: Sequence[SiteAnswer]) -> list[str]:
    """Return a line for each site that failed, or whose answer cannot be read."""
    return [
        f"{one.site}: {explain_errors(one.errors) or 'its answer cannot be read'} (exit code {one.exit_code})"
        for one in answers
        if one.exit_code or read(one) is None
    ]


def _read_packages(answer: SiteAnswer) -> tuple[InstalledPackage, ...] | None:
    from releaser.releases.listing import InstalledPackage

    return _read(answer, InstalledPackage)


def _read_outdated(answer: SiteAnswer) -> tuple[OutdatedPackage, ...] | None:
    from releaser.answers import OutdatedPackage

    return _read(answer, OutdatedPackage)


def _read(answer: SiteAnswer, kind: type[T]) -> tuple[T, ...] | None:
    """Read the answer of a site; None if it failed, or comes from another version."""
    from msgspec import ValidationError, convert  # slow to import, for an update

    try:
        return tuple(convert(answer.answer, list[kind]))  # type: ignore[valid-type]
    except (ValidationError, ValueError, TypeError, OverflowError):
        return None
