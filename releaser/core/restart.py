"""The interface of a restart method."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from releaser.system.frozen import Frozen, field

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from releaser.errors import Finding
    from releaser.report import Step
    from releaser.site.site import Site


class ServerCommand(Frozen):
    """A command that starts the server of a site on the unix socket `{socket}`."""

    words: tuple[str, ...]
    #: The directory in which it starts; None for the project.
    directory: Path | None = None
    #: Variables that the running server does not have.
    variables: Mapping[str, str] = field(default_factory=dict)


class Restart(ABC):
    """A method to restart a site. Subclasses override what differs from these defaults."""

    #: The value of the setting `restart` that selects this method, as help and messages show it.
    word = ""
    #: True if the `start` command replaces this method if that setting has a value.
    yields_to_start = False

    def selected_by(self, setting: tuple[str, ...]) -> Restart | None:
        """Return the method for a value of the setting `restart`; None if the value selects another method.

        A method whose word has an argument overrides this, and returns itself with the argument.
        """
        return self if setting == (self.word,) else None

    def restarts_processes(self, site: Site) -> bool:
        """True if new processes can be expected, so that the health check may wait for them."""
        return True

    def restart_file(self, site: Site) -> Path | None:
        """Return the file that this method writes in the checkout, and that git should ignore; None without one."""
        return None

    def program(self, site: Site) -> str | None:
        """Return the program to look for on PATH before a run; None if `findings` checks it."""
        return None

    def findings(self, site: Site) -> Iterator[Finding]:
        """Yield the problems that would make a restart fail. Changes nothing."""
        yield from ()

    def command_on_socket(self, site: Site) -> ServerCommand | None:
        """Return the command that starts the server of the site on a socket; None if it is unknown.

        The release is tried by it before the restart.
        """
        return None

    @abstractmethod
    def restart(self, site: Site, venv: Path, step: Step) -> None:
        """Restart the site on the live release, whose environment is `venv`. Raises ToolError."""
