"""Print what the commands of releaser do, and how large its rooms are, to compare two versions; needs no network."""

import argparse
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from size import count_tokens

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


def count_commands(site: SampleSite, name: str, *scenes: str, package: Path | None = None) -> dict[str, Counts]:
    """Return what the commands of these scenes do on a site with a live release; `name` is the package to update.

    The site is updated once, and has a quiet night, before anything counts.
    """
    site.publish(name, "1.1.0")
    for _ in range(2):
        count(site, "update", package=package)
    counted = {}
    for scene in scenes:
        if scene == ONE:
            site.publish(name, "1.2.0")
        counted[scene] = count(site, COMMANDS[scene], package=package)
    return counted


def print_counts(counted: Mapping[str, Counts]) -> None:
    """Print a table; in its last column are the names of the other programs."""
    print(f"{'starts, calls, functions entered':34}", *(f"{column:>{len(column) + 1}}" for column in COLUMNS))
    for scene, counts in counted.items():
        values = {column: value(counts) for column, value in COLUMNS.items()}
        shown = (f"{'-' if value is None else value:>{len(column) + 1}}" for column, value in values.items())
        others = ", ".join(f"{program} {number}" for program, number in counts.others.items())
        print(f"{scene:34}", *shown, f"  {others}".rstrip(), flush=True)


def print_rooms(package: Path) -> None:
    """Print lines and tokens of each directory of a package, the largest first, and the total."""
    rooms: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    for path in package.rglob("*.py"):
        text, parts = path.read_text(encoding="utf-8"), path.relative_to(package).parts
        figures = (1, len(text.splitlines()), count_tokens(text))
        for room in (f"{parts[0]}/" if parts[1:] else "(top)", "total"):
            rooms[room] = [sum(pair) for pair in zip(rooms[room], figures, strict=True)]
    print(f"\n{'room':20} {'modules':>8} {'lines':>8} {'tokens':>8}")
    for room, row in sorted(rooms.items(), key=lambda item: (item[0] == "total", -item[1][2])):
        print(f"{room:20}", *(f"{figure:8,}" for figure in row))


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--package", type=Path, metavar="DIR", help="count the releaser in DIR, not the installed one")
    directory = parser.parse_args().package
    package = directory.resolve() if directory else None
    if package and not (package / "releaser/__init__.py").is_file():
        parser.error(f"{package} has no releaser")
    with tempfile.TemporaryDirectory(prefix="releaser-figures-", ignore_cleanup_errors=True) as temporary:
        place = Path(temporary)
        site = SiteFactory(place / "site", Templates(place, place / "uv-cache"))()
        home = count(site, "init", package=package).home
        print_counts(count_commands(site, "alpha", *COMMANDS, package=package))
    print_rooms(home)


if __name__ == "__main__":
    main()
