"""Settings: How the site is restarted."""

from releaser.site.declaring import Part
from releaser.site.values import Command, FilePath, Limit, Name, SocketPath
from releaser.system.sections import Section


class RestartSettings(Part):
    """How the site is restarted."""

    #: How to restart the site with the new release: `auto`, `gunicorn`, `passenger`, `systemd`, `none`, or a command.
    restart: Command = ("auto",)
    #: The file that `restart = "auto"` touches.
    restart_file: Name | None = None
    #: The application root for `restart = "passenger"`, as in the configuration of the web server.
    passenger_app_root: FilePath | None = None
    #: The template unit for `restart = "systemd"`: its instances `a` and `b` take turns.
    restart_unit: Name | None = None
    #: The symlink for `restart = "systemd"` through which visitors reach `a.sock` or `b.sock`.
    restart_socket: SocketPath | None = None
    #: Keep programs alive that the restart command leaves running, such as a server; the run names them.
    restart_leaves_service: bool = True
    #: The time limit of a restart: of its command, or until the new processes answer.
    restart_timeout: Limit = 120.0
    #: A command that stops a service which cannot be restarted in place, right before the flip.
    stop: Command | None = None
    #: The command that starts the service again, instead of `restart = "auto"`.
    start: Command | None = None


class OutageSection(Section):
    """The restart of the site after the flip, and the time without the service if it cannot be restarted in place."""

    #: Why nothing was restarted; empty after a restart, None without a release that went live.
    restart_skipped: str | None = None
    #: For how long the service was stopped, from the beginning of `stop` to the end of `start`; None if it was not.
    outage_seconds: float | None = None

    @property
    def is_restarted(self) -> bool:
        """True if the site was restarted after the flip."""
        return self.restart_skipped == ""

    @property
    def warning(self) -> str:
        """A sentence if running processes stay on the earlier release, as nothing restarted them; else empty."""
        if not self.restart_skipped or self.outage_seconds is not None:
            return ""
        reason = f"Nothing was restarted ({self.restart_skipped})"
        return f"{reason}: running processes stay on the earlier release until they are restarted."
