"""The steps of a run on a terminal."""

from __future__ import annotations

import sys

from releaser.system.run import Step
from releaser.system.text import escape, format_seconds

_WIDTH = 12  # the longest name of a step, `static files`


class StepPrinter:
    """Prints a line for each step that ends, and shows the one that runs; without a terminal, only if `verbose`."""

    def __init__(self, *, verbose: bool, quiet: bool) -> None:
        self._is_shown = not quiet and (verbose or sys.stderr.isatty())
        if not self._is_shown:
            return
        from rich.console import Console  # takes 100 ms

        self._console = Console(stderr=True, highlight=False)
        self._status = self._console.status("") if sys.stderr.isatty() else None

    def __call__(self, name: str, step: Step | None) -> None:
        """Show that a step begins (`step` is None) or how it ended."""
        if not self._is_shown:
            return
        if step is None:
            if self._status is not None:
                self._status.update(f"{name} …")
                self._status.start()
            return
        if self._status is not None:
            self._status.stop()
        from rich.text import Text

        mark, style = ("✓", "green") if step.status == "done" else ("✗", "red")
        words = f"{name:{_WIDTH}} {format_seconds(step.seconds):>9}  "
        line = Text.assemble((f"{mark} ", style), words, (escape(step.detail), "dim"))
        self._console.print(line, overflow="ellipsis", no_wrap=True)
