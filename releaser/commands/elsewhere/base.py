"""An option of `update` that names where the release comes from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from releaser.system.frozen import Frozen


class Elsewhere(Frozen):
    """The option, and how an update with it runs."""

    option: str
    #: Its name in Python, and how click shows and reads it.
    parameter: str
    look: Mapping[str, Any]
    #: The options that may be given with it.
    goes_with: tuple[str, ...] = ()
    #: Runs the update for a context and the value, prints how it ended, and exits; it also gets `timing` and `force`.
    run: Callable[..., NoReturn]
