"""What visitors of a real Django site wait for while it is updated, and what a rollback of it costs."""

from __future__ import annotations

import json
import statistics
import subprocess
from functools import partial
from typing import TYPE_CHECKING, Any

from bench_figures import BenchError, Part, attempt, duration
from bench_updates import open_stage
from demo_web_server import OLD_GUNICORN, SERVERS, renew, toml
from stage import OLD_VERSIONS
from visitors import Crowd

if TYPE_CHECKING:
    from pathlib import Path

    from stage import Stage
    from web_server import WebServer

# As many of the server's own restarts are beside them.
ACTIONS = ("update", "rollback", "update --force", "rollback", "update --force", "rollback")
ROLLBACKS = 5
SITES_OWN = {"collectstatic", "restart", "health check"}


def open_site(place: Path, kind: str) -> tuple[Stage, WebServer]:
    """Make the demo's site for a web server, and adopt it; BenchError if that is not there."""
    if missing := SERVERS[kind].missing():
        message = f"{kind} is not installed, so it is left out ({', '.join(missing)})"
        raise BenchError(message)

    def arrange(stage: Stage) -> dict[str, Any]:
        server = SERVERS[kind].of(stage)
        stage.site.mkdir(parents=True)
        server.prepare()
        servers.append(server)
        is_gunicorn = kind == "gunicorn"
        return {
            "add": toml({**server.settings, "health_retries": 2, "health_pause": "1s"}),
            "requires": ("gunicorn",) if is_gunicorn else (),
            "locked": (*OLD_VERSIONS, OLD_GUNICORN) if is_gunicorn else OLD_VERSIONS,
            "python": server.python,
        }

    servers: list[WebServer] = []
    stage = open_stage(place, arrange)
    stage.ask(stage.link / "bin" / "python", "manage.py", "collectstatic", "--noinput")
    stage.ask("releaser", "init")
    return stage, servers[0]


def compare_requests(place: Path) -> Part:
    """Compare the slowest request during updates and rollbacks with that during the server's own restarts."""
    found, missing, notes = dict[str, float](), dict[str, str](), []
    for kind in ("gunicorn", "passenger"):
        what = f"slowest request during an update, beside {kind}'s restart"
        slowest = attempt(partial(find_slowest, place / kind, kind), partial(missing.__setitem__, what))
        if slowest is None:
            continue
        restarts, updates = slowest
        found[what] = max(updates) / max(restarts)
        notes.append(
            f"{kind}: the slowest request of {len(restarts)} restarts of its own took {duration(max(restarts))} (median"
            f" {duration(statistics.median(restarts))}), that of as many updates and rollbacks {duration(max(updates))}"
            f" (median {duration(statistics.median(updates))})."
        )
    return Part(title="Requests", found=found, missing=missing, notes=tuple(notes))


def find_slowest(place: Path, kind: str) -> tuple[list[float], list[float]]:
    """Return the slowest request of each restart, and of each update and rollback; these take turns."""
    stage, server = open_site(place, kind)
    with server.running():
        pairs = [(slowest_of_restart(stage, server), slowest_of(stage, server, command)) for command in ACTIONS]
    restarts, updates = zip(*pairs, strict=True)
    return list(restarts), list(updates)


def slowest_of_restart(stage: Stage, server: WebServer) -> float:
    """Restart the server while visitors ask; return the seconds of the slowest request."""
    crowd = Crowd(server.address, stage.link, pages=server.pages)
    with crowd.asking():
        crowd.wait_until_all_answers(lambda _: True, what="answers of two processes")
        old = crowd.tally.processes
        tally = crowd.begin()
        server.restart()
        crowd.wait_until_all_answers(lambda answer: answer.process not in old, what="new processes")
    return tally.slowest


def slowest_of(stage: Stage, server: WebServer, command: str) -> float:
    """Let releaser do something while visitors ask; return the seconds of the slowest request."""
    crowd = Crowd(server.address, stage.link, pages=server.pages)
    with crowd.asking():
        old = renew(server, crowd)
        tally = crowd.begin()
        stage.ask("releaser", *command.split())
        crowd.wait_until_all_answers(lambda answer: answer.process not in old, what="the new release")
    if tally.failures:
        message = f"{len(tally.failures)} requests failed: {tally.failures[0]}"
        raise BenchError(message)
    return max(tally.slowest, tally.slowest_after)


def compare_django_rollbacks(place: Path) -> Part:
    """Measure what of a rollback of a real Django site is releaser's own, and what is the site's."""
    stage, server = open_site(place, "gunicorn")
    whole, own, collected = [], [], 0
    with server.running():
        stage.ask("releaser", "update")
        names = [row["id"] for row in stage.releases()]
        for turn in range(ROLLBACKS + 1):
            words = ["releaser", "rollback", "--json", names[1 - turn % 2]]
            done = subprocess.run(words, cwd=stage.site, env=stage.env, capture_output=True, text=True, check=True)
            report = json.loads(done.stdout)
            site = sum(step["seconds"] for step in report["steps"] if step["step"] in SITES_OWN)
            whole.append(report["seconds"])
            own.append(report["seconds"] - site)
            collected += any(step["step"] == "collectstatic" and step["status"] == "ok" for step in report["steps"])
    found = {
        "rollback of a Django site: releaser's own part": statistics.median(own[1:]),
        "rollbacks that collected static files again": float(collected),
    }
    note = f"With collectstatic, restart and health check, a rollback takes {duration(statistics.median(whole[1:]))}."
    return Part(title="Rollback of a Django site", found=found, notes=(note,))
