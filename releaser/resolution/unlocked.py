"""What an environment without a lock holds, and what of that a lock can hold. uv tells; nothing of it is imported."""

from __future__ import annotations

import json
import os
import re
from dataclasses import field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.utils import canonicalize_name

from releaser.errors import Finding, Findings, PreflightError, ResolutionError, ToolError, refuse
from releaser.releases.venv import ask
from releaser.resolution.newest import find_missing
from releaser.resolution.requirements_file import AGREE, NOT_KNOWN, Line, compile_file, index_options, read_lines
from releaser.site.project import declared_dependencies
from releaser.site.pythons import admits, choose, need_base, refuse_too_old
from releaser.system.frozen import Frozen
from releaser.system.temporary import temporary_directory
from releaser.system.words import Redactor, secrets_in_urls

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from releaser.locks.overrides import Override
    from releaser.site.site import Site
    from releaser.tools.uv import Uv

_INDEX_SETTINGS = ("index", "index-url", "extra-index-url", "find-links", "no-index")
_OVERRULING = ("override-dependencies", "exclude-dependencies", "dependency-metadata")
_TO_HIDE = (
    "Name the index without it in [[tool.uv.index]] of pyproject.toml, and take the line out: uv gets the password"
    " from the environment; git asks a credential helper, or uses ssh."
)
_QUOTED = re.compile(r"`([\w.-]+)")
_INSTALLERS = {"pip", "setuptools", "wheel"}  # which a venv may have although nothing asks for them
_TIMEOUT = 60.0  # seconds; a cold disk can make the first start of an old Python slow
# A venv may see packages of the operating system, which uv neither lists nor installs.
_VISIBLE = """\
import importlib.metadata, json
print("\\nvisible:", json.dumps([[one.metadata["Name"], one.version] for one in importlib.metadata.distributions()]))
"""


class FirstLockRequest(Frozen):
    """Where the packages of a first lock are to be taken from: a venv, a requirements file, or both."""

    #: A venv, another place where a Python has the packages, or that Python itself.
    venv: Path | None = None
    requirements: Path | None = None
    #: Packages that are to be left out.
    without: frozenset[str] = frozenset()
    #: Where to take packages from that no index has.
    given: tuple[Override, ...] = ()

    @property
    def decided(self) -> frozenset[str]:
        """The packages of which it says itself what becomes of them."""
        return self.without | {one.name for one in self.given}

    def __str__(self) -> str:
        return " and ".join(str(one) for one in (self.venv, self.requirements) if one is not None)


class UnlockedEnvironment(Frozen):
    """What was found; with `problems`, it cannot be locked, and the rest may be empty."""

    #: The interpreter that the packages are installed for.
    python: Path = Path()
    #: The one to build with, never that of a venv.
    base: Path = Path()
    python_version: str = ""
    #: What has to be in the lock, in exactly these versions.
    versions: Mapping[str, str] = field(default_factory=dict)
    #: Those that no other installed package needs.
    direct: frozenset[str] = frozenset()
    #: The project itself, where it is installed as a package.
    own: frozenset[str] = frozenset()
    #: Those that are installed as a link to their sources.
    editable: frozenset[str] = frozenset()
    #: Those whose version is not known beforehand, as they come from elsewhere than an index.
    elsewhere: frozenset[str] = frozenset()
    #: Whether `versions` are what is installed, and not only what uv makes of the requirements file.
    is_installed: bool = False
    #: The lines of the requirements file, and the options there that say where packages come from, if they count.
    lines: tuple[Line, ...] = ()
    indexes: tuple[str, ...] = ()
    problems: tuple[Finding, ...] = ()
    #: Why an index could not be asked; what else is wrong is found all the same.
    unanswered: ResolutionError | None = None


def read_environment(site: Site, request: FirstLockRequest) -> UnlockedEnvironment:
    """Look at everything and change nothing; what is wrong is in the answer, and hides nothing else."""
    problems, found = Findings(_refusals(site)), UnlockedEnvironment()
    try:
        found = _Look(site=site, uv=site.uv, request=request, problems=problems).read()
    except PreflightError as error:
        problems.extend(error.findings)
    except ToolError as error:
        problems.extend([Finding(error.reason, advice=error.advice or "See what it says.", output=error.output)])
    return replace(found, problems=tuple(problems))


