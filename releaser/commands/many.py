"""Runs a command with `--all` or `--sites` for every site in a file, and prints the answers, the worst first."""

from __future__ import annotations

import itertools
import os
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click
from click.core import ParameterSource

from releaser.errors import ExitCode, Interrupted, UsageError, refuse
from releaser.site.settings import this_host
from releaser.system import signals
from releaser.system.frozen import Frozen
from releaser.system.words import plural

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from releaser.commands.output import Output
    from releaser.fleet.sites_file import SitesFile
    from releaser.reporting.many_sites import SiteAnswer
    from releaser.reporting.sites_tables import SitesTable

F = TypeVar("F", bound="Callable[..., Any]")
DEFAULT = Path("/etc/releaser/sites.toml")
SELECTION = ("all_sites", "sites", "site_group", "jobs")  # the options, by their names in Python
_COMMON = ("project", "as_json", "verbose", "quiet")
_OF_ONE = ("nagios", "prometheus", "textfile", "overrides")


class Selection(Frozen):
    """The sites that the command line selects; without a file, those of the default file."""

    file: Path | None
    group: str | None
    jobs: int | None

    @classmethod
    def of(
        cls, *, all_sites: bool | None, sites: Path | None, site_group: str | None, jobs: int | None
    ) -> Selection | None:
        """Read the options; None if the command is for one site. Raises UsageError."""
        if all_sites or sites is not None:
            return cls(file=sites, group=site_group, jobs=jobs)
        if site_group is not None or jobs is not None:
            message = f"{'--site-group' if site_group is not None else '--jobs'} needs --all or --sites"
            raise UsageError(message, "Add --all, or --sites FILE.")
        return None


def many_options(function: F, *, has_all: bool) -> F:
    """Add the options for many sites to a command; without `--all` if it has another meaning there."""
    options = [
        click.option("--all", "all_sites", is_flag=True, help=f"Run the command for every site in {DEFAULT}.")
    ] * has_all
    options += [
        click.option(
            "--sites",
            type=click.Path(path_type=Path, dir_okay=False),
            is_flag=False,
            flag_value=str(DEFAULT),
            metavar="FILE",
            help=f"Run the command for every site in FILE, or in {DEFAULT} if FILE is omitted.",
        ),
        click.option("--site-group", metavar="NAME", help="Select only the sites of this group."),
        click.option(
            "--jobs", type=click.IntRange(1, 64), metavar="N", help="Handle N sites at the same time, at most 64."
        ),
    ]
    for option in reversed(options):
        function = option(function)
    return function


def run_for_selected(options: dict[str, Any], output: Output) -> None:
    """Remove the options for many sites, and run the command for these sites, if any. Raises UsageError."""
    wanted = Selection.of(**{name: options.pop(name, None) for name in SELECTION})
    if wanted is not None:
        _run_for_all(wanted, output)


def _run_for_all(wanted: Selection, output: Output) -> NoReturn:
    """Run the command for each site, print the answers, and exit with the worst exit code. Raises PreflightError."""
    from releaser.fleet.many_sites import ManySites, badness
    from releaser.fleet.sites_file import read_sites
    from releaser.reporting.many_sites import problems_of, refused_sites, with_states
    from releaser.reporting.sites_tables import find_table

    file, words = wanted.file or DEFAULT, list(_words(click.get_current_context()))
    if makes_page := words[0] == "report":
        output.require_target(**_targets())
        words = ["status"]
    is_update = words[0] == "update"
    if is_update and "--" in words:
        words.insert(1, "--if-locked")
    listed = read_sites(file, os.environ)
    for warning in listed.warnings:
        output.note(f"warning: {file}: {warning}")
    acts = words[0] in ("update", "propose") and "--dry-run" not in words
    # Sites that go first do so in every group, as the result decides whether the others follow.
    sites = [one for one in listed.sites if wanted.group in (None, *one.groups) or (acts and one.goes_first)]
    refused = listed.refused if acts else {}  # where no person sees the warnings
    others = listed.servers if makes_page and wanted.group is None else {}
    if not sites and not others and not refused:
        refuse(
            "no-site",
            f"{file} has no site" + (f" of the group {wanted.group}" if wanted.group else ""),
            f"Add the sites to {file}" + (", or name another group." if wanted.group else "."),
        )
    many = ManySites(sites, jobs=wanted.jobs or listed.jobs, environ=os.environ)
    table = find_table(words[0])
    answers, interrupt = _collect(
        many.update(words) if acts else many.ask(words, as_json=output.json or table is not None)
    )
    answers += refused_sites(refused)
    answers = with_states(answers) if words[0] == "status" and not makes_page else answers
    order = {path: number for number, path in enumerate([*(str(one.path) for one in sites), *refused])}
    answers.sort(key=lambda one: (badness(one.exit_code), not one.waits, not problems_of(one), order[one.site]))
    code, unread = answers[0].exit_code if answers else ExitCode.OK, False
    if makes_page:
        unread = not interrupt and _write_report(answers, others, output)
    elif acts:
        _print_update(answers, listed, output)
    elif output.json:
        output.print_json(answers)
    elif table is not None:
        _print_table(table, answers, output)
    else:
        _print_blocks(answers, output)
    if interrupt:
        output.note(f"interrupted before {plural(len(sites) - len(answers), 'site')} had finished")
        sys.exit(ExitCode.SIGNALLED + interrupt)
    sys.exit(code or (ExitCode.FOUND if unread else ExitCode.OK))


