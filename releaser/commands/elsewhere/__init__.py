"""The options of `update` that name a source, one file each. To add one, see capabilities.py."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import click

from releaser.capabilities import gather
from releaser.commands.context import refuse_both
from releaser.commands.run_options import options_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from releaser.commands.context import CommandContext
    from releaser.commands.elsewhere.base import Elsewhere
    from releaser.commands.run_options import RunOption

ELSEWHERE: tuple[Elsewhere, ...] = gather("elsewhere")


def elsewhere_options(function: Callable[..., None]) -> Callable[..., None]:
    """Add these options to `update`."""
    return _add(ELSEWHERE, function)


def run_options(command: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add the options to a command that ask for another kind of run."""
    return partial(_add, options_of(command))


def _add(options: Sequence[Elsewhere | RunOption], function: Callable[..., None]) -> Callable[..., None]:
    for one in reversed(options):
        function = click.option(one.option, one.parameter, **one.look)(function)
    return function


def update_from_elsewhere(ctx: CommandContext, given: Mapping[str, Any], others: Mapping[str, Any], **how: Any) -> None:
    """Run the update of one of these options, and exit; return if none is `given`. Raises UsageError.

    `others` are the other options of `update` with their values, by name; `how` has the arguments of all updates.
    """
    others = {**others, **{one.option: given[one.parameter] for one in ELSEWHERE}}
    asked = [name for name, value in others.items() if value not in (None, (), False)]  # an empty text is an error
    for one in ELSEWHERE:
        if one.option in asked:
            if refused := next((name for name in asked if name not in (one.option, *one.goes_with)), None):
                refuse_both(refused, one.option)
            one.run(ctx, given[one.parameter], **how)
