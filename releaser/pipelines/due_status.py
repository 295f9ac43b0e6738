"""The time of the next update in the status."""

from releaser.core.status import Look, Remark, Shows, StatusSection


class DueStatus(StatusSection):
    """The next start of an update."""

    #: The time from which `update` may start, as ISO 8601; None if neither `every` nor `window` is set, and for a pause
    #: without an end.
    due_at: str | None = None
    #: Why `update` must wait; empty if it may start.
    waits: str = ""
    #: The longest time between two updates by `every` and `window`; a day without them.
    interval_seconds: float = 86400.0

    @classmethod
    def look(cls, at: Look) -> StatusSection:
        from releaser.pipelines.due import find_interval, find_next

        due = find_next(at.site)
        return cls(
            due_at=due.shown if due else None,
            waits=due.reason if due else "",
            interval_seconds=find_interval(at.site),
        )

    def show(self) -> Shows:
        for text in filter(None, [self.waits]):
            yield Remark(text, 10)
