"""The options of `update` and `rebuild` that ask for another kind of run. To add one, see capabilities.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

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
    command: Literal["update", "rebuild"] = "update"


def options_of(command: str) -> tuple[RunOption, ...]:
    """Return the options of a command."""
    return tuple(one for one in gather("run_options") if one.command == command)


def asked_in(command: str, given: dict[str, Any]) -> tuple[tuple[RunOption, Any], ...]:
    """Return the options of a command that the command line has, each with its value, and take all out of `given`."""
    return tuple((one, value) for one in options_of(command) if (value := given.pop(one.parameter)))
