"""What starts as the Python of a venv, and whether that is still what was sealed: if not, nobody starts it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from typing import TYPE_CHECKING

from releaser.system.files import read_file, read_if_there

if TYPE_CHECKING:
    from pathlib import Path

_MOST_LINKS = 10


def look_at_start(venv: Path) -> str:
    """Return a digest of what decides in a venv what starts as its Python: the links within it, and pyvenv.cfg.

    What they lead to outside may be upgraded; these are as they were when the venv was made.
    """
    seen, path = [], os.path.join(venv, "bin", "python")
    for _ in range(_MOST_LINKS):
        try:
            text = os.readlink(path)
        except OSError:
            with contextlib.suppress(OSError):
                status = os.lstat(path)
                seen.append(f"{status.st_size} {status.st_mtime_ns}")
            break
        seen.append(text)
        path = os.path.normpath(os.path.join(os.path.dirname(path), text))
        if not path.startswith(f"{venv}/"):
            break
    config = read_if_there(venv / "pyvenv.cfg") or b""
    return hashlib.sha256(os.fsencode("\0".join([*seen, ""])) + config).hexdigest()


def distrust(releases: Path, venv: str) -> str:
    """Say why nothing of a venv is started: it is that of a release, and leads to another Python by now."""
    place = os.path.realpath(venv)
    try:
        below = f"{releases}/", f"{os.path.realpath(releases)}/"
        target = os.path.join(os.path.dirname(venv), os.readlink(venv)) if os.path.islink(venv) else ""
        paths = (venv, os.path.normpath(target), place)  # an adopted venv lies elsewhere, behind a link of the release
        if not any(one.startswith(below) for one in paths) and not os.path.lexists(f"{place}/pyvenv.cfg"):
            return ""
        for entry in releases.iterdir():
            if os.path.realpath(entry / "venv") == place:
                sealed = json.loads(read_file(entry / "manifest.json")).get("start")
                if sealed and look_at_start(entry / "venv") != sealed:
                    return f"somebody has exchanged bin/python or pyvenv.cfg of {entry.name}"
    except (OSError, ValueError, AttributeError):  # there is none that could tell
        return ""
    return ""
