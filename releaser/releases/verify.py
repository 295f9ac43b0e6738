"""The proof that a release is what was sealed; one of an earlier version is compared with its RECORD files."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Literal

from releaser.errors import Problem
from releaser.releases.release import BUILT, Release
from releaser.releases.sealed import Difference, find_changed_files, hash_file, list_added, list_differences, name_kind
from releaser.releases.venv import (
    ask_python_version,
    find_python,
    join_records,
    list_editable,
    list_stray_files,
    read_records,
    shorten,
)
from releaser.site.site import Site
from releaser.system.text import join_few

DATA_ADVICE = "A package may have written that itself. If none has, `releaser update --force` builds the release again."
_PUT_BACK = "The next update puts back what is missing; delete a changed file if it is to come back, too."


def find_damage(release: Release, most: int = 3) -> list[str]:
    """Return a sentence for each of the first differences between the files of a release and what was sealed."""
    return [fault.sentence for fault in islice(list_damage(release), most)]


def list_damage(release: Release) -> Iterator[Difference]:
    """Yield the differences between the files of a release and what was sealed; without a seal, by the RECORDs."""
    sealed = release.manifest.sealed
    if sealed is not None:
        yield from list_differences(release.venv, sealed)
        for sentence in find_changed_files(release.directory / BUILT, sealed.products):
            yield Difference(f"its copy of {sentence}")
    elif release.manifest.kind == "built":
        yield from list_patched(release.venv)


def list_patched(venv: Path) -> Iterator[Difference]:
    """Yield a difference for each file that is missing, or differs from the RECORD of its package."""
    for path, expected in join_records(read_records(venv).values()).items():
        digest = hash_file(Path(os.path.realpath(venv / path))) if expected is not None else None
        if digest is not None and digest != expected:
            yield Difference(f"{shorten(path)} is not as it was installed", name_kind(path, digest))


def list_faults(site: Site, release: Release) -> Iterator[Difference]:
    """Yield everything that is not as it was sealed: Python, the place of the project, and the files."""
    python, before = find_python(release.venv), release.manifest.key.python
    version = ask_python_version(site, python)
    if not version:
        yield Difference(f"its Python does not start: {python}, which was {before}")
        yield from list_edits(release)
        return
    if version != before:  # in another series, it does not find the packages
        kind: Literal["python", "damage"] = "python" if _name_series(version) == _name_series(before) else "damage"
        yield Difference(f"its Python is {version}, and was {before}", kind)
    yield from _list_moved(site, release)
    yield from list_damage(release)


def has_its_python(site: Site, release: Release) -> bool:
    """Return True if the Python of a release starts, and is of the series that its packages were installed for."""
    version = ask_python_version(site, find_python(release.venv))
    return bool(version) and _name_series(version) == _name_series(release.manifest.key.python)


def _name_series(version: str) -> str:
    return version.rpartition(".")[0]


def find_faults(site: Site, release: Release) -> list[str]:
    """Return why a release cannot go live again: neither for data, nor for a Python that was replaced in all releases.

    It is enough to know the first reasons.
    """
    faults = (fault.sentence for fault in list_faults(site, release) if fault.kind not in ("data", "python"))
    return [*islice(faults, 3)]


def find_live_damage(live: Release, faults: Iterable[Difference], *, is_lost: bool) -> list[str]:
    """Return why the live release is built again; if `is_lost`, as it is built in any case, also what goes by that.

    What a person has put there refuses an update before; data that a package writes itself would differ each night.
    """
    faults = add_edits(live, faults)
    return [fault.sentence for fault in faults if is_lost or fault.kind not in ("data", "edit")]


def add_edits(live: Release, faults: Iterable[Difference]) -> list[Difference]:
    """Return faults with what a person has added, which are among them if the release has a seal."""
    return [*dict.fromkeys([*faults, *(list_edits(live) if live.manifest.sealed is None else ())])]


def list_edits(live: Release) -> list[Difference]:
    """Return what a person has put into the venv of a release, and the next one would not have."""
    if live.manifest.sealed is not None:
        return [added for added in list_added(live.venv, live.manifest.sealed) if added.kind == "edit"]
    strays = [shorten(path) for path in list_stray_files(live.venv) if path != shorten(path)]
    return [Difference(f"{path} was added", "edit") for path in strays if "/" not in path]


def explain_fault(fault: Difference, *, is_live: bool) -> Problem:
    """Return the problem of a release that is not as it was sealed, with what comes of it."""
    sentence = f"Not as it was sealed: {fault.sentence}."
    if fault.kind == "data":
        return Problem("changed-data", sentence, DATA_ADVICE)
    if is_live and fault.kind in ("edit", "hotfix"):
        return Problem("damaged-venv", sentence, "`releaser update --force` builds it without that.")
    if is_live:
        return Problem("damaged-venv", sentence, "Run `releaser update`: it is built again.")
    word = "does not mind" if fault.kind == "python" else "refuses"
    return Problem("damaged-venv", sentence, f"A rollback {word} it: see `releaser list`.")


def find_product_faults(site: Site, live: Release) -> list[Problem]:
    """Return a problem for each product of the live release that is not in the checkout as the build has made it."""
    products = live.manifest.sealed.products if live.manifest.sealed else {}
    return [
        Problem("changed-product", f"In the checkout, {sentence}; the build has made it.", _PUT_BACK)
        for sentence in find_changed_files(site.paths.top, products)
    ]


def _list_moved(site: Site, release: Release) -> Iterator[Difference]:
    """Yield that a release names the directory in which the project was before."""
    before, editable = release.manifest.project, list_editable(release.venv)
    is_other = os.path.realpath(before) != os.path.realpath(site.paths.project)
    if before and is_other and (editable or release.manifest.kind == "adopted"):
        names = f", from where it imports {join_few(sorted(editable))}" if editable else ""
        yield Difference(f"it was made for the project in {before}{names}")
    elif gone := [f"{name} is not in {path}" for name, path in editable.items() if not path.exists()]:
        yield Difference(f"the project was moved: {join_few(gone)}")
