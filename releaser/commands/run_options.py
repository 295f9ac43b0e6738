"""The options that ask for another kind of run than usual. To add one, see capabilities.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import click

from releaser.capabilities import gather
from releaser.system.frozen import Frozen
from releaser.system.sections import Section


class RunOption(Frozen):
    """An option, and the facts with which it lets a run begin: gates and others go by these."""

    option: str
    #: Its name in Python, and its other arguments for click.
    parameter: str
    look: Mapping[str, Any]
    #: Makes the facts from the value.
    section: Callable[[Any], Section]
    #: The line of a dry run about it.
    plan: str


def run_options(function: Callable[..., None]) -> Callable[..., None]:
    """Add these options to a command."""
    for one in reversed(gather("run_options")):
        function = click.option(one.option, one.parameter, **one.look)(function)
    return function


def take_asked(given: dict[str, Any]) -> tuple[tuple[RunOption, Any], ...]:
    """Take these options out of the values of a command; return those that were given, each with its value."""
    taken = [(one, given.pop(one.parameter)) for one in gather("run_options")]
    return tuple((one, value) for one, value in taken if value)
