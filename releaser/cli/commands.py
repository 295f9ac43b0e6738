"""The commands: each parses, calls one pipeline and prints."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import msgspec

from releaser import __version__
from releaser.cli import render
from releaser.errors import ReleaserError, explain_os_error, refuse
from releaser.pipelines import checks
from releaser.pipelines.init import init, preview_init
from releaser.pipelines.marks import hold, set_pinned, unhold
from releaser.pipelines.prune import preview_prune, prune
from releaser.pipelines.rollback import preview_rollback, rollback
from releaser.pipelines.session import Body, run_command
from releaser.pipelines.update import preview_update, update
from releaser.releases.store import Store
from releaser.report.details import describe_release, find_log
from releaser.report.listing import list_releases
from releaser.report.outcome import Outcome, name_result
from releaser.report.status import make_status
from releaser.report.terminal import StepPrinter
from releaser.site.site import Site, open_site
from releaser.system.text import clean_terminal


class Common(msgspec.Struct, frozen=True):
    """The options that every command has."""

    project: Path
    as_json: bool
    verbose: bool
    quiet: bool
    wait: float = 0


def common_options(*, takes_lock: bool) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return a decorator that gives a command the common options, as one value."""

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(function)
        def call(project: Path, as_json: bool, verbose: bool, quiet: bool, wait: float = 0, **options: Any) -> None:
            function(Common(project, as_json, verbose, quiet, wait), **options)

        decorators = [
            click.option("--project", type=click.Path(path_type=Path), default=Path(), envvar="RELEASER_PROJECT",
                         metavar="PATH", help="The project, or a directory below it."),
            click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON."),
            click.option("-v", "--verbose", is_flag=True, help="Say what is done, also without a terminal."),
            click.option("-q", "--quiet", is_flag=True, help="Say nothing unless something fails."),
        ]  # fmt: skip
        if takes_lock:
            decorators.append(
                click.option("--wait", type=click.FloatRange(min=0), default=0, metavar="SECONDS",
                             help="Wait for another run to end.")
            )  # fmt: skip
        decorated: Callable[..., None] = call
        for decorator in reversed(decorators):
            decorated = decorator(decorated)
        return decorated

    return decorate


def _run(common: Common, command: str, body: Body) -> None:
    """Run a command that takes the lock; print its outcome and exit."""
    printer = StepPrinter(verbose=common.verbose, quiet=common.quiet)
    outcome = run_command(common.project, os.environ, command, body, wait=common.wait, on_step=printer)
    _finish(common, outcome)


def _preview(common: Common, preview: Callable[[Site], Outcome]) -> None:
    """Run a command with `--dry-run`: no lock, no write, no recovery."""
    outcome = preview(open_site(common.project, os.environ))
    _finish(common, msgspec.structs.replace(outcome, is_quiet=False))


def _finish(common: Common, outcome: Outcome) -> None:
    render.print_outcome(outcome, as_json=common.as_json, verbose=common.verbose, quiet=common.quiet)
    sys.exit(outcome.exit_code)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="releaser")
def releaser() -> None:
    """Keep the Python environment of a running site up to date, safely.

    \b
    Exit codes: 0 done, 2 usage, 3 not fit, 4 not built, 5 tests failed,
    6 rolled back, 7 live with a problem, 8 locked, 9 no such release,
    10 needs attention.
    """


@releaser.command("update")
@click.option("--force", is_flag=True, help="Try again what failed.")
@click.option("--dry-run", is_flag=True, help="Only say what would be updated.")
@common_options(takes_lock=True)
def update_command(common: Common, force: bool, dry_run: bool) -> None:
    """Update packages and code: resolve, build, test, flip, restart, push."""
    if dry_run:
        _preview(common, preview_update)
    _run(common, "update", lambda site, run, recovery: update(site, run, force=force))


@releaser.command("rollback")
@click.argument("release", required=False)
@click.option("--keep-code", is_flag=True, help="Leave the checkout as it is.")
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@common_options(takes_lock=True)
def rollback_command(common: Common, release: str | None, keep_code: bool, dry_run: bool) -> None:
    """Go back to RELEASE, or to the previous good release."""
    if dry_run:
        _preview(common, lambda site: preview_rollback(site, release, keep_code=keep_code))
    _run(common, "rollback", lambda site, run, recovery: rollback(site, run, recovery, release, keep_code=keep_code))


@releaser.command("list")
@common_options(takes_lock=False)
def list_command(common: Common) -> None:
    """List the releases, newest first."""
    rows = list_releases(open_site(common.project, os.environ))
    render.print_json(rows) if common.as_json else render.print_list(rows)


@releaser.command("status")
@common_options(takes_lock=False)
def status_command(common: Common) -> None:
    """Show the state of the site; exit 10 if it needs attention."""
    site = open_site(common.project, os.environ)
    status = make_status(site, checks.find_problems(site))
    render.print_json(status) if common.as_json else render.print_status(status)
    sys.exit(0 if status.well else 10)


