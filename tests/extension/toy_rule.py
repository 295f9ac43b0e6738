"""A rule for versions that releaser does not have: minor versions with an odd number are for development only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from releaser.locks import rules
from releaser.locks.rules import Rule
from releaser.locks.versions import parse_version

if TYPE_CHECKING:
    from releaser.locks.rules import Wanted


class Toy(Rule):
    """Takes even minor versions of `alpha` only; of `beta`, it tells uv nothing."""

    name = "odd"

    def objection(self, wanted: Wanted) -> str:
        version = parse_version(wanted.version)
        return f"{wanted.version} is odd" if version is not None and version.minor % 2 else ""

    def specifier(self, wanted: Wanted) -> str:
        return ",".join(f"!={wanted.version[:2]}{minor}.*" for minor in (1, 3)) if wanted.name == "alpha" else ""


def register() -> None:
    rules.RULES = (*rules.RULES, Toy())
