"""Sites that requirements-auto-updater serves, in its authors' layout: two hosts on one remote move, and one goes back.

Nothing in a site is changed: gunicorn, which stands in for Passenger, lies beside it and watches the restart file.
"""

from __future__ import annotations

import contextlib
import email
import email.policy
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiosmtpd.controller import Controller
from move_rows import Row, cells
from stage import GIT_CONFIG, DemoError, Stage, say
from unrest import Tally, Unrest, workers
from visitors import Address
from web_server import GUNICORN_CONF, started, wait_for

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Mapping
    from email.message import EmailMessage

UPDATER = "requirements-auto-updater"
SECONDS = 60.0  # until all workers run on the live release
LONGEST_SOCKET = 107  # bytes, unix(7)
# As Passenger does: what touches the file restarts the site.
WATCHING = """

def _watch():
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    seen = "../run/restarted"
    while True:
        time.sleep(0.2)
        touched = str(os.stat("config/tmp/restart.txt").st_mtime_ns)
        if not os.path.exists(seen) or open(seen).read() != touched:
            known = os.path.exists(seen)
            with open(seen, "w") as file:
                file.write(touched)
            if known:
                os.kill(os.getpid(), signal.SIGHUP)


def when_ready(server):
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
    from django.urls import get_resolver

    get_resolver().url_patterns
    threading.Thread(target=_watch, daemon=True).start()
"""
DOTENV = """\
SECRET_KEY="only-for-the-loopback-and-long-enough-for-the-checks"
DEBUG_JSON="false"
ADMINS_JSON='
    [
      [ "Ada", "ada@example.org" ]
    ]'
ALLOWED_HOSTS_JSON='["localhost"]'
CSRF_TRUSTED_ORIGINS_JSON='[]'
DATABASES_JSON='{"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "../DBs/project.sqlite"}}'
CACHES_JSON='{"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}'
STATIC_URL="/static/"
STATIC_ROOT="../static"
SERVER_EMAIL="donotreply@example.org"
EMAIL_HOST="localhost"
EMAIL_PORT="1026"
LOG_PATH="../logs/project.log"
LOG_LEVEL="DEBUG"
"""
UPDATER_DOTENV = """\
export AUTO_UPDTR__SYS_ADMIN_RECIPIENTS_JSON='[["Root", "root@example.org"]]'
export AUTO_UPDTR__EMAIL_FROM="updater@example.org"
export AUTO_UPDTR__EMAIL_HOST="localhost"
export AUTO_UPDTR__EMAIL_HOST_PORT="{port}"
export AUTO_UPDTR__UV_PATH="{uv}"
"""
MAIL = """\
RELEASER_MAIL_FROM="updater@example.org"
RELEASER_SMTP_HOST="localhost"
RELEASER_SMTP_PORT="{port}"
RELEASER_SMTP_SECURITY="none"
"""
HEALTH = """\
RELEASER_HEALTH_CHECK="http://localhost{page}"
RELEASER_HEALTH_SOCKET="{socket}"
"""


@dataclass(frozen=True, kw_only=True)
class OlderSite:
    """One of them: the commit that it begins at, what else its `.env` has, and the pages of a site with visitors."""

    commit: str
    dotenv: str = ""
    #: What releaser needs to be told in the `.env`, beside what the older updater knew.
    settings: str = ""
    pages: tuple[str, ...] = ()
    #: What the older updater needs in its environment, as in a line of sh.
    variables: str = ""


