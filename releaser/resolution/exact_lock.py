"""A pyproject.toml and a uv.lock that hold exactly what an environment without a lock holds, made by uv."""

from __future__ import annotations

import re
import sys
import tomllib
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import unquote, urlsplit

import tomlkit
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from releaser.errors import ResolutionError
from releaser.locks.installed import list_installed
from releaser.locks.lock import LockFile
from releaser.resolution.requirements_file import bounds, exact_version, index_settings, near_path
from releaser.resolution.resolve import read_made_lock
from releaser.site.conventions import NO_GROUP
from releaser.tools.uv import NoSolution, pinned_lock_arguments

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from releaser.resolution.unlocked import FirstLockRequest, UnlockedEnvironment
    from releaser.site.site import Site, SiteFacts


def begin(text: str, *, name: str, requires_python: str, uv: Mapping[str, Any], releaser: Mapping[str, Any]) -> str:
    """Return the text with a `[project]` that `uv add` can work on, and with these settings of uv and releaser.

    What it says already stays. Raises ValueError when it is not TOML, or TOML of a form that cannot be added to.
    """
    document: Any = tomlkit.parse(text)
    project = document.setdefault("project", tomlkit.table())
    project.setdefault("name", name)
    if "version" not in project.get("dynamic", ()):
        project.setdefault("version", "0")
    project.setdefault("requires-python", requires_python)
    project.setdefault("dependencies", [])  # `uv add` writes one a line
    for key, settings in (("uv", uv), ("releaser", releaser)):
        if settings:
            _table(document, "tool", key).update(settings)
    written = tomlkit.dumps(document)
    if tomllib.loads(written) != document.unwrap():  # tomlkit cannot add tables below dotted keys
        message = "its [tool] is written with dotted keys or braces; write [tool.uv] and [tool.releaser] as tables"
        raise ValueError(message)
    return written


def narrow(text: str, *, requires_python: str, environment: str) -> str:
    """Return the text for a lock of these Pythons, and of one environment, given as a marker, unless that is empty."""
    document: Any = tomlkit.parse(text)
    document["project"]["requires-python"] = requires_python
    if environment:
        _table(document, "tool", "uv")["environments"] = [environment]
    return tomlkit.dumps(document)


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


def dependencies_in(text: str) -> list[str]:
    """Name the packages that the project itself asks for."""
    project: Any = tomlkit.parse(text)["project"]
    return [canonicalize_name(Requirement(one).name) for one in project["dependencies"]]


def _table(document: Any, *keys: str) -> Any:
    """Return a table of the document, made if it is not there."""
    for number, key in enumerate(keys):
        document = document.setdefault(key, tomlkit.table(is_super_table=number < len(keys) - 1))
    return document


ANY_PYTHON = ">=3"  # until it is known which Pythons the versions are for
NARROWED = "only for this platform and this Python: in `environments` of [tool.uv], as the versions fit nowhere else"


def count(packages: Mapping[str, str]) -> str:
    """Say how many packages there are."""
    return "1 package" if len(packages) == 1 else f"{len(packages)} packages"


def write_pyproject(site: Site, facts: SiteFacts, wanted: FirstLockRequest, found: UnlockedEnvironment) -> None:
    """Write what the project asks for, but for what only `lock_versions` finds out."""
    tree, checkout, path = site.project.root, site.project.checkout, site.project.pyproject
    name = canonicalize_name(re.sub(r"[^A-Za-z0-9]+", "-", checkout.name).strip("-")) or "site"
    settings = index_settings(found.indexes, checkout)
    if kept := bounds(found.lines):
        said = site.pyproject.table("tool", "uv").get("constraint-dependencies", [])
        settings["constraint-dependencies"] = [*said, *kept]
    is_ours = site.settings.group == NO_GROUP and "group" not in site.sources  # as the environment wants a group
    text = begin(
        path.read_text(encoding="utf-8") if path.exists() else "",
        name=f"{name}-site" if name in found.versions else name,
        requires_python=f">={_minor(found.python_version)}",
        uv=settings,
        releaser={"group": NO_GROUP} if is_ours else {},
    )
    path.write_text(text, encoding="utf-8")
    if wanted.requirements is not None:
        _edit(facts, tree, "add", "-r", _in_tree(wanted.requirements, site))
    for one in wanted.given:
        url = urlsplit(one.url)
        place = near_path(unquote(url.path), checkout) if url.scheme == "file" else ""
        extras = f"[{','.join(sorted(one.extras))}]" if one.extras else ""
        asked = f"{one.name}{extras} @ {place}" if place and not place.startswith("/") else one.requirement
        _edit(facts, tree, "add", *(["--editable"] if one.name in found.editable and place else []), asked)
    text = path.read_text(encoding="utf-8")
    if left_out := wanted.without & set(dependencies_in(text)):
        _edit(facts, tree, "remove", *sorted(left_out))
    path.write_text(loosen(path.read_text(encoding="utf-8")), encoding="utf-8")


