"""The interface of a gate: a check that may keep a release from being built or from going live."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Literal

from releaser.capabilities import gather
from releaser.system.frozen import Frozen

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from pathlib import Path

    from releaser.core.run import Workspace
    from releaser.core.source import Resolution
    from releaser.errors import ReleaserError
    from releaser.locks.changes import Change
    from releaser.locks.lock import LockFile
    from releaser.report import RunLog
    from releaser.site.site import Site

#: When a gate is asked. `begun`: before a release is made. `resolved`: the run has a lock, and a whole staging tree.
#: `locked`: before a candidate is built, of which the case has only `work` and `lock`, and without --force; there are
#: several if the tests fail. `tested`: the candidate passed its tests. `ready`: the release may go live. `unbuilt`: no
#: release is built, and the checkout may move to commits that change neither code nor packages, unless a gate waits.
Stage = Literal["begun", "resolved", "locked", "tested", "ready", "unbuilt"]


class Case(Frozen):
    """The release that a gate judges."""

    #: The inputs of the build; once the release is begun, the staging tree has its code.
    work: Workspace
    #: The lock of the release; until it is resolved, the one from which a lock is made.
    lock: LockFile
    #: The environment of the release, in the directory of the release; None before it is built.
    venv: Path | None = None
    #: The packages that the release changes; once it is ready, each with the vulnerabilities that the change fixes.
    changes: tuple[Change, ...] = ()
    #: True if it can go live later, too; one that a person rebuilds goes live now.
    may_wait: bool = True
    #: True if the release replaces a damaged live release.
    is_repair: bool = False
    #: True if nothing can run on the live release.
    is_down: bool = False
    #: True if services may be asked about its packages; not if they stay the same, or in a dry run.
    asks_others: bool = False

    @classmethod
    def of(cls, work: Workspace, resolution: Resolution, **facts: Any) -> Case:
        """Return the case of a release that is made from a resolution."""
        return cls(work=work, lock=resolution.lock, changes=resolution.diff, **facts)

    @property
    def site(self) -> Site:
        """The site that the release is built for, in the staging tree once there is one."""
        return self.work.site

    @property
    def log(self) -> RunLog:
        """The log of the run."""
        return self.work.log

    @property
    def is_urgent(self) -> bool:
        """True if the release repairs the site, or fixes a vulnerability, so that waiting does harm."""
        return self.is_repair or any(change.fixes for change in self.changes)

    @property
    def built(self) -> Path:
        """The environment of the release. Raises LookupError before it is built."""
        if self.venv is None:
            message = "no release is built yet"
            raise LookupError(message)
        return self.venv


class Wait(Frozen):
    """The answer of a gate for a release that may go live later: it stays ready, and the next run asks again.

    Before a release is ready, this refuses it.
    """

    #: The reason, as the end of the sentence "RELEASE is ready and waits: ...".
    reason: str
    #: When it may go live, if that is known. An update begins then, whatever the interval says; outside of the
    #: maintenance window, in the next one.
    until: datetime | None = None
    #: True if the next update takes up this very release, although newer packages may have appeared; not if these fix a
    #: vulnerability that has become known.
    keeps: bool = False
    #: The problem, if a person has to solve it: the run ends with it, once for each reason.
    error: ReleaserError | None = None
    #: True if it counts in spite of `--force`, and for a release that may not wait.
    always: bool = False
    #: The command that makes the release live, if no update may do so; empty if updates ask again.
    request: str = ""


class Refusal(Frozen):
    """The answer of a gate for a release that may not go live; the error says why, and what to do."""

    error: ReleaserError


class Found(Frozen):
    """The answer of a gate that lets a candidate pass, and has facts for the manifest of the release."""

    #: Fields of the manifest. The gates that are asked later see `changes`.
    facts: Mapping[str, Any]


#: None lets the release pass.
Verdict = Wait | Refusal | Found | None


class Gate(ABC):
    """A check that may keep a release from being built or from going live. Subclasses override what differs."""

    #: When the gate is asked.
    stage: Stage = "ready"
    #: True if `--force`, and the repair of a damaged live release, turn its refusal into a remark.
    is_forcible = False
    #: True if a dry run asks it, too, before a release exists.
    is_foreseeable = False
    #: True if judging has an effect, as a command of the site has.
    acts = False

    @abstractmethod
    def judge(self, case: Case) -> Verdict:
        """Let a release pass, wait, or be refused, also by the error that it raises. Changes nothing."""


def find_opening(site: Site, at: datetime) -> datetime:
    """Return the first moment, not before `at`, at which an update of the site may begin by itself."""
    for find in gather("openings") * 2:  # the end of a pause may lie outside of the windows
        at = find(site, at)
    return at
