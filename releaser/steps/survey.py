"""Looking at a project without a lock: what it runs on, what of that a lock can hold, and what it asks for itself."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packaging.specifiers import InvalidSpecifier, SpecifierSet

from releaser.errors import ResolutionError, ToolError, Unfit
from releaser.locking.dependencies import Founding, declared_already, founded
from releaser.locking.lockfile import LockFile
from releaser.locking.needs import oldest_python
from releaser.project.group import NO_GROUP, lacks_group
from releaser.project.imports import Modules, modules_used
from releaser.project.project import Pyproject
from releaser.project.pythons import choose, need_base, refuse_too_old
from releaser.steps.asking import Asked, Wanted, asked_of_file, asked_of_venv
from releaser.steps.offers import missing_from_index
from releaser.tools import distributions
from releaser.tools.python import identify

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from releaser.project.site import Site
    from releaser.report.outcome import Problem
    from releaser.tools.distributions import Environment

_TIMEOUT = 60.0  # seconds; a cold disk can make the first start of an old Python slow


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What was found: the packages with their `versions`, and the two texts that pyproject.toml may get.

    `python` is the interpreter that they are installed for, `base` the one to build with, never that of a venv.
    With `whole`, these packages are all there are to be, else more may come along. Of those in `given`, the version is
    not known beforehand. The second text narrows the lock to this platform and this Python, for packages whose versions
    go together nowhere else. `notes` are for people, `problems` keep the project from being locked.
    """

    python: Path
    base: Path
    python_version: str
    versions: Mapping[str, str] = field(default_factory=dict)
    whole: bool = True
    given: frozenset[str] = frozenset()
    dependencies: tuple[str, ...] = ()
    text: str = ""
    narrowed: str = ""
    notes: tuple[Problem, ...] = ()
    problems: tuple[Unfit, ...] = ()


def survey(site: Site, wanted: Wanted) -> Survey:
    """Look at everything and change nothing; what is wrong is in the answer. Raises ResolutionError.

    That is for an index that cannot be reached.
    """
    site, problems = _without_missing(site), list(_refusals(site))
    try:
        environment = _environment(site, wanted)
        base = _find_base(environment.python)
        used = _modules(site)
        if wanted.requirements is not None:
            asked = asked_of_file(site, wanted, environment, used)
        else:
            asked = asked_of_venv(site, wanted, environment, used)
        requires_python = _requires_python(site, environment)
    except Unfit as problem:
        return Survey(python=Path(), base=Path(), python_version="", problems=(*problems, problem))
    problems += asked.problems
    try:
        problems += missing_from_index(site, asked, environment)
    except ResolutionError:
        if not problems:  # else there is enough to be done before it matters
            raise
    text, narrowed = ("", "") if problems or site.findings else _texts(site, asked, environment, requires_python)
    return Survey(
        python=environment.python,
        base=base,
        python_version=environment.version,
        versions=asked.versions,
        whole=asked.whole,
        given=asked.given,
        dependencies=asked.dependencies,
        text=text,
        narrowed=narrowed,
        notes=asked.notes,
        problems=tuple(problems),
    )


def surveyed(site: Site, found: Survey) -> tuple[Site, LockFile]:
    """Return the site as it is to be, for preflight: with that pyproject.toml; and a lock that knows the packages."""
    import tomllib

    site = _without_missing(site)
    content: Mapping[str, Any] = tomllib.loads(found.text) if found.text else _stand_in(site)
    settings = site.settings
    if lacks_group(settings, site.pyproject):
        settings = replace(settings, group=NO_GROUP)
    changed = replace(
        site,
        pyproject=Pyproject(path=site.project.pyproject, content=content),
        settings=settings,
        findings=(*site.findings, *found.problems),
    )
    return changed, LockFile(data=b"", versions=found.versions)


def _without_missing(site: Site) -> Site:
    """That there is no pyproject.toml is nothing wrong here."""
    missing = f"{site.project.pyproject} does not exist"
    return replace(site, findings=tuple(one for one in site.findings if one.message != missing))


