"""The argument of every command, how commands begin, and the exit codes of errors. Imports no click: see plain.py."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, NoReturn, ParamSpec

from releaser.commands.output import Output
from releaser.errors import (
    BuildError,
    ExitCode,
    Finding,
    Interrupted,
    PreflightError,
    ReleaserError,
    UsageError,
    os_reason,
    refuse_any,
)
from releaser.site.ownership import admit
from releaser.system.files import TooLargeError
from releaser.system.frozen import Frozen, replace

if TYPE_CHECKING:
    from releaser.commands.run_options import RunOption
    from releaser.pipelines.session import Request
    from releaser.report import Plan, RunReport
    from releaser.site.conventions import Convention
    from releaser.site.site import Site

P = ParamSpec("P")
#: The variable with the project of commands that have no `--project`.
PROJECT = "RELEASER_PROJECT"


def refuse_both(one: str, other: str) -> NoReturn:
    """Raise UsageError for two options that cannot be combined."""
    message = f"{one} cannot be combined with {other}"
    raise UsageError(message, "Use only one of the two.")


class CommandContext(Frozen):
    """The argument of every command: the project, the output, and the common options."""

    #: The command, as reports name it.
    name: str
    project: Path
    output: Output
    dry_run: bool = False
    #: How long to wait for another run to end, in seconds.
    wait: float = 0.0
    #: True if its report is mailed.
    mails: bool = False
    #: True if it makes the first lock of a project; such a command reports wrong settings itself.
    creates_pyproject: bool = False
    #: The options that ask for another kind of run, each with its value.
    asked: tuple[tuple[RunOption, Any], ...] = ()

    def site(self) -> Site:
        """Return the site, for a command without a run; wrong settings are only warnings.

        Raises PreflightError if a file is in the place of the state directory.
        """
        from releaser.site.disk import find_misplaced_state
        from releaser.site.site import find_site, open_site

        site = (open_site if self.creates_pyproject else find_site)(self.project, os.environ)
        self.output.redactor.learn(site.redactor.secrets)
        self.warn(finding.message for finding in site.findings if not self.creates_pyproject)
        refuse_any(find_misplaced_state(site.project))
        return site

    def request(self) -> Request:
        """Return the request for a run."""
        from releaser.pipelines.session import Request

        shown, name = self.output.listener(), self.name
        return Request(
            path=self.project,
            environ=os.environ,
            command=name,
            listener=shown,
            wait=self.wait,
            mails=self.mails,
            asked=tuple(option.section(value) for option, value in self.asked),
        )

    def run(
        self,
        plan: Callable[Concatenate[Site, P], Plan],
        change: Callable[Concatenate[Request, P], RunReport],
        *args: P.args,
        **options: P.kwargs,
    ) -> RunReport:
        """Run `change`, and return its report; a dry run prints `plan` instead, and exits."""
        if not self.dry_run:
            gc.freeze()  # loaded modules stay until the end
            gc.set_threshold(20_000)  # with 100,000, the peak memory of an update is 1.5 MB higher
            return change(self.request(), *args, **options)
        found = plan(self.site(), *args, **options)
        self.print_plan(replace(found, would=(*(option.plan for option, _ in self.asked), *found.would)))
        sys.exit(0)

    def print_plan(self, found: Plan) -> None:
        """Print the plan of a dry run."""
        if self.output.json:
            self.output.print_json(found)
        else:
            self.output.print_changes(found.changes)
            self.output.print_lines(f"dry run: {line}" for line in found.would)

    def warn(self, sentences: Iterable[str]) -> tuple[str, ...]:
        """Print warnings, and return them."""
        found = tuple(sentences)
        for sentence in found:
            self.output.note(f"warning: {sentence}")
        return found

    def print_chosen(self, chosen: Iterable[Convention]) -> None:
        """Print the detected settings of the site, with their sources; with --json, the answer has them."""
        for one in chosen if not self.output.json else ():
            self.output.note(str(one))

    @property
    def is_unattended(self) -> bool:
        """True if a run that mails its report was started by a program: no person sees an error."""
        return self.mails and not self.dry_run and not (sys.stdin is not None and sys.stdin.isatty())

    def refuse(self, error: ReleaserError) -> NoReturn:
        """Report an error without a run, also by mail, and exit. Raises the error if the current directory is gone."""
        from releaser.pipelines.session import report_unopened

        try:
            report = report_unopened(self.request(), error)
        except FileNotFoundError:
            raise error from None
        self.end(report)

    def end(self, report: RunReport, *, answers: bool = False) -> NoReturn:
        """Print the report of a run, and exit; with `answers`, print it even if nothing changed."""
        self.output.print_report(report, answers=answers)
        sys.exit(report.exit_code)


@contextlib.contextmanager
def complete_installation() -> Iterator[None]:
    """Exit with an explanation if a module of releaser is gone, as after an upgrade during a run."""
    try:
        yield
    except ImportError as error:
        if not (error.name or "").startswith("releaser."):
            raise
        # By hand: the modules that print errors may be gone, too.
        advice = "Wait until its installation ends, then run the command again: it first repairs this run."
        sys.stderr.write(
            f"releaser: releaser was upgraded or removed during this run: {error}\n  what to do: {advice}\n"
        )
        sys.exit(ExitCode.BUG)


@contextlib.contextmanager
def exit_codes(output: Output) -> Iterator[None]:
    """Print an error, and exit with its exit code."""
    try:
        yield
    except BrokenPipeError:  # click ends quietly
        raise
    except (ReleaserError, OSError) as error:
        sys.exit(output.print_error(_in_words(error)))
    except KeyboardInterrupt:
        sys.exit(ExitCode.SIGNALLED + signal.SIGINT)
    except Interrupted as interrupt:  # a second signal, while the first was being handled
        sys.exit(ExitCode.SIGNALLED + interrupt.signal_number)


def _in_words(error: ReleaserError | OSError) -> ReleaserError:
    """Return an error of the system as one of releaser, with an advice. Runs report such errors by themselves."""
    if isinstance(error, ReleaserError):
        return error
    if isinstance(error, PermissionError):  # for example, monitoring runs as a user who may not read all files
        message = f"{error.filename or error} cannot be read by this user (uid {os.geteuid()}): {error.strerror}"
        advice = "Run the command as the user who owns the project, or let this user read the file."
        return PreflightError(Finding("file-unreadable", message, advice))
    if isinstance(error, TooLargeError):
        import shlex

        message = f"{error.filename} cannot be read: it is {error.strerror}"
        advice = f"Run `head -c 1000 {shlex.quote(error.filename)}` to see its contents, then restore or delete it."
        return PreflightError(Finding("file-unreadable", message, advice))
    message = f"the command could not continue: {os_reason(error)}"
    advice = "Check free space and permissions, also of the directory for temporary files (`TMPDIR`)."
    return BuildError(message, advice)


class Beginning(Frozen):
    """The start of a command: its name and its common options."""

    name: str
    has_dry_run: bool = False
    waits: bool = False
    #: True if it mails its report.
    mails: bool = False
    #: True if it can change the live release; then errors say that it is unchanged.
    changes_live: bool = False
    #: False if it checks the owner of the project by itself.
    admits: bool = True
    #: Runs the command for the sites that some options select, and exits; returns if they select none.
    for_many: Callable[[dict[str, Any], Output], None] | None = None

    def call(self, function: Callable[..., None], options: dict[str, Any]) -> None:
        """Call the function of the command with its options, after those that all commands have. Exits with errors."""
        output = Output(
            json=options.pop("as_json", False),
            verbose=options.pop("verbose", False),
            quiet=options.pop("quiet", False),
            changes=self.changes_live and not options.get("dry_run"),
            plugin=options.get("nagios", False),
        )
        project = options.pop("project", Path())
        with exit_codes(output):
            if output.verbose and output.quiet:
                refuse_both("--verbose", "--quiet")
            if self.for_many:
                self.for_many(options, output)
            creates = bool(options.get("from_venv") or options.get("from_requirements"))
            ctx = CommandContext(
                name=self.name,
                project=project,
                output=output,
                dry_run=options.pop("dry_run", False),
                wait=options.pop("wait", 0.0) if self.waits else 0.0,
                mails=self.mails,
            )
            try:
                if self.admits:
                    admit(project, self.name, os.environ, creates=creates)
                function(ctx, **options)
            except (UsageError, BrokenPipeError):
                raise
            except (ReleaserError, OSError) as error:
                if not ctx.is_unattended:
                    raise
                ctx.refuse(_in_words(error))
