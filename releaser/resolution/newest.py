"""Asks the indexes for the newest versions, even if they conflict, and lists the requirements; builds no package."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import tomli

from releaser.errors import ResolutionError, ToolError, error_line, refuse
from releaser.locks.versions import (
    Uploads,
    admits_plainly,
    is_newer,
    is_prerelease,
    limits_in_force,
    newest,
    normalize_name,
    times_of,
    uploads_in,
)
from releaser.releases.venv import requirements_in
from releaser.system.environment import nearest_settings_of_uv, settings_of_uv_in_force
from releaser.system.expression import expression
from releaser.system.files import read_text
from releaser.system.frozen import Frozen
from releaser.system.temporary import temporary_tree
from releaser.tools.uv import NoSolution, Uv
from releaser.tools.uv_arguments import newest_arguments

if TYPE_CHECKING:
    from datetime import datetime

    from packaging.requirements import Requirement

    from releaser.locks.lock import Graph, LockFile
    from releaser.releases.release import Release
    from releaser.site.pythons import Choice
    from releaser.site.site import Site

_NOT_ASKED = "the package index could not be asked"
_ANSWER = "pylock.toml"
_PACKAGE = expression(r'name = "([^"\\]+)"\nversion = "([^"\\]+)"\n')  # as uv 0.13 begins each package
# A requirement, with its range and its marker.
_REQUIREMENT = expression(r"(?a)\s*[\w.-]+\s*(?:\[[^\]]*\])?\s*(?:\(([^;@()]*)\)|([^;@()]*))\s*(;.*)?")
_BOUND = r"python_full_version ([<>]=?) '([\d.]+)'"
_PYTHONS_BOUND, _PYTHONS = expression(_BOUND), expression(f"{_BOUND}(?: and {_BOUND})*")
_WITHOUT_TIME = expression(r"warning: `([^`]+)` is missing an upload date")
_CLOSED = expression(r"network was disabled|could not be queried|\b40[13]\b|[Uu]nauthorized|[Ff]orbidden")
# uv's settings for the sources of packages, without those that choose versions.
_ASKED_ALIKE = (
    "no-index", "index-strategy", "keyring-provider", "allow-insecure-host", "native-tls", "system-certs", "offline",
    "prerelease", "no-build", "no-build-package", "no-binary", "no-binary-package", "no-build-isolation",
    "no-build-isolation-package",
)  # fmt: skip


class AvailableVersions(Frozen):
    """The versions of one package in an index."""

    newest: str
    #: The newest for the Python of the site; None without any.
    fitting: str | None
    #: The upload times of versions.
    times: Mapping[tuple[str, str], datetime | None]
    #: The marker for the Pythons of the newest; empty for all.
    marker: str = ""


class Demand(Frozen):
    """The requirement of a project or a package."""

    #: `the project`, perhaps with a part of its pyproject.toml, or a package with its version.
    asker: str
    requirement: Requirement

    def __str__(self) -> str:
        return f"{self.asker} requires {self.requirement.name}{self.requirement.specifier}"

    @property
    def is_own(self) -> bool:
        """True if the project has it."""
        return self.asker.startswith("the project")

    def is_for(self, name: str) -> bool:
        """True if it is for this package."""
        return normalize_name(self.requirement.name) == name

    def excludes(self, name: str, version: str) -> bool:
        """True if it is for this package, and excludes this version."""
        return self.is_for(name) and not self.requirement.specifier.contains(version, prereleases=True)


def requirements_for(
    site: Site, live: Release | None, graph: Graph, python: str, names: Collection[str]
) -> Iterator[Demand]:
    """Yield the requirements on packages: of the project, with all extras and groups, and of installed packages."""
    for asker, text, extras in _list_required(site, live, graph):
        if name_required(text) in names:
            for requirement in _select_applying(text, python, extras):
                yield Demand(asker=asker, requirement=requirement)


def find_excluded(
    site: Site, live: Release | None, graph: Graph, python: str, versions: Mapping[str, str]
) -> frozenset[str]:
    """Return the packages whose version in `versions` is excluded by one of `requirements_for`."""
    excluded = set()
    for asker, text, extras in _list_required(site, live, graph):
        name = name_required(text)
        if name in versions and name not in excluded:
            version, found = versions[name], _REQUIREMENT.fullmatch(str(text))
            admitted = admits_plainly(found[1] or found[2] or "", version) if found else None
            if admitted is None or (not admitted and found and found[3]):  # its marker counts
                asked = (Demand(asker=asker, requirement=one) for one in _select_applying(text, python, extras))
                admitted = not any(demand.excludes(name, version) for demand in asked)
            if not admitted:
                excluded.add(name)
    return frozenset(excluded)


def _list_required(site: Site, live: Release | None, graph: Graph) -> Iterator[tuple[str, object, Collection[str]]]:
    """Yield each requirement, with its asker, and the extras of that."""
    project, uv = site.pyproject.table("project"), site.pyproject.table("tool", "uv")
    asked = [("the project", project.get("dependencies"))]
    for kind, table in (
        ("extra", site.pyproject.table("project", "optional-dependencies")),
        ("group", site.pyproject.groups),
    ):
        asked += [(f"the project ({kind} {name})", texts) for name, texts in table.items()]
    for key in ("constraint-dependencies", "override-dependencies", "dev-dependencies"):
        asked.append((f"the project ({key})", uv.get(key)))
    yield from ((asker, text, ()) for asker, texts in asked if isinstance(texts, list) for text in texts)
    for package in requirements_in(live.venv if live is not None else site.project.venv):
        if package.name not in graph.own:
            extras = graph.extras.get(package.name, frozenset())
            yield from ((f"{package.name} {package.version}", text, extras) for text in package.requires)


def name_required(text: object) -> str:
    """Return the normalized name in a requirement, without a slow parse; empty if it has none."""
    found = re.match(r"\s*([\w.-]*)", str(text), re.ASCII)
    return normalize_name(found[1].rstrip("._-")) if found is not None else ""


def find_line(text: str, demand: Demand) -> int | None:
    """Return the line of a pyproject.toml that has a requirement; None if no line has all of it."""
    from packaging.requirements import InvalidRequirement, Requirement  # slow to import

    name = normalize_name(demand.requirement.name)
    for number, line in enumerate(text.splitlines(), start=1):
        for _, quoted in re.findall(r"""(["'])(.+?)\1""", line):
            with contextlib.suppress(InvalidRequirement):
                if name_required(quoted) == name and Requirement(quoted) == demand.requirement:
                    return number
    return None


def _select_applying(text: object, python: str, extras: Iterable[str]) -> Iterator[Requirement]:
    """Yield a requirement if it applies to a version of Python with these extras, unless it is unreadable."""
    from packaging.markers import UndefinedEnvironmentName  # slow to import
    from packaging.requirements import InvalidRequirement, Requirement

    from releaser.locks.installed import environment_of

    environment = environment_of(python)
    with contextlib.suppress(InvalidRequirement, UndefinedEnvironmentName):
        wanted = Requirement(str(text))
        marker = wanted.marker
        if marker is None or any(marker.evaluate({**environment, "extra": extra}) for extra in ("", *extras)):
            yield wanted


# Questions to the indexes


def files_without_time(output: str) -> list[str]:
    """Return the files that uv skipped because of a time limit, as their upload time is unknown."""
    return _WITHOUT_TIME.findall(output) if "upload date" in output else []


def settings_of_uv(site: Site) -> Mapping[str, Any]:
    """Return uv's settings of the project: uv.toml, or else `[tool.uv]`. Raises PreflightError."""
    path = site.project.root / "uv.toml"
    try:
        return tomli.loads(read_text(path))
    except FileNotFoundError:
        return site.pyproject.table("tool", "uv")
    except (OSError, ValueError, RecursionError) as error:
        refuse(
            "config-unreadable",
            f"{path} cannot be read: {error}",
            "Correct it until `uv lock --check` passes.",
        )


def uploads_within_limits(site: Site, lock: LockFile, now: datetime) -> Uploads:
    """Return the upload times in a lock, with the time limits of uv for this site. Raises PreflightError.

    uv takes limits only from its settings and its environment, and drops those that only the lock has (seen).
    """
    return limits_in_force(uploads_in(lock, now), _settings_with_limits(site), site.runner.environ, now)


def sets_time_limits(site: Site) -> bool:
    """True if a setting of uv limits upload times, so that only uv can write the lock. Raises PreflightError."""
    named = (key for limit in _settings_with_limits(site) for key in limit)
    return bool(site.runner.environ.get("UV_EXCLUDE_NEWER")) or any(key.startswith("exclude-newer") for key in named)


def _settings_with_limits(site: Site) -> tuple[Mapping[str, Any], ...]:
    """Return the tables of uv's settings in force in the project, in order of priority. Raises PreflightError."""
    settings_of_uv(site)  # reports unreadable settings
    return settings_of_uv_in_force(site.project.root, site.runner.environ)


def ask_newest(  # noqa: PLR0913 - the parts of a question
    site: Site,
    uv: Uv,
    locked: Mapping[str, str],
    choice: Choice,
    *,
    offline: bool = False,
    below: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, AvailableVersions]:
    """Return the newest versions of each package in the index, for this Python and for newer ones.

    Pre-releases count for a package that is locked at one. `offline` asks uv's cache instead; `below` has versions that
    are too new. Raises PreflightError and ResolutionError.
    """
    settings_of_uv(site)  # reports unreadable settings
    with temporary_tree() as tree:
        answer = tree / _ANSWER

        def ask(wanted: Mapping[str, str]) -> object:
            (tree / "pyproject.toml").write_text(_question(site, wanted), encoding="utf-8")
            words = newest_arguments(answer=_ANSWER, python=choice.python, python_version=choice.version)
            return uv.compile(tree, *words, *(["--offline", "--quiet"] if offline else []))

        wanted = {name: f">={version}" if is_prerelease(version) else "" for name, version in locked.items()}
        wanted |= {name: ",".join(filter(None, (wanted[name], f"<{one}"))) for name, one in below.items()}
        missing = find_missing(ask, wanted, what=_NOT_ASKED)
        if len(missing) == len(locked):
            return {}
        try:
            return _read_answer(read_text(answer), locked, python=choice.version)
        except (OSError, ValueError) as error:
            message = f"the list of versions that uv wrote cannot be read: {error}"
            raise ResolutionError(message, "Check the setting `uv`: does that program run `uv --version`?") from error


def _question(site: Site, wanted: Mapping[str, str]) -> str:
    """Return a pyproject.toml that requires packages; `wanted` maps names to bounds, such as `>=2.0rc1`, or to "".

    It has the package sources of the real project and of its settings of uv. It declares that the packages have no
    requirements, which is not true, so that uv need not build any.
    """
    root, table = nearest_settings_of_uv(site.project.root)
    options = {key: table[key] for key in _ASKED_ALIKE if key in table}
    for key in ("find-links", "extra-index-url"):
        if isinstance(table.get(key), list):
            options[key] = [_absolute(value, root) for value in table[key]]
    if "index-url" in table:
        options["index-url"] = _absolute(table["index-url"], root)
    if isinstance(table.get("index"), list):
        options["index"] = [
            {**entry, "url": _absolute(entry["url"], root)} if isinstance(entry, Mapping) and "url" in entry else entry
            for entry in table["index"]  # uv reports invalid entries
        ]
    options["dependency-metadata"] = [{"name": name} for name in wanted]
    options["sources"] = {
        name: {"index": index}
        for name, source in site.pyproject.table("tool", "uv", "sources").items()
        if normalize_name(name) in wanted and (index := _index_of(source))
    }
    project = {"name": "releaser-question", "version": "0", "dependencies": [f"{k}{v}" for k, v in wanted.items()]}
    return f"project = {_as_toml(project)}\ntool.uv = {_as_toml(options)}\n"


def _as_toml(value: Any) -> str:
    """Write a value as TOML on one line. JSON strings are valid TOML, except for DEL; JSON has no dates."""
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{_as_toml(key)} = {_as_toml(one)}' for key, one in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_as_toml, value))}]"
    if hasattr(value, "isoformat"):
        return str(value.isoformat())
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _absolute(place: Any, root: Path) -> Any:
    return str(root / place) if isinstance(place, str) and "://" not in place else place


def _index_of(source: Any) -> str | None:
    """Return the index of a package in its `[tool.uv.sources]`; None for other sources."""
    choices = source if isinstance(source, list) else [source]
    return next((choice["index"] for choice in choices if isinstance(choice, Mapping) and "index" in choice), None)


def _read_answer(text: str, locked: Mapping[str, str], *, python: str) -> dict[str, AvailableVersions]:
    """Read a pylock.toml for `python` and all newer ones. Raises ValueError if it is invalid.

    uv finds the newest version for each of these Pythons, and marks those that are not for all. If the file has the
    format of uv 0.13, entries of packages that are locked at the newest version are not parsed, as that is slow.
    """
    _, *parts = f"\n{text}".split("\n[[packages]]\n")
    begun = [one for part in parts if (one := _PACKAGE.match(part))]
    newer = {line[1] for line in begun if locked.get(line[1]) != line[2]}
    available = {}
    if parts and len(begun) == len(parts):
        same = {line[1]: line[2] for line in begun if line[1] not in newer}
        available = {name: AvailableVersions(newest=one, fitting=one, times={}) for name, one in same.items()}
        packages = [tomli.loads(line.string) for line in begun if line[1] in newer]
    else:
        packages = tomli.loads(text).get("packages", [])
    entries: dict[str, list[Mapping[str, Any]]] = {}
    for entry in packages:
        if isinstance(entry, Mapping) and isinstance(entry.get("name"), str) and isinstance(entry.get("version"), str):
            entries.setdefault(entry["name"], []).append(entry)
    for name, found in entries.items():
        fitting = [each["version"] for each in found if "marker" not in each or _is_for(python, each["marker"])]
        last = newest(each["version"] for each in found)
        available[name] = AvailableVersions(
            newest=last,
            fitting=newest(fitting) if fitting else None,
            times=times_of(found),
            marker=str(next(each for each in found if each["version"] == last).get("marker", "")),
        )
    return available


def _is_for(python: str, marker: str) -> bool:
    if _PYTHONS.fullmatch(marker):  # as most that uv writes
        admitted = admits_plainly(_PYTHONS_BOUND.sub(r"\1\2", marker).replace(" and ", ","), python)
        if admitted is not None:
            return admitted
    from packaging.markers import Marker  # slow to import

    from releaser.locks.installed import environment_of

    return Marker(marker).evaluate(environment_of(python))


def list_between(  # noqa: PLR0913 - the same, and the ends of the list
    site: Site, uv: Uv, choice: Choice, name: str, *, low: str, high: str, most: int
) -> Iterator[AvailableVersions]:
    """Yield the newest versions below each version, from `high` down to the first version that is not newer than `low`.

    At most `most` times. Raises PreflightError.
    """
    for _ in range(most):
        below = high.partition("+")[0]  # uv compares no local parts
        try:
            found = ask_newest(site, uv, {name: low}, choice, below={name: below}).get(name)
        except ResolutionError:  # the index has just answered: there are no others
            return
        if found is None or not is_newer(found.newest, low):
            return
        yield found
        high = found.newest


def find_missing(ask: Callable[[Mapping[str, str]], object], wanted: Mapping[str, str], *, what: str) -> frozenset[str]:
    """Return the packages that no index has in the wanted versions, such as `==1.0`; uv names only a few at a time.

    `ask` makes uv resolve, and returns NoSolution without one. Raises ResolutionError, which says `what` failed.
    """
    missing: frozenset[str] = frozenset()
    while left := {name: version for name, version in wanted.items() if name not in missing}:
        try:
            answer = ask(left)
        except ToolError as error:
            raise describe_unanswered(error.output or error.message, what=what, advice=error.advice) from error
        if not isinstance(answer, NoSolution):
            break
        named = frozenset(name for name, version in left.items() if _is_named(name, version, answer.output))
        if _CLOSED.search(answer.output) or not named or len(named) == len(wanted) > 1:
            raise describe_unanswered(answer.output, what=what)
        missing |= named
    return missing


def _is_named(name: str, wanted: str, output: str) -> bool:
    """True if uv names a package with the wanted version; uv normalizes versions, such as 01.05 to 1.5."""
    from packaging.utils import canonicalize_version  # slow to import

    versions = re.findall(rf"(?<![\w.-]){re.escape(name)}(?![\w-]|\.\w)(==|>=)?(\w[\w.!+-]*\w|\w)?", output)
    sign, version = wanted[:2], canonicalize_version(wanted[2:])
    return any(not wanted or (one, canonicalize_version(other)) == (sign, version) for one, other in versions)


def describe_unanswered(output: str, *, what: str, advice: str = "") -> ResolutionError:
    advice = advice or "See uv's message. Check the network and the index, then run the command again."
    return ResolutionError(f"{what}: {error_line(output)}", advice, output=output)
