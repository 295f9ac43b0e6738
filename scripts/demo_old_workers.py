"""The story that `make demo-health` tells: no answer of an old worker lets a release through that breaks the site.

Takes a directory to work in, and the directory of the programs `releaser` and `uv`. gunicorn replaces its workers a
moment after it is told to, so that the first answer comes from an old one. pricetag 1.1 passes the site's tests, but
the page that the health check asks for does not work with it. Each update must end with exit status 6.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from demo_web_server import locked, toml
from stage import OLD_VERSIONS, DemoError, Stage, chapter, expect, publish, say, set_up
from web_server import OLD_GUNICORN, Gunicorn

SETTINGS = {"health_retries": 30, "health_pause": "1s", "health_seconds": "5s"}
TAKEN_BACK = 6


def main(arguments: list[str]) -> int:
    """Tell the story in its three ways, and count."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("place", type=lambda name: Path(name).absolute())
    parser.add_argument("programs", type=lambda name: Path(name).absolute())
    parser.add_argument("--times", type=int, default=20)
    options = parser.parse_args(arguments)
    began = time.monotonic()
    try:
        for number, (pin, title) in enumerate(((True, "With the pin"), (False, "With the pin switched off")), 1):
            chapter(number, title, "A release that breaks the site, tried again and again, under gunicorn.")
            again_and_again(options.place / f"story{number}", options.programs, pin=pin, times=options.times)
        chapter(3, "The first update after adoption", "The workers were started before releaser came.")
        for number in range(1, options.times + 1):
            first_update(options.place / "adopted", options.programs, number)
    except DemoError as error:
        print(f"\nThe demo went wrong: {error}", file=sys.stderr, flush=True)
        return 1
    except KeyboardInterrupt:
        return 130
    say(f"\n{3 * options.times} of {3 * options.times} were taken back, in {time.monotonic() - began:.0f} seconds.")
    return 0


def again_and_again(place: Path, programs: Path, *, pin: bool, times: int) -> None:
    """Update once to what is good, and then to what is not."""
    stage = Stage(place, os.environ, programs=programs)
    server = site_on(stage, pin=pin)
    stage.ask("releaser", "init")
    with server.running():
        stage.ask("releaser", "update")
        publish(stage.wheels, "1.1")
        for number in range(1, times + 1):
            check_that_it_rolls_back(stage, number)


def first_update(place: Path, programs: Path, number: int) -> None:
    """Let gunicorn run from a venv as uv has made it, adopt that, and update."""
    stage = Stage(place, os.environ, programs=programs)
    server = site_on(stage, pin=True)
    with server.running():
        stage.ask("releaser", "init")
        publish(stage.wheels, "1.1")
        check_that_it_rolls_back(stage, number)
    shutil.rmtree(place)


def site_on(stage: Stage, *, pin: bool) -> Gunicorn:
    """Set a site up that runs on gunicorn."""
    server = Gunicorn.of(stage)
    stage.site.mkdir(parents=True)
    server.prepare()
    set_up(
        stage,
        add=toml({**server.settings, **SETTINGS, "pin_processes": pin}),
        requires=(OLD_GUNICORN,),  # without the pin, gunicorn itself would not survive an upgrade
        locked=(*OLD_VERSIONS, OLD_GUNICORN),
    )
    stage.ask(stage.link / "bin" / "python", "manage.py", "collectstatic", "--noinput")
    return server


def check_that_it_rolls_back(stage: Stage, number: int) -> None:
    """Update to pricetag 1.1, and see that the site is on 1.0 again and well."""
    before = stage.link.resolve()
    ended = subprocess.run(
        ["releaser", "update", "--force", "-q"],
        cwd=stage.site,
        env=stage.env,
        capture_output=True,
        text=True,
        check=False,
    )
    expect(ended.returncode == TAKEN_BACK, f"update {number} ended with status {ended.returncode}:\n{ended.stderr}")
    expect(stage.link.resolve() == before, "another release is live")
    expect(locked(stage.link)["pricetag"] == "1.0", "pricetag 1.1 is live")
    last = json.loads(stage.ask("releaser", "history", "--json"))[0]
    good = [answer["good"] for answer in last["answers"]]
    expect(good == [False, True], f"the health check said {last['answers']}")
    say(f"{number}: taken back; {last['headline']}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
