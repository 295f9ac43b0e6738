"""What visitors of a real Django site wait for while it is updated, and what a rollback of it costs."""

from __future__ import annotations

import json
import statistics
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from bench_figures import BenchError, Cost, Figure, Part, Table, attempt, duration
from bench_sandbox import cost
from bench_updates import open_stage
from demo_web_server import SERVERS, toml
from stage import OLD_VERSIONS, PRICETAG
from systemd_server import Instances
from visitors import Crowd
from web_server import names_of

from tests.support.wheels import build_wheel

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from stage import Stage
    from visitors import Tally
    from web_server import WebServer

# As many of the server's own restarts are beside them.
ACTIONS = ("update", "rollback", "update --force")
WAYS = {**SERVERS, "systemd": Instances}
COMPARED = ("gunicorn", "passenger", "systemd")
QUIET, PAUSE = 60.0, 0.004  # seconds: of each of the quiet times, and between two requests
TURNS = 3  # of rollbacks to and fro
SITES_OWN = ("collectstatic", "test start", "restart", "health check")
# Static files of packages, beside those of the demo's site.
STATIC_OF_PACKAGES = """
import django, pricetag
STATICFILES_DIRS = [
    Path(django.__file__).parent / "contrib" / "admin" / "static",
    Path(pricetag.__file__).parent / "pricetag_static",
]
"""


def open_site(place: Path, kind: str) -> tuple[Stage, WebServer]:
    """Make the demo's site for a web server, and adopt it; BenchError if that is not there."""
    if missing := WAYS[kind].missing():
        message = f"{kind} is not installed, so it is left out ({', '.join(missing)})"
        raise BenchError(message)

    def arrange(stage: Stage) -> dict[str, Any]:
        server: WebServer = WAYS[kind].of(stage)
        stage.site.mkdir(parents=True)
        server.prepare()
        servers.append(server)
        return {
            "add": toml({**server.settings, "health_retries": 2, "health_pause": "1s"}),
            "requires": names_of(server.pins),
            "locked": (*OLD_VERSIONS, *server.pins),
            "python": server.python,
        }

    servers: list[WebServer] = []
    stage = open_stage(place, arrange)
    stage.ask(stage.link / "bin" / "python", "manage.py", "collectstatic", "--noinput")
    stage.ask("releaser", "init")
    return stage, servers[0]


def compare_requests(place: Path) -> Part:
    """Compare the slowest request during updates with those of quiet times and of the server's own restarts.

    One visitor asks every few milliseconds.
    """
    found, missing, notes = dict[str, float](), dict[str, str](), []
    for kind in COMPARED:
        what = f"slowest request during an update beside a quiet minute, {kind}"
        slowest = attempt(partial(find_slowest, place / kind, kind), partial(missing.__setitem__, what))
        if slowest is None:
            continue
        quiet, restarts, updates, failed = slowest
        found[what] = max(updates) / max(quiet)
        notes.append(
            f"{kind}: the slowest request of {len(quiet)} times {QUIET:g} quiet seconds took {range_of(quiet)}; of as"
            f" many updates and rollbacks {range_of(updates)}; of as many restarts of the server's own"
            f" {range_of(restarts)}{f', and {failed} requests failed' if failed else ''}."
        )
    return Part(title="Requests", found=found, missing=missing, notes=tuple(notes))


def range_of(seconds: list[float]) -> str:
    """Write the least, the median and the most of some times."""
    return f"{duration(min(seconds))} to {duration(max(seconds))} (median {duration(statistics.median(seconds))})"


