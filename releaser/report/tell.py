"""Tells people of a run: by mail, once for each news, by the history, and by the hook `on_failure`.

News outlives a kill. The journal says `telling`, with the mail and the line of the history, until both are on disk.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from releaser.errors import Problem, ToolError, explain_error, refuse
from releaser.live.hooks import run_hook
from releaser.releases.journal import Entry, drop_entry, read_entry, write_entry
from releaser.releases.reserve import fill_reserve, release_reserve
from releaser.releases.store import SiteRun
from releaser.releases.venv import About, read_about
from releaser.report.history import Record, append_record, make_record, read_history
from releaser.report.mail import (
    MailNews,
    find_silence,
    judge_news,
    read_news,
    write_heartbeat,
    write_letter,
    write_test,
)
from releaser.report.outbox import keep_mail, list_waiting
from releaser.report.outcomes import Outcome, describe_outcome
from releaser.report.status import find_attention, list_pending
from releaser.site.owners import find_strangers, find_trust
from releaser.site.settings import MailSettings, load_settings
from releaser.site.site import Site, read_dotenv
from releaser.system.files import write_json
from releaser.system.run import CHECK, Run, make_id, now
from releaser.system.signals import defer_signals
from releaser.system.text import redact, word


def run_on_failure(site: Site, run: Run, outcome: Outcome) -> Outcome:
    """Run the hook after an update, a rollback or `init` that failed; return the outcome, with its own problem."""
    if not run.command.takes_live or outcome.exit_code not in range(3, 8):
        return outcome
    try:
        run_hook(site, run, "on_failure", describe_outcome(outcome))
    except (ToolError, OSError) as error:
        reason = explain_error(error)
        problem = Problem("on_failure", f"`on_failure` failed: {redact(reason)}", "Correct the hook.")
        return msgspec.structs.replace(outcome, problems=(*outcome.problems, problem))
    return outcome


class Telling(msgspec.Struct, frozen=True):
    """What is left to tell of a run: its line in the history, its mail, and what `news.json` says once that is safe."""

    record: Record | None
    mail: str = ""
    news: MailNews | None = None


def tell(site: Site, run: SiteRun, outcome: Outcome) -> Outcome:
    """Make the news of a run safe, then run the hook, and send what waits; return the outcome, with their problems."""
    with defer_signals():
        telling = make_telling(site, run, outcome)
        problem = save_news(site, run, telling)
    told = run_on_failure(site, run, outcome)
    may_send = site.settings.mail.recipients and (run.command.mailed != "never" or run.told)
    if problem is None and may_send and list_waiting(site.paths.outbox):
        from releaser.report import smtp

        reason = smtp.send_waiting(site.paths.outbox, site.settings.mail)
        problem = reason if telling.mail else None  # a mail of an earlier run still waits, as `status` says
    if problem is not None:
        code = 7 if told.is_updated and told.exit_code == 0 else told.exit_code
        told = msgspec.structs.replace(told, exit_code=code, problems=(*told.problems, problem))
    if telling.record is not None and told.problems != outcome.problems:
        record = msgspec.structs.replace(telling.record, exit_code=told.exit_code, problems=told.problems)
        _write(site, append_record, site.paths, record)
    return told


def make_telling(site: Site, run: SiteRun, outcome: Outcome) -> Telling:
    """Return what there is to tell of a run. Writes nothing."""
    settings, record = site.settings.mail, make_record(run, outcome, now()) if outcome.news != "nothing" else None
    if run.command.mailed == "never" or not settings.recipients:
        return Telling(record)
    name, directory, letter = site.paths.project.name, str(site.paths.project), None
    has_news, news = judge_news(read_news(site.paths.news), run.command, outcome)
    if has_news:
        letter = write_letter(name, directory, run, outcome, _read_abouts(site, outcome))
    elif run.command.is_nightly and (since := find_silence(site.paths, news, settings.heartbeat)) is not None:
        attention = find_attention(site, run.store, outcome.on_hold, read_history(site.paths), list_pending(site))
        problems = (*outcome.problems, *attention)
        silent = msgspec.structs.replace(outcome, release=run.store.link.release, problems=problems)
        letter = write_heartbeat(name, directory, run, silent, since)
        news = msgspec.structs.replace(news, mailed_at=now())
    if letter is None:
        return Telling(record, news=news)
    from releaser.report import smtp

    return Telling(record, smtp.write_mail(letter, run.id, settings).as_bytes().decode(errors="replace"), news)


def _read_abouts(site: Site, outcome: Outcome) -> dict[str, About]:
    """Return how the packages that changed present themselves, by the release that has them; of forty at most."""
    venv = site.paths.releases / (outcome.payload.failed_release or outcome.release or "") / "venv"
    return {change.name: read_about(venv, change.name) for change in outcome.payload.changes[:40]}


def save_news(site: Site, run: Run, telling: Telling) -> Problem | None:
    """Put the mail about a run into the outbox, then write the history: from then on they outlive a kill.

    While the journal has a change that the next run finishes, that run tells of it, and the journal stays. So it does
    if the mail could be neither kept nor sent, which is returned as a problem.
    """
    paths, entry, problem = site.paths, read_entry(site.paths), None
    is_over = entry is None or entry.phase == "telling"
    if is_over and (entry is not None or telling.mail):
        entry = entry or Entry("telling", run.command.name, run.id)
        _write(site, write_entry, paths, msgspec.structs.replace(entry, telling=telling))
    if telling.mail and (error := _write(site, keep_mail, paths.outbox, run.id, telling.mail.encode())) is not None:
        from releaser.report import smtp

        problem = smtp.send_at_once(site.settings.mail, smtp.read_mail(telling.mail))
        if problem is not None:
            problem = Problem("mail", problem.message, f"It could not be kept: {explain_error(error)}")
    if problem is None and telling.news not in (None, read_news(paths.news)):
        _write(site, write_json, paths.news, telling.news)
    if telling.record is not None:
        _write(site, append_record, paths, telling.record)
    if problem is None and is_over:
        _write(site, drop_entry, paths)
    if telling.mail:
        fill_reserve(paths.reserve)
    return problem


def _write(site: Site, write: Callable[..., object], *values: object) -> OSError | None:
    """Call what writes a file, once more with the room of the reserve; return the error if both fail."""
    try:
        write(*values)
    except OSError:
        release_reserve(site.paths.reserve)
        try:
            write(*values)
        except OSError as error:
            return error
    return None


def tell_without_state(start: Path, environ: Mapping[str, str], site: Site | None, run: Run, outcome: Outcome) -> None:
    """Mail that a project cannot be opened to the updater's admins, or that it has no state directory to its own."""
    try:
        start = start.absolute()
        state = site.paths.state if site is not None else start.parent / ".releaser" / start.name
        is_own = state.is_dir() and state.stat().st_uid == os.geteuid()
        is_safe = is_own and not find_strangers(find_trust(state), (state.parent.parent, state.parent, state))
    except OSError:  # the working directory is gone, or a path is closed or too long
        is_safe = False
    has_news, news = judge_news(read_news(state / "news.json") if is_safe else MailNews(), run.command, outcome)
    if not has_news:
        return
    settings = site.settings.mail if site is not None else _read_mail_settings(start.parent / ".env", environ)
    own = site is not None and settings.admins
    recipients = own or settings.updater_admins or settings.admins
    if run.command.is_nightly and recipients and outcome.news != "heard":
        settings = msgspec.structs.replace(settings, admins=recipients)
        letter = write_letter(redact(start.name or str(start)), redact(str(start)), run, outcome)
        from releaser.report import smtp

        problem = smtp.send_at_once(settings, smtp.write_mail(letter, run.id, settings))
        if is_safe and problem is None:
            with contextlib.suppress(OSError):
                write_json(state / "news.json", news)


