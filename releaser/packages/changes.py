"""The packages that differ: between two releases, two locks, or a venv and a lock."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Literal

from packaging.version import InvalidVersion, Version

from releaser.packages.lock import Lock, read_lock
from releaser.releases.release import PackageChange, Release
from releaser.releases.venv import SEEDS, list_installed
from releaser.system.text import join_few

Bump = Literal["major", "minor", "patch", "other", "added", "removed"]


def compare_versions(
    before: Mapping[str, str], after: Mapping[str, str], without: frozenset[str], direct: Collection[str] = ()
) -> tuple[PackageChange, ...]:
    """Return the packages that differ, sorted by name, the direct ones first; those in `without` do not count."""
    names = sorted((before.keys() | after.keys()) - without, key=lambda name: (name not in direct, name))
    pairs = ((name, before.get(name), after.get(name)) for name in names)
    return tuple(PackageChange(name, old, new, name_bump(old, new)) for name, old, new in pairs if old != new)


def compare_releases(before: Release | None, after: Release) -> tuple[PackageChange, ...]:
    """Return the packages that differ between two releases, by what is installed."""
    lock, installed = read_lock(after.lock), list_installed(before.venv) if before else {}
    return compare_versions(installed, list_installed(after.venv), lock.local, lock.direct)


def compare_locks(before: Lock | None, after: Lock) -> tuple[PackageChange, ...]:
    """Return the packages that differ between two locks; several versions of one are joined."""
    texts = [before.versions if before else {}, after.versions]
    old, new = ({name: ", ".join(sorted(versions)) for name, versions in each.items()} for each in texts)
    return compare_versions(old, new, after.local, after.direct)


def name_bump(old: str | None, new: str | None) -> Bump:
    """Return the size of a change: `other` for a change that is no upgrade, or of versions that no rule orders."""
    if old is None or new is None:
        return "added" if old is None else "removed"
    before, after = parse_version(old), parse_version(new)
    if before is None or after is None or after <= before:
        return "other"
    if before.epoch != after.epoch or before.major != after.major:
        return "major"
    return "minor" if before.minor != after.minor else "patch"


def parse_version(label: str) -> Version | None:
    """Return the version of a label, without the commit of a package from git; None if no rule orders it."""
    try:
        return Version(label.partition(" ")[0])
    except InvalidVersion:
        return None


def find_older(before: Lock, after: Lock) -> list[str]:
    """Return the packages of which the second lock has only older versions than the first."""
    zero, pairs = Version("0"), {name: (before.versions[name], after.versions.get(name)) for name in before.names}
    newest = {name: (newest_of(old) or zero, newest_of(new) or zero) for name, (old, new) in pairs.items() if new}
    return [name for name, (old, new) in newest.items() if new < old]


def find_newest(labels: Iterable[str], live: str) -> str:
    """Return the newest of these versions, or that which is live if none is newer."""
    newest = live
    for label in filter(None, labels):
        if name_bump(newest, label) != "other" or (" " in label and label != live):
            newest = label
    return newest


def newest_of(labels: Iterable[str]) -> Version | None:
    """Return the newest of these versions; None if no rule orders one of them."""
    return max((version for label in labels if (version := parse_version(label))), default=None)


def find_edits(release: Release) -> list[str]:
    """Return a sentence for each package in the venv of a release that its lock does not have in that version.

    What `python -m venv` brings is no edit, nor are other versions in an adopted venv, as people make them.
    """
    lock = read_lock(release.lock)
    known = {*lock.local, *SEEDS, *(lock.versions if release.manifest.kind == "adopted" else ())}
    return [
        f"{name} {version} is installed, but is not in the lock"
        for name, version in sorted(list_installed(release.venv).items())
        if name not in known and version not in lock.versions.get(name, ())
    ]


def describe_changes(changes: Sequence[PackageChange], most: int = 8) -> str:
    """Return the changes in a line: `django 5.1 → 5.2, tea (new) 1.0`.

    What leaves the venv, but for what `python -m venv` brings, is never cut off; major versions come before others.
    """
    words = []
    for change in sorted(changes, key=lambda each: (each.new is not None or each.name in SEEDS, each.bump != "major")):
        one_side = f"{change.new} (new)" if change.old is None else f"{change.old} (removed)"
        is_other = change.old is not None and change.new is not None
        words.append(f"{change.name} {f'{change.old} → {change.new}' if is_other else one_side}")
    return join_few(words, most)


def describe_news(changes: Sequence[PackageChange], commits: Sequence[str], most: int = 8) -> str:
    """Return the changes in a line; without any, the commits, newest first, which are given as `hash subject`."""
    if changes or not commits:
        return describe_changes(changes, most) or "the same packages"
    return f"commit {join_few(commits, 1)}"