def _collect(answers: Iterator[SiteAnswer]) -> tuple[list[SiteAnswer], int]:
    """Return the answers, and the signal that interrupted them; 0 for none."""
    found: list[SiteAnswer] = []
    try:
        with signals.raise_on_signals():
            found.extend(answers)
    except KeyboardInterrupt:
        return found, signal.SIGINT
    except Interrupted as interrupt:
        return found, interrupt.signal_number
    return found, 0


def _words(ctx: click.Context) -> Iterator[str]:
    """Yield the command and its options and arguments, except for the options for many sites."""
    yield ctx.command.name or ""
    arguments: list[str] = []
    for one in ctx.command.params:
        name, given = one.name or "", ctx.params.get(one.name or "")
        if ctx.get_parameter_source(name) != ParameterSource.COMMANDLINE or name in (*SELECTION, *_COMMON):
            if name == "project" and ctx.get_parameter_source(name) == ParameterSource.COMMANDLINE:
                message = "--project cannot be combined with --all or --sites"
                raise UsageError(message, "Use only one of these options.")
            continue
        if name in _OF_ONE:
            message = f"{one.opts[0]} works for one site only"
            raise UsageError(message, f"Omit {one.opts[0]}, or name the site with --project.")
        values = list(given) if isinstance(given, tuple) else [given]
        if isinstance(one, click.Argument):
            arguments += map(str, values)
        elif isinstance(one, click.Option) and one.is_flag:
            yield one.opts[0]
        else:
            yield from itertools.chain.from_iterable((one.opts[0], str(value)) for value in values)
    if arguments:
        yield from ("--", *arguments)


def _print_update(answers: Sequence[SiteAnswer], listed: SitesFile, output: Output) -> None:
    """Mail and print news; without news, print nothing, so that cron sends no mail."""
    from releaser.reporting.many_sites import COLUMNS, find_unknown, is_news, rows, send_summary, summary

    if unknown := find_unknown(answers):
        output.note(f"warning: no site has {', '.join(unknown)}")
    news = [one for one in answers if is_news(one)]
    mailed = False
    if news and listed.mail_to:
        problem = send_summary(answers, listed.mail_to, listed.mail, os.environ)
        mailed = not problem
        if problem:
            output.note(f"warning: the summary was not mailed: {problem}")
    if output.json:
        output.print_json(answers)
        return
    shown: Sequence[SiteAnswer] = [one for one in answers if one in news or one.waits] if news and not mailed else ()
    if output.quiet:
        shown = [one for one in shown if one.exit_code]
    elif output.verbose or sys.stderr.isatty():
        shown = answers
    if shown:
        output.print_table(COLUMNS, rows("update", shown))
        output.note(summary(answers))


def _write_report(answers: Sequence[SiteAnswer], others: Mapping[str, str], output: Output) -> bool:
    """Write the page and the JSON about the sites; return True if the report of another server is missing or old."""
    from releaser.reporting.page import page_of_sites
    from releaser.reporting.servers import Server, ServerReport, read_servers

    html, publish = _targets().values()
    report = ServerReport(host=this_host(), at=datetime.now(UTC), sites=tuple(answers))
    output.publish(publish, report)
    if not html:
        return False
    servers = [Server(name=report.host, report=report)] if answers else []
    servers += read_servers(others, os.environ)
    now = datetime.now(UTC)
    output.write_page(html, page_of_sites(servers, now))
    problems = {one.name: problem for one in servers if (problem := one.find_problem(now))}
    for name, problem in problems.items():
        output.note(f"warning: {name}: {problem}")
    return bool(problems)


def _targets() -> dict[str, Path | None]:
    """Return the files that `report` writes, by the names of the options."""
    given = click.get_current_context().params
    return {name: given[name] for name in ("html", "publish")}


def _print_table(table: SitesTable, answers: Sequence[SiteAnswer], output: Output) -> None:
    if shown := table.rows(answers):
        output.print_table(table.columns, shown)
    others = table.others(answers)
    for line in others:
        output.note(line)
    if not shown and not others:
        output.note(table.empty)


def _print_blocks(answers: Sequence[SiteAnswer], output: Output) -> None:
    for one in answers:
        if not (one.answer or one.errors):  # such as a command that had nothing to do
            continue
        output.print_lines([f"{one.site}:", *(f"  {line}" for line in (*str(one.answer).splitlines(), *one.errors))])
