"""Chooses environment, dependency groups, test command and unix group of a site, by its settings or by convention."""

from __future__ import annotations

import collections
import contextlib
import grp
import os
import shlex
from typing import TYPE_CHECKING, Any

from releaser.errors import Finding, PreflightError, how_to_set, refuse
from releaser.locks.lock import EMPTY, InvalidLockError, LockFile
from releaser.locks.versions import normalize_name
from releaser.site.export_settings import ExportSettings
from releaser.site.settings import Settings, environment_of, this_host
from releaser.system.environment import find_program
from releaser.system.frozen import Frozen, replace
from releaser.system.sections import Section
from releaser.system.words import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from releaser.site.project import Pyproject
    from releaser.site.site import Site

CANDIDATES = {"staging": ("staging",), "production": ("prod", "production"), "local": ("local",)}
NO_GROUP = "none"
_SAMPLE = 5000  # files; enough to know the commonest group, quick enough for every run
_SKIPPED_DIRECTORIES = {".git", "node_modules", "__pycache__"}


def choose_environment(settings: Settings, pyproject: Pyproject) -> str:
    """Return the environment: as set, else by host name if the project has a group for it, else `local`."""
    if settings.environment:
        return settings.environment
    guess = environment_of(this_host())
    return guess if any(name in pyproject.groups for name in CANDIDATES[guess]) else "local"


def choose_dependency_group(settings: Settings, pyproject: Pyproject) -> str | None:
    """Return the dependency group to install besides the project's own dependencies.

    None if the setting is `none`, or for a local project without one. Raises PreflightError if the group is missing, or
    is not a list.
    """
    if _is_no_group(settings.group, pyproject):
        return None
    environment = choose_environment(settings, pyproject)
    names = (settings.group,) if settings.group else CANDIDATES[environment]
    name = next((name for name in names if name in pyproject.groups), None)
    if name is None:
        if settings.group is None and environment == "local":
            return None
        wanted = " or ".join(f"`{name}`" for name in names)
        message = f"{pyproject.path}: [dependency-groups] has no group {wanted} (environment {environment})"
        instead = how_to_set("group") if settings.group else how_to_set("environment")
        refuse("group-missing", message, _advise(names[0], pyproject.groups, instead))
    if not isinstance(pyproject.groups[name], list):
        message = f"{pyproject.path}: dependency group `{name}` is not a list"
        refuse("group-invalid", message, f"Write `{name}` as a list of packages, or set `group` to another group.")
    return name


def _advise(name: str, known: Iterable[str], instead: str) -> str:
    """Return the advice for the name of a group that does not exist."""
    return f"{did_you_mean(name, known)} Add the group to pyproject.toml, or {instead}.".lstrip()


def _is_no_group(setting: str | None, pyproject: Pyproject) -> bool:
    return setting == NO_GROUP and NO_GROUP not in pyproject.groups


def choose_export_group(settings: ExportSettings, pyproject: Pyproject) -> str | None:
    """Return the group of the requirements export, as set, else of production, so that all hosts have the same."""
    if chosen := settings.requirements_export_group:
        return None if _is_no_group(chosen, pyproject) else chosen
    return next((name for name in CANDIDATES["production"] if name in pyproject.groups), None)


def lacks_group(settings: Settings, pyproject: Pyproject) -> bool:
    """True if the environment needs a dependency group, and no group is set and the project has none."""
    environment = choose_environment(settings, pyproject)
    is_missing = not any(name in pyproject.groups for name in CANDIDATES[environment])
    return settings.group is None and environment != "local" and is_missing


def choose_test_command(settings: Settings, root: Path, *, locked: frozenset[str]) -> tuple[str, ...]:
    """Return the command of the project's tests; the word `python` is that of the release. Raises PreflightError.

    `locked` are the names of the packages in the lock.
    """
    if settings.test_command:
        return settings.test_command
    if (root / "run_tests.py").is_file():
        return ("python", "run_tests.py")
    if (root / "manage.py").is_file():
        return ("python", "manage.py", "test", "--noinput")
    if "pytest" not in locked:
        message = f"{root}: no tests were found (no run_tests.py, no manage.py, and pytest is not locked)"
        refuse("no-tests", message, f"Add a test, or {how_to_set('test_command', 'COMMAND')}.")
    return ("python", "-m", "pytest")


def choose_unix_group(settings: Settings, root: Path) -> int:
    """Return the id of the unix group of releases: as set, else the commonest group of the project's files.

    Raises PreflightError if the group does not exist, or if this user is not a member.
    """
    if settings.unix_group:
        try:
            number = grp.getgrnam(settings.unix_group).gr_gid
        except KeyError:
            message = f"unix_group: the group {settings.unix_group!r} does not exist on this host"
            refuse("unix-group-missing", message, f"Create the group, or {how_to_set('unix_group')}.")
    else:
        number = find_commonest_group(root)
    if os.geteuid() != 0 and number not in {os.getegid(), *os.getgroups()}:
        message = f"the project's files belong to group {_name(number)}, but this user is not a member of it"
        refuse("unix-group-foreign", message, f"Run releaser as a member of that group, or {how_to_set('unix_group')}.")
    return number


