"""The missing sandbox in the status."""

from releaser.core.status import Line, Look, Shows, StatusSection


class SandboxStatus(StatusSection):
    """The lack of a sandbox."""

    #: True if tests and builds run without a sandbox because none works on this host.
    without_sandbox: bool = False

    @classmethod
    def look(cls, at: Look) -> StatusSection:
        from releaser.candidate.sandbox import runs_without_sandbox

        return cls(without_sandbox=runs_without_sandbox(at.site))

    def show(self) -> Shows:
        if self.without_sandbox:
            yield Line("tests and builds run without a sandbox; see `releaser check`", 34)
