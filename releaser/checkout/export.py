"""The requirements file that `requirements_export` names, which is written from the lock for others."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from releaser.errors import FollowUpError
from releaser.releases.journal import note, read_notes
from releaser.site.conventions import choose_export_group, find_left_out
from releaser.system.files import read_if_there, replace_file
from releaser.tools.uv_arguments import requirements_arguments

if TYPE_CHECKING:
    from pathlib import Path

    from releaser.report import Step
    from releaser.site.site import Site


def export_lock(site: Site, step: Step) -> None:
    """Write the export. It depends on the commit alone, as several hosts may write it in turn.

    Without git, a file that somebody else has written, or edited, stays as it is. Raises FollowUpError and ToolError.
    """
    root, settings = site.project.root, site.settings
    path = root / str(settings.requirements_export)
    group = choose_export_group(settings, site.pyproject)
    hashes = settings.requirements_export_hashes
    without = find_left_out(site, site.project.lock)
    text = site.uv.run(requirements_arguments(group=group, hashes=hashes, without=without), tree=root).encode()
    before = read_if_there(path)
    if not site.project.has_git:
        _refuse_foreign(site, path, before, text)
    if before != text:
        replace_file(path, text, staging=site.state_dir)
    step.says(path.name)


def _refuse_foreign(site: Site, path: Path, before: bytes | None, text: bytes) -> None:
    """Note what is about to be written; git, which has what others wrote, does not keep it here."""
    now, new = (hashlib.sha256(data).hexdigest() if data is not None else "" for data in (before, text))
    if now not in ("", new, *read_notes(site.state_dir).exported):
        message = f"{path} was written, or edited, by somebody else, so it is left as it is"
        raise FollowUpError(message, advice=f"Move {path.name} away, or remove `requirements_export`.")
    note(site.state_dir, exported=tuple(filter(None, (now, new))))