def _refusals(site: Site) -> Iterator[Finding]:
    project = site.project
    if os.path.lexists(project.lock):
        advice = "Adopt it with the lock that it has: `releaser init`."
        yield Finding(f"{project.lock} exists, so the project has a lock already", advice=advice)
    for what in declared_dependencies(site.pyproject.content):
        yield Finding(
            f"{project.pyproject} already says what the project depends on: {what}",
            advice="Lock that, `uv lock`, and adopt the project: `releaser init`. Or take it out of the file.",
        )
    for path in (project.pyproject, project.lock):
        try:
            ignored = site.git.ignores(path.name)
        except ToolError:  # which preflight reports
            return
        if ignored:
            yield Finding(f"git ignores {path}", advice="Take it out of .gitignore: it is to be committed.")


class _Look(Frozen):
    """One look at an environment; it notes what is wrong."""

    site: Site
    uv: Uv
    request: FirstLockRequest
    problems: Findings

    def read(self) -> UnlockedEnvironment:
        """Return what there is. Raises PreflightError and ToolError when nothing more can be found."""
        site, request = self.site, self.request
        place = request.venv or (site.project.venv if (site.project.venv / "pyvenv.cfg").is_file() else None)
        python = choose(site, self.uv).python if place is None else _find_interpreter(place)
        version = ask(site.runner, str(python)).version
        refuse_too_old(version, python, by=str(python))
        if not admits(site, version):
            said = site.pyproject.table("project")["requires-python"]
            message = f"{site.project.pyproject}: requires-python is {said!r}, and the site runs on Python {version}"
            advice = "Widen it; or name the venv that has the right Python: --from-venv PATH."
            self.problems.append(Finding(message, advice=advice))
        found = UnlockedEnvironment(
            python=python,
            base=need_base(python),
            python_version=version,
            elsewhere=frozenset(one.name for one in request.given if one.url),
        )
        visible: dict[str, str] = {}
        if place is not None:
            found, visible = self._add_installed(found), _visible_to(site, python)
            self.problems.extend(self._find_conflicts(python, visible))
            unlisted = visible.keys() - found.versions.keys() - found.elsewhere - request.without - found.own
            if unlisted and request.requirements is None:
                which = ", ".join(sorted(unlisted))
                message = f"{place} sees packages that are not installed in it, which may be needed: {which}"
                advice = (
                    f"Write those that the site needs into a file, and give it as well: `{python} -m pip freeze` names"
                    " all; then --from-requirements FILE. Or make a venv without --system-site-packages."
                )
                self.problems.append(Finding(message, advice=advice))
        try:
            if request.requirements is not None:
                added = self.problems.attempt(self._add_file, request.requirements, found, visible)
                if added is None:  # and it is not known which index is to be asked
                    return found
                found = added
            given = {one.name: one.specifier.lstrip("=") for one in request.given if not one.url}
            dropped = found.elsewhere | request.without
            known = {name: version for name, version in found.versions.items() if name not in dropped}
            found = replace(found, versions={**known, **given})
            self.problems.extend(_missing_from_index(site, self.uv, found) if found.is_installed else ())
        except ResolutionError as error:
            found = replace(found, unanswered=error)
        return found

    def _add_installed(self, found: UnlockedEnvironment) -> UnlockedEnvironment:
        site, uv, request, problems = self.site, self.uv, self.request, self.problems
        listed = _list_installed(uv, found.python)
        links = {
            name: one["editable_project_location"] for name, one in listed.items() if "editable_project_location" in one
        }
        roots = (str(site.project.root), str(site.project.root / "src"))
        own = frozenset(name for name, link in links.items() if link.rstrip("/") in roots)
        versions = {name: one["version"] for name, one in listed.items()}
        frozen = (line.partition(" @ ") for line in uv.run(["pip", "freeze", "--python", found.python]).splitlines())
        places = {str(canonicalize_name(name)): place for name, _, place in frozen if place} | links
        tree = uv.run(["pip", "tree", "--depth", "0", "--python", found.python]).splitlines()
        for name in own - request.decided if not site.pyproject.table("build-system") else ():
            message = (
                f"{name} {versions[name]} is the project itself, and {site.project.pyproject} has no [build-system]"
            )
            advice = f"Add one, without which uv does not install it; or leave it out: --without {name}."
            problems.append(Finding(message, advice=advice))
        problems.extend(
            Finding(f"--without {name}: it is not installed for {found.python}", advice="Leave it out.")
            for name in sorted(request.without - versions.keys())
        )
        open_ones = {name: it for name, it in versions.items() if name not in request.decided | own}
        problems.extend(_from_elsewhere(found.python, open_ones, places))
        return replace(
            found,
            is_installed=True,
            versions={name: version for name, version in versions.items() if name not in own},
            direct=frozenset(canonicalize_name(line.split()[0]) for line in tree if line.strip()),
            own=own,
            editable=frozenset(links),
            elsewhere=found.elsewhere | (places.keys() - request.decided),
        )

    def _find_conflicts(self, python: Path, visible: Mapping[str, str]) -> Iterator[Finding]:
        """Find what does not go together; uv looks neither at other places, nor at what the project overrules."""
        if any(key in self.site.pyproject.table("tool", "uv") for key in _OVERRULING):
            return
        given = {one.name for one in self.request.given}
        try:
            self.uv.run(["pip", "check", "--python", python])
        except ToolError as error:
            advice = "Repair it, or say what is to be locked instead: --with 'NAME==VERSION', --without NAME."
            for line in (one for one in error.output.splitlines() if one.startswith("The package ")):
                name, needed = [canonicalize_name(one) for one in [*_QUOTED.findall(line), ""][:2]]
                is_there = needed in visible and line.endswith("not installed")
                if not (is_there or name in self.request.decided or needed in given):
                    yield Finding(line, advice=advice)

    def _add_file(self, file: Path, found: UnlockedEnvironment, visible: Mapping[str, str]) -> UnlockedEnvironment:
        """Add what uv makes of the file, in the versions that the Python sees, if any. Raises PreflightError."""
        site, request, problems = self.site, self.request, self.problems
        pins = {name: version for name, version in visible.items() if name not in request.decided}
        try:
            compiled = compile_file(site, self.uv, file, found.python, pins)
            lines = tuple(read_lines(file, site.runner.environ))
        except (OSError, UnicodeDecodeError) as error:
            message = f"{file} cannot be read: {getattr(error, 'strerror', None) or error}"
            refuse(message, "Name a requirements file: --from-requirements FILE.")
        where = {str(canonicalize_name(one.name)): line.where for line in lines if (one := line.requirement)}
        problems.extend(
            Finding(f"{line.where} contains a password or a token, which git would keep", advice=_TO_HIDE)
            for line in lines
            if secrets_in_urls(line.text)
        )
        versions, elsewhere = dict(found.versions), set(found.elsewhere)
        for line in compiled:
            name, _, version = line.partition("==")
            place = line.removeprefix("-e ").rpartition(" @ ")[2]
            if version and found.is_installed and name not in visible.keys() | request.decided:
                what = f"{where.get(name) or file}: {name} {version} is required, but not installed"
                problems.extend([Finding(what, advice=AGREE)])
            elif version:
                versions.setdefault(name, version)
            elif os.path.normpath(file.parent / place.removeprefix("file://")) == str(site.project.root):
                advice = "Take that line out: uv installs it by itself if pyproject.toml has a [build-system]."
                problems.extend([Finding(f"{file} asks for the project itself: {line}", advice=advice)])
            elif " @ " in line:
                elsewhere.add(canonicalize_name(line.partition(" @ ")[0]))
        asked = {str(canonicalize_name(re.split(r"==| @ ", line, maxsplit=1)[0])) for line in compiled}
        left_out = _INSTALLERS & found.direct - asked
        says_indexes = any(key in site.pyproject.table("tool", "uv") for key in _INDEX_SETTINGS)
        return replace(
            found,
            versions={name: version for name, version in versions.items() if name not in left_out},
            elsewhere=frozenset(elsewhere),
            lines=lines,
            indexes=() if says_indexes else tuple(index_options(lines)),
        )


