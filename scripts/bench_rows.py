"""What the parts of the bench share: to time programs in turn, to watch their memory, and the table of all rows."""

import contextlib
import os
import resource
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

_rows: list[str] = []


@dataclass(frozen=True)
class Times:
    """How long something took, and the processor time of the programs that it started."""

    seconds: float
    processor: float

    def __str__(self) -> str:
        """Say both."""
        return f"{self.seconds:.2f} s, {self.processor:.3f} s of a processor"


def report(what: str, values: Sequence[float], aim: float | None = None) -> None:
    """Print the median of a row, and its aim; note both for the table."""
    value = statistics.median(values)
    result = f"{value:.0f}" if value >= 20 else f"{value:.2f}"
    verdict = "" if aim is None else f"{aim:g} | {'met' if value <= aim else 'missed'}"
    _rows.append(f"| {what} | {result} | {verdict or ' | '} | {len(values)} |")
    print(f"== {what}: {result}{verdict and ' (aim ' + verdict.replace(' |', ',') + ')'}", flush=True)


def print_rows() -> None:
    """Print all rows."""
    print("\n| measured | result | aim | | rounds |\n|---|---|---|---|---|", *_rows, sep="\n", flush=True)


def time_program(act: Callable[[], object]) -> Times:
    """Return what a program takes, once nothing waits for the disk any more."""
    os.sync()
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    act()
    took, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return Times(took, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def time_acts(number: int, *acts: Callable[[], object]) -> list[Times]:
    """Return what each act takes; another one is the first in each round."""
    times = dict[int, Times]()
    for place in range(len(acts)):
        which = (number + place) % len(acts)
        times[which] = time_program(acts[which])
    return [times[which] for which in range(len(acts))]


def watch_memory(start: Callable[[], AbstractContextManager["subprocess.Popen[str]"]]) -> tuple[float, float]:
    """Return the most memory of a program, and of the largest of all that run in its session, in MB."""
    most = dict[str, int]()
    with start() as process:
        while process.poll() is None:
            for status in Path("/proc").glob("[1-9]*/status"):
                with contextlib.suppress(OSError, IndexError, ValueError):
                    if os.getsid(int(status.parent.name)) == process.pid:
                        most[status.parent.name] = int(status.read_text().partition("VmHWM:")[2].split()[0])
            time.sleep(0.02)
        errors = process.communicate()
    assert not process.returncode, errors
    return most[str(process.pid)] * 1.024e-3, max(most.values()) * 1.024e-3