# The same settings by older names.
_SITE_CHECKER = "".join(
    f"SITECHKR__{line}\n"
    for line in (
        'SECRET_KEY="only-for-the-loopback-and-long-enough-for-the-checks"',
        'DEBUG_JSON="false"',
        "ALLOWED_HOSTS='[\"localhost\"]'",
        "TEMPLATES_JSON='[\"site_checker_app\"]'",
        'DATABASES_JSON=\'{"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "../DBs/project.sqlite"}}\'',
        'STATIC_URL="/static/"',
        'STATIC_ROOT="../static"',
        'EMAIL_HOST="localhost"',
        'EMAIL_PORT="1026"',
        'LOG_PATH="../logs/project.log"',
        'LOG_LEVEL="DEBUG"',
        'README_URL="https://git.example.org/readme"',
        'DEFAULT_RECHECK_MINUTES="5"',
        'EMAIL_FROM_ADDRESS="donotreply@example.org"',
        'URL_ROOT="http://localhost"',
        'STAFF_GROUP="staff"',
        "TEST_META_DCT_JSON='{}'",
        "SUPER_USERS_JSON='[]'",
        'TEST_EMAIL="ada@example.org"',
        'TEST_SITE_URL_GOOD_HTML="https://site.example.org/"',
        'TEST_SITE_URL_TO_FUNKY_PDF="https://site.example.org/"',
    )
)
# The settings of its tests have no prefix there.
_SITE_CHECKER += """\
TEST_DATABASES_JSON='{"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "../DBs/tests.sqlite"}}'
"""
_SCRIPT = "RELEASER_RESTART=none\n"
OLDER_SITES = {
    "alt_text_project": OlderSite(
        commit="53aef95", dotenv='IMAGE_UPLOAD_PATH="../uploads"\n', pages=("/info/", "/image_uploader/", "/version/")
    ),
    "bdr_uploader_hub_project": OlderSite(
        commit="a1ba7b9",
        dotenv="""\
MEDIA_ROOT="../uploads/"
BDR_API_FILE_PATH_ROOT="/srv/uploads"
LOGIN_URL="http://localhost/shib_login/"
TEST_SHIB_META_DCT_JSON='{}'
SHIB_SP_LOGIN_URL="https://sp.example.org/Login"
SHIB_IDP_LOGOUT_URL="https://sso.example.org/logout"
ALL_LICENSE_OPTIONS_JSON='[["CC0", "No Rights Reserved"]]'
ALL_VISIBILITY_OPTIONS_JSON='[["public", "Public"]]'
BDR_PUBLIC_API_COLLECTION_ROOT_URL="https://bdr.example.org/collections/"
TEST_COLLECTION_PID_FOR_FORM_VALIDATION="bdr:1"
TEST_COLLECTION_TITLE_FOR_FORM_VALIDATION="one"
BDR_MANAGER_GROUP="managers"
BDR_BROWN_GROUP="brown"
BDR_PUBLIC_GROUP="public"
BDR_PRIVATE_API_ROOT_URL="https://bdr.example.org/api/"
BDR_PUBLIC_STUDIO_ITEM_ROOT_URL="https://bdr.example.org/item/"
MOUNT_POINT="/"
PROBLEM_EMAIL="problems@example.org"
""",
        # Else one of its tests asks a service within the authors' network.
        settings="RELEASER_TEST_COMMAND='env GITHUB_ACTIONS=true python run_tests.py'\n",
        variables="GITHUB_ACTIONS=true ",
        pages=("/info/", "/version/"),
    ),
    "site_checker_project": OlderSite(commit="cb0f51f", dotenv=_SITE_CHECKER, pages=("/status/", "/admin/login/")),
    "aeon_webfolder_comparison_project": OlderSite(
        commit="a17d63e", settings=_SCRIPT + "RELEASER_TEST_COMMAND='python -m unittest discover -s tests'\n"
    ),
    UPDATER: OlderSite(commit="605acdf", settings=_SCRIPT),
}


class Mails:
    """A mail server on the loopback, and what it was sent."""

    def __init__(self) -> None:
        self.received: list[EmailMessage] = []

    async def handle_DATA(self, _server: object, _session: object, envelope: Any) -> str:  # noqa: N802
        """Keep a mail."""
        self.received.append(email.message_from_bytes(envelope.content, policy=email.policy.default))
        return "250 taken"

    @contextlib.contextmanager
    def serving(self) -> Iterator[int]:
        """Take mails during the block; yield the port."""
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        controller = Controller(self, hostname="127.0.0.1", port=port)
        controller.start()
        try:
            yield port
        finally:
            controller.stop()

    def texts(self, *, since: int) -> list[str]:
        """Return the texts of the mails that came since there were so many."""
        found = []
        for one in self.received[since:]:
            part = one.get_body(("plain",))
            found.append(f"{one['Subject']}\n{part.get_content() if part is not None else one.get_payload()}")
        return found


