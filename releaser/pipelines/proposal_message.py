"""The message of the commit that is proposed: the changes with their ages, the tests, and the changelogs."""

from __future__ import annotations

import logging
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from releaser.candidate.output import TEST, TestFacts
from releaser.capabilities import gather
from releaser.reporting.changes import age_of, in_order
from releaser.system.expression import expression
from releaser.system.words import elapsed, one_line, plural

if TYPE_CHECKING:
    from collections.abc import Iterator

    from releaser.locks.changes import Change
    from releaser.releases.release import Release
    from releaser.report import RunLog
    from releaser.site.site import Site

_LONGEST = 300  # characters of a line
_TREE = "Releaser-Tree"

logger = logging.getLogger(__name__)

#: The parts of a message on which a forge acts: a mention, an issue that it would close, an order to its CI; or a link.
_ACTED_ON = expression(
    r"\w+://\S+|(?<!\w)@(?=\w)|#(?=\d)|GH-(?=\d)|\[(?=[\w -]*(?:skip|no)[\w -]*\]|ci )", re.IGNORECASE
)


def write_message(site: Site, log: RunLog, release: Release, *, name: str) -> str:
    """Return the message for the proposal of a release; `name` is its package or group, empty for all upgrades."""
    changes, now = in_order(release.manifest.changes), datetime.now(UTC)
    paragraphs = [
        [_title(changes, name)],
        [_describe(change, now) for change in changes],
        [_describe_tests(log, release)],
        *_list_notes(site, release),
    ]
    return "\n\n".join("\n".join(lines) for lines in paragraphs if lines)


def sign(message: str, tree: str) -> str:
    """Return the message of a proposal whose commit has this tree, as `is_signed` finds it."""
    return f"{message}\n\n{_TREE}: {tree}"


def is_signed(message: str, tree: str) -> bool:
    """True if releaser made the commit with this message and tree, on this host or on another one.

    A person who changes the files, or puts them on top of others, changes the tree.
    """
    return message.strip().rpartition("\n\n")[2] == f"{_TREE}: {tree}"


def _title(changes: list[Change], name: str) -> str:
    own = next((one for one in changes if one.name == name and one.new), None)
    if own is None:
        counted = f"Update {plural(len(changes), 'package')}"
        return f"{counted}: {name}" if name else counted
    others = f" and {plural(len(changes) - 1, 'other package')}" if len(changes) > 1 else ""
    return f"Update {name} from {own.old} to {own.new}{others}" if own.old else f"Add {name} {own.new}{others}"


def _describe(change: Change, now: datetime) -> str:
    text = f"{change.name}: {change.old or 'none'} -> {change.new or 'none'}"
    if not change.released:
        return text
    return f"{text} (released {change.released[:10]}, {age_of(change, now)} ago)"


def _describe_tests(log: RunLog, release: Release) -> str:
    count, python = TestFacts.of(release.manifest).tests_run, release.manifest.python
    took = next((one.seconds for one in reversed(log.outcomes) if one.step == TEST and one.status == "ok"), None)
    facts = [f"{plural(count, 'test')}" if count else "", f"in {elapsed(took)}" if took is not None else ""]
    passed = " ".join(filter(None, facts))
    return f"The tests passed with Python {python}{f' ({passed})' if passed else ''}: release {release.id}."


def _list_notes(site: Site, release: Release) -> Iterator[list[str]]:
    """Yield the paragraphs that capabilities add about a release; without one, the proposal is made all the same."""
    for add in gather("proposal_notes"):
        try:
            yield [quote(line) for line in add(site, release)]
        except Exception as error:  # noqa: BLE001 - foreign text may be of any kind, and must not prevent the proposal
            logger.warning("a note is missing in the proposal: %s", error)


def quote(line: str) -> str:
    """Return a line of a changelog as text on which no forge acts: it mentions no user, and closes no issue.

    Lines of a changelog are indented, so that none is a trailer of the commit.
    """
    indent = line[: len(line) - len(line.lstrip())]
    text = one_line(line, limit=_LONGEST)
    return indent + _ACTED_ON.sub(lambda found: found[0] if "://" in found[0] else f"{found[0]} ", text)
