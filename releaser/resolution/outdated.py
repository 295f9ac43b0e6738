"""What is newer than what is locked, and what blocks it; nothing of the site is written.

`uv tree --outdated` does not tell enough: its newest versions are those for the oldest Python that the project admits,
without a time of upload; it passes over directories of files (`find-links`), and older uvs have no JSON for it. So uv
is asked to resolve a project that wants the newest of each package, whatever goes together.
"""

from __future__ import annotations

import contextlib
import tempfile
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packaging.markers import Marker, UndefinedEnvironmentName
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from releaser.answers import Blocker, OutdatedPackage
from releaser.errors import Finding, PreflightError, ResolutionError, ToolError, refuse
from releaser.locks.installed import environment_of
from releaser.locks.lock import EMPTY, Graph, InvalidLockError, LockFile, parse_changes
from releaser.locks.rules import explain
from releaser.locks.versions import Uploads, is_newer, newest, parse_version, times_of
from releaser.releases.quarantine import Constraints
from releaser.releases.store import store_of
from releaser.releases.venv import requirements_in
from releaser.resolution.resolve import find_missing, lock_of, unanswered
from releaser.resolution.rules import rules_for, select_holds
from releaser.site.pythons import choose, find_newer_python
from releaser.system.files import read_text
from releaser.system.words import why_held
from releaser.tools.uv import NoSolution, newest_arguments

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from releaser.locks.rules import Rules
    from releaser.releases.release import Release
    from releaser.site.pythons import Choice
    from releaser.site.site import Site
    from releaser.tools.uv import Uv


