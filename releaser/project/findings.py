"""Collecting what is wrong, so that everything can be said at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from releaser.errors import ToolError, Unfit, gist

if TYPE_CHECKING:
    from collections.abc import Iterable

P = ParamSpec("P")
T = TypeVar("T")


class Findings:
    """Collects what is wrong, so that everything can be said at once."""

    def __init__(self, problems: Iterable[Unfit] = ()) -> None:
        self.problems = list(problems)

    def extend(self, problems: Iterable[Unfit]) -> None:
        """Note more problems."""
        self.problems.extend(problems)

    def collect(self, find: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
        """Return what `find` finds; what it raises as Unfit, or as the failure of a program, becomes a problem."""
        try:
            return find(*args, **kwargs)
        except Unfit as problem:
            self.problems.append(problem)
        except ToolError as error:
            message = ": ".join(filter(None, (error.message, gist(error.output))))
            self.problems.append(Unfit(message, advice=error.advice, output=error.output))
        return None
