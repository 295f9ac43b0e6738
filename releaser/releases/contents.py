"""The files of a release: their fingerprint, group, mode and disk usage."""

from __future__ import annotations

import contextlib
import itertools
import os
import stat
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING

from releaser.locks.versions import normalize_name
from releaser.system.digests import hex_digest
from releaser.system.files import encode_state, only_files, state_mode
from releaser.system.later import Later
from releaser.system.sections import Facts

if TYPE_CHECKING:
    import csv
    import hashlib
    import io
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from releaser.releases.release import Manifest
else:
    csv, hashlib, io = map(Later, ("csv", "hashlib", "io"))


_BLOCK = 512  # bytes, of st_blocks, whatever the file system is


def share(directory: Path, *, group: int, others: bool, writable: bool = False) -> None:
    """Give everything below `directory` to `group`, readable, and `writable`; with `others`, readable for all users.

    A cache that was filled under a strict umask leaves files in a venv that only their owner can read. A file with
    another hard link, such as in uv's cache, is first replaced by a copy. Raises OSError.
    """
    for path in _walk(directory):
        status = os.lstat(path)
        if stat.S_ISLNK(status.st_mode):
            if status.st_gid != group:
                os.lchown(path, -1, group)
            continue
        if stat.S_ISREG(status.st_mode) and status.st_nlink > 1:
            _separate(path)
            status = os.lstat(path)
        if status.st_gid != group:
            os.chown(path, -1, group)
        wanted = wanted_mode(status.st_mode, others=others, writable=writable)
        if wanted != stat.S_IMODE(status.st_mode):
            os.chmod(path, wanted)


def _walk(directory: Path | str) -> Iterator[str]:
    """Yield the path of a directory, and of each file and directory below."""
    yield str(directory)
    for place, directories, files in os.walk(directory):
        yield from (os.path.join(place, name) for name in directories + files)


def _look_below(directory: str) -> Iterator[tuple[str, os.stat_result]]:
    """Yield each file and directory below, with its `os.lstat`; skip those that disappear, or may not be read."""
    left = [directory]
    while left:
        with contextlib.suppress(OSError), os.scandir(left.pop()) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    status = entry.stat(follow_symlinks=False)
                    yield entry.path, status
                    if stat.S_ISDIR(status.st_mode):
                        left.append(entry.path)


def wanted_mode(mode: int, *, others: bool, writable: bool = False) -> int:
    """Return the mode with `u+rw,g+rX`, `g+w` if `writable`, and `o+rX` if others may read."""
    bits = (stat.S_IMODE(mode) | stat.S_IRUSR | stat.S_IWUSR | stat.S_IRGRP) & ~stat.S_IWGRP
    bits |= stat.S_IWGRP if writable else 0
    bits |= stat.S_IROTH if others else 0
    if stat.S_ISDIR(mode) or mode & stat.S_IXUSR:
        bits |= stat.S_IXUSR | stat.S_IXGRP | (stat.S_IXOTH if others else 0)
    return bits & ~stat.S_IWOTH


def _separate(path: str) -> None:
    """Replace a hard link by a copy of the file."""
    import shutil  # slow to import

    temporary = f"{path}.releaser-copy"
    try:
        shutil.copy2(path, temporary)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def others_may_read(directory: Path) -> bool:
    """True if all users may read a directory, as the web server may run as any user."""
    return bool(directory.stat().st_mode & stat.S_IROTH)


def open_to_group(directory: Path) -> None:
    """Let the group of a directory read its files, and write them if it may write the directory, whatever the umask."""
    for file in directory.iterdir():
        if file.is_file() and not file.is_symlink():
            with contextlib.suppress(PermissionError):  # another user owns it, and has opened it
                file.chmod(state_mode(directory))


class DiskUsage(Facts):
    """The disk usage of a directory; in a manifest, that of the release when it was sealed."""

    #: The disk usage of all files, in whole blocks.
    size_bytes: int = 0
    #: The same without files that have a hard link outside the directory, as releases share equal files.
    own_bytes: int = 0
    inodes: int = 0


