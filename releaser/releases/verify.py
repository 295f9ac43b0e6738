"""The proof that a release is what was sealed: the hashes of RECORD, and a Python that starts."""

from __future__ import annotations

import base64
import csv
import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from releaser.errors import ToolError
from releaser.releases.release import Release
from releaser.site.site import Site
from releaser.system import process
from releaser.system.text import normalize_name

PYTHON_TIMEOUT = 60.0  # seconds
# Of Python, uv, setuptools and releaser.
_NOT_STRAY = {
    "__pycache__", "_virtualenv.py", "_virtualenv.pth", "distutils-precedence.pth", "_releaser.py", "_releaser.pth",
}  # fmt: skip


def find_site_packages(venv: Path) -> Path:
    """Return the directory of the installed packages; the venv itself if there is none."""
    places = sorted(venv.glob("lib/python*/site-packages"))
    config = (venv / "pyvenv.cfg").read_text(encoding="utf-8") if places[1:] else ""
    version = re.search(r"^version(?:_info)? *= *(\d+\.\d+)", config, re.MULTILINE)
    own = [place for place in places if version and place.parent.name == f"python{version[1]}"]
    return next(iter(own or places), venv)


def list_installed(venv: Path) -> dict[str, str]:
    """Return the version of each package in a venv, by its normalized name."""
    versions = {}
    for path in find_site_packages(venv).glob("*.dist-info"):
        name, _, version = path.name.removesuffix(".dist-info").rpartition("-")
        versions[normalize_name(name)] = version
    return versions


def list_stray_files(venv: Path) -> list[Path]:
    """Return the files and directories among the packages of a venv that no package has brought."""
    site_packages, owned = find_site_packages(venv), set(_NOT_STRAY)
    for record in site_packages.glob("*.dist-info/RECORD"):
        rows = csv.reader(record.read_text(encoding="utf-8", errors="replace").splitlines())
        owned |= {record.parent.name, *(row[0].split("/")[0] for row in rows if row)}
    return sorted(path for path in site_packages.iterdir() if path.name not in owned and path.suffix != ".pyc")


def find_damage(venv: Path, most: int = 3) -> list[str]:
    """Return a sentence for each of the first files that are missing or differ from the RECORD of their package."""
    damage: list[str] = []
    for sentence in _compare_with_records(find_site_packages(venv)):
        damage.append(sentence)
        if len(damage) == most:
            break
    return damage


def _compare_with_records(site_packages: Path) -> Iterator[str]:
    for info in sorted(site_packages.glob("*.dist-info")):
        try:
            rows = list(csv.reader((info / "RECORD").read_text(encoding="utf-8").splitlines()))
        except FileNotFoundError:
            if not (info / "METADATA").exists():
                yield f"{info.name} is incomplete"
            continue
        except (OSError, UnicodeDecodeError, csv.Error):
            yield f"{info.name}/RECORD cannot be read"
            continue
        for row in rows:
            if len(row) > 1 and row[1] and not _has_hash(site_packages / row[0], row[1]):
                yield f"{row[0]} is not as it was installed"


def _has_hash(path: Path, expected: str) -> bool:
    name, _, value = expected.partition("=")
    if name not in hashlib.algorithms_available:
        return True
    try:
        digest = hashlib.new(name, path.read_bytes()).digest()
    except OSError:
        return False
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode() == value


def ask_python_version(site: Site, venv: Path) -> str:
    """Return the version of the Python of a venv; empty if it does not start."""
    code = "import sys; print('.'.join(map(str, sys.version_info[:3])))"
    python = venv / "bin" / "python"
    if not os.access(python, os.X_OK):
        return ""
    try:
        words: list[str | Path] = [python, "-I", "-S", "-c", code]
        finished = process.run(words, cwd=Path("/"), env=site.tool_environment(), timeout=PYTHON_TIMEOUT)
    except ToolError:
        return ""
    return finished.stdout.strip()


def find_faults(site: Site, release: Release) -> list[str]:
    """Return why a release cannot go live again; empty if it verifies."""
    if not ask_python_version(site, release.venv):
        return [f"its Python does not start: {release.venv / 'bin' / 'python'}"]
    return find_damage(release.venv)
