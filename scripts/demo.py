"""The story that `make demo` tells: one site, from its adoption to a refused update and a rollback.

Takes a directory to work in, whose `venv` has releaser installed. Every claim is checked; one that does not hold ends
the demo with exit status 1.
"""

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
import time
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from releaser.tools.environment import neutral

if TYPE_CHECKING:
    from collections.abc import Mapping
    from email.message import EmailMessage

SITE_FILES = Path(__file__).with_name("demo_site")
# What the lock of a site holds that nobody has updated for some months.
OLD_VERSIONS = ("django==5.2.8", "asgiref==3.10.0", "sqlparse==0.5.3")
PRICETAG = {
    "1.0": 'def tag(cents):\n    return f"EUR {cents / 100:.2f}"\n',
    "2.0": 'def tag(cents):\n    return f"EUR {cents:.2f}"\n',
}
DOTENV = """\
ADMINS_JSON='[["Ada", "ada@example.org"]]'
RELEASER_ENVIRONMENT='local'
RELEASER_MAIL_FROM='releaser@example.org'
"""
GIT_CONFIG = {"user.name": "Ada", "user.email": "ada@example.org"}
WIDTH = 88


class DemoError(Exception):
    """Something is not as the story says."""


class Stage:
    """The server of the story: a checkout with `.env` and wheels beside it, and the remote it came from."""

    def __init__(self, place: Path, environ: Mapping[str, str]) -> None:
        self.server = place / "server"
        self.site = self.server / "teashop"
        self.remote = place / "remote.git"
        self.wheels = self.server / "wheels"
        self.link = self.site / ".venv"
        self.outbox = self.server / ".releaser" / "teashop" / "outbox"
        self.env = environment(place / "venv", environ)

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


