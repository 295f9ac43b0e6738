"""A pyproject.toml and a uv.lock that hold exactly what an environment without a lock holds, made by uv."""

from __future__ import annotations

import re
import sys
import tomllib
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import tomlkit
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, canonicalize_version
from packaging.version import Version

from releaser.errors import ResolutionError
from releaser.locks.installed import list_installed
from releaser.locks.lock import LockFile
from releaser.locks.versions import files_of
from releaser.resolution.requirements_file import bounds, exact_version, index_settings, near_path
from releaser.resolution.resolve import read_made_lock
from releaser.site.conventions import NO_GROUP
from releaser.site.pythons import minor, range_of
from releaser.system.files import read_text, write_new_file
from releaser.tools.uv import NoSolution
from releaser.tools.uv_arguments import pinned_lock_arguments

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from releaser.resolution.unlocked import FirstLockRequest, UnlockedEnvironment
    from releaser.site.site import Site, SiteFacts

ANY_PYTHON = ">=3"  # until it is known which Pythons the versions are for
NARROWED = "only for this platform and this Python: in `environments` of [tool.uv], as the versions fit nowhere else"


# The pyproject.toml


def complete(text: str, project: Mapping[str, Any], **tools: Mapping[str, Any]) -> str:
    """Return the text with what `[project]` lacks for `uv add` to work on it, and with these settings of tools.

    What it says already stays. Raises ValueError when it is not TOML, or TOML of a form that cannot be added to.
    """
    document: Any = tomlkit.parse(text)
    table = document.setdefault("project", tomlkit.table())
    for key, value in project.items():
        if key not in table.get("dynamic", ()):
            table.setdefault(key, value)
    for tool, settings in tools.items():
        if settings:
            tables = document.setdefault("tool", tomlkit.table(is_super_table=True))
            tables.setdefault(tool, tomlkit.table()).update(settings)
    written = tomlkit.dumps(document)
    if tomllib.loads(written) != document.unwrap():  # tomlkit cannot add tables below dotted keys
        message = "its [tool] is written with dotted keys or braces; write [tool.uv] and [tool.releaser] as tables"
        raise ValueError(message)
    return written


def loosen(text: str) -> str:
    """Return the text with lower bounds in place of exact versions: what is exact stands in the lock from now on."""
    document: Any = tomlkit.parse(text)
    dependencies = document["project"]["dependencies"]
    for number, dependency in enumerate(dependencies):
        wanted = Requirement(dependency)
        if version := exact_version(wanted):
            extras = f"[{','.join(sorted(wanted.extras))}]" if wanted.extras else ""
            marker = f" ; {wanted.marker}" if wanted.marker else ""
            dependencies[number] = f"{wanted.name}{extras}>={Version(version).public}{marker}"
    return tomlkit.dumps(document)


def write_pyproject(site: Site, facts: SiteFacts, wanted: FirstLockRequest, found: UnlockedEnvironment) -> None:
    """Write what the project asks for, except for what only `lock_versions` finds out."""
    checkout, path = site.project.checkout, site.project.pyproject
    name = canonicalize_name(re.sub(r"[^A-Za-z0-9]+", "-", checkout.name).strip("-")) or "site"
    settings = index_settings(found.indexes, checkout)
    if kept := bounds(found.lines):
        said = site.pyproject.table("tool", "uv").get("constraint-dependencies", [])
        settings["constraint-dependencies"] = [*said, *kept]
    is_ours = site.settings.group == NO_GROUP and "group" not in site.sources  # as the environment wants a group
    python = site.pyproject.table("project")["requires-python"]
    text = complete(
        read_text(path) if path.exists() else "",
        {
            "name": f"{name}-site" if name in found.versions else name,
            "version": "0",
            "requires-python": range_of(found.python_version) if python == ANY_PYTHON else python,
            "dependencies": [],  # `uv add` writes one a line
        },
        uv=settings,
        releaser={"group": NO_GROUP} if is_ours else {},
    )
    write_new_file(path, text.encode())
    if wanted.requirements is not None:
        _add(site, facts, "-r", _in_tree(wanted.requirements, site))
    for one in wanted.given:
        url = urlsplit(one.url)
        place = near_path(unquote(url.path), checkout) if url.scheme == "file" else ""
        asked = (replace(one, url=place) if place and not place.startswith("/") else one).requirement
        _add(site, facts, *(["--editable"] if one.name in found.editable and place else []), asked)
    project: Any = tomlkit.parse(read_text(path))["project"]
    if left_out := wanted.without & {canonicalize_name(Requirement(one).name) for one in project["dependencies"]}:
        facts.uv.run(["remove", "--frozen", "--python", facts.python, *sorted(left_out)], tree=site.project.root)


def _add(site: Site, facts: SiteFacts, *words: str | Path) -> None:
    path = site.project.pyproject
    facts.uv.run(["add", "--frozen", "--python", facts.python, *words], tree=site.project.root)
    write_new_file(path, loosen(read_text(path)).encode())


