"""The digest: one mail about an update of all sites, with what needs a person first, on nights with news alone."""

from __future__ import annotations

import hashlib
import os
import pwd
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import get_args

import msgspec

from releaser.errors import Problem, explain_error
from releaser.fleet.every import Answer, name_sites, summarize
from releaser.fleet.sites import SitesFile
from releaser.report.letter import Letter, Section
from releaser.report.mail import MailNews, judge_news, write_subject
from releaser.report.outbox import keep_mail, list_waiting
from releaser.report.outcomes import Outcome, Result
from releaser.system.files import make_private_directory, write_json
from releaser.system.run import UPDATE, make_id, now
from releaser.system.state import read_state
from releaser.system.text import LONGEST_SENTENCE, clip, count, redact, word


def send_digest(sites: SitesFile, answers: Sequence[Answer], environ: Mapping[str, str]) -> Problem | None:
    """Send the digest if there is news; return why that failed. Nobody gets one without `updater_admins`."""
    recipients = sites.mail.updater_admins
    if not recipients:
        return None
    state = _find_state(sites.path, environ)
    before = read_state(state / "news.json", dict[str, MailNews]) or {}
    told, news = {answer.site: before.get(answer.site, MailNews()) for answer in answers}, set[str]()
    for answer in answers:
        if not answer.waits:
            outcome = _make_outcome(answer)
            if outcome.exit_code and not told[answer.site].trouble:  # such as after a night that was interrupted
                outcome = msgspec.structs.replace(outcome, news="once")
            is_news, told[answer.site] = judge_news(told[answer.site], UPDATE, outcome)
            news |= {answer.site} if is_news else set()
    settings = msgspec.structs.replace(sites.mail, admins=recipients)
    if not (news or told != before or list_waiting(state / "outbox")):
        return None
    from releaser.report import smtp

    run = make_id(now())
    mail = smtp.write_mail(write_digest(answers, news), run, settings) if news else None
    try:
        state.parent.mkdir(parents=True, exist_ok=True)
        make_private_directory(state)
        if mail is not None:
            keep_mail(state / "outbox", run, mail.as_bytes())
        write_json(state / "news.json", told)  # a kill before this sends it twice rather than never
    except OSError as error:
        problem = smtp.send_at_once(settings, mail) if mail is not None else None
        return problem and Problem("mail", problem.message, f"It could not be kept: {explain_error(error)}")
    return smtp.send_waiting(state / "outbox", settings, "updater_admins")


def _find_state(sites: Path, environ: Mapping[str, str]) -> Path:
    """Return the directory with what was told of the sites of a file, and with the digests that no server has taken."""
    home = environ.get("XDG_STATE_HOME") or ("/var/lib" if os.geteuid() == 0 else os.path.expanduser("~/.local/state"))
    name = hashlib.sha256(os.fsencode(os.path.realpath(sites))).hexdigest()[:16]
    return Path(home, "releaser", f"digest-{name}")


def _make_outcome(answer: Answer) -> Outcome:
    summary = summarize(answer)
    result: Result = summary.result if summary.result in get_args(Result) else "failed"  # type: ignore[assignment]
    return Outcome(result, answer.exit_code, summary.headline, news=summary.news, problems=summary.problems)


def write_digest(answers: Sequence[Answer], news: set[str]) -> Letter:
    """Return the letter: what needs a person, what was updated, what waits; `news` are the sites that are news."""
    ordered = sorted(answers, key=lambda answer: (answer.need, answer.site))
    bad = [answer for answer in ordered if answer.exit_code or summarize(answer).problems]
    others = [answer for answer in ordered if not (answer.exit_code or summarize(answer).problems)]
    updated = [answer for answer in others if _make_outcome(answer).is_updated]
    noted = [answer for answer in others if answer.site in news and not _make_outcome(answer).is_updated]
    waiting = [answer for answer in ordered if answer.waits]
    parts = (
        ("Needs a person", bad, "needs attention" if len(bad) == 1 else "need attention"),
        ("Updated", updated, "updated"),
        ("Notes", noted, "with a note"),
        ("Waiting", waiting, "waiting"),
    )
    reason = ", ".join(f"{len(group)} {words}" for _, group, words in parts if group)
    host, title_word = socket.gethostname(), "Needs attention" if bad else "Updated" if updated else "Note"
    is_down = any(answer.need < 2 for answer in bad)
    names = name_sites(answers)
    sections = [
        Section(title, cells=tuple((names[answer.site], _describe(answer, news)) for answer in group))
        for title, group, _ in parts
        if group
    ]
    if bad:
        sections.insert(1, Section("Commands", tuple(map(_name_command, bad)), kind="commands"))
    return Letter(
        subject=write_subject(count(len(answers), "site"), host, title_word, reason),
        word=title_word,
        colour="red" if is_down else "amber" if bad else "green",
        where=f"{count(len(answers), 'site')} on {host}, {now():%Y-%m-%d %H:%M:%S} UTC",
        headline=f"Of {count(len(answers), 'site')}: {reason}.",
        paragraphs=(),
        problems=(),
        sections=tuple(sections),
    )


def _describe(answer: Answer, news: set[str]) -> str:
    summary = summarize(answer)
    words = summary.problems[0].message if summary.problems and answer.exit_code else summary.headline
    before = "as before: " if answer.exit_code and answer.site not in news else ""
    return clip(redact(before + words), LONGEST_SENTENCE)


def _name_command(answer: Answer) -> str:
    command = f"releaser status --project {word(answer.site)}"
    is_own = answer.owner == pwd.getpwuid(os.geteuid()).pw_name
    return command if is_own else f"sudo -H -u {word(answer.owner)} {command}"
