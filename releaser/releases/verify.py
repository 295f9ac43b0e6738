"""Checks by reading all its files that a release still works and is as it was sealed. Writes nothing."""

from __future__ import annotations

import collections
import contextlib
import os
import stat
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from packaging.utils import canonicalize_name

from releaser.capabilities import gather
from releaser.errors import BuildError, NoSuchReleaseError, PreflightError, ReleaserError, ToolError, UnsoundError
from releaser.locks.installed import list_installed
from releaser.locks.lock import InvalidLockError, LockFile
from releaser.locks.versions import order
from releaser.releases import startup
from releaser.releases.contents import (
    INFO,
    KEPT,
    is_byte_code,
    is_checkable,
    list_below,
    list_site_packages,
    others_may_read,
    read_records,
    wanted_mode,
)
from releaser.releases.integrity import (
    Defect,
    compare,
    find_interpreter_damage,
    find_lock_damage,
    packages_in,
    read_sealed,
)
from releaser.releases.release import ADOPT, refuse_without_live
from releaser.releases.store import store_of
from releaser.releases.venv import VenvFacts, start_through
from releaser.site.conventions import choose_unix_group, default_groups
from releaser.site.sealed_python import new_start_files
from releaser.system.frozen import Frozen
from releaser.system.words import plural

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from releaser.locks.installed import Pin
    from releaser.releases.integrity import Drift
    from releaser.releases.release import Release
    from releaser.site.site import Site

    Track = Callable[[list[str], str], Iterable[str]]

_WRITABLE = 0o222  # bits of a mode
# Files that releaser, uv and virtualenv put into each venv, without a RECORD.
_OF_VENVS = (*startup.MODULES, startup.HOOK, "_virtualenv.py", "_virtualenv.pth")


class Verified(Frozen):
    """The defects of one release."""

    release: str
    live: bool
    #: True if its Python was started; the Python of a release that failed its tests is never started.
    started: bool
    #: True without problems.
    ok: bool
    problems: tuple[Defect, ...]
    #: How many files were read.
    files: int
    seconds: float


def to_error(verified: Iterable[Verified]) -> ReleaserError | None:
    """Return the error for the exit code; None if nothing is wrong."""
    bad = [result for result in verified if result.problems]
    if not bad:
        return None
    count, named = sum(len(result.problems) for result in bad), ", ".join(result.release for result in bad)
    message = f"{named} {'does' if len(bad) == 1 else 'do'} not verify: {plural(count, 'problem')}"
    advice = (
        "Check who changed them. `releaser update` rebuilds the live release; rollbacks restore files that releases"
        " share, and skip releases with other damage."
    )
    return UnsoundError(message, advice)


def verify(
    site: Site,
    release: str | None,
    *,
    every: bool = False,
    track: Track = lambda paths, _: paths,
    run_trials: Callable[[Release], Iterable[Defect]] = lambda _: (),
) -> tuple[Verified, ...]:
    """Verify a release, by default the live one, or `every` one. Raises NoSuchReleaseError and BuildError.

    `track` yields the files of a release, and may show the progress; `run_trials` runs further checks in a copy of the
    release.
    """
    store = store_of(site)
    snapshot = store.snapshot()
    chosen = snapshot.releases if every else (store.find(release) if release else snapshot.live,)
    found = [choice for choice in chosen if choice is not None]
    unknown = snapshot.damaged if every else {}
    if not found and not unknown:
        if snapshot.live_id is not None and not every:
            message = f"the manifest of the live release {snapshot.live_id} is gone, or cannot be read"
            raise NoSuchReleaseError(message, "The next `releaser update` rebuilds it.")
        if every:
            message = "there are no releases"
            raise NoSuchReleaseError(message, ADOPT)
        refuse_without_live(store)
    verified = [_verify_one(site, defect, track, run_trials) for defect in found]
    for name, reason in unknown.items():
        finding = Defect(kind="changed", path="../manifest.json", message=f"it {reason}")
        live = name == snapshot.live_id
        verified.append(
            Verified(release=name, live=live, started=False, ok=False, problems=(finding,), files=0, seconds=0.0)
        )
    return tuple(verified)


