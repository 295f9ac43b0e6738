"""The mail about a run: its subject, its headers, its text and its HTML."""

from __future__ import annotations

import os
import shlex
from datetime import datetime, timedelta
from email.header import Header
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formataddr, make_msgid
from functools import cache
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FunctionLoader, StrictUndefined, Template, select_autoescape

from releaser.errors import ExitCode
from releaser.locks.blocks import CulpritsSection
from releaser.locks.vulnerabilities import SecuritySection
from releaser.releases.blocks import HoldsSection
from releaser.releases.journal import MailSection
from releaser.releases.leases import ProcessesSection
from releaser.reporting.changes import (
    NAME,
    Item,
    Table,
    age_of,
    arrow_of,
    changes_table,
    first_commits,
    in_order,
    name_changes,
    required_by,
    security_lists,
)
from releaser.reporting.style import BUMPS, DAY, NIGHT, WIDEST, add_links, fold
from releaser.reporting.subject import (
    SOLVED,
    begin_sentence,
    choose_badge,
    count_commits,
    header_text,
    headline,
    subject,
)
from releaser.reporting.text import NOTHING_RESTARTS, on_hold_passages, outage_sentence, summarize
from releaser.reporting.threads import digest_of, message_id
from releaser.site.addresses import Address, parse_address
from releaser.site.restart_settings import OutageSection
from releaser.site.settings import this_host
from releaser.system.expression import expression
from releaser.system.own_code import text_of
from releaser.system.words import elapsed, one_line, one_lines, strip_control, truncate, web_link

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from releaser.errors import Finding
    from releaser.locks.blocks import Block
    from releaser.report import RunReport
    from releaser.reporting.text import Summary

_POLICY = SMTP.clone(refold_source="none")
_CHANGELOG = expression(r"(?i)//[^/]+/.*(?:chang|release|news|histor|whats-?new)")
_MOST_SKIPPED = 20
_CHANGED_BY_OTHERS = "The live release or the checkout was changed, but not by releaser; see the problems."
_TAIL, _FEW = 15, 25  # lines of output below the folded part, and lines that are not folded at all
_HEADINGS = ("Package", "Old", "New", "Size", "Age", "Required by")


def compose(  # noqa: PLR0913 - the parts of a mail
    report: RunReport,
    *,
    sender: str,
    recipients: Sequence[Address],
    references: Sequence[str] = (),
    lock_diff: str = "",
    introduction: str = "",
    lists: Sequence[tuple[str, Sequence[Item]]] = (),
    footer: Sequence[str] = (),
) -> EmailMessage:
    """Make the mail of a run: the same report makes the same mail, the same run the same Message-ID.

    `sender` is `address` or `Name <address>`; ValueError if it is neither. Without recipients there is no To.
    `references` are the Message-IDs of the earlier mails in the thread, `lock_diff` is attached, `introduction` is the
    text of the first mail only, `lists` are those of capabilities, and `footer` says why the recipients get it.
    """
    ended = report.started_at + timedelta(seconds=report.seconds)
    message = _begin_message(subject(report), sender=sender, recipients=recipients, at=ended)
    message["Message-ID"] = message_id(report)
    if references:
        message.set_raw("References", "\r\n ".join(references))
        message.set_raw("In-Reply-To", references[-1])
    message.set_raw("X-Releaser-Run", _encode(header_text(report.run_id)))
    text, html = render_bodies(report, introduction, footer, lists)
    # Quoted-printable goes through every server and stays readable in a Maildir.
    message.set_content(text, cte="quoted-printable")
    message.add_alternative(html, subtype="html", cte="quoted-printable")
    message.set_boundary(f"=_{digest_of(report)}")  # "=_" cannot be in quoted-printable (RFC 2045, 6.7)
    if lock_diff:
        message.add_attachment(strip_control(lock_diff), subtype="x-diff", filename=NAME, cte="quoted-printable")
        message.set_boundary(f"=_{digest_of(report)}_")
    return message


