"""What a project without a lock asks for: by what is installed, or by a requirements file."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from releaser.errors import Unfit
from releaser.locking.dependencies import asked_for, project_name, source_of
from releaser.locking.inventory import Inventory, take_stock, unlockable
from releaser.locking.needs import Needs, Root, admits
from releaser.locking.requirements import RequirementsFile, read_requirements
from releaser.redaction import secrets_in_urls
from releaser.report.outcome import Problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from releaser.locking.overrides import Override
    from releaser.locking.requirements import Elsewhere, Line
    from releaser.project.imports import Modules
    from releaser.project.site import Site
    from releaser.tools.distributions import Distribution, Environment

_SHOWN = 20  # names in one sentence
_INDEX_SETTINGS = ("index", "index-url", "extra-index-url", "find-links", "no-index")


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Where the packages are to be taken from: a venv or another Python, a requirements file, or both.

    `without` names what is to be left out, and `given` says where to take packages from that no index has.
    """

    venv: Path | None = None
    requirements: Path | None = None
    without: frozenset[str] = frozenset()
    given: tuple[Override, ...] = ()

    def __str__(self) -> str:
        return " and ".join(str(one) for one in (self.venv, self.requirements) if one is not None)


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a project asks for, as `Founding` has it, and the `versions` that are to be locked; see `Survey`.

    `hashes` are those that a file demands of packages; `editable` names the packages that are installed as links to
    their sources.
    """

    project_name: str
    versions: Mapping[str, str]
    dependencies: tuple[str, ...]
    whole: bool = True
    given: frozenset[str] = frozenset()
    constraints: tuple[str, ...] = ()
    sources: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    indexes: tuple[Mapping[str, Any], ...] = ()
    links: tuple[str, ...] = ()
    no_index: bool = False
    hashes: Mapping[str, frozenset[str]] = field(default_factory=dict)
    notes: tuple[Problem, ...] = ()
    problems: tuple[Unfit, ...] = ()


def asked_of_venv(site: Site, wanted: Wanted, environment: Environment, used: Modules) -> Asked:
    """Ask for what no other installed package needs, and for what the code imports."""
    stock = _stock(site, wanted, environment, used)
    packages = _with_given(stock.packages, wanted.given)
    needs = Needs(packages, environment.markers, [Root(one.name, one.extras) for one in wanted.given])
    imported = [one.name for one in packages if _imported(one, packages) & used.imported]
    roots = needs.roots(imported=imported)
    problems = [*_unlockable(stock, wanted), *_unknown(environment, wanted), *_own(site, stock), *_broken(needs)]
    return _asked(site, wanted, stock, packages, roots, notes=_notes(stock), problems=problems)


def asked_of_file(site: Site, wanted: Wanted, environment: Environment, used: Modules) -> Asked:
    """Ask for what a requirements file names, in the installed versions, or else in those it pins. Raises Unfit."""
    file = _file(site, wanted)
    lines = [one for one in file.lines if not one.came_along and one.name not in wanted.without]
    applying = [one for one in file.applying(environment.markers) if one.name not in wanted.without]
    problems = [Unfit(one, advice="Correct it; nothing is locked before.") for one in file.problems]
    if environment.distributions:
        stock = _stock(site, wanted, environment, used)
        packages = _with_given(stock.packages, wanted.given)
        problems += [*_contradicted(applying, packages, wanted), *_unknown(environment, wanted), *_own(site, stock)]
    else:
        stock = Inventory(packages=())
        pins = {name: pin for name, pin in file.pins(environment.markers).items() if name not in wanted.without}
        packages = _with_given([_pinned(name, pin) for name, pin in pins.items()], wanted.given)
    roots: tuple[Root, ...] = tuple(Root(one.name, one.extras) for one in wanted.given)
    if environment.distributions:
        needs = Needs(packages, environment.markers, [*roots, *map(_root, lines)])
        roots = needs.roots()
        problems += [*_unlockable(stock, wanted), *_broken(needs)]
    named = {one.name for one in unlockable(stock)}
    problems += _elsewhere(site, file, wanted, named)
    asked = _asked(site, wanted, stock, packages, roots, lines=lines, notes=_notes(stock), problems=problems)
    asked = replace(
        asked,
        whole=bool(environment.distributions),
        constraints=tuple(str(one.requirement) for one in file.constraints if one.pin is None),
        hashes={one.name: one.hashes for one in applying if one.hashes},
    )
    return _with_indexes(site, file, asked)


def _pinned(name: str, version: str) -> Distribution:
    from releaser.tools.distributions import Distribution

    return Distribution(name=name, version=version)


def _root(line: Line) -> Root:
    return Root(line.name, frozenset(line.requirement.extras))


def _file(site: Site, wanted: Wanted) -> RequirementsFile:
    assert wanted.requirements is not None  # noqa: S101 - the caller looked
    try:
        return read_requirements(wanted.requirements, site.runner.environ)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        message = f"{wanted.requirements} cannot be read: {reason}"
        raise Unfit(message, advice="Name a requirements file: --from-requirements FILE.") from error


def _stock(site: Site, wanted: Wanted, environment: Environment, used: Modules) -> Inventory:
    modules = used.imported | used.mentioned
    return take_stock(environment, root=site.project.root, used_modules=modules, without=wanted.without)


def _imported(one: Distribution, packages: Iterable[Distribution]) -> frozenset[str]:
    """Return the modules of a package that no other one has a part in."""
    return one.modules.difference(*(other.modules for other in packages if other is not one))


def _with_given(packages: Iterable[Distribution], given: Iterable[Override]) -> list[Distribution]:
    """Put what `--with` gives in the place of what is installed, or beside it."""
    found = {one.name: one for one in packages}
    for one in given:
        version = (
            one.specifier.removeprefix("==") if not one.url else found.get(one.name, _pinned(one.name, "0")).version
        )
        found[one.name] = replace(found.get(one.name, _pinned(one.name, version)), version=version)
    return list(found.values())


def _asked(
    site: Site,
    wanted: Wanted,
    stock: Inventory,
    packages: Iterable[Distribution],
    roots: Iterable[Root],
    *,
    lines: Iterable[Line] = (),
    notes: tuple[Problem, ...] = (),
    problems: Iterable[Unfit] = (),
) -> Asked:
    versions = {one.name: one.version for one in packages}
    elsewhere = {one.name for one in wanted.given if one.url}
    editable = {one.name for one in stock.packages if (one.direct_url or {}).get("dir_info", {}).get("editable")}
    dependencies = list(asked_for([one for one in roots if one.name not in elsewhere], versions, lines))
    sources: dict[str, Mapping[str, Any]] = {}
    for one in wanted.given:
        if one.url:
            dependency, source = source_of(one, _path(site, one.url), editable=one.name in editable)
            dependencies.append(dependency)
            sources |= {one.name: source} if source is not None else {}
    return Asked(
        project_name=project_name(site.project.name, [*versions, *(one.name for one in lines)]),
        versions={name: version for name, version in versions.items() if name not in elsewhere},
        dependencies=tuple(sorted(dependencies, key=str.lower)),
        given=frozenset(elsewhere),
        sources=sources,
        notes=notes,
        problems=tuple(problems),
    )


def _path(site: Site, url: str) -> str:
    """Return the path of a file URL, relative to the project if it is in or beside it; empty for any other URL."""
    parts = urlsplit(url)
    return _beside(site, unquote(parts.path)) if parts.scheme == "file" else ""


def _beside(site: Site, place: str) -> str:
    root = site.project.root
    is_near = Path(place).is_relative_to(root.parent) and root.parent != Path("/")
    return os.path.relpath(place, root) if is_near else place


def _unlockable(stock: Inventory, wanted: Wanted) -> Iterator[Unfit]:
    given = {one.name for one in wanted.given}
    for one in unlockable(stock):
        if one.name not in given:
            advice = f"Say where to take it from: --with '{one.instead}'; or leave it out: --without {one.name}."
            yield Unfit(f"{one}, so no lock can hold it", advice=advice)


def _unknown(environment: Environment, wanted: Wanted) -> Iterator[Unfit]:
    names = {one.name for one in environment.distributions}
    for name in sorted(wanted.without - names):
        yield Unfit(f"--without {name}: it is not installed for {environment.python}", advice="Leave it out.")


def _own(site: Site, stock: Inventory) -> Iterator[Unfit]:
    """Refuse a project that is installed as a package, and that uv would not install."""
    if stock.own is not None and not site.pyproject.table("build-system"):
        message = f"{stock.own.name} {stock.own.version} is the project itself, and {site.project.pyproject} has no"
        yield Unfit(
            f"{message} [build-system], without which uv does not install it",
            advice=f"Add one; or leave it out: --without {stock.own.name}.",
        )


def _broken(needs: Needs) -> Iterator[Unfit]:
    for one in needs.broken():
        yield Unfit(one, advice="No lock can hold versions that do not go together: fix it, `pip check` tells when.")


def _contradicted(lines: Iterable[Line], packages: Iterable[Distribution], wanted: Wanted) -> Iterator[Unfit]:
    installed = {one.name: one.version for one in packages}
    given = {one.name for one in wanted.given}
    for line in lines:
        if line.name in given:
            continue
        version = installed.get(line.name)
        if version is None:
            what = "is not installed"
        elif not admits(line.requirement, version):
            what = f"is installed as {version}"
        else:
            continue
        advice = "Make file and venv agree: `pip install -r` it, or correct the file. Or name another --from-venv."
        yield Unfit(f"{line.where}: {line.name}{line.requirement.specifier} {what}", advice=advice)


def _elsewhere(site: Site, file: RequirementsFile, wanted: Wanted, named: set[str]) -> Iterator[Unfit]:
    """Refuse the lines that name a place, but for the project itself, and for what is told of or given already."""
    for one in file.elsewhere:
        settled = one.name in named | wanted.without | {given.name for given in wanted.given}
        if settled or one.place in (str(site.project.root), *(unquote(urlsplit(it.url).path) for it in wanted.given)):
            continue
        yield Unfit(
            f"{one.where}: {one.text} names a place and no version of an index, so no lock can hold it",
            advice=_instead(one),
        )


def _instead(one: Elsewhere) -> str:
    leave = f"; or leave it out: --without {one.name}" if one.name else ""
    return f"Say where to take it from: --with '{one.name or 'NAME'} @ {one.place}'{leave}."


def _notes(stock: Inventory) -> tuple[Problem, ...]:
    notes = []
    if stock.of_the_system:
        message = f"these packages of the operating system come from the index now: {_listed(stock.of_the_system)}"
        advice = "The versions are the same, but the operating system may have patched them; see that the site is well."
        notes.append(Problem(message=message, advice=advice))
    if stock.unused:
        message = f"packages of the operating system that nothing here needs are left out: {_listed(stock.unused)}"
        notes.append(Problem(message=message, advice="If the site needs one all the same, add it: `uv add NAME`."))
    return tuple(notes)


def _listed(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _with_indexes(site: Site, file: RequirementsFile, asked: Asked) -> Asked:
    """Add the indexes that the file names, unless pyproject.toml says where packages come from."""
    if any(key in site.pyproject.table("tool", "uv") for key in _INDEX_SETTINGS):
        return asked
    urls = [url for url in (file.index, *file.extra, *file.links) if url]
    secret = [url for url in urls if secrets_in_urls(url)]
    advice = "Name the index in [[tool.uv.index]] of pyproject.toml; uv takes the password from the environment."
    problems = (
        [Unfit(f"{file.path} names an index with a password, which git would keep", advice=advice)] if secret else []
    )
    indexes: list[Mapping[str, Any]] = [{"url": url} for url in file.extra]
    if file.index:
        indexes.append({"url": file.index, "default": True})
    return replace(
        asked,
        indexes=tuple(indexes),
        links=tuple(link if "://" in link else _beside(site, link) for link in file.links),
        no_index=file.no_index,
        problems=(*asked.problems, *problems),
    )
