"""The interface of a reporter: a kind of receiver that gets a notice about each run worth a mail."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from email.message import EmailMessage

    from releaser.errors import Finding
    from releaser.report import RunReport
    from releaser.site.site import Site

SECONDS = 10.0  # for a receiver to take one notice; after as many, no other is begun


class Receiver(Protocol):
    """One receiver of notices."""

    @property
    def queue(self) -> str:
        """Its name in the outbox, which does not contain a secret."""

    @property
    def address(self) -> str:
        """Its name for people, which does not contain a secret."""

    def content(self, site: Site, report: RunReport) -> bytes:
        """Return the JSON to send about a run. `releaser test-mail` sends `title`, `body` and `kind` instead."""

    def send(self, message: EmailMessage, *, sender: str, recipients: Sequence[str]) -> tuple[str, ...]:
        """Send the JSON in a message; return nothing. Raises MailError: then the notice stays in the outbox."""


class Reporter(ABC):
    """A kind of receiver. Notices go through the outbox, so that neither a kill nor a dead server loses them."""

    @abstractmethod
    def receivers(self, site: Site) -> Iterable[Receiver]:
        """Return the receivers that the settings name."""

    def findings(self, site: Site) -> Iterator[Finding]:
        """Yield the problems that would keep notices from being sent. Changes nothing."""
        yield from ()
