"""The steps of a run on a terminal: the one that runs with how far it is, and how each has ended."""

from __future__ import annotations

import re
import statistics
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from releaser.report.history import Record
from releaser.system import process
from releaser.system.run import Step
from releaser.system.text import escape, format_bytes, format_seconds, redact

if TYPE_CHECKING:
    from rich.text import Text

_WIDTH = 12  # the longest name of a step, `static files`
_BAR = 20  # characters
_SHOWN = 2.0  # seconds: of a quick step no bar is shown
_DOWNLOAD = re.compile(r" *(Downloading|Downloaded) (\S+)(?: \(([\d.]+)([KMG]?)iB\))?\s*")  # as uv prints it
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


class StepPrinter:
    """Prints a line for each step that ends, and shows the one that runs; without a terminal, only if `verbose`."""

    def __init__(self, *, verbose: bool, quiet: bool) -> None:
        self.is_live = not quiet and sys.stderr.isatty()
        self._is_shown = not quiet and (verbose or self.is_live)
        self._name, self._began, self._output = "", 0.0, ""
        self._usual: dict[str, float] = {}
        self._sizes: dict[str, float] = {}
        self._loaded: set[str] = set()
        if not self._is_shown:
            return
        from rich.console import Console  # takes 100 ms

        self._console = Console(stderr=True, highlight=False)
        self._status = self._console.status(self) if self.is_live else None
        process.watch_output(self._read if self.is_live else None)

    def learn(self, records: Sequence[Record]) -> None:
        """Take how long steps usually last from earlier runs, the newest first."""
        seconds: dict[str, list[float]] = {}
        for step in (step for record in records for step in record.steps if step.status == "done"):
            seconds.setdefault(step.step, []).append(step.seconds)
        self._usual = {name: statistics.median(values[:5]) for name, values in seconds.items()}

    def __call__(self, name: str, step: Step | None) -> None:
        """Show that a step begins (`step` is None) or how it ended."""
        if not self._is_shown:
            return
        if step is None:
            self._name, self._began, self._output, self._sizes, self._loaded = name, time.monotonic(), "", {}, set()
            if self._status is not None:
                self._status.start()
            return
        if self._status is not None:
            self._status.stop()
        from rich.text import Text

        mark, style = ("✓", "green") if step.status == "done" else ("✗", "red")
        words = f"{name:{_WIDTH}} {format_seconds(step.seconds):>9}  "
        line = Text.assemble((f"{mark} ", style), words, (escape(step.detail), "dim"))
        self._console.print(line, overflow="ellipsis", no_wrap=True)

    def _read(self, part: bytes) -> None:
        """Take what a program has printed. Called by the thread that waits for it; another one shows it."""
        *lines, rest = re.split(r"[\r\n]+", self._output + part.decode(errors="replace"))
        for match in filter(None, map(_DOWNLOAD.fullmatch, lines)):
            if match[1] == "Downloaded":
                self._loaded.add(match[2])
            elif match[3]:
                self._sizes[match[2]] = float(match[3]) * _UNITS[match[4]]
        last = [line for line in lines if line.strip()][-1:]
        self._output = rest[-4096:] if rest.strip() or not last else f"{last[0][-4096:]}\n"

    def __rich__(self) -> Text:
        """Return the step that runs: a bar, its time, and the last line of its program."""
        from rich.text import Text

        seconds, usual = time.monotonic() - self._began, self._usual.get(self._name, 0)
        share, words = seconds / usual if usual > _SHOWN else 0, format_seconds(seconds)
        words += f" of about {format_seconds(usual)}" if usual > _SHOWN else ""
        if sizes := dict(self._sizes):
            loaded = sum(size for name, size in sizes.items() if name in self._loaded)
            share = loaded / sum(sizes.values())
            words = f"{format_bytes(loaded)} of {format_bytes(sum(sizes.values()))}"
        full = min(_BAR, round(share * _BAR))
        bar = ("━" * full, "green"), ("─" * (_BAR - full), "dim"), " "
        line = escape(redact(self._output.strip())[-200:])
        parts = [f"{self._name:{_WIDTH}} ", *(bar if usual > _SHOWN or sizes else ()), f"{words}  "]
        return Text.assemble(*parts, (line, "dim"), no_wrap=True, overflow="ellipsis")
