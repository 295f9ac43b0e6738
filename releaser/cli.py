"""The command line: each command parses, calls one function, renders the answer, and ends with its exit code."""

from __future__ import annotations

import functools
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from releaser import __version__
from releaser.console import Manner, say_error
from releaser.errors import Interrupted, ReleaserError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from releaser.conduct import Request
    from releaser.project.site import Site
    from releaser.report.outcome import RunReport


class _Directory(click.Path):
    """A directory; an empty name, which an unset variable of a script leaves, is not the current one."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            self.fail("the name is empty", param, ctx)
        return super().convert(value, param, ctx)


class Call:
    """What every command gets: the project, and how to speak."""

    def __init__(self, project: Path, manner: Manner) -> None:
        self.project = project
        self.manner = manner

    def site(self) -> Site:
        """Read the project for a question; what is wrong with its settings is a warning then."""
        from releaser.project.site import open_site

        site = open_site(self.project, os.environ)
        for finding in site.findings:
            self.manner.note(f"warning: {finding.message}")
        return site

    def request(self, command: str, *, wait: float = 0.0, mails: bool = False) -> Request:
        """Ask for a run."""
        from releaser.conduct import Request

        return Request(
            path=self.project,
            environ=os.environ,
            command=command,
            listener=self.manner.listener(),
            wait=wait,
            mails=mails,
        )

    def say_damage(self, site: Site) -> list[str]:
        """Warn of what others have damaged; return it in sentences."""
        from releaser.queries import damaged

        found = damaged(site)
        for sentence in found:
            self.manner.note(f"warning: {sentence}")
        return found

    def end(self, report: RunReport, *, answers: bool = False) -> None:
        """Say how a run ended, and exit; what `answers` a question is said even if nothing changed."""
        self.manner.say_report(report, answers=answers)
        sys.exit(report.exit_code)


def _common(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that all have, and let errors end it with their exit code."""

    @click.option(
        "--project",
        type=_Directory(path_type=Path),
        envvar="RELEASER_PROJECT",
        default=Path(),
        show_default="the current directory",
        help="The directory of the project.",
    )
    @click.option("--json", "as_json", is_flag=True, help="Print JSON.")
    @click.option("-v", "--verbose", is_flag=True, help="Say more, also without a terminal.")
    @click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors.")
    @functools.wraps(function)
    def command(project: Path, as_json: bool, verbose: bool, quiet: bool, **options: Any) -> None:
        try:
            if verbose and quiet:
                message = "--verbose and --quiet exclude each other"
                raise UsageError(message, advice="Leave one of them away.")
            function(Call(project, Manner(json=as_json, verbose=verbose, quiet=quiet)), **options)
        except ReleaserError as error:
            say_error(error)
            sys.exit(error.exit_code)
        except KeyboardInterrupt:
            sys.exit(128 + signal.SIGINT)
        except Interrupted as interrupt:  # a second signal, while the first was being dealt with
            sys.exit(128 + interrupt.signal_number)

    return command


_dry_run = click.option("--dry-run", is_flag=True, help="Write nothing; say what would be done.")
_wait = click.option(
    "--wait",
    type=click.FloatRange(min=0),
    default=0.0,
    metavar="SECONDS",
    help="Wait so long for another run to end.",
)
_force_help = "Also take versions and candidates that failed before."


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="releaser", message="%(prog)s %(version)s")
def cli() -> None:
    """Keep the Python environment of a running site up to date, safely.

    A new venv is built beside the live one, tested with the project's own tests, and only then made live, by one atomic
    move of a symlink. Earlier venvs stay: going back is instant.
    """


@cli.command()
@_common
@_dry_run
@_wait
def init(call: Call, dry_run: bool, wait: float) -> None:
    """Adopt the project: its .venv becomes the first release, and a symlink to it. Safe to repeat."""
    if dry_run:
        from releaser.rehearsal import rehearse_init

        _say_plan(call, rehearse_init(call.site()))
        return
    from releaser.init import init as adopt

    call.end(adopt(call.request("init", wait=wait)))


@cli.command()
@_common
def check(call: Call) -> None:
    """Check everything that an update needs; report all problems at once, change nothing."""
    from releaser.errors import PreflightError
    from releaser.project.site import open_site
    from releaser.rehearsal import rehearse_check

    site = open_site(call.project, os.environ)
    damaged = call.say_damage(site)
    try:
        fitness = rehearse_check(site)
    except PreflightError as error:
        if call.manner.json:
            from releaser.report.text import sentences

            problems = [sentences(problem.message, problem.advice) for problem in error.problems]
            call.manner.data({"fit": False, "problems": problems, "damage": damaged})
        raise
    if fitness.unknown:
        call.manner.note(fitness.unknown)
    if call.manner.json:
        known = {"group": fitness.group, "tests": list(fitness.test_command)}
        call.manner.data({"fit": True, "problems": [], "damage": damaged, **known})
    else:
        call.manner.note("everything is fit for an update")


