"""The commands that say which releases are kept and which packages are held."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from releaser.cli.options import common, dry_run, say_plan, wait
from releaser.cli.output import Output

if TYPE_CHECKING:
    from releaser.cli.options import CommandContext


@click.command()
@common
@dry_run
@wait
def prune(ctx: CommandContext, dry_run: bool, wait: float) -> None:
    """Delete the releases that the policy no longer keeps, with the reason for each."""
    from releaser.pipelines.dry_run import rehearse_prune
    from releaser.pipelines.maintenance import prune_releases

    if dry_run:
        report, verdicts = None, rehearse_prune(ctx.site())
    else:
        report, verdicts = prune_releases(ctx.request("prune", wait=wait))
    if ctx.output.json:
        ctx.output.print_json([one.as_json() for one in verdicts])
    elif verdicts and not ctx.output.quiet:
        ctx.output.print_table(("", "RELEASE", "WHY"), [[one.action, one.id, one.reason] for one in verdicts])
    if report is not None and (report.exit_code or report.tells_of_before):
        Output(quiet=ctx.output.quiet).print_report(report)
    sys.exit(report.exit_code if report else 0)


def _pin(ctx: CommandContext, release: str, *, on: bool, dry_run: bool) -> None:
    if dry_run:
        from releaser.pipelines.dry_run import rehearse_pin

        say_plan(ctx, rehearse_pin(ctx.site(), release, on=on))
        return
    from releaser.pipelines.maintenance import set_pin

    ctx.end(set_pin(ctx.request("pin" if on else "unpin"), release, on=on))


@click.command()
@common
@dry_run
@click.argument("release")
def pin(ctx: CommandContext, release: str, dry_run: bool) -> None:
    """Keep RELEASE: never prune it."""
    _pin(ctx, release, on=True, dry_run=dry_run)


@click.command()
@common
@dry_run
@click.argument("release")
def unpin(ctx: CommandContext, release: str, dry_run: bool) -> None:
    """Allow RELEASE to be pruned again."""
    _pin(ctx, release, on=False, dry_run=dry_run)


@click.command()
@common
@dry_run
@click.argument("name")
@click.argument("reason", required=False, default="")
def hold(ctx: CommandContext, name: str, reason: str, dry_run: bool) -> None:
    """Keep the package NAME at its version until `releaser unhold`. Mails quote REASON."""
    if dry_run:
        from releaser.pipelines.dry_run import rehearse_hold

        say_plan(ctx, rehearse_hold(ctx.site(), name, reason))
        return
    from releaser.pipelines.maintenance import hold as hold_package

    ctx.end(hold_package(ctx.request("hold"), name, reason))


@click.command()
@common
@dry_run
@click.argument("name")
def unhold(ctx: CommandContext, name: str, dry_run: bool) -> None:
    """Allow again what is held back, by the NAME that `status` shows: a package, a commit, a candidate."""
    if dry_run:
        from releaser.pipelines.dry_run import rehearse_unhold

        say_plan(ctx, rehearse_unhold(ctx.site(), name))
        return
    from releaser.pipelines.maintenance import unhold as unhold_package

    ctx.end(unhold_package(ctx.request("unhold"), name))
