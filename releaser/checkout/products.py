"""Products in the checkout: what a build wrote beside the source moves with its release; everything else is the site's.

A path is decided on by three contents: the product of the release that is left, that of the release that comes, and
what lies there. `built/` of a release is never written after its seal, but for one whose products are unknown.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import importlib.machinery
import os
import shutil
import stat
from collections.abc import Collection
from pathlib import Path
from typing import Literal

import msgspec

from releaser.checkout.repository import Repository
from releaser.errors import Problem
from releaser.releases.journal import Entry
from releaser.releases.release import BUILT, Manifest, Release, list_files, list_products
from releaser.releases.store import MANIFEST, Store
from releaser.site.site import Site
from releaser.system.files import FULL, BrokenFileError, name_temporary, read_json, remove_path
from releaser.system.text import join_few

Step = Literal["place", "delete", "leave", "refuse"]
ABSENT, IN_THE_WAY = "", "in the way"
_METADATA = (".egg-info", ".dist-info")


class ProductMove(msgspec.Struct, frozen=True):
    """What a move of the checkout does with the products of the release `before`, which is left, and of `after`.

    Both are directories of releases, and paths are those below `top`, that of the checkout. `adopted` are files that
    `before` gets as its products, as nobody knows what an earlier build has made.
    """

    top: Path
    before: Path | None = None
    after: Path | None = None
    paths: tuple[Path, ...] = ()
    deleted: tuple[Path, ...] = ()
    placed: tuple[Path, ...] = ()
    adopted: tuple[Path, ...] = ()
    refused: tuple[Path, ...] = ()

    @property
    def problems(self) -> list[Problem]:
        """A problem that names the files that must not be replaced; none without such."""
        if not self.refused:
            return []
        names = join_few([f"`{self.top / path}`" for path in self.refused], 20)
        message = f"In the way of files that the build has made: {names}. They are no products"
        message += " of the live release, or were changed since it was built."
        return [Problem("product-in-the-way", message, "Move them away, then run releaser again.")]


def choose_step(old: str, new: str, disk: str) -> Step:
    """Return what becomes of a path: `old` is the product of the release that is left, `new` that of the next one.

    `disk` is what lies there; each is a hash, or ABSENT. A file of the site is not replaced, and its edit not undone.
    """
    if not new:
        return "delete" if old and disk == old else "leave"
    if disk == new:
        return "leave"
    if disk in (ABSENT, old):
        return "place"
    return "leave" if new == old else "refuse"


def plan_products(site: Site, repository: Repository, entry: Entry, *, back: bool) -> ProductMove:
    """Return what a move of the checkout does with products. Paths that git tracks are its own business."""
    earlier = entry.products_of or entry.earlier
    names = (entry.release, earlier) if back else (earlier, entry.release)
    before, after = (site.paths.releases / name if name else None for name in names)
    old, new = _hash_products(before), _hash_products(after)
    if not entry.moves_products or not (old or new):
        return ProductMove(site.paths.top)
    top, head, commit = site.paths.top, repository.head(), entry.head if back else entry.commit
    tracked, coming = ({*map(Path, repository.list_files(each))} for each in (head, commit))
    new = {path: product for path, product in new.items() if path not in coming}
    leaving = tracked - coming | find_unchanged_products(top, before) - new.keys()
    is_unknown, adopted, chosen = has_unknown_products(before), [], dict[Path, Step]()
    for path in sorted({*old, *new} - (tracked & coming)):
        former, product = old.get(path, ABSENT), new.get(path, ABSENT)
        disk = ABSENT if path in tracked else read_content(top, path, leaving)
        is_file = disk not in (ABSENT, IN_THE_WAY)
        if is_unknown and product and not former and is_file and (disk == product or is_code(path)):
            adopted.append(path)
            former = disk
        chosen[path] = choose_step(former, product, disk)

    def choose(step: Step) -> tuple[Path, ...]:
        return tuple(path for path in chosen if chosen[path] == step)

    steps = (choose("delete"), choose("place"), tuple(adopted), choose("refuse"))
    return ProductMove(top, before, after, tuple(chosen), *steps)


def _hash_products(release: Path | None) -> dict[Path, str]:
    return {path: read_content(release / BUILT, path) for path in list_products(release)} if release else {}


def read_content(top: Path, path: Path, leaving: Collection[Path] = ()) -> str:
    """Return the hash of a file, or the text of a link, below `top`; ABSENT once the files `leaving` have gone."""
    for parent in reversed(path.parents[:-1]):
        place = top / parent
        if os.path.lexists(place) and (place.is_symlink() or not place.is_dir()):
            return ABSENT if parent in leaving else IN_THE_WAY
    place = top / path
    if place.is_symlink():
        return f"-> {os.readlink(place)}"
    if place.is_file():
        with place.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() + (" x" if os.access(place, os.X_OK) else "")
    if not os.path.lexists(place):
        return ABSENT
    is_empty = place.is_dir() and all((path / each) in leaving for each in list_files(place))
    return ABSENT if is_empty else IN_THE_WAY


def has_unknown_products(release: Path | None) -> bool:
    """Return True for a release that was adopted, or has no product: what a build has made before is not known."""
    if release is None or not (release / BUILT).is_dir():
        return release is not None
    with contextlib.suppress(BrokenFileError):
        manifest = read_json(release / MANIFEST, Manifest)
        return manifest is not None and manifest.kind == "adopted"
    return False


def is_code(path: Path) -> bool:
    """Return True for what Python imports, and for the metadata of a package."""
    is_metadata = any(part.endswith(_METADATA) for part in path.parts)
    return is_metadata or path.name.endswith(tuple(importlib.machinery.all_suffixes()))


def find_unchanged_products(top: Path, release: Path | None) -> frozenset[Path]:
    """Return the products of a release that lie in the checkout as they were built."""
    products = _hash_products(release)
    return frozenset(path for path in products if read_content(top, path) == products[path])


def find_deployed(site: Site, repository: Repository, store: Store, head: str) -> Release | None:
    """Return the release whose code and products the checkout has: after `--keep-code`, not the live one.

    Of several with that code, one whose products are all there; else the newest. The live one if none has that code.
    """
    key = repository.code_key(head, *site.committed_paths)
    if store.live is None or store.live.manifest.key.code_key == key:
        return store.live
    alike = [release for release in store.releases if release.manifest.key.code_key == key and release.state.order]
    for release in alike:
        if find_unchanged_products(site.paths.top, release.directory) == list_products(release.directory):
            return release
    of_live = list_products(store.live.directory)  # a person may have moved the code alone
    has_live = of_live and find_unchanged_products(site.paths.top, store.live.directory) == of_live
    return store.live if has_live else next(iter(alike), store.live)


def find_missing_products(site: Site, repository: Repository, release: Release) -> list[str]:
    """Return a sentence for each product of the live release that was deleted from the checkout."""
    paths = [path for path in sorted(list_products(release.directory)) if not os.path.lexists(site.paths.top / path)]
    tracked = repository.tracked_files() if paths else ()
    return [f"{path} is missing in the checkout" for path in paths if path.as_posix() not in tracked]


def place_products(move: ProductMove) -> None:
    """Put the products of the release that comes into the checkout. May be repeated. Raises OSError."""
    roots = [move.top, *(release / BUILT for release in (move.before, move.after) if release)]
    for path in move.paths:  # a run that died may have left them
        for root in roots:
            if read_content(root, path) != IN_THE_WAY:
                remove_path(name_temporary(root / path))
    for path in move.adopted:
        copy_product(move.top, move.before / BUILT, path) if move.before else None
    for path in move.placed:
        copy_product(move.after / BUILT, move.top, path, is_live=True) if move.after else None


def copy_product(source: Path, target: Path, path: Path, *, is_live: bool = False) -> None:
    """Put a copy of a file below `target`, by a rename; on a full disk, a hard link. Raises OSError.

    Directories that it needs get the mode that they have below `source`; none may be a link. What `is_live` is on the
    disk before the rename: after a power cut, half of it would pass for a person's file.
    """
    target.mkdir(exist_ok=True)
    for parent in reversed(path.parents[:-1]):
        if (target / parent).is_symlink():
            raise NotADirectoryError(errno.ENOTDIR, "A product would go through a link", str(target / parent))
        if not (target / parent).is_dir():
            (target / parent).mkdir(mode=0o700)
            _set_group(target / parent)
            (target / parent).chmod(stat.S_IMODE((source / parent).stat().st_mode) | 0o700)
    place, temporary = target / path, name_temporary(target / path)
    remove_path(temporary)
    try:
        if (source / path).is_symlink():
            shutil.copy2(source / path, temporary, follow_symlinks=False)
        else:
            with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:  # maybe a key
                shutil.copy2(source / path, temporary)
                os.fsync(file.fileno()) if is_live else None
    except OSError as error:
        if error.errno not in FULL:
            raise
        remove_path(temporary)
        os.link(source / path, temporary, follow_symlinks=False)
    _set_group(temporary)
    if place.is_dir() and not place.is_symlink():  # what was in it has gone
        for directory, _, _ in os.walk(place, topdown=False):
            os.rmdir(directory)
    os.rename(temporary, place)


def _set_group(path: Path) -> None:
    with contextlib.suppress(PermissionError):
        os.chown(path, -1, path.parent.stat().st_gid, follow_symlinks=False)
