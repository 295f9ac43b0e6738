"""The story that `make demo-passenger` tells: a real web server, whose visitors never notice that releases come and go.

Takes a directory to work in, the directory of the programs `releaser` and `uv`, and the web server, `passenger`,
`gunicorn` or `uwsgi`. The story is told twice, with the start-up module that pins processes to their release and
without: the second time the visitors must notice. Every claim is checked; one that does not hold ends it with
exit status 1.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stage import OLD_VERSIONS, DemoError, Stage, chapter, expect, publish, say, set_up
from visitors import Crowd
from web_server import Gunicorn, Passenger, Uwsgi, names_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from visitors import Tally
    from web_server import WebServer

SERVERS: Mapping[str, type[Passenger | Gunicorn | Uwsgi]] = {
    "passenger": Passenger,
    "gunicorn": Gunicorn,
    "uwsgi": Uwsgi,
}
QUIET = 20.0  # seconds


@dataclass(frozen=True, kw_only=True)
class Act:
    """One thing that happens while visitors ask."""

    name: str
    command: str
    status: int
    why: str


ACTS = (
    Act(
        name="update",
        command="releaser update -v",
        status=0,
        why="A newer patch release of Django, and newer versions of what comes with it.",
    ),
    Act(name="rollback", command="releaser rollback -v", status=0, why="Back to the release before, which is kept."),
    Act(
        name="refused update",
        command="releaser update -v --force",
        status=6,
        why="The newer versions once more, and with them pricetag 1.1. It passes the site's tests, but the page that "
        "the health check asks for does not work with it, so that the earlier release comes back.",
    ),
)


@dataclass(frozen=True, kw_only=True)
class Row:
    """The figures of one act; the slowest request before the flip, and from then on, in seconds."""

    act: str
    requests: int
    failed: int
    mixed: int
    slowest: float
    slowest_after: float


def main(arguments: list[str]) -> int:
    """Tell the story twice and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("place", type=_directory)
    parser.add_argument("programs", type=_directory)
    parser.add_argument("server", choices=SERVERS)
    parser.add_argument("--unpinned", type=int, default=len(ACTS), metavar="N", help="without the pin, tell N acts")
    options = parser.parse_args(arguments)
    began = time.monotonic()
    try:
        missing = SERVERS[options.server].missing()
        expect(not missing, f"not installed: {', '.join(missing)} (scripts/install-debian-packages installs them)")
        pinned = tell(options.place / "pinned", options.programs, options.server, pin=True)
        unpinned: list[Row] = []
        if acts := ACTS[: options.unpinned]:
            unpinned = tell(options.place / "unpinned", options.programs, options.server, pin=False, acts=acts)
        say(f"\n{'':24}requests  failed  mixed  slowest before the flip, and after")
        show("with the pin", pinned)
        if unpinned:
            show("with the pin switched off", unpinned)
        judge(pinned, unpinned)
    except DemoError as error:
        print(f"\nThe demo went wrong: {error}", file=sys.stderr, flush=True)
        return 1
    except KeyboardInterrupt:
        return 130
    say(f"\n{time.monotonic() - began:.0f} seconds, and every claim above was checked.")
    return 0


def _directory(name: str) -> Path:
    return Path(name).absolute()


def show(title: str, rows: list[Row]) -> None:
    """Print the figures of one story."""
    say(title)
    for row in rows:
        say(f"  {row.act:22}{row.requests:8}{row.failed:8}{row.mixed:7}{row.slowest:8.2f} s{row.slowest_after:8.2f} s")


def judge(pinned: list[Row], unpinned: list[Row]) -> None:
    """See that nobody noticed with the pin, and somebody without it."""
    for row in pinned:
        expect(row.failed == 0, f"{row.failed} requests failed during the {row.act}")
        expect(row.mixed == 0, f"{row.mixed} answers mixed releases during the {row.act}")
    for row in unpinned:
        expect(row.mixed > 0, f"without the pin, no answer mixed releases during the {row.act}: nothing is proved")


