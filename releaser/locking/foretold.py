"""What `uv lock --dry-run` says that it would change."""

from __future__ import annotations

import re

from releaser.locking.diff import Change, bump_size

# As uv 0.9 to 0.13 print them with --dry-run: "Update django v5.1 -> v5.2", "Add x v1", "Remove y v2".
_LINE = re.compile(r"^(Update|Add|Remove)d? (\S+) (.+)$")


def parse_changes(text: str) -> tuple[Change, ...]:
    """Read the changes out of what `uv lock --dry-run` prints."""
    return tuple(
        _change(found.group(1), found.group(2), found.group(3))
        for line in text.splitlines()
        if (found := _LINE.match(line))
    )


def _change(verb: str, name: str, versions: str) -> Change:
    before, _, after = versions.partition(" -> ")
    old = _version(before) if verb != "Add" else None
    new = _version(after) if verb == "Update" else _version(before) if verb == "Add" else None
    return Change(name=name, old=old, new=new, bump=bump_size(old, new))


def _version(text: str) -> str:
    return ", ".join(part.removeprefix("v") for part in text.split(", "))
