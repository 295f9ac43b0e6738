"""The pyproject.toml of a project that had no lock: what is written into it, and what must not be there already."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from releaser.locking.requirements import Line

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tomlkit import TOMLDocument

    from releaser.locking.needs import Root
    from releaser.locking.overrides import Override

_NAME = re.compile(r"[^A-Za-z0-9]+")
_OTHERS = (
    ("project", "dependencies"),
    ("project", "optional-dependencies"),
    ("dependency-groups",),
    ("tool", "uv", "dev-dependencies"),
    ("tool", "poetry", "dependencies"),
    ("tool", "pdm", "dev-dependencies"),
)


@dataclass(frozen=True, kw_only=True)
class Founding:
    """What goes into pyproject.toml.

    `name` is that of the project if it has none yet; `dependencies` are requirements, `constraints` those that hold for
    whatever comes along. `sources` maps packages to what `[tool.uv.sources]` says of them, `indexes` are tables of
    `[[tool.uv.index]]`, `links` directories or pages of files. `group` is what releaser's setting of that name gets, if
    it needs one. `environments` narrows the lock to these, as markers.
    """

    name: str
    requires_python: str
    dependencies: tuple[str, ...]
    constraints: tuple[str, ...] = ()
    sources: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    indexes: tuple[Mapping[str, Any], ...] = ()
    links: tuple[str, ...] = ()
    no_index: bool = False
    group: str = ""
    environments: tuple[str, ...] = ()


def declared_already(content: Mapping[str, Any]) -> Iterator[str]:
    """Name the tables of a pyproject.toml that say what the project depends on."""
    for keys in _OTHERS:
        found: Any = content
        for key in keys:
            found = found.get(key) if isinstance(found, Mapping) else None
        if keys == ("dependency-groups",) and isinstance(found, Mapping):
            found = [entry for entries in found.values() for entry in (entries or ())]
        if found:
            yield f"[{'.'.join(keys[:-1])}] {keys[-1]}" if len(keys) > 1 else f"[{keys[0]}]"
    project = content.get("project")
    if isinstance(project, Mapping) and "dependencies" in (project.get("dynamic") or ()):
        yield '[project] dynamic = ["dependencies"]'


def project_name(directory: str, taken: Iterable[str]) -> str:
    """Make a name for a project out of that of its directory; no package it depends on may have the same one."""
    name = canonicalize_name(_NAME.sub("-", directory).strip("-")) or "site"
    return f"{name}-site" if name in set(taken) else name


def asked_for(roots: Iterable[Root], versions: Mapping[str, str], lines: Iterable[Line] = ()) -> tuple[str, ...]:
    """Write the dependencies: lines as they were given, all others from the installed version on.

    An exact pin becomes a lower bound: what is exact stands in the lock now, and an update moves it.
    """
    given: dict[str, list[Line]] = {}
    for line in lines:
        given.setdefault(line.name, []).append(line)
    found = [written(line) for name in given for line in given[name]]
    found += [_from_on(root, versions[root.name]) for root in roots if root.name not in given]
    return tuple(sorted(dict.fromkeys(found), key=str.lower))


def written(line: Line) -> str:
    """Write one line of a requirements file as a dependency."""
    wanted = line.requirement
    extras = f"[{','.join(sorted(wanted.extras))}]" if wanted.extras else ""
    bound = str(wanted.specifier) if line.pin is None else _at_least(line.pin)
    marker = f"; {wanted.marker}" if wanted.marker else ""
    return f"{wanted.name}{extras}{bound}{marker}"


def _from_on(root: Root, version: str) -> str:
    extras = f"[{','.join(sorted(root.extras))}]" if root.extras else ""
    return f"{root.name}{extras}{_at_least(version)}"


def _at_least(version: str) -> str:
    try:
        return f">={Version(version).public}"
    except InvalidVersion:
        return f"=={version}"


def source_of(override: Override, place: str, *, editable: bool) -> tuple[str, Mapping[str, Any] | None]:
    """Return the dependency, and its entry in `[tool.uv.sources]`, for a package that is given; None without one.

    `place` is the path, empty if it is given by a URL or a version.
    """
    extras = f"[{','.join(sorted(override.extras))}]" if override.extras else ""
    if place:
        return f"{override.name}{extras}", {"path": place, **({"editable": True} if editable else {})}
    return override.requirement, None


def founded(text: str | None, founding: Founding) -> str:
    """Return the text of pyproject.toml, a new one or `text` with the dependencies added; comments and order stay.

    Raises ValueError when `text` is not TOML.
    """
    import tomlkit  # takes a while to load, and nothing else needs it

    document = tomlkit.parse(text or "")
    project = _table(document, "project")
    project.setdefault("name", founding.name)
    if "version" not in project.get("dynamic", ()):
        project.setdefault("version", "0")
    project.setdefault("requires-python", founding.requires_python)
    project["dependencies"] = _lines(founding.dependencies)
    _uv_settings(document, founding)
    if founding.group:
        _table(document, "tool", "releaser")["group"] = founding.group
    return tomlkit.dumps(document)


def _uv_settings(document: TOMLDocument, founding: Founding) -> None:
    lists = {
        "constraint-dependencies": founding.constraints,
        "find-links": founding.links,
        "environments": founding.environments,
    }
    for key, values in lists.items():
        if values:
            table = _table(document, "tool", "uv")
            table[key] = _lines(dict.fromkeys([*table.get(key, ()), *values]))
    if founding.no_index:
        _table(document, "tool", "uv")["no-index"] = True
    if founding.indexes:
        import tomlkit

        table, ours = _table(document, "tool", "uv"), {one.get("url") for one in founding.indexes}
        others = [one.unwrap() for one in table.get("index", ()) if one.get("url") not in ours]
        tables = tomlkit.aot()
        for one in (*founding.indexes, *others):
            tables.append(tomlkit.item(dict(one)))
        table["index"] = tables
    for name, source in founding.sources.items():
        import tomlkit

        inline = tomlkit.inline_table()
        inline.update(source)
        _table(document, "tool", "uv", "sources")[name] = inline


def _table(document: Any, *keys: str) -> Any:
    """Return a table of the document, made if it is not there."""
    import tomlkit

    found = document
    for number, key in enumerate(keys):
        if key not in found:
            found[key] = tomlkit.table(is_super_table=number < len(keys) - 1)
        elif _takes_no_tables(found, key):
            values = found[key].unwrap()
            found[key] = tomlkit.table()
            found[key].update(values)
        found = found[key]
    return found


def _takes_no_tables(parent: Any, key: str) -> bool:
    """Whether a table is written as `{...}`, or by dotted keys in the one above it."""
    from tomlkit.items import InlineTable, Table

    if isinstance(parent[key], InlineTable):
        return True
    return isinstance(parent, Table) and any(one.key == key and one.is_dotted() for one, _ in parent.value.body if one)


def _lines(values: Iterable[str]) -> Any:
    import tomlkit

    array = tomlkit.array()
    for value in values:
        array.append(value)
    return array.multiline(multiline=True)
