"""The commands that change something, and the one that runs a program in the live release."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from releaser.cli.options import FORCE_HELP, NonEmptyPath, command, dry_run, wait
from releaser.cli.output import Output
from releaser.errors import NoSuchReleaseError, UsageError

if TYPE_CHECKING:
    from releaser.cli.options import CommandContext


@command()
@dry_run
@wait
@click.option("--force", is_flag=True, help="Adopt a .venv even if it differs from uv.lock.")
@click.option(
    "--from-venv",
    type=NonEmptyPath(path_type=Path),
    metavar="PATH",
    help="Lock exactly what is installed in this venv, for a project without uv.lock.",
)
@click.option(
    "--from-requirements",
    type=NonEmptyPath(path_type=Path),
    metavar="FILE",
    help="Lock what this requirements file asks for, for a project without uv.lock.",
)
@click.option("--without", multiple=True, metavar="NAME", help="Omit this package from the first lock.")
@click.option(
    "--with",
    "given",
    multiple=True,
    metavar="PACKAGE",
    help="Take this package from here ('NAME @ URL-or-path', 'NAME==VERSION').",
)
def init(
    ctx: CommandContext,
    dry_run: bool,
    wait: float,
    force: bool,
    from_venv: Path | None,
    from_requirements: Path | None,
    without: tuple[str, ...],
    given: tuple[str, ...],
) -> None:
    """Adopt the project: its .venv becomes the first release, and a symlink to it. Safe to repeat."""
    if from_venv is not None or from_requirements is not None:
        if force:
            message = "--force cannot be combined with --from-venv or --from-requirements"
            raise UsageError(message, advice="Use only one of them.")
        _create_first_lock(ctx, from_venv, from_requirements, without, given, dry_run=dry_run, wait=wait)
        return
    if without or given:
        message = f"{'--without' if without else '--with'} needs --from-venv or --from-requirements"
        raise UsageError(message, advice="A project with a uv.lock is adopted with that lock.")
    if dry_run:
        from releaser.pipelines.dry_run import plan_init

        ctx.end_dry_run(plan_init(ctx.site(), force=force))
    from releaser.pipelines.init import init as adopt

    report = adopt(ctx.request("init", wait=wait), force=force)
    ctx.say_chosen(report.chosen)
    ctx.end(report)


def _create_first_lock(
    ctx: CommandContext,
    venv: Path | None,
    requirements: Path | None,
    without: tuple[str, ...],
    given: tuple[str, ...],
    *,
    dry_run: bool,
    wait: float,
) -> None:
    from releaser.pipelines.first_lock import create_first_lock, read_request

    wanted = read_request(venv, requirements, without, given)
    if dry_run:
        from releaser.pipelines.dry_run import plan_first_lock

        ctx.end_dry_run(plan_first_lock(ctx.site(creates_pyproject=True), wanted))
    report = create_first_lock(ctx.request("init", wait=wait), wanted)
    ctx.say_chosen(report.chosen)
    ctx.end(report)


@command()
@dry_run
@wait
@click.option("--force", is_flag=True, help=FORCE_HELP)
@click.option(
    "--follow-remote", "follow", is_flag=True, help="Accept a remote branch that was moved back or rewritten."
)
@click.option(
    "--override",
    "overrides",
    multiple=True,
    metavar="PACKAGE",
    help="Build and test a candidate with this package instead ('NAME @ URL-or-path'), and never make it live.",
)
def update(
    ctx: CommandContext, dry_run: bool, wait: float, force: bool, follow: bool, overrides: tuple[str, ...]
) -> None:
    """Bring the site to the newest packages that pass its tests. This is the command for cron."""
    if overrides:
        if force or follow:
            message = f"{'--force' if force else '--follow-remote'} cannot be combined with --override"
            raise UsageError(message, advice="Use only one of them.")
        _override(ctx, overrides, dry_run=dry_run, wait=wait)
        return
    if dry_run:
        from releaser.pipelines.dry_run import plan_update

        ctx.end_dry_run(plan_update(ctx.site(), force=force, follow=follow))
    from releaser.pipelines.update import update as run_update

    ctx.end(run_update(ctx.request("update", wait=wait, mails=True), force=force, follow=follow))


def _override(ctx: CommandContext, values: tuple[str, ...], *, dry_run: bool, wait: float) -> None:
    from releaser.pipelines.trial import COMMAND, override, read_overrides

    overrides = read_overrides(ctx.project, os.environ, values)
    if dry_run:
        from releaser.pipelines.dry_run import plan_override

        ctx.end_dry_run(plan_override(ctx.site(), overrides))
    ctx.end(override(ctx.request(COMMAND, wait=wait), overrides), answers=True)


@command()
@dry_run
@wait
@click.option(
    "--force",
    is_flag=True,
    help="Go to a release even if it was built for other dependencies, and stay there if its health check fails.",
)
@click.option("--keep-code", is_flag=True, help="Roll back the packages only, and keep the code.")
@click.argument("release", required=False)
def rollback(
    ctx: CommandContext, release: str | None, dry_run: bool, wait: float, force: bool, keep_code: bool
) -> None:
    """Go back to the last good release before the live one, or to RELEASE, with the commit that it was tested with."""
    if dry_run:
        from releaser.pipelines.dry_run import plan_rollback

        ctx.end_dry_run(plan_rollback(ctx.site(), release, force=force, keep_code=keep_code))
    from releaser.pipelines.rollback import rollback as run_rollback

    ctx.end(run_rollback(ctx.request("rollback", wait=wait, mails=True), to=release, force=force, keep_code=keep_code))


@command()
@dry_run
@wait
@click.option(
    "--python",
    metavar="PYTHON",
    help="Build with this interpreter: a version or a path, as uv takes it. Nothing is downloaded.",
)
@click.option("--force", is_flag=True, help="Continue even if the live site fails its health check.")
@click.argument("release", required=False, metavar="")
def rebuild(
    ctx: CommandContext, release: str | None, python: str | None, dry_run: bool, wait: float, force: bool
) -> None:
    """Rebuild what is live from the same lock, test it, and make it live."""
    if release is not None:
        message = f"rebuild takes no release ({release!r}): it rebuilds what is live"
        raise UsageError(message, advice="Leave it out. `releaser rollback RELEASE` goes to an earlier release.")
    wanted = _interpreter(python)
    if dry_run:
        from releaser.pipelines.dry_run import plan_rebuild

        ctx.end_dry_run(plan_rebuild(ctx.site(), python=wanted, force=force))
    from releaser.pipelines.rebuild import rebuild as run_rebuild

    request = ctx.request("rebuild", wait=wait, mails=True)
    ctx.end(run_rebuild(request, python=wanted, force=force))


def _interpreter(python: str | None) -> str | None:
    """Return what to ask uv for: it runs in another directory, so a path becomes absolute. Raises UsageError."""
    if python is not None and not python.strip():
        message = "--python is empty"
        raise UsageError(message, advice="Name a version, such as 3.12, or the path of an interpreter.")
    return os.path.abspath(Path(python).expanduser()) if python and "/" in python else python


@command()
@dry_run
@wait
def prune(ctx: CommandContext, dry_run: bool, wait: float) -> None:
    """Delete the releases that the policy no longer keeps, with the reason for each."""
    from releaser.pipelines.dry_run import plan_prune
    from releaser.pipelines.maintenance import prune_releases

    if dry_run:
        report, verdicts = None, plan_prune(ctx.site())
    else:
        report, verdicts = prune_releases(ctx.request("prune", wait=wait))
    if ctx.output.json:
        from releaser.answers import Pruning

        ctx.output.print_json(
            [
                Pruning(
                    release=one.id, action=one.action, reason=one.reason, reasons=one.reasons, error=one.error or None
                )
                for one in verdicts
            ]
        )
    elif verdicts and not ctx.output.quiet:
        ctx.output.print_table(("", "RELEASE", "WHY"), [[one.action, one.id, one.reason] for one in verdicts])
    if report is not None and (report.exit_code or report.tells_of_before):
        Output(quiet=ctx.output.quiet).print_report(report)
    sys.exit(report.exit_code if report else 0)


def _pin(ctx: CommandContext, release: str, *, on: bool, dry_run: bool) -> None:
    if dry_run:
        from releaser.pipelines.dry_run import plan_pin

        ctx.end_dry_run(plan_pin(ctx.site(), release, on=on))
    from releaser.pipelines.maintenance import set_pin

    ctx.end(set_pin(ctx.request("pin" if on else "unpin"), release, on=on))


@command()
@dry_run
@click.argument("release")
def pin(ctx: CommandContext, release: str, dry_run: bool) -> None:
    """Keep RELEASE: never prune it."""
    _pin(ctx, release, on=True, dry_run=dry_run)


@command()
@dry_run
@click.argument("release")
def unpin(ctx: CommandContext, release: str, dry_run: bool) -> None:
    """Allow RELEASE to be pruned again."""
    _pin(ctx, release, on=False, dry_run=dry_run)


@command()
@dry_run
@click.argument("name")
@click.argument("reason", required=False, default="")
def hold(ctx: CommandContext, name: str, reason: str, dry_run: bool) -> None:
    """Keep the package NAME at its version until `releaser unhold`. Mails quote REASON."""
    if dry_run:
        from releaser.pipelines.dry_run import plan_hold

        ctx.end_dry_run(plan_hold(ctx.site(), name, reason))
    from releaser.pipelines.maintenance import hold as hold_package

    ctx.end(hold_package(ctx.request("hold"), name, reason))


@command()
@dry_run
@click.argument("name")
def unhold(ctx: CommandContext, name: str, dry_run: bool) -> None:
    """Allow again what is held back, by the NAME that `status` shows: a package, a commit, a candidate."""
    if dry_run:
        from releaser.pipelines.dry_run import plan_unhold

        ctx.end_dry_run(plan_unhold(ctx.site(), name))
    from releaser.pipelines.maintenance import unhold as unhold_package

    ctx.end(unhold_package(ctx.request("unhold"), name))


@command(context_settings={"ignore_unknown_options": True})
@click.argument("words", metavar="COMMAND...", nargs=-1, required=True, type=click.UNPROCESSED)
def run(ctx: CommandContext, words: tuple[str, ...]) -> None:
    """Run COMMAND in the live release. It keeps that release, even if another one goes live meanwhile."""
    from releaser.releases import leases
    from releaser.releases.store import store_of
    from releaser.system.environment import inside

    site = ctx.site()
    live = store_of(site).live()
    if live is None:
        message = "no release is live"
        raise NoSuchReleaseError(message, advice="Adopt the project: `releaser init`.")
    with contextlib.suppress(OSError):  # a user who may not write here can still use the release
        os.set_inheritable(leases.take(str(live.directory)), True)
    env = inside(live.venv, site.runner.site_environ)
    try:
        os.execvpe(words[0], list(words), env)  # noqa: S606 - this process is to become the program
    except OSError as error:
        message = f"{words[0]} cannot be started in {live.id}: {error.strerror}"
        raise UsageError(message, advice="Check the name; programs of the release come first on PATH.") from error
