"""The interface of an option of `update` that names the source of the release."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from releaser.system.frozen import Frozen


class Elsewhere(Frozen):
    """The option, and the update that it runs."""

    option: str
    #: Its name in Python, and its other arguments for click.
    parameter: str
    look: Mapping[str, Any]
    #: The options that may be combined with it.
    goes_with: tuple[str, ...] = ()
    #: Runs the update for a context and the value, prints the report, and exits; it also gets `timing` and `force`.
    run: Callable[..., NoReturn]
