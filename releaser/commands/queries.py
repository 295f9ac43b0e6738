"""The commands that change nothing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from releaser.commands import completion, listed, status
from releaser.commands.command import FILE, command, plain_command
from releaser.commands.context import CommandContext, refuse_both
from releaser.errors import Finding, MailError, PreflightError
from releaser.site.settings import this_host

if TYPE_CHECKING:
    from releaser.releases.integrity import Defect
    from releaser.releases.release import Release
    from releaser.site.site import Site


@command(section="Daily use", example="releaser check --tests", many="all")
@click.option(
    "--tests",
    is_flag=True,
    help="Also test the live release, and list the paths outside the staging tree that tests write.",
)
@click.option("--sandbox", is_flag=True, help="Also probe the sandbox, and list the places that tests can reach.")
def check(ctx: CommandContext, tests: bool, sandbox: bool) -> None:
    """Report all problems that would stop an update. Changes nothing."""
    run_check(ctx, tests=tests, tries=sandbox)


def _print_remarks(ctx: CommandContext, site: Site) -> None:
    from releaser.capabilities import gather

    for line in filter(None, (say(site) for say in gather("check_remarks"))):
        ctx.output.note(line)


def run_check(ctx: CommandContext, *, tests: bool = False, tries: bool = False) -> None:
    """Check the site, and print the result. Raises PreflightError with the problems."""
    from releaser.answers import Readiness, ReadySite
    from releaser.candidate.output import ADD_TESTS, NONE_RUN
    from releaser.candidate.try_release import try_live
    from releaser.checkout.untracked import skipped_warnings
    from releaser.core.adoption import adopter
    from releaser.core.confinement import confinement
    from releaser.pipelines.preflight import Scope, check_unmoved
    from releaser.pipelines.status import list_damage, list_unfinished
    from releaser.reporting.mail_setup import warnings as mail_warnings
    from releaser.serving.servers import unrestarted_warnings
    from releaser.site.conventions import find_conventions
    from releaser.site.in_force import COUNTED_ONCE_LIVE
    from releaser.site.site import find_site

    site = find_site(ctx.project, os.environ)
    ctx.output.redactor.learn(site.redactor.secrets)
    found = find_conventions(site)
    ctx.print_chosen(found)
    found_wanting = (
        *list_unfinished(site),
        *site.exposed,
        *mail_warnings(site),
        *confinement().warnings(site),
        *adopter().find_dropped_packages(site),
        *unrestarted_warnings(site),
        *skipped_warnings(site),
    )
    damage, warnings = ctx.warn(list_damage(site)), ctx.warn(map(str, found_wanting))
    sandbox = confinement().describe(site)
    if sandbox and not ctx.output.json:
        ctx.output.note(f"sandbox for tests and builds: {sandbox}")
    tried = confinement().probe(site) if tries else ()
    if tried and not ctx.output.json:
        rows = [("reached" if one.reached else "stopped", one.kind, one.what) for one in tried]
        ctx.output.print_table(["", "kind", "what"], rows)
    if not ctx.output.json:
        _print_remarks(ctx, site)
        ctx.output.note(f"settings that a new commit changes only once it is live: {', '.join(COUNTED_ONCE_LIVE)}")
    known: dict[str, Any] = {
        "damage": damage,
        "chosen": found,
        "sandbox": sandbox,
        "counted_once_live": COUNTED_ONCE_LIVE,
        "tried": tried,
    }
    try:
        if tests:
            failed = try_live(site)
            warnings += ctx.warn(filter(None, [confinement().describe_writes(site)]))
            if failed:
                advice = {True: ADD_TESTS, False: "Read the output of the tests."}
                raise PreflightError(
                    *(Finding("live-fails", one.message, advice[NONE_RUN in one.message]) for one in failed)
                )
        beside = (*adopter().find_unsynced(site), *adopter().find_open(site))
        facts = check_unmoved(site, Scope(asks=("remote", "django", "site")), beside=beside)
    except PreflightError as error:
        if ctx.output.json:
            problems, codes = tuple(map(str, error.findings)), tuple(one.code for one in error.findings)
            ctx.output.print_json(Readiness(fit=False, problems=problems, codes=codes, warnings=warnings, **known))
        raise
    if facts.unknown:
        ctx.output.note(facts.unknown)
    if ctx.output.json:
        ready = ReadySite(fit=True, warnings=warnings, group=facts.group, tests=facts.test_command, **known)
        ctx.output.print_json(ready)
    else:
        ctx.output.note("everything is ready for an update")


@command(section="Set up", example="releaser config test_timeout")
@click.option("--schema", is_flag=True, help="Print a JSON Schema of [tool.releaser] in pyproject.toml.")
@click.argument("name", required=False, shell_complete=completion.settings)
def config(ctx: CommandContext, name: str | None, schema: bool) -> None:
    """Show every setting with its value and source, or only NAME."""
    from releaser.pipelines import setup as pipeline

    if schema and name:
        refuse_both("--schema", "a setting")
    if schema:
        from releaser.site.schema import json_schema

        ctx.output.print_json(json_schema())
        return
    given = click.get_current_context().get_parameter_source("project")
    found = pipeline.find_values(ctx.site(), by=given.name if given else "")
    if name is not None:
        one = pipeline.pick(found, name)
        ctx.output.answer(one, lambda value: [pipeline.in_line(value)])
        if not ctx.output.json:
            ctx.output.note(f"from: {one.source}")
    elif ctx.output.json:
        ctx.output.print_json(found)
    else:
        rows = [(one.name, pipeline.in_line(one) or "-", one.source) for one in found]
        rows = [(name, of, "not set") if of == pipeline.EACH_RUN else (name, value, of) for name, value, of in rows]
        ctx.output.print_table(("SETTING", "VALUE", "FROM"), rows)


@command("test-mail", section="Set up", example="releaser test-mail")
def test_mail(ctx: CommandContext) -> None:
    """Send a test mail, notice and ping to all recipients. Prints where each went."""
    from releaser.reporting.mail_setup import send_test_mail

    sent = send_test_mail(ctx.site())
    if ctx.output.json:
        ctx.output.print_json(sent)
    well = [f"sent to {', '.join(sent.to)} by {sent.by}"] if sent.sent else []
    well += [f"sent to {one.to}" for one in sent.notices if one.sent]
    if well and not ctx.output.json:
        ctx.output.note("; ".join([*well, "check that it arrives"]))
    if problems := [*filter(None, [sent.problem]), *(one.problem for one in sent.notices if not one.sent)]:
        raise MailError("; ".join(problems), "Check the mail server, and the settings: `releaser config`.")


plain_command(listed.COMMAND, section="Daily use", example="releaser list --json", many="all")(listed.list_releases)


@command(section="Look closer", example="releaser show 20260424T030001Z-81")
@click.argument("release", shell_complete=completion.releases)
def show(ctx: CommandContext, release: str) -> None:
    """Show one release: package changes, steps, test output."""
    from releaser.pipelines.status import show as ask
    from releaser.reporting.text import release_text

    ctx.output.answer(ask(ctx.site(), release), release_text)


@command(section="Look closer", example="releaser diff 20260423T030001Z-77 20260424T030001Z-81")
@click.argument("a", shell_complete=completion.releases)
@click.argument("b", required=False, shell_complete=completion.releases)
def diff(ctx: CommandContext, a: str, b: str | None) -> None:
    """Show the package changes from release A to B. B is the live release by default."""
    from releaser.pipelines.status import diff as ask

    changes = ask(ctx.site(), a, b)
    if ctx.output.json:
        ctx.output.print_json(changes)
    elif changes:
        ctx.output.print_changes(changes)
    else:
        ctx.output.note("no packages differ")


@command(section="Look closer", example="releaser audit", many="all")
@click.argument("release", required=False, shell_complete=completion.releases)
def audit(ctx: CommandContext, release: str | None) -> None:
    """List known vulnerabilities in a release. RELEASE is the live release by default."""
    from releaser.pipelines.status import audit as ask
    from releaser.pipelines.status import audit_error
    from releaser.reporting.changes import COLUMNS, vulnerability_rows

    found = ask(ctx.site(), release)
    if ctx.output.json:
        ctx.output.print_json(found)
    elif found.vulnerabilities:
        ctx.output.print_table(COLUMNS, vulnerability_rows(found.vulnerabilities))
    failure = audit_error(found)
    if failure is not None:
        raise failure
    if not ctx.output.json:
        ctx.output.note(f"{found.release} has no known vulnerabilities")


@command(section="Look closer", example="releaser verify --all", many="sites")
@click.option("--all", "every", is_flag=True, help="Verify every kept release; with --sites, those of all sites.")
@click.option("--check", is_flag=True, help="Also run the project's `manage.py check` in a copy.")
@click.option("--tests", is_flag=True, help="Also run the project's tests in a copy.")
@click.option("--health", is_flag=True, help="Also run the health check of the site, if one is set.")
@click.argument("release", required=False, shell_complete=completion.releases)
def verify(ctx: CommandContext, release: str | None, every: bool, check: bool, tests: bool, health: bool) -> None:
    """Check that a release works, and that no file has changed.

    RELEASE is the live release by default.
    """
    from releaser.candidate.try_release import check_trial, prepare_trials, tests_trial
    from releaser.releases.integrity import Defect
    from releaser.releases.verify import to_error
    from releaser.releases.verify import verify as ask
    from releaser.reporting.text import sound_text, verified_text
    from releaser.serving.live_health import live_findings

    if release and every:
        refuse_both("--all", "a release")
    if health and (release or every):
        refuse_both("--health", "a release" if release else "--all")
    site = ctx.site()
    trials = [*([check_trial(site)] if check else ()), *([tests_trial(site)] if tests else ())]
    with prepare_trials(site, trials) as run_trials:

        def look(found: Release) -> list[Defect]:
            unwell = live_findings(site, "verify") if health else ()
            return [*run_trials(found), *(Defect.of_failure("health", one.message, one.output) for one in unwell)]

        found = ask(site, release, every=every, track=ctx.output.track, run_trials=look)
    if ctx.output.json:
        ctx.output.print_json(found if every else found[0])
    for answer in found:
        if answer.ok:
            ctx.output.note(sound_text(answer))
        elif not ctx.output.json:
            ctx.output.print_lines(verified_text(answer, whole=ctx.output.verbose))
    error = to_error(found)
    if error is not None:
        raise error


@command(section="Daily use", example="releaser outdated", many="all")
def outdated(ctx: CommandContext) -> None:
    """List newer versions, and what blocks each of them. Also names those that the next update installs."""
    from releaser.pipelines.status import outdated as ask
    from releaser.reporting.text import outdated_text

    found = ask(ctx.site())
    if ctx.output.verbose and found.elsewhere:
        ctx.output.note(f"not checked, because no index has them: {', '.join(found.elsewhere)}")
    if found.unknown:
        ctx.output.note(f"the index has no version of: {', '.join(found.unknown)}")
    if newer := found.newer_python:
        ctx.output.note(f"Python {newer} is available; to use it, run `releaser rebuild --python {newer}`")
    ctx.output.answer(found.packages, outdated_text, empty="all packages are at their newest versions")


@command(section="Look closer", example="releaser why django")
@click.argument("package", shell_complete=completion.packages)
def why(ctx: CommandContext, package: str) -> None:
    """Show what requires PACKAGE, what blocks newer versions, and how to allow them."""
    from releaser.pipelines.status import why as ask
    from releaser.reporting.text import package_text

    ctx.output.answer(ask(ctx.site(), package), package_text)


plain_command(status.COMMAND, section="Daily use", example="releaser status --nagios --warning 36h", many="all")(
    status.status
)


@command(section="Look closer", example="releaser report --html shop.html", many="all")
@click.option("--html", type=FILE, metavar="FILE", help="Write the page to this file, atomically.")
@click.option(
    "--publish", type=FILE, metavar="FILE", help="Write JSON for the page of another server to this file, atomically."
)
@click.option("--offline", is_flag=True, help="Do not look for newer versions or known vulnerabilities.")
def report(ctx: CommandContext, html: Path | None, publish: Path | None, offline: bool) -> None:
    """Write a page about the site: releases, runs, and packages.

    With --all, the page covers all sites, the worst first, and works as with --offline. `[servers]` in the file of
    sites adds the sites of other servers.
    """
    from releaser.pipelines.status import overview
    from releaser.reporting.many_sites import SiteAnswer
    from releaser.reporting.page import page_of
    from releaser.reporting.servers import ServerReport

    ctx.output.require_target(html=html, publish=publish)
    found = overview(ctx.site(), offline=offline or html is None)
    answer = SiteAnswer(site=found.status.path, exit_code=0, answer=found.status)
    ctx.output.publish(publish, ServerReport(host=this_host(), at=found.at, sites=(answer,)))
    if html:
        ctx.output.write_page(html, page_of(found))


@command(section="Look closer", example="releaser history -n 5")
@click.option(
    "-n", "--number", type=click.IntRange(min=1), default=20, metavar="N", show_default=True, help="The number of runs."
)
def history(ctx: CommandContext, number: int) -> None:
    """List the runs, newest first: time, command, result, duration."""
    from releaser.releases.journal import read_history
    from releaser.reporting.text import HISTORY, history_rows

    runs = read_history(ctx.site().project.state_dir)[:number]
    if runs and not ctx.output.json:
        ctx.output.print_table(HISTORY, history_rows(runs))
    else:
        ctx.output.answer(runs, lambda _: (), empty="there have been no runs yet")
