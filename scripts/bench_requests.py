"""What visitors of a real Django site wait for while it is updated, and what a rollback of it costs."""

from __future__ import annotations

import json
import statistics
import subprocess
from typing import TYPE_CHECKING, Any

from bench_figures import Aim, BenchError, Part, duration
from bench_updates import open_stage
from demo_web_server import OLD_GUNICORN, SERVERS, renew, toml
from stage import OLD_VERSIONS
from visitors import Crowd

if TYPE_CHECKING:
    from pathlib import Path

    from stage import Stage
    from web_server import WebServer

RESTARTS = 5
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
    aims, notes = [], []
    for kind in ("gunicorn", "passenger"):
        try:
            stage, server = open_site(place / kind, kind)
        except BenchError as error:
            notes.append(str(error))
            continue
        with server.running():
            restarts = [slowest_of_restart(stage, server) for _ in range(RESTARTS)]
            updates = [slowest_of(stage, server, command) for command in ("update", "rollback", "update --force")]
        usual, slow = statistics.median(restarts), statistics.median(updates)
        notes.append(
            f"{kind}: the slowest request took {duration(usual)} during its own restart (median of {len(restarts)}; at"
            f" most {duration(max(restarts))}), and {', '.join(map(duration, updates))} during update, rollback and"
            " update."
        )
        what = f"slowest request during an update, beside {kind}'s restart"
        aims.append(Aim(what=what, limit=1.5, found=slow / usual))
    return Part(title="Requests", aims=tuple(aims), notes=tuple(notes))


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
    aims = (
        Aim(
            what="rollback of a Django site: releaser's own part", limit=0.3, found=statistics.median(own[1:]), unit="s"
        ),
        Aim(what="rollbacks that collected static files again", limit=0, found=collected, unit=f"of {len(own)}"),
    )
    note = f"With collectstatic, restart and health check, a rollback takes {duration(statistics.median(whole[1:]))}."
    return Part(title="Rollback of a Django site", aims=aims, notes=(note,))
