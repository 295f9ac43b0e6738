"""The list of all capabilities, each with everything it adds. To leave one out, delete its entry and its files.

The strings are dotted names below `releaser`. `gather` imports them when they are needed, so `releaser list` does not
import the parts of an update.
"""

from __future__ import annotations

import functools
from importlib import import_module
from typing import Any, TypeVar

from releaser.system.frozen import Frozen

T = TypeVar("T")


class Capability(Frozen):
    """A part of releaser, and what it adds; see docs/architecture.md."""

    name: str
    #: Its files in the state directory: a `StateFile` each, or a tuple of them. They are deleted in this order.
    state: tuple[str, ...] = ()


CAPABILITIES = (
    Capability(name="room for an emergency", state=("system.reserve.FILES_OF_IT",)),
    Capability(name="releases", state=("releases.release.LEDGER",)),
    Capability(name="holds", state=("releases.quarantine.QUARANTINE", "releases.quarantine.HOLDS")),
    Capability(name="accepted deviations", state=("releases.acceptance.ACCEPTANCE",)),
    Capability(name="commits", state=("checkout.publish.PENDING",)),
    Capability(
        name="tests",
        state=("releases.journal.LIVE_TESTS", "checkout.staging.MARKS", "checkout.staging.EARLIER_TREES"),
    ),
    Capability(name="change of the live release", state=("releases.journal.JOURNAL", "checkout.move.LOCK_BEFORE")),
    Capability(name="build output", state=("checkout.output.OUTPUT_FILE",)),
    Capability(name="proposals", state=("releases.acceptance.PROPOSAL",)),
    Capability(name="channels", state=("releases.channels.CHANNELS",)),
    Capability(name="static files", state=("deployment.static_files.IN_PLACE_FILE",)),
    Capability(name="history", state=("releases.journal.HISTORY", "releases.journal.NOTES")),
    Capability(name="mail", state=("site.state_dir.OUTBOX_FILE", "reporting.lock_alert.SEEN")),
    Capability(name="projects without git", state=("checkout.shadow.SHADOW_FILE",)),
    Capability(name="bundles", state=("bundles.pool.POOL",)),
    Capability(
        name="runs",
        state=("run.LOGS_FILE", "site.state_dir.RELEASES_FILE", "site.run_lock.RUN_FILE", "site.state_dir.OWNER_FILE"),
    ),
)


@functools.cache
def gather(what: str, kind: type[T]) -> tuple[T, ...]:
    """Import what all capabilities add to one of their fields, such as `state`, in order."""
    found: list[T] = []
    for capability in CAPABILITIES:
        for name in getattr(capability, what):
            module, _, own = name.rpartition(".")
            named: Any = getattr(import_module(f"releaser.{module}"), own)
            found += named if isinstance(named, tuple) else (named,)
    if wrong := [one for one in found if not isinstance(one, kind)]:
        message = f"no {kind.__name__}, but listed as one in capabilities.py: {wrong}"
        raise TypeError(message)
    return tuple(found)