def _stand_in(site: Site) -> Mapping[str, Any]:
    """Return what is in pyproject.toml, as if it had what was to be written: preflight is to tell of other things."""
    project = {"requires-python": ">=3", **site.pyproject.table("project")}
    return {**site.pyproject.content, "project": project}


def _refusals(site: Site) -> Iterator[Unfit]:
    project = site.project
    if os.path.lexists(project.lock):
        advice = "Adopt it with the lock that it has: `releaser init`."
        yield Unfit(f"{project.lock} exists, so the project has a lock already", advice=advice)
    for what in declared_already(site.pyproject.content):
        yield Unfit(
            f"{project.pyproject} says what the project depends on already: {what}",
            advice="Lock that, `uv lock`, and adopt the project: `releaser init`. Or take it out of the file.",
        )
    for path in (project.pyproject, project.lock):
        try:
            ignored = site.git.ignores(path.name)
        except ToolError:  # which preflight reports
            return
        if ignored:
            yield Unfit(f"git ignores {path}", advice="Take it out of .gitignore: it is to be committed.")


def _environment(site: Site, wanted: Wanted) -> Environment:
    """Ask the Python that the site runs on what is installed; without any, the one that uv picks. Raises Unfit."""
    place = wanted.venv
    if place is None and (site.project.venv / "pyvenv.cfg").is_file():
        place = site.project.venv
    if place is None:
        return replace(_ask(site, _python_of_uv(site)), distributions=())
    python = distributions.interpreter_of(place)
    if python is None:
        what = "does not exist" if not os.path.lexists(place) else "has no bin/python that can be started"
        message = f"{place} {what}"
        raise Unfit(message, advice="Name a venv, or a Python that has the packages: --from-venv PATH.")
    return _ask(site, python)


def _ask(site: Site, python: Path) -> Environment:
    try:
        refuse_too_old(identify(site.runner, python).version, python, by=str(python))
        return distributions.ask(site.runner, python, timeout=_TIMEOUT)
    except ToolError as error:
        advice = error.advice or "See that it starts; what is installed there cannot be told otherwise."
        raise Unfit(error.message, advice=advice, output=error.output) from error


def _find_base(python: Path) -> Path:
    try:
        return need_base(python)
    except ToolError as error:
        raise Unfit(error.message, advice="Make a new venv, or reinstall the Python that it was made from.") from error


def _python_of_uv(site: Site) -> Path:
    return choose(site, site.uv()).python


def _modules(site: Site) -> Modules:
    try:
        files = site.git.tracked_files()
    except ToolError:  # which preflight reports
        files = []
    return modules_used(site.project.root, files)


def _requires_python(site: Site, environment: Environment) -> str:
    """Return what pyproject.toml says, or else this Python, as old as packages let it be, and later. Raises Unfit."""
    said = site.pyproject.table("project").get("requires-python")
    try:
        fits = not isinstance(said, str) or SpecifierSet(said).contains(environment.version, prereleases=True)
    except InvalidSpecifier:  # which preflight reports
        fits = True
    if not fits:
        message = f"{site.project.pyproject}: requires-python is {said!r}, but this is Python {environment.version}"
        raise Unfit(message, advice="Correct requires-python; nothing else may change.")
    return said if isinstance(said, str) else f">={oldest_python(environment.distributions, environment.version)}"


def _minor(environment: Environment) -> str:
    return ".".join(environment.version.split(".")[:2])


def _texts(site: Site, asked: Asked, environment: Environment, requires_python: str) -> tuple[str, str]:
    founding = Founding(
        name=asked.project_name,
        requires_python=requires_python,
        dependencies=asked.dependencies,
        constraints=asked.constraints,
        sources=asked.sources,
        indexes=asked.indexes,
        links=asked.links,
        no_index=asked.no_index,
        group=NO_GROUP if lacks_group(site.settings, site.pyproject) else "",
    )
    markers = environment.markers
    python = f"python_version == '{_minor(environment)}' and python_full_version >= '{environment.version}'"
    here = f"sys_platform == '{markers['sys_platform']}' and {python}"
    path = site.project.pyproject
    before = path.read_text(encoding="utf-8") if path.exists() else None
    return founded(before, founding), founded(before, replace(founding, environments=(here,)))
