"""What the packages in a venv say of themselves, and where the editable ones lead."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import re
import string
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from packaging.metadata import parse_email
from packaging.utils import canonicalize_name

from releaser.system.words import web_link

if TYPE_CHECKING:
    from collections.abc import Iterator

    from packaging.metadata import RawMetadata


# What a reader wants first. The labels of the packaging specification on well-known project URLs, with their aliases.
_LABELS = (
    "changelog", "changes", "whatsnew", "history", "releasenotes",
    "homepage",
    "source", "repository", "sourcecode", "github",
    "documentation", "docs",
)  # fmt: skip
_DROPPED = str.maketrans("", "", string.punctuation + string.whitespace)


@dataclass(frozen=True, kw_only=True)
class Installed:
    """An installed package, and what it asks for, each as its metadata has it."""

    name: str
    version: str
    requires: tuple[str, ...]


def _places(venv: Path) -> list[str]:
    return [str(place) for place in sorted((venv / "lib").glob("*/site-packages"))]


def versions_in(venv: Path) -> dict[str, str]:
    """Return the versions of what is installed, by normalized name; what cannot be read is left out."""
    found = {}
    for one in distributions(path=_places(venv)):
        name = one.metadata["Name"]
        if name and one.version:
            found[str(canonicalize_name(name))] = one.version
    return found


def metadata_of(venv: Path, name: str) -> RawMetadata:
    """Return the metadata of a package, as far as it can be read; nothing at all if it is not installed."""
    try:
        for found in distributions(name=name, path=_places(venv)):
            if text := found.read_text("METADATA"):
                return parse_email(text)[0]
    except (OSError, ValueError):  # ValueError: it is not UTF-8
        pass
    return {}


def link_of(venv: Path, name: str) -> str | None:
    """Return where to read about a package: its changelog, else its home page, its source or its documentation."""
    said = metadata_of(venv, name)
    urls = {_normalized(label): url for label, url in said.get("project_urls", {}).items()}
    urls.setdefault("homepage", said.get("home_page", ""))
    return next((link for label in _LABELS if (link := web_link(urls.get(label, "")))), None)


def requirements_in(venv: Path) -> Iterator[Installed]:
    """Yield the packages of a venv that ask for others."""
    for found in distributions(path=_places(venv)):
        try:
            said = parse_email(found.read_text("METADATA") or "")[0]
        except (OSError, ValueError):
            continue
        if "name" in said and said.get("requires_dist"):
            name, version = canonicalize_name(said["name"]), said.get("version", "")
            yield Installed(name=name, version=version, requires=tuple(said["requires_dist"]))


def _normalized(label: str) -> str:
    return label.translate(_DROPPED).lower()


_LARGEST = 1024 * 1024  # bytes; what build backends write for an editable package is far smaller


def repoint_editables(venv: Path, old: Path, new: Path) -> None:
    """Let packages that were installed from below `old` lead to the same place below `new`. Raises OSError.

    Only files that those packages have in their RECORD are changed, and their lines in it
    (https://packaging.python.org/en/latest/specifications/recording-installed-packages/).
    """
    if old == new:
        return
    for note, content, source in _installed_from(venv, old):
        url = (new / source.relative_to(old)).as_uri()
        changed = {note: json.dumps({**content, "url": url}).encode()}
        _rewrite(note.parent, changed, old, new)


def leads_into(venv: Path, place: Path) -> bool:
    """Whether an editable package is found below `place`, by whatever way. Raises OSError."""
    return any(content.get("dir_info", {}).get("editable") for _, content, _ in _installed_from(venv, place))


def sources_below(venv: Path, place: Path) -> list[Path]:
    """Return the directories below `place` that are searched for modules, relative to it. Raises OSError."""
    files = venv.glob("lib/python*/site-packages/*.pth")
    lines = (Path(line) for file in files for line in file.read_text(encoding="utf-8", errors="replace").splitlines())
    return sorted({path.relative_to(place) for path in lines if path.is_relative_to(place)})


def _installed_from(venv: Path, place: Path) -> Iterator[tuple[Path, dict[str, Any], Path]]:
    """Yield what was installed from below `place`: where that is noted, what is noted, and from where it was."""
    for note in venv.glob("lib/python*/site-packages/*.dist-info/direct_url.json"):
        content = json.loads(note.read_text(encoding="utf-8"))
        source = Path(unquote(urlsplit(content.get("url", "")).path))  # which uv quotes in its own way
        if source.is_relative_to(place):
            yield note, content, source


def _rewrite(dist_info: Path, changed: dict[Path, bytes], old: Path, new: Path) -> None:
    """Replace a path in the files of a package that are text, besides what has `changed`, and record that.

    In a compiled file paths are notes for debuggers, which must keep their length.
    """
    record = dist_info / "RECORD"
    rows = list(csv.reader(record.read_text(encoding="utf-8").splitlines()))
    for row in rows:
        file = dist_info.parent / row[0]
        if file == record or not file.is_file() or file.stat().st_size > _LARGEST:
            continue
        before = file.read_bytes()
        after = changed.get(file) or _replaced(before, old, new)
        if after != before:
            file.write_bytes(after)
            row[1:3] = [f"sha256={_digest(after)}", str(len(after))]
            for compiled in (file.parent / "__pycache__").glob(f"{file.stem}.*.pyc"):
                compiled.unlink()
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    record.write_text(text.getvalue(), encoding="utf-8")


def _replaced(data: bytes, old: Path, new: Path) -> bytes:
    if b"\0" in data:
        return data
    return str(new).encode().join(re.split(re.escape(str(old).encode()) + rb"(?![\w.-])", data))


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
