"""Which dependency groups go live as uv installs them unasked, and which are for the tests alone."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

from releaser.errors import Unfit
from releaser.project.group import dependency_group

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from releaser.project.project import Pyproject
    from releaser.project.settings import Settings


def unasked_groups(pyproject: Pyproject) -> tuple[str, ...] | None:
    """Return the groups that uv installs unasked, None for all of them; `dev` if the project says nothing."""
    named = pyproject.table("tool", "uv").get("default-groups", ["dev"])
    if named == "all":
        return None
    return tuple(map(str, named)) if isinstance(named, list) else ("dev",)


def live_default_groups(settings: Settings, pyproject: Pyproject) -> tuple[str, ...]:
    """Return the groups of the project that go live as uv installs them unasked: not those that only tests need."""
    unasked = unasked_groups(pyproject)
    there = pyproject.groups if unasked is None else [name for name in unasked if name in pyproject.groups]
    return tuple(name for name in there if name not in settings.test_groups)


def left_out_groups(settings: Settings, pyproject: Pyproject) -> tuple[str, ...]:
    """Return the groups that uv would install unasked, and that only tests need."""
    unasked = unasked_groups(pyproject)
    return tuple(name for name in settings.test_groups if unasked is None or name in unasked)


def test_group_findings(settings: Settings, pyproject: Pyproject, *, source: str) -> Iterator[Unfit]:
    """Find what is wrong with the groups that only tests need; `source` is the file and the key that name them."""
    for name in settings.test_groups:
        if not isinstance(pyproject.groups.get(name), list):
            yield _unknown(name, pyproject, source)
    try:
        live = dependency_group(settings, pyproject)
    except Unfit:  # which is told already
        return
    if live in settings.test_groups:
        message = f"{source} names the group `{live}`, which is the one that goes live"
        yield Unfit(message, advice=f"Take `{live}` out of `test_groups`, or set `group` to another one.")
        return
    others = {*live_default_groups(settings, pyproject), *([live] if live else [])}
    for apart in _conflicts(pyproject):
        here, there = (sorted(apart & _included(names, pyproject)) for names in (settings.test_groups, others))
        if len({*here, *there}) > 1 and here:
            message = (
                f"{source}: {_listed({*here, *there})} cannot be installed together, says `conflicts` in [tool.uv]"
            )
            advice = f"Name groups in `test_groups` that go together with what goes live, or change {pyproject.path}."
            yield Unfit(message, advice=advice)


def _unknown(name: str, pyproject: Pyproject, source: str) -> Unfit:
    lists = [group for group, members in pyproject.groups.items() if isinstance(members, list)]
    close = difflib.get_close_matches(name, lists, n=1)
    meant = f"; did you mean `{close[0]}`?" if close else "."
    lacks = "is no list in" if name in pyproject.groups else "is not in"
    message = f"{source} names the group `{name}`, which {lacks} [dependency-groups] of {pyproject.path}"
    return Unfit(message, advice=f"Add the group, or take it out of `test_groups`{meant}")


def _conflicts(pyproject: Pyproject) -> Iterator[set[str]]:
    """Yield the groups of the project, and of no member of its workspace, that must not be installed together."""
    own = pyproject.table("project").get("name")
    for apart in _list(pyproject.table("tool", "uv").get("conflicts")):
        tables = [one for one in _list(apart) if isinstance(one, dict)]
        yield {str(one["group"]) for one in tables if "group" in one and one.get("package", own) == own}


def _included(names: Iterable[str], pyproject: Pyproject) -> set[str]:
    """Return these groups, and all that they include."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            members = _list(pyproject.groups.get(name))
            waiting += [
                str(one["include-group"]) for one in members if isinstance(one, dict) and "include-group" in one
            ]
    return found


def _listed(names: Iterable[str]) -> str:
    return " and ".join(f"`{name}`" for name in sorted(names))


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
