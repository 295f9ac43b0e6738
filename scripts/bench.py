"""What `make bench` runs: releaser beside what people would use instead, in turn in one run on the same work.

Each part can be run by itself; what the others found out when they last ran is kept in .bench/. The text goes to the
terminal, the figures to docs/project/performance-figures.md, and the plot to docs/images. Neither a missed aim nor a
part that does not end fails it: every aim is named, with what was found, or why nothing was.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench_aims import Aim, judge
from bench_commands import compare_commands, compare_pruning, measure_memory
from bench_figures import aim_line, as_text, attempt, say
from bench_many import compare_many_sites
from bench_page import Clock, commit, fail, keep, machine, now, plot, read, write_page
from bench_peers import say_what_is_missing
from bench_requests import compare_django_rollbacks, compare_requests
from bench_rollback import compare_gaps, compare_rollbacks
from bench_sandbox import compare_sandbox
from bench_updates import compare_nothing_newer, compare_updates, measure_disk, measure_search

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from bench_figures import Part

PARTS: Mapping[str, Callable[[Path], Part]] = {
    "rollback": compare_rollbacks,
    "django": compare_django_rollbacks,
    "gaps": compare_gaps,
    "requests": compare_requests,
    "nothing-newer": compare_nothing_newer,
    "updates": compare_updates,
    "commands": compare_commands,
    "memory": measure_memory,
    "culprits": measure_search,
    "many": compare_many_sites,
    "disk": measure_disk,
    "sandbox": compare_sandbox,
    "prune": compare_pruning,
}


def main(words: Sequence[str] | None = None) -> None:
    """Measure, print, and write the page and the plot."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", choices=PARTS, help="run this part alone; may be repeated")
    parser.add_argument("--page", action="store_true", help="measure nothing, write page and plot again")
    parser.add_argument("--minutes", type=float, default=60, help="begin no part after so many; default: %(default)s")
    options = parser.parse_args(words)
    say(f"Python {sys.version.split()[0]}, {machine()}, commit {commit()}\n")
    say_what_is_missing()
    clock, reasons = Clock(), dict[str, str]()
    for name in () if options.page else options.only or PARTS:
        is_late = clock.total > options.minutes * 60
        part = None if is_late else attempt(partial(run_part, name), partial(reasons.__setitem__, name))
        if part is None:
            reasons.setdefault(name, f"{options.minutes:g} minutes had gone by")
            fail(f"{name} is left out: {reasons[name]}\n")
            continue
        keep(name, part)
        say(f"{as_text(part, judge(name, part.found, part.missing, ''))}({name}: {clock.lap():.0f} s)\n")
    parts = {name: part for name, part in read([*PARTS]).items() if name not in reasons}
    aims = list[Aim]()
    for name in PARTS:
        part = parts.get(name)
        otherwise = reasons.get(name, "this part has not been run here" if part is None else "it was left out")
        aims += judge(name, part.found if part else {}, part.missing if part else {}, otherwise)
    for act in (partial(write_page, parts, aims), partial(plot, parts, aims)):
        attempt(act, fail)
    say("\n".join(map(aim_line, aims)))
    say(f"{sum(aim.is_met for aim in aims)} of {len(aims)} aims are met; see docs/project/performance-figures.md.")


def run_part(name: str) -> Part:
    """Run a part in a directory of its own."""
    where = os.environ.get("TMPDIR", "/var/tmp")  # noqa: S108 - not /tmp, where no site lies: the sandbox hides it
    with tempfile.TemporaryDirectory(prefix="releaser-bench-", dir=where, ignore_cleanup_errors=True) as place:
        os.sync()
        Path(place).chmod(0o755)  # a web server of another user reads below it
        return replace(PARTS[name](Path(place)), measured=now(), commit=commit())


if __name__ == "__main__":
    main()