def _in_tree(file: Path, site: Site) -> Path:
    """Return a file of the checkout as it is in the staging tree, where paths in it lead to what will be there."""
    checkout = site.project.checkout
    staged = site.project.root / file.relative_to(checkout) if file.is_relative_to(checkout) else file
    return staged if staged.is_file() else file


# The lock


def lock_versions(site: Site, facts: SiteFacts, found: UnlockedEnvironment) -> tuple[LockFile, bool]:
    """Lock the versions, for all platforms if there is such a lock; tell whether it is for this one alone.

    Some packages are not for the first patch versions of a Python, which a project that names no Python leaves out.
    """
    path, version = site.project.pyproject, found.python_version
    lock = _lock_all(site, facts, found)
    if isinstance(lock, NoSolution) and site.pyproject.table("project")["requires-python"] == ANY_PYTHON:
        document: Any = tomlkit.parse(read_text(path))
        document["project"]["requires-python"] = range_of(version, since=version)
        lock = _lock_again(site, facts, found, tomlkit.dumps(document))
    if not isinstance(lock, NoSolution):
        return lock, False
    here = f"python_version == '{minor(version)}' and python_full_version >= '{version}'"
    environment = f"sys_platform == '{sys.platform}' and {here}"
    narrowed = complete(read_text(path), {}, uv={"environments": [environment]})
    lock = _lock_again(site, facts, found, narrowed)
    if not isinstance(lock, NoSolution):
        return lock, True
    message = "no lock could be made with exactly these versions"
    advice = "See uv's message; --with gives what no index has, and --without leaves it out."
    raise ResolutionError(message, advice=advice, output=lock.output)


def _lock_again(site: Site, facts: SiteFacts, found: UnlockedEnvironment, pyproject: str) -> LockFile | NoSolution:
    write_new_file(site.project.pyproject, pyproject.encode())
    site.project.lock.unlink(missing_ok=True)
    return _lock_all(site, facts, found)


def _lock_all(site: Site, facts: SiteFacts, found: UnlockedEnvironment) -> LockFile | NoSolution:
    """Lock the versions; what nothing in the lock needs is asked for by the project itself."""
    tree = site.project.root
    asked: set[str] = set()
    while True:
        locked = facts.uv.lock(tree, pinned_lock_arguments(found.versions), python=facts.python)
        if isinstance(locked, NoSolution):
            return locked
        lock = read_made_lock(tree)
        absent = found.versions.keys() - lock.versions.keys() - asked  # what uv still leaves out is refused
        if not absent:
            locked = facts.uv.lock(tree, ["lock"], python=facts.python)  # as anybody's next `uv lock` will
            return locked if isinstance(locked, NoSolution) else read_made_lock(tree)
        wanted = absent & found.direct or absent  # those that need each other in a circle are not direct
        asked |= wanted
        _add(site, facts, *(f"{name}=={found.versions[name]}" for name in sorted(wanted)))


# What is refused of it


def refuse_other_versions(lock: LockFile, facts: SiteFacts, found: UnlockedEnvironment) -> None:
    pins = dict(list_installed(lock, group=facts.group, default_groups=(), python=found.python_version))
    if others := differences(found, pins, except_for=found.elsewhere):
        message = f"the lock would change versions: {', '.join(others)}"
        raise ResolutionError(message, advice="Run `uv pip check` on the venv: some packages there conflict.")


def refuse_other_files(lock: LockFile, found: UnlockedEnvironment) -> None:
    """See that the hashes in the requirements file are those of the index."""
    known: dict[str, set[str]] = {}
    for package in lock.packages:
        known[package["name"]] = {one["hash"] for one in files_of(package) if "hash" in one}
    for line in found.lines:
        if line.requirement is None or not line.hashes:
            continue
        name, version = canonicalize_name(line.requirement.name), exact_version(line.requirement)
        applies = version is not None and _canonical(version) == _canonical(found.versions.get(name))
        # A line that is for other platforms alone does not apply.
        if applies and known.get(name) and not line.hashes & known[name]:
            message = f"{line.where}: the index has no file of {name} with one of those hashes"
            advice = "Find out which of them is right; a package must not come from somebody else."
            raise ResolutionError(message, advice=advice)


def differences(found: UnlockedEnvironment, after: Mapping[str, str], *, except_for: Iterable[str]) -> list[str]:
    """Say in what the versions differ; what comes along with those of a requirements file may be new."""
    before = found.versions
    names = (before.keys() | (after.keys() if found.is_installed else ())) - set(except_for)
    return [
        f"{name} {before.get(name, 'none')} → {after.get(name, 'none')}"
        for name in sorted(names)
        if _canonical(before.get(name)) != _canonical(after.get(name))
    ]


def _canonical(version: str | None) -> str | None:
    """Return the one way to write a version: 1.0 is 1.0.0."""
    return version and canonicalize_version(version)
