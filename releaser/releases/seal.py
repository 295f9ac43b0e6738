"""What is noted of the files of a release when it is sealed, for later looks to compare with."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from releaser.durable import UnreadableStateError, encoded, read_json
from releaser.releases.files import below, digest, is_byte_code, observe, recorded, site_packages
from releaser.releases.records import hash_of, is_checkable

if TYPE_CHECKING:
    from releaser.releases.release import Release

FILES = "files.json"  # what each file was when the release was sealed, to name what differs


@dataclass(frozen=True, kw_only=True)
class Sealed:
    """What was noted of a venv when it was sealed; all empty where that is gone, or has been changed.

    `files` tells what was seen of each file that counts, `hashes` those of the files that have none in a RECORD;
    `others` are what no package has installed, though it lies in site-packages.
    """

    files: Mapping[str, str]
    hashes: Mapping[str, str]
    others: frozenset[str]


def sealed_files(release: Release) -> Sealed:
    """Return what was noted when a release was sealed."""
    try:
        content = read_json(release.directory / FILES) or {}
    except (UnreadableStateError, OSError):
        content = {}
    files, hashes = _texts(content.get("files")), _texts(content.get("hashes"))
    if digest(files) != release.manifest.fingerprint:
        return Sealed(files={}, hashes={}, others=frozenset())
    others = content.get("others")
    return Sealed(files=files, hashes=hashes, others=frozenset(map(str, others if isinstance(others, list) else ())))


def _texts(content: object) -> dict[str, str]:
    if not isinstance(content, dict) or not all(isinstance(one, str) for one in content.values()):
        return {}
    return content


def seal_files(directory: Path) -> str:
    """Note what the files of a release are, in its directory, and return the digest for its manifest. Raises OSError.

    Nothing is synced here: the release is complete only once its manifest is there, and all is flushed before that.
    """
    venv = str(directory / "venv")
    found = observe(venv)
    (directory / FILES).write_bytes(encoded({"files": found, "hashes": _hashes(venv, found), "others": _others(venv)}))
    return digest(found)


def _hashes(venv: str, found: Mapping[str, str]) -> dict[str, str]:
    """Return the hashes of the files that have none in a RECORD, as far as they can be read."""
    known, hashes = recorded(venv), {}
    for path, seen in found.items():
        if seen[:1].isdigit() and not is_checkable(known.get(path, "")):
            with contextlib.suppress(OSError):
                hashes[path] = hash_of(f"{venv}/{path}")
    return hashes


def _others(venv: str) -> list[str]:
    """Return what lies in site-packages already, though no package has it in its RECORD."""
    known = recorded(venv).keys()
    return sorted(path for path in below(venv, *site_packages(venv)) if path not in known and not is_byte_code(path))
