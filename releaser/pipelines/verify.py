"""The command `verify`: compares a release with what was built."""

from __future__ import annotations

import os

import msgspec

from releaser.errors import Problem
from releaser.packages.hand_made import find_edited_venv
from releaser.releases.store import MANIFEST, Store
from releaser.releases.venv import ask_python_version, find_python
from releaser.releases.verify import find_damage, find_live_faults
from releaser.site.site import Site
from releaser.system.text import join_few


class Verification(msgspec.Struct, frozen=True):
    """The comparison of a release with what was built; `unknown` names what cannot be compared."""

    release: str
    well: bool
    faults: tuple[Problem, ...]
    unknown: str = ""

    @property
    def headline(self) -> str:
        """The result, in a sentence."""
        works = "was adopted, and its Python starts" if self.unknown else "is as it was built"
        return f"{self.release} {works if self.well else 'is not as it was built'}."


def verify_release(site: Site, name: str) -> Verification:
    """Compare a release with what was built. Raises NoSuchReleaseError."""
    store = Store(site.paths)
    broken = store.link.release if name == "live" else name
    if broken and store.get(broken) is None and os.path.lexists(site.paths.releases / broken / MANIFEST):
        newest = store.newest_good
        advice = f"Run `releaser rollback {newest.id}`." if newest and broken == store.link.release else ""
        message = "Its manifest cannot be read, or its uv.lock is not the one that it was built from."
        return Verification(broken, False, (Problem("wrong-lock", message, advice),))
    release = store.find(name)
    damage, python, unknown = find_damage(release.venv, most=20), find_python(release.venv), ""
    faults = [] if ask_python_version(site, python) else [f"its Python does not start: {python}"]
    if release.manifest.kind == "built":
        faults += damage
    else:
        differing = join_few(damage, 3) or "no file differs"
        unknown = f"Changes from before the adoption cannot be told from damage: {differing}."
    is_live = release is store.live
    advice = "Run `releaser update`: it is built again." if is_live else "A rollback refuses it: see `releaser list`."
    hotfixes = find_live_faults(release).hotfixes if is_live else ()
    faults = [fault for fault in faults if fault not in hotfixes]
    problems = [Problem("damaged-venv", f"{fault[0].upper()}{fault[1:]}.", advice) for fault in faults]
    problems += find_edited_venv(release, hotfixes) if is_live and not unknown else []
    return Verification(release.id, not problems, tuple(problems), unknown)
