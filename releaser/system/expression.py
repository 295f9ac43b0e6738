"""Regular expressions that are compiled when they are first used."""

from __future__ import annotations

import re
from typing import Any, AnyStr, cast


class _Pattern:
    """Stands for a compiled expression: each of its methods is looked up once."""

    def __init__(self, text: Any, flags: int) -> None:
        self._made_of = text, int(flags)

    def __getattr__(self, name: str) -> Any:
        found = getattr(re.compile(*self._made_of), name)
        setattr(self, name, found)
        return found


def expression(text: AnyStr, flags: int = 0) -> re.Pattern[AnyStr]:
    """Return what `re.compile` does, for a constant of a module: a run needs few of those that it imports.

    Compiling all of them took a tenth of an update without news.
    """
    return cast("re.Pattern[AnyStr]", _Pattern(text, flags))
