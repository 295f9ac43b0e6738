"""What a command has come to on many sites: a line for each, and the mail that sums up a night of updates."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from releaser.errors import ExitCode, MailError
from releaser.reporting.subject import make_subject
from releaser.reporting.way import mail_transport, sender_of
from releaser.site.settings import this_host
from releaser.system.process import Runner
from releaser.system.words import age, first_few, plural, table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from releaser.site.addresses import Address
    from releaser.site.settings import Settings

COLUMNS = ("SITE", "CODE", "WHAT")


@dataclass(frozen=True, kw_only=True)
class SiteAnswer:
    """What a command has answered for one of many sites."""

    #: The path of the project.
    site: str
    exit_code: int
    #: What it prints with `--json`; null if that is no JSON, or the site waits.
    answer: Any = None
    #: Why it waits, as a site that goes first has failed; else empty.
    waits: str = ""
    #: What it has printed for people, beside the answer.
    errors: tuple[str, ...] = ()


EACH = (list[SiteAnswer],)  # what is printed with --json, the worst first


def rows(command: str, answers: Sequence[SiteAnswer]) -> list[tuple[str, str, str]]:
    """Return a row of a table for each site."""
    return [(one.site, str(one.exit_code), _headline(command, one)) for one in answers]


def problems_of(one: SiteAnswer) -> Sequence[str]:
    """Return the problems in an answer."""
    return (one.answer.get("problems") or ()) if isinstance(one.answer, dict) else ()


def is_news(one: SiteAnswer) -> bool:
    """Whether a run has done something, or failed to."""
    result = one.answer.get("result") if isinstance(one.answer, dict) else ""
    return bool(one.exit_code or one.waits) or result != "unchanged"


def _headline(command: str, one: SiteAnswer) -> str:
    answer, problems = one.answer if isinstance(one.answer, dict) else {}, problems_of(one)
    said = [line.removeprefix("releaser: ") for line in one.errors if line.strip()][:1]
    if one.waits or not answer:
        return one.waits or "".join(said)
    if answer.get("dry_run"):
        return "; ".join(answer["would"])
    if command == "check":
        return first_few(problems) if problems else "everything is ready for an update"
    if command == "status":
        live = f"{answer['live']} is {age(answer['live_age_seconds'])} old" if answer["live"] else "no release is live"
        last = answer["last_deployment"]
        return "; ".join([live, *([f"last {last['command']}: {last['result']}"] if last else []), *problems[:2]])
    if one.exit_code == ExitCode.PREFLIGHT and len(problems) > 1:  # else the headline is the problem
        return f"{answer['headline']}: {first_few(problems)}"
    return str(answer.get("headline", ""))


def summary(answers: Sequence[SiteAnswer]) -> str:
    """Count the sites, and those that failed, wait or changed."""
    counts = {
        "failed": sum(bool(one.exit_code) for one in answers),
        "waiting": sum(bool(one.waits) for one in answers),
        "updated": sum(not one.exit_code and not one.waits and is_news(one) for one in answers),
    }
    return ", ".join([plural(len(answers), "site"), *(f"{number} {what}" for what, number in counts.items() if number)])


def send_summary(
    answers: Sequence[SiteAnswer], recipients: Sequence[Address], settings: Settings, environ: Mapping[str, str]
) -> str:
    """Mail what has come of an update of many sites; return why that was not possible, else an empty text."""
    from releaser.reporting.mail import compose_plain
    from releaser.reporting.outbox import QueuedMail

    carrier = mail_transport(settings, Path("/"), Runner(environ=environ))
    if carrier is None:
        return "smtp_host is not set in its settings, and this host has no sendmail"
    mark = "✗" if answers[0].exit_code else "!" if answers[0].waits else "✓"
    text = "\n".join([f"{summary(answers)} on {this_host()}.", "", *table([COLUMNS, *rows("update", answers)]), ""])
    message = compose_plain(
        make_subject(mark, plural(len(answers), "site"), summary(answers).partition(", ")[2], host=this_host()),
        text,
        sender=sender_of(settings),
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
