"""A small server for demonstrations: a Django site in a git checkout, its remote, and an index of wheels beside it."""

from __future__ import annotations

import email
import email.policy
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from releaser.system.venv_environment import neutral

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from email.message import EmailMessage

SITE_FILES = Path(__file__).with_name("demo_site")
# What the lock of a site holds that nobody has updated for some months.
OLD_VERSIONS = ("django==5.2.8", "asgiref==3.10.0", "sqlparse==0.5.3", "markdown==3.7")
_TAG = 'def tag(cents):\n    return f"EUR {cents / 100:.2f}"\n'
PRICETAG = {
    "1.0": f"{_TAG}\ndef cents(tag):\n    return round(100 * float(tag[4:]))\n",
    "1.1": _TAG,
    "2.0": 'def tag(cents):\n    return f"EUR {cents:.2f}"\n',
}
DOTENV = """\
ADMINS_JSON='[["Ada", "ada@example.org"]]'
RELEASER_SENDMAIL=none
RELEASER_ENVIRONMENT='local'
RELEASER_MAIL_FROM='releaser@example.org'
RELEASER_VULNERABILITY_SERVICE='none'
"""
GIT_CONFIG = {"user.name": "Ada", "user.email": "ada@example.org"}
WIDTH = 88


class DemoError(Exception):
    """Something is not as the story says."""


class Stage:
    """The server of the story: a checkout with `.env` and wheels beside it, and the remote it came from."""

    def __init__(self, place: Path, environ: Mapping[str, str], *, programs: Path, name: str = "teashop") -> None:
        self.server = place / "server"
        self.nice = 10  # of its web server, as visitors without a pause take all that there is
        self.site = self.server / name
        self.remote = place / "remote.git"
        self.wheels = self.server / "wheels"
        self.link = self.site / ".venv"
        self.outbox = self.server / ".releaser" / name / "outbox"
        self.env = environment(programs, environ)

    def show(self, command: str, *, status: int = 0) -> None:
        """Show a command line and let it speak for itself."""
        say(f"$ {command}")
        # Without a terminal both streams go where ours goes, so that the lines keep their order.
        stderr = None if sys.stdout.isatty() else subprocess.STDOUT
        ended = subprocess.run(shlex.split(command), cwd=self.site, env=self.env, stderr=stderr, check=False)
        if status:
            say(f"(exit status {ended.returncode})")
        expect(ended.returncode == status, f"`{command}` ended with status {ended.returncode}, not {status}")

    def ask(self, *words: str | Path, cwd: Path | None = None) -> str:
        """Return what a command prints, without showing it."""
        done = subprocess.run(
            words, cwd=cwd or self.site, env=self.env, capture_output=True, text=True, encoding="utf-8", check=False
        )
        expect(done.returncode == 0, f"{shlex.join(map(str, words))} failed:\n{done.stdout}{done.stderr}")
        return done.stdout.strip()

    def releases(self) -> list[dict[str, Any]]:
        """Return what `releaser list --json` says."""
        found: list[dict[str, Any]] = json.loads(self.ask("releaser", "list", "--json"))
        return found

    def live_django(self) -> str:
        """Return the version of Django that the live venv has."""
        return self.ask(self.link / "bin" / "python", "-m", "django", "--version")

    def locked_django(self) -> str:
        """Return the version of Django in the uv.lock that the remote has."""
        lock = self.ask("git", "show", "main:uv.lock", cwd=self.remote)
        found = re.search(r'name = "django"\nversion = "(.+)"', lock)
        return found.group(1) if found else "none"

    def mails(self) -> list[tuple[Path, EmailMessage]]:
        """Return the mails in the outbox, oldest first."""
        files = sorted((self.outbox / "new").iterdir(), key=lambda file: file.stat().st_mtime_ns)
        return [(file, email.message_from_bytes(file.read_bytes(), policy=email.policy.default)) for file in files]


