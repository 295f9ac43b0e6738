"""The gates, one file each, in the order in which they are asked. To add one, see capabilities.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

from releaser.capabilities import make
from releaser.errors import PreflightError
from releaser.gates.base import Refusal, Wait

if TYPE_CHECKING:
    from releaser.gates.base import Case, Gate, Stage

GATES: tuple[Gate, ...] = make("gates")


def ask(stage: Stage, case: Case, *, force: bool = False) -> Wait | None:
    """Ask the gates of a stage, in order; return the first wait. Raises the error of the first refusal.

    With `force`, or where nothing may wait, a release waits only for what is wrong (`Wait.error`) by a gate that is not
    forcible; and with `force`, what is forcible is only reported. While one waits, none is asked that `acts`.
    """
    wait: Wait | None = None
    for gate in GATES:
        verdict = gate.judge(case) if gate.stage == stage and not (wait and gate.acts) else None
        if isinstance(verdict, Refusal):
            if not (gate.is_forcible and (force or case.is_repair)):
                raise verdict.error
            said = verdict.error
            case.log.note(*(said.findings if isinstance(said, PreflightError) else (said.finding,)))
        elif verdict is not None:
            error = None if gate.is_forcible else verdict.error
            if error is not None or (case.may_wait and not force):
                wait = wait or verdict
    return wait