_NOT_ASKED = "the package index could not be asked"
_ANSWER = "pylock.toml"
# What says where packages come from, and how; what says which versions are wanted is left out.
_ASKED_ALIKE = (
    "no-index", "index-strategy", "keyring-provider", "allow-insecure-host", "native-tls", "system-certs", "offline",
    "prerelease", "no-build", "no-build-package", "no-binary", "no-binary-package", "no-build-isolation",
    "no-build-isolation-package",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class AvailableVersions:
    """What an index has of one package."""

    newest: str
    #: The newest for the Python of the site; None if there is none for it.
    fitting: str | None
    #: When versions were uploaded.
    times: Mapping[tuple[str, str], datetime | None]


@dataclass(frozen=True, kw_only=True)
class OutdatedReport:
    """All that is newer."""

    packages: tuple[OutdatedPackage, ...]
    #: Packages that come from no index, so that none was asked.
    elsewhere: tuple[str, ...]
    #: Packages of which the index has no version.
    unknown: tuple[str, ...]
    #: As in `Status`.
    newer_python: str | None


def find_outdated(site: Site) -> OutdatedReport:
    """Ask the index for what is newer than the lock of the live release, or of the checkout if there is none.

    Raises PreflightError, and ResolutionError when the index cannot be reached.
    """
    live, checkout, settings = store_of(site).live(), EMPTY, _settings_of_uv(site)
    with contextlib.suppress(OSError, InvalidLockError):
        checkout = LockFile.read(site.project.lock)
    running = lock_of(live)
    lock = running if running.data else checkout
    if not lock.data:
        message = f"{site.project.lock} is not a lock that can be read"
        raise PreflightError(Finding(message, advice="Make one: `uv lock`; `releaser check` tells more."))
    graph = Graph.of(lock)
    uv = site.uv()
    choice = choose(site, uv)
    locked = {name: newest(lock.versions[name].split(", ")) for name in sorted(graph.from_index)}
    available = _ask_index(site, uv, settings, locked, choice)
    behind = sorted(name for name, found in available.items() if is_newer(found.newest, locked[name]))
    constraints, now = Constraints.read(site.state_dir), datetime.now(UTC)
    holds = select_holds(site, constraints.holds, python=choice.version, now=now)
    known = _Known(
        rules=rules_for(site, checkout, running, replace(constraints, holds=holds), now=now),
        uploads=Uploads(times={key: time for name in behind for key, time in available[name].times.items()}),
        python=choice.version,
        locked=locked,
        available=available,
        reachable=_resolve_freely(site, uv, checkout, python=choice.python) if behind else None,
        requirements=tuple(_requirements(site, live, graph, choice.version)) if behind else (),
        undecided={(one.name, one.version): one.reason for one in constraints.holds.entries if one.by == "undecided"},
    )
    return OutdatedReport(
        packages=tuple(
            OutdatedPackage(
                name=name,
                locked=lock.versions[name],
                latest=available[name].newest,
                kept_by=tuple(known.blockers(name)),
            )
            for name in behind
        ),
        elsewhere=tuple(sorted(lock.versions.keys() - graph.from_index - graph.own)),
        unknown=tuple(name for name in locked if name not in available),
        newer_python=find_newer_python(site, uv, choice.version),
    )


# What blocks them


def _resolve_freely(site: Site, uv: Uv, locked: LockFile, *, python: Path) -> Mapping[str, str] | None:
    """Return what uv would lock if releaser kept nothing out; None if what the project asks for has no solution.

    `locked` is the lock of the checkout. Raises ResolutionError.
    """
    try:
        done = uv.lock(site.project.root, ["lock", "--upgrade", "--dry-run"], python=python)
    except ToolError as error:
        what = "could not determine what an update would bring"
        raise unanswered(error.output or error.message, what=what, advice=error.advice) from error
    if isinstance(done, NoSolution):
        return None
    changes = {change.name: change.new for change in parse_changes(done.output)}
    versions: dict[str, str | None] = {**locked.versions, **changes}
    return {name: version for name, version in versions.items() if version is not None}


def _requirements(site: Site, live: Release | None, graph: Graph, python: str) -> Iterator[tuple[str, Requirement]]:
    """Yield who asks for what: the project in all its extras and groups, and the installed packages in those in use."""
    project, uv = site.pyproject.table("project"), site.pyproject.table("tool", "uv")
    asked = [("the project", project.get("dependencies"))]
    for kind, table in (
        ("extra", site.pyproject.table("project", "optional-dependencies")),
        ("group", site.pyproject.groups),
    ):
        asked += [(f"the project ({kind} {name})", texts) for name, texts in table.items()]
    for key in ("constraint-dependencies", "override-dependencies", "dev-dependencies"):
        asked.append((f"the project ({key})", uv.get(key)))
    environment = environment_of(python)
    for asker, texts in asked:
        for requirement in _applying(texts if isinstance(texts, list) else (), environment, extras=()):
            yield asker, requirement
    for package in requirements_in(live.venv if live is not None else site.project.venv):
        if package.name not in graph.own:
            extras = graph.extras.get(package.name, frozenset())
            for requirement in _applying(package.requires, environment, extras=extras):
                yield f"{package.name} {package.version}", requirement


def _applying(
    texts: Iterable[object], environment: Mapping[str, str], *, extras: Iterable[str]
) -> Iterator[Requirement]:
    """Yield the requirements that apply there, and if these extras are wanted; what cannot be read is passed over."""
    for text in texts:
        try:
            wanted = Requirement(str(text))
            marker = wanted.marker
            if marker is None or any(marker.evaluate({**environment, "extra": one}) for one in ("", *extras)):
                yield wanted
        except (InvalidRequirement, UndefinedEnvironmentName):
            continue


@dataclass(frozen=True, kw_only=True)
class _Known:
    """All that decides what blocks a version."""

    rules: Rules
    uploads: Uploads
    python: str
    locked: Mapping[str, str]
    available: Mapping[str, AvailableVersions]
    #: What uv would lock if free to; None where the dependencies of the project have no solution.
    reachable: Mapping[str, str] | None
    #: Who asks for what.
    requirements: tuple[tuple[str, Requirement], ...]
    #: Why nobody knows of some versions whether they work.
    undecided: Mapping[tuple[str, str], str]

    def blockers(self, name: str) -> Iterator[Blocker]:
        """Yield what keeps the newest version of a package out."""
        latest = self.available[name].newest
        fitting = self.available[name].fitting or self.locked[name]
        comes_closer = is_newer(fitting, self.locked[name])
        if is_newer(latest, fitting):
            closest = f"; {fitting} is the newest for it" if comes_closer else ""
            yield Blocker(by="python", reason=f"{latest} needs a newer Python than {self.python}{closest}")
        if comes_closer:
            yield from (Blocker(by="constraint", reason=reason) for reason in self._constraints(name, fitting))
            if (name, fitting) in self.undecided:
                yield Blocker(by="undecided", reason=self.undecided[name, fitting])
            for one in explain(self.rules, name, fitting, self.uploads):
                yield Blocker(by=one.by, reason=why_held(one.reason, by=one.by, since=one.since))

    def _constraints(self, name: str, wanted: str) -> Iterable[str]:
        excluding = dict.fromkeys(
            f"{asker} asks for {one.name}{one.specifier}"
            for asker, one in self.requirements
            if canonicalize_name(one.name) == name and not one.specifier.contains(wanted, prereleases=True)
        )
        if self.reachable is None:
            return excluding
        if name not in self.reachable:
            return ["the next update removes it, as nothing requires it"]
        reached = newest(self.reachable[name].split(", "))
        if not is_newer(wanted, reached):
            return []
        return excluding or [f"what the project and its packages ask for, taken together, admits {reached} at most"]


# Asking the indexes


def _settings_of_uv(site: Site) -> Mapping[str, Any]:
    """Return what uv goes by: uv.toml, or else `[tool.uv]`. Raises PreflightError."""
    path = site.project.root / "uv.toml"
    try:
        return tomllib.loads(read_text(path))
    except FileNotFoundError:
        return site.pyproject.table("tool", "uv")
    except (OSError, ValueError) as error:
        refuse(f"{path} cannot be read: {error}", "Correct it; `uv lock --check` tells when it is right.")


def _ask_index(
    site: Site, uv: Uv, settings: Mapping[str, Any], locked: Mapping[str, str], choice: Choice
) -> dict[str, AvailableVersions]:
    """Return the versions of each package in the index, for this Python and for newer ones.

    Pre-releases count for a package that is locked at one. Raises ResolutionError.
    """
    with tempfile.TemporaryDirectory(prefix="releaser-outdated-") as place:
        tree, answer = Path(place), Path(place) / _ANSWER

        def ask(wanted: Mapping[str, str]) -> object:
            (tree / "pyproject.toml").write_text(_question(site, settings, wanted), encoding="utf-8")
            words = newest_arguments(answer=_ANSWER, python=choice.python, python_version=choice.version)
            return uv.compile(tree, *words)

        versions = {name: parse_version(version) for name, version in locked.items()}
        wanted = {name: f">={one}" if one and one.is_prerelease else "" for name, one in versions.items()}
        missing = find_missing(ask, wanted, what=_NOT_ASKED)
        if len(missing) == len(locked):
            return {}
        try:
            return _read_answer(answer.read_text(encoding="utf-8"), python=choice.version)
        except (OSError, ValueError) as error:
            message = f"uv left no list of versions that can be read: {error}"
            raise ResolutionError(message, advice="Check that `uv` is a working uv.") from error


def _question(site: Site, table: Mapping[str, Any], wanted: Mapping[str, str]) -> str:
    """Return the pyproject.toml that asks for packages; `wanted` maps names to bounds, such as `>=2.0rc1`, or nothing.

    It takes from the real project, and from its settings of uv, where packages come from.
    """
    import tomlkit  # takes a while to load

    root = site.project.root
    options = {key: table[key] for key in _ASKED_ALIKE if key in table}
    for key in ("find-links", "extra-index-url"):
        if isinstance(table.get(key), list):
            options[key] = [_absolute(one, root) for one in table[key]]
    if "index-url" in table:
        options["index-url"] = _absolute(table["index-url"], root)
    if isinstance(table.get("index"), list):
        options["index"] = [
            {**one, "url": _absolute(one["url"], root)} if isinstance(one, Mapping) and "url" in one else one
            for one in table["index"]  # of which uv says what is wrong
        ]
    options["sources"] = {
        name: {"index": index}
        for name, source in site.pyproject.table("tool", "uv", "sources").items()
        if canonicalize_name(name) in wanted and (index := _index_of(source))
    }
    project = {"name": "releaser-question", "version": "0", "dependencies": [f"{k}{v}" for k, v in wanted.items()]}
    return tomlkit.dumps({"project": project, "tool": {"uv": options}})


def _absolute(place: Any, root: Path) -> Any:
    return str(root / place) if isinstance(place, str) and "://" not in place else place


def _index_of(source: Any) -> str | None:
    """Return the index that a package comes from, by its `[tool.uv.sources]`; other sources are not asked."""
    choices = source if isinstance(source, list) else [source]
    return next((one["index"] for one in choices if isinstance(one, Mapping) and "index" in one), None)


def _read_answer(text: str, *, python: str) -> dict[str, AvailableVersions]:
    """Read a pylock.toml that is for `python` and all that are newer; ValueError when it is none.

    uv finds the newest version for each of these Pythons, and marks those that are not for all.
    """
    entries: dict[str, list[Mapping[str, Any]]] = {}
    for one in tomllib.loads(text).get("packages", []):
        if isinstance(one, Mapping) and isinstance(one.get("name"), str) and isinstance(one.get("version"), str):
            entries.setdefault(one["name"], []).append(one)
    here = environment_of(python)
    available = {}
    for name, found in entries.items():
        fitting = [one["version"] for one in found if "marker" not in one or Marker(one["marker"]).evaluate(here)]
        available[name] = AvailableVersions(
            newest=newest(one["version"] for one in found),
            fitting=newest(fitting) if fitting else None,
            times=times_of(found),
        )
    return available
