"""The interface of a gate: a check that may keep a release from being built or from going live."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Literal

from releaser.system.frozen import Frozen

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from releaser.errors import ReleaserError
    from releaser.locks.lock import Change
    from releaser.report import RunLog
    from releaser.site.site import Site

#: When a gate is asked: once a lock is chosen, before anything is built; or once a release is ready to go live.
Stage = Literal["resolved", "ready"]


class Case(Frozen):
    """The release that a gate judges."""

    #: The site in its staging tree, with the code of the release.
    site: Site
    log: RunLog
    #: The environment of the release, in the directory of the release; None before it is built.
    venv: Path | None = None
    #: The packages that the release changes; once it is ready, each with the vulnerabilities that the change fixes.
    changes: tuple[Change, ...] = ()
    #: Whether it can go live later, too; one that a person rebuilds goes live now.
    may_wait: bool = True
    #: Whether the live release is damaged, so that the release is to replace it.
    is_repair: bool = False

    @property
    def is_urgent(self) -> bool:
        """Whether the release repairs the site, or fixes a vulnerability, so that waiting does harm."""
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

    Before a release is built, this refuses it.
    """

    #: The reason, as the end of the sentence "RELEASE is ready and waits: ...".
    reason: str
    #: When it may go live, if that is known. An update begins then, whatever interval and window say.
    until: datetime | None = None
    #: Whether the next update takes up this very release, although newer packages may have appeared.
    keeps: bool = False
    #: The problem, if a person has to solve it: the run ends with it, once for each reason.
    error: ReleaserError | None = None


class Refusal(Frozen):
    """The answer of a gate for a release that may not go live; the error says why, and what to do."""

    error: ReleaserError


#: None lets the release pass.
Verdict = Wait | Refusal | None


class Gate(ABC):
    """A check that may keep a release from being built or from going live. Subclasses override what differs."""

    #: When the gate is asked.
    stage: Stage = "ready"
    #: Whether `--force`, and the repair of a damaged live release, turn its refusal into a remark.
    is_forcible = False
    #: Whether judging has an effect, as a command of the site has.
    acts = False

    @abstractmethod
    def judge(self, case: Case) -> Verdict:
        """Let a release pass, wait, or be refused. Changes nothing."""
