"""What releaser itself would say to versions, should they come up: the gates of an update, asked one by one."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING

from releaser.durable import UnreadableStateError
from releaser.locking.age import Age
from releaser.locking.policy import Upgrade
from releaser.releases.holds import Holds, read_holds
from releaser.releases.quarantine import Quarantine, read_quarantine
from releaser.steps.gating import make_gates, standing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from pathlib import Path

    from releaser.locking.gates import Gates, Kept
    from releaser.locking.lockfile import LockFile
    from releaser.locking.uploads import Uploads
    from releaser.project.site import Site


def gates_of(site: Site, lock: LockFile, live: LockFile, *, python: str, now: datetime) -> Gates:
    """Put together what an update would heed now; `lock` is the checkout's, `python` the version of the site's Python.

    State files that cannot be read say nothing, which `status` tells.
    """
    quarantine, holds = Quarantine(), Holds()
    with contextlib.suppress(UnreadableStateError):
        quarantine = read_quarantine(site.project.state_dir)
    with contextlib.suppress(UnreadableStateError):
        holds = standing(site, read_holds(site.project.state_dir), python=python, now=now)
    return make_gates(site.settings, lock, live, quarantine=quarantine, holds=holds, now=now)


def undecided(state_dir: Path) -> dict[tuple[str, str], str]:
    """Map the packages and versions of which nobody knows yet whether they work to why that is so."""
    with contextlib.suppress(UnreadableStateError):
        entries = read_holds(state_dir).entries
        return {(one.name, one.version): one.reason for one in entries if one.by == "undecided"}
    return {}


def objections(gates: Gates, name: str, version: str, uploads: Uploads) -> Iterator[Kept]:
    """Yield everything that keeps a version out, and not only the first: each gate is opened, and the others asked."""
    for _ in range(len(_OPENED)):
        kept = gates.faults({name: version}, uploads).get(name)
        if kept is None or kept.by not in _OPENED:
            return
        yield kept
        gates = _without(gates, kept)


_OPENED = frozenset({"person", "ignore", "activation", "tests", "policy", "age"})


def _without(gates: Gates, kept: Kept) -> Gates:
    match kept.by:
        case "person":
            return replace(gates, held=())
        case "ignore":
            return replace(gates, ignored=())
        case "policy":
            return replace(gates, upgrade=Upgrade())
        case "age":
            return replace(gates, age=Age())
        case _:
            return replace(gates, barred=tuple(one for one in gates.barred if one.by != kept.by))