class Host(Stage):
    """One server of a site: the outer directory with `.env`, logs and database, and the checkout in it."""

    def __init__(self, name: str, host: str, place: Path, *, python: Path) -> None:
        super().__init__(place / host, os.environ, programs=Path(sys.executable).parent, name=name)
        self.host, self.kind = host, OLDER_SITES[name]
        self.server = place / host / f"{name}_stuff"
        self.site = self.server / name
        self.link = self.site / ".venv"
        self.remote = place / "remote.git"
        self.updater = place / "updater_stuff"
        self.beside = place / "gunicorn"
        self.python = python
        self.address = Address(path=str(self.server / "run/gunicorn.sock"))
        self.pidfile = self.server / "run/gunicorn.pid"

    def set_up(self) -> None:
        """Make the checkout and its venv, as the older updater leaves them."""
        for name in ("logs", "DBs", "uploads", "static", "run"):
            (self.server / name).mkdir(parents=True)
        self.ask("git", "clone", "--quiet", self.remote, self.site, cwd=self.server)
        configure(self)
        updater = (self.updater / ".env").read_text() if self.site.name == UPDATER else ""
        self.add_settings(DOTENV + self.kind.dotenv + updater + self.kind.settings)
        self.ask("uv", "sync", "--quiet", "--frozen", "--group", "local", "--python", self.python)
        self.ask("chmod", "-R", "g+w", self.link)
        if self.kind.pages:
            if len(self.address.path) > LONGEST_SOCKET:
                message = f"{self.address.path} is too long for a socket: work in a place with a shorter name"
                raise DemoError(message)
            self.ask(self.link / "bin/python", "manage.py", "migrate", "--verbosity", "0")
            conf = GUNICORN_CONF.replace("tmp/", "../run/").replace("workers = 2", "workers = 4")
            conf = conf.replace("import time\n", "import threading\nimport time\n").partition("\n\ndef when_ready")[0]
            more = "preload_app = True\nmax_requests = 1000\nmax_requests_jitter = 500\ngraceful_timeout = 60\n"
            (self.server / "gunicorn.conf.py").write_text(conf + WATCHING + more)

    def add_settings(self, text: str) -> None:
        """Add lines to the `.env`."""
        with (self.server / ".env").open("a") as dotenv:
            dotenv.write(text)
        (self.server / ".env").chmod(0o640)

    @contextlib.contextmanager
    def serving(self) -> Iterator[Unrest | None]:
        """Serve the site to visitors while workers are killed; a script has none."""
        if not self.kind.pages:
            yield None
            return
        words: list[str | Path] = [
            self.link / "bin/python",
            "-m",
            "gunicorn",
            "--config",
            "../gunicorn.conf.py",
            "config.wsgi",
        ]
        if not (self.site / "config/wsgi.py").exists():
            words[-1] = "config.passenger_wsgi"
        self.env["PYTHONPATH"] = str(self.beside)
        with started(words, self, self.server / "gunicorn.log", nice=0):
            del self.env["PYTHONPATH"]
            wait_for(self.address, self.kind.pages[0])
            unrest = Unrest(self.address, self.kind.pages, self.pidfile)
            with unrest.going_on():
                yield unrest

    def cron(self, line: str) -> subprocess.CompletedProcess[str]:
        """Run a line as cron does: by sh, from elsewhere, without a terminal."""
        env = {**self.env, "PATH": f"{self.python.parent}:/usr/local/bin:/usr/bin:/bin"}
        return subprocess.run(["sh", "-c", line], cwd="/", env=env, capture_output=True, text=True, check=False)

    def live(self) -> str:
        """Return the live release; an empty text if `.venv` is no symlink."""
        return self.link.resolve().parent.name if self.link.is_symlink() else ""


