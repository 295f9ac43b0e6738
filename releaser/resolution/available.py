"""Which versions of packages the indexes of a site have.

`uv tree --outdated` does not tell enough: its newest versions are those for the oldest Python that the project admits,
without a time of upload; it passes over directories of files (`find-links`), and older uvs have no JSON for it. So uv
is asked to resolve a project that wants the newest of each package, whatever goes together.
"""

from __future__ import annotations

import re
import tempfile
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packaging.markers import Marker, default_environment
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from releaser.errors import Finding, PreflightError, ResolutionError, ToolError, error_line
from releaser.locks.versions import times_of
from releaser.tools.uv import NoSolution, newest_arguments

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

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
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_CLOSED = re.compile(r"could not be queried|\b40[13]\b|[Uu]nauthorized|[Ff]orbidden")


@dataclass(frozen=True, kw_only=True)
class AvailableVersions:
    """What an index has of one package."""

    newest: str
    #: The newest for the Python of the site; None if there is none for it.
    fitting: str | None
    #: When versions were uploaded.
    times: Mapping[tuple[str, str], datetime | None]


def ask_index(
    site: Site, uv: Uv, locked: Mapping[str, str], *, python: Path, version: str
) -> dict[str, AvailableVersions]:
    """Return the versions of each package in the index, for this Python and for newer ones.

    Pre-releases count for a package that is locked at one. Raises ResolutionError.
    """
    wanted = {name: _bound(it) for name, it in locked.items()}
    with tempfile.TemporaryDirectory(prefix="releaser-outdated-") as place:
        tree, answer = Path(place), Path(place) / _ANSWER
        while wanted:
            (tree / "pyproject.toml").write_text(_question(site, wanted), encoding="utf-8")
            try:
                done = uv.compile(tree, *newest_arguments(answer=_ANSWER, python=python, python_version=version))
                if not isinstance(done, NoSolution):
                    return _read_answer(answer.read_text(encoding="utf-8"), python=version)
            except ToolError as error:
                raise unanswered(error.output or error.message, what=_NOT_ASKED, advice=error.advice) from error
            except (OSError, ValueError) as error:
                message = f"uv left no list of versions that can be read: {error}"
                raise ResolutionError(message, advice="Check that `uv` is a working uv.") from error
            refused = _names_refused(done.output, wanted)
            if not refused or len(refused) == len(locked):
                raise unanswered(done.output, what=_NOT_ASKED)
            wanted = {name: bound for name, bound in wanted.items() if name not in refused}
    return {}


def _bound(locked: str) -> str:
    try:
        return f">={locked}" if Version(locked).is_prerelease else ""
    except InvalidVersion:
        return ""


def _names_refused(output: str, wanted: Mapping[str, str]) -> set[str]:
    """Return the packages of which uv says that the index has none; nothing if uv could not ask it."""
    if _CLOSED.search(output):
        return set()
    return {word.rstrip(".") for word in _NAME.findall(output)} & wanted.keys()


def _question(site: Site, wanted: Mapping[str, str]) -> str:
    """Return the pyproject.toml that asks for packages; `wanted` maps names to bounds, such as `>=2.0rc1`, or nothing.

    It takes from the real project where packages come from.
    """
    import tomlkit  # takes a while to load

    root, own = site.project.root, site.pyproject.table("tool", "uv")
    table = own if (elsewhere := _uv_toml(root)) is None else elsewhere  # which uv reads instead, but for the sources
    options = {key: table[key] for key in _ASKED_ALIKE if key in table}
    for key in ("find-links", "extra-index-url"):
        if isinstance(table.get(key), list):
            options[key] = [_absolute(one, root) for one in table[key]]
    if "index-url" in table:
        options["index-url"] = _absolute(table["index-url"], root)
    if isinstance(table.get("index"), list):
        options["index"] = [{**one, "url": _absolute(one.get("url"), root)} for one in table["index"]]
    options["sources"] = {
        name: {"index": index}
        for name, source in site.pyproject.table("tool", "uv", "sources").items()
        if canonicalize_name(name) in wanted and (index := _index_of(source))
    }
    project = {"name": "releaser-question", "version": "0", "dependencies": [f"{k}{v}" for k, v in wanted.items()]}
    return tomlkit.dumps({"project": project, "tool": {"uv": options}})


def _uv_toml(root: Path) -> Mapping[str, Any] | None:
    path = root / "uv.toml"
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        message = f"{path} cannot be read: {error}"
        raise PreflightError(Finding(message, advice="Correct it.")) from error


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
            newest=newest_of(one["version"] for one in found),
            fitting=newest_of(fitting) if fitting else None,
            times=times_of(found),
        )
    return available


def environment_of(python: str) -> dict[str, str]:
    """Return what markers are evaluated for: this machine, with a Python `python`."""
    found = {str(key): str(value) for key, value in default_environment().items()}
    return found | {"python_version": ".".join(python.split(".")[:2]), "python_full_version": python}


def newest_of(versions: Iterable[str]) -> str:
    """Return the newest version; what is no version is older than all. ValueError when there is none."""

    def key(version: str) -> tuple[bool, Version]:
        try:
            return True, Version(version)
        except InvalidVersion:
            return False, Version("0")

    return max(versions, key=key)


def unanswered(output: str, *, what: str, advice: str = "") -> ResolutionError:
    advice = advice or "See uv's message; check the network and the index, and ask again."
    return ResolutionError(f"{what}: {error_line(output)}", advice=advice, output=output)
