"""Writes the parts of pages that are made, each between `<!-- NAME -->` and `<!-- end of NAME -->`."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_PART = re.compile(r"(?ms)^<!-- (?P<name>[^\n]+) -->\n(?:.*?^)??<!-- end of (?P=name) -->$")


def fill(page: Path, parts: Mapping[str, str]) -> bool:
    """Write the parts of a page, or with `--check` nothing; return whether the page had each of them as it is.

    Raises ValueError if the page lacks the place for a part, or has one for another.
    """
    before = page.read_text(encoding="utf-8")
    places = [found["name"] for found in _PART.finditer(before)]
    if sorted(places) != sorted(parts):
        message = f"{page}: made parts that are missing, or too many: {sorted({*places} ^ {*parts}) or places}"
        raise ValueError(message)
    after = _PART.sub(
        lambda one: f"<!-- {one['name']} -->\n{parts[one['name']]}\n<!-- end of {one['name']} -->", before
    )
    return keep(page, after)


def keep(page: Path, text: str) -> bool:
    """Write a page, or with `--check` nothing; return whether it was like that already."""
    is_right = page.exists() and page.read_text(encoding="utf-8") == text
    if not is_right and "--check" not in sys.argv[1:]:
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(text, encoding="utf-8")
    return is_right
