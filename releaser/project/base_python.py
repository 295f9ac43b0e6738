"""The interpreter that a venv was made from.

uv links a new venv to the interpreter that it is given. Given one of a venv, it asks that for `sys._base_executable`,
which before Python 3.11 is the venv's own (seen with uv 0.13). A release that is built with the live one's interpreter
would lead to `.venv`, which, after the flip, is to itself.
"""

from __future__ import annotations

import os
from pathlib import Path

_DEEPEST = 40  # links, or venvs made from venvs; Linux follows no more links either


def find_base(python: Path) -> Path | None:
    """Return the interpreter that `python` was made from, by a path that leads through no venv; None if it is gone.

    One outside of any venv is its own base.
    """
    found: Path | None = python
    for _ in range(_DEEPEST):
        venv = _find_venv(found) if found is not None else None
        if found is None or venv is None:
            return found
        found = _find_maker(venv, found)
    return None


def read_config(venv: Path) -> dict[str, str]:
    """Return what pyvenv.cfg says; nothing if it cannot be read."""
    try:
        lines = (venv / "pyvenv.cfg").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    return {key.strip(): value.strip() for key, _, value in (line.partition("=") for line in lines)}


def version_in(venv: Path) -> str:
    """Return the version that pyvenv.cfg names; empty when it names none."""
    config = read_config(venv)
    version = config.get("version_info") or config.get("version") or ""
    return ".".join(version.split(".")[:3])


def minor(version: str) -> str:
    """Return a version without its patch, such as `3.11`."""
    return ".".join(version.split(".")[:2])


def _find_venv(python: Path) -> Path | None:
    """Return the first venv that a path or a link that it leads to lies in; None if there is none."""
    for _ in range(_DEEPEST):
        place = Path(os.path.realpath(python.parent))
        if (place.parent / "pyvenv.cfg").is_file():
            return place.parent
        if not os.path.islink(python):
            return None
        python = place / os.readlink(python)
    return None


def _find_maker(venv: Path, python: Path) -> Path | None:
    """Return the interpreter in the `home` of a venv; the one that it links to if that is another one by now."""
    home, version, real = read_config(venv).get("home", ""), version_in(venv), Path(os.path.realpath(python))
    versioned = Path(home, f"python{minor(version)}")
    if real.is_relative_to(venv):  # a copy, as of `python -m venv --copies`, or a link that leads to itself
        return versioned if home and version and os.path.exists(versioned) else None
    candidates = (versioned, *(Path(home, name) for name in (real.name, "python3", "python")))
    return next((one for one in candidates if home and os.path.realpath(one) == str(real)), real)