def _name(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


def find_commonest_group(root: Path) -> int:
    """Return the id of the commonest group of the project's files."""
    counted: collections.Counter[int] = collections.Counter()
    for directory, names, files in os.walk(root):
        names[:] = [
            name
            for name in names
            if name not in _SKIPPED_DIRECTORIES and not os.path.exists(os.path.join(directory, name, "pyvenv.cfg"))
        ]
        for name in files:
            with contextlib.suppress(OSError):  # deleted meanwhile, or in a directory that may only be listed
                counted[os.lstat(os.path.join(directory, name)).st_gid] += 1
        if counted.total() >= _SAMPLE:
            break
    return max(counted, key=counted.__getitem__) if counted else root.stat().st_gid  # `most_common` imports heapq


# The choices, with their reasons


class Convention(Frozen):
    """A choice of releaser for a site, such as its test command."""

    what: str
    #: None for no value, such as no dependency group.
    value: str | None
    #: The origin of the value: a file and a key, or a rule.
    source: str

    def __str__(self) -> str:
        return f"{self.what}: {self.value or 'none'} ({self.source})"


class ConventionsSection(Section):
    """The detected settings of a site."""

    #: The settings that an adoption detected.
    chosen: tuple[Convention, ...] = ()

    def at_end(self, *, live_changed: bool, clean: Callable[[str], str]) -> Section:  # noqa: ARG002 - for others
        """Return the choices without secrets."""
        return replace(
            self,
            chosen=tuple(
                replace(convention, value=clean(convention.value) if convention.value else None)
                for convention in self.chosen
            ),
        )


def find_conventions(site: Site, *, lock: LockFile | None = None) -> tuple[Convention, ...]:
    """Return the choices, with `lock` or that of the checkout. Skips impossible choices, which preflight reports."""
    settings, sources, pyproject = site.settings, site.sources, site.pyproject
    file, environment = pyproject.path.name, choose_environment(settings, pyproject)
    found = [Convention(what="environment", value=environment, source=_explain_environment(site, environment))]
    with contextlib.suppress(PreflightError):
        group = choose_dependency_group(settings, pyproject)
        source = f"environment {environment}" if group else f"{file} has no group {environment}"
        found.append(Convention(what="dependency group", value=group, source=sources.get("group", source)))
    found.append(_find_default_groups(site))
    tests = ", ".join(settings.test_groups) or None
    source = sources.get("test_groups", "the default")
    found.append(Convention(what="groups only for tests", value=tests, source=source))
    if lock is None:
        lock = EMPTY
        with contextlib.suppress(OSError, InvalidLockError):
            lock = LockFile.read(site.project.lock)
    with contextlib.suppress(PreflightError):
        words = choose_test_command(settings, site.project.root, locked=lock.names)
        source = f"{words[1]} exists" if words[1:] and words[1].endswith(".py") else "pytest is locked"
        source = sources.get("test_command", source)
        found.append(Convention(what="test command", value=shlex.join(words), source=source))
    return (*found, *_of_venv(site))


def _of_venv(site: Site) -> Iterator[Convention]:
    """Yield the tools that come from an activated venv or the project, as PATH has no others."""
    from releaser.tools.uv import find_uv  # slow to import, for a rollback

    for name in ("git", "uv"):
        path, is_last = find_program(name, site.runner.environ, site.project.root)
        used = str(find_uv(site.settings.uv, environ=site.runner.environ, project=site.project.root))
        if is_last and (name == "git" or used == path):
            yield Convention(what=name, value=path, source="in an activated venv or the project: PATH has no other")


def _explain_environment(site: Site, environment: str) -> str:
    host = this_host()
    guess = environment_of(host)
    if "environment" in site.sources:
        return site.sources["environment"]
    if guess == "local":
        return f"the default: the host name {host} indicates no other"
    if guess == environment:
        return f"the host name {host}"
    wanted = " or ".join(CANDIDATES[guess])
    return f"the host name {host} indicates {guess}, but {site.pyproject.path.name} has no group {wanted}"


def _find_default_groups(site: Site) -> Convention:
    """Return the groups that uv installs by default, and so go live without a choice."""
    names = live_default_groups(site.settings, site.pyproject)
    file = site.pyproject.path.name
    if "default-groups" in site.pyproject.table("tool", "uv"):
        source = f"{file}: tool.uv.default-groups"
    elif names:
        source = "uv installs it by default; list it in `test_groups` if only the tests need it"
    elif "dev" in site.pyproject.groups:
        source = "`test_groups` names dev"
    else:
        source = f"{file} has no group dev"
    return Convention(what="default groups that go live", value=", ".join(names) or None, source=source)


def unasked_groups(pyproject: Pyproject) -> tuple[str, ...] | None:
    """Return the groups that uv installs by default: those in pyproject.toml, else `dev`; None for all groups."""
    named = pyproject.table("tool", "uv").get("default-groups", ["dev"])
    if named == "all":
        return None
    return tuple(map(str, named)) if isinstance(named, list) else ("dev",)


def live_default_groups(settings: Settings, pyproject: Pyproject) -> tuple[str, ...]:
    """Return the groups of the project that go live by default, without those that only tests need."""
    unasked = unasked_groups(pyproject)
    existing = pyproject.groups if unasked is None else [name for name in unasked if name in pyproject.groups]
    return tuple(name for name in existing if name not in settings.test_groups)


def default_groups(site: Site) -> tuple[str, ...] | None:
    """Return the groups that go live by default, for uv; None for all groups of the project."""
    unasked, tests = unasked_groups(site.pyproject), site.settings.test_groups
    if unasked is None:
        return live_default_groups(site.settings, site.pyproject) if tests else None
    return tuple(name for name in unasked if name not in tests)


def needed_groups(site: Site, lock: LockFile, *groups: str | None, tests: bool = True) -> set[str]:
    """Return the groups of a lock that a release with these `groups` needs, and with `tests` its tests."""
    defaults = default_groups(site)
    if defaults is None:
        from releaser.locks.installed import groups_in

        return {*groups_in(lock)}
    return {*defaults, *keep_locked((*filter(None, groups), *(site.settings.test_groups if tests else ())), lock)}


def groups_to_exclude(settings: Settings, pyproject: Pyproject) -> tuple[str, ...]:
    """Return the groups that uv would install by default, and that only tests need."""
    unasked = unasked_groups(pyproject)
    return tuple(name for name in settings.test_groups if unasked is None or name in unasked)


def test_group_findings(
    settings: Settings, pyproject: Pyproject, *, live: str | None, source: str
) -> Iterator[Finding]:
    """Yield a finding for each problem with the groups that only tests need.

    `live` is the group that goes live; None without one. `source` is the file and the key of `test_groups`.
    """
    lists = [group for group, members in pyproject.groups.items() if isinstance(members, list)]
    for name in (name for name in settings.test_groups if name not in lists):
        lacks = "is not a list in" if name in pyproject.groups else "is not in"
        message = f"{source} names the group `{name}`, which {lacks} [dependency-groups] of {pyproject.path}"
        yield Finding("test-group-missing", message, _advise(name, lists, "remove it from `test_groups`"))
    if live in settings.test_groups:
        message = f"{source} names the group `{live}`, which goes live"
        yield Finding("test-group-live", message, f"Remove `{live}` from `test_groups`, or set another `group`.")
        return
    others = {*live_default_groups(settings, pyproject), *([live] if live else [])}
    own = pyproject.table("project").get("name")  # not of a member of its workspace
    for entries in _list(pyproject.table("tool", "uv").get("conflicts")):
        tables = [entry for entry in _list(entries) if isinstance(entry, dict)]
        apart = {str(table["group"]) for table in tables if "group" in table and table.get("package", own) == own}
        in_tests, in_release = (apart & _expand_groups(names, pyproject) for names in (settings.test_groups, others))
        if in_tests and len(in_tests | in_release) > 1:
            named = " and ".join(f"`{name}`" for name in sorted(in_tests | in_release))
            message = f"{source}: {named} cannot be installed together, because of `conflicts` in [tool.uv]"
            advice = f"Remove the conflicting group from `test_groups`, or change `conflicts` in {pyproject.path}."
            yield Finding("test-group-conflict", message, advice)


def _expand_groups(names: Iterable[str], pyproject: Pyproject) -> set[str]:
    """Return these groups and all groups that they include."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            members = _list(pyproject.groups.get(name))
            waiting += [
                str(member["include-group"])
                for member in members
                if isinstance(member, dict) and "include-group" in member
            ]
    return found


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def find_excluded_groups(site: Site, lock: Path) -> tuple[str, ...]:
    """Return the groups of a lock that uv must exclude from a release.

    Raises OSError and InvalidLockError.
    """
    groups = groups_to_exclude(site.settings, site.pyproject)
    return keep_locked(groups, LockFile.read(lock)) if groups else ()


def keep_locked(groups: tuple[str, ...], lock: LockFile) -> tuple[str, ...]:
    """Return the groups that the lock has: an earlier lock may lack some, and uv refuses unknown groups."""
    from releaser.locks.installed import groups_in

    known = groups_in(lock)
    return tuple(name for name in groups if normalize_name(name) in known)