def measure(*directories: Path) -> DiskUsage:
    """Measure every file of some releases, also of a venv that lies elsewhere. Takes some 0.1 s for 10,000 files.

    `own_bytes` is what the deletion of all of them frees. When a release is sealed, the manifest keeps the result.
    Files that disappear meanwhile are skipped.
    """
    found: dict[tuple[int, int], os.stat_result] = {}
    names: Counter[tuple[int, int]] = Counter()
    venvs = (directory / "venv" for directory in directories)
    for place in (*map(str, directories), *(os.path.realpath(venv) for venv in venvs if venv.is_symlink())):
        with contextlib.suppress(OSError):
            for status in itertools.chain([os.lstat(place)], (status for _, status in _look_below(place))):
                inode = status.st_dev, status.st_ino
                found[inode] = status
                names[inode] += 1
    size = sum(status.st_blocks for status in found.values())
    shared = sum(
        status.st_blocks
        for inode, status in found.items()
        if stat.S_ISREG(status.st_mode) and status.st_nlink > names[inode]
    )
    return DiskUsage(size_bytes=size * _BLOCK, own_bytes=(size - shared) * _BLOCK, inodes=len(found))


def total_bytes(manifests: Iterable[Manifest]) -> int:
    """Return the disk usage of all releases: files that a release shares with the one before it count there.

    Where that one is deleted, they count once, as the releases after it share them with each other.
    """
    known = {manifest.id: manifest for manifest in manifests}
    usages = [(manifest, DiskUsage.of(manifest)) for manifest in known.values()]
    lost = (usage.size_bytes - usage.own_bytes for manifest, usage in usages if manifest.previous not in known)
    return sum(usage.own_bytes for _, usage in usages) + max(lost, default=0)


def own_sizes(manifests: Iterable[Manifest]) -> dict[str, int]:
    """Return how many bytes the deletion of each release frees at most, by its id, without a look at the files.

    Later releases keep the files that they took from a release. Files that the next one replaced, and an earlier one
    still has, are not known here.
    """
    usages = {manifest.id: (manifest, DiskUsage.of(manifest)) for manifest in manifests}
    taken: dict[str | None, int] = {}
    for manifest, usage in usages.values():
        taken[manifest.previous] = max(taken.get(manifest.previous, 0), usage.size_bytes - usage.own_bytes)
    known = {None, *usages}
    return {
        name: min(
            usage.own_bytes if manifest.previous in known else usage.size_bytes, usage.size_bytes - taken.get(name, 0)
        )
        for name, (manifest, usage) in usages.items()
    }


BUILT = "share/releaser/output"  # in a venv: the output of `before_build`, which goes live with it
KEPT = "changed"  # in a release: the files as they were changed in place, before they were restored
FILES = "files.json"  # the state of each file at the seal, to name those that differ
INFO = ".dist-info"
_READABLE = 0o555  # the bits of a mode that count
_ALONE = (".pth", ".py", ".so")  # directly in site-packages these count even if no package lists them
_OF_VENVS = "_virtualenv.py"  # which uv puts into each venv
_CHUNK = 1 << 18  # bytes
_ALGORITHMS = frozenset({"sha256", "sha384", "sha512"})  # those that the specification of RECORD admits


def seal_files(directory: str) -> str:
    """Write the state of the files of a release into its directory, and return the fingerprint. Raises OSError.

    Nothing is synced here: everything is flushed before the manifest completes the release.
    """
    venv = f"{directory}/venv"
    owners, known, hashes = list_installed(venv), read_records(venv), {}
    found = look(venv, owners)
    by_owner: dict[str, dict[str, str]] = {}
    for path, seen in found.items():
        by_owner.setdefault(owners[path], {})[path] = seen
        # RECORD has no hash of itself, nor of scripts that the installer generated.
        if seen[:1].isdigit() and not is_checkable(known.get(path, "")):
            try:
                hashes[path] = hash_of(f"{venv}/{path}")
            except OSError:
                continue
    others = list_below(venv, *list_site_packages(venv))
    content = {
        "files": by_owner,
        "hashes": hashes,
        "others": sorted(path for path in others if path not in known and not is_byte_code(path)),
    }
    with open(f"{directory}/{FILES}", "wb") as file:
        file.write(encode_state(content))
    return digest(found)