def _verify_one(
    site: Site, release: Release, track: Track, run_trials: Callable[[Release], Iterable[Defect]]
) -> Verified:
    began = time.monotonic()
    findings, to_read = list(_check_start(site, release)), {}
    if os.path.isdir(release.venv):
        recorded = read_records(str(release.venv))
        # Files with a hash, except byte code, which Python writes again.
        to_read = {path: one for path, one in recorded.items() if is_checkable(one) and "__pycache__/" not in path}
        sealed, existing = read_sealed(release), list_below(str(release.venv), "")
        drift = compare(release, sealed, to_read=to_read, track=lambda paths: track(paths, release.id))
        known = recorded.keys() | sealed.seen.keys()
        counting = {path: one for path, one in existing.items() if path in known and not is_byte_code(path)}
        modes = list(_check_permissions(site, release, counting))
        findings += _check_lock(site, release, packages_in(existing), packages_in(sealed.seen))
        wrong_modes = {defect.path for defect in modes}
        findings += [
            file
            for file in drift.files
            if file.kind != "unexpected" and (file.kind != "permissions" or file.path not in wrong_modes)
        ]
        findings += _find_unexpected(release, drift, known | sealed.others, existing)
        if release.manifest.origin != "adopted":  # which usually has such files, as uv links from its cache
            findings += _find_shared(release, existing)
        findings += modes
        findings += [defect for find in gather("verifiers") for defect in find(release)]
        try:
            findings += run_trials(release)
        except BuildError as error:
            if not findings:  # an error that says nothing about the release
                raise
            findings.append(Defect.of_failure("tests", error.message, error.output))
    if not os.path.isdir(release.directory):
        message = f"release {release.id} was deleted while it was being verified"
        raise NoSuchReleaseError(message, "See `releaser list`.")
    return Verified(
        release=release.id,
        live=release.live,
        started=not release.has_failed and not _new_start_files(release),
        ok=not findings,
        problems=tuple(findings),
        files=len(to_read),
        seconds=round(time.monotonic() - began, 3),
    )


def _new_start_files(release: Release) -> list[str]:
    """Return start-up files that were added or changed since the seal, as paths relative to the venv."""
    return new_start_files(f"{release.place}/venv", VenvFacts.of(release.manifest).start_files)


def _check_start(site: Site, release: Release) -> Iterator[Defect]:
    """Check that the interpreter is the one that the release was built with, and that the venv starts."""
    if not os.path.isdir(release.venv):
        yield Defect(kind="interpreter", message=f"its venv is gone ({release.venv})")
        return
    damage = find_interpreter_damage(release, asks=True)
    if damage is not None:
        yield Defect(kind="interpreter", message=damage.reason)
        if damage.fatal:
            return
    added = _new_start_files(release)
    for path in added:
        name = path.rpartition("site-packages/")[2]
        message = f"{name}, which runs whenever it starts, was added or changed: it was not started"
        yield Defect(kind="start", message=message)
    if release.has_failed or added:
        return
    try:
        start_through(site.runner, release.venv, release.venv, cwd=site.project.root)
    except ToolError as error:
        yield Defect.of_failure("start", f"it does not start: {error.message}", error.output)


# Versions


def _check_lock(site: Site, release: Release, found: Mapping[str, str], sealed: Mapping[str, str]) -> Iterator[Defect]:
    """Compare the installed packages with the lock; for an adopted release, with the packages at its adoption."""
    damage, manifest = find_lock_damage(release), release.manifest
    if damage is not None:
        yield Defect(kind="lock", path="../uv.lock", message=damage.reason)
    if manifest.origin == "adopted" and sealed:
        for name in sorted(found.keys() | sealed.keys()):
            now, before = found.get(name, "not installed"), sealed.get(name, "not installed")
            if now != before:
                message = f"it is {now}, and was {before} when it was adopted"
                yield Defect(kind="package", package=name, message=message)
        return
    try:
        lock = LockFile.read(release.lock)
        pins = list_installed(lock, group=manifest.group, default_groups=default_groups(site), python=manifest.python)
    except (OSError, InvalidLockError) as error:
        if damage is None:
            yield Defect(kind="lock", path="../uv.lock", message=f"its uv.lock cannot be read ({error})")
        return
    yield from compare_with_lock(pins, found, sealed, locked=lock.names)


def compare_with_lock(
    pins: Iterable[Pin], found: Mapping[str, str], sealed: Mapping[str, str], *, locked: Collection[str]
) -> Iterator[Defect]:
    """Yield the packages that are missing, have another version than in the lock, or are not in the lock.

    `found` are the packages of a venv, by name, and `sealed` those at the seal; `locked` are all names in the lock. A
    package that was never installed is not missing: a marker may exclude it.
    """
    wanted: dict[str, list[str]] = {}
    for pin in pins:
        wanted.setdefault(canonicalize_name(pin.name), []).append(pin.version)
    for name, versions in sorted(wanted.items()):
        wanted_text = " or ".join(versions)
        if name in found:
            if not any(order(found[name]) == order(version) for version in versions):
                yield Defect(
                    kind="package", package=name, message=f"it is {found[name]}, but the lock says {wanted_text}"
                )
        elif name in sealed or not sealed:
            yield Defect(kind="package", package=name, message=f"it is not installed, but the lock says {wanted_text}")
    for name in sorted(found.keys() - set(map(canonicalize_name, locked)) - sealed.keys()):
        yield Defect(kind="package", package=name, message=f"{found[name]} is installed, but not in the lock")


