"""`update --from`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from releaser.cli.elsewhere.base import Elsewhere

if TYPE_CHECKING:
    from releaser.cli.command import CommandContext


class OfChannel(Elsewhere):
    """Follows a channel of bundles."""

    option, parameter, goes_with = "--from", "channel", frozenset({"--from", "--force", "--if-due", "--now"})
    look: ClassVar = {
        "metavar": "CHANNEL",
        "help": "Make live what this channel points to (PLACE/NAME), and ask no index.",
    }

    def run(self, ctx: CommandContext, value: str, **how: Any) -> NoReturn:
        """Make live what it points to."""
        from releaser.bundles.pointer import Channel
        from releaser.pipelines.update_from import plan_update_from, update_from

        ctx.end(ctx.run(plan_update_from, update_from, channel=Channel.parse(value), **how))
