"""`update --override`."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from releaser.cli.elsewhere.base import Elsewhere

if TYPE_CHECKING:
    from releaser.cli.command import CommandContext


class OfOverride(Elsewhere):
    """Tries packages that are not released."""

    option, parameter, goes_with = "--override", "overrides", frozenset({"--override"})
    look: ClassVar = {
        "multiple": True,
        "metavar": "PACKAGE",
        "help": "Build and test a candidate with this package instead ('NAME @ URL-or-path'), and never make it live.",
    }

    def run(self, ctx: CommandContext, value: tuple[str, ...], **_: Any) -> NoReturn:
        """Build and test a candidate with them."""
        from releaser.pipelines import override

        wanted = override.read_overrides(ctx.project, os.environ, value)
        ctx = replace(ctx, name=override.COMMAND, mails=False)
        ctx.end(ctx.run(override.plan_override, override.override, wanted), answers=True)