@cli.command()
@_common
@_dry_run
@_wait
@click.option("--force", is_flag=True, help=_force_help)
@click.option(
    "--override",
    "overrides",
    multiple=True,
    metavar="PACKAGE",
    help="Build and test a candidate with this package instead ('NAME @ URL-or-path'), and never make it live.",
)
def update(call: Call, dry_run: bool, wait: float, force: bool, overrides: tuple[str, ...]) -> None:
    """Bring the site to the newest packages that pass its tests. This is the command for cron."""
    if overrides:
        if force:
            message = "--force has no meaning together with --override"
            raise UsageError(message, advice="Leave one of them away.")
        _override(call, overrides, dry_run=dry_run, wait=wait)
        return
    if dry_run:
        from releaser.rehearsal import rehearse_update

        _say_plan(call, rehearse_update(call.site(), force=force))
        return
    from releaser.update import update as run_update

    call.end(run_update(call.request("update", wait=wait, mails=True), force=force))


def _override(call: Call, values: tuple[str, ...], *, dry_run: bool, wait: float) -> None:
    from releaser.override import COMMAND, override, read_overrides

    overrides = read_overrides(call.project, os.environ, values)
    if dry_run:
        from releaser.rehearsal import rehearse_override

        _say_plan(call, rehearse_override(call.site(), overrides))
        return
    call.end(override(call.request(COMMAND, wait=wait), overrides), answers=True)


@cli.command()
@_common
@_dry_run
@_wait
@click.option("--force", is_flag=True, help="Also go to a release that was built for other dependencies.")
@click.argument("release", required=False)
def rollback(call: Call, release: str | None, dry_run: bool, wait: float, force: bool) -> None:
    """Go back to the last good release before the live one, or to RELEASE."""
    if dry_run:
        from releaser.rehearsal import rehearse_rollback

        _say_plan(call, rehearse_rollback(call.site(), release, force=force))
        return
    from releaser.rollback import rollback as run_rollback

    call.end(run_rollback(call.request("rollback", wait=wait, mails=True), to=release, force=force))


@cli.command("list")
@_common
def list_releases(call: Call) -> None:
    """List the kept releases, newest first."""
    import time

    from releaser.releases import listing

    site = call.site()
    rows = listing.rows(str(site.project.state_dir), str(site.project.venv))
    call.say_damage(site)
    if call.manner.json:
        call.manner.lines([listing.as_json(rows)])
    elif rows:
        call.manner.table(listing.COLUMNS, [listing.cells(row, time.time()) for row in rows])
        call.manner.lines(listing.users(rows))
    else:
        call.manner.note("there are no releases yet; adopt the project with `releaser init`")


@cli.command()
@_common
@click.argument("release")
def show(call: Call, release: str) -> None:
    """Show one release whole: its facts, package changes, steps, and the end of its test output."""
    from releaser.queries import show as ask
    from releaser.report.text import release_text

    details = ask(call.site(), release).as_json()
    if call.manner.json:
        call.manner.data(details)
    else:
        call.manner.lines(release_text(details))


@cli.command()
@_common
@click.argument("a")
@click.argument("b", required=False)
def diff(call: Call, a: str, b: str | None) -> None:
    """Show the package changes from release A to release B (default: the live one)."""
    from dataclasses import asdict

    from releaser.queries import diff as ask

    changes = ask(call.site(), a, b)
    if call.manner.json:
        call.manner.data([asdict(change) for change in changes])
    elif changes:
        call.manner.changes(changes)
    else:
        call.manner.note("no package differs")


@cli.command()
@_common
@click.argument("release", required=False)
def audit(call: Call, release: str | None) -> None:
    """Ask what vulnerabilities are known of the packages of RELEASE (default: the live one)."""
    from releaser.queries import audit as ask
    from releaser.report.security import COLUMNS, cells

    found = ask(call.site(), release)
    if call.manner.json:
        call.manner.data(found.as_json())
    elif found.audit.vulnerabilities:
        call.manner.table(COLUMNS, cells(found.audit.vulnerabilities))
    failure = found.failure()
    if failure is not None:
        raise failure
    if not call.manner.json:
        call.manner.note(f"no vulnerability of {found.release} is known")


@cli.command()
@_common
def outdated(call: Call) -> None:
    """Show what is newer than what is locked, and what keeps it from coming in."""
    from releaser.outdated import outdated as ask
    from releaser.report.newer import outdated_text

    outlook = ask(call.site())
    if call.manner.verbose and outlook.elsewhere:
        call.manner.note(f"not asked about, as no index has them: {', '.join(outlook.elsewhere)}")
    if outlook.unknown:
        call.manner.note(f"the index has no version of: {', '.join(outlook.unknown)}")
    if call.manner.json:
        call.manner.data(outlook.as_json())
    elif outlook.newer:
        call.manner.lines(outdated_text(outlook.as_json()))
    else:
        call.manner.note("everything is at its newest version")


