"""What lies in a release: a fingerprint of its files, their group and mode, and what they take on disk."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import os
import stat
from collections import Counter
from typing import TYPE_CHECKING

from releaser.locks.versions import normalize_name
from releaser.system.files import encode_state, only_files, state_mode
from releaser.system.frozen import Frozen

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from releaser.releases.release import Manifest


_BLOCK = 512  # bytes, of st_blocks, whatever the file system is


def share(directory: Path, *, group: int, others: bool, writable: bool = False) -> None:
    """Give everything below `directory` to `group`, readable for it, and `writable`; with `others`, readable for all.

    A cache that was filled under a strict umask leaves files in a venv that nobody else can read. A file that has
    another name somewhere, such as in uv's cache, is first replaced by a copy of its own. Raises OSError.
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


def wanted_mode(mode: int, *, others: bool, writable: bool = False) -> int:
    """Return the mode with `u+rw,g+rX`, `g+w` if it is to be `writable`, and `o+rX` if others may read."""
    bits = (stat.S_IMODE(mode) | stat.S_IRUSR | stat.S_IWUSR | stat.S_IRGRP) & ~stat.S_IWGRP
    bits |= stat.S_IWGRP if writable else 0
    bits |= stat.S_IROTH if others else 0
    if stat.S_ISDIR(mode) or mode & stat.S_IXUSR:
        bits |= stat.S_IXUSR | stat.S_IXGRP | (stat.S_IXOTH if others else 0)
    return bits & ~stat.S_IWOTH


def _separate(path: str) -> None:
    """Replace a file by a copy of its own."""
    import shutil  # which takes long to import

    temporary = f"{path}.releaser-copy"
    try:
        shutil.copy2(path, temporary)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def others_may_read(directory: Path) -> bool:
    """Tell whether a directory is open to everybody, as the web server's user may be anybody."""
    return bool(directory.stat().st_mode & stat.S_IROTH)


def open_to_group(directory: Path) -> None:
    """Let the group read the files in a directory itself, and write them if it may write that, whatever the umask."""
    for file in directory.iterdir():
        if file.is_file() and not file.is_symlink():
            with contextlib.suppress(PermissionError):  # it is another user's, who has opened it
                file.chmod(state_mode(directory))


class DiskUsage(Frozen):
    """What a directory takes."""

    #: In whole blocks, all of it.
    size_bytes: int
    #: The part without the files that have another name outside of the directory, as in uv's cache.
    own_bytes: int
    inodes: int


def measure(directory: Path) -> DiskUsage:
    """Look at every file of a release, also of a venv that lies elsewhere. Takes some 0.1 s for 10,000 files.

    It is done once, when a release is sealed: its manifest tells it from then on. What goes meanwhile is left out.
    """
    found: dict[tuple[int, int], os.stat_result] = {}
    names: Counter[tuple[int, int]] = Counter()
    venv = directory / "venv"
    places = [str(directory), *([os.path.realpath(venv)] if venv.is_symlink() else [])]
    for place in places:
        for path in _walk(place):
            with contextlib.suppress(OSError):
                status = os.lstat(path)
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
    """Return what releases take together; what they share with uv's cache, and so with each other, counts once."""
    taken = [(one.own_bytes, one.size_bytes - one.own_bytes) for one in manifests]
    return sum(own for own, _ in taken) + max((shared for _, shared in taken), default=0)


BUILT = "share/releaser/output"  # in a venv: what `before_build` made, which is live with it
FILES = "files.json"  # what each file was when the release was sealed, to name what differs
INFO = ".dist-info"
_READABLE = 0o555  # the bits of a mode that count
_ALONE = (".pth", ".py", ".so")  # in site-packages itself these count even if no package lists them
_OF_VENVS = "_virtualenv.py"  # which uv puts into each venv
_CHUNK = 1 << 18  # bytes
_ALGORITHMS = frozenset({"sha256", "sha384", "sha512"})  # those that the specification of RECORD admits


def seal_files(directory: str) -> str:
    """Note what the files of a release are, in its directory, and return the fingerprint. Raises OSError.

    Nothing is synced here: the release is complete only once its manifest is there, and all is flushed before that.
    """
    venv = f"{directory}/venv"
    owners, known, hashes = list_installed(venv), read_records(venv), {}
    found = look(venv, owners)
    by_owner: dict[str, dict[str, str]] = {}
    for path, seen in found.items():
        by_owner.setdefault(owners[path], {})[path] = seen
        # RECORD has no hash of itself, nor of scripts that were made at install time.
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
    """Return the fingerprint: one hash over what was seen."""
    text = "\n".join(f"{name}\t{seen}" for name, seen in sorted(found.items()))
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()


# Looking


def observe(venv: str) -> dict[str, str]:
    """Return what is seen of each file that counts, by its path relative to the venv."""
    return look(venv, list_installed(venv))


