"""The state directory: whether it is one, and that of this project."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

from releaser.errors import Problem
from releaser.site.owners import find_git_directories
from releaser.site.paths import Paths
from releaser.system.files import is_temporary, read_regular_file, replace_file
from releaser.system.text import word

_ADVICE = "Set `state_dir` to a directory of its own, outside of the checkout."
_BESIDE_WORKTREES = ".releaser"  # in a bare repository with worktrees in it
_MADE_BY_SYSTEM = "lost+found"
_RELEASE = re.compile(r"\d{8}T\d{6}Z(-\d+)?", re.ASCII)
_BROKEN = re.compile(r"\.broken(-\d+)?$", re.ASCII)  # of what was set aside
_SHADOW = re.compile(r"shadow-\d{8}T\d{6}Z(-\d+)*(-lock|-live)?", re.ASCII)


def find_foreign_state(paths: Paths) -> list[Problem]:
    """Return why a directory cannot be the state of a project: by its place, its content, or whose it is."""
    return _find_wrong_place(paths) or _find_other_project(paths) or _find_links(paths)


def _find_wrong_place(paths: Paths) -> list[Problem]:
    state = Path(os.path.realpath(paths.state))
    for place in (paths.project, paths.top, paths.outer):
        if Path(os.path.realpath(place)).is_relative_to(state):
            return [Problem("wrong-state-dir", f"The state directory `{paths.state}` holds `{place}`.", _ADVICE)]
    for place in (*(Path(os.path.realpath(place)) for place in find_git_directories(paths.top)), paths.link):
        is_beside = state.is_relative_to(place) and state.relative_to(place).parts[:1] == (_BESIDE_WORKTREES,)
        if (state.is_relative_to(place) or paths.state.is_relative_to(place)) and not is_beside:
            return [Problem("wrong-state-dir", f"The state directory `{paths.state}` lies in `{place}`.", _ADVICE)]
    return []


def _find_links(paths: Paths) -> list[Problem]:
    """Return a problem for each link or file in the place of a directory of the state: no link is followed."""
    problems = []
    directories = (paths.releases, paths.cache, paths.bundled, paths.logs, paths.reserve, paths.replaced, paths.outbox)
    for path in (*directories, *(paths.outbox / name for name in ("new", "cur", "tmp"))):
        if path.is_symlink() or (os.path.lexists(path) and not path.is_dir() and path in directories[:-1]):
            what, advice = "is no directory", f"Run `mv {word(path)} {word(path)}.broken`."
            if path.is_symlink():
                what, target = "is a link, which releaser does not follow", word(os.path.realpath(path))
                advice = f"Put what it leads to in its place: `rm {word(path)} && mv {target} {word(path)}`."
            problems.append(Problem("no-directory", f"`{path}` {what}.", advice))
    return problems


def _find_other_project(paths: Paths) -> list[Problem]:
    names = os.listdir(paths.state) if paths.state.is_dir() and os.access(paths.state, os.R_OK) else []
    if not names:
        return []
    is_led_to = Path(os.path.realpath(paths.link)).is_relative_to(os.path.realpath(paths.releases))
    if named := _read_marker(paths):
        other = Path(os.path.normpath(os.path.join(os.path.realpath(paths.state), named)))
        is_there = os.path.exists(other / "pyproject.toml")
        is_same = other.is_dir() and os.path.samefile(other, paths.project)
        if is_same or (is_led_to and not is_there):  # or it was moved
            return []
        message = f"The state directory `{paths.state}` is that of the project `{other}`."
        advice = _ADVICE if is_there else f"{_ADVICE} If this is that project, run `rm {word(paths.marker)}`."
        return [Problem("other-state", message, advice)]
    if all(name == _MADE_BY_SYSTEM or is_temporary(name) or _is_empty(paths.state / name) for name in names):
        return []  # as a first run leaves it that is killed at once
    own = {*(path.name for path in paths.state_entries), _MADE_BY_SYSTEM}
    foreign = sorted(name for name in names if _BROKEN.sub("", name) not in own and not is_own_name(name))
    if not (foreign or _find_foreign_releases(paths)):  # of a version without a marker
        return []
    if is_led_to:
        return []
    message = f"The state directory `{paths.state}` has files that releaser did not make: {', '.join(foreign[:3])}."
    return [Problem("other-state", message if foreign else f"`{paths.state}` has no releases of releaser.", _ADVICE)]


def _is_empty(directory: Path) -> bool:
    with contextlib.suppress(OSError):  # a file, a link, or closed
        return not directory.is_symlink() and not os.listdir(directory)
    return False


def _find_foreign_releases(paths: Paths) -> list[str]:
    """Return names by which a directory cannot have the releases of a site: other tools have `releases`, too."""
    if not os.path.isdir(paths.releases):
        return [paths.releases.name]
    names = os.listdir(paths.releases)
    foreign = [name for name in names if not (is_temporary(name) or _RELEASE.fullmatch(_BROKEN.sub("", name)))]
    return foreign if names else [paths.releases.name] * (not os.path.exists(paths.run_lock))


def is_own_name(name: str) -> bool:
    """Return True for what a run leaves in the state directory if it dies: a shadow, or a file before its rename."""
    return is_temporary(name) or bool(_SHADOW.fullmatch(name))


def name_project_in_state(paths: Paths) -> None:
    """Write the marker, by a path that stays right if the directory around both is moved. Raises OSError."""
    named = os.path.relpath(os.path.realpath(paths.project), os.path.realpath(paths.state))
    if _read_marker(paths) != named:
        replace_file(paths.marker, os.fsencode(named))


def _read_marker(paths: Paths) -> str:
    with contextlib.suppress(OSError):
        return os.fsdecode(read_regular_file(paths.marker) or b"").strip()
    return ""
