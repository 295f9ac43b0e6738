"""Puts the products of a release into the checkout, and takes those of the earlier one away, in both directions."""

from __future__ import annotations

import contextlib
import filecmp
import os
import shutil
from pathlib import Path

from releaser.errors import refuse
from releaser.releases.release import BUILT
from releaser.system.files import FULL, is_temporary, lies_behind_link, name_temporary, remove_path
from releaser.system.text import join_few


def list_products(release: Path | None) -> frozenset[Path]:
    """Return the paths of a release's products, relative to the top of the checkout."""
    built = release / BUILT if release is not None else None
    if built is None:
        return frozenset()
    return frozenset(
        Path(place, name).relative_to(built)
        for place, directories, names in os.walk(built)
        for name in (*names, *(name for name in directories if os.path.islink(os.path.join(place, name))))
        if not is_temporary(name)
    )


def place_products(top: Path, before: Path | None, after: Path | None) -> None:
    """Replace the products of release `before` in a checkout by those of release `after`. May be repeated.

    Whatever lies in the place of a product is kept as that of `before`, and comes back with it. Products of `before`
    that a person has changed stay. Raises PreflightError if a directory, or a file that no release could keep, is in
    the way, and OSError.
    """
    new, old, built = list_products(after), list_products(before), (after or top) / BUILT

    def is_in_the_way(path: Path) -> bool:
        place = top / path
        is_kept = before is not None and not (place.is_dir() and not place.is_symlink())
        is_other = os.path.lexists(place) and not _is_same(place, built / path)
        return lies_behind_link(top, path) or (is_other and not is_kept)

    if obstacles := [str(top / path) for path in sorted(new) if is_in_the_way(path)]:
        message = f"In the way of files that the build has made: {join_few(obstacles, 20)}."
        raise refuse("product-in-the-way", message, "Move them away, then run releaser again.")
    own = [path for path in sorted(new | old) if not lies_behind_link(top, path)]
    for path in own:  # a run that died may have left them
        for place in (top, before / BUILT) if before is not None else (top,):
            remove_path(name_temporary(place / path))
    for path in own:
        place, product = top / path, built / path
        was_left = before is not None and path in old and _is_same(place, before / BUILT / path)
        if path not in new:
            place.unlink() if was_left else None
        elif not _is_same(place, product):
            if before is not None and os.path.lexists(place) and not was_left:
                _copy(place, before / BUILT / path)
            _copy(product, place)


def _is_same(first: Path, second: Path) -> bool:
    if first.is_symlink() or second.is_symlink():
        return first.is_symlink() and second.is_symlink() and os.readlink(first) == os.readlink(second)
    return first.is_file() and second.is_file() and filecmp.cmp(first, second, shallow=False)


def _copy(source: Path, target: Path) -> None:
    """Put a copy of a file in its place by a rename; on a full disk, a hard link. Raises OSError."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = name_temporary(target)
    remove_path(temporary)
    try:
        shutil.copy2(source, temporary, follow_symlinks=False)
    except OSError as error:
        if error.errno not in FULL:
            raise
        remove_path(temporary)
        os.link(source, temporary, follow_symlinks=False)
    with contextlib.suppress(PermissionError):
        os.chown(temporary, -1, target.parent.stat().st_gid, follow_symlinks=False)
    os.rename(temporary, target)
