"""The files in which uv finds its settings."""

from __future__ import annotations

import contextlib
import os
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from releaser.system.files import read_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


def all_settings_of_uv(tree: Path, environ: Mapping[str, str]) -> Iterator[Mapping[str, Any]]:
    """Yield what any file says that uv may go by in `tree`, be it of the project, the user or the host.

    uv itself takes the first that it finds in `tree` and above it. A file that cannot be read is left out: uv refuses
    it, or warns of it.
    """
    for place in (tree, *tree.parents):
        with contextlib.suppress(AttributeError):  # `tool` is no table
            yield from filter(None, [_read(place / "pyproject.toml").get("tool", {}).get("uv")])
        yield _read(place / "uv.toml")
    own = environ.get("XDG_CONFIG_HOME") or os.path.join(environ.get("HOME", "/"), ".config")
    for directory in (own, *environ.get("XDG_CONFIG_DIRS", "/etc/xdg").split(os.pathsep), "/etc"):
        yield _read(Path(directory, "uv", "uv.toml"))


def _read(file: Path) -> Mapping[str, Any]:
    try:
        return tomllib.loads(read_text(file))
    except (OSError, ValueError):
        return {}