def digest(found: Mapping[str, str]) -> str:
    """Return the fingerprint: one hash over the states of all files."""
    text = "\n".join([f"{name}\t{found[name]}" for name in sorted(found)])
    return hex_digest(text.encode(errors="surrogateescape"))


# Looking


def observe(venv: str) -> dict[str, str]:
    """Return the state of each file that counts, by its path relative to the venv."""
    return look(venv, list_installed(venv))


def look(venv: str, names: Iterable[str]) -> dict[str, str]:
    """Return the state of each file: size, mtime and mode, or the target of a symlink; empty if it does not exist.

    A file that has not the owner and group of the venv has its own ones, too: releases may share it.
    """
    try:
        place = os.open(venv, os.O_PATH | os.O_DIRECTORY)  # faster than the whole path of each file
        whole = os.fstat(place)
    except OSError:
        return dict.fromkeys(names, "")
    lstat, is_file = partial(os.stat, dir_fd=place, follow_symlinks=False), stat.S_ISREG
    found, modes, own = dict[str, str](), dict[int, str](), (whole.st_uid, whole.st_gid)
    try:
        for name in names:
            try:
                status = lstat(name)
                mode = status.st_mode
                if mode not in modes:  # a venv has two or three
                    modes[mode] = f"{mode & _READABLE:o}" if is_file(mode) else ""
                if modes[mode]:
                    found[name] = f"{status.st_size} {status.st_mtime_ns} {modes[mode]}"
                    if (status.st_uid, status.st_gid) != own:
                        found[name] += f" {status.st_uid}:{status.st_gid}"
                elif stat.S_ISLNK(mode):
                    found[name] = f"-> {os.readlink(name, dir_fd=place)}"
                else:
                    found[name] = "neither a file nor a link"
            except (OSError, ValueError):
                found[name] = ""
    finally:
        os.close(place)
    return found


def look_at(paths: Iterable[str]) -> dict[str, str]:
    """Return the size and mtime of each file, with symlinks followed; empty if it does not exist."""
    found = {}
    for path in paths:
        try:
            status = os.stat(path)
        except (OSError, ValueError):
            found[path] = ""
        else:
            found[path] = f"{status.st_size} {status.st_mtime_ns}"
    return found


def list_installed(venv: str) -> dict[str, str]:
    """Return the files that count, each with the .dist-info whose RECORD lists it; empty if none does."""
    programs = (f"bin/{name}" for name in _names_in(f"{venv}/bin") if name != "__pycache__")
    names = dict.fromkeys(("pyvenv.cfg", *programs), "")
    # The target of a symlink is not part of this release.
    names |= {path: "" for path, one in list_below(venv, BUILT).items() if stat.S_ISREG(one.st_mode)}
    for place in list_site_packages(venv):
        for name in _names_in(f"{venv}/{place}"):
            if name.endswith(_ALONE) and name != _OF_VENVS:
                names.setdefault(f"{place}/{name}", "")
            elif name.endswith(INFO):
                names[f"{place}/{name}/RECORD"] = name
                names.update((path, name) for path, _ in _read_record(venv, place, name) if not is_byte_code(path))
    return names


def list_below(venv: str, *places: str) -> dict[str, os.stat_result]:
    """Return the files below some directories of a venv, each with its `os.lstat`.

    Files that disappear meanwhile, and directories that may not be read, are skipped.
    """
    start, is_directory = len(venv) + 1, stat.S_ISDIR
    below = (found for place in places for found in _look_below(os.path.join(venv, place, "")))
    return {path[start:]: status for path, status in below if not is_directory(status.st_mode)}


