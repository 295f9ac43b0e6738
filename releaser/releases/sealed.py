"""The seal of a release: everything that was in it when it was closed; and how a venv differs from its seal.

The files of a package are sealed by the hash of its RECORD, as far as that tells the truth. Byte code and empty
directories do not count.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Literal

import msgspec

from releaser.releases.lease import STARTUP_FILES
from releaser.releases.venv import (
    SEEDS,
    Records,
    find_site_packages,
    find_unknown,
    is_in_package,
    join_records,
    list_files,
    list_installed,
    list_sources,
    read_records,
    shorten,
)
from releaser.system.signals import check_signals
from releaser.system.text import redact

_SMALL = 1 << 16  # bytes that are read at once
_CODE = {".py", ".pyc", ".so", ".pth"}
ABSENT = ""  # the hash of a file that does not exist
CONFIG = "pyvenv.cfg"


class Sealed(msgspec.Struct, frozen=True):
    """The contents of a release. Paths are relative to the venv; a hash is a SHA-256, or the text of a link.

    `packages` are the labels of versions, `sources` the URLs of those that no index has brought. `records` are the
    hashes of the RECORD files, `files` those of each file that no RECORD names rightly. `products` are the files that
    the build wrote beside the source, by their paths in the checkout. `python` is a version such as `3.13.5`.
    """

    packages: dict[str, str]
    sources: dict[str, str]
    records: dict[str, str]
    files: dict[str, str]
    products: dict[str, str]
    python: str
    #: The hash of the start-up module, with what starts it.
    startup: str
    programs: tuple[str, ...] = ()


class Difference(msgspec.Struct, frozen=True):
    """A sentence about what differs from a seal.

    Its kind is `damage`; a `hotfix`, which is changed code; `data` that a package may have written itself, or a file
    beside its own; an `edit`, which a person has added; or `python`, another version of the interpreter.
    """

    sentence: str
    kind: Literal["damage", "hotfix", "data", "edit", "python"] = "damage"


def take_seal(venv: Path, built: Path, python: str) -> Sealed:
    """Return the seal of a venv, and of the products in `built`. Raises OSError."""
    records, startup = read_records(venv), _list_startup_files(venv)
    expected = join_records(records.values())
    paths = {*list_files(venv), *expected} - records.keys() - startup
    hashes = {path: hash_file(f"{venv}/{path}") for path in sorted(paths)}
    return Sealed(
        packages=list_installed(venv),
        sources={name: redact(url) for name, url in list_sources(venv).items()},
        records={path: hash_file(venv / path) for path in sorted(records)},
        files={path: digest for path, digest in hashes.items() if expected.get(path) != digest},
        products={path: hash_file(built / path) for path in sorted(list_files(built))},
        python=python,
        startup=hash_startup_files(venv),
        programs=tuple(sorted(path for path in paths if path.startswith("bin/") and os.access(venv / path, os.X_OK))),
    )


def find_differences(venv: Path, sealed: Sealed, most: int = 3) -> list[str]:
    """Return a sentence for each of the first differences between a venv and its seal."""
    return [difference.sentence for difference in islice(list_differences(venv, sealed), most)]


def list_differences(venv: Path, sealed: Sealed) -> Iterator[Difference]:
    """Yield the differences between a venv and its seal: packages, files, and what lies beside them."""
    installed, records = list_installed(venv), read_records(venv)
    for name, before in sorted(sealed.packages.items()):
        if (after := installed.get(name)) != before:
            sentence = f"{name} is {after}, and was {before}" if after else f"{name} {before} is missing"
            yield Difference(sentence, "data" if name in SEEDS else "edit" if after else "damage")
    if has_lost_startup := hash_startup_files(venv) != sealed.startup:
        yield Difference("the start-up module is missing or changed")
    for path in sealed.programs:
        if os.path.exists(venv / path) and not os.access(venv / path, os.X_OK):
            yield Difference(f"{path} is not executable")
    wrong = _find_wrong_records(venv, sealed)
    trusted = join_records(record for path, record in records.items() if path in sealed.records.keys() - wrong)
    expected = {path: digest for path, digest in trusted.items() if digest} | sealed.files
    named = {path for path in wrong if (venv / path).parent.is_dir()}  # else the package is missing, as said
    # by a tool: nothing in it is a person's work
    is_replaced = has_lost_startup and hash_file(venv / CONFIG) != sealed.files.get(CONFIG)
    for path in sorted(expected.keys() | named):
        digest = hash_file(f"{venv}/{path}")
        if digest == ABSENT != expected.get(path):
            yield Difference(f"{shorten(path)} is missing")
        elif digest != expected.get(path):
            kind = "damage" if is_replaced else name_kind(path, digest)
            yield Difference(f"{shorten(path)} is not as it was sealed", kind)
    yield from list_added(venv, sealed, records)


def list_added(venv: Path, sealed: Sealed, records: Records | None = None) -> Iterator[Difference]:
    """Yield what a venv has beyond its seal, without a look into any file but the RECORDs, if these are not given."""
    for name, version in sorted(list_installed(venv).items()):
        if name not in sealed.packages:
            yield Difference(f"{name} {version} was added", "data" if name in SEEDS else "edit")
    records = read_records(venv) if records is None else records
    known = {*join_records(records.values()), *records, *sealed.records, *sealed.files, *_list_startup_files(venv)}
    for path in [] if _find_wrong_records(venv, sealed) else find_unknown(venv, known):  # their files are unknown
        yield Difference(f"{shorten(path)} was added", "data" if is_in_package(path) else "edit")


def _find_wrong_records(venv: Path, sealed: Sealed) -> set[str]:
    return {path for path, digest in sealed.records.items() if hash_file(venv / path) != digest}


def name_kind(path: str, digest: str) -> Literal["damage", "hotfix", "data"]:
    """Return the kind of a change of a file, by what is there now: its hash."""
    is_file = digest != ABSENT and not digest.startswith(("->", "?"))
    if is_file and path.startswith("bin/"):
        return "hotfix"
    if not is_file or shorten(path) == path or ".dist-info/" in path:
        return "damage"
    return "data" if _CODE.isdisjoint(Path(path).suffixes) else "hotfix"


def find_changed_files(top: Path, hashes: dict[str, str]) -> list[str]:
    """Return a sentence for each file below a directory that is missing, or has another hash."""
    now = {path: hash_file(top / path) for path in hashes}
    return [
        f"{path} is {'missing' if now[path] == ABSENT else 'changed'}"
        for path, digest in sorted(hashes.items())
        if now[path] != digest
    ]


def hash_file(path: str | Path) -> str:
    """Return the SHA-256 of a file, `-> TEXT` for a link, `ABSENT` without one, the error for what cannot be read."""
    check_signals()
    try:
        mode = os.lstat(path).st_mode
        if stat.S_ISLNK(mode):
            return f"-> {os.readlink(path)}"
        if not stat.S_ISREG(mode):
            return f"? {stat.S_IFMT(mode):o}"
        if not mode & stat.S_IRUSR:  # root can read it all the same
            return "? not readable"
        with open(path, "rb", buffering=0) as file:
            if len(start := file.read(_SMALL)) < _SMALL and not file.read(1):  # a file system may give a part
                return hashlib.sha256(start).hexdigest()
            file.seek(0)
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (FileNotFoundError, NotADirectoryError):
        return ABSENT
    except OSError as error:
        return f"? {error.strerror}"


def hash_startup_files(venv: Path) -> str:
    """Return the hash of the start-up module of a venv, with what starts it."""
    hashes = [hash_file(venv / path) for path in sorted(_list_startup_files(venv))]
    return hashlib.sha256("\n".join(filter(None, hashes)).encode()).hexdigest()


def _list_startup_files(venv: Path) -> set[str]:
    place = os.path.relpath(find_site_packages(venv), venv)
    return {os.path.join(place, name) for name in STARTUP_FILES}
