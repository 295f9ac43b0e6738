"""Move public projects over to releaser, and keep them up to date for some nights, while visitors ask.

Each gets its own remote, checkout and venv, as its users have them, and runs on gunicorn. Visitors ask without a pause,
workers are killed all the time. Then: init, updates that each bring commits of upstream, a rollback, a forced update.
Packages come from the real index. After each step it is checked what is live, that HEAD is what was tested with it, and
that no request has failed; the exit status is 1 if anything is otherwise.

The sites of requirements-auto-updater's authors have a course of their own: two hosts on one remote move over by the
crontab line, and one of them goes back.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from move_rows import Row, cells, show
from older_sites import OLDER_SITES, move_older_site
from real_projects import PROJECTS, Site
from stage import DemoError, say
from unrest import Unrest, workers
from web_server import started, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable

SECONDS = 60.0  # until all workers run on the live release
BUT_THE_LOCK = (".", ":(exclude)uv.lock")


class Move:
    """One project on its way: `codes` has the commit that each release was made with."""

    def __init__(self, site: Site, unrest: Unrest) -> None:
        self.site = site
        self.codes: dict[str, str] = {}
        self.published = site.ask("git", "rev-parse", "HEAD")
        self._unrest = unrest

    def publish(self, commit: str) -> None:
        """Let upstream's commits up to this one come in."""
        self.published = self.site.publish(commit)

    def play(self, step: str, *words: str) -> Row:
        """Run one command of releaser and look at what it has left."""
        say(f"\n{self.site.project.name}, {step}")
        self._unrest.take_tally()
        left, began = self.live(), time.monotonic()
        code, answer = self._run(step, *words)
        seconds = time.monotonic() - began
        problems = [] if code == 0 else [f"exit code {code}"]
        if "release" in answer and answer["release"] != self.live():
            problems.append(f"{self.live()} is live, not {answer['release']}")
        if words[0] != "init" and left == self.live():
            problems.append(f"{left} is still live")
        if words[0] != "rollback" and left != self.live():
            self.codes[self.live()] = self.site.ask("git", "rev-parse", "HEAD")
        if words[0] != "init":  # before which nothing is counted
            problems += self._judge_workers()
        problems += self._judge_code(words[0])
        tally = self._unrest.take_tally()
        problems += [f"request failed: {failure}" for failure in tally.failures[:5]]
        row = Row(
            step=step, code=code, seconds=seconds, changes=len(answer.get("changes", [])), tally=tally,
            problems=problems,
        )  # fmt: skip
        say("\n".join(["  ".join(map(str, cells(row))), *problems]))
        return row

    def live(self) -> str:
        """Return the release that `.venv` leads to, an empty text if it is no symlink."""
        return self.site.link.resolve().parent.name if self.site.link.is_symlink() else ""

    def migrate(self) -> None:
        """Apply the migrations, as the report of an update asks an administrator to."""
        self.site.ask("releaser", "run", "--", "python", "manage.py", "migrate", "--noinput", "--verbosity", "0")

    def restart(self) -> None:
        """Start the workers again, as an administrator is told to once, so that each holds on to its release."""
        os.kill(int(self.site.pidfile.read_text()), signal.SIGHUP)
        if problems := self._judge_workers():
            raise DemoError(problems[0])

    def _run(self, step: str, *words: str) -> tuple[int, dict[str, Any]]:
        log = self.site.server / f"{step.replace(' ', '-')}.log"
        with log.open("w") as output:
            ended = subprocess.run(
                ["releaser", *words, "--json", "-v"],
                cwd=self.site.site, env=self.site.env, stdout=subprocess.PIPE, stderr=output, text=True, check=False,
            )  # fmt: skip
        say(log.read_text().strip())
        found: dict[str, Any] = json.loads(ended.stdout or "{}")
        return ended.returncode, found

    def _judge_workers(self) -> list[str]:
        """Wait until all workers run on the live release."""
        ends_at = time.monotonic() + SECONDS
        while True:
            users = {process for one in self._releases() if one["live"] for process in one["in_use_by"]}
            running = _or_none(lambda: workers(self.site.pidfile))
            strangers = set(running or []) - users
            if running and not strangers:
                return []
            if time.monotonic() > ends_at:
                return [f"workers {strangers} are not on the live release" if running else "gunicorn has ended"]
            time.sleep(0.2)

    def _releases(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.site.ask("releaser", "list", "--json"))
        return found

    def _judge_code(self, command: str) -> list[str]:
        """See that HEAD is the code that was tested with the live release, and that the lock is that release's."""
        git = self.site
        problems = []
        status = git.ask("git", "status", "--porcelain")
        if status:
            problems.append(f"the checkout is not clean: {status}")
        head = git.ask("git", "rev-parse", "HEAD")
        tested = self.codes.get(self.live())
        if tested and git.ask("git", "diff", "--stat", tested, head, "--", *BUT_THE_LOCK):
            problems.append(f"HEAD is not the code of {self.live()}")
        if command == "update" and git.ask("git", "diff", "--stat", self.published, head, "--", *BUT_THE_LOCK):
            problems.append("HEAD is not what upstream has published")
        lock = self.site.link.resolve().parent / "uv.lock"
        if git.ask("git", "show", "HEAD:uv.lock") != lock.read_text().strip():
            problems.append("the lock of HEAD is not that of the live release")
        return problems


