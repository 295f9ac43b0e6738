"""The command `verify`: compares a release with what was built."""

from __future__ import annotations

import os

import msgspec

from releaser.errors import Problem
from releaser.packages.hand_made import find_edited_venv
from releaser.releases.store import MANIFEST, Store
from releaser.releases.verify import explain_fault, find_product_faults, list_faults, list_patched
from releaser.site.site import Site
from releaser.system.text import join_few

_MOST = 20  # faults that are named


class Verification(msgspec.Struct, frozen=True):
    """The comparison of a release with what was built; `unknown` names what cannot be compared."""

    release: str
    well: bool
    faults: tuple[Problem, ...]
    unknown: str = ""
    is_adopted: bool = False

    @property
    def headline(self) -> str:
        """The result, in a sentence."""
        end = f"as it was {'adopted' if self.is_adopted else 'built'}"
        works = "was adopted, and its Python starts" if self.unknown else f"is {end}"
        return f"{self.release} {works if self.well else f'is not {end}'}."


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
    is_live, is_adopted = release is store.live, release.manifest.kind == "adopted"
    faults = [*list_faults(site, release)]
    problems = [
        explain_fault(fault, is_live=is_live) for fault in faults if not (is_live and fault.kind in ("edit", "hotfix"))
    ][:_MOST]
    problems += [*find_product_faults(site, release), *find_edited_venv(release, faults)] if is_live else []
    unknown = ""
    if is_adopted and release.manifest.sealed is None:  # by an earlier version
        differing = join_few([patch.sentence for patch in list_patched(release.venv)], 3) or "no file differs"
        unknown = f"Changes from before the adoption cannot be told from damage: {differing}."
    return Verification(release.id, not problems, tuple(problems), unknown, is_adopted)
