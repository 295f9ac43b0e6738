"""Packages that come from elsewhere than before: another index, another source, or a file with another hash."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from releaser.errors import Problem
from releaser.packages.lock import Lock, Package, without_users
from releaser.site.site import Site
from releaser.system.text import count, join_few, word

_UNSAFE = re.compile(r"^index-strategy\s*=\s*[\"']unsafe", re.MULTILINE)
_MIRROR = "Does this host have its own mirror, in `UV_DEFAULT_INDEX` or a `uv.toml`, or lack one?"


class Move(msgspec.Struct, frozen=True):
    """A package that comes from elsewhere than before; `is_same_version` is False if its version changes, too."""

    name: str
    version: str
    kind: Literal["source", "hash"]
    before: str
    after: str
    is_same_version: bool = True


def find_moves(known: Sequence[Lock], committed: Lock, lock: Lock) -> list[Move]:
    """Return the packages that a lock takes from elsewhere than every lock that is known on this host.

    With another version, only those that the committed lock does not have from there: uv has moved these by itself.
    """
    moves = []
    for package in lock.packages:
        entries = [entry for each in known for entry in each.find(package.name)]
        earlier = [entry for entry in entries if entry.version == package.version]
        compared = earlier or [*entries, *committed.find(package.name)]
        if package.source.is_local and all(entry.source.is_local for entry in compared):
            continue
        if compared and not any(_is_from_same_place(package, entry) for entry in compared):
            before = compared[0].source.place
            moves.append(
                Move(package.name, package.label, "source", before, package.source.place, is_same_version=bool(earlier))
            )
        elif earlier and all(_has_other_file(package, entry) for entry in earlier):
            place = package.source.place
            moves.append(Move(package.name, package.label, "hash", place, place))
    return moves


def has_accepted_moves(committed: Lock, lock: Lock) -> bool:
    """Return True if a lock has other files of a version, or another index that the committed one names, too.

    An index that it does not name may be a mirror of the host.
    """
    places = {package.source.place for package in committed.packages}
    return any(move.is_same_version and move.after in places for move in find_moves([committed], committed, lock))


def find_other_files(before: Lock, lock: Lock) -> frozenset[str]:
    """Return the packages that have other files in the same version."""
    names = set()
    for package in lock.packages:
        earlier = [entry for entry in before.find(package.name) if entry.version == package.version]
        names |= {package.name} if earlier and all(_has_other_file(package, entry) for entry in earlier) else set()
    return frozenset(names)


def _is_from_same_place(package: Package, entry: Package) -> bool:
    return (package.source.kind, package.source.place) == (entry.source.kind, entry.source.place)


def _has_other_file(package: Package, entry: Package) -> bool:
    """Return True if a file of the same name has another hash."""
    hashes = dict(entry.files)
    return any(hashes.get(name, digest) != digest for name, digest in package.files)


def find_host_indexes(site: Site, committed: Lock, lock: Lock) -> list[str]:
    """Return the indexes of a lock that the host names, such as its own mirror, and the committed lock does not have.

    Such a lock is not for other hosts, which may not reach them.
    """
    before, after = (
        {package.source.place for package in each.packages if package.source.kind == "registry"}
        for each in (committed, lock)
    )
    if not (new := after - before):
        return []
    text = _read_host_settings(site)
    paths = {place: os.path.normpath(site.paths.project / place) for place in new if "://" not in place}
    return sorted(place for place in new if place in text or (place in paths and paths[place] in text))


def _read_host_settings(site: Site) -> str:
    """Return what the environment and the files of uv outside of the repository say."""
    variables = site.uv_variables
    home = Path(site.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config"))
    paths = [Path(variables["UV_CONFIG_FILE"])] if "UV_CONFIG_FILE" in variables else []
    paths += [home / "uv/uv.toml", Path("/etc/xdg/uv/uv.toml"), Path("/etc/uv/uv.toml")]
    paths += [parent / "uv.toml" for parent in site.paths.top.parents]
    texts = [value for name, value in variables.items() if "INDEX" in name or "FIND_LINKS" in name]
    for path in paths:
        with contextlib.suppress(OSError, UnicodeDecodeError):
            texts.append(path.read_text(encoding="utf-8"))
    return without_users("\n".join(texts)).replace("file://", "")


def may_change_index(site: Site, project: Path) -> bool:
    """Return True if uv may take each version from another index, as `index-strategy` wants it."""
    text = (project / "pyproject.toml").read_text(encoding="utf-8")
    return "unsafe" in site.uv_variables.get("UV_INDEX_STRATEGY", "") or bool(_UNSAFE.search(text))


def explain_moves(moves: Sequence[Move], lock: Lock) -> list[Problem]:
    """Return a problem for each place that packages would come from, and one for each file with another hash."""
    problems = []
    for move in [move for move in moves if move.kind == "hash"]:
        message = f"{move.name} {move.version} has other files than before: a hash changed without its version."
        problems.append(Problem("moved-package", message, _advise([move])))
    sources = [move for move in moves if move.kind == "source"]
    for before, after in dict.fromkeys((move.before, move.after) for move in sources):
        group = [move for move in sources if (move.before, move.after) == (before, after)]
        names = join_few([f"{move.name} {move.version}" for move in group])
        message = f"{names} would come from `{after}`, and came from `{before}`."
        if len(group) > 1 and before not in {package.source.place for package in lock.packages}:
            message = f"All {count(len(group), 'package')} of `{before}` would come from `{after}`. {_MIRROR}"
        problems.append(Problem("moved-package", message, _advise(group)))
    return problems


def _advise(moves: Sequence[Move]) -> str:
    options = " ".join(f"--accept {word(name)}" for name in dict.fromkeys(move.name for move in moves))
    return f"If that is right, run `releaser update {options}`."


def describe_moves(moves: Sequence[Move], own: Collection[str]) -> list[str]:
    """Return a sentence for what an update takes from elsewhere; `own` are the indexes that the host names."""
    accepted = [f"{move.name} {move.version}" for move in moves if move.after not in own]
    mirrors = sorted({move.after for move in moves} & {*own})
    notes = [f"From another source, or with other files: {join_few(accepted)}."] if accepted else []
    return [*notes, *(f"This host takes packages from its own index, `{place}`." for place in mirrors)]