def environment(programs: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """Return an environment in which nothing of the user's own settings for git, uv and releaser changes the story.

    `programs` is the directory that releaser and uv are in.
    """
    strange = ("GIT_", "RELEASER_", "AUTO_UPDTR__", "DJANGO_", "ADMINS_JSON", "PYTHONPATH")
    env = {name: value for name, value in neutral(environ).items() if not name.startswith(strange)}
    python = Path(getattr(sys, "_base_executable", sys.executable)).resolve().parent
    return env | {
        "PATH": os.pathsep.join([str(programs), str(python), env.get("PATH", os.defpath)]),
        "UV_PYTHON_DOWNLOADS": "never",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
    }


def say(text: str = "") -> None:
    """Print at once, so that the lines of other programs come in between at the right place."""
    print(text, flush=True)


def chapter(number: int, title: str, why: str) -> None:
    """Begin a new part of the story."""
    heading = f"{number}. {title}"
    if sys.stdout.isatty() and "NO_COLOR" not in os.environ:
        heading = f"\033[1m{heading}\033[0m"
    say(f"\n{heading}\n{textwrap.fill(why, WIDTH)}\n")


def expect(condition: object, otherwise: str) -> None:
    """End the demo unless this is so."""
    if not condition:
        raise DemoError(otherwise)


def publish(wheels: Path, version: str) -> None:
    """Put a version of the package `pricetag` into the directory of wheels."""
    wheels.mkdir(exist_ok=True)
    info = f"pricetag-{version}.dist-info"
    files = {
        "pricetag.py": PRICETAG[version],
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: pricetag\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: demo\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(wheels / f"pricetag-{version}-py3-none-any.whl", "w") as wheel:
        for name, text in files.items():
            wheel.writestr(name, text)


def set_up(
    stage: Stage,
    *,
    add: str = "",
    requires: Sequence[str] = (),
    locked: Sequence[str] = OLD_VERSIONS,
    python: str | None = None,
) -> None:
    """Make the site as it is before releaser comes: a checkout, a remote, `.env`, an old lock and its venv.

    `add` goes to the end of pyproject.toml, `requires` to the dependencies, `locked` are the versions in the lock.
    """
    shutil.copytree(SITE_FILES, stage.site, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
    for path in (stage.site, *stage.site.rglob("*")):  # the web server reads them, however strict this clone is
        path.chmod(path.stat().st_mode | (0o055 if path.is_dir() else 0o044))
    (stage.site / ".python-version").write_text(f"{python or f'{sys.version_info.major}.{sys.version_info.minor}'}\n")
    pyproject = stage.site / "pyproject.toml"
    named = "".join(f', "{name}"' for name in requires)
    pyproject.write_text(pyproject.read_text().replace('"pricetag"]', f'"pricetag"{named}]') + add)
    add_index(stage)
    (stage.server / ".env").write_text(DOTENV)
    publish(stage.wheels, "1.0")
    pins = [word for pin in locked for word in ("--upgrade-package", pin)]
    stage.ask("uv", "lock", *pins)
    stage.ask("uv", "lock", "--check")
    stage.ask("uv", "sync", "--frozen", "--compile-bytecode")
    stage.ask("git", "init", "--quiet", "--bare", "--initial-branch=main", stage.remote)
    stage.ask("git", "init", "--quiet", "--initial-branch=main")
    for key, value in GIT_CONFIG.items():
        stage.ask("git", "config", key, value)
    stage.ask("git", "add", "--all")
    stage.ask("git", "commit", "--quiet", "--message", "The tea shop")
    stage.ask("git", "remote", "add", "origin", stage.remote)
    stage.ask("git", "push", "--quiet", "--set-upstream", "origin", "main")


def add_index(stage: Stage) -> None:
    """Write the user's own package index into the site, where cron would find it as well."""
    url = index_url(stage)
    if url:
        with (stage.site / "pyproject.toml").open("a") as file:
            file.write(f"\n[[tool.uv.index]]\nurl = {json.dumps(url)}\ndefault = true\n")


def index_url(stage: Stage) -> str | None:
    """Return the index that uv, or else pip, is told to use; None when that is the usual one or uv's files name it."""
    url = os.environ.get("UV_DEFAULT_INDEX") or os.environ.get("UV_INDEX_URL")
    if url:
        return re.sub(r"^[\w.-]+=", "", url)  # it may have a name: name=URL
    own = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "uv/uv.toml"
    if own.exists() or Path("/etc/uv/uv.toml").exists():
        return None
    pip = stage.ask(sys.executable, "-m", "pip", "config", "list")
    found = re.search(r"^(?:global|install|:env:)\.index-url='(.+)'$", pip, re.MULTILINE)
    return found.group(1) if found else None
