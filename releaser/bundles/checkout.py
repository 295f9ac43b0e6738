"""The code of a bundle as a new checkout."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from releaser.bundles.code_archive import unpack_code
from releaser.bundles.manifest import CODE, CODE_FILES, INCLUDED, LOCK
from releaser.errors import ToolError, reason_of, refuse
from releaser.system.files import sync_directory, sync_file_system
from releaser.system.temporary import sweep_temporary, temporary_directory
from releaser.tools.git import Git
from releaser.tools.git_bundle import check_out_bundle, exclude

if TYPE_CHECKING:
    from pathlib import Path

    from releaser.bundles.archive import BundleArchive
    from releaser.bundles.manifest import BundleManifest
    from releaser.system.process import Runner

_GIT_SECONDS = 600.0


def make_checkout(archive: BundleArchive, manifest: BundleManifest, place: Path, runner: Runner) -> None:
    """Put the code of a bundle that was verified at `place`, where nothing is, as a whole. Raises PreflightError."""
    code = manifest.find(CODE if manifest.commit else CODE_FILES)
    if code is None or manifest.base is not None:
        refuse("it is a delta, which needs the project that it builds on", "Install the full bundle.")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        sweep_temporary(beside=place)  # what a killed run has left
        with temporary_directory(beside=place) as scratch:
            archive.extract(code, scratch / code.path)
            fresh = scratch / place.name
            fresh.mkdir()
            if manifest.commit and manifest.branch:
                git = Git(runner=runner, root=fresh, timeout=_GIT_SECONDS)
                check_out_bundle(git, scratch / CODE, manifest.commit, manifest.branch)
                exclude(git, (one.path.removeprefix(INCLUDED) for one in manifest.below(INCLUDED)))
            else:
                unpack_code(scratch / CODE_FILES, fresh)
                archive.extract(next(one for one in manifest.files if one.path == LOCK), fresh / LOCK)
            for one in manifest.below(INCLUDED):
                target = fresh / one.path.removeprefix(INCLUDED)
                if not os.path.lexists(target) and os.path.realpath(target.parent) == str(target.parent):
                    target.parent.mkdir(parents=True, exist_ok=True)
                    archive.extract(one, target)
            sync_file_system(fresh)
            fresh.rename(place)
            sync_directory(place.parent)
    except (OSError, ToolError) as error:
        refuse(f"{place} cannot be made: {reason_of(error)}", "Check free space and rights there.")
