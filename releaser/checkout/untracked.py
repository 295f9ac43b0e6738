"""Brings untracked files into a staging tree, by copies and symlinks: those that resolving needs, then the rest."""

from __future__ import annotations

import contextlib
import fnmatch
import os
import re
import shutil
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from releaser.checkout.lock_files import path_within, read_references
from releaser.checkout.output import declared_places
from releaser.core.confinement import confinement
from releaser.errors import Finding, ToolError, refuse_any
from releaser.reporting.hook_settings import BuildSettings
from releaser.site.space import Need, find_lacks
from releaser.site.staging_settings import StagingSettings
from releaser.system.frozen import Frozen, replace
from releaser.system.words import first_few, plural
from releaser.tools.code_files import SMALL, matches

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from releaser.site.site import Carried, Site


MOST_FILES = 2_000  # small files that are copied, in total
MOST_BYTES = 100_000_000
_DIRECTORY_FILES = 500  # in a small directory, at most
_DIRECTORY_BYTES = 10_000_000
_BLOCK = 4096  # bytes of a file system's block
_OF_UV = ("uv.toml", ".python-version", ".python-versions")  # files that uv reads to resolve

Transfer = Literal["copy", "link", "lend", "same", "make", "omit"]


class Way(Frozen):
    """A way to bring untracked paths into a staging tree."""

    #: True if paths of the checkout may be linked, because code in the tree cannot change them.
    links: bool
    #: Why nothing is linked, and the advice; the reason is empty if paths are linked.
    reason: str = ""
    remedy: str = ""


def way_into_tree(site: Site) -> Way:
    """Return how untracked paths get into the staging trees of a site. The sandbox is tried once in a run."""
    if BuildSettings.of(site).before_build is not None:
        reason = "`before_build` runs without a sandbox, and could write to it"
        return Way(links=False, reason=reason, remedy="Let `before_build` install its dependencies")
    reason = confinement().why_not(site)
    remedy = f"{confinement().remedy}, so that tests can read all files, and releaser discards their changes"
    return Way(links=not reason, reason=reason, remedy=remedy)


def untracked_in(site: Site) -> tuple[str, ...]:
    """List the untracked paths of the checkout, relative to its top. Raises ToolError."""
    return tuple(site.git.unknown_files())


def carrier_to(site: Site, place: Path, way: Way) -> Carrier:
    """Return the carrier of untracked files from the checkout of a site to `place`."""
    project = site.project
    return Carrier(
        settings=StagingSettings.of(site),
        top=site.git.layout.top,
        place=place,
        excluded=frozenset({project.venv, project.state_dir, *declared_places(site)}),
        way=way,
        is_generous=not (project.has_git or way.links),
    )


# The paths that resolving needs


def find_needed(site: Site, root: Path, names: Iterable[str]) -> tuple[str, ...]:
    """Return those of the untracked paths that uv reads to resolve in the staging tree at `root`.

    These are the local sources, wheels and indexes that `pyproject.toml`, `uv.toml` or the lock refer to, with paths
    below and above. If uv has to build the project to learn its dependencies, all paths are returned.
    """
    content = site.pyproject.content
    if content.get("build-system") and content.get("project", {}).get("dynamic"):
        return tuple(names)
    top, checkout = site.git.layout.top, site.project.checkout
    base = os.path.relpath(checkout, top)
    wanted, patterns = set[str](), list[str]()
    for text in (*read_references(site, root), *_OF_UV):
        place = path_within(text, top, base)
        if place is not None and re.search(r"[*?\[]", place):
            patterns.append(place)
        elif place is not None:
            wanted.add(place)
    above = {str(parent) for place in wanted for parent in Path(place).parents}
    return tuple(
        name
        for name in names
        if _is_wanted(name.rstrip("/"), wanted, above)
        or any(_has_member(top / name, pattern, name.rstrip("/")) for pattern in patterns)
    )


def _is_wanted(name: str, wanted: set[str], above: set[str]) -> bool:
    return name in wanted or name in above or any(str(parent) in wanted for parent in Path(name).parents)


