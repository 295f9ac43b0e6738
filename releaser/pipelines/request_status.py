"""The requests of the page in the status."""

from __future__ import annotations

from datetime import datetime

from releaser.core.request import Wanted
from releaser.core.status import Alarm, Line, Look, Pending, Remark, Shows, StatusSection
from releaser.releases.requests import Requests, TakenRequest, Waiting, decode, find_unsafe, read_taken
from releaser.site.ownership import Ownership
from releaser.site.request_settings import request_directory
from releaser.system.words import plural, show_time

_SHOWN = 5  # requests


def _may_be_for(project: str, one: Waiting) -> bool:
    wanted = decode(one.content or b"", Wanted)
    return wanted is None or wanted.project == project


class RequestStatus(StatusSection):
    """The requests that people made on the page of `releaser serve`."""

    #: The directory from which this site takes requests; empty if it takes none.
    request_dir: str = ""
    #: Why it takes none from there; empty if it does.
    requests_refused: str = ""
    #: The number of requests for this site in that directory.
    requests_waiting: int = 0
    #: The last requests that were taken, newest first.
    requests: tuple[TakenRequest, ...] = ()

    @classmethod
    def look(cls, at: Look) -> StatusSection:
        directory = request_directory(at.site)
        if directory is None:
            return cls()
        refused, waiting = find_unsafe(directory, Ownership.of(at.site.project.checkout).owner), 0
        if refused is None:
            try:
                with Requests(directory) as place:
                    waiting = sum(_may_be_for(str(at.site.project.checkout), one) for one in place.waiting())
            except OSError:  # another user than the owner asks
                waiting = 0
        return cls(
            request_dir=str(directory),
            requests_refused=refused.message if refused else "",
            requests_waiting=waiting,
            requests=read_taken(at.site.state_dir).requests[:_SHOWN],
        )

    def show(self) -> Shows:
        if self.requests_refused:
            ignored = f"requests from the page are ignored: {self.requests_refused}"
            yield Line(ignored, 52)
            yield Alarm(text=ignored, command="check", rank=60)
        if self.requests_waiting:
            yield Pending(plural(self.requests_waiting, "request"), 5)
        for one in self.requests[:1]:
            result = (
                f"{one.result}: {one.headline}"
                if one.result
                else "its run has not ended; if no run is in progress, it was interrupted: request it again"
            )
            at = show_time(datetime.fromisoformat(one.at))
            yield Remark(f"last request: {one.what}, {at}, by {one.by}: {result}", 45)
