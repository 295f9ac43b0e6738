"""Settings: what `releaser propose` puts into one proposal, and how many are open at a time."""

import re
from typing import Annotated, Any, Literal

from releaser.locks.versions import look_up
from releaser.site.declaring import Part
from releaser.site.values import either, kind, package_patterns, pattern, refuse

Groups = tuple[tuple[str, tuple[str, ...]], ...]

_NAME = "[a-z0-9]([a-z0-9-]*[a-z0-9])?"
_PATTERNS = r"[A-Za-z0-9._*?\[\]!-]+"
_GROUP = rf"{_NAME}\s*=\s*{_PATTERNS}(\s+{_PATTERNS})*\s*"


def _spell(groups: Groups) -> dict[str, list[str]]:
    return {name: [*patterns] for name, patterns in groups}


@kind(
    "table of groups",
    either(
        {
            "type": "object",
            "propertyNames": pattern(f"^{_NAME}$"),
            "additionalProperties": either(
                {"type": "array", "items": pattern(f"^{_PATTERNS}$"), "minItems": 1},
                pattern(rf"^\s*{_PATTERNS}(\s+{_PATTERNS})*\s*$"),
            ),
        },
        pattern(rf"^(\s*{_GROUP}(,\s*{_GROUP})*)?$"),
    ),
    spell=_spell,
    in_line=lambda table: ",".join(f"{name}={' '.join(patterns)}" for name, patterns in table.items()),
)
def groups(value: Any) -> Groups:
    """Groups of packages: a table of lists of patterns, or in a variable `web=django* celery,tests=pytest*`."""
    if isinstance(value, str):
        words = [word.partition("=") for word in value.split(",") if word.strip()]
        if not all(sign and name.strip() for name, sign, _ in words):
            refuse("must be groups such as web=django* celery,tests=pytest*")
        value = {name.strip(): patterns for name, _, patterns in words}
    if not isinstance(value, dict):
        refuse('must be a table of groups, such as {web = ["django*", "celery"]}')
    return tuple((_read_name(name), _read_patterns(name, patterns)) for name, patterns in value.items())


def _read_name(name: str) -> str:
    if not re.fullmatch(_NAME, name):
        refuse(f"must name groups in small letters, digits and hyphens, as in a branch; {name!r} is no such name")
    return name


def _read_patterns(name: str, patterns: Any) -> tuple[str, ...]:
    try:
        return package_patterns(patterns.split() if isinstance(patterns, str) else patterns) or refuse("must have one")
    except ValueError as error:
        refuse(f"{error} (for {name})")


class ProposalSettings(Part):
    """Proposals for review."""

    #: One proposal for all upgrades (`all`), or one for each group and each other package (`package`).
    propose: Literal["all", "package"] = "all"
    #: Groups of packages that are proposed together, with `propose = "package"`. The first group that fits counts.
    propose_groups: Annotated[Groups, groups] = ()
    #: The most proposals that may be open, and that a run builds and tests; 0 is no limit.
    propose_limit: int = 5

    def group_of(self, package: str) -> str:
        """Return the group that a package is proposed with; a package without one is a group by itself."""
        known = tuple((one, name) for name, patterns in self.propose_groups for one in patterns)
        return look_up(package, known, package)

    def allows(self, count: int) -> bool:
        """True if there may be one more than this number."""
        return not self.propose_limit or count < self.propose_limit
