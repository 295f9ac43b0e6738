"""What releaser itself would say to versions, should they come up: the gates of an update, asked one by one."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING

from releaser.durable import UnreadableStateError
from releaser.errors import ToolError
from releaser.locking.age import Age
from releaser.locking.policy import Upgrade
from releaser.releases.holds import Holds, read_holds
from releaser.releases.quarantine import Quarantine, read_quarantine
from releaser.steps.gating import make_gates
from releaser.steps.resolve import own_files

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

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
        holds = _counting(site, read_holds(site.project.state_dir), python)
    return make_gates(site.settings, lock, live, quarantine=quarantine, holds=holds, now=now)


def _counting(site: Site, holds: Holds, python: str) -> Holds:
    """Return the holds that count for the code that there is; all of them if nobody can tell what code that is."""
    if all(one.by == "person" for one in holds.entries):
        return holds
    try:
        code = site.git.code_key(own_files(site, site.git.layout.top))
    except ToolError:
        return holds
    return replace(holds, entries=tuple(one for one in holds.entries if one.counts_for(code_key=code, python=python)))


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
