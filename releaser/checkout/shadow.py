"""The shadow repository: a git repository in the state directory for the code of a project without git.

Nothing is written into the project. Each commit replaces the one before, so that deleted code is deleted here, too. The
project has all its content, so it may be lost at any time.
"""

from __future__ import annotations

import contextlib
import os
from functools import partial
from typing import TYPE_CHECKING

from releaser.checkout.staging_settings import StagingSettings
from releaser.errors import Finding, PreflightError, ToolError, reason_of, refuse
from releaser.site.project import SHADOW
from releaser.system.environment import find_program
from releaser.system.files import clear_name
from releaser.system.state_files import StateFile
from releaser.tools.code_files import SMALL, is_code, matches

if TYPE_CHECKING:
    from collections.abc import Iterator

    from releaser.site.site import Site

SHADOW_FILE = StateFile(name=SHADOW, delete=partial(clear_name, of_directory=True))


def missing_git(site: Site) -> Finding | None:
    """Return a finding if the git program is missing, which a project without git needs, too."""
    if find_program("git", site.runner.environ, site.project.root)[0] is not None:
        return None
    message = f"git is not on PATH, but releaser needs it to record the tested code in {site.project.shadow}"
    return Finding(
        "git-missing",
        message,
        "Install git, for example with `apt install git`. The project itself need not be under git.",
    )


def record_code(site: Site) -> None:
    """Commit the present code of the project. Raises PreflightError.

    A broken shadow repository, such as after a power cut, is replaced.
    """
    if found := missing_git(site):
        raise PreflightError(found)
    files, place = list_code(site), site.project.shadow
    try:
        with contextlib.suppress(ToolError):
            return site.git.record(files)
        clear_name(place, of_directory=True)
        site.git.record(files)
    except (ToolError, OSError) as error:
        message = f"the code of {site.project.root} cannot be committed to {place}: {reason_of(error)}"
        refuse(
            "shadow-failed",
            message,
            f"Check free space, and that this user owns {place}. You may delete that directory: releaser makes "
            f"it again.",
        )


def list_code(site: Site) -> list[str]:
    """List the code files of the project, relative to its root, with symlinks that stay inside.

    Skips files that are large, that this user cannot read, or whose name is not UTF-8.
    """
    root, lock = site.project.root, os.path.relpath(site.project.lock, site.project.root)
    found = {name for name, entry in _walk(site, "") if _is_code(name, entry)}
    return sorted(found.union(name for name in ("uv.lock", lock) if (root / name).is_file() and name[:2] != ".."))


def _is_code(name: str, entry: os.DirEntry[str]) -> bool:
    with contextlib.suppress(OSError, UnicodeEncodeError):  # for example, it was just deleted
        name.encode()
        is_link = entry.is_symlink()
        target = os.path.normpath(os.path.join(os.path.dirname(name), os.readlink(entry.path) if is_link else ""))
        if target.startswith(("/", "..")):  # tests could write through it
            return False
        if entry.is_file():
            return is_code(name) and entry.stat().st_size <= SMALL and os.access(entry.path, os.R_OK)
        return entry.is_dir()
    return False


def _walk(site: Site, directory: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Yield the files and symlinks below a directory, by path in the project, except for paths that are not staged."""
    project, settings = site.project, StagingSettings.of(site)
    try:
        entries = list(os.scandir(project.root / directory))
    except OSError:  # it was just deleted, or this user may not read it
        return
    for entry in entries:
        name = f"{directory}{entry.name}"
        place = project.root / name
        is_excluded = matches(name, settings.staging_link) or settings.omits(name, place)
        if is_excluded or place in (project.venv, project.state_dir):
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(site, f"{name}/")
        else:
            yield name, entry