@cli.command()
@_common
def status(call: Call) -> None:
    """Show how the site stands: what is live, the last run, what is pending, held back or quarantined."""
    import time

    from releaser.queries import status as ask
    from releaser.releases.listing import age
    from releaser.report.text import status_text

    found = ask(call.site())
    if call.manner.json:
        call.manner.data(found.as_json())
        return
    old = age(_ago(found.live_age_seconds or 0.0), time.time())
    call.manner.lines(status_text(found.as_json(), age=old))


def _ago(seconds: float) -> str:
    from datetime import UTC, datetime, timedelta

    return (datetime.now(UTC) - timedelta(seconds=seconds)).isoformat()


@cli.command()
@_common
@click.option("-n", "--number", type=click.IntRange(min=1), default=20, show_default=True, help="How many runs.")
def history(call: Call, number: int) -> None:
    """List the runs, newest first: when, what, the result, how long."""
    from releaser.report import history as records
    from releaser.report.text import history_text

    runs = records.read(call.site().project.state_dir)[:number]
    if call.manner.json:
        call.manner.data(runs)
    elif runs:
        call.manner.lines(history_text(runs))
    else:
        call.manner.note("there have been no runs yet")


@cli.command()
@_common
@_dry_run
@_wait
def prune(call: Call, dry_run: bool, wait: float) -> None:
    """Delete the releases that the policy no longer keeps, with the reason for each."""
    from releaser.rehearsal import rehearse_prune
    from releaser.upkeep import prune_releases

    if dry_run:
        report, verdicts = None, rehearse_prune(call.site())
    else:
        report, verdicts = prune_releases(call.request("prune", wait=wait))
    if call.manner.json:
        call.manner.data([one.as_json() for one in verdicts])
    elif verdicts and not call.manner.quiet:
        call.manner.table(("", "RELEASE", "WHY"), [[one.action, one.id, one.reason] for one in verdicts])
    if report is not None and (report.exit_code or report.recovered):
        Manner(quiet=call.manner.quiet).say_report(report)
    sys.exit(report.exit_code if report else 0)


def _pin(call: Call, release: str, *, on: bool, dry_run: bool) -> None:
    if dry_run:
        from releaser.rehearsal import rehearse_pin

        _say_plan(call, rehearse_pin(call.site(), release, on=on))
        return
    from releaser.upkeep import set_pin

    call.end(set_pin(call.request("pin" if on else "unpin"), release, on=on))


@cli.command()
@_common
@_dry_run
@click.argument("release")
def pin(call: Call, release: str, dry_run: bool) -> None:
    """Never prune RELEASE."""
    _pin(call, release, on=True, dry_run=dry_run)


@cli.command()
@_common
@_dry_run
@click.argument("release")
def unpin(call: Call, release: str, dry_run: bool) -> None:
    """Let RELEASE be pruned again."""
    _pin(call, release, on=False, dry_run=dry_run)


@cli.command()
@_common
@_dry_run
@click.argument("name")
@click.argument("reason", required=False, default="")
def hold(call: Call, name: str, reason: str, dry_run: bool) -> None:
    """Leave the package NAME at the version that it has, until `releaser unhold`. REASON is for those who get mail."""
    if dry_run:
        from releaser.rehearsal import rehearse_hold

        _say_plan(call, rehearse_hold(call.site(), name, reason))
        return
    from releaser.upkeep import hold as hold_package

    call.end(hold_package(call.request("hold"), name, reason))


@cli.command()
@_common
@_dry_run
@click.argument("name")
def unhold(call: Call, name: str, dry_run: bool) -> None:
    """Let newer versions of the package NAME come in again, whoever holds it, the tests included."""
    if dry_run:
        from releaser.rehearsal import rehearse_unhold

        _say_plan(call, rehearse_unhold(call.site(), name))
        return
    from releaser.upkeep import unhold as unhold_package

    call.end(unhold_package(call.request("unhold"), name))


@cli.command(context_settings={"ignore_unknown_options": True})
@_common
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def run(call: Call, command: tuple[str, ...]) -> None:
    """Run COMMAND in the live release, which stays the same for it whatever is flipped meanwhile."""
    from releaser.execute import execute

    execute(call.site(), command)


def _say_plan(call: Call, plan: Any) -> None:
    from dataclasses import asdict

    if call.manner.json:
        call.manner.data({"dry_run": True, "would": plan.lines, "changes": [asdict(one) for one in plan.changes]})
        return
    call.manner.changes(plan.changes)
    for line in plan.lines:
        call.manner.lines([f"dry run: {line}"])