def _read_mail_settings(dotenv: Path, environ: Mapping[str, str]) -> MailSettings:
    """Return the settings of mail for a project that cannot be opened, from an `.env` that no stranger could write."""
    try:
        is_safe = dotenv.is_file() and not find_strangers(find_trust(dotenv.parent), (dotenv.parent, dotenv))
        values = read_dotenv(dotenv)[0] if is_safe else {}
    except OSError:
        values = {}
    return load_settings(environ, values, {})[0].mail


class Delivery(msgspec.Struct, frozen=True):
    """The addresses that a test mail went to, and the server that took it."""

    to: tuple[str, ...]
    server: str


def send_test_mail(site: Site) -> Delivery:
    """Send a mail to the admins, past the outbox. Raises PreflightError with the setting to correct."""
    settings, command = site.settings.mail, f"releaser check --mail --project {word(site.paths.project)}"
    recipients = settings.recipients
    again = f"Settings are in {site.paths.dotenv}, pyproject.toml or the environment. Then run `{command}`."
    if not recipients:
        raise refuse("mail", "Nobody gets mail about this site.", f"Set `ADMINS_JSON`. {again}")
    run = Run(make_id(now()), CHECK)
    letter = write_test(site.paths.project.name, str(site.paths.project), run)
    from releaser.report import smtp

    problem = smtp.send_at_once(settings, smtp.write_mail(letter, run.id, settings))
    if problem is not None:
        raise refuse(problem.name, problem.message, f"{problem.advice} {again}")
    return Delivery(smtp.list_addresses(recipients), settings.smtp_host)
