"""A gate that releaser does not have: a release goes live only while the door is open."""

from datetime import UTC, datetime, timedelta

from releaser import gates
from releaser.core.gate import Case, Gate, Refusal, Verdict, Wait
from releaser.errors import Finding, PreflightError


class Toy(Gate):
    """Lets a release wait while there is a file `door` beside the project that says so; or refuses it."""

    is_forcible = True

    def judge(self, case: Case) -> Verdict:
        door = case.site.project.outer / "door"
        match door.read_text(encoding="utf-8") if door.exists() else "open":
            case "closed":
                return Wait(reason="the door is closed")
            case "closed until morning" if not case.is_urgent:
                morning = datetime.now(UTC) + timedelta(hours=8)
                return Wait(reason="the door is closed until morning", keeps=True, until=morning)
            case "locked":
                return Refusal(error=PreflightError(Finding("toy-door", "the door is locked", advice="Find the key.")))
        return None


def register() -> None:
    gates.GATES = (*gates.GATES, Toy())
