"""A command for many sites: a process for each, as its owner. A site that hangs, floods or dies harms no other."""

from __future__ import annotations

import functools
import grp
import os
import pwd
import re
import shutil
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from releaser.errors import Problem, ToolError
from releaser.fleet.sites import ListedSite
from releaser.report.outcomes import News
from releaser.report.page import SiteReport, SiteView, view_site, view_unknown
from releaser.system import process
from releaser.system.run import now
from releaser.system.text import find_error_line

QUESTION_LIMIT = 300.0  # seconds for one site that is only asked
LARGEST_ANSWER = 1 << 20  # bytes
_DEEPEST = 50  # lists and tables in each other in an answer
NO_ANSWER = 4  # the exit code of a site that gave none
_GRACE = 20.0  # seconds for a site that is asked to end: a change has to be finished, or undone
_SBIN = "/usr/sbin:/sbin"
#: What others get of the environment. The rest may be secrets of whoever started this.
_SHARED = re.compile(r"PATH|LANG|LANGUAGE|LC_\w+|TZ|SSL_CERT_(?:FILE|DIR)|(?i:https?|all|no)_(?i:proxy)")
#: The digest tells its recipients, and a command for all sites has no project.
_OWN = ("RELEASER_PROJECT", "RELEASER_UPDATER_ADMINS", "AUTO_UPDTR__SYS_ADMIN_RECIPIENTS_JSON")
_START = "import sys; sys.argv[0] = 'releaser'; sys.path[:0] = [{!r}]; from releaser.cli import main; main()"
#: Exit codes, the worst first: what visitors may notice, what waits for a person, what may pass by itself.
_WORST = (1, 6, 7, 3, 5, 4, 2, 10, 9, 8, 0)


class Answer(msgspec.Struct, frozen=True):
    """What a command says of a site. `answer` is its JSON; None if there is none, and `reason` says why.

    A site that `waits` was not asked, since one of the `first` sites did not end well.
    """

    site: str
    owner: str
    exit_code: int
    seconds: float = 0
    answer: dict[str, Any] | None = None
    reason: str = ""
    waits: bool = False

    @property
    def need(self) -> int:
        """The place in a list of what needs a person first; sites without an answer come before all."""
        return -1 if self.reason and not self.waits else _WORST.index(self.exit_code)


class Summary(msgspec.Struct, frozen=True):
    """What all commands say of a site, as far as a table or a digest needs it."""

    headline: str
    result: str = ""
    news: News = "once"
    problems: tuple[Problem, ...] = ()


def summarize(answer: Answer) -> Summary:
    """Return what an answer says. `ask_all` has seen that it can be read."""
    if answer.reason or answer.answer is None:
        result = "waits" if answer.waits else "refused" if answer.exit_code == 3 else "no-answer"
        return Summary(answer.reason, result, "quiet" if answer.waits else "once")
    result = "needs-attention" if answer.exit_code else "well"
    return msgspec.convert({"result": result} | answer.answer, Summary)


def view_answer(answer: Answer, name: str) -> SiteView:
    """Return a site for the page by its answer to `report`; it is unknown if that is no report."""
    try:
        report = msgspec.convert(answer.answer, SiteReport)
        return view_site(msgspec.structs.replace(report, name=name, directory=answer.site), now())
    except (ValueError, OverflowError, TypeError):
        summary = summarize(answer)
        message = summary.headline or "It gave no answer that can be read."
        problems = summary.problems or (Problem("no-answer", message, "Run `releaser status`."),)
        return view_unknown(name, answer.site, problems)


def ask_all(
    sites: Sequence[ListedSite],
    words: Sequence[str],
    environ: Mapping[str, str],
    *,
    jobs: int = 1,
    limit: float = QUESTION_LIMIT,
    on_answer: Callable[[Answer], None] = lambda answer: None,
) -> list[Answer]:
    """Return what a command such as `status` says of each site, in their order. Never raises because of a site.

    `words` are the command and its options, without `--project` and `--json`. So many `jobs` run at once, each site
    for `limit` seconds at most. `on_answer` is called, maybe in a child, when a site has answered.
    """
    reader, writer = os.pipe()  # what is left to do: each worker takes the next one
    os.write(writer, b"".join(number.to_bytes(2, "big") for number in range(len(sites))))
    os.close(writer)

    def work() -> dict[int, Answer]:
        answers = {}
        while number := os.read(reader, 2):
            site = sites[int.from_bytes(number, "big")]
            answer = answers[int.from_bytes(number, "big")] = _ask(site, words, environ, limit)
            on_answer(answer)
        return answers

    try:
        given: dict[int, Answer] = {}
        for answers in process.call_at_once([work] * max(1, min(jobs, len(sites))), grace=2 * _GRACE):
            given |= answers if isinstance(answers, dict) else {}
    finally:
        os.close(reader)
    lost = "What asked it was killed."
    return [
        given.get(number) or Answer(str(site.path), site.owner, NO_ANSWER, reason=lost)
        for number, site in enumerate(sites)
    ]