def _find_interpreter(place: Path) -> Path:
    """Return the interpreter of a venv or of another Python, or `place` if it is one. Raises PreflightError."""
    # Of an operating system, the one without a number may be Python 2.
    candidates = [place] if not os.path.isdir(place) else [place / "bin" / name for name in ("python3", "python")]
    for python in candidates:
        if os.access(python, os.X_OK):
            return python
    why = "has no bin/python that can be started" if os.path.lexists(place) else "does not exist"
    return refuse(f"{place} {why}", "Name a venv, or a Python that has the packages: --from-venv PATH.")


def installed_versions(uv: Uv, python: Path) -> dict[str, str]:
    """Return the versions of the packages that are installed for an interpreter. Raises ToolError."""
    return {name: one["version"] for name, one in _list_installed(uv, python).items()}


def _list_installed(uv: Uv, python: Path) -> dict[str, dict[str, str]]:
    listed = json.loads(uv.run(["pip", "list", "--format", "json", "--python", python]))
    return {str(canonicalize_name(one["name"])): one for one in listed}


def _from_elsewhere(python: Path, versions: Mapping[str, str], places: Mapping[str, str]) -> Iterator[Finding]:
    """Find the packages that come from `places` or that a `setup.py install` has left, and so from no index.

    pip keeps a list of files beside the metadata of such a one.
    """
    eggs = python.parent.parent.glob("lib/python*/site-packages/*.egg*")
    untraced = {
        canonicalize_name(one.stem.partition("-")[0])
        for one in eggs
        if one.suffix in (".egg", ".egg-info") and not (one / "installed-files.txt").exists()
    }
    for name, version in sorted(versions.items()):
        if name in places:
            place = Redactor().clean(places[name])
            what = f"{'is an editable install of' if place.startswith('/') else 'was installed from'} {place}"
            advice = f"Say where to take it from: --with '{name} @ {place}'; or leave it out: --without {name}."
            yield Finding(f"{name} {version} {what}, so no lock can hold it", advice=advice)
        elif name in untraced:
            message = f"{name} {version} was installed by its setup.py, which leaves no trace of where it came from"
            yield Finding(
                message, advice=f"Say where to take it from: --with '{name}=={version}'; or --without {name}."
            )


