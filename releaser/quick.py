"""The list of releases for a project whose settings are plain, with nothing imported but what that needs."""

from __future__ import annotations

import os
from pathlib import Path

from releaser.releases import listing
from releaser.releases.store import ReleaseStore
from releaser.site.disk import OWNER, Owner, read_owner
from releaser.site.project import DEFAULT_VENV, PYPROJECT, Project, find_project
from releaser.system.files import UnreadableStateError


def list_of(start: str, *, as_json: bool) -> str | None:
    """Return what `releaser list` prints; None if the whole command line has more to say, or to find out."""
    root = find_project(start) if os.path.isdir(start) else None
    try:
        project = _project(Path(root)) if root is not None else None
        if project is None:
            return None
        store = ReleaseStore(state_dir=project.state_dir, link=project.venv)
        rows = listing.rows(store)
        if (rows or not as_json) and not _is_in_order(project, store):
            return None
    except (OSError, UnreadableStateError):
        return None
    return listing.as_json(rows) if as_json else listing.as_text(rows)


def _project(root: Path) -> Project | None:
    """Lay out the project; None if only the whole settings can tell where its state and its symlink are."""
    text = (root / PYPROJECT).read_bytes()
    env_file = root.parent / ".env"
    text += env_file.read_bytes() if env_file.exists() else b""
    for name in ("state_dir", "venv"):
        variable = f"RELEASER_{name.upper()}"
        if variable in os.environ or variable.encode() in text or (b"releaser" in text and name.encode() in text):
            return None
    return None if b"\\" in text else Project.at(root, state_dir=None, venv=DEFAULT_VENV)


def _is_in_order(project: Project, store: ReleaseStore) -> bool:
    """Whether the state is this project's own, and the link leads where releaser has let it."""
    owner = read_owner(project.state_dir / OWNER)
    return owner == Owner(root=project.root, link=project.venv) and store.live_by_record() == store.live_id()
