"""`propose`: pushes an upgrade for review."""

from __future__ import annotations

import click

from releaser.commands.command import command
from releaser.commands.context import CommandContext


@command(
    section="Build and run", example="releaser propose --dry-run", changes=True, waits=True, mails=True, many="all"
)
@click.option(
    "--force", is_flag=True, help="Also propose versions and commits that failed, and proposals that were declined."
)
def propose(ctx: CommandContext, force: bool) -> None:
    """Build and test tonight's upgrade, and push its lock for review. Nothing goes live."""
    from releaser.pipelines import propose as pipeline

    ctx.end(ctx.run(pipeline.plan_propose, pipeline.propose, force=force))
