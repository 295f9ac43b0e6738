"""Whether what a command prints with `--json` is what its types say: every field, and nothing else."""

import json
from typing import Any

from msgspec import ValidationError, convert

from releaser.answers import RUN, all_answers
from releaser.system.files import plain


def mismatch(command: str, answer: Any) -> str:
    """Say in which way an answer is none of those that the command gives; empty if it is one."""
    told = [{**run, "output": ""} for run in answer] if command == "history" else answer
    reasons = [] if command in all_answers() else ["releaser/answers.py does not name it, and it is no run"]
    for kind in all_answers().get(command, RUN):
        try:
            read = convert(told, kind)
        except ValidationError as error:
            reasons.append(f"not {kind}: {error}")
        else:
            again = json.loads(json.dumps(read, default=plain))
            if again == told:
                return ""
            reasons.append(f"not {kind}: it has other fields: {_difference(told, again)}")
    return "; ".join(reasons)


def _difference(told: Any, again: Any) -> str:
    if isinstance(told, list):
        return next((_difference(*pair) for pair in zip(told, again, strict=True) if pair[0] != pair[1]), "")
    return ", ".join(sorted(key for key in {**told, **again} if told.get(key, ...) != again.get(key, ...)))
