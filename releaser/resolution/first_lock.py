"""Makes the first pyproject.toml and uv.lock of a project that was installed with pip, with the installed versions."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import tomlkit
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, canonicalize_version
from packaging.version import Version

from releaser.errors import Finding, Findings, ResolutionError, ToolError, refuse, refuse_any
from releaser.locks.installed import list_installed
from releaser.locks.lock import LockFile, is_local
from releaser.resolution.requirements_file import Line, exact_version, read_lines, refusals, refuse_other_files
from releaser.resolution.resolve import read_made_lock
from releaser.site.conventions import NO_GROUP, lacks_group
from releaser.site.project import declared_dependencies
from releaser.site.pythons import range_of
from releaser.system.files import read_text, write_new_file
from releaser.system.frozen import Frozen, replace
from releaser.system.temporary import temporary_tree
from releaser.system.words import Redactor, secrets_in_urls
from releaser.tools.uv import NoSolution
from releaser.tools.uv_arguments import pinned_lock_arguments

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from releaser.locks.overrides import Override
    from releaser.site.site import Site, SiteFacts

_INDEX_SETTINGS = ("index", "index-url", "extra-index-url", "find-links", "no-index")
_INSTALLERS = {"pip", "setuptools", "wheel"}  # a venv may have these although no file requires them
_HOW = (
    "See uv's message. For a package that no index has, add --with; to skip a package, add --without. For "
    "versions"
    " that fit this system only, first add `environments` to [tool.uv] in pyproject.toml, and commit."
)


class FirstLockRequest(Frozen):
    """The sources of the packages of a first lock: pyproject.toml, a venv, a requirements file, or several of them."""

    #: A venv, the directory of another Python with the packages, or that Python itself.
    venv: Path | None = None
    requirements: Path | None = None
    #: True if pyproject.toml declares the dependencies.
    declared: bool = False
    #: Packages to omit.
    without: frozenset[str] = frozenset()
    #: The sources of packages that no index has.
    given: tuple[Override, ...] = ()

    @property
    def lists_packages(self) -> bool:
        """True if a file lists the packages that the site needs, so that not all installed ones count."""
        return self.requirements is not None or self.declared

    @property
    def decided(self) -> frozenset[str]:
        """The packages that the request itself omits or takes from elsewhere."""
        return self.without | {package.name for package in self.given}

    def __str__(self) -> str:
        named = " and ".join(str(path) for path in (self.venv, self.requirements) if path is not None)
        return named or "pyproject.toml"


class Installed(Frozen):
    """The packages that are installed for an interpreter, as uv lists them."""

    python: Path
    #: Without the project itself.
    versions: Mapping[str, str]
    #: Those that no other installed package requires.
    direct: frozenset[str]
    #: Those that are installed as a link to their sources.
    editable: frozenset[str]
    #: True if the interpreter also sees packages of the operating system, which uv does not list.
    sees_more: bool


class Survey(Frozen):
    """The input of a first lock; with `problems` no lock can be made, and the rest may be missing."""

    #: None if only the requirements file counts.
    installed: Installed | None = None
    lines: tuple[Line, ...] = ()
    problems: tuple[Finding, ...] = ()

    @property
    def versions(self) -> Mapping[str, str]:
        """The installed versions; empty if only the requirements file counts."""
        return self.installed.versions if self.installed is not None else {}


def survey(site: Site, request: FirstLockRequest) -> Survey:
    """Read the installed packages and the requirements file; the answer has every problem, and nothing changes."""
    problems = Findings(_refusals(site, request))
    place = request.venv or (site.project.venv if (site.project.venv / "pyvenv.cfg").is_file() else None)
    installed = None if place is None else problems.attempt(_look_at, site, request, place, problems)
    lines = problems.attempt(_read_file, site, request) or ()
    return Survey(installed=installed, lines=lines, problems=tuple(problems))


def _refusals(site: Site, request: FirstLockRequest) -> Iterator[Finding]:
    project, declared = site.project, [*declared_dependencies(site.pyproject.content)]
    if os.path.lexists(project.lock):
        use = "To adopt the project with this lock, run `releaser init`."
        advice = use if declared else f"Move uv.lock elsewhere: {project.pyproject} requires none of its packages."
        yield Finding("lock-exists", f"the project already has a lock: {project.lock}", advice)
    for what in declared if not request.declared else ():
        yield Finding(
            "dependencies-exist",
            f"{project.pyproject} already lists dependencies: {what}",
            "Run `releaser init --from-pyproject`, which locks these. Or remove the dependencies from the file.",
        )
    if request.declared and not declared:
        yield Finding(
            "dependencies-missing",
            f"{project.pyproject} lists no dependencies",
            "Add `dependencies` to [project]. Or name the packages: --from-venv PATH, or --from-requirements FILE.",
        )
    for path in (project.pyproject, project.lock):
        try:
            ignored, untracked = site.git.ignores(path.name), site.git.state().untracked
        except ToolError:  # preflight reports it
            return
        if ignored:
            yield Finding("git-ignored", f"git ignores {path}", "Remove it from .gitignore: releaser must commit it.")
        elif path == project.pyproject and os.path.relpath(path, site.git.layout.top) in untracked:
            yield Finding(
                "git-untracked",
                f"{path} is not under git",
                "Commit it first; then releaser adds the dependencies to it.",
            )


def _look_at(site: Site, request: FirstLockRequest, place: Path, problems: Findings) -> Installed:
    """Return the packages installed at a place; those that no lock can have go to `problems`.

    Raises PreflightError and ToolError.
    """
    python, uv = _find_interpreter(place), site.uv
    listed = json.loads(uv.run(["pip", "list", "--format", "json", "--python", python]))
    versions = {str(canonicalize_name(package["name"])): package["version"] for package in listed}
    links = {
        str(canonicalize_name(package["name"])): package["editable_project_location"]
        for package in listed
        if "editable_project_location" in package
    }
    roots = (str(site.project.root), str(site.project.root / "src"))
    own = frozenset(name for name, link in links.items() if link.rstrip("/") in roots)
    for name in own - request.decided if not site.pyproject.table("build-system") else ():
        message = f"{name} {versions[name]} is the project itself, and {site.project.pyproject} has no [build-system]"
        advice = f"Add a [build-system], which uv needs to install it; or skip it: --without {name}."
        problems.append(Finding("build-system-missing", message, advice))
    for name in sorted(request.without - versions.keys()):
        problems.append(
            Finding(
                "package-not-installed", f"--without {name}: it is not installed for {python}", "Remove that option."
            )
        )
    sees_more = "include-system-site-packages=true" in _read_config(place)
    if not request.lists_packages:
        frozen = (line.partition(" @ ") for line in uv.run(["pip", "freeze", "--python", python]).splitlines())
        places = {str(canonicalize_name(name)): where for name, _, where in frozen if where} | links
        for name in sorted(places.keys() - request.decided - own):
            where = Redactor().clean(places[name])
            origin = f"{'is an editable install of' if where.startswith('/') else 'was installed from'} {where}"
            advice = f"To install it from there, add --with '{name} @ {where}'. To skip it, add --without {name}."
            problems.append(
                Finding("package-unlockable", f"{name} {versions[name]} {origin}, so it cannot be locked", advice)
            )
        if sees_more:
            advice = (
                "List the packages that the site needs in a file, and add --from-requirements FILE. Or make a"
                " venv without --system-site-packages."
            )
            problems.append(
                Finding("system-packages", f"{place} sees packages of the system, which uv cannot list", advice)
            )
    tree = uv.run(["pip", "tree", "--depth", "0", "--python", python]).splitlines()
    return Installed(
        python=python,
        versions={name: version for name, version in versions.items() if name not in own},
        direct=frozenset(canonicalize_name(line.split()[0]) for line in tree if line.strip()) - own,
        editable=frozenset(links),
        sees_more=sees_more,
    )


def _find_interpreter(place: Path) -> Path:
    """Return the interpreter of a venv or of another Python, or `place` if it is one. Raises PreflightError."""
    # `python` of an operating system may be Python 2.
    candidates = [place] if not os.path.isdir(place) else [place / "bin" / name for name in ("python3", "python")]
    for python in candidates:
        if os.access(python, os.X_OK):
            return python
    why = "has no bin/python that starts" if os.path.lexists(place) else "does not exist"
    return refuse(
        "venv-unusable", f"{place} {why}", "Name a venv, or a Python that has the packages: --from-venv PATH."
    )


def _read_config(venv: Path) -> str:
    try:
        return "".join(read_text(venv / "pyvenv.cfg", errors="replace").split()).lower()
    except OSError:
        return ""


def _read_file(site: Site, request: FirstLockRequest) -> tuple[Line, ...]:
    file = request.requirements
    if file is None:
        return ()
    try:
        lines = tuple(read_lines(file))
    except (OSError, UnicodeDecodeError) as error:
        place, reason = getattr(error, "filename", None) or file, getattr(error, "strerror", None) or error
        message = f"{place} cannot be read: {reason}"
        refuse("requirements-unreadable", message, "Name a requirements file: --from-requirements FILE.")
    names_indexes = any(key in site.pyproject.table("tool", "uv") for key in _INDEX_SETTINGS)
    refuse_any(*refusals(lines, names_indexes=names_indexes))
    return lines


# The files, in a staging tree


def make_first_lock(site: Site, facts: SiteFacts, request: FirstLockRequest, found: Survey) -> LockFile:
    """Write pyproject.toml and uv.lock in the tree of a site, and return the lock. Raises ResolutionError."""
    path, tree = site.project.pyproject, site.project.root
    try:
        write_new_file(path, _begin(site, facts, found).encode())
        _add_all(site, facts, request, found)
        pins: dict[str, str] = {
            canonicalize_name(one.name): version
            for line in found.lines
            if line.is_constraint and (one := line.requirement) and (version := exact_version(one))
        }
        pins |= found.versions
        pins |= {package.name: package.specifier.lstrip("=") for package in request.given if not package.url}
        unpinned = request.without | _sources(path)
        pins = {name: version for name, version in pins.items() if name not in unpinned}
        try:
            _lock(facts, tree, pins)
        except ResolutionError:
            if "requires-python" in site.pyproject.table("project"):
                raise
            write_new_file(path, _since_patch(read_text(path), facts.choice.version).encode())
            _lock(facts, tree, pins)
        if not request.declared:
            write_new_file(path, loosen(read_text(path)).encode())
        _lock(facts, tree, {})  # like the next `uv lock` of a developer
    except ToolError as error:
        message = f"uv cannot make a lock: {error.reason}"
        raise ResolutionError(message, error.advice or _HOW, output=error.output) from error
    except ValueError as error:  # from tomlkit
        message = f"releaser cannot write the dependencies to {site.project.checkout / 'pyproject.toml'}: {error}"
        raise ResolutionError(message, "Correct that file, then run the command again.") from error
    lock = read_made_lock(tree)
    refuse_other_files(lock, found.lines)
    if secrets_in_urls(read_text(path) + lock.data.decode()):
        message = "the lock would contain a password or a token, which git would keep"
        raise ResolutionError(
            message, "Give the password to uv by environment variables, and to git by a credential helper."
        )
    return lock


def _begin(site: Site, facts: SiteFacts, found: Survey) -> str:
    """Return pyproject.toml with a [project] table for `uv add`, and with settings that `uv add` does not write."""
    path = site.project.pyproject
    text = read_text(path) if path.exists() else ""
    document: Any = tomlkit.parse(text)
    project = document.setdefault("project", tomlkit.table())
    for key, value in _project_table(site, facts, found).items():
        if key not in project.get("dynamic", ()):
            project.setdefault(key, value)
    bounds = [
        str(one)
        for line in found.lines
        if line.is_constraint and (one := line.requirement) and not one.url and not exact_version(one)
    ]
    if bounds:
        uv = _tool(document, "uv")
        uv["constraint-dependencies"] = [*uv.get("constraint-dependencies", []), *bounds]
    if lacks_group(site.settings, site.pyproject):
        _tool(document, "releaser")["group"] = NO_GROUP
    return tomlkit.dumps(document)


def _tool(document: Any, name: str) -> Any:
    return document.setdefault("tool", tomlkit.table(is_super_table=True)).setdefault(name, tomlkit.table())


def _project_table(site: Site, facts: SiteFacts, found: Survey) -> dict[str, Any]:
    """Return the [project] table of `uv init`, limited to the minor version of Python that the site runs on.

    uv refuses to add the table to an existing file, and admits all newer Pythons, for which the versions may conflict.
    """
    name = canonicalize_name(re.sub(r"[^A-Za-z0-9]+", "-", site.project.name).strip("-")) or "site"
    name = f"{name}-site" if name in found.versions else name
    with temporary_tree() as place:
        words = ["init", "--bare", "--no-workspace", "--name", name, "--python", str(facts.python)]
        facts.uv.run(words, tree=place)
        table: dict[str, Any] = tomlkit.parse(read_text(place / "pyproject.toml"))["project"].unwrap()
    return {**table, "requires-python": range_of(facts.choice.version)}


def _add_all(site: Site, facts: SiteFacts, request: FirstLockRequest, found: Survey) -> None:
    """Add the packages to the dependencies in pyproject.toml. Raises ToolError."""
    checkout, installed = site.project.checkout, found.installed
    if request.requirements is not None:
        _add(site, facts, "-r", _in_tree(request.requirements, site))
    elif installed is not None and not request.declared:
        direct = sorted((installed.direct & installed.versions.keys()) - request.decided)
        _add(site, facts, *(f"{name}=={installed.versions[name]}" for name in direct))
    for package in request.given:
        url, words = urlsplit(package.url), [package.requirement]
        path = Path(unquote(url.path))
        if url.scheme == "file" and path.is_relative_to(checkout.parent) and checkout.parent != Path("/"):
            words = [replace(package, url=os.path.relpath(path, checkout)).requirement]
        if url.scheme == "file" and path.is_dir() and installed is not None and package.name in installed.editable:
            words.insert(0, "--editable")
        _add(site, facts, *words)
    dependencies = tomlkit.parse(read_text(site.project.pyproject)).unwrap()["project"].get("dependencies", [])
    if excluded := request.without & {canonicalize_name(Requirement(dependency).name) for dependency in dependencies}:
        facts.uv.run(["remove", "--frozen", "--python", facts.python, *sorted(excluded)], tree=site.project.root)


def _add(site: Site, facts: SiteFacts, *words: str | Path) -> None:
    if words:
        facts.uv.run(["add", "--frozen", "--python", facts.python, *words], tree=site.project.root)


def _in_tree(file: Path, site: Site) -> Path:
    """Return the copy of a checkout's file in the staging tree, so that relative paths in it lead into the tree."""
    checkout = site.project.checkout
    staged = site.project.root / file.relative_to(checkout) if file.is_relative_to(checkout) else file
    return staged if staged.is_file() else file


