"""Which dependency group, test command and unix group a project uses when no setting names one.

Every function raises Unfit when what it is to find is not there.
"""

from __future__ import annotations

import collections
import contextlib
import grp
import os
from typing import TYPE_CHECKING

from releaser.errors import Unfit
from releaser.project.settings import Settings, environment_of, this_host

if TYPE_CHECKING:
    from pathlib import Path

    from releaser.project.project import Pyproject

CANDIDATES = {"staging": ("staging",), "production": ("prod", "production"), "local": ("local",)}
NO_GROUP = "none"
_SAMPLE = 5000  # files; enough to know the commonest group, quick enough for every run
_SKIPPED_DIRECTORIES = {".git", "node_modules", "__pycache__"}


def environment(settings: Settings, pyproject: Pyproject) -> str:
    """Return the environment: as set, else by host name, if the project has the group that this asks for."""
    if settings.environment:
        return settings.environment
    guess = environment_of(this_host())
    return guess if any(name in pyproject.groups for name in CANDIDATES[guess]) else "local"


def dependency_group(settings: Settings, pyproject: Pyproject) -> str | None:
    """Return the dependency group to install beside the project's own dependencies; None for a local project without.

    Nor is there one if the setting is `none`. A group that is missing, or not a list, is unfit.
    """
    if settings.group == NO_GROUP and NO_GROUP not in pyproject.groups:
        return None
    chosen = environment(settings, pyproject)
    names = (settings.group,) if settings.group else CANDIDATES[chosen]
    for name in names:
        if name in pyproject.groups:
            return _checked(name, pyproject)
    if settings.group is None and chosen == "local":
        return None
    wanted = " or ".join(f"`{name}`" for name in names)
    message = f"{pyproject.path}: [dependency-groups] has no group {wanted} (environment {chosen})"
    raise Unfit(message, advice="Add the group, or set `group` or `environment`.")


def export_group(settings: Settings, pyproject: Pyproject) -> str | None:
    """Return the group whose packages the requirements export has, the same on every host: that of production."""
    if settings.requirements_export_group:
        named = settings.requirements_export_group
        return None if named == NO_GROUP and NO_GROUP not in pyproject.groups else named
    return next((name for name in CANDIDATES["production"] if name in pyproject.groups), None)


def lacks_group(settings: Settings, pyproject: Pyproject) -> bool:
    """Whether the environment that is set wants a dependency group, and none is set nor there."""
    chosen = environment(settings, pyproject)
    is_missing = not any(name in pyproject.groups for name in CANDIDATES[chosen])
    return settings.group is None and chosen != "local" and is_missing


def _checked(name: str, pyproject: Pyproject) -> str:
    if isinstance(pyproject.groups[name], list):
        return name
    message = f"{pyproject.path}: dependency group `{name}` is not a list"
    raise Unfit(message, advice=f"List the packages of `{name}`, or set `group` to another one.")


def test_command(settings: Settings, root: Path, *, locked: frozenset[str]) -> tuple[str, ...]:
    """Return the words that run the project's tests; the first, `python`, is the release's own.

    `locked` are the names of the packages in the lock.
    """
    if settings.test_command:
        return settings.test_command
    if (root / "run_tests.py").is_file():
        return ("python", "run_tests.py")
    if (root / "manage.py").is_file():
        return ("python", "manage.py", "test", "--noinput")
    if "pytest" in locked:
        return ("python", "-m", "pytest")
    message = f"{root}: no tests were found (no run_tests.py, no manage.py, and pytest is not locked)"
    raise Unfit(message, advice="Set `test_command`; without tests nothing can tell whether an update works.")


def unix_group(settings: Settings, root: Path) -> int:
    """Return the id of the group that releases belong to: as set, else the commonest one of the project's files.

    A group that does not exist, or that this user may not hand files to, is unfit.
    """
    if settings.unix_group:
        try:
            number = grp.getgrnam(settings.unix_group).gr_gid
        except KeyError as error:
            message = f"unix_group: there is no group {settings.unix_group!r} on this host"
            raise Unfit(message, advice="Correct `unix_group`, or create the group.") from error
    else:
        number = commonest_group(root)
    if os.geteuid() == 0 or number in {os.getegid(), *os.getgroups()}:
        return number
    message = f"the project's files belong to group {_name(number)}, of which this user is no member"
    raise Unfit(message, advice="Run releaser as a member of that group, or set `unix_group`.")


def _name(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


def commonest_group(root: Path) -> int:
    """Return the id of the group that most files of the project have."""
    counted: collections.Counter[int] = collections.Counter()
    for directory, names, files in os.walk(root):
        names[:] = [
            name for name in names if name not in _SKIPPED_DIRECTORIES and not _is_venv(os.path.join(directory, name))
        ]
        for name in files:
            with contextlib.suppress(OSError):  # gone meanwhile, or in a directory that may only be listed
                counted[os.lstat(os.path.join(directory, name)).st_gid] += 1
        if counted.total() >= _SAMPLE:
            break
    return counted.most_common(1)[0][0] if counted else root.stat().st_gid


def _is_venv(directory: str) -> bool:
    return os.path.exists(os.path.join(directory, "pyvenv.cfg"))
