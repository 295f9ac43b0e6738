"""The interface of a kind of request: what people may ask a site for on the page of `releaser serve`.

A request is data that a run checks: it names one of the registered kinds, and never a command.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from releaser.capabilities import gather
from releaser.report import RunReport
from releaser.system.frozen import Frozen, field, replace
from releaser.system.sections import Section

_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,98}[A-Za-z0-9])?"
_LONGEST = 200  # characters of a text for people


class Wanted(Frozen):
    """A request, as the page writes it."""

    #: The path of the project.
    project: str
    #: The name of its kind.
    action: str
    #: The package, or the name of a hold; empty for other kinds.
    name: str = ""
    reason: str = ""
    #: How long, such as `7d`; empty for no end, and for kinds without a length.
    length: str = ""
    #: The live release that the page showed; empty for kinds that do not depend on it.
    live: str = ""
    #: The person, as the proxy in front of the page names them; empty if unknown.
    by: str = ""

    @property
    def why(self) -> str:
        """The reason, and the person."""
        return f"{self.reason} (requested by {self.by})".lstrip() if self.by else self.reason


def _always(_: Any) -> bool:
    return True


class RequestKind(Frozen):
    """A kind of request.

    `perform` gets the parameters of a run, the request, and when it was made; it may raise ReleaserError.
    """

    action: str
    #: The words on its button.
    label: str
    #: Its effect, in a sentence for the page; empty if the label says all.
    effect: str = ""
    takes_package: bool = False
    takes_reason: bool = False
    #: True if the request is only for the live release that the page showed.
    takes_live: bool = False
    #: True if a delay of updates that a person ordered after the request overrules it.
    yields: bool = False
    #: The lengths to choose from, each with its words.
    lengths: Mapping[str, str] = field(default_factory=dict)
    #: Returns the names to choose from, from the status of a site; None if the kind has none.
    choices: Callable[[Any], Sequence[str]] | None = None
    #: True for a site of this status if the page offers the button.
    applies: Callable[[Any], bool] = _always
    perform: Callable[[Any, Wanted, datetime], RunReport]

    def describe(self, wanted: Wanted) -> str:
        """Return the request in a few words."""
        length = self.lengths.get(wanted.length, "")
        return " ".join(filter(None, (self.label[:1].lower() + self.label[1:], wanted.name, length)))


class RequestedSection(Section):
    """The person who asked for a run on the page."""

    #: The person who requested the run on the page of `releaser serve`; empty for any other run.
    requested_by: str = ""

    def in_headline(self) -> str:
        return f", requested by {self.requested_by}" if self.requested_by else ""


def name_requester(request: Any) -> str:
    """Return the person who requested a run on the page, from its parameters; empty for any other run."""
    return next((one.requested_by for one in request.asked if isinstance(one, RequestedSection)), "")


def add_requester(_: object, report: RunReport) -> RunReport:
    """Say in the report of a run who requested it: the mail about an update has no headline."""
    by = RequestedSection.of(report).requested_by
    return replace(report, noted=" ".join(filter(None, [f"Requested by {by}.", report.noted]))) if by else report


@functools.cache
def request_kinds() -> Mapping[str, RequestKind]:
    """Return all kinds of requests by the names of their actions."""
    return {kind.action: kind for kind in gather("requests")}


def find_flaw(wanted: Wanted) -> str:
    """Return why a request, which may come from an attacker, is invalid; empty if it is valid."""
    kind = request_kinds().get(wanted.action)
    if kind is None:
        return f"the action {wanted.action[:40]!r} is unknown"
    has_name = kind.takes_package or kind.choices is not None
    if not re.fullmatch(_NAME if has_name else "", wanted.name):
        return f"{wanted.name[:40]!r} is not a name" if has_name else "this action takes no name"
    if not re.fullmatch(_NAME if kind.takes_live else "", wanted.live):
        return "it does not name the live release" if kind.takes_live else "this action takes no release"
    if wanted.length not in (kind.lengths or ("",)):
        return f"{wanted.length[:40]!r} is not one of the lengths"
    if wanted.reason and not kind.takes_reason:
        return "this action takes no reason"
    if not all(text.isprintable() and len(text) <= _LONGEST for text in (wanted.reason, wanted.by)):
        return f"a text is longer than {_LONGEST} characters, or has control characters"
    return ""
