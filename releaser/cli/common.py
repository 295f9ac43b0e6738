"""The options that commands share, and the way from a pipeline to an exit code."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import msgspec

from releaser.cli import render
from releaser.pipelines.recover import Recovery
from releaser.pipelines.session import Body, End, run_command
from releaser.releases.store import SiteRun
from releaser.report.history import read_history
from releaser.report.outcomes import Outcome
from releaser.report.terminal import StepPrinter
from releaser.site.settings import read_seconds
from releaser.site.site import Site, open_site
from releaser.system.run import Command


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
            click.option(
                "--project",
                type=click.Path(readable=False, path_type=Path),
                default=Path(),
                metavar="PATH",
                envvar="RELEASER_PROJECT",
                help="The project, or a directory below it.",
            ),
            click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON."),
            click.option("-v", "--verbose", is_flag=True, help="Say what is done, also without a terminal."),
            click.option("-q", "--quiet", is_flag=True, help="Say nothing unless something fails."),
        ]
        if takes_lock:
            decorators.append(
                click.option(
                    "--wait",
                    type=click.FloatRange(min=0),
                    default=0,
                    metavar="SECONDS",
                    help="Wait for another run to end.",
                )
            )
        decorated: Callable[..., None] = call
        for decorator in reversed(decorators):
            decorated = decorator(decorated)
        return decorated

    return decorate


class _Time(click.ParamType[float]):
    """A time as settings take it, such as `12h`; its value is in seconds."""

    name = "time"

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> float:
        """Return the seconds. Raises UsageError."""
        try:
            return read_seconds(value)
        except ValueError as error:
            self.fail(f"it must be {error}.", parameter, context)


TIME = _Time()


def run_and_exit(common: Common, command: Command, body: Body, end: End | None = None) -> None:
    """Run a command that takes the lock; print its outcome and exit."""
    printer = StepPrinter(verbose=common.verbose, quiet=common.quiet)

    def show_and_run(site: Site, run: SiteRun, recovery: Recovery) -> Outcome:
        printer.learn(read_history(site.paths) if printer.is_live else ())
        return body(site, run, recovery)

    outcome = run_command(common.project, os.environ, command, show_and_run, wait=common.wait, on_step=printer, end=end)
    finish(common, outcome)


def preview_and_exit(common: Common, preview: Callable[[Site], Outcome], *, makes_project: bool = False) -> None:
    """Run a command with `--dry-run`: no lock, no write, no recovery."""
    finish(common, preview(open_site(common.project, os.environ, makes_project=makes_project)))


def finish(common: Common, outcome: Outcome) -> None:
    """Print an outcome, where that is possible, and exit."""
    try:
        render.print_outcome(outcome, as_json=common.as_json, verbose=common.verbose, quiet=common.quiet)
    except OSError:  # a closed pipe, or a full disk: the run itself is done
        render.drop_output()
        render.print_outcome(outcome, as_json=False, verbose=common.verbose, quiet=common.quiet)
    sys.exit(outcome.exit_code)
