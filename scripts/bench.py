"""What `make bench` runs: releaser beside what people would use instead, in turn in one run on the same work.

Each part can be run by itself; what the others found out when they last ran is kept in .bench/. The text goes to the
terminal, the figures to docs/performance.md, and the plot beside it. Aims that are missed do not fail it.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench_commands import compare_commands, compare_pruning, measure_memory
from bench_figures import BenchError, as_text, say
from bench_isolation import compare_isolation
from bench_many import compare_many_sites
from bench_page import Clock, fail, keep, machine, now, plot, read, write_page
from bench_requests import compare_django_rollbacks, compare_requests
from bench_rollback import compare_gaps, compare_rollbacks
from bench_updates import compare_nothing_newer, compare_updates, measure_disk, measure_search
from stage import DemoError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bench_figures import Part

PARTS: Mapping[str, Callable[[Path], Part]] = {
    "rollback": compare_rollbacks,
    "django": compare_django_rollbacks,
    "gaps": compare_gaps,
    "requests": compare_requests,
    "nothing-newer": compare_nothing_newer,
    "updates": compare_updates,
    "commands": compare_commands,
    "prune": compare_pruning,
    "memory": measure_memory,
    "disk": measure_disk,
    "culprits": measure_search,
    "many": compare_many_sites,
    "isolation": compare_isolation,
}


def main() -> None:
    """Measure, print, and write the page and the plot."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", choices=PARTS, help="run this part alone; may be repeated")
    parser.add_argument("--page", action="store_true", help="measure nothing, write page and plot again")
    options = parser.parse_args()
    say(f"Python {sys.version.split()[0]}, {machine()}\n")
    clock = Clock()
    for name in () if options.page else options.only or PARTS:
        with tempfile.TemporaryDirectory(prefix="releaser-bench-") as place:
            os.sync()
            Path(place).chmod(0o755)  # a web server of another user reads below it
            try:
                part = replace(PARTS[name](Path(place)), measured=now())
            except (BenchError, DemoError) as error:
                fail(f"{name} is left out: {error}\n")
                continue
            except Exception as error:  # noqa: BLE001 - the other parts count none the less
                fail(f"{name} is left out, as it failed: {type(error).__name__}: {error}\n")
                continue
        keep(name, part)
        say(f"{as_text(part)}({name}: {clock.lap():.0f} s)\n")
    parts = read([*PARTS])
    write_page(parts)
    try:
        plot(parts)
    except BenchError as error:
        fail(str(error))
    aims = [aim for part in parts.values() for aim in part.aims]
    say(f"{sum(aim.is_met for aim in aims)} of {len(aims)} aims are met; see docs/performance.md.")


if __name__ == "__main__":
    main()