def _has_member(place: Path, pattern: str, name: str) -> bool:
    """True if a pattern for workspace members, or for files, matches a path, or one above or below it."""
    parts, wanted = name.split("/"), pattern.split("/")
    common = min(len(parts), len(wanted))
    if not all(fnmatch.fnmatchcase(one, like) for one, like in zip(parts[:common], wanted[:common], strict=True)):
        return False
    return len(parts) != len(wanted) or not place.is_dir() or (place / "pyproject.toml").is_file()


# Copies and symlinks


class Entry(Frozen):
    """A path that a staging tree gets, and how."""

    #: Relative to the top of the checkout.
    name: str
    source: Path
    how: Transfer
    #: True if it is copied because it is small, and not because a setting names it.
    is_small: bool = False
    #: The size of a copy; for a skipped path, a lower bound.
    files: int = 1
    bytes: int = 0


class Carrier(Frozen):
    """Brings untracked files from the checkout at `top` into the staging tree at `place`."""

    settings: StagingSettings
    top: Path
    place: Path
    excluded: frozenset[Path]
    way: Way
    #: True if files are copied one by one, and more of them, as without commits they may be part of the code.
    is_generous: bool = False

    def plan(self, names: Iterable[str]) -> list[Entry]:
        """Plan how the tree gets each of these paths, relative to the top, without writing.

        Small files and directories are copied, the smallest first, up to a total; the rest is linked or skipped.
        """
        found = [entry for name in names for entry in self._plan(name.rstrip("/"))]
        files, size, times = 0, 0, 10 if self.is_generous else 1
        small = [at for at, one in enumerate(found) if one.how == "copy" and one.is_small]
        for at in sorted(small, key=lambda at: found[at].bytes):
            files, size = files + found[at].files, size + found[at].bytes
            if files > times * MOST_FILES or size > times * MOST_BYTES:
                found[at] = replace(found[at], how="link" if self.way.links else "omit")
        return found

    def plan_needed(self, names: Iterable[str]) -> list[Entry]:
        """Plan how the tree gets the paths that resolving needs; none is skipped.

        Paths that may not stay linked are lent: linked until other programs than uv run in the tree. Sources are copied
        instead, as uv may build in them.
        """
        found = self.plan(names)
        for at, one in enumerate(found):
            if one.how == "omit":
                is_source = any((one.source / name).is_file() for name in ("pyproject.toml", "setup.py"))
                found[at] = _as_copy(one) if is_source else replace(one, how="lend")
        return found

    def plan_instead(self, lent: Iterable[str]) -> list[Entry]:
        """Plan the copies that replace lent paths."""
        return [_as_copy(Entry(name=name, source=Path(os.path.realpath(self.top / name)), how="copy")) for name in lent]

    def carry(self, entries: Iterable[Entry], carried: Carried) -> None:
        """Bring these entries into the tree, and record them. Raises OSError.

        Files that disappear meanwhile, such as temporary ones of databases, are skipped.
        """
        for entry in entries:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                self._bring(entry, carried)

    def _bring(self, entry: Entry, carried: Carried) -> None:
        target = self.place / entry.name
        if entry.how == "omit":
            carried.skipped.append(entry.name)
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        if entry.how == "make":
            target.mkdir(exist_ok=True)
        elif entry.how == "same":
            target.symlink_to(entry.source.readlink())
        elif entry.how in ("link", "lend"):
            target.symlink_to(entry.source)
            (carried.linked if entry.how == "link" else carried.lent).append(entry.name)
        else:
            if entry.name in carried.lent:
                target.unlink(missing_ok=True)
                carried.lent.remove(entry.name)
            self._copy(entry.source, target)
            carried.copied.append(entry.name)

    def _copy(self, source: Path, target: Path) -> None:
        if not source.is_dir():
            shutil.copy2(source, target)
            return
        target.mkdir()
        for path in sorted(source.iterdir()):
            with contextlib.suppress(FileNotFoundError):
                mode = path.lstat().st_mode
                if stat.S_ISLNK(mode):
                    if self.way.links or self._stays_inside(target / path.name, path.readlink()):
                        (target / path.name).symlink_to(path.readlink())
                elif stat.S_ISDIR(mode) or stat.S_ISREG(mode):
                    self._copy(path, target / path.name)
        shutil.copystat(source, target)

    def _plan(self, name: str) -> Iterator[Entry]:
        """Plan one path; paths of the commit itself are skipped."""
        source, target = self.top / name, self.place / name
        if source in self.excluded or self.settings.omits(name, source):
            return
        both = all(path.is_dir() and not path.is_symlink() for path in (source, target))
        if os.path.lexists(target) and not both:
            return
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            yield from self._plan_entry(name, source, divides=both)

    def _plan_entry(self, name: str, source: Path, *, divides: bool) -> Iterator[Entry]:
        """Plan an entry; with `divides`, such as for a directory of the commit, each path in it separately."""
        if source.is_symlink():
            if self.way.links or self._stays_inside(self.place / name, source.readlink()):
                yield Entry(name=name, source=source, how="same")
                return
            source = Path(os.path.realpath(source))
        settings = self.settings
        copy, link = matches(name, settings.staging_copy), matches(name, settings.staging_link)
        rules = (*settings.staging_copy, *settings.staging_link, *settings.staging_omit)
        has_rules = any(pattern.startswith(f"{name}/") for pattern in rules)
        divides = divides or any(place.is_relative_to(source) for place in self.excluded)
        status = source.stat()  # once: the path may disappear at any moment
        is_directory, is_file = stat.S_ISDIR(status.st_mode), stat.S_ISREG(status.st_mode)
        divides = divides or (self.is_generous and is_directory and not (copy or link) and may_read(source))
        if is_directory and (divides or (has_rules and not (copy or link))):
            yield Entry(name=name, source=source, how="make")
            for entry in sorted(os.listdir(source)):
                yield from self._plan(f"{name}/{entry}")
        elif copy:
            files, size, _ = weigh(source)
            yield Entry(name=name, source=source, how="copy", files=files, bytes=size)
        elif is_directory or is_file:  # not a socket or a pipe
            yield self._plan_other(name, source, status, may_copy=not link)

    def _plan_other(self, name: str, source: Path, status: os.stat_result, *, may_copy: bool) -> Entry:
        """Plan a file or directory that `staging_copy` does not name."""
        is_file = stat.S_ISREG(status.st_mode)
        is_small = is_file and status.st_size <= SMALL and may_copy and may_read(source)
        if self.way.links:
            how: Transfer = "copy" if is_small else "link"
            return Entry(name=name, source=source, how=how, is_small=True, bytes=status.st_size if is_file else 0)
        if is_file:
            # Code in the tree cannot change a file that this user cannot change.
            may_change = os.access(source, os.W_OK) or status.st_uid == os.geteuid()  # the owner may change the mode
            how = "copy" if is_small else "omit" if may_change else "link"
            return Entry(name=name, source=source, how=how, is_small=True, bytes=status.st_size)
        files, size, is_whole = weigh(source, most_files=_DIRECTORY_FILES, most_bytes=_DIRECTORY_BYTES)
        how = "copy" if is_whole and may_copy else "omit"
        return Entry(name=name, source=source, how=how, is_small=True, files=files, bytes=size)

    def _stays_inside(self, link: Path, text: Path) -> bool:
        """True if a symlink at `link` with this text leads to a path in the staging tree."""
        return Path(os.path.normpath(link.parent / text)).is_relative_to(self.place)


