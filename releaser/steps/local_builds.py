"""What building the project's own packages leaves in their source: it would be missing in the checkout."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from releaser.errors import ToolError

if TYPE_CHECKING:
    from pathlib import Path

    from releaser.project.site import Site

_HARMLESS = ("build", "dist", "__pycache__")
_SHOWN = 3


def refuse_built_files(site: Site, before: set[str]) -> None:
    """Refuse a build that has written files into the staging tree which the packages need and the checkout lacks.

    Compiled extensions of editable packages are such files, and generated version modules. `before` is what git did
    not track there before the build. Raises ToolError.
    """
    top = site.git.layout.top
    checkout = site.project.of_checkout(top)
    made = sorted(path for path in set(site.git.unknown_files()) - before if _is_needed(path, checkout))
    if made:
        shown = ", ".join(made[:_SHOWN]) + (f" and {len(made) - _SHOWN} more" if len(made) > _SHOWN else "")
        message = f"building the project's own packages writes files that the checkout lacks: {shown}"
        advice = (
            "Let uv install that package as a wheel (`editable = false` in tool.uv.sources), or build it once in the"
            " checkout, by hand."
        )
        raise ToolError(message, advice=advice)


def _is_needed(path: str, checkout: Path) -> bool:
    name = path.rstrip("/").rpartition("/")[2]
    if name in _HARMLESS or name.endswith((".egg-info", ".pyc")) or name.startswith(".releaser-"):
        return False
    return name.endswith(".so") or not os.path.lexists(checkout / path)
