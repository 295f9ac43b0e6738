"""The packages that differ: between two venvs, or between a venv and a lock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from packaging.version import InvalidVersion, Version

from releaser.packages.lock import Lock, read_lock
from releaser.releases.release import Change, Release
from releaser.releases.verify import list_installed

Bump = Literal["major", "minor", "patch", "other", "added", "removed"]


def compare_versions(
    before: Mapping[str, str], after: Mapping[str, str], without: frozenset[str]
) -> tuple[Change, ...]:
    """Return the packages that differ, sorted by name; those in `without` do not count."""
    names = sorted((before.keys() | after.keys()) - without)
    return tuple(
        Change(name, before.get(name), after.get(name), name_bump(before.get(name), after.get(name)))
        for name in names
        if before.get(name) != after.get(name)
    )


def name_bump(old: str | None, new: str | None) -> Bump:
    """Return the size of a change: `other` for a change that is no upgrade, or of versions that no rule orders."""
    if old is None or new is None:
        return "added" if old is None else "removed"
    try:
        before, after = Version(old), Version(new)
    except InvalidVersion:
        return "other"
    if after <= before:
        return "other"
    if before.epoch != after.epoch or before.major != after.major:
        return "major"
    return "minor" if before.minor != after.minor else "patch"


def find_older(before: Lock, after: Lock) -> list[str]:
    """Return the packages of which the second lock has only older versions than the first."""
    older = []
    for name in before.names:
        versions = after.versions.get(name)
        if versions and _newest(versions) < _newest(before.versions[name]):
            older.append(name)
    return older


SEEDS = {"pip", "setuptools", "wheel"}  # venv and virtualenv put them into each venv


def _newest(versions: frozenset[str]) -> Version:
    parsed = []
    for version in versions:
        try:
            parsed.append(Version(version))
        except InvalidVersion:
            parsed.append(Version("0"))
    return max(parsed)


def find_edits(release: Release) -> list[str]:
    """Return a sentence for each package in the venv of a release that its lock does not have in that version.

    In an adopted venv, as people make them, other versions are no edit, nor is what `python -m venv` brings.
    """
    lock = read_lock(release.lock)
    known = lock.local if release.manifest.origin == "built" else {*lock.local, *lock.versions, *SEEDS}
    return [
        f"{name} {version} is installed, but is not in the lock"
        for name, version in sorted(list_installed(release.venv).items())
        if name not in known and version not in lock.versions.get(name, ())
    ]


def describe_changes(changes: Sequence[Change], most: int = 8) -> str:
    """Return the changes in a line: `django 5.1 → 5.2, tea (new) 1.0`."""
    words = []
    ordered = sorted(changes, key=lambda change: change.new is not None)  # what leaves the venv is never cut off
    for change in ordered[:most]:
        if change.old is None:
            words.append(f"{change.name} {change.new} (new)")
        elif change.new is None:
            words.append(f"{change.name} {change.old} (removed)")
        else:
            words.append(f"{change.name} {change.old} → {change.new}")
    rest = len(changes) - most
    return ", ".join(words) + (f" and {rest} more" if rest > 0 else "")
