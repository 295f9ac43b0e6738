"""Packages that come from elsewhere than before: another index, another source, or a file with another hash."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Collection, Sequence
from pathlib import Path

import msgspec

from releaser.errors import Problem
from releaser.packages.lock import Lock, Package, without_users
from releaser.site.site import Site
from releaser.system.text import join_few, word

_UNSAFE = re.compile(r"^index-strategy\s*=\s*[\"']unsafe", re.MULTILINE)
_MIRROR = "Does this host have its own mirror, in `UV_DEFAULT_INDEX` or a `uv.toml`, or lack one?"


class Move(msgspec.Struct, frozen=True):
    """A package from elsewhere than before, or with other files; of a new version if not `is_same_version`."""

    name: str
    version: str
    before: str
    after: str
    is_same_version: bool = True

    @property
    def label(self) -> str:
        """The package and its version."""
        return f"{self.name} {self.version}"

    @property
    def has_other_files(self) -> bool:
        """True if its files are others, in the same version."""
        return self.before == self.after


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
        place, is_same = package.source.place, bool(earlier)
        places = {(entry.source.kind, entry.source.place) for entry in compared}
        if compared and (package.source.kind, place) not in places:
            before = compared[0].source.place
            moves.append(Move(package.name, package.label, before, place, is_same_version=is_same))
        if earlier and all(_has_other_file(package, entry) for entry in earlier):
            moves.append(Move(package.name, package.label, place, place))
    return moves


def has_accepted_moves(committed: Lock, lock: Lock) -> bool:
    """Return True if a lock has other files of a version, or another index that the committed one names."""
    places = {package.source.place for package in committed.packages}
    return any(move.is_same_version and move.after in places for move in find_moves([committed], committed, lock))


def _has_other_file(package: Package, entry: Package) -> bool:
    """Return True if a file of the same name has another hash."""
    hashes = dict(entry.files)
    return any(hashes.get(name, digest) != digest for name, digest in package.files)


def find_host_indexes(site: Site, committed: Lock, lock: Lock) -> list[str]:
    """Return the indexes of a lock that the host names, such as its own mirror, and the committed lock does not have.

    Such a lock is not for other hosts, which may not reach them.
    """
    places = {entry.source.place for entry in lock.packages if entry.source.kind == "registry"}
    new = sorted(places - {entry.source.place for entry in committed.packages if entry.source.kind == "registry"})
    words = {place.rstrip("/") for place in re.split(r"[\s,\"']+", _read_host_settings(site))} if new else set[str]()
    words |= {word.partition("=")[2] for word in words}  # of an index with a name
    # uv writes a directory in relation to the project.
    paths = {place: os.path.normpath(site.paths.project / place) for place in new}
    return [place for place in new if {place.rstrip("/"), paths[place], f"file://{paths[place]}"} & words]


def _read_host_settings(site: Site) -> str:
    """Return what the environment and the files of uv outside of the repository say."""
    variables = site.uv_variables
    home = Path(site.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config"))
    places = [home / "uv", Path("/etc/xdg/uv"), Path("/etc/uv"), *site.paths.top.parents]
    texts = [value for name, value in variables.items() if "INDEX" in name or "FIND_LINKS" in name]
    for path in (Path(variables.get("UV_CONFIG_FILE", os.devnull)), *(place / "uv.toml" for place in places)):
        with contextlib.suppress(OSError, UnicodeDecodeError):
            texts.append(path.read_text(encoding="utf-8"))
    return without_users("\n".join(texts))


def may_change_index(site: Site, project: Path) -> bool:
    """Return True if uv may take each version from another index, as `index-strategy` wants it."""
    text = (project / "pyproject.toml").read_text(encoding="utf-8")
    return "unsafe" in site.uv_variables.get("UV_INDEX_STRATEGY", "") or bool(_UNSAFE.search(text))


def explain_moves(moves: Sequence[Move], lock: Lock) -> list[Problem]:
    """Return a problem for each place that packages would come from, or have other files of."""
    problems, places = [], {package.source.place for package in lock.packages}
    for before, after in dict.fromkeys((move.before, move.after) for move in moves):
        group = [move for move in moves if (move.before, move.after) == (before, after)]
        labels = join_few([move.label for move in group])
        message = f"{labels} would come from `{after}`, and came from `{before}`."
        if group[0].has_other_files:
            message = f"{labels} would have other files than before: a hash changed without its version."
        elif len(group) > 1 and before not in places:
            message = f"{message} {_MIRROR}"
        options = " ".join(f"--accept {word(name)}" for name in dict.fromkeys(move.name for move in group))
        problems.append(Problem("moved-package", message, f"If that is right, run `releaser update {options}`."))
    return problems


def describe_moves(moves: Sequence[Move], own: Collection[str]) -> list[str]:
    """Return a sentence for what an update takes from elsewhere; `own` are the indexes that the host names."""
    accepted = [move.label for move in moves if move.after not in own]
    mirrors = sorted({move.after for move in moves} & {*own})
    notes = [f"From another source, or with other files: {join_few(accepted)}."] if accepted else []
    return [*notes, *(f"This host takes packages from its own index, `{place}`." for place in mirrors)]
