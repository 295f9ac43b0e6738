"""What can be seen of the files of a venv without reading them.

What counts is what was installed: the files that a RECORD names, the programs, the `.pth` files, the modules in
site-packages itself, which could stand in for any other or run at each start, and pyvenv.cfg. A file that a site
writes beside them while it runs does not, and neither does byte code. Of each file, size, time of change, and the bits
of its mode for reading and executing are noted, and of a link its text: a copy that keeps these is as sound as the
original, wherever it lies. Imports little, as `releaser list` needs it.
"""

from __future__ import annotations

import hashlib
import os
import stat

TYPE_CHECKING = False  # importing `typing` would cost more than all of this
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

_MODE = 0o555
_ALONE = (".pth", ".py", ".so")  # what in site-packages itself counts, whoever has put it there
_OF_VENVS = "_virtualenv.py"  # which uv puts into each venv


def observe(venv: Path | str) -> dict[str, str]:
    """Return what can be seen of each file that counts, by its path relative to the venv."""
    return look(str(venv), installed(str(venv)))


def is_as_sealed(
    directory: str, *, fingerprint: str, lock_sha256: str, executable: str, seen: Mapping[str, str]
) -> bool:
    """Whether a release in `directory` looks in all as it did; if not, `soundness` tells whether that is damage.

    Without a `fingerprint` or an `executable`, which an earlier releaser did not note, that counts as the same.
    """
    venv = f"{directory}/venv"
    python = f"{venv}/bin/python"
    try:
        with open(f"{directory}/uv.lock", "rb") as file:
            lock = file.read()
    except OSError:
        return False
    return (
        os.path.exists(python)
        and (not executable or (os.path.realpath(python) == executable and look_at(seen) == seen))
        and hashlib.sha256(lock).hexdigest() == lock_sha256
        and (not fingerprint or digest(observe(venv)) == fingerprint)
    )


def digest(found: Mapping[str, str]) -> str:
    """Return one hash over what was seen."""
    text = "\n".join(f"{name}\t{seen}" for name, seen in sorted(found.items()))
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()


def look(venv: str, names: Iterable[str]) -> dict[str, str]:
    """Return what each of these is; empty for one that is not there."""
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
            found[name] = f"{status.st_size} {status.st_mtime_ns} {mode & _MODE:o}"
        else:
            found[name] = f"-> {os.readlink(f'{venv}/{name}')}" if kind(mode) else "neither a file nor a link"
    return found


def installed(venv: str) -> dict[str, str]:
    """Return the files that count, each with the name of the .dist-info whose RECORD has it; empty if none has."""
    programs = (f"bin/{name}" for name in _listed(os.path.join(venv, "bin")) if name != "__pycache__")
    names = dict.fromkeys(("pyvenv.cfg", *programs), "")
    for place in site_packages(venv):
        for name in _listed(os.path.join(venv, place)):
            if name.endswith(_ALONE) and name != _OF_VENVS:
                names.setdefault(f"{place}/{name}", "")
            elif name.endswith(".dist-info"):
                names[f"{place}/{name}/RECORD"] = name
                names.update((path, name) for path, _ in _recorded(venv, place, name) if not is_byte_code(path))
    return names


def below(venv: str, *places: str) -> dict[str, os.stat_result]:
    """Return all that lies below some directories of a venv, but for directories: with what it is, links not followed.

    What goes meanwhile, or may not be looked into, is left out.
    """
    found: dict[str, os.stat_result] = {}
    waiting = list(places)
    while waiting:
        place = waiting.pop()
        try:
            with os.scandir(f"{venv}/{place}") as entries:
                for entry in entries:
                    path = f"{place}/{entry.name}" if place else entry.name
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(path)
                    else:
                        found[path] = entry.stat(follow_symlinks=False)
        except OSError:
            continue
    return found


def is_byte_code(path: str) -> bool:
    """Whether a file is compiled code, which Python writes again by itself when it imports the source."""
    return path.endswith(".pyc") or "__pycache__/" in path


def recorded(venv: str) -> dict[str, str]:
    """Return what every RECORD names, byte code too, each with its hash as it stands there; empty if it has none."""
    infos = ((place, name) for place in site_packages(venv) for name in _listed(os.path.join(venv, place)))
    return {
        path: hashed
        for place, name in infos
        if name.endswith(".dist-info")
        for path, hashed in _recorded(venv, place, name)
    }


def site_packages(venv: str) -> list[str]:
    versions = _listed(os.path.join(venv, "lib"))
    return [f"lib/{version}/site-packages" for version in versions if version.startswith(("python", "pypy"))]


def _listed(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError:
        return []


def _recorded(venv: str, place: str, info: str) -> Iterator[tuple[str, str]]:
    """Return the files that a RECORD names, with their hashes; what lies outside is not of this venv."""
    try:
        with open(f"{venv}/{place}/{info}/RECORD", encoding="utf-8", errors="surrogateescape", newline="") as file:
            lines = file.read().splitlines()
    except OSError:
        return
    for line in lines:
        # Of a quoted name, the csv module knows the rules; the others, nearly all, are quicker to cut.
        name, hashed = _unquoted(line) if line.startswith('"') else _plain(line)
        if not name:
            continue
        path = f"{place}/{name}"
        if ".." in name or name.startswith("/"):
            path = os.path.normpath(os.path.join(place, name))
            if path.startswith(("..", "/")):
                continue
        yield path, hashed


def _plain(line: str) -> list[str]:
    return [*line.rsplit(",", 2), "", ""][:2]


def _unquoted(line: str) -> list[str]:
    import csv

    return [*next(csv.reader([line]), []), "", ""][:2]


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
