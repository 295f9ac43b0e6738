"""The result of a command on many sites: a line for each, and the summary mail of an update."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from releaser.errors import ExitCode, MailError
from releaser.report import DONE
from releaser.reporting.mail_setup import sender_of
from releaser.reporting.subject import make_subject
from releaser.site.addresses import MailSettings, parse_address
from releaser.site.settings import this_host
from releaser.system.frozen import Frozen, replace
from releaser.system.process import Runner
from releaser.system.words import Redactor, age, first_few, plural, table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from releaser.site.addresses import Address

T = TypeVar("T")
_FAIR = (ExitCode.OK, ExitCode.FOLLOW_UP, ExitCode.LOCKED)
COLUMNS = ("SITE", "CODE", "WHAT")


class SiteAnswer(Frozen):
    """The answer of a command for one of many sites."""

    #: The path of the project.
    site: str
    exit_code: int
    #: The output with `--json`; null if that is no JSON.
    answer: Any = None
    #: The release that is ready there and waits, and why; empty without one.
    waits: str = ""
    #: The lines on stderr, for people.
    errors: tuple[str, ...] = ()


def refused_sites(reasons: Mapping[str, str]) -> list[SiteAnswer]:
    """Return the answers for sites on which no command may run, from the reasons by their paths."""
    return [
        SiteAnswer(site=site, exit_code=ExitCode.PREFLIGHT, errors=(f"releaser: {why}",))
        for site, why in reasons.items()
    ]


EACH = (list[SiteAnswer],)  # the answer with --json, the worst first


def part(answer: object, name: str, kind: type[T]) -> T:
    """Return a field of an answer; an empty value if it is missing or of another type."""
    found = answer.get(name) if isinstance(answer, dict) else None
    return found if isinstance(found, kind) else kind()


def rows(command: str, answers: Sequence[SiteAnswer]) -> list[tuple[str, str, str]]:
    """Return a row of a table for each site, on one line each."""
    line = Redactor().line
    return [(line(one.site), str(one.exit_code), line(_read_headline(command, one))) for one in answers]


def _read_headline(command: str, one: SiteAnswer) -> str:
    try:
        return _headline(command, one)
    except (ValueError, TypeError, OverflowError) as error:
        return f"its answer cannot be read: {error}"


def with_states(answers: Sequence[SiteAnswer]) -> list[SiteAnswer]:
    """Give the answer of `status` for each site the exit code for the state of the site.

    That is the code of its last update, rebuild, rollback or init if that failed, 10 if something else needs attention.
    """
    now = datetime.now(UTC)
    return [_with_state(one, now) for one in answers]


def _with_state(one: SiteAnswer, now: datetime) -> SiteAnswer:
    alarms = _alarms_of(one, now)
    if one.exit_code or not alarms:
        return one
    last = part(part(one.answer, "last_deployment", dict), "exit_code", int)
    return replace(one, exit_code=last or ExitCode.FOUND)


def _alarms_of(one: SiteAnswer, now: datetime) -> list[str]:
    """Return the alarms about a site from its status, the worst first; empty if the answer is no status."""
    from msgspec import ValidationError, convert  # slow to import, for an update

    from releaser.answers import Status
    from releaser.reporting.monitoring import find_alarms, usual_ages

    try:
        status = convert(one.answer, Status)
        found = sorted(find_alarms(status, usual_ages(status), now), key=lambda alarm: -alarm.level)
    except (ValidationError, ValueError, TypeError, OverflowError):
        return []
    return [alarm.text for alarm in found]


def problems_of(one: SiteAnswer) -> Sequence[str]:
    """Return the problems in an answer."""
    return [problem for problem in part(one.answer, "problems", list) if isinstance(problem, str)]


def find_unknown(answers: Sequence[SiteAnswer]) -> tuple[str, ...]:
    """Return the packages of `update NAME...` that none of the sites has, such as a misspelled one."""
    missing = [part(one.answer, "not_installed", list) for one in answers]
    return tuple(name for name in missing[0] if all(name in names for names in missing)) if missing else ()


def is_news(one: SiteAnswer) -> bool:
    """True if an update has done something, failed to, or has something to report."""
    news = problems_of(one) or part(one.answer, "recovered", str) or part(one.answer, "noted", str)
    return bool(one.exit_code or one.waits or news) or part(one.answer, "result", str) != "no-changes"


def _headline(command: str, one: SiteAnswer) -> str:
    answer, problems = one.answer, problems_of(one)
    if not isinstance(answer, dict):
        return explain_errors(one.errors)
    if answer.get("dry_run"):
        return "; ".join(map(str, part(answer, "would", list)))
    if command == "check":
        return first_few(problems) if problems else explain_errors(one.errors) or "everything is ready for an update"
    if command == "status":
        live, last = part(answer, "live", str), part(answer, "last_deployment", dict)
        old = age(part(answer, "live_age_seconds", float))
        words = [f"last {part(last, 'command', str)}: {part(last, 'result', str)}"] if last else []
        state = f"{live} is {old} old" if live else "no release is live"
        alarms = [text for text in _alarms_of(one, datetime.now(UTC)) or problems if text != state]
        return "; ".join([state, *words, *alarms[:2]])
    headline = part(answer, "headline", str)
    if one.exit_code == ExitCode.PREFLIGHT and len(problems) > 1:  # otherwise the headline is the problem
        return f"{headline}: {first_few(problems)}"
    return headline


def explain_errors(errors: Sequence[str]) -> str:
    """Return the line with the error; empty if there is none."""
    lines = [line for line in errors if line.strip() and not line.startswith("warning:")]
    named = [line for line in lines if line.startswith("releaser: ")]
    return next(iter([*named, *lines]), "").removeprefix("releaser: ")


def summary(answers: Sequence[SiteAnswer]) -> str:
    """Count the sites, and those that failed, wait or changed."""
    changed = (*DONE, "rolled-back")
    counts = {
        "failed": sum(one.exit_code not in _FAIR for one in answers),
        "locked": sum(one.exit_code == ExitCode.LOCKED for one in answers),
        "waiting": sum(bool(one.waits) for one in answers),
        "proposed": sum(bool(part(one.answer, "proposed", str)) for one in answers),
        "updated": sum(one.exit_code in _FAIR and part(one.answer, "result", str) in changed for one in answers),
    }
    return ", ".join([plural(len(answers), "site"), *(f"{number} {what}" for what, number in counts.items() if number)])


def _sender_of_all(answers: Sequence[SiteAnswer]) -> str:
    """Return the common sender of the mails of all sites; empty if they differ, or if one is no address."""
    found = {part(one.answer, "mail_from", str) for one in answers if isinstance(one.answer, dict)} - {""}
    try:
        return "" if len(found) != 1 or not parse_address(next(iter(found))).address else found.pop()
    except ValueError:
        return ""


def send_summary(
    answers: Sequence[SiteAnswer], recipients: Sequence[Address], settings: MailSettings, environ: Mapping[str, str]
) -> str:
    """Mail the results of an update of many sites; return why that failed, or an empty text."""
    from releaser.reporting.mail import compose_plain
    from releaser.reporting.outbox import QueuedMail

    carrier = settings.transport(Path("/"), Runner(environ=environ))
    if carrier is None:
        return "smtp_host is not set in its settings, and this host has no sendmail"
    is_clean = not any(one.exit_code or one.waits or problems_of(one) for one in answers)
    mark = "✗" if answers[0].exit_code not in _FAIR else "✓" if is_clean else "!"
    text = "\n".join([f"{summary(answers)} on {this_host()}.", "", *table([COLUMNS, *rows("update", answers)]), ""])
    message = compose_plain(
        make_subject(mark, plural(len(answers), "site"), summary(answers).partition(", ")[2], host=this_host()),
        text,
        sender=settings.mail_from or _sender_of_all(answers) or sender_of(settings),
        recipients=recipients,
        at=datetime.now(UTC),
    )
    try:
        refused = carrier.send(
            message, sender=QueuedMail.of(message).sender, recipients=[one.address for one in recipients]
        )
    except MailError as error:
        return error.message
    return f"{carrier.address} refused {', '.join(refused)}" if refused else ""
