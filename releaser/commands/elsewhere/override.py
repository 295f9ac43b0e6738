"""`update --override`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NoReturn

from releaser.commands.elsewhere.base import Elsewhere
from releaser.system.frozen import replace

if TYPE_CHECKING:
    from releaser.commands.context import CommandContext


def _run(ctx: CommandContext, value: tuple[str, ...], **_: Any) -> NoReturn:
    from releaser.pipelines import override

    wanted = override.read_overrides(ctx.project, os.environ, value)
    ctx = replace(ctx, name=override.COMMAND, mails=False)
    ctx.end(ctx.run(override.plan_override, override.override, wanted), answers=True)


HELP = "Build and test a candidate with this package instead ('NAME @ URL-or-path'), and never make it live."
OPTION = Elsewhere(
    option="--override",
    parameter="overrides",
    look={"multiple": True, "metavar": "PACKAGE", "help": HELP},
    run=_run,
)