def look(venv: str, names: Iterable[str]) -> dict[str, str]:
    """Return what is seen of each of these; empty for one that is not there."""
    lstat, kind, is_file = os.lstat, stat.S_ISLNK, stat.S_ISREG
    found = {}
    for name in names:
        try:
            status = lstat(f"{venv}/{name}")
        except (OSError, ValueError):
            found[name] = ""
            continue
        mode = status.st_mode
        if is_file(mode):
            found[name] = f"{status.st_size} {status.st_mtime_ns} {mode & _READABLE:o}"
        else:
            found[name] = f"-> {os.readlink(f'{venv}/{name}')}" if kind(mode) else "neither a file nor a link"
    return found


def look_at(paths: Iterable[str]) -> dict[str, str]:
    """Return size and time of change of each of these files, links followed; empty for one that is not there."""
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
    """Return the files that count, each with the name of the .dist-info whose RECORD has it; empty if none has."""
    programs = (f"bin/{name}" for name in _names_in(f"{venv}/bin") if name != "__pycache__")
    names = dict.fromkeys(("pyvenv.cfg", *programs), "")
    # A symlink leads to what is not of this release.
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
    """Return all that lies below some directories of a venv, except directories: with what it is, links not followed.

    What goes meanwhile, or may not be looked into, is left out.
    """
    found: dict[str, os.stat_result] = {}
    for path in (path for place in places for path in _walk(os.path.join(venv, place, ""))):
        with contextlib.suppress(OSError):
            status = os.lstat(path)
            if not stat.S_ISDIR(status.st_mode):
                found[path.removeprefix(f"{venv}/")] = status
    return found


def list_site_packages(venv: str) -> list[str]:
    """Return the directories that packages are installed into, relative to the venv."""
    versions = _names_in(f"{venv}/lib")
    return [f"lib/{version}/site-packages" for version in versions if version.startswith(("python", "pypy"))]


def is_byte_code(path: str) -> bool:
    """Whether a file is compiled code, which Python writes again by itself when it imports the source."""
    return path.endswith(".pyc") or "__pycache__/" in path


def _names_in(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError:
        return []


# RECORD files and their hashes, such as `sha256=...`, in URL-safe base64 without padding


def read_records(venv: str) -> dict[str, str]:
    """Return what every RECORD names, byte code too, each with its hash as it stands there; empty if it has none."""
    return {path: hashed for _, path, hashed in _read_each(venv)}


def sizes_of_packages(venv: str) -> dict[str, int]:
    """Return how many bytes the files of each package take on disk, in whole blocks, by normalized name."""
    sizes: dict[str, int] = {}
    for info, path, _ in _read_each(venv):
        name = normalize_name(info.removesuffix(INFO).partition("-")[0])
        with contextlib.suppress(OSError):
            sizes[name] = sizes.get(name, 0) + os.lstat(f"{venv}/{path}").st_blocks * _BLOCK
    return sizes


def _read_each(venv: str) -> Iterator[tuple[str, str, str]]:
    """Yield what every RECORD names: its .dist-info, the file, and the hash as it stands there."""
    for place in list_site_packages(venv):
        for info in (name for name in _names_in(f"{venv}/{place}") if name.endswith(INFO)):
            yield from ((info, path, hashed) for path, hashed in _read_record(venv, place, info))


def _read_record(venv: str, place: str, info: str) -> Iterator[tuple[str, str]]:
    """Yield the files that a RECORD names, with their hashes; what lies outside is not of this venv."""
    try:
        record = f"{venv}/{place}/{info}/RECORD"
        with open(record, encoding="utf-8", errors="surrogateescape", newline="", opener=only_files) as file:
            for row in csv.reader(file):
                name = row[0] if row else ""
                path = f"{place}/{name}"
                if ".." in name or name.startswith("/"):
                    path = os.path.normpath(os.path.join(place, name))
                if name and not path.startswith(("..", "/")):
                    yield path, row[1] if len(row) > 1 else ""
    except (OSError, csv.Error):
        return


def is_checkable(hashed: str) -> bool:
    """Whether a hash tells anything about the contents."""
    return hashed.partition("=")[0] in _ALGORITHMS


def hash_sources(venv: str, files: Iterable[str], recorded: Mapping[str, str]) -> dict[str, str]:
    """Return the hashes of files of a venv, as `recorded` where that tells; byte code is left out. Raises OSError."""
    hashes = {path: recorded.get(path, "") for path in files if not is_byte_code(path)}
    return {path: hashed if is_checkable(hashed) else hash_of(f"{venv}/{path}") for path, hashed in hashes.items()}


def matches(path: str, hashed: str) -> bool:
    """Whether a file has the contents that a checkable hash names. Raises OSError."""
    return hash_of(path, hashed.partition("=")[0]) == hashed.rstrip("=")


def hash_of(path: str, algorithm: str = "sha256") -> str:
    """Return the hash of a file's contents, in the form of RECORD. Raises OSError."""
    from base64 import urlsafe_b64encode  # which takes long to import, for `releaser list`

    found = hashlib.new(algorithm)
    # Most files are small: hashlib.file_digest takes half as long again.
    with open(path, "rb", buffering=0, opener=only_files) as file:
        while chunk := file.read(_CHUNK):
            found.update(chunk)
    return f"{algorithm}={urlsafe_b64encode(found.digest()).rstrip(b'=').decode('ascii')}"
