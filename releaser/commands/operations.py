"""The commands that change a site, and those that run a program in the live release."""

from __future__ import annotations

import os
import sys
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from releaser.commands import completion, updates
from releaser.commands.command import DIRECTORY, command, plain_command
from releaser.commands.context import CommandContext, refuse_both
from releaser.commands.elsewhere import elsewhere_options, run_options
from releaser.commands.output import Output
from releaser.commands.run_options import asked_in
from releaser.errors import UsageError, refuse
from releaser.site.conventions import ConventionsSection
from releaser.system.durations import how_often, seconds_of
from releaser.system.frozen import replace
from releaser.system.words import size

if TYPE_CHECKING:
    from collections.abc import Callable

    from releaser.pipelines.maintenance import Change


def _read_time(read: Callable[[str], float], _: click.Context, __: click.Parameter, value: str | None) -> float | None:
    try:
        return None if value is None else read(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


@command(section="Set up", example="releaser init --dry-run", changes=True, waits=True)
@click.option("--force", is_flag=True, help="Adopt a .venv even if it differs from uv.lock or the first lock.")
@click.option(
    "--from-venv",
    type=DIRECTORY,
    metavar="PATH",
    help="Lock the packages of this venv or Python, for a project without uv.lock.",
)
@click.option(
    "--from-requirements",
    type=DIRECTORY,
    metavar="FILE",
    help="Lock the packages of this requirements file, with their installed or pinned versions.",
)
@click.option("--from-pyproject", "declared", is_flag=True, help="Lock the dependencies that pyproject.toml lists.")
@click.option(
    "--without", multiple=True, metavar="NAME", help="Omit this package from the first lock. May be repeated."
)
@click.option(
    "--with",
    "given",
    multiple=True,
    metavar="PACKAGE",
    help="Lock this package as given ('NAME @ URL-or-path', 'NAME==VERSION'). May be repeated.",
)
def init(
    ctx: CommandContext,
    force: bool,
    from_venv: Path | None,
    from_requirements: Path | None,
    declared: bool,
    without: tuple[str, ...],
    given: tuple[str, ...],
) -> None:
    """Adopt the project: .venv becomes the first release.

    A symlink takes the place of .venv. The command is safe to repeat.
    """
    from releaser.pipelines import init as pipeline

    if declared and from_requirements is not None:
        refuse_both("--from-pyproject", "--from-requirements")
    if from_venv is not None or from_requirements is not None or declared:
        from releaser.pipelines.first_lock import create_first_lock, plan_first_lock, read_request

        wanted = read_request(from_venv, from_requirements, without, given, declared=declared)
        ctx = replace(ctx, creates_pyproject=True)
        report = ctx.run(plan_first_lock, create_first_lock, wanted, force=force)
    elif without or given:
        message = f"{'--without' if without else '--with'} needs --from-venv or --from-requirements"
        raise UsageError(message, "Run `releaser init`: a project with a uv.lock is adopted with that lock.")
    else:
        report = ctx.run(pipeline.plan_init, pipeline.init, force=force)
    ctx.print_chosen(ConventionsSection.of(report).chosen)
    ctx.end(report)


@plain_command(updates.COMMAND, section="Daily use", example="releaser update --dry-run", many="all")
@elsewhere_options
@run_options("update")
@click.argument("names", metavar="[NAME]...", nargs=-1, shell_complete=completion.packages)
@wraps(updates.update)
def update(ctx: CommandContext, **options: Any) -> None:
    updates.update(ctx, **options)


@command(section="Daily use", example="releaser rollback", changes=True, waits=True, mails=True)
@click.option(
    "--force",
    is_flag=True,
    help="Stay on the release even if a later step fails; with --keep-code, accept a release with other dependencies.",
)
@click.option("--keep-code", is_flag=True, help="Roll back only the packages, and keep the code.")
@click.argument("release", required=False, shell_complete=completion.releases)
def rollback(ctx: CommandContext, release: str | None, force: bool, keep_code: bool) -> None:
    """Go back to the previous release, or to RELEASE.

    The code goes back to the commit that the release was tested with.
    """
    from releaser.pipelines import rollback as pipeline

    ctx.end(ctx.run(pipeline.plan_rollback, pipeline.rollback, release, force=force, keep_code=keep_code))


@command(section="Build and run", example="releaser rebuild --python 3.13", changes=True, waits=True, mails=True)
@click.option(
    "--python",
    metavar="PYTHON",
    help="Build with this interpreter: a version or a path, as for uv. Nothing is downloaded.",
)
@run_options("rebuild")
@click.option("--force", is_flag=True, help="Continue even if the live site fails its health check.")
@click.argument("release", required=False, metavar="")
def rebuild(ctx: CommandContext, release: str | None, python: str | None, force: bool, **given: Any) -> None:
    """Rebuild the live release from its lock, test it, and make it live."""
    if release is not None:
        message = f"rebuild takes no release ({release!r}): it rebuilds the live release"
        raise UsageError(
            message, "Run `releaser rebuild`. To go to an earlier release, run `releaser rollback RELEASE`."
        )
    if python is not None and not python.strip():
        message = "--python is empty"
        raise UsageError(message, "Name a version, such as 3.12, or the path of an interpreter.")
    if python and "/" in python:  # uv runs in another directory
        python = os.path.abspath(Path(python).expanduser())
    from releaser.pipelines import rebuild as pipeline

    ctx = replace(ctx, asked=asked_in("rebuild", given))
    plan = partial(pipeline.plan_rebuild, asked=tuple(one.section(value) for one, value in ctx.asked))
    ctx.end(ctx.run(plan, pipeline.rebuild, python=python, force=force))


@command(section="Keep and hold", example="releaser prune --dry-run", changes=True, waits=True)
def prune(ctx: CommandContext) -> None:
    """Delete the releases that the policy no longer keeps. Prints the reason for each."""
    from releaser.answers import Pruning
    from releaser.pipelines.maintenance import freed_by, plan_prune, prune_releases

    if ctx.dry_run:
        site = ctx.site()
        report, decisions = None, plan_prune(site)
        if freed := freed_by(site, decisions):
            ctx.output.note(f"the deletion would free {size(freed)}")
    else:
        report, decisions = prune_releases(ctx.request())
    if ctx.output.json:
        ctx.output.print_json(
            [
                Pruning(
                    release=one.id, action=one.action, reason=one.reason, reasons=one.reasons, error=one.error or None
                )
                for one in decisions
            ]
        )
    elif decisions and not ctx.output.quiet:
        ctx.output.print_table(("", "RELEASE", "WHY"), [[one.action, one.id, one.reason] for one in decisions])
    if report is not None and (report.exit_code or report.has_news_from_before):
        Output(quiet=ctx.output.quiet).print_report(report)
    sys.exit(report.exit_code if report else 0)


def _change(ctx: CommandContext, decide: Callable[..., Change], *words: str) -> None:
    """Make the change that `decide` returns, or print it in a dry run."""
    from releaser.pipelines.maintenance import make_change, plan_change

    ctx.end(ctx.run(plan_change, make_change, decide, *words))


@command(section="Keep and hold", example="releaser pin 20260424T030001Z-81", changes=True)
@click.argument("release", shell_complete=completion.releases)
def pin(ctx: CommandContext, release: str) -> None:
    """Keep RELEASE: never prune it."""
    from releaser.pipelines.maintenance import decide_pin

    _change(ctx, partial(decide_pin, on=True), release)


@command(section="Keep and hold", example="releaser unpin 20260424T030001Z-81", changes=True)
@click.argument("release", shell_complete=completion.releases)
def unpin(ctx: CommandContext, release: str) -> None:
    """Allow RELEASE to be pruned again."""
    from releaser.pipelines.maintenance import decide_pin

    _change(ctx, partial(decide_pin, on=False), release)


@command(section="Keep and hold", example='releaser hold django "until the admin is migrated"', changes=True)
@click.argument("name", shell_complete=completion.packages)
@click.argument("reason", required=False, default="")
def hold(ctx: CommandContext, name: str, reason: str) -> None:
    """Keep the package NAME at its version. Mails quote REASON. Undo: `releaser unhold NAME`."""
    from releaser.pipelines.holds import decide_hold

    _change(ctx, decide_hold, name, reason)


@command(section="Keep and hold", example="releaser unhold django", changes=True)
@click.argument("name", shell_complete=completion.complete_held)
def unhold(ctx: CommandContext, name: str) -> None:
    """Take a package, commit or candidate off hold. NAME is its name in `releaser status`."""
    from releaser.pipelines.holds import decide_unhold

    _change(ctx, decide_unhold, name)


@command(section="Keep and hold", example="releaser accept django", changes=True)
@click.argument("name", shell_complete=completion.complete_asked)
def accept(ctx: CommandContext, name: str) -> None:
    """Accept a changed index, file or publisher of the package NAME."""
    from releaser.pipelines.holds import decide_accept

    _change(ctx, decide_accept, name)


@command(
    section="Build and run",
    example="releaser run python manage.py shell",
    context_settings={"ignore_unknown_options": True},
)
@click.argument("words", metavar="COMMAND...", nargs=-1, required=True, type=click.UNPROCESSED)
def run(ctx: CommandContext, words: tuple[str, ...]) -> None:
    """Run COMMAND in the live release. COMMAND keeps that release even if another one goes live."""
    _become(ctx, words, None)


@command(
    "exec",
    section="Build and run",
    example="releaser exec --refresh daily -- python manage.py check",
    context_settings={"allow_interspersed_args": False},
)
@click.option(
    "--refresh",
    metavar="INTERVAL",
    callback=partial(_read_time, how_often),
    help="Update first if the last update is older than INTERVAL: daily, weekly, or a time such as 12h.",
)
@click.option(
    "--wait",
    "most",
    metavar="TIME",
    default="5s",
    show_default=True,
    callback=partial(_read_time, seconds_of),
    help="How long COMMAND waits for the update, which then continues in the background.",
)
@click.argument("words", metavar="COMMAND...", nargs=-1, required=True, type=click.UNPROCESSED)
def execute(ctx: CommandContext, refresh: float | None, most: float, words: tuple[str, ...]) -> None:
    """Run COMMAND as `run` does; with --refresh, update first if due."""
    _become(ctx, words, (refresh, most) if refresh else None)


def _become(ctx: CommandContext, words: tuple[str, ...], refresh: tuple[float, float] | None) -> None:
    from releaser import launch
    from releaser.releases.store import store_of

    site = ctx.site()
    place = launch.Place.of(site)
    if refresh:
        launch.look(place, *refresh)
    live = place.live
    if live is None:
        from releaser.releases.release import refuse_without_live

        refuse_without_live(store_of(site))
    name = os.path.basename(live)
    if why := place.distrust(live):
        message = f"{words[0]} was not started in {name}: {why}"
        refuse("release-damaged", message, "Run `releaser rebuild` to replace the release, and check who changed it.")
    try:
        launch.become(place, live, words)
    except OSError as error:
        message = f"{words[0]} cannot be started in {name}: {error.strerror}"
        raise UsageError(message, "Check the name: PATH starts with the programs of the release.") from error
