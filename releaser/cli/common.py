"""The options that commands share, and the way from a pipeline to an exit code."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import click
import msgspec

from releaser.cli import render
from releaser.errors import ReleaserError
from releaser.packages.holds import describe_hold, read_holds
from releaser.pipelines.override import read_override
from releaser.pipelines.recover import Recovery
from releaser.pipelines.session import Body, End, run_command
from releaser.releases.store import SiteRun, Store
from releaser.report.history import read_history
from releaser.report.outcomes import Outcome
from releaser.report.terminal import StepPrinter
from releaser.site.settings import read_seconds
from releaser.site.site import Site, open_site
from releaser.system.run import Command

Shell = Literal["bash", "zsh", "fish"]


class Group(click.Group):
    """A group whose help has whole sentences on its commands, by section if it has `sections`."""

    sections: Mapping[str, Sequence[click.Command]] = {}

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write a list of commands for each section."""
        for title, commands in (self.sections or {"Commands": [*self.commands.values()]}).items():
            with formatter.section(title):
                formatter.write_dl([(command.name or "", command.get_short_help_str(200)) for command in commands])


class Common(msgspec.Struct, frozen=True):
    """The options that every command has."""

    project: Path
    as_json: bool
    verbose: bool
    quiet: bool
    wait: float = 0

    def open_site(self) -> Site:
        """Return the site that the option `--project` names. Raises PreflightError."""
        return open_site(self.project, os.environ)


def common_options(*, takes_lock: bool) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return a decorator that gives a command the common options, as one value."""

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(function)
        def call(project: Path, as_json: bool, verbose: bool, quiet: bool, wait: float = 0, **options: Any) -> None:
            function(Common(project, as_json, verbose, quiet, wait), **options)

        return add_options(call, [*_COMMON, _WAIT] if takes_lock else _COMMON)

    return decorate


_PLACE = click.Path(readable=False, path_type=Path)
_COMMON = (
    click.option(
        "--project", type=_PLACE, default=Path(), metavar="PATH", envvar="RELEASER_PROJECT",
        help="The project, or a directory below it.",
    ),
    click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON."),
    click.option("-v", "--verbose", is_flag=True, help="Say what is done, also without a terminal."),
    click.option("-q", "--quiet", is_flag=True, help="Say nothing unless something fails."),
)  # fmt: skip
_WAIT = click.option(
    "--wait", type=click.FloatRange(min=0), default=0, metavar="SECONDS", help="Wait for another run to end."
)


def add_options(
    function: Callable[..., None], options: Sequence[Callable[[Callable[..., None]], Callable[..., None]]]
) -> Callable[..., None]:
    """Return a command with options, in their order."""
    for option in reversed(options):
        function = option(function)
    return function


def _make_completer(list_words: Callable[[Site], list[str]]) -> Callable[..., list[str]]:
    """Return what gives a shell those words of a site that begin as a person has typed."""

    def complete(context: click.Context, parameter: click.Parameter, begin: str) -> list[str]:
        with contextlib.suppress(ReleaserError, OSError):  # a shell shows no error while a person types
            words = list_words(open_site(context.params.get("project") or Path(), os.environ))
            return [word for word in dict.fromkeys(words) if word and word.startswith(begin)]
        return []

    return complete


complete_release = _make_completer(lambda site: ["live", "previous", *(each.id for each in Store(site.paths).releases)])
complete_hold = _make_completer(lambda site: [describe_hold(hold).word for hold in read_holds(site.paths)])


def completion_line(shell: Shell) -> str:
    """Return the line for `.bashrc`, `.zshrc` or fish's `config.fish` by which the shell completes `releaser`."""
    source = f"_RELEASER_COMPLETE={shell}_source releaser"
    return f"{source} | source" if shell == "fish" else f'eval "$({source})"'


class _Value(click.ParamType[Any]):
    """A value that a function reads, which raises ValueError with what it must be."""

    def __init__(self, name: str, read: Callable[[str], object]) -> None:
        self.name, self.read = name, read

    def convert(self, value: str, parameter: click.Parameter | None, context: click.Context | None) -> object:
        """Return the value. Raises UsageError."""
        try:
            return self.read(value)
        except ValueError as error:
            self.fail(f"it must be {error}.", parameter, context)


#: A time as settings take it, such as `12h`; its value is in seconds.
TIME = _Value("time", read_seconds)
OVERRIDES = click.option(
    "--override", "overrides", type=_Value("requirement", read_override), multiple=True, metavar="'NAME @ URL'",
    help=(
        "Only build and test, with a package from a branch, such as `django @ git+https://HOST/REPOSITORY@BRANCH`, "
        "a directory or a wheel. It never goes live."
    ),
)  # fmt: skip


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
