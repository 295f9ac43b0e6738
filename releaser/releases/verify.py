"""The proof that a release is what was sealed: the hashes of RECORD, and a Python that starts."""

from __future__ import annotations

import base64
import csv
import hashlib
from collections.abc import Iterator
from pathlib import Path

from releaser.releases.release import Release
from releaser.releases.venv import ask_python_version, find_python, find_site_packages, list_stray_files
from releaser.site.site import Site
from releaser.system.signals import check_signals


def find_damage(venv: Path, most: int = 3) -> list[str]:
    """Return a sentence for each of the first files that are missing or differ from the RECORD of their package."""
    damage: list[str] = []
    for sentence in _compare_with_records(find_site_packages(venv)):
        damage.append(sentence)
        if len(damage) == most:
            break
    return damage


def _compare_with_records(site_packages: Path) -> Iterator[str]:
    for info in sorted(site_packages.glob("*.dist-info")):
        try:
            rows = list(csv.reader((info / "RECORD").read_text(encoding="utf-8").splitlines()))
        except FileNotFoundError:
            if not (info / "METADATA").exists():
                yield f"{info.name} is incomplete"
            continue
        except (OSError, UnicodeDecodeError, csv.Error):
            yield f"{info.name}/RECORD cannot be read"
            continue
        for row in rows:
            if len(row) > 1 and row[1] and not _has_hash(site_packages / row[0], row[1]):
                yield f"{row[0]} is not as it was installed"


def _has_hash(path: Path, expected: str) -> bool:
    check_signals()
    name, _, value = expected.partition("=")
    if name not in hashlib.algorithms_available:
        return True
    try:
        digest = hashlib.new(name, path.read_bytes()).digest()
    except OSError:
        return False
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode() == value


def find_faults(site: Site, release: Release) -> list[str]:
    """Return why a release cannot go live again; empty if it verifies."""
    python = find_python(release.venv)
    if not ask_python_version(site, python):
        return [f"its Python does not start: {python}"]
    return find_damage(release.venv)


def find_live_damage(live: Release, *, force: bool) -> list[str]:
    """Return how the live release differs from what was built; an adopted one may be as a person left it.

    What a person has put there counts with `force`, which builds without it; else it refuses an update.
    """
    damage = find_damage(live.venv) if live.manifest.kind == "built" else []
    strays = list_stray_files(live.venv) if force else []
    return damage + [f"{path} was put there by hand" for path in strays]