def _sources(pyproject: Path) -> set[str]:
    """Return the packages with an entry in `tool.uv.sources`: no version can be requested for them."""
    uv = tomlkit.parse(read_text(pyproject)).unwrap().get("tool", {}).get("uv", {})
    return {canonicalize_name(name) for name in uv.get("sources", {})}


def _lock(facts: SiteFacts, tree: Path, pins: Mapping[str, str]) -> None:
    locked = facts.uv.lock(tree, pinned_lock_arguments(pins), python=facts.python)
    if isinstance(locked, NoSolution):
        message = "no lock can have exactly these versions"
        raise ResolutionError(message, _HOW, output=locked.output)


def _since_patch(text: str, version: str) -> str:
    """Return pyproject.toml without earlier patch releases of Python, which not all packages support."""
    document: Any = tomlkit.parse(text)
    document["project"]["requires-python"] = range_of(version, since=version)
    return tomlkit.dumps(document)


def loosen(text: str) -> str:
    """Return pyproject.toml with lower bounds instead of exact versions, which the lock has from now on."""
    document: Any = tomlkit.parse(text)
    dependencies = document["project"].get("dependencies", [])
    for number, dependency in enumerate(dependencies):
        wanted = Requirement(dependency)
        if version := exact_version(wanted):
            extras = f"[{','.join(sorted(wanted.extras))}]" if wanted.extras else ""
            marker = f" ; {wanted.marker}" if wanted.marker else ""
            dependencies[number] = f"{wanted.name}{extras}>={Version(version).public}{marker}"
    return tomlkit.dumps(document)


def differences(lock: LockFile, facts: SiteFacts, request: FirstLockRequest, found: Survey) -> list[str]:
    """List the differences between the lock and the installed packages, without those that the request decides."""
    installed = found.installed
    if installed is None:
        return []
    before = installed.versions
    after = dict(list_installed(lock, group=facts.group, default_groups=(), python=facts.choice.version))
    local = {package["name"] for package in lock.packages if is_local(package)}
    known = set(before) if installed.sees_more else before.keys() | after.keys()
    passed_over = _INSTALLERS & installed.direct - after.keys() if request.lists_packages else set()
    return [
        f"{name} {before.get(name, 'none')} → {after.get(name, 'none')}"
        for name in sorted(known - request.decided - passed_over - local)
        if canonicalize_version(before.get(name, "")) != canonicalize_version(after.get(name, ""))
    ]