@releaser.command("show")
@click.argument("release")
@common_options(takes_lock=False)
def show_command(common: Common, release: str) -> None:
    """Show RELEASE: its changes, steps, and the end of its tests."""
    details = describe_release(open_site(common.project, os.environ), release)
    render.print_json(details) if common.as_json else render.print_details(details)


@releaser.command("logs")
@click.argument("run", required=False)
@common_options(takes_lock=False)
def logs_command(common: Common, run: str | None) -> None:
    """Print the log of RUN, or of the newest one."""
    path = find_log(open_site(common.project, os.environ), run)
    text = path.read_text(encoding="utf-8", errors="replace")
    render.print_json({"run": path.stem, "text": text}) if common.as_json else click.echo(
        clean_terminal(text), nl=False
    )


@releaser.command("check")
@common_options(takes_lock=False)
def check_command(common: Common) -> None:
    """Name every reason why an update would be refused."""
    site = open_site(common.project, os.environ)
    store = Store(site.paths)
    problems = checks.find_problems(site, initializing=store.link.kind != "release" and not store.releases)
    shadow = "" if problems else checks.describe_shadow(site)
    if common.as_json:
        render.print_json({"problems": problems, "shadow": shadow})
    elif problems:
        render.print_problems(problems)
    elif not common.quiet:
        click.echo("The site is fit for updates.", err=True)
        click.echo(f"Tests run {shadow}", err=True)
    sys.exit(3 if problems else 0)


@releaser.command("init")
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@common_options(takes_lock=True)
def init_command(common: Common, dry_run: bool) -> None:
    """Make the first release, or adopt the venv that exists."""
    if dry_run:
        _preview(common, preview_init)
    _run(common, "init", lambda site, run, recovery: init(site, run))


@releaser.command("prune")
@click.option("--dry-run", is_flag=True, help="Only say what would be deleted.")
@common_options(takes_lock=True)
def prune_command(common: Common, dry_run: bool) -> None:
    """Delete the releases that the settings let go."""
    if dry_run:
        _preview(common, preview_prune)
    _run(common, "prune", lambda site, run, recovery: prune(site, run))


@releaser.command("pin")
@click.argument("release")
@common_options(takes_lock=True)
def pin_command(common: Common, release: str) -> None:
    """Keep RELEASE from pruning."""
    _run(common, "pin", lambda site, run, recovery: set_pinned(site, release, pinned=True))


@releaser.command("unpin")
@click.argument("release")
@common_options(takes_lock=True)
def unpin_command(common: Common, release: str) -> None:
    """Let pruning delete RELEASE again."""
    _run(common, "unpin", lambda site, run, recovery: set_pinned(site, release, pinned=False))


@releaser.command("hold")
@click.argument("name")
@common_options(takes_lock=True)
def hold_command(common: Common, name: str) -> None:
    """Let updates leave package NAME at its live version."""
    _run(common, "hold", lambda site, run, recovery: hold(site, name))


@releaser.command("unhold")
@click.argument("names", nargs=-1, required=True, metavar="NAME…")
@common_options(takes_lock=True)
def unhold_command(common: Common, names: tuple[str, ...]) -> None:
    """Let updates take these packages again; `commit` stands for a commit."""
    _run(common, "unhold", lambda site, run, recovery: unhold(site, names))


@releaser.command("run", context_settings={"ignore_unknown_options": True})
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="COMMAND…")
@common_options(takes_lock=False)
def run_command_in_release(common: Common, command: tuple[str, ...]) -> None:
    """Run COMMAND in the live release."""
    site = open_site(common.project, os.environ)
    release = Store(site.paths).find("live")
    env = site.tool_environment(release.venv)
    try:
        os.execvpe(command[0], command, env)  # noqa: S606 - this process becomes the command
    except OSError as error:
        raise click.UsageError(f"`{command[0]}` cannot be started: {error.strerror}.") from error


def main() -> None:
    """Run the command line; the only place that turns errors into exit codes."""
    try:
        releaser.main(standalone_mode=False)
    except click.exceptions.Exit as end:
        sys.exit(end.exit_code)
    except click.ClickException as wrong:
        wrong.show()
        sys.exit(2)
    except click.Abort:
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(141)
    except (ReleaserError, OSError) as failure:
        error = failure if isinstance(failure, ReleaserError) else refuse("system", f"{explain_os_error(failure)}.")
        _print_error(error)


def _print_error(error: ReleaserError) -> None:
    outcome = Outcome(name_result(error.exit_code), error.exit_code, error.message, problems=error.problems)
    render.print_outcome(outcome, as_json="--json" in sys.argv, verbose=True, quiet=False)
    sys.exit(error.exit_code)
