"""What an environment without a lock holds, and what of that a lock can hold. uv tells; nothing of it is imported."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.utils import canonicalize_name

from releaser.errors import Finding, PreflightError, ToolError, error_line
from releaser.releases.venv import ask
from releaser.resolution.requirements_file import AGREE, NOT_KNOWN, Line, compile_file, index_options, read_lines
from releaser.resolution.resolve import find_missing
from releaser.site.project import declared_dependencies
from releaser.site.pythons import choose, need_base, refuse_too_old
from releaser.system.words import Redactor, secrets_in_urls

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from releaser.locks.overrides import Override
    from releaser.site.site import Site
    from releaser.tools.uv import Uv

_INDEX_SETTINGS = ("index", "index-url", "extra-index-url", "find-links", "no-index")
_TIMEOUT = 60.0  # seconds; a cold disk can make the first start of an old Python slow
# A venv may see packages of the operating system, which uv neither lists nor installs.
_VISIBLE = """\
import importlib.metadata, json
print(json.dumps([[one.metadata["Name"], one.version] for one in importlib.metadata.distributions()]))
"""


@dataclass(frozen=True, kw_only=True)
class FirstLockRequest:
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


@dataclass(frozen=True, kw_only=True)
class UnlockedEnvironment:
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


def read_environment(site: Site, request: FirstLockRequest) -> UnlockedEnvironment:
    """Look at everything and change nothing; what is wrong is in the answer.

    Raises ResolutionError when an index cannot be reached.
    """
    refusals = tuple(_refusals(site))
    try:
        found = _read(site, request)
        return replace(found, problems=(*refusals, *found.problems))
    except PreflightError as error:
        return UnlockedEnvironment(problems=(*refusals, *error.findings))
    except ToolError as error:
        message = ": ".join(filter(None, (error.message, error_line(error.output))))
        finding = Finding(message, advice=error.advice or "See what it says.", output=error.output)
        return UnlockedEnvironment(problems=(*refusals, finding))


def _refusals(site: Site) -> Iterator[Finding]:
    project = site.project
    if os.path.lexists(project.lock):
        advice = "Adopt it with the lock that it has: `releaser init`."
        yield Finding(f"{project.lock} exists, so the project has a lock already", advice=advice)
    for what in declared_dependencies(site.pyproject.content):
        yield Finding(
            f"{project.pyproject} says what the project depends on already: {what}",
            advice="Lock that, `uv lock`, and adopt the project: `releaser init`. Or take it out of the file.",
        )
    for path in (project.pyproject, project.lock):
        try:
            ignored = site.git.ignores(path.name)
        except ToolError:  # which preflight reports
            return
        if ignored:
            yield Finding(f"git ignores {path}", advice="Take it out of .gitignore: it is to be committed.")


def _read(site: Site, request: FirstLockRequest) -> UnlockedEnvironment:
    uv = site.uv()
    place = request.venv or (site.project.venv if (site.project.venv / "pyvenv.cfg").is_file() else None)
    python = choose(site, uv).python if place is None else _find_interpreter(place)
    version = ask(site.runner, str(python)).version
    refuse_too_old(version, python, by=str(python))
    found = UnlockedEnvironment(
        python=python,
        base=need_base(python),
        python_version=version,
        elsewhere=frozenset(one.name for one in request.given if one.url),
    )
    visible: dict[str, str] = {}
    if place is not None:
        found, visible = _add_installed(site, uv, request, found), _visible_to(site, python)
        unlisted = visible.keys() - found.versions.keys() - found.elsewhere - request.without - found.own
        if unlisted and request.requirements is None:
            found = replace(found, problems=(*found.problems, _of_the_system(place, python, unlisted)))
    if request.requirements is not None:
        try:
            found = _add_file(site, uv, request, found, visible)
        except (OSError, UnicodeDecodeError) as error:
            message = f"{request.requirements} cannot be read: {getattr(error, 'strerror', None) or error}"
            raise PreflightError(
                Finding(message, advice="Name a requirements file: --from-requirements FILE.")
            ) from error
    given = {one.name: one.specifier.lstrip("=") for one in request.given if not one.url}
    known = {name: it for name, it in found.versions.items() if name not in {*found.elsewhere, *request.without}}
    found = replace(found, versions={**known, **given})
    missing = _missing_from_index(site, uv, found) if found.is_installed else ()
    return replace(found, problems=(*found.problems, *missing))


def _find_interpreter(place: Path) -> Path:
    """Return the interpreter of a venv or of another Python, or `place` if it is one. Raises PreflightError."""
    # Of an operating system, the one without a number may be Python 2.
    candidates = [place] if place.is_file() else [place / "bin" / name for name in ("python3", "python")]
    for python in candidates:
        if os.access(python, os.X_OK):
            return python
    message = f"{place} {'has no bin/python that can be started' if os.path.lexists(place) else 'does not exist'}"
    raise PreflightError(Finding(message, advice="Name a venv, or a Python that has the packages: --from-venv PATH."))


def installed_versions(uv: Uv, python: Path) -> dict[str, str]:
    """Return the versions of the packages that are installed for an interpreter. Raises ToolError."""
    return {name: one["version"] for name, one in _list_installed(uv, python).items()}


def _list_installed(uv: Uv, python: Path) -> dict[str, dict[str, str]]:
    listed = json.loads(uv.run(["pip", "list", "--format", "json", "--python", python]))
    return {str(canonicalize_name(one["name"])): one for one in listed}


def _add_installed(site: Site, uv: Uv, request: FirstLockRequest, found: UnlockedEnvironment) -> UnlockedEnvironment:
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
    problems = (
        *_own_problems(site, {name: versions[name] for name in own - request.decided}),
        *(
            Finding(f"--without {name}: it is not installed for {found.python}", advice="Leave it out.")
            for name in sorted(request.without - versions.keys())
        ),
        *_from_elsewhere(found.python, {n: it for n, it in versions.items() if n not in request.decided | own}, places),
    )
    return replace(
        found,
        is_installed=True,
        versions={name: version for name, version in versions.items() if name not in own},
        direct=frozenset(canonicalize_name(line.split()[0]) for line in tree if line.strip()),
        own=own,
        editable=frozenset(links),
        elsewhere=found.elsewhere | (places.keys() - request.decided),
        problems=problems,
    )


def _own_problems(site: Site, own: Mapping[str, str]) -> Iterator[Finding]:
    for name, version in own.items() if not site.pyproject.table("build-system") else ():
        message = f"{name} {version} is the project itself, and {site.project.pyproject} has no [build-system]"
        advice = f"Add one, without which uv does not install it; or leave it out: --without {name}."
        yield Finding(message, advice=advice)


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
    found = reversed(json.loads(finished.stdout))  # of two of one name, the first is the one that is imported
    return {canonicalize_name(name): version for name, version in found if name and version}


def _of_the_system(place: Path, python: Path, names: Iterable[str]) -> Finding:
    message = f"{place} sees packages that are not installed in it, which may be needed: {', '.join(sorted(names))}"
    advice = (
        f"Write those that the site needs into a file, and give it as well: `{python} -m pip freeze` names all; then"
        " --from-requirements FILE. Or make a venv without --system-site-packages."
    )
    return Finding(message, advice=advice)


def _add_file(
    site: Site, uv: Uv, request: FirstLockRequest, found: UnlockedEnvironment, visible: Mapping[str, str]
) -> UnlockedEnvironment:
    """Add what uv makes of the file, in the versions that the Python sees, if it sees any. Raises PreflightError."""
    file = request.requirements or Path()
    pins = {name: version for name, version in visible.items() if name not in request.decided}
    compiled = compile_file(site, uv, file, found.python, pins)
    lines = tuple(read_lines(file, site.runner.environ))
    where = {
        str(canonicalize_name(wanted.name)): line.where for line in lines if (wanted := line.requirement) is not None
    }
    advice = (
        "Name the index without it in [[tool.uv.index]] of pyproject.toml, and take the line out: uv gets the password"
        " from the environment; git asks a credential helper, or uses ssh."
    )
    problems = [
        Finding(f"{line.where} contains a password or a token, which git would keep", advice=advice)
        for line in lines
        if secrets_in_urls(line.text)
    ]
    versions, elsewhere = dict(found.versions), set(found.elsewhere)
    for line in compiled:
        name, _, version = line.partition("==")
        place = line.removeprefix("-e ").rpartition(" @ ")[2]
        if version and found.is_installed and name not in visible.keys() | request.decided:
            what = f"{where.get(name) or file}: {name} {version} is asked for, and not installed"
            problems.append(Finding(what, advice=AGREE))
        elif version:
            versions.setdefault(name, version)
        elif os.path.normpath(file.parent / place.removeprefix("file://")) == str(site.project.root):
            advice = "Take that line out: uv installs it by itself if pyproject.toml has a [build-system]."
            problems.append(Finding(f"{file} asks for the project itself: {line}", advice=advice))
        elif " @ " in line:
            elsewhere.add(canonicalize_name(line.partition(" @ ")[0]))
    says_indexes = any(key in site.pyproject.table("tool", "uv") for key in _INDEX_SETTINGS)
    return replace(
        found,
        versions=versions,
        elsewhere=frozenset(elsewhere),
        lines=lines,
        indexes=() if says_indexes else tuple(index_options(lines)),
        problems=(*found.problems, *problems),
    )


def _missing_from_index(site: Site, uv: Uv, found: UnlockedEnvironment) -> Iterator[Finding]:
    words = ["--no-deps", "--universal", "--python", str(found.python), "--python-version", found.python_version]
    with tempfile.TemporaryDirectory(prefix="releaser-") as place:
        file = Path(place) / "pins.txt"

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
