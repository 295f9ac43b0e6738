"""`update --from`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from releaser.commands.elsewhere.base import Elsewhere

if TYPE_CHECKING:
    from releaser.commands.context import CommandContext


def _run(ctx: CommandContext, value: str, **how: Any) -> NoReturn:
    from releaser.bundles.pointer import Channel
    from releaser.pipelines.update_from import plan_update_from, update_from

    ctx.end(ctx.run(plan_update_from, update_from, channel=Channel.parse(value), **how))


OPTION = Elsewhere(
    option="--from",
    parameter="channel",
    look={
        "metavar": "CHANNEL",
        "help": "Install the bundle that this channel (PLACE/NAME) points to, without an index.",
    },
    goes_with=("--force", "--if-due", "--now"),
    run=_run,
)