@dataclass(kw_only=True)
class Course:
    """The nights of two hosts; `rows` is what came of each step."""

    hosts: tuple[Host, Host]
    unrests: Mapping[str, Unrest | None]
    mails: Mails
    rows: list[Row] = field(default_factory=list)

    def step(
        self,
        name: str,
        host: Host,
        line: str,
        *,
        silent: bool = False,
        no_commit: bool = False,
        mail: str | None = None,
        moves: bool | None = None,
    ) -> None:
        """Run one line on a host and look at what it left; `mail` is what the mail about it has to say."""
        say(f"\n{host.host}: {name}")
        self._take_tally()
        before, left, head, began = len(self.mails.received), host.live(), self._remote_head(), time.monotonic()
        ended = host.cron(line)
        seconds = time.monotonic() - began
        output, texts = ended.stdout + ended.stderr, self.mails.texts(since=before)
        problems = [] if ended.returncode == 0 else [f"exit code {ended.returncode}: {output[-2000:]}"]
        if silent and (output or texts):
            problems.append(f"the night is not silent: {output}{texts}")
        if (silent or no_commit) and head != self._remote_head():
            problems.append(f"a commit without news: {self._last_commit()}")
        if mail is not None and not any(mail in " ".join(text.split()) for text in texts):
            problems.append(f"no mail says {mail!r}: {texts}")
        if moves is not None and moves != (left != host.live()):
            problems.append(f"{left} was live, and {host.live()} is")
        problems += self._judge(host)
        tally = self._take_tally()
        problems += [f"request failed: {failure}" for failure in tally.failures[:5]]
        changes = 0
        if left and host.live() and left != host.live():
            changes = len(json.loads(host.ask("releaser", "diff", left, host.live(), "--json")))
        elif host.live() and not left:
            changes = len(json.loads(host.ask("releaser", "show", host.live(), "--json"))["changes"])
        step, code = f"{name} ({host.host})", ended.returncode
        row = Row(step=step, code=code, seconds=seconds, changes=changes, tally=tally, problems=problems)
        say("\n".join([*(text.partition("\n")[0] for text in texts), "  ".join(map(str, cells(row))), *problems]))
        self.rows.append(row)

    def _take_tally(self) -> Tally:
        """Return what was counted on both hosts since the last call."""
        found = Tally()
        for unrest in filter(None, self.unrests.values()):
            one = unrest.take_tally()
            found.requests += one.requests
            found.failures += one.failures
            found.cut += one.cut
            found.signals += one.signals
        return found

    def _last_commit(self) -> str:
        return self.hosts[0].ask("git", "log", "-1", "--format=%an: %s", "main", cwd=self.hosts[0].remote)

    def _remote_head(self) -> str:
        return self.hosts[0].ask("git", "rev-parse", "main", cwd=self.hosts[0].remote)

    def _judge(self, host: Host) -> list[str]:
        problems = []
        if status := host.ask("git", "status", "--porcelain"):
            problems.append(f"the checkout is not clean: {status}")
        if host.live():
            lock = host.link.resolve().parent / "uv.lock"
            if lock.read_text() != (host.site / "uv.lock").read_text():
                problems.append("uv.lock is not that of the live release")
            problems += self._judge_workers(host)
        return problems

    def _judge_workers(self, host: Host) -> list[str]:
        """Wait until all workers run on the live release."""
        ends_at = time.monotonic() + SECONDS
        while host.kind.pages:
            users = {process for one in host.releases() if one["live"] for process in one["in_use_by"]}
            with contextlib.suppress(OSError, ValueError):
                running = workers(host.pidfile)
                if running and not set(running) - users:
                    return []
            if time.monotonic() > ends_at:
                return ["some workers are not on the live release"]
            time.sleep(0.2)
        return []


def configure(stage: Stage, cwd: Path | None = None) -> None:
    """Give a clone an author."""
    for key, value in {**GIT_CONFIG, "pull.rebase": "false"}.items():
        stage.ask("git", "config", key, value, cwd=cwd)


def move_older_site(name: str, options: argparse.Namespace) -> list[Row]:
    """Move a site over on two hosts, let nights pass, and go back to the older updater on one of them."""
    place = options.place / name
    staging, production = (Host(name, host, place, python=options.python) for host in ("staging", "production"))
    mails = Mails()
    with mails.serving() as port, contextlib.ExitStack() as stack:
        developer = _set_up_remote(staging, options, port=port)
        for host in (staging, production):
            host.set_up()
        production.add_settings("RELEASER_UPGRADE=none\n")
        unrests = {host.host: stack.enter_context(host.serving()) for host in (staging, production)}
        course = Course(hosts=(staging, production), unrests=unrests, mails=mails)
        try:
            _play(course, developer, port)
        except DemoError as error:
            say(f"The course ended early: {error}")
            course.rows.append(Row(step="the rest", code=1, seconds=0, changes=0, tally=Tally(), problems=[str(error)]))
    return course.rows