def compose_plain(title: str, text: str, *, sender: str, recipients: Sequence[Address], at: datetime) -> EmailMessage:
    """Make a mail from a subject, as `make_subject` makes it, and a text."""
    message = _begin_message(title, sender=sender, recipients=recipients, at=at)
    message["Message-ID"] = make_msgid("releaser", domain=this_host() or "localhost")
    message.set_content(text, cte="quoted-printable")
    return message


def _begin_message(title: str, *, sender: str, recipients: Sequence[Address], at: datetime) -> EmailMessage:
    message = EmailMessage(policy=_POLICY)
    # Raw, since Python 3.11.7 loses addresses when it folds lists of non-ASCII names, and spaces when it folds
    # subjects.
    message.set_raw("Subject", _encode(title))
    message.set_raw("From", _mailbox(parse_address(sender)))
    if recipients:
        message.set_raw("To", ",\r\n ".join(map(_mailbox, recipients)))
    message["Date"] = at
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no vacation notices, please
    return message


def render_bodies(
    report: RunReport,
    introduction: str = "",
    footer: Sequence[str] = (),
    lists: Sequence[tuple[str, Sequence[Item]]] = (),
) -> tuple[str, str]:
    """Render the text and the HTML of the mail; `_context` removes control characters from all values."""
    context = _context(report, lists) | {
        "introduction": one_line(introduction, limit=1000),
        "footer": [one_line(line, limit=1000) for line in footer],
    }
    text, html = (template.render(context) for template in templates())
    return fold(text, whole=[context["way_back"], *(line for line, _ in context["commands"])]), html


