"""The digest: one mail about an update of all sites, with what needs a person first, on nights with news alone."""

from __future__ import annotations

import contextlib
import hashlib
import os
import pwd
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import get_args

import msgspec

from releaser.errors import Problem
from releaser.fleet.every import Answer, name_sites, summarize
from releaser.fleet.sites import SitesFile
from releaser.report.letter import Letter, Section
from releaser.report.mail import MailNews, judge_news, write_subject
from releaser.report.outcomes import Outcome, Result
from releaser.system.files import BrokenFileError, make_private_directory, read_json, write_json
from releaser.system.run import UPDATE, make_id, now
from releaser.system.text import LONGEST_SENTENCE, clip, count, redact, word

_MOST = 20  # digests that wait for a mail server


class _State(msgspec.Struct, frozen=True):
    """What was told of each site, by its path, and the digests that no server has taken."""

    news: dict[str, MailNews] = {}
    waiting: tuple[str, ...] = ()


def send_digest(sites: SitesFile, answers: Sequence[Answer], environ: Mapping[str, str]) -> Problem | None:
    """Send the digest if there is news; return why that failed. Nobody gets one without `updater_admins`."""
    recipients = sites.mail.updater_admins
    if not recipients:
        return None
    path = _find_state(sites.path, environ)
    before = _State()
    with contextlib.suppress(BrokenFileError):
        before = read_json(path, _State) or before
    told, news = dict(before.news), set[str]()
    for answer in answers:
        if not answer.waits:
            is_news, told[answer.site] = judge_news(told.get(answer.site, MailNews()), UPDATE, _make_outcome(answer))
            news |= {answer.site} if is_news else set()
    listed = {answer.site for answer in answers}
    state = _State({site: each for site, each in told.items() if site in listed}, before.waiting)
    settings = msgspec.structs.replace(sites.mail, admins=recipients)
    if not (news or state.waiting):
        if state != before:
            _write(path, state)
        return None
    from releaser.report import smtp

    if news:
        mail = smtp.write_mail(write_digest(answers, news), make_id(now()), settings)
        state = _State(state.news, (*state.waiting, mail.as_bytes().decode(errors="replace"))[-_MOST:])
        _write(path, state)  # a kill from here on sends it twice rather than never
    problems = [smtp.send_at_once(settings, smtp.read_mail(mail)) for mail in state.waiting]
    left = tuple(mail for mail, problem in zip(state.waiting, problems, strict=True) if problem)
    is_kept = _write(path, _State(state.news, left))
    problem = next(filter(None, problems), None)
    if problem is None:
        return None
    end = f"It waits in {path}; the next `releaser update --all` sends it." if is_kept else "It could not be kept."
    return Problem(problem.name, problem.message, f"{problem.advice} {end}")


def _find_state(sites: Path, environ: Mapping[str, str]) -> Path:
    """Return the file with the state of the digest of a sites file."""
    home = environ.get("XDG_STATE_HOME") or ("/var/lib" if os.geteuid() == 0 else os.path.expanduser("~/.local/state"))
    name = hashlib.sha256(os.fsencode(os.path.realpath(sites))).hexdigest()[:16]
    return Path(home, "releaser", f"digest-{name}.json")


def _write(path: Path, state: _State) -> bool:
    """Write the state; False if the disk does not take it."""
    try:
        path.parent.parent.mkdir(parents=True, exist_ok=True)
        make_private_directory(path.parent)
        write_json(path, state)
    except OSError:
        return False
    return True


def _make_outcome(answer: Answer) -> Outcome:
    summary = summarize(answer)
    result: Result = summary.result if summary.result in get_args(Result) else "failed"  # type: ignore[assignment]
    return Outcome(result, answer.exit_code, summary.headline, news=summary.news, problems=summary.problems)


def write_digest(answers: Sequence[Answer], news: set[str]) -> Letter:
    """Return the letter: what needs a person, what was updated, what waits; `news` are the sites that are news."""
    ordered = sorted(answers, key=lambda answer: (answer.need, answer.site))
    bad = [answer for answer in ordered if answer.exit_code or summarize(answer).problems]
    updated = [answer for answer in ordered if _make_outcome(answer).is_updated and answer not in bad]
    noted = [answer for answer in ordered if answer.site in news and answer not in (*bad, *updated)]
    waiting = [answer for answer in ordered if answer.waits]
    parts = ((bad, "need attention"), (updated, "updated"), (noted, "with a note"), (waiting, "waiting"))
    reason = ", ".join(f"{len(group)} {words}" for group, words in parts if group)
    host, title_word = socket.gethostname(), "Needs attention" if bad else "Updated" if updated else "Note"
    is_down = any(answer.need < 2 for answer in bad)
    names, cells = name_sites(answers), dict[str, tuple[tuple[str, str], ...]]()
    for title, group in (("Needs a person", bad), ("Updated", updated), ("Notes", noted), ("Waiting", waiting)):
        cells[title] = tuple((names[answer.site], _describe(answer, news)) for answer in group)
    sections = [Section(title, tuple(map(": ".join, rows)), rows) for title, rows in cells.items() if rows]
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
    before = "as before: " if summary.news == "once" and answer.site not in news else ""
    return clip(redact(before + words), LONGEST_SENTENCE)


def _name_command(answer: Answer) -> str:
    command = f"releaser status --project {word(answer.site)}"
    is_own = answer.owner == pwd.getpwuid(os.geteuid()).pw_name
    return command if is_own else f"sudo -H -u {word(answer.owner)} {command}"
