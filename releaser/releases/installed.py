"""What packages in a venv say of themselves, read from their metadata; nothing of them is imported."""

from __future__ import annotations

import string
from dataclasses import dataclass
from importlib.metadata import distributions
from typing import TYPE_CHECKING

from packaging.metadata import parse_email
from packaging.utils import canonicalize_name

from releaser.links import web_link

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

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
