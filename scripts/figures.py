"""Print what the commands of releaser do; needs no network."""

import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.support.counting import Counts, count
from tests.support.sites import SampleSite, SiteFactory, Templates

QUIET, ONE, STATUS, CHECK, PREVIEW = "a quiet night", "an update of one", "status", "check", "update --dry-run"
COMMANDS = {QUIET: "update", ONE: "update", STATUS: "status", CHECK: "check", PREVIEW: "update --dry-run"}
COLUMNS: Mapping[str, Callable[[Counts], object]] = {
    "git": lambda counts: counts.git,
    "uv": lambda counts: counts.uv,
    "other": lambda counts: sum(counts.others.values()),
    "Store()": lambda counts: counts.stores,
    "releases read": lambda counts: counts.reads,
    "functions": lambda counts: counts.functions,
    "of modules": lambda counts: counts.modules,
}


def count_commands(site: SampleSite, name: str, *scenes: str) -> dict[str, Counts]:
    """Return what the commands of these scenes do on a site with a live release; `name` is the package to update.

    The site is updated once, and has a quiet night, before anything counts.
    """
    site.publish(name, "1.1.0")
    for _ in range(2):
        count(site, "update")
    counted = {}
    for scene in scenes:
        if scene == ONE:
            site.publish(name, "1.2.0")
        counted[scene] = count(site, COMMANDS[scene])
    return counted


def print_counts(counted: Mapping[str, Counts]) -> None:
    """Print a table; in its last column are the names of the other programs."""
    print(f"{'starts, calls, functions entered':34}", *(f"{column:>{len(column) + 1}}" for column in COLUMNS))
    for scene, counts in counted.items():
        values = {column: value(counts) for column, value in COLUMNS.items()}
        shown = (f"{'-' if value is None else value:>{len(column) + 1}}" for column, value in values.items())
        others = ", ".join(f"{program} {number}" for program, number in counts.others.items())
        print(f"{scene:34}", *shown, f"  {others}".rstrip(), flush=True)


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory(prefix="releaser-figures-", ignore_cleanup_errors=True) as temporary:
        place = Path(temporary)
        site = SiteFactory(place / "site", Templates(place, place / "uv-cache"))()
        count(site, "init")
        print_counts(count_commands(site, "alpha", *COMMANDS))


if __name__ == "__main__":
    main()
