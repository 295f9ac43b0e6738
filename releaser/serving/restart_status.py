"""The missing restart in the status."""

from releaser.core.status import Alarm, Line, Look, Shows, StatusSection


class RestartStatus(StatusSection):
    """The lack of a restart."""

    #: Why updates restart nothing, and which setting to change; empty if they do, or if no restart is wanted.
    not_restarted: str = ""

    @classmethod
    def look(cls, at: Look) -> StatusSection:
        from releaser.serving.servers import find_unrestarted

        return cls(not_restarted=str(find_unrestarted(at.site) or ""))

    def show(self) -> Shows:
        if self.not_restarted:
            yield Line(f"warning: {self.not_restarted}", 32)
            yield Alarm(text="updates restart nothing: see `releaser check`", command="check", rank=45)
