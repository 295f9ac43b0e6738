"""The options of `update` that ask for another kind of run than usual. To add one, see capabilities.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

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
