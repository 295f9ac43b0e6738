"""Keeps an installed version that its index has lost: uv gets a wheel of it, made again from the live venv."""

from __future__ import annotations

import contextlib
import csv
import re
import stat
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import quote

from releaser.packages.lock import OPTIONS, read_options
from releaser.releases.venv import find_info

_ENTRY = re.compile(r"^\[\[package\]\]\n.*?(?=^\[\[package\]\]|\Z)", re.MULTILINE | re.DOTALL)
_IDENTITY = re.compile(r'^name = "([^"]*)"\nversion = "([^"]*)"', re.MULTILINE)
_METADATA = re.compile(r"\n\[package\.metadata\]\n.*", re.DOTALL)
_INDEX = re.compile(r', index = "[^"]*"')
_SHEBANG = re.compile(rb"#!.*python.*")
_NOT_OF_WHEEL = {"INSTALLER", "REQUESTED", "RECORD", "direct_url.json", "uv_cache.json"}  # of `.dist-info`


def pack_wheel(venv: Path, name: str, version: str, index: Path) -> bool:
    """Write a wheel of an installed package into a simple index; False if another version is installed."""
    info = find_info(venv, name)
    if info is None or info.stem.rpartition("-")[2] != version:
        return False
    with contextlib.suppress(OSError, csv.Error):
        file = index / name / name_wheel(info)
        file.parent.mkdir(exist_ok=True)
        pack_installed(info, file)
        (file.parent / "index.html").write_text(f'<a href="{quote(file.name)}">{file.name}</a>', encoding="utf-8")
        return True
    return False


def name_wheel(info: Path) -> str:
    """Return the name of the wheel of an installed package, by the tags that it was installed with."""
    parts = zip(*(tag.split("-") for tag in read_tags(info) if tag.count("-") == 2), strict=True)
    tags = "-".join(".".join(sorted({*part})) for part in parts)
    return f"{info.name.removesuffix('.dist-info')}-{tags or 'py3-none-any'}.whl"


def read_tags(info: Path) -> set[str]:
    """Return the tags of the wheel that a package was installed from; empty if that is not known."""
    lines = (info / "WHEEL").read_text(encoding="utf-8").splitlines() if (info / "WHEEL").exists() else ()
    return {line.partition(":")[2].strip() for line in lines if line.startswith("Tag:")}


def pack_installed(info: Path, file: Path, more: Mapping[str, Path] = {}) -> None:
    """Write a wheel of an installed package, by its RECORD; `more` are further files. Raises OSError and csv.Error."""
    stem = info.stem
    rows = csv.reader((info / "RECORD").read_text(encoding="utf-8").splitlines())
    paths = {row[0]: info.parent / row[0] for row in rows if row and "__pycache__/" not in row[0]} | dict(more)
    points = (info / "entry_points.txt").read_text(encoding="utf-8") if (info / "entry_points.txt").exists() else ""
    with zipfile.ZipFile(file, "w") as archive:
        for path, source in paths.items():
            if target := path if path in more else _place(path, stem, points):
                data = source.read_bytes()
                is_script = "/scripts/" in target and _SHEBANG.match(data)
                entry = zipfile.ZipInfo(target)
                entry.external_attr = (stat.S_IFREG | stat.S_IMODE(source.stat().st_mode)) << 16
                entry.compress_type = zipfile.ZIP_DEFLATED
                archive.writestr(entry, _SHEBANG.sub(b"#!python", data, count=1) if is_script else data)
        archive.writestr(zipfile.ZipInfo(f"{stem}.dist-info/RECORD"), "")


def _place(path: str, stem: str, points: str) -> str:
    """Return the place in a wheel of a file that is installed at a path; empty if the installer has made it."""
    parts = Path(path).parts
    if parts[0] == f"{stem}.dist-info" and parts[-1] in _NOT_OF_WHEEL:
        return ""
    if parts[0] != "..":
        return path
    inner = [part for part in parts if part != ".."]
    if inner[0] != "bin":
        return "/".join([f"{stem}.data", "data", *inner])
    is_made = re.search(rf"^\s*{re.escape(inner[-1])}\s*=", points, re.MULTILINE)
    return "" if is_made else "/".join([f"{stem}.data", "scripts", *inner[1:]])


def put_back(text: str, before: Iterable[str], directory: str, options: str | None = None) -> str:
    """Return a lock with the entries of earlier locks in the place of those from an index of such wheels.

    Its options are those given, or of the first one: an age that was given for one call must not stay.
    """
    before = list(before)
    options = read_options(before[0]) if options is None else options
    entries: dict[tuple[str, str], str] = {}
    for entry in (entry for lock in before for entry in _ENTRY.findall(lock)):
        if identity := _IDENTITY.search(entry):
            entries.setdefault((identity[1], identity[2]), entry)

    def choose(match: re.Match[str]) -> str:
        identity = _IDENTITY.search(match[0])
        entry = entries.get((identity[1], identity[2])) if identity else None
        if entry is None:
            return match[0]
        found, known = _METADATA.search(match[0]), _METADATA.search(entry)
        # uv was to overlook which index some packages have.
        if found and known and _INDEX.sub("", known[0]) == _INDEX.sub("", found[0]):
            return match[0].replace(found[0], known[0])
        return entry if f"/{directory}" in match[0] else match[0]

    head, mark, rest = _ENTRY.sub(choose, OPTIONS.sub("", text)).partition("\n[")
    return f"{head}\n{options}{mark[1:]}{rest}"