def _as_copy(entry: Entry) -> Entry:
    files, size, _ = weigh(entry.source)
    return replace(entry, how="copy", files=files, bytes=size)


def check_room(place: Path, entries: Sequence[Entry]) -> None:
    """Raise PreflightError, before the first copy, if the disk has too few bytes or inodes for the copies."""
    copies = [entry for entry in entries if entry.how == "copy"]
    heaviest = sorted(copies, key=lambda copy: (copy.bytes, copy.files), reverse=True)
    named = first_few([entry.name for entry in heaviest], 3)
    need = Need(
        what="the copies of untracked files in the staging tree",
        place=place,
        bytes=sum(copy.bytes + _BLOCK * copy.files for copy in copies),
        inodes=sum(entry.files if entry.how == "copy" else 1 for entry in entries if entry.how != "omit"),
        remedy=f"add the paths that the tests do not need to `staging_omit` (the largest: {named})" if named else "",
    )
    refuse_any(*find_lacks([need]))


def weigh(path: Path, *, most_files: int = 0, most_bytes: int = 0) -> tuple[int, int, bool]:
    """Return the number of files and directories at a path, their bytes, and whether all were counted.

    The count stops at the limits, and with limits also at a path that this user may not read.
    """
    if not path.is_dir():
        return 1, path.stat().st_size, True
    files = size = 0
    try:
        for entry in _walk(path, skips=not most_files):
            files += 1
            status = entry.stat(follow_symlinks=False)
            is_file = stat.S_ISREG(status.st_mode)
            size += status.st_size if is_file else 0
            is_secret = most_files and is_file and not os.access(entry.path, os.R_OK)
            if is_secret or (most_files and (files > most_files or size > most_bytes)):
                return files, size, False
    except PermissionError:
        return files, size, False
    return files + 1, size, True


