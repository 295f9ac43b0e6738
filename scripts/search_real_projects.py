"""Bring public Django projects from a year-old lock to the newest that works, and go on for some nights.

Nobody visits them meanwhile: what counts is how often their tests run until an update has ended, how long that takes,
and what goes live. The nights: the first update, one after it with nothing new, one after a commit of a blank line in a
text, `rollback` with `update --force`. `--programs` names the directory of another releaser, to compare with.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from real_projects import PROJECTS, Site
from stage import DemoError, say

# Settings of a site that nobody visits; an empty one unsets what stands above it.
QUIET = """\
RELEASER_UPGRADE='all'
RELEASER_HEALTH_CHECK=''
RELEASER_HEALTH_SOCKET=''
RELEASER_HEALTH_TEXT=''
RELEASER_RESTART='sh -c true'
"""


@dataclass(frozen=True, kw_only=True)
class Night:
    """What came of one command: `runs` counts the runs of the tests, `held` names what was held back.

    `live` names what went live, which is code alone if that is empty, and None if nothing did.
    """

    name: str
    code: int
    runs: int
    minutes: float
    live: tuple[str, ...] | None
    held: tuple[str, ...]
    headline: str


class Nights:
    """The nights of one project."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def run(self, name: str, *words: str) -> Night:
        """Run one command of releaser, and count what it took."""
        say(f"\n{self._site.project.name}, {name}")
        began = time.monotonic()
        done = subprocess.run(
            ["releaser", *words, "--json", "-v"],
            cwd=self._site.site, env=self._site.env, capture_output=True, text=True, check=False,
        )  # fmt: skip
        say(done.stderr.strip())
        report: dict[str, Any] = json.loads(done.stdout or "{}")
        night = Night(
            name=name,
            code=done.returncode,
            runs=sum(map(_runs_of, report.get("steps", []))),
            minutes=(time.monotonic() - began) / 60,
            live=_changes_in(report) if report.get("live_changed") else None,
            held=tuple(f"{one['name']} {one['version']}" for one in report.get("on_hold", [])),
            headline=str(report.get("headline", "")),
        )
        say("\n".join([line(night), *(night.live or [])]))
        return night

    def commit_blank_line(self) -> None:
        """Let upstream add a blank line to a text."""
        fork = self._site.fork
        self._site.ask("git", "pull", "--quiet", "--ff-only", cwd=fork)
        with (fork / "README.md").open("a") as text:
            text.write("\n")
        self._site.ask("git", "commit", "--quiet", "--all", "--message", "Add a blank line", cwd=fork)
        self._site.ask("git", "push", "--quiet", cwd=fork)


def _runs_of(step: dict[str, Any]) -> int:
    """Count the runs of the tests in one step of a report."""
    return 1 if step["step"] in ("culprit search", "test", "test again", "test live release") else 0


def _changes_in(report: dict[str, Any]) -> tuple[str, ...]:
    return tuple(f"{one['name']} {one['old']} -> {one['new']}" for one in report.get("changes", []))


def line(night: Night) -> str:
    """Return the figures of a night, as the table has them."""
    held = ", ".join(night.held) or "-"
    live = "-" if night.live is None else len(night.live) or "the code"
    return f"{night.name:24}{night.code:>5}{night.runs:>6}{night.minutes:>9.1f}{live:>10}  {held}"


def search(name: str, options: argparse.Namespace) -> list[Night]:
    """Set one project up as it was on a day, and let its nights pass."""
    repository = options.repositories / name
    old = subprocess.run(
        ["git", "-C", repository, "rev-list", "-1", f"--before={options.day}", "HEAD"],
        capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    project = replace(PROJECTS[name], commits=(old,))
    site = Site(project, options.place / name, os.environ, programs=options.programs)
    site.set_up(repository, options.python)
    with (site.server / ".env").open("a") as dotenv:
        dotenv.write(QUIET)
    nights = Nights(site)
    init = nights.run("init", *project.init)
    if init.code:
        message = f"{name} cannot be adopted: {init.headline}"
        raise DemoError(message)
    found = [nights.run("first update", "update"), nights.run("the night after", "update")]
    nights.commit_blank_line()
    found.append(nights.run("after a blank line", "update"))
    nights.run("rollback", "rollback")
    return [*found, nights.run("update --force", "update", "--force")]


def main(arguments: list[str]) -> int:
    """Search in what was asked for, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("place", type=_path, help="an empty directory to work in")
    parser.add_argument("--repositories", type=_path, required=True, help="where linkding and healthchecks are cloned")
    parser.add_argument("--project", choices=[*PROJECTS, "all"], default="all")
    parser.add_argument("--python", type=_path, required=True, help="the Python of the sites, 3.13 or newer")
    parser.add_argument("--day", required=True, help="how old code and lock are, such as 2025-11-01")
    parser.add_argument("--programs", type=_path, default=Path(sys.executable).parent, help="where releaser and uv are")
    options = parser.parse_args(arguments)
    names = list(PROJECTS) if options.project == "all" else [options.project]
    searched: dict[str, list[Night]] = {}
    try:
        for name in names:
            searched[name] = search(name, options)
    except DemoError as error:
        print(f"\nThe search went wrong: {error}", file=sys.stderr, flush=True)
        return 1
    finally:
        for name, nights in searched.items():
            say(f"\n{name:24}{'code':>5}{'runs':>6}{'minutes':>9}{'live':>10}  held back")
            for night in nights:
                say(line(night))
    return 0


def _path(name: str) -> Path:
    return Path(name).absolute()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
