"""Keeps a version in a lock that its index has yanked or lost, or that is too new: uv sees a file with its metadata."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterable
from pathlib import Path

from releaser.releases.venv import find_info

_ENTRY = re.compile(r"^\[\[package\]\]\n.*?(?=^\[\[package\]\]|\Z)", re.MULTILINE | re.DOTALL)
_OPTIONS = re.compile(r"^\[options(?:\.[\w-]+)?\]\n.*?(?=^\[)", re.MULTILINE | re.DOTALL)
_IDENTITY = re.compile(r'^name = "([^"]*)"\nversion = "([^"]*)"', re.MULTILINE)
_WHEEL = "Wheel-Version: 1.0\nGenerator: releaser\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def write_stub(venv: Path, name: str, version: str, directory: Path) -> bool:
    """Write a wheel with the metadata of an installed package alone; False if that version is not installed."""
    info = find_info(venv, name)
    if info is None or info.name.removesuffix(".dist-info").rpartition("-")[2] != version:
        return False
    stem = info.name.removesuffix(".dist-info")
    try:
        with zipfile.ZipFile(directory / f"{stem}-py3-none-any.whl", "w") as archive:
            archive.writestr(f"{stem}.dist-info/METADATA", (info / "METADATA").read_bytes())
            archive.writestr(f"{stem}.dist-info/WHEEL", _WHEEL)
            archive.writestr(f"{stem}.dist-info/RECORD", "")
    except OSError:
        return False
    return True


def put_back(text: str, before: Iterable[str], directory: str) -> str:
    """Return a lock with the entries of earlier locks in the place of those from a directory of stubs.

    Its options are those of the first one: an age that was given for one call must not stay.
    """
    before = list(before)
    entries: dict[tuple[str, str], str] = {}
    for entry in (entry for lock in before for entry in _ENTRY.findall(lock)):
        if identity := _IDENTITY.search(entry):
            entries.setdefault((identity[1], identity[2]), entry)

    def choose(match: re.Match[str]) -> str:
        identity = _IDENTITY.search(match[0])
        is_stub = f"/{directory}" in match[0] and identity is not None
        return entries.get((identity[1], identity[2]), match[0]) if is_stub and identity else match[0]

    options = "".join(_OPTIONS.findall(before[0]))
    head, mark, rest = _OPTIONS.sub("", text).partition("\n[")
    return f"{head}\n{options}{mark[1:]}{_ENTRY.sub(choose, rest) if mark else ''}"
