"""Tells people of a run: by mail, once for each news, and by the hook `on_failure`."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path

import msgspec

from releaser.errors import Problem, ToolError, explain_error, refuse
from releaser.live.hooks import run_hook
from releaser.releases.reserve import fill_reserve, release_reserve
from releaser.releases.store import SiteRun
from releaser.report.mail import find_silence, is_news, write_heartbeat, write_letter, write_test
from releaser.report.outbox import count_waiting
from releaser.report.outcomes import Outcome
from releaser.report.status import find_attention
from releaser.site.settings import MailSettings, load_settings
from releaser.site.site import Site, find_intrusions, read_dotenv
from releaser.system.run import CHECK, Run, make_id, now
from releaser.system.text import redact


def run_on_failure(site: Site, run: Run, outcome: Outcome) -> Outcome:
    """Run the hook after an update, a rollback or `init` that failed; return the outcome, with its own problem."""
    if not run.command.has_failure_hook or outcome.exit_code not in range(3, 8):
        return outcome
    release, previous = outcome.release, outcome.previous
    if outcome.kept.release:
        release, previous = outcome.kept.release, outcome.release
    variables = {"RESULT": outcome.result, "RELEASE": release, "PREVIOUS": previous}
    try:
        run_hook(site, run, "on_failure", {**variables, "EXIT_CODE": str(outcome.exit_code)})
    except (ToolError, OSError) as error:
        reason = explain_error(error)
        problem = Problem("on_failure", f"`on_failure` failed: {redact(reason)}", "Correct the hook.")
        return msgspec.structs.replace(outcome, problems=(*outcome.problems, problem))
    return outcome


def tell(site: Site, run: SiteRun, outcome: Outcome) -> Outcome:
    """Mail an outcome that is news, and what waits in the outbox; return the outcome, with a problem if that failed."""
    settings = site.settings.mail
    if run.command.mailed == "never" or not settings.recipients:
        return outcome
    name, directory = site.paths.project.name, str(site.paths.project)
    letter, since = None, None
    try:
        has_news = is_news(site.paths.news, run.command, outcome)
        if run.command.is_nightly and not has_news:
            since = find_silence(site.paths, settings.heartbeat)
    except OSError:  # a full disk: the reserve has room for a few words, and a mail
        release_reserve(site.paths.reserve)
        has_news = _is_news(site.paths.news, run, outcome)
    if has_news:
        letter = write_letter(name, directory, run, outcome)
    elif since is not None:
        attention = (*outcome.problems, *find_attention(site, run.store, outcome.on_hold))
        silent = msgspec.structs.replace(outcome, release=run.store.link.release, problems=attention)
        letter = write_heartbeat(name, directory, run, silent, since)
    if letter is None and not count_waiting(site.paths):
        fill_reserve(site.paths.reserve)
        return outcome
    from releaser.report import smtp

    message = smtp.write_mail(letter, run.id, settings) if letter is not None else None
    try:
        reason = smtp.send_mail(site.paths, settings, message)
    except OSError as error:
        problem = smtp.send_at_once(settings, message) if message is not None else None
        reason = problem.message if problem is not None else ""
        advice = f"It could not be kept: {explain_error(error)}"
    else:
        advice = f"It waits in {site.paths.outbox}; the next run sends it."
        if not count_waiting(site.paths):
            advice = "The others have it. Correct `ADMINS_JSON`."
    fill_reserve(site.paths.reserve)
    if not reason or message is None:
        return outcome
    problem = Problem("mail", reason, advice)
    code = 7 if outcome.is_updated and outcome.exit_code == 0 else outcome.exit_code
    return msgspec.structs.replace(outcome, exit_code=code, problems=(*outcome.problems, problem))


def _is_news(news: Path, run: Run, outcome: Outcome) -> bool:
    try:
        return is_news(news, run.command, outcome)
    except OSError:
        return True  # no reason for silence


def tell_without_state(start: Path, environ: Mapping[str, str], site: Site | None, run: Run, outcome: Outcome) -> None:
    """Mail that a project cannot be opened to the updater's admins, or that it has no state directory to its own."""
    try:
        start = start.absolute()
        state = site.paths.state if site is not None else start.parent / ".releaser" / start.name
        is_own = state.is_dir() and state.stat().st_uid == os.geteuid()
        is_safe = is_own and not find_intrusions((state.parent.parent, state.parent, state), state)
    except OSError:  # the working directory is gone, or a path is closed or too long
        is_safe = False
    if is_safe and not _is_news(state / "news.json", run, outcome):
        return
    settings = site.settings.mail if site is not None else _read_mail_settings(start.parent / ".env", environ)
    own = site is not None and settings.admins
    recipients = own or settings.updater_admins or settings.admins
    if run.command.is_nightly and recipients and outcome.news != "heard":
        settings = msgspec.structs.replace(settings, admins=recipients)
        letter = write_letter(redact(start.name or str(start)), redact(str(start)), run, outcome)
        from releaser.report import smtp

        smtp.send_at_once(settings, smtp.write_mail(letter, run.id, settings))


def _read_mail_settings(dotenv: Path, environ: Mapping[str, str]) -> MailSettings:
    """Return the settings of mail for a project that cannot be opened, from an `.env` that no stranger could write."""
    try:
        is_safe = dotenv.is_file() and not find_intrusions((dotenv.parent, dotenv), dotenv.parent)
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
    settings, command = site.settings.mail, f"releaser check --mail --project {shlex.quote(str(site.paths.project))}"
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
