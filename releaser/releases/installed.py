"""What packages in a venv say of themselves, read from their metadata; nothing of them is imported."""

from __future__ import annotations

import string
from importlib.metadata import distributions
from typing import TYPE_CHECKING

from packaging.metadata import parse_email

from releaser.links import web_link

if TYPE_CHECKING:
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


def metadata_of(venv: Path, name: str) -> RawMetadata:
    """Return the metadata of a package, as far as it can be read; nothing at all if it is not installed."""
    places = [str(place) for place in sorted((venv / "lib").glob("*/site-packages"))]
    try:
        for found in distributions(name=name, path=places):
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


def _normalized(label: str) -> str:
    return label.translate(_DROPPED).lower()
