"""Which environment, dependency group and test command a site gets, and what says so."""

from __future__ import annotations

import contextlib
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from releaser.errors import Unfit
from releaser.locking.lockfile import EMPTY, InvalidLockError, LockFile
from releaser.project import group
from releaser.project.settings import environment_of, this_host
from releaser.project.test_groups import live_default_groups

if TYPE_CHECKING:
    from releaser.project.site import Site


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """One thing that was chosen: its value, None for none of the kind, and what says so."""

    what: str
    value: str | None
    source: str

    def __str__(self) -> str:
        return f"{self.what}: {self.value or 'none'} ({self.source})"


def chosen(site: Site, *, lock: LockFile | None = None) -> tuple[Chosen, ...]:
    """Return what was chosen, with `lock` or that of the checkout; what cannot be chosen, preflight reports."""
    environment = group.environment(site.settings, site.pyproject)
    found = [Chosen(what="environment", value=environment, source=_source_of_environment(site, environment))]
    for choose in (_group, _default_groups, _test_groups, _test_command):
        with contextlib.suppress(Unfit):
            found.append(choose(site, lock or _lock(site)))
    return tuple(found)


def _group(site: Site, _: LockFile) -> Chosen:
    environment = group.environment(site.settings, site.pyproject)
    name = group.dependency_group(site.settings, site.pyproject)
    source = f"environment {environment}" if name else f"{site.pyproject.path.name} has no group {environment}"
    return Chosen(what="dependency group", value=name, source=site.sources.get("group", source))


def _default_groups(site: Site, _: LockFile) -> Chosen:
    """Name what goes live though nobody has chosen it, as uv installs it unasked."""
    names = live_default_groups(site.settings, site.pyproject)
    file = site.pyproject.path.name
    if "default-groups" in site.pyproject.table("tool", "uv"):
        source = f"{file}: tool.uv.default-groups"
    elif names:
        source = "uv installs it unasked; name it in `test_groups` if only the tests need it"
    elif "dev" in site.pyproject.groups:
        source = "`test_groups` has dev"
    else:
        source = f"{file} has no group dev"
    return Chosen(what="default groups that go live", value=", ".join(names) or None, source=source)


def _test_groups(site: Site, _: LockFile) -> Chosen:
    names = ", ".join(site.settings.test_groups)
    source = site.sources.get("test_groups", "the default")
    return Chosen(what="groups for the tests alone", value=names or None, source=source)


def _test_command(site: Site, lock: LockFile) -> Chosen:
    words = group.test_command(site.settings, site.project.root, locked=lock.names)
    source = f"{words[1]} is there" if words[1:] and words[1].endswith(".py") else "pytest is locked"
    return Chosen(what="test command", value=shlex.join(words), source=site.sources.get("test_command", source))


def _source_of_environment(site: Site, environment: str) -> str:
    host = this_host()
    guess = environment_of(host)
    if "environment" in site.sources:
        return site.sources["environment"]
    if guess == "local":
        return f"the default; the host name {host} stands for no other"
    if guess == environment:
        return f"the host name {host}"
    wanted = " or ".join(group.CANDIDATES[guess])
    return f"the host name {host} stands for {guess}, but {site.pyproject.path.name} has no group {wanted}"


def _lock(site: Site) -> LockFile:
    try:
        return LockFile.read(site.project.lock)
    except (OSError, InvalidLockError):
        return EMPTY
