"""The interface of an option of `update` that names where the release comes from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

if TYPE_CHECKING:
    from releaser.cli.command import CommandContext


class Elsewhere(ABC):
    """An option, and how an update with it runs."""

    option: str
    #: Its name in Python, and how click shows and reads it.
    parameter: str
    look: ClassVar[Mapping[str, Any]]
    #: The options that may be given with it.
    goes_with: frozenset[str]

    @abstractmethod
    def run(self, ctx: CommandContext, value: Any, **how: Any) -> NoReturn:
        """Run the update, print how it ended, and exit; `how` has its `timing` and `force`. Raises UsageError."""
