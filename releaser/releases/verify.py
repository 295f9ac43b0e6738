"""The proof that a release is what was sealed: the hashes of RECORD, and a Python that starts."""

from __future__ import annotations

import base64
import csv
import hashlib
from collections.abc import Iterator
from pathlib import Path

import msgspec

from releaser.releases.release import Release
from releaser.releases.venv import ask_python_version, find_python, find_site_packages
from releaser.site.site import Site


def find_damage(venv: Path, most: int = 3) -> list[str]:
    """Return a sentence for each of the first files that are missing or differ from the RECORD of their package."""
    damage: list[str] = []
    for sentence, _ in _compare_with_records(find_site_packages(venv)):
        damage.append(sentence)
        if len(damage) == most:
            break
    return damage


def _compare_with_records(site_packages: Path) -> Iterator[tuple[str, Path | None]]:
    for info in sorted(site_packages.glob("*.dist-info")):
        try:
            rows = list(csv.reader((info / "RECORD").read_text(encoding="utf-8").splitlines()))
        except FileNotFoundError:
            if not (info / "METADATA").exists():
                yield f"{info.name} is incomplete", None
            continue
        except (OSError, UnicodeDecodeError, csv.Error):
            yield f"{info.name}/RECORD cannot be read", None
            continue
        for row in rows:
            if len(row) > 1 and row[1] and not _has_hash(site_packages / row[0], row[1]):
                yield f"{row[0]} is not as it was installed", site_packages / row[0]


def _has_hash(path: Path, expected: str) -> bool:
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


class LiveFaults(msgspec.Struct, frozen=True):
    """How the live release differs from what was built: `damage` is built again, `hotfixes` are a person's work."""

    damage: tuple[str, ...] = ()
    hotfixes: tuple[str, ...] = ()


def find_live_faults(live: Release) -> LiveFaults:
    """Return how the live release differs from what was built; an adopted one may be as a person left it.

    Code that is not as it was installed is a hotfix; what is missing, and data, which a package may write, are not.
    """
    if live.manifest.kind != "built":
        return LiveFaults()
    faults = list(_compare_with_records(find_site_packages(live.venv)))
    hotfixes = [sentence for sentence, path in faults if path is not None and path.is_file() and _is_code(path)]
    return LiveFaults(tuple(sentence for sentence, _ in faults if sentence not in hotfixes), tuple(hotfixes))


def _is_code(path: Path) -> bool:
    return path.suffix in (".py", ".so") or path.parent.name == "bin"