# Files


def _find_unexpected(
    release: Release, drift: Drift, known: Collection[str], existing: Collection[str]
) -> Iterator[Defect]:
    """Yield the files that should not exist; `compare_with_lock` reports whole packages."""
    places = tuple(f"{place}/" for place in list_site_packages(str(release.venv)))
    of_venvs = {f"{place}{name}" for place in places for name in _OF_VENVS}
    added = {file.path: file.message for file in drift.files if file.kind == "unexpected"}
    for path in sorted(existing):
        if path.endswith(f"{INFO}/RECORD") or path in of_venvs:
            continue
        message = added.get(path, "")
        if path.startswith(places) and path not in known and "__pycache__/" not in path:
            message = "no package installed it"
            if is_byte_code(path):
                message += "; Python would run it, as byte code without a source"
        if message:
            yield Defect(kind="unexpected", path=path, message=message)


def _find_shared(release: Release, existing: Mapping[str, os.stat_result]) -> Iterator[Defect]:
    """Yield the files with another hard link outside the releases: a change there changes the file of the venv.

    Releases share equal files, always under the same path.
    """
    found = _count_other_names(release, existing)
    if found:  # a release may have been deleted since the files were listed
        found = _count_other_names(release, _stat_again(release, found))
    for path, outside in sorted(found.items()):
        names = "another name" if outside == 1 else f"{outside} other names"
        message = f"it has {names} outside of the releases: a change there changes this file, too"
        yield Defect(kind="shared", path=path, message=message)


def _stat_again(release: Release, paths: Iterable[str]) -> dict[str, os.stat_result]:
    found = {}
    for path in paths:
        with contextlib.suppress(OSError):
            found[path] = os.lstat(release.venv / path)
    return found


def _count_other_names(release: Release, existing: Mapping[str, os.stat_result]) -> dict[str, int]:
    """Return the files that have names outside the releases, and how many."""
    with_links = {path: status for path, status in existing.items() if status.st_nlink > 1}
    within = collections.Counter((status.st_dev, status.st_ino) for status in with_links.values())
    store, found = release.directory.parent, {}
    others = [name for name in os.listdir(store) if name != release.id] if with_links else []
    places = [f"{store}/{name}/{place}" for place in ("venv", KEPT) for name in others]
    for path, status in with_links.items():
        outside = status.st_nlink - within[status.st_dev, status.st_ino]
        for other in places if stat.S_ISREG(status.st_mode) else ():
            if outside <= 0:
                break
            with contextlib.suppress(OSError):
                outside -= os.path.samestat(os.lstat(f"{other}/{path}"), status)
        if outside > 0 and stat.S_ISREG(status.st_mode):
            found[path] = outside
    return found


def _check_permissions(site: Site, release: Release, counting: Mapping[str, os.stat_result]) -> Iterator[Defect]:
    """Check that the files have the group and mode that releaser gives to a release; an adopted one keeps its own."""
    if release.manifest.origin == "adopted":
        return
    try:
        group = choose_unix_group(site.settings, site.project.root)
        others = others_may_read(site.project.root)
    except (PreflightError, OSError) as error:
        yield Defect(kind="permissions", message=f"its group cannot be determined: {error}")
        return
    # As the setting was when the release was built.
    writable = release.venv.is_dir() and bool(release.venv.stat().st_mode & stat.S_IWGRP)
    yield from compare_permissions(counting, group=group, others=others, writable=writable)


def compare_permissions(
    existing: Mapping[str, os.stat_result], *, group: int, others: bool, writable: bool = False
) -> Iterator[Defect]:
    """Yield the files that do not belong to `group`, or have another mode than releaser gives to a release."""
    for path, status in sorted(existing.items()):
        if status.st_gid != group:
            message = f"it belongs to group {status.st_gid}, not to {group}"
            yield Defect(kind="permissions", path=path, message=message)
        mode, wanted = stat.S_IMODE(status.st_mode), wanted_mode(status.st_mode, others=others, writable=writable)
        # Releases share files that are read-only; a file stays so when it has no other name any more.
        if status.st_nlink > 1 or mode == wanted & ~_WRITABLE:
            wanted &= ~_WRITABLE
        if mode != wanted and stat.S_ISREG(status.st_mode):
            message = f"its mode is {mode:o}, and should be {wanted:o}"
            yield Defect(kind="permissions", path=path, message=message)