def find_slowest(place: Path, kind: str) -> tuple[list[float], list[float], list[float], int]:
    """Return the slowest request of each quiet time, of each restart, and of each update and rollback, in turns.

    The number is that of the requests that failed during restarts; BenchError if one fails at another time.
    """
    stage, server = open_site(place, kind)
    stage.nice = 0
    with server.running():
        turns = [
            (
                tally_during(stage, server, lambda: time.sleep(QUIET), renews=False),
                tally_during(stage, server, server.restart),
                tally_during(stage, server, partial(stage.ask, "releaser", *command.split())),
            )
            for command in ACTIONS
        ]
    quiet, restarts, updates = zip(*turns, strict=True)
    if failures := [failure for tally in (*quiet, *updates) for failure in tally.failures]:
        message = f"{len(failures)} requests failed: {failures[0]}"
        raise BenchError(message)
    failed = sum(len(tally.failures) for tally in restarts)
    return slowest_of(quiet), slowest_of(restarts), slowest_of(updates), failed


def slowest_of(tallies: Sequence[Tally]) -> list[float]:
    """Return the seconds of the slowest request of each."""
    return [max(tally.slowest, tally.slowest_after) for tally in tallies]


def tally_during(stage: Stage, server: WebServer, act: Callable[[], object], *, renews: bool = True) -> Tally:
    """Let something happen while a visitor asks; return what the visitor met.

    With `renews`, it goes on until new processes have answered.
    """
    crowd = Crowd(server.address, stage.link, pages=server.pages, pause=PAUSE)
    with crowd.asking():
        crowd.wait_until_all_answers(lambda _: True, what="answers", processes=1)
        old = crowd.tally.processes
        tally = crowd.begin()
        act()
        if renews:
            crowd.wait_until_all_answers(lambda answer: answer.process not in old, what="new processes", processes=1)
    return tally


def compare_django_rollbacks(place: Path) -> Part:
    """Measure what of a rollback of a real Django site is releaser's own, and what is the site's.

    Most upgrades leave the static files as they are; the last one here does not.
    """
    stage, server = open_site(place, "gunicorn")
    with (stage.site / "teashop" / "settings.py").open("a", encoding="utf-8") as file:
        file.write(STATIC_OF_PACKAGES)
    stage.ask("git", "commit", "--quiet", "--all", "--message", "Collect static files of packages")
    stage.ask("git", "push", "--quiet")
    with server.running():
        for name, version in (("pricetag", "1.0.1"), ("asgiref", "1.0.1"), ("pricetag", "1.0.2")):
            modules = {"pricetag.py": PRICETAG["1.0"], "pricetag_static/tag.css": f"/* {version} */\n"}
            build_wheel(stage.wheels, "pricetag", version, modules=modules)
            stage.ask("releaser", "update", name)
        newest, *earlier = (row["id"] for row in stage.releases()[:3])
        changed = [roll_back(stage, name) for name in (earlier[0], newest) * TURNS]
        roll_back(stage, earlier[0])
        same = [roll_back(stage, name) for name in (earlier[1], earlier[0]) * TURNS]
    figures = tuple(
        Figure(name=f"{name}, {which} static files", costs=costs)
        for which, turns in (("the same", same), ("other", changed))
        for name, costs in (
            ("rollback", tuple(whole for whole, _, _ in turns)),
            ("releaser's own part", tuple(own for _, own, _ in turns)),
        )
    )
    found = {
        "rollback of a Django site: releaser's own part": figures[1].median(),
        "rollbacks that collected static files again": float(sum(turn[2] for turn in same)),
    }
    again = sum(turn[2] for turn in changed)
    note = f"Where the newer release has written over static files, {again} of {len(changed)} rollbacks collect them."
    table = Table(title="rollback, restart and health check", figures=figures)
    return Part(title="Rollback of a Django site", tables=(table,), found=found, notes=(note,))


def roll_back(stage: Stage, name: str) -> tuple[Cost, Cost, bool]:
    """Go to a release; return what that took, what of it is releaser's own, and whether static files were collected."""
    report: dict[str, Any] = {}

    def ask() -> None:
        report.update(json.loads(stage.ask("releaser", "rollback", "--json", name)))

    whole = cost(ask)
    steps = {step["step"]: step for step in report["steps"]}
    own = report["seconds"] - sum(steps[name]["seconds"] for name in SITES_OWN if name in steps)
    return whole, Cost(wall=own, cpu=whole.cpu), steps["collectstatic"]["detail"] != "all are in place"
