"""The identity of a candidate, and what is known of it from earlier nights: it failed, or it is ready."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from releaser.checkout.repository import hash_text
from releaser.checkout.target import Target
from releaser.packages.lock import Lock
from releaser.packages.resolve import Plan, group_arguments
from releaser.releases.release import Key, Manifest, Release
from releaser.releases.sealed import hash_file
from releaser.releases.store import Store
from releaser.releases.verify import find_faults
from releaser.site.settings import Settings
from releaser.site.site import Site
from releaser.system.files import walk
from releaser.system.text import join_few

#: What builds and programs make in a library, beside what people write.
_LEFT_OUT = {".git", ".hg", ".venv", "venv", "__pycache__", "node_modules", "build", "dist", ".tox", ".nox"}
_MADE = re.compile(r"(\.(egg-info|dist-info|pyc|log|pid|tmp|db|sqlite3)|_cache|-journal|-wal|-shm)$")


def make_key(site: Site, plan: Plan, code_key: str) -> Key:
    """Return what identifies the candidate of a plan."""
    selection = " ".join(group_arguments(site))
    recipe, libraries = hash_text(_list_recipe(site)), hash_libraries(site, plan.lock)
    return Key(code_key, plan.lock.sha256, plan.python_version, selection, recipe, libraries)


def hash_libraries(site: Site, lock: Lock) -> tuple[tuple[str, str], ...]:
    """Return each package of a lock that lies outside of the repository, with a hash of its content: its source."""
    top = site.paths.top
    local = sorted((package.name, package.source.location) for package in lock.packages if package.source.is_local)
    paths = {name: (site.paths.project / location).resolve() for name, location in local}
    outside = {name: path for name, path in paths.items() if not (path.is_relative_to(top) or top.is_relative_to(path))}
    return tuple((name, _hash(path)) for name, path in outside.items() if path.exists())  # a bundle brings its wheel


def _hash(path: Path) -> str:
    """Return a hash of a file, or of what people write in a directory: not of what builds and programs make there."""
    hashes = [] if path.is_dir() else [hash_file(path)]
    for place, directories, files in walk(path):
        directories[:] = sorted(name for name in directories if name not in _LEFT_OUT and not _MADE.search(name))
        written = (Path(place, name) for name in sorted(files) if not _MADE.search(name) and name[0] != ".")
        hashes += [f"{file.relative_to(path)} {hash_file(file)}" for file in written]
    return hashlib.sha256("\0".join(hashes).encode(errors="surrogateescape")).hexdigest()[:16]


#: The settings of tests by which candidates are told apart, in the order in which they are hashed.
_COUNTED = ("test_command", "test_timeout", "test_environment", "shadow", "shadow_copy")
#: Those that came later: they count where they are not the default, so that what failed or is ready stays known.
_COUNTED_LATER: tuple[str, ...] = ("tests_get_environment_file", "django_settings", "manage_py", "smoke")
#: Numbers and addresses in the reason of a failure, which may differ each night; those of migrations tell these apart.
NUMBER = re.compile(r"\b0x[0-9a-f]+|\d++(?!_)", re.IGNORECASE)


def _list_recipe(site: Site) -> str:
    """Return the settings by which a candidate is built and tested."""
    tests, live, defaults = site.settings.tests, site.settings.live, Settings()
    counted: Mapping[str, Any] = {name: getattr(tests, name) for name in _COUNTED}
    recipe = [counted, live.before_build, live.migrations, site.settings.site.python]
    later = {name: site.settings.get(name) for name in _COUNTED_LATER}
    changed: dict[str, Any] = {name: value for name, value in later.items() if value != defaults.get(name)}
    if tests.tests_get_environment_file:
        changed["service"] = site.service
    return msgspec.json.encode([*recipe, changed] if changed else recipe).decode()


def find_failed(store: Store, key: Key) -> Release | None:
    """Return the newest release that failed as this candidate would."""
    failed = (release for release in store.releases if release.manifest.failed_gate and release.manifest.key == key)
    return next(failed, None)


def may_try_again(failed: Release) -> bool:
    """Return True if the reason of a failure may be gone without a change of code or lock."""
    manifest = failed.manifest
    return manifest.was_failing or bool(manifest.no_verdict) or manifest.failed_gate == "migrations"


def is_same_failure(before: Manifest | None, after: Manifest) -> bool:
    """Return True if a candidate failed as it did before; of tests that now fail and then pass, in whatever test."""
    if before is None:
        return False
    facts = [(each.failed_gate, each.was_failing, each.no_verdict) for each in (before, after)]
    texts = [NUMBER.sub("", each.failure) for each in (before, after)]
    return facts[0] == facts[1] and (bool(after.no_verdict) or texts[0] == texts[1])


def choose_ready(site: Site, store: Store, key: Key, target: Target, *, may_return: bool = False) -> Release | None:
    """Return the newest ready release that may go live as this candidate; if it `may_return`, also one that was live.

    That one is newer than the live one, else a rollback from it would go forward, and put nothing on hold. Migrations
    are asked about by building again, if a rollback has left any: a person may have reversed them.
    """
    live, ready = store.live, [each for each in store.releases if each.state.state == "ready"]
    if may_return and not any(each.manifest.migrations for each in store.releases if each.state.left_by):
        good = (each for each in store.releases if each.may_return and each.state.order)
        ready += [each for each in good if live and each.age_key > live.age_key]
    return next((release for release in ready if not explain_outdated(site, release, key, target)), None)


def explain_outdated(site: Site, release: Release, key: Key, target: Target) -> str:
    """Return why a ready release is not this candidate, tested as it would be, and whole; empty if it is."""
    before, is_other_commit = release.manifest.key, release.manifest.commit != target.commit
    differences = {
        "another commit": before.code_key != key.code_key or (is_other_commit and not release.state.order),
        "another lock": before.lock_sha256 != key.lock_sha256,
        "another Python": before.python != key.python,
        "another group, extras or members": before.selection != key.selection,
        "other settings of build and tests": before.recipe != key.recipe,
        "other libraries next to the checkout": before.libraries != key.libraries,
    }
    if any(differences.values()):
        return f"for {join_few([difference for difference, differs in differences.items() if differs])}"
    faults = find_faults(site, release)
    return f"is damaged: {join_few(faults, 2)}" if faults else ""