def _visible_to(site: Site, python: Path) -> dict[str, str]:
    """Return what an interpreter would import, whether it is in its venv or not."""
    words: list[str | Path] = [python, "-I", "-B", "-c", _VISIBLE]
    finished = site.runner.run(words, cwd=Path("/"), env=site.runner.neutral, timeout=_TIMEOUT)
    said = finished.stdout.rpartition("\nvisible:")[2].partition("\n")[0]  # beside what the site prints at each start
    found = reversed(json.loads(said))  # of two of one name, the first is the one that is imported
    return {canonicalize_name(name): version for name, version in found if name and version}


def _missing_from_index(site: Site, uv: Uv, found: UnlockedEnvironment) -> Iterator[Finding]:
    words = ["--no-deps", "--universal", "--python", str(found.python), "--python-version", found.python_version]
    with temporary_directory() as place:
        file = place / "pins.txt"

        def ask_for(pins: Mapping[str, str]) -> object:
            lines = (*found.indexes, *(f"{name}{version}" for name, version in sorted(pins.items())))
            file.write_text("\n".join(lines) + "\n", encoding="utf-8")
            return uv.compile(site.project.root, file, *words)

        pins = {name: f"=={version}" for name, version in found.versions.items()}
        missing = find_missing(ask_for, pins, what=NOT_KNOWN)
    for name in sorted(missing):
        version = found.versions[name]
        yield Finding(
            f"{name} {version} is not in the index, so no lock can hold it",
            advice="Name an index that has it in [[tool.uv.index]] of pyproject.toml (pip's own configuration does not"
            f" count); or --with '{name} @ PATH-or-URL', --with '{name}==VERSION', --without {name}.",
        )
