"""The small bench that CI runs: some ratios to other programs, none of which may become 25 % worse than committed.

Each program runs beside its peer in turn, and CPU time counts, of it and all that it started: other work on the machine
changes that far less than wall time, and both in like manner. What seems worse is measured again before it counts.
`--write` commits to what is found.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench_figures import Program, measure, say
from bench_sites import RELEASES, make_site, make_starter

from tests.support.commands import console_script, uv_executable

if TYPE_CHECKING:
    from collections.abc import Mapping

COMMITTED = Path(__file__).with_name("bench-ci.json")
WORSE = 1.25
AGAIN = 1  # more times at most: the best of several would hide what is worse


def pairs(place: Path) -> Mapping[str, tuple[Program, Program, int]]:
    """Return what is compared, each with its peer and the number of turns."""
    site = make_site(place)
    releaser, uv, names = console_script(), uv_executable(), site.releases()[-2:]
    checkout = site.outer / "in-place"
    site.git("clone", "--quiet", site.remote, checkout)
    (checkout / "older.lock").write_bytes((site.state_dir / "releases" / names[0] / "uv.lock").read_bytes())
    (checkout / "newer.lock").write_bytes((site.state_dir / "releases" / names[1] / "uv.lock").read_bytes())
    in_place = {**site.env, "UV_PROJECT_ENVIRONMENT": str(checkout / ".venv")}

    def rollback(turn: int) -> list[str | Path]:
        return [releaser, "rollback", names[turn % 2]]

    def sync(turn: int) -> list[str | Path]:
        lock = ("older.lock", "newer.lock")[turn % 2]
        return ["sh", "-c", 'cp "$1" uv.lock && "$2" sync --quiet --frozen --compile-bytecode', "sh", lock, uv]

    def own(name: str, *words: str | Path) -> Program:
        return Program(name=name, words=[releaser, *words], cwd=site.path, env=site.env)

    start = Program(name="python -c pass", words=[sys.executable, "-c", "pass"], cwd=site.path, env=site.env)
    python = site.link.resolve() / "bin" / "python"
    live = Program(name="the program itself", words=[python, "-c", "pass"], cwd=site.path, env=site.env)
    dry_run = Program(
        name="uv lock --upgrade --dry-run", words=[uv, "lock", "--upgrade", "--dry-run"], cwd=site.path, env=site.env
    )
    refresh = ("exec", "--refresh", "daily", "--wait", "60s", "--", "python", "-c", "pass")
    return {
        "--version": (own("--version", "--version"), start, 15),
        f"list, {RELEASES} releases": (own("list", "list"), start, 15),
        "exec, nothing due": (own("exec", *refresh), start, 15),
        "starter, nothing due": (make_starter(site, run="python -c pass"), live, 15),
        "update, nothing newer": (own("update", "update"), dry_run, 7),
        "rollback": (
            Program(name="rollback", words=rollback, cwd=site.path, env=site.env),
            Program(name="uv sync in place", words=sync, cwd=checkout, env=in_place),
            7,
        ),
    }


def ratio(pair: tuple[Program, Program, int]) -> float:
    """Return the median of the ratios of CPU time."""
    program, peer, turns = pair
    own, other = measure([program, peer], turns)
    return own.times(other, "cpu")


def main() -> int:
    """Measure, compare, and return 1 if something has become worse."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write the committed figures")
    options = parser.parse_args()
    committed: dict[str, float] = json.loads(COMMITTED.read_text(encoding="utf-8")) if COMMITTED.exists() else {}
    found, worse = dict[str, float](), list[str]()
    with tempfile.TemporaryDirectory(prefix="releaser-bench-") as place:
        for name, pair in pairs(Path(place)).items():
            found[name] = ratio(pair)
            limit = WORSE * committed.get(name, float("inf"))
            for _ in range(0 if options.write else AGAIN):
                if found[name] <= limit:
                    break
                say(f"{name}: {found[name]:.2f} times {pair[1].name} seems worse, so it is measured again")
                found[name] = min(found[name], ratio(pair))
            worse += [name] if found[name] > limit else []
            than = f"committed {committed[name]:.2f}" if name in committed else "none is committed"
            say(f"{'WORSE ' if name in worse else 'ok    '}{name}: {found[name]:.2f} times {pair[1].name} ({than})")
    if options.write:
        text = json.dumps({name: round(one, 2) for name, one in found.items()}, indent=2)
        COMMITTED.write_text(f"{text}\n", encoding="utf-8")
        return 0
    if worse:
        say(f"More than 25 % worse: {', '.join(worse)}. If that is worth it: make bench-ci ARGS=--write")
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