def environment(venv: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """Return an environment in which nothing of the user's own settings for git, uv and releaser changes the story."""
    strange = ("GIT_", "RELEASER_", "AUTO_UPDTR__", "DJANGO_", "ADMINS_JSON", "PYTHONPATH")
    env = {name: value for name, value in neutral(environ).items() if not name.startswith(strange)}
    python = Path(getattr(sys, "_base_executable", sys.executable)).resolve().parent
    return env | {
        "PATH": os.pathsep.join([str(venv / "bin"), str(python), env.get("PATH", os.defpath)]),
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


def set_up(stage: Stage) -> None:
    """Make the site as it is before releaser comes: a checkout, a remote, `.env`, an old lock and its venv."""
    shutil.copytree(SITE_FILES, stage.site, ignore=shutil.ignore_patterns("__pycache__"))
    (stage.site / ".python-version").write_text(f"{sys.version_info.major}.{sys.version_info.minor}\n")
    add_index(stage)
    (stage.server / ".env").write_text(DOTENV)
    publish(stage.wheels, "1.0")
    pins = [word for pin in OLD_VERSIONS for word in ("--upgrade-package", pin)]
    stage.ask("uv", "lock", *pins)
    stage.ask("uv", "lock", "--check")
    stage.ask("uv", "sync", "--frozen")
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


def adopt(stage: Stage) -> None:
    """Chapter 1 and 2: the site, and its adoption."""
    chapter(
        1,
        "A Django site on a server",
        "A git checkout with uv.lock and .venv, which nobody has updated for some months. `visit` is a command of the "
        "site that gets its front page.",
    )
    stage.show("ls -A")
    stage.show(".venv/bin/python manage.py visit")
    chapter(2, "Adopt it", "The venv becomes the first release, as it is, and .venv a symlink to it.")
    stage.show("releaser init -v")
    stage.show("readlink .venv")
    expect(stage.link.is_symlink(), ".venv is no symlink after init")
    expect(stage.live_django() == "5.2.8", "init changed the packages")
    expect(stage.ask("git", "status", "--porcelain") == "", "init left the checkout unclean")


def update(stage: Stage) -> None:
    """Chapter 3 to 5: an update, a look at it, and one that finds nothing."""
    before = stage.live_django()
    chapter(
        3,
        "Update it",
        "The newest versions go into a new venv beside the live one. Only when the site's own tests pass on it does "
        "the symlink move. Then uv.lock is committed and pushed.",
    )
    stage.show("releaser update -v")
    stage.show(".venv/bin/python manage.py visit")
    expect(stage.live_django() != before, "the update did not bring a newer Django")
    expect(stage.locked_django() == stage.live_django(), "the remote does not have the new lock")
    expect((stage.site / "static_root/teashop/style.css").exists(), "static files were not collected")
    expect((stage.site / "tmp/restart.txt").exists(), "the web server was not told to restart")
    chapter(4, "Look at it", "Every release is kept with its lock, so that any two can be compared.")
    stage.show("releaser list")
    old, new = (stage.releases()[index]["id"] for index in (-1, 0))
    stage.show(f"releaser diff {old}")
    expect(stage.releases()[0]["live"], f"{new} is not live")
    chapter(
        5,
        "Update it again",
        "There is nothing newer now, so nothing is built and nobody gets a mail. From cron, without -v, this says "
        "nothing at all.",
    )
    stage.show("releaser update -v")
    expect(len(stage.releases()) == 2, "an update without anything new made a release")


def refuse(stage: Stage) -> None:
    """Chapter 6: an update that the site's tests do not pass."""
    target, django, head = stage.link.readlink(), stage.live_django(), stage.ask("git", "rev-parse", "HEAD")
    page = stage.ask(stage.link / "bin" / "python", "manage.py", "visit")
    chapter(
        6,
        "Meet a bad package",
        "pricetag 2.0 is published, and takes cents for euros: tea would cost a hundred times as much. The site's "
        "tests fail on the new venv and pass on the live one, so it is the update that breaks the site. It never "
        "goes live.",
    )
    publish(stage.wheels, "2.0")
    stage.show("releaser update -v", status=5)
    say("\nThe live site has noticed nothing:\n")
    stage.show(".venv/bin/python manage.py visit")
    expect(stage.link.readlink() == target, "the refused update moved the symlink")
    expect(stage.live_django() == django, "the refused update changed the live venv")
    expect(stage.ask("git", "rev-parse", "HEAD") == head, "the refused update made a commit")
    expect(stage.ask("git", "status", "--porcelain") == "", "the refused update left the checkout unclean")
    expect(stage.ask(stage.link / "bin" / "python", "manage.py", "visit") == page, "the page has changed")
    expect(stage.releases()[0]["state"] == "failed", "the candidate is not listed as failed")


def go_back(stage: Stage) -> None:
    """Chapter 7: a rollback."""
    left = stage.live_django()
    chapter(
        7,
        "Go back",
        "Say that the newer Django turned out to be wrong after all. Nothing has to be built: the symlink moves back, "
        "the lock with it, and no later update takes these versions again.",
    )
    stage.show("releaser rollback -v")
    stage.show(".venv/bin/python manage.py visit")
    stage.show("git log --format=%s origin/main")
    stage.show("releaser list")
    expect(stage.live_django() == "5.2.8", "the rollback did not bring back the first release")
    expect(stage.locked_django() == "5.2.8", "the remote does not have the lock of the first release")
    expect(f"django {left}" in stage.ask("releaser", "status"), f"Django {left} is not held back")
    expect([one["state"] for one in stage.releases()] == ["failed", "bad", "live"], "the releases are not as told")


def read_mail(stage: Stage) -> None:
    """Chapter 8: the mails."""
    found = stage.mails()
    chapter(
        8,
        "Read the mail",
        "The admins in .env are told of each change and each failure. No mail server is set here, so the mails are "
        "kept in a Maildir; this is the head of the second.",
    )
    for _, mail in found:
        say(f"  {mail['Subject']}")
    say(f"\n  in {stage.outbox}\n")
    expect(len(found) == 3, f"{len(found)} mails were kept, not 3")
    mail = found[1][1]
    for name in ("From", "To", "Subject"):
        say(f"  | {name}: {mail[name]}")
    say("  |")
    body = mail.get_body(("plain",))
    text = body.get_content() if body is not None else ""
    for line in text.splitlines()[:14]:
        say(f"  | {line}".rstrip())
    expect("pricetag" in text, "the mail about the refused update does not name the package")
    expect(mail["To"] == "Ada <ada@example.org>", f"the mail went to {mail['To']}")


def main(place: Path) -> int:
    """Tell the story."""
    began = time.monotonic()
    stage = Stage(place, os.environ)
    try:
        set_up(stage)
        for part in (adopt, update, refuse, go_back, read_mail):
            part(stage)
    except DemoError as error:
        print(f"\nThe demo went wrong: {error}", file=sys.stderr, flush=True)
        return 1
    except KeyboardInterrupt:
        return 130
    say(f"\nThat is all of it: {time.monotonic() - began:.0f} seconds, and every claim above was checked.")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
