"""Restores shared files that were changed in place through another release.

An automatic rollback copies them from other releases alone, as the site may be down: uv is not asked.
"""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from releaser.errors import Finding, ReleaserError
from releaser.releases.contents import KEPT
from releaser.releases.integrity import find_rollback_damage, name_and_version, read_sealed
from releaser.releases.store import store_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from releaser.core.change import Change
    from releaser.core.run import Run
    from releaser.releases.integrity import Damage
    from releaser.releases.release import Release
    from releaser.report import RunLog, RunReport
    from releaser.site.site import Site

_PACKAGES = "/site-packages/"
_SKIPPED = "Rollbacks skip this release."


def advise(release: Release, damage: Damage) -> str:
    """Return a line that a rollback restores a damaged release; empty if it cannot."""
    return "A rollback restores these shared files." if not release.live and _list(release, damage) else ""


def restore_for_rollback(site: Site, log: RunLog | None, to: str | None) -> Mapping[str, str]:
    """Restore the release to which a rollback goes. Packages that no release has whole come from uv.

    Returns the id of that release if it is not damaged, and no line. Without a log, changes nothing, and returns a line
    for each release that would be restored, by its id. The live release is left to the next update. Raises
    NoSuchReleaseError.
    """
    store = store_of(site)
    for release in [store.find(to)] if to else store.snapshot().rollback_order():
        damage = find_rollback_damage(release) if not release.live else None
        if damage is None:
            return {} if log is None or release.live else {release.id: ""}
        if log is not None and _restore(site, log, release, damage):
            break
        if log is None and (names := _list_restorable(site, release, damage)):
            return {release.id: f"would restore shared files of {release.id} that a program has changed: {names}"}
    return {}


def _list_restorable(site: Site, release: Release, damage: Damage) -> str:
    """Name the files that a rollback would restore in a release; empty if it cannot."""
    with _located(site, release, wanted := _list(release, damage), fetches=True) as (_, reason):
        return "" if reason else _name(wanted)


def restore_previous(change: Change) -> None:
    """Restore, on the way back, what other releases have whole, and report all else that differs."""
    with contextlib.suppress(OSError, ValueError, ReleaserError):  # going back matters more
        release = change.previous
        damage = find_rollback_damage(release) if release is not None and not change.is_back else None
        if release is None or damage is None:
            return
        back = f"The rollback to {release.id} was completed anyway. The next update rebuilds it."
        instead = f"{back} {damage.remedy}".rstrip()
        if _list(release, damage):
            _restore(change.site, change.log, release, damage, instead)
        else:
            change.log.note(Finding("release-damaged", f"{release.id} is damaged: {damage}", instead))


def restore_after_rebuild(run: Run, report: RunReport) -> RunReport:
    """Restore shared files in the other releases, once a damaged one is rebuilt; that one keeps its changes."""
    if report.result == "updated" and run.log.learned.rebuilt:
        for release in run.store.snapshot().rollback_order():
            damage = find_rollback_damage(release) if release.id != report.previous else None
            if damage is not None:
                _restore(run.site, run.log, release, damage, _SKIPPED)
    return report


def _list(release: Release, damage: Damage) -> dict[str, str]:
    """Return the changed files of a release with their hashes; empty if it is damaged in other ways."""
    from releaser.releases.contents import INFO, is_checkable, read_records

    if damage.kind != "files" or damage.drift.packages:
        return {}
    venv, found = str(release.venv), {}
    hashes = {**read_records(venv), **read_sealed(release).hashes}
    for file in damage.drift.files:
        path = file.path or ""
        try:
            status = os.lstat(f"{venv}/{path}")
        except OSError:
            return {}
        # A RECORD that was changed has other hashes for its package.
        is_shared = stat.S_ISREG(status.st_mode) and status.st_nlink > 1 and not path.endswith(f"{INFO}/RECORD")
        if file.kind not in ("changed", "permissions") or not is_shared or not is_checkable(hashes.get(path, "")):
            return {}
        found[path] = hashes[path]
    return found


def _name(wanted: Mapping[str, str]) -> str:
    from releaser.system.words import first_few

    return first_few((path.rpartition(_PACKAGES)[2] for path in wanted), 3)


