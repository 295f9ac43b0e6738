"""Compares the Python of a venv and its start-up files with the seal: a changed Python must not start."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time

from releaser.system.digests import hex_digest
from releaser.system.files import LARGEST_STATE, link_text, read_file, read_if_there

TYPE_CHECKING = False  # importing `typing` is slow, and each start of a program imports this module
if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_IS_DIRECTORY = f"errno {errno.EISDIR}"  # in place of the digest of a file
_MOST_LINKS = 10
_SETTLED = 2.0  # seconds after a change, until a further one has another time
_DIGITS = 32  # of a digest, enough to distinguish files
# Start-up files: the `site` module runs them whenever a Python of the venv starts (`.start` from Python 3.15 on).
_PLACE = "site-packages/"
_START_SUFFIXES = (".pth", ".start")
_START_MODULES = ("sitecustomize", "usercustomize", "_releaser_pin", "_releaser_pin_rare")


def look_at_start(venv: Path | str) -> str:
    """Return a digest of the parts of a venv that decide which Python starts: the links within it, and pyvenv.cfg.

    These never change after the venv was made; the interpreter outside may be upgraded.
    """
    seen, path = [], f"{venv}/bin/python"
    for _ in range(_MOST_LINKS):
        try:
            text = os.readlink(path)
        except OSError:
            with contextlib.suppress(OSError):
                status = os.lstat(path)
                seen.append(f"{status.st_size} {status.st_mtime_ns}")
            break
        seen.append(text)
        path = os.path.normpath(text if text.startswith("/") else os.path.join(os.path.dirname(path), text))
        if not path.startswith(f"{venv}/"):
            break
    try:
        config = read_if_there(f"{venv}/pyvenv.cfg") or b""
    except OSError as error:  # such as for too large a file
        config = os.fsencode(repr(error))
    return hex_digest(os.fsencode("\0".join([*seen, ""])) + config)


def changed_by_others(executable: str, seen: Mapping[str, str], releases: Path | str) -> str:
    """Return a file of an interpreter that differs from `seen`, and that others than root and the owner may write.

    Empty without any. A changed file that only root and the owner of `releases` may write is an upgrade, on which the
    site runs too. Raises OSError.
    """
    for path in dict.fromkeys((executable, *seen)):
        try:
            status = os.stat(path)
        except (OSError, ValueError):  # a missing file does not start
            continue
        if f"{status.st_size} {status.st_mtime_ns}" == seen.get(path):
            continue
        if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            return path
        if status.st_uid not in (0, os.stat(releases).st_uid):
            from releaser.site.ownership import is_unknown  # slow to import

            if not is_unknown(status.st_uid, "uid"):  # else perhaps root, outside of this container
                return path
    return ""


def look_at_start_files(venv: Path | str) -> dict[str, str]:
    """Return the digests of the start-up files of a venv, by path relative to the venv.

    An unreadable directory has its error number as digest.
    """
    found = dict[str, str]()
    for lib in ("lib", "lib64") if link_text(f"{venv}/lib64") is None else ("lib",):
        for python in sorted(_list(venv, lib, found)):
            place = f"{lib}/{python}/site-packages"
            names = _list(venv, place, found)
            maybe = [name for name in names if name.endswith(_START_SUFFIXES) or name.startswith(_START_MODULES)]
            for name in sorted(maybe):  # a few of hundreds
                if not name.endswith(_START_SUFFIXES) and name.partition(".")[0] not in _START_MODULES:
                    continue
                digest = _digest(f"{venv}/{place}/{name}")
                if digest == _IS_DIRECTORY:
                    for above, _, files in os.walk(f"{venv}/{place}/{name}"):
                        inside = [f"{above}/{file}" for file in files if not file.endswith(".pyc")]
                        found |= {path.removeprefix(f"{venv}/"): _digest(path) for path in inside}
                else:
                    found[f"{place}/{name}"] = digest
    return found


def _list(venv: Path | str, place: str, found: dict[str, str]) -> list[str]:
    try:
        return os.listdir(f"{venv}/{place}")
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        found[place] = f"errno {error.errno}"
        return []


#: Digests by the device, inode, size and times of files: many releases share them, and each is read once. No program
#: can set the change time; a file that was changed just now is read again, as its next change could have the same time.
_digests: dict[tuple[int, ...], str] = {}


def _digest(path: str) -> str:
    try:
        seen = os.stat(path)
        key = seen.st_dev, seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns
        if (known := _digests.get(key)) is not None:
            return known
        digest = hex_digest(read_file(path))[:_DIGITS]
    except OSError as error:
        return f"errno {error.errno}"
    if abs(time.time() - seen.st_ctime) > _SETTLED:
        _digests[key] = digest
    return digest


def new_start_files(venv: str, sealed: Mapping[str, str] | None) -> list[str]:
    """Return the start-up files that are not in `sealed`, or changed, as paths relative to the venv."""
    return [path for path, seen in look_at_start_files(venv).items() if sealed is not None and sealed.get(path) != seen]


def started_by_others(venv: str, sealed: Mapping[str, str] | None, releases: Path | str) -> str:
    """Describe a start-up file that another user added or changed since the seal; empty without any.

    Files of root and of the owner of `releases` are allowed: the site runs them, too. Raises OSError.
    """
    for path in new_start_files(venv, sealed):
        from releaser.site.ownership import describe_other_writers  # slow to import

        owner, place = os.stat(releases).st_uid, f"{venv}/{path}"
        for written in dict.fromkeys((place, os.path.realpath(place))):
            if who := describe_other_writers(written, owner):
                change = "changed" if path in (sealed or {}) else "added"
                return (
                    f"{path.rpartition(_PLACE)[2]}, which Python runs at each start, was {change}; {who} can write it"
                )
    return ""


def distrust(releases: Path | str, venv: str) -> str:
    """Explain why no program of a venv may start: its release failed, or its Python has changed; empty if it may."""
    import json  # slow to import

    place = os.path.realpath(venv)
    try:
        below = f"{releases}/", f"{os.path.realpath(releases)}/"
        target = os.path.join(os.path.dirname(venv), os.readlink(venv)) if os.path.islink(venv) else ""
        paths = (venv, os.path.normpath(target), place)  # an adopted venv lies elsewhere, behind a link of the release
        if not any(start_file.startswith(below) for start_file in paths) and not os.path.lexists(f"{place}/pyvenv.cfg"):
            return ""
        name = next(
            (entry for entry in os.listdir(releases) if os.path.realpath(f"{releases}/{entry}/venv") == place), None
        )
        manifest = json.loads(read_file(f"{releases}/{name}/manifest.json", LARGEST_STATE)) if name else {}
        tests, sealed, files = manifest.get("tests"), manifest.get("start"), manifest.get("start_files")
        seen = (manifest.get("interpreter") or {}).get("seen")
    except (OSError, ValueError, AttributeError):  # there is no readable manifest
        return ""
    if tests == "failed":
        return f"{name} failed its tests, and releaser starts no program of a failed release"
    try:
        if sealed and look_at_start(f"{releases}/{name}/venv") != sealed:
            return f"bin/python or pyvenv.cfg of {name} was replaced"
        if why := started_by_others(f"{releases}/{name}/venv", files, releases):
            return f"in {name}, {why}"
        executable = os.path.realpath(f"{place}/bin/python")
        if seen and (path := changed_by_others(executable, seen, releases)):
            return f"{path} was changed, and users other than root and the owner of the site can write to it"
    except (OSError, ValueError, AttributeError) as error:
        return f"{name} cannot be examined: {error}"
    return ""