def tell(place: Path, programs: Path, kind: str, *, pin: bool, acts: Sequence[Act] = ACTS) -> list[Row]:
    """Set a site up, run it, and let everything happen to it."""
    place.mkdir()
    stage = Stage(place, os.environ, programs=programs)
    server = SERVERS[kind].of(stage)
    heading = "The pin is on" if pin else "The pin is switched off (pin_processes = false)"
    chapter(1 if pin else 2, heading, "A Django site whose packages nobody has updated for some months, adopted.")
    stage.site.mkdir(parents=True)
    server.prepare()
    settings = server.settings if pin else {**server.settings, **server.settings_without_pin}
    set_up(
        stage,
        add=toml({**settings, "health_retries": 2, "health_pause": "1s", "pin_processes": pin}),
        requires=names_of(server.pins),
        locked=(*OLD_VERSIONS, *server.pins),
        python=server.python,
    )
    stage.ask(stage.link / "bin" / "python", "manage.py", "collectstatic", "--noinput")
    stage.show("releaser init -v")
    with server.running():
        if pin:
            compare(stage, server)
        return [play(act, stage, server) for act in acts]


def compare(stage: Stage, server: WebServer) -> None:
    """Say how long the slowest request takes while nothing happens, and while the server restarts without releaser."""
    crowd = Crowd(server.address, stage.link, pages=server.pages)
    with crowd.asking():
        crowd.wait_until_all_answers(lambda _: True, what="answers of two processes")
        quiet = crowd.begin()
        time.sleep(QUIET)
        restart = crowd.begin()
        renew(server, crowd)
    say(f"\nThe slowest request of {QUIET:g} quiet seconds took {quiet.slowest:.2f} s; of a restart by the server")
    say(f"{restart.slowest:.2f} s, and {len(restart.failures)} of {restart.requests} requests failed.")


def toml(settings: Mapping[str, object]) -> str:
    """Return these settings as `[tool.releaser]`; for what they hold, JSON is TOML as well."""
    return "\n[tool.releaser]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in settings.items())


def play(act: Act, stage: Stage, server: WebServer) -> Row:
    """Let one thing happen while visitors ask, and count what they have seen."""
    say(f"\n{act.name}: {act.why}\n")
    if act.status:
        publish(stage.wheels, "1.1")
    before = locked(stage.link)
    crowd = Crowd(server.address, stage.link, pages=server.pages)
    with crowd.asking():
        old = renew(server, crowd)
        tally = crowd.begin()
        stage.show(act.command, status=act.status)
        after = locked(stage.link)
        crowd.wait_until_all_answers(lambda answer: answer.is_of(after), what="the site on the live release")
    expect((after["django"] == before["django"]) == bool(act.status), f"the {act.name} left the wrong release live")
    expect(tally.imported_late(old), f"no process of the earlier release imported anything late during the {act.name}")
    return figures(act, stage, tally, before)


def renew(server: WebServer, crowd: Crowd) -> frozenset[int]:
    """Let all processes be new ones, in which nothing has been imported late; return them."""
    crowd.wait_until_all_answers(lambda _: True, what="answers of two processes")
    old = crowd.tally.processes
    server.restart()
    crowd.wait_until_all_answers(lambda answer: answer.process not in old, what="new processes")
    return crowd.tally.processes - old


def figures(act: Act, stage: Stage, tally: Tally, before: Mapping[str, str]) -> Row:
    """Count; a page of the releases before and after, or of the one that was live in between, is whole."""
    newest = json.loads(stage.ask("releaser", "list", "--json"))[0]["path"]
    releases = (before, locked(stage.link), locked(Path(newest)))
    mixed = tally.mixed(*releases)
    for failure in tally.failures[:3]:
        say(f"failed: {failure}")
    for answer in list(tally.answers)[:20]:
        if not any(answer.is_of(versions) for versions in releases):
            say(f"mixed: {dict(sorted(answer.packages))}, {tally.answers[answer]} times")
    row = Row(
        act=act.name,
        requests=tally.requests,
        failed=len(tally.failures),
        mixed=mixed,
        slowest=tally.slowest,
        slowest_after=tally.slowest_after,
    )
    say(f"{row.requests} requests, {row.failed} failed, {row.mixed} mixed")
    return row


def locked(venv: Path) -> dict[str, str]:
    """Return the versions of a release, from the lock that it was built from."""
    lock = tomllib.loads((venv.resolve().parent / "uv.lock").read_text(encoding="utf-8"))
    return {package["name"]: package["version"] for package in lock["package"]}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
