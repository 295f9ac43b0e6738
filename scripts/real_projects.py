"""Two public Django projects as their users run them: a fork as the remote, a checkout, a venv, and settings beside it.

Nothing of them is built: they run from their sources, and their front-end assets, which take Node, are left out.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stage import GIT_CONFIG, Stage, expect, say
from visitors import Address
from web_server import GUNICORN_CONF

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

GROUP = "production"
LOCAL_SETTINGS = """\
DEBUG = False
COMPRESS_ENABLED = False
SECRET_KEY = "only-for-the-loopback-and-long-enough-for-the-checks"
ALLOWED_HOSTS = ["localhost"]
"""
# Passwords of users that tests make are hashed a thousand times faster, and the tests of background tasks need those;
# all else is as it is live.
TEST_SETTINGS = """\
from bookmarks.settings.prod import *
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
LD_DISABLE_BACKGROUND_TASKS = False
"""
DOTENV = """\
ADMINS_JSON='[["Ada", "ada@example.org"]]'
RELEASER_BRANCH='master'
RELEASER_MAIL_FROM='releaser@example.org'
RELEASER_VULNERABILITY_SERVICE='none'
RELEASER_UPGRADE='patch'
RELEASER_RESTART="sh -c 'kill -HUP $(cat ../run/gunicorn.pid)'"
"""


@dataclass(frozen=True, kw_only=True)
class Project:
    """One of them: where its history begins, what upstream adds for each update, and how it is run and tested.

    `files` are written into the server's directory, `directories` made in the checkout; both are unknown to git.
    """

    name: str
    commits: tuple[str, ...]
    wsgi: str
    pages: tuple[str, ...]
    health: str
    environment: Mapping[str, str]
    settings: Mapping[str, str]
    files: Mapping[str, str]
    directories: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()
    has_lock: bool = True
    beside: tuple[str, ...] = ()  # what the site runs and is tested with, and does not ask for itself

    @property
    def init(self) -> tuple[str, ...]:
        """The command that adopts it."""
        return ("init",) if self.has_lock else ("init", "--from-venv", ".venv")


PROJECTS = {
    "linkding": Project(
        name="linkding",
        commits=("397eb6d", "dfbba20", "573b6f5", "1456941", "d940660", "65813a7"),
        wsgi="bookmarks.wsgi",
        pages=("/health", "/login/", "/manifest.json"),
        health="/health",
        environment={"DJANGO_SETTINGS_MODULE": "bookmarks.settings.prod", "LD_DISABLE_BACKGROUND_TASKS": "True"},
        settings={
            "ENVIRONMENT": "production",
            "HEALTH_TEXT": "healthy",
            # One test of the parser asks for a newer patch release of Python 3.13.
            "TEST_COMMAND": "python -m pytest -q -n 2 -o pythonpath=.. --ds=linkding_test_settings bookmarks/tests "
            "--deselect bookmarks/tests/test_parser.py::ParserTestCase::test_unescape_href_attribute",
        },
        files={"linkding_test_settings.py": TEST_SETTINGS},
        directories=("data/favicons", "data/previews", "data/assets"),
        commands=("generate_secret_key", "migrate --verbosity 0", "enable_wal"),
        beside=("gunicorn",),
    ),
    "healthchecks": Project(
        name="healthchecks",
        commits=("b8fd9dc6", "4cc24a7f", "777efe45", "cead2379", "b6008f02", "29b5ec25"),
        wsgi="hc.wsgi",
        pages=("/api/v3/status/", "/accounts/login/", "/docs/", "/static/img/logo.png"),
        health="/api/v3/status/",
        environment={},
        settings={"ENVIRONMENT": "local", "TEST_COMMAND": "python manage.py test --noinput"},
        files={"healthchecks/hc/local_settings.py": LOCAL_SETTINGS},
        commands=("migrate --verbosity 0", "collectstatic --noinput --verbosity 0"),
        has_lock=False,
        beside=("gunicorn", "time-machine"),
    ),
}


# Else a worker that begins right before the checkout moves could import one half of the code before, one after that.
LOADS_ALL = "    from django.urls import get_resolver\n\n    get_resolver().url_patterns\n"


class Site(Stage):
    """The server of a project, and the fork that it follows."""

    def __init__(self, project: Project, place: Path, environ: Mapping[str, str], *, programs: Path) -> None:
        super().__init__(place, environ, programs=programs, name=project.name)
        self.env |= project.environment
        self.project = project
        self.fork = place / "fork"
        self.address = Address(path=str(self.server / "run/gunicorn.sock"))
        self.pidfile = self.server / "run/gunicorn.pid"

    def set_up(self, repository: Path, python: Path) -> None:
        """Make the fork, its remote, the checkout, and all that is not under git."""
        self._fork(repository, python)
        self.ask("git", "clone", "--quiet", self.remote, self.site, cwd=self.fork)
        self._configure(self.site)
        for name in ("run", *(f"{self.project.name}/{name}" for name in self.project.directories)):
            (self.server / name).mkdir(parents=True)
        conf = GUNICORN_CONF.replace("tmp/", "../run/").replace("workers = 2", "workers = 5")
        conf = conf.replace("def when_ready(server):\n", f"def when_ready(server):\n{LOADS_ALL}")
        # Some workers are to live long enough to be killed.
        limits = "preload_app = True\nmax_requests = 1000\nmax_requests_jitter = 500\ngraceful_timeout = 60\n"
        dotenv = DOTENV + self._settings(python)
        for name, text in {**self.project.files, "gunicorn.conf.py": conf + limits, ".env": dotenv}.items():
            (self.server / name).write_text(text)
        if self.project.has_lock:
            self.ask("uv", "sync", "--frozen", "--group", GROUP, "--python", python)
        else:
            self.ask(python, "-m", "venv", ".venv")
            pip = (self.link / "bin/python", "-m", "pip", "install", "--quiet", "--requirement", "requirements.txt")
            self.ask(*pip, *self.project.beside)
        for command in self.project.commands:
            self.ask(self.link / "bin/python", "manage.py", *command.split())

    def publish(self, commit: str) -> str:
        """Merge this commit of the project into the fork, as who keeps one does, and push; return the merge."""
        before = self.ask("git", "rev-parse", "HEAD", cwd=self.fork)
        self.ask("git", "pull", "--quiet", "--ff-only", cwd=self.fork)
        merge = subprocess.run(
            ["git", "merge", "--quiet", "--no-edit", commit],
            cwd=self.fork, env=self.env, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if merge.returncode:
            unmerged = self.ask("git", "diff", "--name-only", "--diff-filter=U", cwd=self.fork)
            expect(unmerged == "uv.lock", f"merging {commit} failed: {merge.stdout}{merge.stderr}")
            self.ask("git", "checkout", "--ours", "uv.lock", cwd=self.fork)  # what runs, and what upstream asks for now
            self.ask("uv", "lock", cwd=self.fork)
            self.ask("git", "commit", "--quiet", "--all", "--no-edit", cwd=self.fork)
        if not self.project.has_lock:
            self._carry_requirements_over(before)
        self.ask("git", "push", "--quiet", cwd=self.fork)
        say(f"upstream: {self.ask('git', 'log', '-1', '--format=%h %cs %s', commit, cwd=self.fork)}")
        return self.ask("git", "rev-parse", "HEAD", cwd=self.fork)

    def _fork(self, repository: Path, python: Path) -> None:
        self.server.mkdir(parents=True)
        self.ask("git", "clone", "--quiet", "--no-checkout", repository, self.fork, cwd=self.server)
        self._configure(self.fork)
        self.ask("git", "checkout", "--quiet", "-B", "master", self.project.commits[0], cwd=self.fork)
        self.ask("git", "init", "--quiet", "--bare", "--initial-branch=master", self.remote, cwd=self.server)
        if self.project.has_lock:
            add = ("uv", "add", "--quiet", "--no-sync", "--python", python, "--group", GROUP)
            self.ask(*add, *self.project.beside, cwd=self.fork)
            self.ask("git", "commit", "--quiet", "--all", "--message", "Run on gunicorn", cwd=self.fork)
        self.ask("git", "remote", "set-url", "origin", self.remote, cwd=self.fork)
        self.ask("git", "push", "--quiet", "--set-upstream", "origin", "master", cwd=self.fork)

    def _carry_requirements_over(self, before: str) -> None:
        """Ask in pyproject.toml for what upstream has changed in requirements.txt, which nothing reads any more."""
        old = set(self.ask("git", "show", f"{before}:requirements.txt", cwd=self.fork).splitlines())
        new = set((self.fork / "requirements.txt").read_text().splitlines())
        changed = [line.replace("==", ">=") for line in sorted(new - old)]
        if changed:
            self.ask("uv", "add", "--quiet", "--no-sync", *changed, cwd=self.fork)
            self.ask("git", "commit", "--quiet", "--all", "--message", "Ask for what upstream asks for", cwd=self.fork)

    def _settings(self, python: Path) -> str:
        health = {"HEALTH_CHECK": f"http://localhost{self.project.health}", "HEALTH_SOCKET": self.address.path}
        settings = {**health, "PYTHON": str(python), **self.project.settings}
        return "".join(f"RELEASER_{name}='{value}'\n" for name, value in settings.items())

    def _configure(self, checkout: Path) -> None:
        for key, value in {**GIT_CONFIG, "remote.pushDefault": "origin", "push.default": "current"}.items():
            self.ask("git", "config", key, value, cwd=checkout)
