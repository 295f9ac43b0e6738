"""Records the steps of a run as they happen, and lets a listener show them."""

from __future__ import annotations

import contextlib
import logging
import time
from typing import TYPE_CHECKING, Protocol

from releaser.errors import ReleaserError
from releaser.report.outcome import Outcome, Status

if TYPE_CHECKING:
    from collections.abc import Iterator

log = logging.getLogger(__name__)


class Listener(Protocol):
    """Whoever wants to see steps while they happen."""

    def started(self, step: str) -> None:
        """A step has begun."""

    def ended(self, outcome: Outcome) -> None:
        """A step is over."""


class Silence:
    """Listens to nothing: cron, and `--quiet`."""

    def started(self, step: str) -> None:
        """Ignore it."""

    def ended(self, outcome: Outcome) -> None:
        """Ignore it."""


class Step:
    """A step under way; whoever does it says here how it went, unless it just went well."""

    def __init__(self) -> None:
        self.status: Status = "ok"
        self.detail = ""

    def says(self, detail: str) -> None:
        """Note one line for people."""
        self.detail = detail

    def skipped(self, detail: str) -> None:
        """Note that there was nothing to do."""
        self.status, self.detail = "skipped", detail

    def warns(self, detail: str) -> None:
        """Note that it went wrong without stopping the run."""
        self.status, self.detail = "warning", detail


class Recorder:
    """Collects one `Outcome` a step, in order."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self.outcomes: list[Outcome] = []

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[Step]:
        """Time what happens inside; an error that leaves it makes the step a failed one."""
        step = Step()
        started = time.monotonic()
        log.info("step %s", name)
        self._listener.started(name)
        try:
            yield step
        except BaseException as error:
            step.status = "failed"
            step.detail = error.message if isinstance(error, ReleaserError) else type(error).__name__
            raise
        finally:
            outcome = Outcome(
                step=name,
                status=step.status,
                detail=step.detail,
                seconds=round(time.monotonic() - started, 3),
            )
            self.outcomes.append(outcome)
            log.info("step %s: %s %s", name, outcome.status, outcome.detail)
            self._listener.ended(outcome)