@cache
def templates() -> tuple[Template, Template]:
    """Return the templates of the text and the HTML."""
    environment = Environment(
        loader=FunctionLoader(lambda name: text_of(os.path.join(os.path.dirname(__file__), "templates", name))),
        autoescape=select_autoescape(enabled_extensions=("html.j2",), default=False),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["linked"] = add_links
    return environment.get_template("run.txt.j2"), environment.get_template("run.html.j2")


def _context(report: RunReport, lists: Sequence[tuple[str, Sequence[Item]]]) -> dict[str, Any]:
    summary, first_line = summarize(report), headline(report)
    shown = {report.headline, *(problem.message for problem in report.problems)}
    output = "" if any(one.body == report.output for one in report.failed_health_checks) else truncate(report.output)
    lines = output.splitlines(keepends=True)
    folded = len(lines) - _TAIL if len(lines) > _FEW else 0
    security = [(title, [Item(text=line) for line in found]) for title, found in security_lists(report)]
    skipped, on_hold = _holds(report, output)
    warning, others = _warning(report, summary)
    above = [
        ("Updates will skip", skipped),
        ("Problems", list(map(_problem, others))),
        *(security if report.exit_code else ()),  # after a failure, the advice comes first
        ("Answers of the site", list(_answers(report))),
    ]
    below = [
        *((title, [*map(_clean_item, items)]) for title, items in lists),
        (_commits_title(report), [Item(text=one) for one in first_commits(report) or _describe_code_move(report)]),
        ("On hold", on_hold),
        ("Commits of uv.lock that are not pushed", [Item(text=one_line(one)) for one in report.unpushed]),
    ]
    return {
        "day": DAY,
        "night": NIGHT,
        "badge": choose_badge(report),
        "where": one_line(f"{report.project or report.path} on {report.host}"),
        "at": report.started_at.strftime("%Y-%m-%d %H:%M %Z"),
        "subject": subject(report),
        "preheader": one_line(_preheader(report)),
        "headline": one_line(first_line, limit=1000),
        "live": one_line(" ".join(filter(None, (_reason(report), _live(report), outage_sentence(report)))), limit=1000),
        "warning": one_line(warning, limit=2000),
        "recovered": _passage(report.recovered),
        "noted": _passage(report.noted),
        "solved": [SOLVED[one] for one in MailSection.of(report).solved],
        "advice": _passage(summary.advice),
        "path": one_line(report.path),
        "commands": list(_commands(report)),
        "above": [one for one in above if one[1]],
        "output": output,
        "output_before": "".join(lines[:folded]),
        "output_end": "".join(lines[folded:]),
        "way_back": _way_back(report),
        "security_first": [] if report.exit_code else security,
        "groups": list(_groups(report)),
        "changes": changes_table(
            report.changes,
            now=report.started_at,
            title="Package changes" if report.live_changed or report.is_done else "Package changes that are not live",
            headings=_HEADINGS,
            widest=WIDEST,
        ),
        "below": [one for one in below if one[1]],
        "processes": Table.of(
            "Processes that still run on another release",
            ("Release", "Process", "User", "Since", "Command"),
            (
                (one.release, str(one.pid), one.user, one.since, one.command)
                for one in ProcessesSection.of(report).left_behind
            ),
        ),
        "steps": Table.of(
            "Steps",
            ("Step", "Status", "Time", "Detail"),
            (
                (one.step, one.status, elapsed(one.seconds), "see above" if one.detail in shown else one.detail)
                for one in report.steps
            ),
        ),
        "facts": _facts(report),
    }


def _reason(report: RunReport) -> str:
    """Return the sentence on failed tests whose headline names the package and the test; empty for other reports."""
    found = summarize(report).headline
    is_shown = report.exit_code != ExitCode.TESTS or headline(report) == begin_sentence(found)
    return "" if is_shown else f"{begin_sentence(found.rstrip('.'))}."


def _preheader(report: RunReport) -> str:
    """Return the line that a list of mails shows after the subject: the consequence for the site."""
    if report.is_automatic_rollback and report.live_changed:
        return "The site runs on a release that failed. Act now."
    if report.is_automatic_rollback:
        fails = ", which also fails its health check. Act now." if report.earlier_release_fails_too else "."
        return f"The site runs on the previous release again{fails}"
    if report.live_differs and not report.live_changed:
        return _CHANGED_BY_OTHERS
    if not report.live_changed:
        return "The site runs on the same release as before."
    others = ", ".join(name_changes([one]) for one in in_order(report.changes)[1:6])
    news = "; ".join(filter(None, [others, count_commits(report)]))
    return f"The site runs on {report.release or 'another release'} now. {news}"


def _warning(report: RunReport, summary: Summary) -> tuple[str, tuple[Finding, ...]]:
    """Return the warning that nothing restarted the site after a flip, and the other problems; empty if all is well."""
    others = tuple(one for one in summary.others if one.code != NOTHING_RESTARTS)
    if len(others) < len(summary.others):
        found = next(str(one) for one in summary.others if one not in others)
        now = " Restart it now." if report.live_changed else ""
        return f"The site was not restarted.{now} {begin_sentence(found)}", others
    return OutageSection.of(report).warning if report.live_changed else "", others


def _holds(report: RunReport, output: str) -> tuple[list[Item], list[Item]]:
    """Return what updates skip since this rollback, and what else is on hold; the mail shows `output` anyway."""
    section, named = HoldsSection.of(report), {one.name for one in report.on_hold}
    versions = [one for one in section.holds if one.by == "rollback"]
    commit = report.commit[:12] if report.commit and report.is_automatic_rollback else ""
    commits = [line for line in section.commits_on_hold if commit and line.startswith(f"commit {commit} ")]
    passages = on_hold_passages(
        # Skipped versions, and other holds without anything newer.
        (*report.on_hold, *(one for one in section.holds if one.name not in named and one not in versions)),
        since=report.started_at,
    )
    lines = [(line, "") for line in section.commits_on_hold if line not in commits] + passages
    on_hold = [
        Item(text=one_line(line, limit=1000), passage="" if end.strip() in output else truncate(end))
        for line, end in lines
    ]
    if report.live_changed and (culprits := ", ".join(CulpritsSection.of(report).culprits)):
        text = f"Updates try {culprits} again when the code changes. To try now: `releaser update --force`"
        on_hold.append(Item(text=one_line(text, limit=1000)))
    return list(_skipped(commits, versions, commit)), on_hold


def _skipped(commits: Sequence[str], versions: Sequence[Block], commit: str) -> Iterator[Item]:
    """Yield a commit and versions that a rollback put on hold, and the command that lifts the holds."""
    texts = [*commits, *(f"{one.name} {one.version}" for one in versions[:_MOST_SKIPPED])]
    yield from (Item(text=one_line(text, limit=1000)) for text in texts)
    if more := versions[_MOST_SKIPPED:]:
        yield Item(text=f"and {len(more)} more; `releaser status` lists them")
    if texts:
        names = dict.fromkeys([*([commit] if commits else ()), *(one.name for one in versions)])
        yield Item(text=one_line(f"Undo: `releaser unhold {shlex.join(names)}`", limit=2000))


def _commands(report: RunReport) -> Iterator[tuple[str, str]]:
    """Yield the commands for a refused update, or for a failed release that is still live, each with its purpose."""
    if report.is_automatic_rollback and report.live_changed and report.previous:
        # By its id: the next run may finish the rollback first, and `releaser rollback` alone would go back once more.
        yield f"releaser rollback {shlex.quote(one_line(report.previous))}", "Go back to the previous release"
        yield "releaser status", "See the state of the site"
    if not _reason(report):
        return
    if report.release:
        yield f"releaser show {shlex.quote(one_line(report.release))}", "Read the full test output"
    else:
        yield "releaser status", "See the state of the site"
    new = [one for one in report.changes if one.new]
    if len(new) == 1:
        name, old = one_lines((new[0].name, new[0].old or ""))
        yield f"releaser hold {shlex.quote(name)}", f"Keep {name} {old}" if old else f"Skip {name}"
    else:
        yield "releaser outdated", "List newer versions and what blocks them"
    yield "releaser update --force", "Test the update again, for example after a fix"


def _groups(report: RunReport) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Yield the package changes in groups, each with its title: security fixes, direct dependencies, the others."""
    titles = {(True, False): "Security fixes", (False, True): "Direct dependencies", (False, False): "Other packages"}
    keys = [(bool(one.fixes), bool(one.direct) and not one.fixes) for one in in_order(report.changes)]
    packages = list(_packages(report))
    for key, title in titles.items():
        if found := [package for package, its in zip(packages, keys, strict=True) if its == key]:
            yield (title if len(set(keys)) > 1 else ""), found


def _packages(report: RunReport) -> Iterator[dict[str, Any]]:
    """Yield the values of each package change, in the order of `in_order`."""
    links = {name: web_link(one.link) for one in SecuritySection.of(report).fixed for name in one.ids}
    for one in in_order(report.changes):
        age, by, with_ = age_of(one, report.started_at), required_by(one), ", ".join(one.dragged_by)
        about = (age and f"{age} old", by and f"required by {by}", with_ and f"changed because of {with_}")
        name, old, new, bump = one_lines((one.name, one.old or "-", one.new or "-", one.bump))
        yield {
            "name": name,
            "old": old,
            "new": new,
            "arrow": arrow_of(one),
            "bump": bump,
            "colour": BUMPS.get(bump, "muted"),
            "link": web_link(one.link or ""),
            "about_link": "changelog" if _CHANGELOG.search(one.link or "") else "home page",
            "fixes": [(one_line(fix), links.get(fix.lower())) for fix in one.fixes],
            "about": one_line(" · ".join(filter(None, about))),
        }


def _live(report: RunReport) -> str:
    """Say whether the live release changed."""
    release, previous = report.release, report.previous
    name = f"Release {release}" if release else "A release"
    if not report.is_automatic_rollback:
        if report.live_differs and not report.live_changed:
            return _CHANGED_BY_OTHERS
        if not report.live_changed:
            return "The live release is unchanged" + (f": {previous}." if previous else ".")
        if not release:
            return "The live release changed."
        return f"The live release changed{f' from {previous}' if previous else ''} to {release}."
    also = (
        " The previous release also fails its health check: look at the site."
        if report.earlier_release_fails_too
        else ""
    )
    if report.live_changed:
        return (
            f"{name} went live and failed, and so did the automatic rollback: the site STILL RUNS on the failed"
            f" release.{also}"
        )
    if report.is_rollback and release and previous:
        return f"The site was switched to {release} and back to {previous}, which is live again.{also}"
    return f"{name} went live and was rolled back; {previous or 'the previous release'} is live again.{also}"


def _way_back(report: RunReport) -> str:
    """The command that undoes the flip of the run.

    After a rollback it names a release, as it would go back further without one.
    """
    if not report.live_changed or not report.previous or report.exit_code == ExitCode.ROLLED_BACK:
        return ""
    name = f" {shlex.quote(report.previous)}" if report.is_rollback else ""
    return strip_control(f"releaser rollback{name} --project {shlex.quote(report.path)}")


def _clean_item(one: Item) -> Item:
    return Item(text=_passage(one.text), note=_passage(one.note), passage=truncate(one.passage))


def _problem(found: Finding) -> Item:
    note = f"What to do: {_passage(found.advice)}" if found.advice else ""
    return Item(text=_passage(found.message), note=note)


def _answers(report: RunReport) -> Iterator[Item]:
    """Yield the answers of the site with each release, if one answer was bad."""
    for answer in report.failed_health_checks:
        role = "which is live again" if answer.release == report.previous else "the new release"
        text = one_line(f"Release {answer.release}, {role}: {'passed' if answer.good else 'failed'}")
        yield Item(text=text, note=one_line(answer.text, limit=1000), passage=truncate(answer.body))


def _describe_code_move(report: RunReport) -> list[str]:
    """Return a line for a target without new commits: the branch was moved back."""
    return ["none: an earlier commit of the branch"] if report.pulled is not None else []


def _commits_title(report: RunReport) -> str:
    """Return the title for the commits. If a failed run has changed the live release, their fate is unknown."""
    what = "New commits"
    if report.live_changed and (report.is_done or report.result == "rolled-back"):
        what = "Commits that went live"
    elif not report.live_changed and report.result in ("failed", "refused", "rolled-back"):
        what = "Commits that failed and are not live"
    if report.pulled is None:
        return what
    return one_line(f"{what} ({report.pulled.count}): {report.pulled.old[:12]}..{report.pulled.new[:12]}")


def _facts(report: RunReport) -> Table:
    # True if the release of the run is not live after it.
    not_live = report.previous and report.release != report.previous and not report.live_changed
    before = "Previous release" if report.live_changed or report.live_differs else "Live release"
    facts = (
        ("Host", report.host),
        ("Project", report.project),
        ("Path", report.path),
        ("Command", report.request),
        ("Run", report.run_id),
        ("Started", report.started_at.isoformat(sep=" ", timespec="seconds")),
        ("Took", elapsed(report.seconds)),
        ("Release (not live)" if not_live else "Release", report.release or ""),
        ("Commit", f"{report.commit[:12]} {report.subject}" if report.commit else ""),
        (before, report.previous or ""),
        ("Exit code", str(int(report.exit_code))),
        ("Log file", report.log_file),
    )
    return Table.of("About this run", ("", ""), (fact for fact in facts if fact[1]))


def _passage(text: str) -> str:
    return truncate(text, head_lines=20, tail_lines=20, max_chars=4000)


def _mailbox(address: Address) -> str:
    name = header_text(address.name, limit=100)
    return formataddr((name, address.address)) if name.isascii() else f"{_encode(name)} <{address.address}>"


def _encode(text: str) -> str:
    """Encode one line as RFC 2047 requires; text that is not ASCII is folded."""
    return text if text.isascii() else Header(text, "utf-8", maxlinelen=70).encode(linesep="\r\n")
