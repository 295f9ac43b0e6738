"""Adapts the pages, which are written for readers of the repository, to the site that MkDocs makes of them."""

from __future__ import annotations

import os
import posixpath
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

_LINK = re.compile(r"(?<!!)\[(?P<text>[^]]*)\]\((?P<target>[\w./-]+)(?P<anchor>#[\w-]*)?\)")
_BUTTON = re.compile(r"(?m)^\*\*(\[[^]]+\]\([^)]+\))\*\*$")
# The theme hides its navigation below 1220 px. Windows of 1200 px are common, and three columns fit from 1120 px on.
_WIDTHS = {"76.25em": "70em", "76.234375em": "69.984375em", "76.1875em": "69.9375em"}


def on_config(config: MkDocsConfig) -> None:
    """Take the address of the repository from pyproject.toml, or from REPOSITORY_URL."""
    project = tomllib.loads((Path(config.docs_dir).parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    config.repo_url = project.get("urls", {}).get("Repository") or os.environ.get("REPOSITORY_URL")
    config.repo_name = "Repository" if config.repo_url else None


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let links to files outside the site lead to the repository, and make buttons of bold links on the first page."""
    here = posixpath.dirname(page.file.src_uri)

    def replace(link: re.Match[str]) -> str:
        place = posixpath.normpath(posixpath.join("docs", here, link["target"]))
        file = files.get_file_from_path(place.removeprefix("docs/")) if place.startswith("docs/") else None
        if file is not None and file.inclusion.is_included():
            return link[0]
        if not config.repo_url:
            return link["text"]
        return f"[{link['text']}]({config.repo_url.rstrip('/')}/blob/main/{place}{link['anchor'] or ''})"

    markdown = _LINK.sub(replace, markdown)
    if page.file.src_uri != "index.md":
        return markdown
    return _BUTTON.sub(r"\1{ .md-button .md-button--primary style=margin-bottom:.4rem }", markdown)


def on_post_build(config: MkDocsConfig) -> None:
    """Show the navigation from 1120 px on; ValueError if the theme has other widths than known."""
    changed = set[str]()
    for path in Path(config.site_dir, "assets").rglob("*.min.*s"):
        text = path.read_text(encoding="utf-8")
        for old, new in _WIDTHS.items():
            if old in text:
                text = text.replace(old, new)
                changed.add(old)
        path.write_text(text, encoding="utf-8")
    if missing := {"76.25em", "76.234375em"} - changed:
        message = f"the theme has no {', '.join(sorted(missing))}"
        raise ValueError(message)
