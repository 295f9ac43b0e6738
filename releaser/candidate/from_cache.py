"""What uv's cache has altered, or added, is not what goes live: it is installed again, without the cache."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING

from releaser.checkout.which_sandbox import bubblewrap_of
from releaser.errors import Finding, ToolError
from releaser.locks.lock import LockFile
from releaser.releases.contents import find_altered, hash_of, list_below, list_site_packages, read_records
from releaser.releases.integrity import name_and_version
from releaser.releases.store import store_of
from releaser.system.files import clear_name
from releaser.system.words import first_few

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator
    from pathlib import Path

    from releaser.site.site import Site, SiteFacts


logger = logging.getLogger(__name__)


def reinstall_altered(
    site: Site, facts: SiteFacts, venv: Path, again: Callable[[Collection[str]], None]
) -> Iterator[Finding]:
    """Let packages whose files are not as their RECORD names them be installed `again`, without uv's cache.

    All are where a file is in no RECORD, as nobody can tell whose it is. Yields what was so. Raises ToolError.
    """
    altered = {name_and_version(info)[0]: path for info, path in find_altered(str(venv)).items()}
    added = _find_added(site, facts, venv)
    if not altered and not added:
        return
    if bubblewrap_of(site):  # nothing of it is to be there when uv starts the venv's Python
        clear_name(venv, of_directory=True)
    lock = LockFile.read(site.project.lock)
    try:
        again(lock.names - lock.local if added else altered.keys())
    except ToolError as error:
        raise _cannot_reinstall(altered, added, error) from error
    still = find_altered(str(venv)).values()
    for name, path in altered.items():
        if path in still:
            logger.warning("the release of %s itself has another %s than its RECORD names", name, path)
        else:
            message = f"uv's cache had another {path} of {name} than its RECORD names; {name} was reinstalled"
            yield Finding("cache-changed", message, advice=f"Find out what writes there, then `uv cache clean {name}`.")
    if added and (gone := added - (left := _find_unnamed(str(venv)))):
        message = f"uv's cache had {first_few(sorted(gone), 3)}, which is in no RECORD; all packages were reinstalled"
        yield Finding("cache-changed", message, advice="Find out what writes there, then `uv cache clean`.")
        added &= left
    if added:
        logger.warning("no RECORD names %s; a package itself has that", first_few(sorted(added), 3))


def _find_unnamed(venv: str) -> set[str]:
    """Return the files in site-packages that no RECORD names, except byte code that uv has made of what one names."""
    named = read_records(venv).keys()
    return _leave_out_byte_code(list_below(venv, *list_site_packages(venv)).keys() - named, named)


def _leave_out_byte_code(paths: Iterable[str], sources: Collection[str]) -> set[str]:
    found = set[str]()
    for path in paths:
        place, _, name = path.rpartition("/__pycache__/")
        if not place or name.count(".") != 2 or f"{place}/{name.partition('.')[0]}.py" not in sources:  # NAME.TAG.pyc
            found.add(path)
    return found


def _find_added(site: Site, facts: SiteFacts, venv: Path) -> set[str]:
    """Return the files that no RECORD names, and that neither the live release has nor uv puts into each venv."""
    if not (added := _find_unnamed(str(venv))):
        return set()
    empty, live = venv.with_name("empty"), store_of(site).live()
    try:
        facts.uv.run(["venv", "--python", facts.python, empty], tree=site.project.root)
        places = [empty, *([live.venv] if live is not None else [])]
        known = {path for path in added if any(_is_same(venv / path, place / path) for place in places)}
        return _leave_out_byte_code(added - known, known)  # uv, at least up to 0.12, compiles its own _virtualenv.py
    finally:
        clear_name(empty, of_directory=True)


def _is_same(file: Path, other: Path) -> bool:
    with contextlib.suppress(OSError):
        return not (file.is_symlink() or other.is_symlink()) and hash_of(str(file)) == hash_of(str(other))
    return False


def _cannot_reinstall(altered: dict[str, str], added: Collection[str], error: ToolError) -> ToolError:
    shown = first_few([f"{path} of {name}" for name, path in altered.items()], 3)
    has = f"uv's cache has another {shown} than RECORD names"
    if added:
        has = f"uv's cache has {first_few(sorted(added), 3)}, which is in no RECORD"
    clean = "uv cache clean" if added else f"uv cache clean {' '.join(altered)}"
    advice = error.advice or "Check the network and the index."
    advice += f" If anything but uv writes to its cache, stop that, and `{clean}`."
    message = f"{has}, and without the cache it failed: {error.message}"
    return ToolError(message, returncode=error.returncode, advice=advice, output=error.output)
