"""`approve`: lets a release go live that waits for a person."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import click

from releaser.commands.command import command
from releaser.commands.completion import matching, own_site
from releaser.commands.context import CommandContext

if TYPE_CHECKING:
    from click import Context, Parameter


def complete_waiting(ctx: Context, _param: Parameter, incomplete: str) -> list[str]:
    """Complete the id of the release that waits to go live."""
    from releaser.releases.store import store_of

    site = own_site(ctx)
    waiting = store_of(site).snapshot().find_waiting() if site else None
    return matching([waiting.id] if waiting else (), incomplete)


@command(section="Keep and hold", example="releaser approve 20260424T030001Z-81", changes=True)
@click.option("--undo", is_flag=True, help="Withdraw the approval.")
@click.argument("release", shell_complete=complete_waiting)
def approve(ctx: CommandContext, release: str, undo: bool) -> None:
    """Approve RELEASE, which waits for approval. The next update makes it live."""
    from releaser.pipelines.approval import decide_approve
    from releaser.pipelines.maintenance import make_change, plan_change

    ctx.end(ctx.run(plan_change, make_change, partial(decide_approve, on=not undo), release))
