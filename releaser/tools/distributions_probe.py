"""Run by the interpreter of somebody's environment: tells what is installed there, as JSON on standard output.

It must run on every Python from 3.8 on, and imports nothing of what it tells of.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from importlib import metadata
from typing import Any

MARK = "releaser-distributions:"
_SITE_DIRECTORIES = ("site-packages", "dist-packages")


def main() -> None:
    """Answer."""
    print(MARK + json.dumps({**_interpreter(), "distributions": _distributions()}))  # noqa: T201 - the answer


def _interpreter() -> dict[str, Any]:
    info = sys.implementation.version
    version = "{}.{}.{}".format(info.major, info.minor, info.micro)  # noqa: UP032 - as the specification has it
    return {
        "prefix": sys.prefix,
        "is_venv": sys.prefix != sys.base_prefix,
        "markers": {
            "implementation_name": sys.implementation.name,
            "implementation_version": version,
            "os_name": os.name,
            "platform_machine": platform.machine(),
            "platform_python_implementation": platform.python_implementation(),
            "platform_release": platform.release(),
            "platform_system": platform.system(),
            "platform_version": platform.version(),
            "python_full_version": platform.python_version(),
            "python_version": ".".join(platform.python_version_tuple()[:2]),
            "sys_platform": sys.platform,
        },
    }


def _distributions() -> list[dict[str, Any]]:
    """List them in the order of sys.path: of two of one name, the first is the one that is imported."""
    metadata.PathDistribution.read_text = _read_text  # type: ignore[method-assign,assignment]
    return [_described(one) for one in metadata.distributions()]


def _read_text(found: Any, filename: str) -> str | None:
    """Read a file of the metadata, also one that is not UTF-8, as that of packages from before the rule may be."""
    try:
        data: bytes = found._path.joinpath(filename).read_bytes()
    except (OSError, KeyError):
        return None
    return data.decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", "\n")


def _described(found: metadata.Distribution) -> dict[str, Any]:
    place = str(getattr(found, "_path", ""))
    location = os.path.dirname(place)
    said = found.metadata
    return {
        "name": said["Name"] if said is not None else None,
        "version": said["Version"] if said is not None else None,
        "requires": list(found.requires or ()),
        "requires_python": said["Requires-Python"] if said is not None else None,
        "metadata": os.path.basename(place),
        "location": location,
        "in_prefix": os.path.realpath(location).startswith(os.path.realpath(sys.prefix) + os.sep),
        "in_site_directory": os.path.basename(location) in _SITE_DIRECTORIES,
        "installer": (found.read_text("INSTALLER") or "").strip(),
        "by_pip": found.read_text("installed-files.txt") is not None,
        "requested": found.read_text("REQUESTED") is not None,
        "direct_url": found.read_text("direct_url.json"),
        "modules": sorted(_modules(found)),
    }


def _modules(found: metadata.Distribution) -> set[str]:
    """Name what can be imported of it, as far as its files tell."""
    named = set((found.read_text("top_level.txt") or "").split())
    for file in found.files or () if not named else ():
        first = file.parts[0] if file.parts else ""
        if file.suffix in (".py", ".so") or len(file.parts) == 1:
            named.add(first.split(".")[0])
    return {name for name in named if name.isidentifier()}


if __name__ == "__main__":
    main()
