"""What `releaser verify` prints for people: what is not right, by kind, long lists capped."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from releaser.report.capping import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_SHOWN = 10  # of one kind
_LONGEST = 600  # characters of a line
_TITLES = {
    "interpreter": "interpreter",
    "start": "start",
    "lock": "lock",
    "package": "packages",
    "changed": "changed",
    "missing": "missing",
    "unexpected": "unexpected",
    "shared": "shared with others",
    "permissions": "group and mode",
    "check": "manage.py check",
    "tests": "tests",
}


def verified_text(verified: Mapping[str, Any], *, whole: bool) -> list[str]:
    """Return the problems of one release, from what `verify --json` prints; all of them if it is to be `whole`."""
    problems: Sequence[Mapping[str, Any]] = verified["problems"]
    count = len(problems)
    lines = [f"{verified['release']}: {'1 problem' if count == 1 else f'{count} problems'}"]
    order = list(_TITLES)
    ordered = sorted(problems, key=lambda one: order.index(one["kind"]))
    for kind, group in itertools.groupby(ordered, key=lambda one: str(one["kind"])):
        lines += _of_kind(kind, list(group), whole=whole)
    return lines


def _of_kind(kind: str, problems: Sequence[Mapping[str, Any]], *, whole: bool) -> Iterator[str]:
    yield f"  {_TITLES[kind]} ({len(problems)}):"
    shown = problems if whole else problems[:_SHOWN]
    for one in shown:
        name = one["package"] or str(one["path"] or "").rpartition("/site-packages/")[2]
        yield f"    {one_line(': '.join(filter(None, (name, one['message']))), limit=_LONGEST)}"
    if len(problems) > len(shown):
        yield f"    and {len(problems) - len(shown)} more; -v shows all"


def sound_text(verified: Mapping[str, Any]) -> str:
    """Say that nothing is wrong with a release."""
    return f"{verified['release']} is what was sealed: {verified['files']} files read in {verified['seconds']:.1f} s"