def _or_none(ask: Callable[[], list[int]]) -> list[int] | None:
    try:
        return ask()
    except (OSError, ValueError):
        return None


def move(name: str, options: argparse.Namespace) -> list[Row]:
    """Move one project over, and let its nights pass."""
    project = PROJECTS[name]
    site = Site(project, options.place / name, os.environ, programs=Path(sys.executable).parent)
    site.set_up(options.repositories / name, options.python)
    gunicorn: list[str | Path] = [
        site.link / "bin/python",
        "-m",
        "gunicorn",
        "--config",
        "../gunicorn.conf.py",
        project.wsgi,
    ]
    with started(gunicorn, site, site.server / "gunicorn.log", nice=0):
        wait_for(site.address, project.health)
        unrest = Unrest(site.address, project.pages, site.pidfile)
        with unrest.going_on():
            course = Move(site, unrest)
            rows = [course.play("init", *project.init)]
            course.restart()
            for number, commit in enumerate(project.commits[1 : options.updates + 1], 1):
                course.publish(commit)
                rows.append(course.play(f"update {number}", "update"))
                course.migrate()
            rows.append(course.play("rollback", "rollback"))
            rows.append(course.play("forced update", "update", "--force"))
    return rows


def main(arguments: list[str]) -> int:
    """Move what was asked for, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("place", type=_path, help="an empty directory to work in")
    parser.add_argument(
        "--repositories", type=_path, required=True, help="where the projects are cloned, by their names"
    )
    parser.add_argument("--project", choices=[*PROJECTS, *OLDER_SITES, "all"], default="all", help="all: the first two")
    parser.add_argument("--updates", type=int, choices=range(1, 6), default=5)
    parser.add_argument("--python", type=_path, required=True, help="of the sites: 3.13 or newer, 3.12 for the others")
    options = parser.parse_args(arguments)
    names = list(PROJECTS) if options.project == "all" else [options.project]
    moved: dict[str, list[Row]] = {}
    try:
        for name in names:
            moved[name] = move(name, options) if name in PROJECTS else move_older_site(name, options)
    except DemoError as error:
        print(f"\nThe move went wrong: {error}", file=sys.stderr, flush=True)
        return 1
    finally:
        for name, rows in moved.items():
            show(name, rows)
    return 1 if any(row.problems for rows in moved.values() for row in rows) else 0


def _path(name: str) -> Path:
    return Path(name).absolute()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
