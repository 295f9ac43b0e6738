"""The processes of earlier releases in the status."""

from releaser.core.status import Alarm, Figure, Line, Look, Shows, StatusSection
from releaser.releases.leases import LeftBehind
from releaser.system.words import plural


class ProcessStatus(StatusSection):
    """The processes of earlier releases."""

    left_behind: tuple[LeftBehind, ...] = ()

    @classmethod
    def look(cls, at: Look) -> StatusSection:
        from releaser.serving.processes import left_behind

        return cls(left_behind=left_behind(at.store))

    def show(self) -> Shows:
        for one in self.left_behind:
            text = f"{one.pid} of {one.user} runs on {one.release} since {one.since}: {one.command}"
            yield Line(f"not restarted: {text}", 22)
        if self.left_behind:
            text = f"{plural(len(self.left_behind), 'process')} of an earlier release"
            yield Alarm(text=text, command="status", rank=35)
        yield Figure("left_behind_processes", "Processes of an earlier release", len(self.left_behind))