@contextlib.contextmanager
def _located(
    site: Site, release: Release, wanted: Mapping[str, str], *, fetches: bool
) -> Iterator[tuple[Mapping[str, Path], str]]:
    """Yield a whole copy of each wanted file, and why one is missing; empty if none is, and any is wanted."""
    import tempfile

    with contextlib.ExitStack() as stack:
        found: dict[str, Path] = {}
        try:
            place = stack.enter_context(tempfile.TemporaryDirectory(prefix="releaser-")) if fetches else ""
            found = _find(store_of(site).all(), wanted)
            if fetches and wanted.keys() - found.keys():
                found |= _fetch(site, release, wanted.keys() - found.keys(), Path(place), wanted)
            missing = dict.fromkeys(sorted(wanted.keys() - found.keys()), "")
            reason = f"no copy of {_name(missing)} was found" if missing or not wanted else ""
        except (ReleaserError, OSError, ValueError) as error:
            reason = error.message if isinstance(error, ReleaserError) else str(error)
        yield found, reason


def _restore(site: Site, log: RunLog, release: Release, damage: Damage, instead: str = "") -> bool:
    """Restore all changed files of a release, or none; True if it is as it was sealed. Reports what happened.

    `instead` says what an automatic rollback, or a rebuild, does if that is impossible; neither asks uv.
    """
    wanted = _list(release, damage)
    if not wanted:
        return False
    names = _name(wanted)
    with _located(site, release, wanted, fetches=not instead) as (found, reason):
        try:
            if not reason:
                sealed = read_sealed(release).seen
                for path, source in found.items():
                    _replace(release, path, source, sealed[path])
                whole = find_rollback_damage(release) is None
                message = f"restored shared files of {release.id} that a program had changed: {names}"
                log.note_repair(message, f"The changed files are in {release.directory / KEPT}.")
                return whole
        except (OSError, ValueError) as error:
            reason = str(error)
    log.note(Finding("release-damaged", f"{names} of {release.id} cannot be restored: {reason}", instead or _SKIPPED))
    return False


def _find(releases: Iterable[Release], wanted: Mapping[str, str]) -> dict[str, Path]:
    """Return files with the wanted hashes, in whichever releases have them under the same paths."""
    return dict(_matching(((path, release.venv / path) for release in releases for path in wanted), wanted))


def _matching(candidates: Iterable[tuple[str, Path]], wanted: Mapping[str, str]) -> Iterator[tuple[str, Path]]:
    from releaser.releases.contents import matches

    for path, file in candidates:
        with contextlib.suppress(OSError):
            if matches(str(file), wanted[path]):
                yield path, file


def _fetch(
    site: Site, release: Release, paths: Iterable[str], place: Path, wanted: Mapping[str, str]
) -> dict[str, Path]:
    """Let uv unpack the wheels of the packages with these files, by the hashes of the lock; runs no code of them.

    Raises ToolError, OSError and InvalidLockError.
    """
    from releaser.locks.lock import LockFile
    from releaser.releases.venv import executable_of

    paths, owners = list(paths), read_sealed(release).owners
    packages = {name_and_version(owners[path]) for path in paths if owners.get(path)}
    lines = [
        " ".join([f"{package['name']}=={package['version']}", *(f"--hash={wheel['hash']}" for wheel in wheels)])
        for package in LockFile.read(release.lock).packages
        if (package["name"], package.get("version")) in packages
        and (wheels := [wheel for wheel in package.get("wheels", ()) if "hash" in wheel])
    ]
    requirements, target = place / "requirements.txt", place / "packages"
    requirements.write_text("\n".join(lines), encoding="utf-8")
    words: list[str | Path] = ["pip", "install", "--target", target, "--no-deps", "--no-build", "--require-hashes"]
    words += ["--link-mode", "copy", "--python", executable_of(release.venv / "bin" / "python"), "-r", requirements]
    site.uv.run(words, tree=site.project.root)
    return dict(_matching(((path, target / path.rpartition(_PACKAGES)[2]) for path in paths), wanted))


def _replace(release: Release, path: str, source: Path, sealed: str) -> None:
    """Put a copy of `source` into a release under `path`, and keep the changed file. Raises OSError.

    The copy has the `sealed` mtime and mode, and the group of the venv.
    """
    from releaser.system.files import read_file, replace_file

    target, kept = release.venv / path, release.directory / KEPT / path
    kept.parent.mkdir(parents=True, exist_ok=True)
    earlier = 0
    while kept.exists() and not kept.samefile(target):  # it keeps an earlier change
        earlier += 1
        kept = kept.with_name(f"{target.name}.{earlier}")
    with contextlib.suppress(FileExistsError):
        os.link(target, kept)
    mtime, mode = (int(number, base) for number, base in zip(sealed.split(" ")[1:3], (10, 8), strict=True))
    replace_file(target, read_file(source, most=None), mode=mode | stat.S_IWUSR)
    os.utime(target, ns=(mtime, mtime))
    with contextlib.suppress(PermissionError):  # this user may not be in that group
        os.chown(target, -1, os.stat(release.venv).st_gid)
