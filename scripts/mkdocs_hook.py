"""Lets MkDocs show the pages beside docs/; links to them and in them are written as the repository has them."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING

from mkdocs.structure.files import File

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

# What lies beside docs/, and its place on the site.
BESIDE = {
    "README.md": "readme.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security-policy.md",
    "LICENSE": "license.txt",
}
_RELATIVE = re.compile(r"(?<=\]\()[\w./-]+(?=[)#])")


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Add what lies beside docs/."""
    for name, place in BESIDE.items():
        content = (Path(config.docs_dir).parent / name).read_text(encoding="utf-8")
        files.append(File.generated(config, place, content=content))


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001
    """Let each link lead to where its page is on the site."""
    here = page.file.src_uri
    written = {place: name for name, place in BESIDE.items()}.get(here, f"docs/{here}")

    def replace(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(written), link[0]))
        place = BESIDE.get(target, target.removeprefix("docs/"))
        return posixpath.relpath(place, posixpath.dirname(here) or ".")

    return _RELATIVE.sub(replace, markdown)
