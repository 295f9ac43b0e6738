"""The gates, one file each, in the order in which they are asked. To add one, see capabilities.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from releaser.capabilities import make
from releaser.core.gate import Case, Refusal, Wait
from releaser.errors import Finding, PreflightError
from releaser.system.frozen import replace

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from releaser.core.gate import Found, Gate, Stage

GATES: Sequence[Gate] = make("gates")
_BEFORE_A_BUILD: tuple[Stage, ...] = ("begun", "resolved")


def ask(stage: Stage, case: Case, *, force: bool = False) -> Wait | None:
    """Ask the gates of a stage, in order; return the first wait. Raises the error of the first refusal.

    A wait with an error comes first, as a person has to act. The release keeps its place if any wait says so.

    A refusal of a forcible gate becomes a remark with `force`, and for a repair. With `force`, or if the case may not
    wait, a wait counts only if it has an error and its gate is not forcible, or counts `always`. After the first wait,
    gates that act are not asked.
    """
    waits = [verdict for verdict in _judge(stage, case, force=force) if isinstance(verdict, Wait)]
    first = min(waits, key=lambda wait: wait.error is None, default=None)
    request = next((wait.request for wait in waits if wait.request), "")
    return replace(first, keeps=any(wait.keeps for wait in waits), request=request) if first else None


def examine(stage: Stage, case: Case, *, force: bool = False) -> dict[str, Any]:
    """Ask the gates while a release is made, so that a wait refuses it; return facts for its manifest."""
    facts: dict[str, Any] = {}
    for verdict in _judge(stage, case, force=force):
        if isinstance(verdict, Wait):
            advice = "The next update asks again."
            raise verdict.error or PreflightError(
                Finding("gate-waits", f"no release is built: {verdict.reason}", advice)
            )
        facts |= verdict.facts
    return facts


def foresee(case: Case, *, force: bool) -> list[str]:
    """Say in a dry run which gates would refuse the release, or let it wait, without `force`. Raises other refusals."""
    known = len(case.log.findings)
    for stage in _BEFORE_A_BUILD:
        examine(stage, case, force=True)
    findings = case.log.findings[known:]
    if force or case.is_repair:
        return []
    waits = (gate.judge(case) for gate in GATES if gate.is_foreseeable)
    lines = [f"it would wait once it is built: {wait.reason}" for wait in waits if isinstance(wait, Wait)]
    return [f"it would be refused: {message.message}" for message in findings] + lines


def _judge(stage: Stage, case: Case, *, force: bool) -> Iterator[Wait | Found]:
    waits, is_forced = False, force or case.is_repair
    for gate in GATES:
        verdict = gate.judge(case) if gate.stage == stage and not (waits and gate.acts) else None
        if isinstance(verdict, Refusal):
            if not (gate.is_forcible and is_forced):
                raise verdict.error
            case.log.note(*verdict.error.findings)
        elif isinstance(verdict, Wait):
            error = None if gate.is_forcible else verdict.error
            if error is not None or verdict.always or (case.may_wait and not force):
                waits = True
                yield verdict
        elif verdict is not None:
            case = replace(case, changes=verdict.facts.get("changes", case.changes))
            yield verdict