def _play(course: Course, developer: Path, port: int) -> None:
    staging, production = course.hosts
    lines = {host.host: _new_line(host) for host in course.hosts}
    news = "New commits on the branch `main` go live each night"
    for host in course.hosts:
        restart = f" && touch {host.site}/config/tmp/restart.txt" if host.kind.pages else ""
        course.step("adopt", host, f"{_releaser(host)} init --project {host.site}{restart}", moves=True)
    course.step("first night", staging, lines["staging"], mail=news)
    course.step("first night", production, lines["production"], mail=news)
    for host in course.hosts:
        course.step("quiet night", host, lines[host.host], silent=True, moves=False)
    for host in course.hosts:
        host.add_settings(
            MAIL.format(port=port)
            + "".join(HEALTH.format(page=page, socket=host.address.path) for page in host.kind.pages[:1])
        )
        course.step("check", host, f"{_releaser(host)} check --project {host.site}")
    rollback = f"{_releaser(staging)} rollback --project {staging.site}"
    if any(
        row.changes for row in course.rows if row.step.startswith("first night")
    ):  # else nothing was upgraded that could be rolled back
        _roll_packages_back(course, lines, rollback)
    _commit(staging, developer)
    for host in course.hosts:
        course.step("a commit", host, lines[host.host], mail="A word", moves=True)
    course.step("rollback of a commit", staging, rollback, mail="rolled back", moves=True)
    for host in course.hosts:
        course.step("night after it", host, lines[host.host], silent=True, moves=False)
    course.step("uninstall", staging, f"{_releaser(staging)} uninstall --yes --project {staging.site}")
    course.step("chmod", staging, f"chmod -R g+w {staging.link}")
    if (staging.site / "run_tests.py").exists():  # which the older updater runs, whatever else tests are
        course.step("the older updater", staging, _old_line(staging), no_commit=True)  # it has nothing to upgrade


def _roll_packages_back(course: Course, lines: Mapping[str, str], rollback: str) -> None:
    """Roll the upgrades back on one host, and let two nights pass: none may commit, and the other one follows once."""
    staging, production = course.hosts
    course.step("rollback of packages", staging, rollback, mail="rolled back", moves=True)
    for night in (1, 2):
        for host in course.hosts:
            follows = host is production and night == 1  # the lock that the rollback has committed
            course.step(f"night {night} after it", host, lines[host.host], no_commit=True, moves=follows)
    force = f"{_releaser(staging)} update --force --project {staging.site}"
    course.step("forced update", staging, force, mail="updated", moves=True)
    course.step("night after it", production, lines["production"], no_commit=True)


def _releaser(host: Host) -> str:
    return shutil.which("releaser", path=host.env["PATH"]) or "releaser"


def _new_line(host: Host) -> str:
    return f"set -a && . {host.updater}/.env && {_releaser(host)} update --project {host.site}"


def _old_line(host: Host) -> str:
    uv = shutil.which("uv", path=host.env["PATH"])
    words = f'{host.kind.variables}{uv} run --env-file "../.env" ./auto_updater.py --project "{host.site}"'
    return f'PATH=/usr/local/bin:$PATH cd "{host.updater / UPDATER}" && {words}'


def _set_up_remote(host: Host, options: argparse.Namespace, *, port: int) -> Path:
    """Make the remote, a developer's clone, the older updater, and gunicorn beside the site; return the clone."""
    place = host.remote.parent
    place.mkdir(parents=True)
    developer, kind = place / "developer", host.kind
    host.ask("git", "clone", "--quiet", "--no-checkout", options.repositories / host.site.name, developer, cwd=place)
    configure(host, developer)
    host.ask("git", "checkout", "--quiet", "-B", "main", kind.commit, cwd=developer)
    host.ask("git", "init", "--quiet", "--bare", "--initial-branch=main", host.remote, cwd=place)
    host.ask("git", "remote", "set-url", "origin", host.remote, cwd=developer)
    host.ask("git", "push", "--quiet", "--set-upstream", "origin", "main", cwd=developer)
    (host.updater / "logs").mkdir(parents=True)
    host.ask("git", "clone", "--quiet", options.repositories / UPDATER, host.updater / UPDATER, cwd=place)
    uv = shutil.which("uv", path=host.env["PATH"])
    (host.updater / ".env").write_text(UPDATER_DOTENV.format(port=port, uv=uv))
    if kind.pages:
        install = ("uv", "pip", "install", "--quiet", "--python", options.python, "--target", host.beside, "gunicorn")
        host.ask(*install, cwd=place)
    return developer


def _commit(host: Host, developer: Path) -> None:
    host.ask("git", "pull", "--quiet", cwd=developer)
    with (developer / "README.md").open("a") as readme:
        readme.write("\nA word.\n")
    host.ask("git", "commit", "--quiet", "--all", "--message", "A word", cwd=developer)
    host.ask("git", "push", "--quiet", cwd=developer)
