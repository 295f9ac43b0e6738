"""A rule for versions that releaser does not have: minor versions with an odd number are for development only."""

from releaser.locks import rules
from releaser.locks.rules import Rule, Wanted
from releaser.locks.versions import parse_version


class Toy(Rule):
    """Takes even minor versions of `alpha` only; of `beta`, it tells uv nothing."""

    name = "odd"

    def objection(self, wanted: Wanted) -> str:
        return f"{wanted.version} is odd" if _is_odd(wanted.version) else ""

    def specifier(self, wanted: Wanted) -> str:
        return "" if wanted.name == "beta" or _is_odd(wanted.base or "") else "!=1.1.*,!=1.3.*"


def _is_odd(version: str) -> bool:
    found = parse_version(version)
    return found is not None and bool(found.minor % 2)


def register() -> None:
    rules.RULES = (*rules.RULES, Toy())
