"""What starts as the Python of a venv, and whether that is still what was sealed: if not, nobody starts it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat

from releaser.system.files import LARGEST_STATE, read_file, read_if_there

TYPE_CHECKING = False  # importing `typing` would take a while, and starting a program needs this
if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_MOST_LINKS = 10


def look_at_start(venv: Path | str) -> str:
    """Return a digest of what decides in a venv what starts as its Python: the links within it, and pyvenv.cfg.

    What they lead to outside may be upgraded; these are as they were when the venv was made.
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
    config = read_if_there(f"{venv}/pyvenv.cfg") or b""
    return hashlib.sha256(os.fsencode("\0".join([*seen, ""])) + config).hexdigest()


def changed_by_others(executable: str, seen: Mapping[str, str], releases: Path | str) -> str:
    """Return a file of an interpreter that is not as it was `seen`, and that is not root's or the owner's alone.

    Empty if there is none. What root and the owner of the `releases` alone may write is an upgrade: it runs on, as the
    site does. Raises OSError.
    """
    for path in dict.fromkeys((executable, *seen)):
        try:
            status = os.stat(path)
        except (OSError, ValueError):  # it is gone, and nothing of it starts
            continue
        if f"{status.st_size} {status.st_mtime_ns}" == seen.get(path):
            continue
        if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            return path
        if status.st_uid not in (0, os.stat(releases).st_uid):
            from releaser.site.ownership import is_unknown  # which takes long to import

            if not is_unknown(status.st_uid, "uid"):  # else perhaps root, outside of this container
                return path
    return ""


def distrust(releases: Path | str, venv: str) -> str:
    """Say why nothing of a venv is started: it is that of a release, and leads to another Python by now."""
    place = os.path.realpath(venv)
    try:
        below = f"{releases}/", f"{os.path.realpath(releases)}/"
        target = os.path.join(os.path.dirname(venv), os.readlink(venv)) if os.path.islink(venv) else ""
        paths = (venv, os.path.normpath(target), place)  # an adopted venv lies elsewhere, behind a link of the release
        if not any(one.startswith(below) for one in paths) and not os.path.lexists(f"{place}/pyvenv.cfg"):
            return ""
        for name in os.listdir(releases):
            if os.path.realpath(f"{releases}/{name}/venv") == place:
                manifest = json.loads(read_file(f"{releases}/{name}/manifest.json", LARGEST_STATE))
                if manifest.get("tests") == "failed":
                    return f"{name} failed its tests, and nothing of a failed release is started"
                sealed, seen = manifest.get("start"), (manifest.get("interpreter") or {}).get("seen")
                if sealed and look_at_start(f"{releases}/{name}/venv") != sealed:
                    return f"somebody has replaced bin/python or pyvenv.cfg of {name}"
                executable = os.path.realpath(f"{place}/bin/python")
                if seen and (path := changed_by_others(executable, seen, releases)):
                    return f"{path} has changed since, and others than root and the owner of the site may write it"
    except (OSError, ValueError, AttributeError):  # there is none that could tell
        return ""
    return ""
