"""The interface of a section of the status: what one capability adds to `releaser status`, page and monitoring.

Lines and alarms are shown by rank, those of one rank in the order of the capabilities. The ranks of the core: in the
text, 20 for a run in progress, 30 for warnings, from 50 for pending things, from 60 for locks and problems; of alarms,
0 for a broken site or a failed update, from 20 for others; in the table of many sites, 10 for runs, 30 for the rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import IntEnum
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from releaser.capabilities import gather
from releaser.system.frozen import Frozen

if TYPE_CHECKING:
    from releaser.releases.release import Release
    from releaser.releases.store import ReleaseStore
    from releaser.site.site import Site

T = TypeVar("T")


class Service(IntEnum):
    """The state of a service, which is the exit status of a Nagios plugin.

    Source: https://nagios-plugins.org/doc/guidelines.html
    """

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3


def nagios_line(state: Service, text: str) -> str:
    """Return the line of a Nagios plugin, without bars, as a bar starts the performance data."""
    return f"RELEASER {state.name} - " + " ".join(text.replace("|", "/").split())


class Alarm(Frozen):
    """A problem of a site: its severity, a sentence, and the command of releaser that shows more or solves it."""

    level: Service = Service.WARNING
    text: str
    command: str = ""
    rank: int = 0


class Question(Alarm):
    """An alarm for the page alone, as it may last for months."""


class Line(NamedTuple):
    """A line in the text of `releaser status`."""

    text: str
    rank: int = 40


class Remark(Line):
    """A sentence for the text and the page that is not an alarm."""


class Pending(Line):
    """The words for something pending in the table of many sites."""


class Offer(NamedTuple):
    """A change that waits, on the page below a `heading`, with the command that continues it."""

    heading: str
    name: str
    text: str
    #: The arguments of releaser, or else the `line` to paste on a development machine; empty without either. The status
    #: of another server may have any text, so pages about many sites show no line.
    command: str = ""
    line: str = ""
    rank: int = 40


class Figure(NamedTuple):
    """A number for Prometheus, with its meaning; None if it is unknown. Nagios shows it under its `label`, if any."""

    name: str
    meaning: str
    value: float | None
    label: str = ""
    rank: int = 0


class Excused(NamedTuple):
    """The seconds that do not count for the alarm about the age of the last update."""

    seconds: float
    rank: int = 0


Shows = Iterable[Alarm | Line | Offer | Figure | Excused]


class Look(Frozen):
    """The facts about a site that its sections start from."""

    site: Site
    store: ReleaseStore
    live: Release | None
    #: The history, newest first.
    runs: Sequence[Mapping[str, Any]]


class StatusSection(Frozen):
    """The facts of one capability about a site. In JSON, its fields are keys of `status`; each has a default."""

    @classmethod
    def look(cls, at: Look) -> StatusSection:
        """Look at a site. Slow imports belong here."""
        return cls()

    def show(self) -> Shows:
        """Return everything to show.

        `self` is a whole status, with the facts of the core and of all sections: call functions, and not own methods.
        """
        return ()


def shown(status: Any, kind: type[T], *own: T) -> list[T]:
    """Return what the core and all sections show of one kind, by rank. A status is its own section of each kind."""
    found = (one for section in gather("statuses") for one in section.show(status) if type(one) is kind)
    return sorted([*own, *found], key=attrgetter("rank"))
