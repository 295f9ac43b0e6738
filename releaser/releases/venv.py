"""A venv: its packages, its Python, and the files that no package has brought."""

from __future__ import annotations

import contextlib
import csv
import os
import re
from pathlib import Path

import msgspec

from releaser.errors import ToolError
from releaser.site.site import Site
from releaser.system import process
from releaser.system.text import normalize_name

PYTHON_TIMEOUT = 60.0  # seconds
SEEDS = {"pip", "setuptools", "wheel"}  # venv and virtualenv put them into each venv
_SHORT = 7  # characters of a commit
# Of Python, uv, setuptools and releaser.
_NOT_STRAY = {
    "__pycache__",
    "_virtualenv.py",
    "_virtualenv.pth",
    "distutils-precedence.pth",
    "_releaser.py",
    "_releaser.pth",
    "_releaser.start",
}


def find_site_packages(venv: Path) -> Path:
    """Return the directory of the installed packages; the venv itself if there is none."""
    places = sorted(venv.glob("lib/python*/site-packages"))
    config = (venv / "pyvenv.cfg").read_text(encoding="utf-8") if places[1:] else ""
    version = re.search(r"^version(?:_info)? *= *(\d+\.\d+)", config, re.MULTILINE)
    own = [place for place in places if version and place.parent.name == f"python{version[1]}"]
    return next(iter(own or places), venv)


def label_version(version: str, commit: str = "") -> str:
    """Return a version for people and comparisons; one from git is told by its commit: `1.0 (3f2a9c1)`."""
    return f"{version} ({commit[:_SHORT]})" if commit else version


def list_installed(venv: Path) -> dict[str, str]:
    """Return the version of each package in a venv, by its normalized name; with its commit if it came from git."""
    versions = {}
    for path in find_site_packages(venv).glob("*.dist-info"):
        name, _, version = path.name.removesuffix(".dist-info").rpartition("-")
        versions[normalize_name(name)] = label_version(version, _read_commit(path / "direct_url.json"))
    return versions


class _Revision(msgspec.Struct, frozen=True):
    commit_id: str = ""


class _DirectUrl(msgspec.Struct, frozen=True):
    vcs_info: _Revision = _Revision()


def _read_commit(direct_url: Path) -> str:
    """Return the commit that a package was installed from, by PEP 610; empty if it is not from a repository."""
    with contextlib.suppress(OSError, msgspec.MsgspecError):
        return msgspec.json.decode(direct_url.read_bytes(), type=_DirectUrl).vcs_info.commit_id
    return ""


def list_stray_files(venv: Path) -> list[Path]:
    """Return the files and directories among the packages of a venv that no package has brought."""
    site_packages, owned = find_site_packages(venv), set(_NOT_STRAY)
    for record in site_packages.glob("*.dist-info/RECORD"):
        rows = csv.reader(record.read_text(encoding="utf-8", errors="replace").splitlines())
        owned |= {record.parent.name, *(row[0].split("/")[0] for row in rows if row)}
    return sorted(path for path in site_packages.iterdir() if path.name not in owned and path.suffix != ".pyc")


def ask_python_version(site: Site, python: Path) -> str:
    """Return the version of an interpreter, such as `VENV/bin/python`; empty if it does not start."""
    code = "import sys; print('.'.join(map(str, sys.version_info[:3])))"
    if not os.access(python, os.X_OK):
        return ""
    try:
        words: list[str | Path] = [python, "-I", "-S", "-c", code]
        env = site.tool_environment()
        finished = process.run(words, cwd=Path("/"), env=env, timeout=PYTHON_TIMEOUT, is_question=True)
    except ToolError:
        return ""
    return finished.stdout.strip()


def find_python(venv: Path) -> Path:
    """Return the path of the interpreter of a venv."""
    return venv / "bin" / "python"
