"""Writes the parts of pages that are made, each between `<!-- NAME -->` and `<!-- end of NAME -->`."""

from __future__ import annotations

import re
import sys
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_PART = re.compile(r"(?ms)^<!-- (?P<name>[^\n]+) -->\n(?:.*?^)??<!-- end of (?P=name) -->$")


def fill(page: Path, parts: Mapping[str, str]) -> bool:
    """Write the parts of a page, or with `--check` nothing; return whether the page had each of them as it is.

    A part without a place gets one below what the page says of the part before it. Raises ValueError if it cannot, or
    the page has a place for another part.
    """
    text = page.read_text(encoding="utf-8")
    places = [found["name"] for found in _PART.finditer(text)]
    for before, name in pairwise(parts):
        if name not in places:
            above = rf"(?ms)^<!-- end of {re.escape(before)} -->\n.*?(?=^<!-- |^## |\Z)"
            text = re.sub(above, rf"\g<0><!-- {name} -->\n<!-- end of {name} -->\n\n", text).rstrip("\n") + "\n"
    places = [found["name"] for found in _PART.finditer(text)]
    if sorted(places) != sorted(parts):
        unmatched = sorted({*places} ^ {*parts}) or places
        message = f"{page}: no place, `<!-- NAME -->` and `<!-- end of NAME -->`, or no part that is made: {unmatched}"
        raise ValueError(message)
    text = _PART.sub(lambda one: f"<!-- {one['name']} -->\n{parts[one['name']]}\n<!-- end of {one['name']} -->", text)
    return keep(page, text)


def keep(page: Path, text: str) -> bool:
    """Write a page, or with `--check` nothing; return whether it was like that already."""
    is_right = page.exists() and page.read_text(encoding="utf-8") == text
    if not is_right and "--check" not in sys.argv[1:]:
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(text, encoding="utf-8")
    return is_right
