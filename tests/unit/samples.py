"""Values that tables are made of: releases, locks, holds and sites, each in a few words."""

import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from releaser.packages.holds import Hold, PackageHold, VersionHold
from releaser.packages.lock import Lock, Package, Source
from releaser.releases.release import Key, Manifest, Release, State
from releaser.releases.store import begin_release
from releaser.site.paths import Paths, make_paths
from releaser.site.settings import Settings
from releaser.site.site import Site
from releaser.system.files import write_json

NOW = datetime(2026, 11, 20, tzinfo=UTC)
KEY = Key("code", hashlib.sha256().hexdigest(), "3.11.7")
SHOP = make_paths(Path("/srv/shop"), Path("/srv/shop"), Path("/srv/shop/.venv"), Path("/srv/.releaser/shop"))


def add_release(paths: Paths, *, failed_gate: str = "") -> Release:
    """Return a release on disk that waits to go live, with a lock that is empty."""
    directory = begin_release(paths)
    manifest, state = Manifest(directory.name, NOW, "built", KEY, "commit", failed_gate=failed_gate), State("ready")
    (directory / "venv" / "bin").mkdir(parents=True)
    (directory / "venv" / "bin" / "python").touch()
    (directory / "uv.lock").touch()
    write_json(directory / "state.json", state)
    write_json(directory / "manifest.json", manifest)
    return Release(directory, manifest, state)


def make_site(settings: Settings) -> Site:
    """Return a site that no disk has."""
    return Site(SHOP, settings, environ={}, dotenv={}, group="", unix_group=0, uv=Path("uv"))


def make_lock(text: str) -> Lock:
    """Return a lock by a text such as `a 1.0, b 1.1 > a`: b needs a. A version may have a source: `1.0@git:3f2a9c1`.

    `a 1.0 ? MARKER` is one of a fork.
    """
    return Lock(tuple(map(_make_package, filter(None, text.split(", ")))))


def _make_package(text: str) -> Package:
    text, _, marker = text.partition(" ? ")
    entry, _, needs = text.partition(" > ")
    name, label = entry.split()
    version, _, place = label.partition("@")
    kind, _, location = place.partition(":")
    source: Any = Source(kind or "registry", location, location if kind == "git" else "")  # type: ignore[arg-type]
    return Package(name, version, source, markers=(marker,) if marker else (), needs=frozenset(needs.split()))


def make_holds(text: str, by: Any = "person", reason: str = "") -> list[Hold]:
    """Return holds by a text such as `a 1.1, b`: on a version of a, and on all of b."""
    words = [entry.split(" ", 1) for entry in filter(None, text.split(", "))]
    versions = [VersionHold(name=each[0], version=each[1], by=by, reason=reason) for each in words if each[1:]]
    return [*versions, *(PackageHold(name=each[0], by=by, reason=reason) for each in words if not each[1:])]