def _walk(path: str | Path, *, skips: bool) -> Iterator[os.DirEntry[str]]:
    """Yield all entries below a directory, except those that disappear, and, with `skips`, forbidden ones."""
    expected = (FileNotFoundError, NotADirectoryError, *((PermissionError,) if skips else ()))
    places = [str(path)]
    while places:
        with contextlib.suppress(*expected), os.scandir(places.pop()) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):
                    entry.stat(follow_symlinks=False)  # the entry caches the result
                    yield entry
                places += [entry.path] if entry.is_dir(follow_symlinks=False) else []


def may_read(path: Path) -> bool:
    """True if this user may read a file, or list a directory and reach the files in it.

    Raises FileNotFoundError if the path does not exist; `os.access` would return False, too.
    """
    try:
        if path.is_dir():
            os.stat(f"{path}/.")
            os.listdir(path)
        else:
            os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))  # a pipe must not block
    except PermissionError:
        return False
    return True


# Findings


def skipped_warnings(site: Site) -> tuple[Finding, ...]:
    """Warn, for `releaser check`, about paths that the staging tree lacks because they may not be linked."""
    way = way_into_tree(site)
    if way.links:
        return ()
    try:
        carrier = carrier_to(site, site.git.layout.top.with_name(".releaser-staging"), way)
        left = [entry for entry in carrier.plan(untracked_in(site)) if entry.how == "omit"]
    except (ToolError, OSError):  # other checks report it
        return ()
    if not left:
        return ()
    named = first_few([_describe(name, files, size) for name, files, size in _grouped(left)])
    message = f"the staging tree lacks these untracked files of the site, because {way.reason}: {named}"
    copy = f"staging_copy = {[_grouped(left)[0][0]]}".replace("'", '"')
    return (Finding("untracked-left-out", message, f"{way.remedy}; or copy them into the staging tree: `{copy}`."),)


def _grouped(entries: Iterable[Entry]) -> list[tuple[str, int, int]]:
    """Return directories with the number of files and bytes that the tree lacks of each, the largest first."""
    found: dict[str, tuple[int, int]] = {}
    for entry in entries:
        above = os.path.dirname(entry.name)
        place = above or entry.name
        files, size = found.get(place, (0, 0))
        found[place] = files + entry.files, size + entry.bytes
    return sorted(((name, *sums) for name, sums in found.items()), key=lambda row: (-row[2], row[0]))


def _describe(name: str, files: int, size: int) -> str:
    return f"{name} ({plural(files, 'file')}, {size / 1e6:.1f} MB)"
