"""Files that releaser writes into the checkout next to the code: the files of bundles, and the export of the lock.

Files that a person put there or edited are never overwritten.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from releaser.errors import Finding, FollowUpError
from releaser.releases.journal import note, read_notes
from releaser.releases.store import store_of
from releaser.site.conventions import choose_export_group, find_excluded_groups
from releaser.site.export_settings import ExportSettings
from releaser.system.digests import hex_digest
from releaser.system.files import (
    clear_name,
    hash_of_file,
    nearest_existing,
    read_file,
    read_if_there,
    replace_file,
    sync_directory,
)
from releaser.tools.uv_arguments import requirements_arguments

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from releaser.releases.release import Release
    from releaser.report import RunLog, Step
    from releaser.site.site import Site


def included_of(directory: Path) -> Path:
    """Return the directory with the bundle's files of a release or candidate; it may not exist."""
    return directory / "include"


def copy_included(site: Site, directory: Path, live: Release | None) -> None:
    """Copy the files of the bundle into the directory of a candidate. Raises OSError.

    A release that is built here keeps those files of the live release that are unchanged in the staging tree: after the
    live release is pruned, they would look like files of a person.
    """
    included = site.supply.included
    if live is not None and site.supply.provenance is None:
        root, files = site.project.root, _list_files(included_of(live.directory))
        included = {
            one: file for one, file in files.items() if hash_of_file(root / one) == hash_of_file(file) is not None
        }
    for path, file in included.items():
        target = included_of(directory) / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(file, target)


def sort_included(site: Site, files: Mapping[str, Path]) -> tuple[list[str], list[Finding]]:
    """Return the files of a bundle that the checkout needs, and the reasons against those that cannot be written."""
    root = site.project.root
    due, findings = list[str](), list[Finding]()
    for path, file in files.items():
        target, wanted = root / path, hash_of_file(file)
        found = hash_of_file(target)
        if not nearest_existing(target.parent).is_dir() or not is_free_of_symlinks(root, path):
            message = f"{target} was not written, because a symlink or a file is in the way"
            findings.append(Finding("included-in-the-way", message, "Move it elsewhere, and install the bundle again."))
        elif not os.path.lexists(target) or (found != wanted and _is_bundle_file(site, path, found)):
            due.append(path)
        elif found != wanted:
            advice = "To get the bundle's file, move yours elsewhere, and install the bundle again."
            findings.append(
                Finding("included-edited", f"{target} was edited here, so the bundle's file did not replace it", advice)
            )
    return due, findings


def overlay_included(site: Site, root: Path) -> None:
    """Write the files of the bundle that the checkout will get into the staging tree at `root`. Raises OSError."""
    for path in sort_included(site, site.supply.included)[0]:
        for above in reversed(Path(path).parents[:-1]):
            _unlink_directory(root / above)
        clear_name(root / path, of_directory=True)
        (root / path).write_bytes(read_file(site.supply.included[path], most=None))


def place_included(site: Site, log: RunLog, release: Release) -> None:
    """Write the files that came with a release into the checkout; delete unedited later ones. Raises OSError."""
    directory, root = included_of(release.directory), site.project.root
    due, findings = sort_included(site, _list_files(directory))
    for path in due:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        replace_file(root / path, read_file(directory / path, most=None))
    log.note(*(finding for finding in findings if finding not in log.findings))
    for later in store_of(site).all():
        added = later.provenance.brought
        for path in added if later.manifest.sequence > release.manifest.sequence else ():
            is_ours = _is_bundle_file(
                site, path, hash_of_file(root / path)
            )  # of any release: it may be a newer version
            if is_ours and not os.path.lexists(directory / path) and is_free_of_symlinks(root, path):
                (root / path).unlink()
                sync_directory((root / path).parent)


def is_free_of_symlinks(root: Path, path: str) -> bool:
    """True if no directory between `root` and a file is a symlink, which could lead out of `root`."""
    return os.path.realpath((root / path).parent) == str((Path(os.path.realpath(root)) / path).parent)


def find_escaping_path(site: Site, setting: str, path: str, *, root: Path | None = None) -> Finding | None:
    """Return a finding if the path of a setting leads through a symlink out of the project; None if it does not.

    The project is at `root`, by default that of `site`.
    """
    root = root or site.project.root
    key, real = site.sources.get(setting, setting), os.path.realpath((root / path).parent)
    inside = os.path.relpath(real, os.path.realpath(root)).split("/")
    if is_free_of_symlinks(root, path) or not {"..", ".git"} & {*inside}:
        return None
    message = f"{key} names {path}, but a symlink leads from its directory to {real}"
    return Finding("path-through-symlink", message, f"Name a path in the project, or remove `{setting}`.")


def export_findings(site: Site) -> Iterator[Finding]:
    """Yield the problems with the path of the export."""
    if (export := ExportSettings.of(site).requirements_export) and (
        found := find_escaping_path(site, "requirements_export", export)
    ):
        yield found


def _list_files(directory: Path) -> dict[str, Path]:
    return {path.relative_to(directory).as_posix(): path for path in sorted(directory.rglob("*")) if path.is_file()}


def _is_bundle_file(site: Site, path: str, found: str | None) -> bool:
    """True if a file, by its hash, is a bundle's file of any release."""
    return found is not None and any(
        found == hash_of_file(included_of(release.directory) / path) for release in store_of(site).all()
    )


def _unlink_directory(place: Path) -> None:
    """Make a directory; replace a symlink by a directory with symlinks to the entries of its target."""
    if not place.is_symlink():
        place.mkdir(exist_ok=True)
        return
    target = place.resolve()
    place.unlink()
    place.mkdir()
    for name in os.listdir(target):
        (place / name).symlink_to(target / name)


def export_lock(site: Site, step: Step) -> None:
    """Write the export of the lock. It depends on the commit alone, as several hosts may write it in turn.

    Without git, a file that a person wrote or edited stays as it is. Raises FollowUpError and ToolError.
    """
    root, settings = site.project.root, ExportSettings.of(site)
    export = str(settings.requirements_export)
    path = root / export
    if found := find_escaping_path(site, "requirements_export", export):
        raise FollowUpError(found.message, found.advice)
    group = choose_export_group(settings, site.pyproject)
    hashes = settings.requirements_export_hashes
    without = find_excluded_groups(site, site.project.lock)
    text = site.uv.run(requirements_arguments(group=group, hashes=hashes, without=without), tree=root).encode()
    before = read_if_there(path)
    if not site.project.has_git:  # git shows edits by people; without git, releaser records its own exports
        now, new = (hex_digest(data) if data is not None else "" for data in (before, text))
        if now not in ("", new, *read_notes(site.state_dir).exported):
            message = f"{path} was not exported by releaser, or was edited since; it was not overwritten"
            raise FollowUpError(message, f"Run `mv {path} {path}.before`, or remove `requirements_export`.")
        note(site.state_dir, exported=tuple(filter(None, (now, new))))
    if before != text:
        replace_file(path, text, staging=site.state_dir)
    step.says(path.name)
