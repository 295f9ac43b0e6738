"""Reads the text of a uv.lock: its wheels, which are most of it, without the parser of TOML, which takes long."""

from __future__ import annotations

import re
from typing import Any

_BEGIN = "[[package]]\n"
# As uv 0.13 writes the wheels of a package, a line each; without anything that does not mean just what stands there.
_WHEELS = r"(?m)^wheels = \[\n((?:    \{ .* \},\n)+)\]\n"
_TEXT = r'"([^"\\\x00-\x1f\x7f]+)"'
_REST = rf"(?:, hash = {_TEXT})?(?:, size = ([1-9][0-9]*))?(?:, upload-time = {_TEXT})?"
_WHEEL = rf"(?m)^    \{{ (url|path) = {_TEXT}{_REST} \}},\n"


def read_lock_text(text: str) -> dict[str, Any]:
    """Return what `tomllib.loads` would; ValueError if it is no TOML. Wheels that uv has not written are read by it."""
    import tomllib  # which takes long to import

    head, *parts = text.split(_BEGIN)
    left, wheels = [head], list[list[dict[str, Any]]]()
    for part in parts:
        found = re.search(_WHEELS, part.partition("\n[")[0])
        wheels.append([_entry(*one) for one in re.findall(_WHEEL, found[1])] if found else [])
        is_read = found is not None and len(wheels[-1]) == found[1].count("\n")
        left.append(part[: found.start()] + part[found.end() :] if found and is_read else part)
    if not parts or any("'''" in one or '"' * 3 in one for one in left):  # in such a string, anything may stand
        return tomllib.loads(text)
    content = tomllib.loads(_BEGIN.join(left))
    packages = content.get("package", [])
    if len(packages) != len(wheels):
        return tomllib.loads(text)
    for package, read in zip(packages, wheels, strict=True):
        if read and package.setdefault("wheels", read) is not read:
            return tomllib.loads(text)
    return content


def _entry(kind: str, place: str, hashed: str, size: str, uploaded: str) -> dict[str, Any]:
    read = {kind: place, "hash": hashed, "size": size and int(size), "upload-time": uploaded}
    return {key: value for key, value in read.items() if value}