def list_site_packages(venv: str) -> list[str]:
    """Return the site-packages directories, relative to the venv."""
    versions = _names_in(f"{venv}/lib")
    return [f"lib/{version}/site-packages" for version in versions if version.startswith(("python", "pypy"))]


def is_byte_code(path: str) -> bool:
    """True if a file is byte code, which Python writes again when it imports the source."""
    return path.endswith(".pyc") or "__pycache__/" in path


def _names_in(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError:
        return []


# RECORD files and their hashes, such as `sha256=...`, in URL-safe base64 without padding


def read_records(venv: str) -> dict[str, str]:
    """Return all files that a RECORD lists, byte code too, with the hashes there; empty for a file without a hash."""
    return {path: hashed for _, path, hashed in read_each_record(venv)}


def sizes_of_packages(venv: str) -> dict[str, int]:
    """Return how many bytes the files of each package take on disk, in whole blocks, by normalized name."""
    sizes: dict[str, int] = {}
    for info, path, _ in read_each_record(venv):
        name = normalize_name(info.removesuffix(INFO).partition("-")[0])
        with contextlib.suppress(OSError):
            sizes[name] = sizes.get(name, 0) + os.lstat(f"{venv}/{path}").st_blocks * _BLOCK
    return sizes


def read_each_record(venv: str) -> Iterator[tuple[str, str, str]]:
    """Yield each entry of every RECORD: the .dist-info, the file, and the hash as written there."""
    for place in list_site_packages(venv):
        for info in (name for name in _names_in(f"{venv}/{place}") if name.endswith(INFO)):
            yield from ((info, path, hashed) for path, hashed in _read_record(venv, place, info))


def _read_record(venv: str, place: str, info: str) -> Iterator[tuple[str, str]]:
    """Yield the files that a RECORD lists, with their hashes; files outside the venv are skipped."""
    try:
        record = f"{venv}/{place}/{info}/RECORD"
        with open(record, encoding="utf-8", errors="surrogateescape", newline="", opener=only_files) as file:
            text = file.read()
        is_plain = '"' not in text and "\r" not in text
        for row in _plain_rows(text) if is_plain else csv.reader(io.StringIO(text, newline="")):
            name = row[0] if row else ""
            path = f"{place}/{name}"
            if ".." in name or name.startswith("/"):
                path = os.path.normpath(os.path.join(place, name))
            if name and not path.startswith(("..", "/")):
                yield path, row[1] if len(row) > 1 else ""
    except (OSError, csv.Error):
        return


def _plain_rows(text: str) -> Iterator[list[str]]:
    """Yield the rows of a RECORD without quotes, as most are: a third of the time of the module `csv`."""
    return (line.split(",") for line in text.split("\n"))


def is_checkable(hashed: str) -> bool:
    """True if a hash has an algorithm that RECORD admits."""
    return hashed.partition("=")[0] in _ALGORITHMS


def hash_sources(venv: str, files: Iterable[str], recorded: Mapping[str, str]) -> dict[str, str]:
    """Return the hashes of files of a venv, from `recorded` if checkable; byte code is skipped. Raises OSError."""
    hashes = {path: recorded.get(path, "") for path in files if not is_byte_code(path)}
    return {path: hashed if is_checkable(hashed) else hash_of(f"{venv}/{path}") for path, hashed in hashes.items()}


def matches(path: str, hashed: str) -> bool:
    """True if the contents of a file match a checkable hash. Raises OSError."""
    return hash_of(path, hashed.partition("=")[0]) == hashed.rstrip("=")


def hash_of(path: str, algorithm: str = "sha256") -> str:
    """Return the hash of a file's contents, in the form of RECORD. Raises OSError."""
    from base64 import urlsafe_b64encode  # slow to import, for `releaser list`

    found = hashlib.new(algorithm)
    # Most files are small: hashlib.file_digest takes half as long again.
    with open(path, "rb", buffering=0, opener=only_files) as file:
        while chunk := file.read(_CHUNK):
            found.update(chunk)
    return f"{algorithm}={urlsafe_b64encode(found.digest()).rstrip(b'=').decode('ascii')}"