def update_all(
    sites: Sequence[ListedSite],
    words: Sequence[str],
    environ: Mapping[str, str],
    *,
    jobs: int,
    limit: float,
    on_answer: Callable[[Answer], None],
) -> list[Answer]:
    """Update the `first` sites, then the others; these wait if one of the first did not end well."""
    ask = functools.partial(ask_all, words=words, environ=environ, jobs=jobs, limit=limit, on_answer=on_answer)
    first, others = ([site for site in sites if site.first is is_first] for is_first in (True, False))
    answers = ask(first) if first else []
    failed = min((answer for answer in answers if answer.exit_code), key=lambda answer: answer.need, default=None)
    if failed is None:
        return answers + ask(others)
    reason = f"It waits: {failed.site} goes first, and ended with exit code {failed.exit_code}."
    return answers + [Answer(str(site.path), site.owner, 0, reason=reason, waits=True) for site in others]


def name_sites(answers: Sequence[Answer]) -> dict[str, str]:
    """Return the paths of the sites as people tell them apart: without the directory that all are in."""
    above = os.path.commonpath([os.path.dirname(answer.site) for answer in answers])
    return {answer.site: os.path.relpath(answer.site, above) for answer in answers}


def find_worst(answers: Sequence[Answer]) -> int:
    """Return the exit code for all sites: the worst of theirs."""
    return min((answer.exit_code for answer in answers), key=_WORST.index, default=0)


def _ask(site: ListedSite, words: Sequence[str], environ: Mapping[str, str], limit: float) -> Answer:
    if refusal := _refuse(site):
        return Answer(str(site.path), site.owner, 3, reason=refusal)
    env = {name: value for name, value in environ.items() if name not in _OWN}
    start = [sys.executable, "-P", "-c", _START.format(str(Path(__file__).parents[2]))]
    if pwd.getpwnam(site.owner).pw_uid != os.geteuid():
        env = {name: value for name, value in env.items() if _SHARED.fullmatch(name) and "@" not in value}
        runuser = shutil.which("runuser", path=_SBIN) or "runuser"
        start = [runuser, "-u", site.owner, *(["-g", site.group] if site.group else []), "--", *start]
    answer = Answer(str(site.path), site.owner, NO_ANSWER)
    try:
        finished = process.run(
            [*start, words[0], "--project", str(site.path), "--json", *words[1:]],
            cwd=Path("/"),
            env=env,
            timeout=limit,
            check=False,
            is_answer=True,
            longest=LARGEST_ANSWER,
            # `runuser` would kill what it runs two seconds after a SIGTERM; it leaves this signal alone.
            ends_with=signal.SIGHUP,
            grace=min(limit, _GRACE),
        )
    except ToolError as error:
        return msgspec.structs.replace(answer, reason=error.message)
    answer = msgspec.structs.replace(answer, seconds=round(finished.seconds, 3))
    if finished.timed_out:
        return msgspec.structs.replace(answer, reason=f"It was {finished.ending}.")
    try:
        content = msgspec.json.decode(finished.stdout.encode(errors="surrogateescape"), type=dict[str, Any])
        msgspec.convert(content, Summary)
        if _is_deep(content):
            raise ValueError("nested too deep")
    except (ValueError, RecursionError):
        reason = ": ".join(filter(None, [f"No answer ({finished.ending})", find_error_line(finished.stderr)]))
        return msgspec.structs.replace(answer, reason=f"{reason.rstrip('.')}.")
    code = finished.status if finished.status in _WORST else NO_ANSWER
    return msgspec.structs.replace(answer, exit_code=code, answer=content)


def _is_deep(value: Any, most: int = _DEEPEST) -> bool:
    """Return True for a value with more in each other than a command prints; what prints and pickles it has a limit."""
    nested = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return most < 0 or any(_is_deep(each, most - 1) for each in nested)


def _refuse(site: ListedSite) -> str:
    """Return why nothing is run for a site; empty if it may be."""
    try:
        user = pwd.getpwnam(site.owner).pw_uid
        if site.group:
            grp.getgrnam(site.group)
        owner = site.path.stat().st_uid
    except KeyError:
        names = f"`{site.owner}`" + (f", or no group `{site.group}`" if site.group else "")
        return f"This host has no user {names}. Correct the sites file."
    except OSError as error:
        return f"It cannot be opened: {error.strerror}."
    if owner != user:
        return f"It belongs to user {owner}, and not to `{site.owner}`, as the sites file says."
    if user != os.geteuid() != 0:
        return f"It is the site of `{site.owner}`: run this as root."
    return ""