def _edit(facts: SiteFacts, tree: Path, command: Literal["add", "remove"], *words: str | Path) -> None:
    facts.uv.run([command, "--frozen", "--python", facts.python, *words], tree=tree)


def _in_tree(file: Path, site: Site) -> Path:
    """Return a file of the checkout as it is in the staging tree, where paths in it lead to what will be there."""
    checkout = site.project.checkout
    staged = site.project.root / file.relative_to(checkout) if file.is_relative_to(checkout) else file
    return staged if staged.is_file() else file


def lock_versions(site: Site, facts: SiteFacts, found: UnlockedEnvironment) -> tuple[LockFile, bool]:
    """Lock the versions, for all platforms if there is such a lock; tell whether it is for this one alone.

    Some packages are not for the first patch versions of a Python.
    """
    tree, version = site.project.root, found.python_version
    text = site.project.pyproject.read_text(encoding="utf-8")
    pythons = [str(site.pyproject.table("project")["requires-python"])]
    if pythons == [ANY_PYTHON]:
        pythons = [f">={_minor(version)}", f">={version}"]
    here = f"python_version == '{_minor(version)}' and python_full_version >= '{version}'"
    attempts = [*((python, "") for python in pythons), (pythons[-1], f"sys_platform == '{sys.platform}' and {here}")]
    output = ""
    for requires_python, environment in attempts:
        narrowed = narrow(text, requires_python=requires_python, environment=environment)
        site.project.pyproject.write_text(narrowed, encoding="utf-8")
        (tree / "uv.lock").unlink(missing_ok=True)
        lock = _lock_all(facts, tree, found)
        if not isinstance(lock, NoSolution):
            return lock, bool(environment)
        output = lock.output
    message = "no lock could be made with exactly these versions"
    advice = "See uv's message; --with gives what no index has, and --without leaves it out."
    raise ResolutionError(message, advice=advice, output=output)


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])


def _lock_all(facts: SiteFacts, tree: Path, found: UnlockedEnvironment) -> LockFile | NoSolution:
    """Lock the versions; what nothing in the lock needs is asked for by the project itself."""
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
        _edit(facts, tree, "add", *(_from_on(name, found.versions[name]) for name in sorted(wanted)))


def _from_on(name: str, version: str) -> str:
    """Ask for a version or later ones: what is exact stands in the lock, and an update moves it."""
    try:
        return f"{name}>={Version(version).public}"
    except InvalidVersion:
        return f"{name}=={version}"


def refuse_other_versions(lock: LockFile, facts: SiteFacts, found: UnlockedEnvironment) -> None:
    pins = dict(list_installed(lock, group=facts.group, default_groups=(), python=found.python_version))
    if others := differences(found, pins, except_for=found.elsewhere):
        message = f"the lock would change versions: {', '.join(others)}"
        raise ResolutionError(message, advice="See `uv pip check` for the venv: something there does not go together.")


def refuse_other_files(lock: LockFile, found: UnlockedEnvironment) -> None:
    """See that the hashes in the requirements file are those of the index."""
    known: dict[str, set[str]] = {}
    for package in lock.packages:
        files = [*package.get("wheels", ()), *([package["sdist"]] if "sdist" in package else [])]
        known[package["name"]] = {one["hash"] for one in files if "hash" in one}
    for line in found.lines:
        if line.requirement is None or not line.hashes:
            continue
        name, version = canonicalize_name(line.requirement.name), exact_version(line.requirement)
        applies = version is not None and _is_same(version, found.versions.get(name))  # not for other platforms alone
        if applies and known.get(name) and not line.hashes & known[name]:
            message = f"{line.where}: the index has none of the files of {name} whose hashes stand there"
            advice = "Find out which of them is right; a package must not come from somebody else."
            raise ResolutionError(message, advice=advice)


def differences(found: UnlockedEnvironment, after: Mapping[str, str], *, except_for: Iterable[str]) -> list[str]:
    """Say in what the versions differ; what comes along with those of a requirements file may be new."""
    before = found.versions
    names = (before.keys() | (after.keys() if found.is_installed else ())) - set(except_for)
    return [
        f"{name} {before.get(name, 'none')} → {after.get(name, 'none')}"
        for name in sorted(names)
        if not _is_same(before.get(name), after.get(name))
    ]


def _is_same(one: str | None, other: str | None) -> bool:
    """Whether two versions are the same, however they are written: 1.0 is 1.0.0."""
    if one is None or other is None or one == other:
        return one == other
    try:
        return Version(one) == Version(other)
    except InvalidVersion:
        return False
