"""Asking which versions there are: a project that wants the newest of each package, and what uv answers.

It takes from the real project where packages come from, and nothing that says which versions are wanted.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from packaging.markers import Marker
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from releaser.locking.demands import machine

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

NAME = "releaser-question"
ANSWER = "pylock.toml"
_KEPT = (
    "no-index", "index-strategy", "keyring-provider", "allow-insecure-host", "native-tls", "system-certs", "offline",
    "prerelease", "no-build", "no-build-package", "no-binary", "no-binary-package", "no-build-isolation",
    "no-build-isolation-package",
)  # fmt: skip
_PLACES = ("find-links", "extra-index-url")


@dataclass(frozen=True, kw_only=True)
class Available:
    """What there is of one package: the newest version, and the newest for the Python that was asked for, if any is.

    `entries` are those of the pylock.toml that tell so.
    """

    newest: str
    fitting: str | None
    entries: tuple[Mapping[str, Any], ...]


def question(wanted: Mapping[str, str], *, root: Path, uv: Mapping[str, Any], uv_toml: Mapping[str, Any] | None) -> str:
    """Return the pyproject.toml that asks for packages; `wanted` maps names to bounds, such as `>=2.0rc1`, or nothing.

    `root` is the real project, `uv` its `[tool.uv]`, `uv_toml` the content of its uv.toml, which uv reads instead of
    that table, but for the sources.
    """
    options = _options(uv if uv_toml is None else uv_toml, root)
    if sources := _sources(uv.get("sources"), wanted.keys()):
        options["sources"] = sources
    project = {"name": NAME, "version": "0", "dependencies": [f"{name}{bound}" for name, bound in wanted.items()]}
    return _tables({"project": project, "tool.uv": options})


def _options(table: Mapping[str, Any], root: Path) -> dict[str, Any]:
    options = {key: table[key] for key in _KEPT if key in table}
    for key in _PLACES:
        if isinstance(table.get(key), list):
            options[key] = [_absolute(place, root) for place in table[key]]
    if "index-url" in table:
        options["index-url"] = _absolute(table["index-url"], root)
    if isinstance(table.get("index"), list):
        options["index"] = [
            {**one, "url": _absolute(one.get("url"), root)} for one in table["index"] if isinstance(one, Mapping)
        ]
    return options


def _absolute(place: Any, root: Path) -> Any:
    return str(root / place) if isinstance(place, str) and "://" not in place else place


def _sources(sources: Any, names: Iterable[str]) -> dict[str, Any]:
    """Return which package comes from which index; other sources are not asked."""
    found: dict[str, Any] = {}
    wanted = {canonicalize_name(name) for name in names}
    for name, source in sources.items() if isinstance(sources, Mapping) else ():
        choices = source if isinstance(source, list) else [source]
        index = next((one["index"] for one in choices if isinstance(one, Mapping) and "index" in one), None)
        if index is not None and canonicalize_name(name) in wanted:
            found[name] = {"index": index}
    return found


def _tables(tables: Mapping[str, Mapping[str, Any]]) -> str:
    return "".join(
        f"[{name}]\n" + "".join(f"{json.dumps(key)} = {_toml(value)}\n" for key, value in table.items())
        for name, table in tables.items()
    )


def _toml(value: Any) -> str:
    """Write a value as TOML, whose strings, numbers and truth values look as those of JSON."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(key)} = {_toml(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_toml(one) for one in value) + "]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def read_answer(text: str, *, python: str) -> dict[str, Available]:
    """Read a pylock.toml that is for `python` and all that are newer; ValueError when it is none.

    uv finds the newest version for each of these Pythons, and marks those that are not for all.
    """
    entries: dict[str, list[Mapping[str, Any]]] = {}
    for one in tomllib.loads(text).get("packages", []):
        if isinstance(one, Mapping) and isinstance(one.get("name"), str) and isinstance(one.get("version"), str):
            entries.setdefault(one["name"], []).append(one)
    environment = machine(python)
    return {name: _available(found, environment) for name, found in entries.items()}


def _available(entries: list[Mapping[str, Any]], environment: Mapping[str, str]) -> Available:
    fitting = [one["version"] for one in entries if "marker" not in one or Marker(one["marker"]).evaluate(environment)]
    return Available(
        newest=newest_of(one["version"] for one in entries),
        fitting=newest_of(fitting) if fitting else None,
        entries=tuple(entries),
    )


def newest_of(versions: Iterable[str]) -> str:
    """Return the newest version; what is no version is older than all. ValueError when there is none."""
    return max(versions, key=_key)


def _key(version: str) -> tuple[bool, Version]:
    try:
        return True, Version(version)
    except InvalidVersion:
        return False, Version("0")
