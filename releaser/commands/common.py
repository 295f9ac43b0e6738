"""What all commands share: their options, the project they are about, and how they speak and end."""

from __future__ import annotations

import functools
import os
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from releaser.console import Manner, say_error
from releaser.errors import Interrupted, PreflightError, ReleaserError, Unfit, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from releaser.conduct import Request
    from releaser.project.chosen import Chosen
    from releaser.project.site import Site
    from releaser.rehearsal import Plan
    from releaser.report.outcome import RunReport


class Place(click.Path):
    """A path; an empty name, which an unset variable of a script leaves, is not the current one."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            self.fail("the name is empty", param, ctx)
        return super().convert(value, param, ctx)


class Call:
    """What every command gets: the project, and how to speak."""

    def __init__(self, project: Path, manner: Manner) -> None:
        self.project = project
        self.manner = manner

    def site(self, *, founds: bool = False) -> Site:
        """Read the project for a question; what is wrong with its settings is a warning then.

        What `founds` the project tells of that by itself.
        """
        from releaser.project.site import find_site, open_site

        site = (open_site if founds else find_site)(self.project, os.environ)
        for finding in site.findings if not founds else ():
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

    def say_warnings(self, site: Site, *, beside: Iterable[Unfit] = ()) -> list[str]:
        """Warn of what lets nobody be told, and of what the caller has found `beside`; return it in sentences."""
        from releaser.project.telling import warnings
        from releaser.report.text import sentences

        found = [sentences(one.message, one.advice) for one in (*warnings(site), *beside)]
        for sentence in found:
            self.manner.note(f"warning: {sentence}")
        return found

    def say_chosen(self, chosen: Iterable[Chosen]) -> None:
        """Say what was chosen for the site, and what says so; as JSON, it is in the answer."""
        for one in chosen if not self.manner.json else ():
            self.manner.note(str(one))

    def end(self, report: RunReport, *, answers: bool = False) -> None:
        """Say how a run ended, and exit; what `answers` a question is said even if nothing changed."""
        self.manner.say_report(report, answers=answers)
        sys.exit(report.exit_code)


def _unreadable(error: PermissionError) -> PreflightError:
    message = f"{error.filename or error} cannot be read by this user (uid {os.geteuid()}): {error.strerror}"
    advice = "Run it as the user who owns the project, or let this user read it."
    return PreflightError((Unfit(message, advice=advice),))


def common(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that all have, and let errors end it with their exit code."""

    @click.option(
        "--project",
        type=Place(path_type=Path),
        envvar="RELEASER_PROJECT",
        default=Path(),
        show_default="the current directory",
        help="The directory of the project, or one in it.",
    )
    @click.option("--json", "as_json", is_flag=True, help="Print JSON.")
    @click.option("-v", "--verbose", is_flag=True, help="Say more, also without a terminal.")
    @click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors.")
    @functools.wraps(function)
    def command(project: Path, as_json: bool, verbose: bool, quiet: bool, **options: Any) -> None:
        try:
            if verbose and quiet:
                message = "--verbose and --quiet exclude each other"
                raise UsageError(message, advice="Leave one of them out.")
            function(Call(project, Manner(json=as_json, verbose=verbose, quiet=quiet)), **options)
        except ReleaserError as error:
            say_error(error)
            sys.exit(error.exit_code)
        except PermissionError as error:  # of monitoring, say, which asks as a user who may not read all
            say_error(_unreadable(error))
            sys.exit(PreflightError.exit_code)
        except KeyboardInterrupt:
            sys.exit(128 + signal.SIGINT)
        except Interrupted as interrupt:  # a second signal, while the first was being dealt with
            sys.exit(128 + interrupt.signal_number)

    return command


dry_run = click.option("--dry-run", is_flag=True, help="Write nothing; say what would be done.")
wait = click.option(
    "--wait",
    type=click.FloatRange(min=0),
    default=0.0,
    metavar="SECONDS",
    help="Wait so long for another run to end.",
)
FORCE_HELP = "Also take versions and candidates that failed before."


def say_plan(call: Call, plan: Plan) -> None:
    """Say what a run would do."""
    if call.manner.json:
        call.manner.data({"dry_run": True, "would": plan.lines, "changes": [asdict(one) for one in plan.changes]})
        return
    call.manner.changes(plan.changes)
    for line in plan.lines:
        call.manner.lines([f"dry run: {line}"])
