"""What bundles of a real application cost: seconds and bytes, full and as deltas, beside pip and a cache of buildout.

The application has some 60 packages of the real index, as they were two months, a month and two weeks ago, and today.
The host that installs it has no network, and, where root runs this, a user of its own.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from made import fill

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PAGE = Path(__file__).resolve().parents[1] / "docs" / "project" / "bundle-figures.md"
AGES = (61, 30, 14, 0)  # days
PACKAGES = (
    "django", "wagtail", "celery", "redis", "psycopg[binary]", "pillow", "cryptography", "requests", "gunicorn",
    "whitenoise", "sentry-sdk", "lxml", "openpyxl", "pydantic", "rich", "httpx", "numpy",
)  # fmt: skip
SETTINGS = """\
SECRET_KEY = "only for this measurement"
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
ROOT_URLCONF = "urls"
"""
MANAGE = """\
import os, sys
from django.core.management import execute_from_command_line
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")
execute_from_command_line(sys.argv)
"""
PYPROJECT = """\
[project]
name = "shop"
version = "1"
requires-python = ">=3.11"
dependencies = {packages}
[dependency-groups]
local = []
[tool.uv]
exclude-newer = "{until}"
environments = ["sys_platform == 'linux'"]
[tool.releaser]
upgrade = "none"
test_command = "python manage.py check"
health_check = "python manage.py check --deploy"
health_retries = 0
"""
DOTENV = """\
ADMINS_JSON='[]'
RELEASER_RESTART='none'
RELEASER_ENVIRONMENT='local'
RELEASER_VULNERABILITY_SERVICE='none'
"""
BUILDOUT = """\
[buildout]
parts = app
download-cache = cache
install-from-cache = true
versions = versions
[app]
recipe = zc.recipe.egg
interpreter = python
eggs = {eggs}
[versions]
{versions}
"""
# The command of docs/guides/bundles.md, in the environment of the application.
SIGNED = ("releaser", "bundle", "create", "--sign", "../../key", "-o")
PASSED = ("PATH", "HOME", "LANG", "PIP_CERT", "SSL_CERT_FILE")  # of the environment
STRANGER = 54321  # a user whom no database of users knows
IGNORED = (".venv", ".env", "__pycache__")


class Application:
    """The application on the host that builds it, and on one that gets it."""

    def __init__(self, place: Path) -> None:
        self.place, self.site = place, place / "build" / "shop"
        self.bin = Path(sys.executable).parent
        self.python = next(one for one in ("/usr/bin/python3", sys.executable) if _is_fit(one))
        self.host = place / "host"
        env = {
            name: os.environ[name]
            for name in ("PATH", "HOME", "LANG", "PIP_CERT", "SSL_CERT_FILE")
            if name in os.environ
        }
        self.env = {
            **env, "PATH": f"{self.bin}:{env['PATH']}", "UV_PYTHON_DOWNLOADS": "never", "UV_PYTHON": self.python,
            **{f"GIT_{who}_{what}": "Ada" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
        }  # fmt: skip
        self.away = dict(self.env, HOME=str(self.host), PATH="/usr/local/bin:/usr/bin:/bin")
        self.is_root = os.geteuid() == 0
        who = [f"--re{kind}id={STRANGER}" for kind in ("u", "g")]
        outside = not self.python.startswith(str(Path.home()))
        user = ["setpriv", *who, "--clear-groups"] if self.is_root and outside else []
        self.user = STRANGER if user else os.geteuid()
        self.alone = ["unshare", "-n", *user]
        if not user:  # then releaser goes to directories of the whole host, in whose place are others
            mounts = 'mount --bind "$0/opt" /opt && mount --bind "$0/bin" /usr/local/bin && exec "$@"'
            self.alone = ["unshare", "-nm" if self.is_root else "-rnm", "sh", "-c", mounts, str(self.host)]
        self.link = self.host / ".local/bin/releaser" if user else Path("/usr/local/bin/releaser")

    def run(self, *words: str | Path, cwd: Path | None = None) -> str:
        """Run a command where the application is built."""
        return self._run(words, cwd or self.site, self.env)

    def run_alone(self, *words: str | Path, cwd: Path | None = None) -> str:
        """Run a command on the host without network."""
        return self._run([*self.alone, *words], cwd or self.host, self.away)

    def _run(self, words: Sequence[str | Path], cwd: Path, env: dict[str, str]) -> str:
        done = subprocess.run(words, cwd=cwd, env=env, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"{' '.join(map(str, words))} ended with status {done.returncode}: {done.stdout}{done.stderr}")
        return done.stdout

    def give(self, *files: Path) -> list[Path]:
        """Copy files to the host, and make them its user's."""
        for name in ("opt", "bin"):
            (self.host / name).mkdir(parents=True, exist_ok=True)
        copies = [Path(shutil.copy(file, self.host)) for file in files]
        for one in (self.host, *copies):
            os.chown(one, self.user, self.user if self.is_root else -1)
        return copies

    def begin(self) -> None:
        """Make the application, its remote, and a venv that releaser takes over."""
        self.site.mkdir(parents=True)
        for name, text in {"settings.py": SETTINGS, "manage.py": MANAGE, "urls.py": "urlpatterns = []\n"}.items():
            (self.site / name).write_text(text, encoding="utf-8")
        (self.site / ".gitignore").write_text("\n".join(IGNORED) + "\n", encoding="utf-8")
        (self.site / ".env").write_text(DOTENV, encoding="utf-8")
        (self.site / ".env").chmod(0o600)
        self.run("git", "init", "-q", "-b", "main")
        self.run("git", "init", "-q", "--bare", self.place / "remote.git")
        self.run("git", "remote", "add", "origin", self.place / "remote.git")
        key = self.place / "key"
        self.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "build", "-f", key)
        signer = f'build@example.org namespaces="releaser-bundle" {key.with_suffix(".pub").read_text(encoding="utf-8")}'
        (self.place / "signers").write_text(signer, encoding="utf-8")

    def lock(self, age: int) -> int:
        """Commit the lock as it would have been so many days ago; return the number of packages."""
        until = (datetime.now(UTC) - timedelta(days=age)).strftime("%Y-%m-%dT00:00:00Z")
        text = PYPROJECT.format(packages=json.dumps(PACKAGES), until=until)
        (self.site / "pyproject.toml").write_text(text, encoding="utf-8")
        self.run("uv", "lock", "-q", "--upgrade")
        self.run("git", "add", "-A")
        self.run("git", "commit", "-qm", f"packages of {until}")
        self.run("git", "push", "-q", "-u", "origin", "main")
        return (self.site / "uv.lock").read_text(encoding="utf-8").count("[[package]]") - 1

    def release(self, *, first: bool) -> None:
        """Build, test and activate what is locked."""
        if first:
            self.run("uv", "sync", "-q", "--locked")
            self.run("releaser", "init")
        self.run("releaser", "rebuild" if first else "update")


def _is_fit(python: str) -> bool:
    code = "import sys, ensurepip; sys.exit(sys.version_info < (3, 11))"
    return subprocess.run([python, "-c", code], check=False, capture_output=True).returncode == 0


class Table:
    """The rows of the table of docs/project/bundle-figures.md, printed as they are found."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, str]] = []

    def add(self, what: str, found: str) -> None:
        """Add a row."""
        self.rows.append((what, found))
        print(f"  {what:<62}{found}", flush=True)

    @contextlib.contextmanager
    def time(self, what: str) -> Iterator[None]:
        """Add what the block takes."""
        began = time.perf_counter()
        yield
        self.add(what, f"{time.perf_counter() - began:.1f} s")

    def write(self) -> None:
        """Write the table into the page."""
        fill(
            PAGE, {"costs": "\n".join(["| | |", "|---|---|", *(f"| {what} | {found} |" for what, found in self.rows)])}
        )


TABLE = Table()


def megabytes(file: Path) -> float:
    """Return the size of a file."""
    return file.stat().st_size / 1e6


def main() -> None:
    """Measure, print, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--days", type=int, nargs="+", default=AGES, help="how old the locks are; the last is the newest"
    )
    ages = parser.parse_args().days
    with tempfile.TemporaryDirectory(prefix="bundles-") as directory:
        place = Path(directory)
        place.chmod(0o755)
        application = Application(place)
        application.begin()
        bundles = make_bundles(application, ages)
        install(application, ages[0])
        compare_pip(application, bundles[-1])
        compare_buildout(application)
    TABLE.write()


def make_bundles(application: Application, ages: Sequence[int]) -> list[Path]:
    """Bundle each release, and print the sizes of the deltas to the newest."""
    files: list[Path] = []
    for age in ages:
        count = application.lock(age)
        application.release(first=not files)
        files.append(application.place / f"{age}.bundle")
        with TABLE.time(f"`bundle create`, as of {age} days ago ({count} packages)"):
            application.run(*SIGNED, files[-1])
    whole, small = files[-1], application.place / "small.bundle"
    application.run(*SIGNED, small, "--no-installer")
    TABLE.add("full bundle", f"{megabytes(small):.1f} MB; with releaser and uv {megabytes(whole):.1f} MB")
    for age, base in zip(ages[:-1], files[:-1], strict=True):
        delta = application.place / f"{age}.delta"
        application.run(*SIGNED, delta, "--base", base)
        changes = json.loads(application.run("releaser", "bundle", "diff", base, files[-1], "--json"))["changes"]
        share = megabytes(delta) / megabytes(small)
        what = f"delta of {age} days ({len(changes)} packages changed)"
        TABLE.add(what, f"{megabytes(delta):.1f} MB, {share:.0%} of the full one")
    return files


def install(application: Application, oldest_age: int) -> None:
    """Install an older bundle on an empty host, the newest one by its delta, and go back."""
    oldest = application.place / "oldest.bundle"
    first = json.loads(application.run("releaser", "list", "--json"))
    made = sorted(one["id"] for one in _releases(first))[1:]  # the first is what was there before
    application.run(*SIGNED, oldest, made[0])
    with TABLE.time("copy the full bundle to the host"):
        delta, signers = application.place / f"{oldest_age}.delta", application.place / "signers"
        (oldest, delta, signers) = application.give(oldest, delta, signers)
    place = application.host / "srv" / "shop"
    with TABLE.time("install it on an empty host without network"):
        application.run_alone(application.python, oldest, "--into", place, "--signers", signers)
    releaser = application.link
    with TABLE.time("install the delta"):
        report = application.run_alone(releaser, "bundle", "install", "--signers", signers, "--json", delta, cwd=place)
    for step in json.loads(report)["steps"]:
        if step["step"] in ("build", "tests", "health check"):
            TABLE.add(f"of that, {step['step']}", f"{step['seconds']:.1f} s")
    with TABLE.time("health check alone"):
        application.run_alone(place / ".venv/bin/python", place / "manage.py", "check", "--deploy", cwd=place)
    with TABLE.time("roll back"):
        application.run_alone(releaser, "rollback", cwd=place)


def _releases(answer: Any) -> list[dict[str, Any]]:
    return list(answer["releases"] if isinstance(answer, dict) else answer)


def compare_pip(application: Application, bundle: Path) -> None:
    """Install the same wheels by pip, with hashes required, and try the same."""
    wheels, host = application.place / "wheels", application.host / "pip"
    subprocess.check_call([sys.executable, "-m", "zipfile", "-e", bundle, wheels])
    with TABLE.time("pip: make a venv and install the same wheels"):
        application.run_alone(application.python, "-m", "venv", host)
        application.run_alone(
            host / "bin/pip", "install", "-q", "--no-index", "--find-links", wheels / "wheels",
            "--require-hashes", "-r", wheels / "requirements.txt",
        )  # fmt: skip
    try_checks(application, "pip", host / "bin/python")


def compare_buildout(application: Application) -> None:
    """Install by buildout from an archive with its download cache, as zc.sourcerelease makes one.

    zc.sourcerelease 0.4.0 is written for Python 2; zc.buildout, which its archives run on the host, is not.
    """
    tools, tree = application.place / "tools", application.place / "source" / "shop"
    (tree / "cache" / "dist").mkdir(parents=True)
    subprocess.check_call([application.python, "-m", "venv", tools])
    words = (
        "download",
        "-q",
        "-d",
        tree / "cache" / "dist",
        "zc.buildout",
        "zc.recipe.egg",
        "setuptools",
        "wheel",
        "pip",
    )
    application.run(tools / "bin/pip", *words, cwd=tree)
    for wheel in (application.place / "wheels" / "wheels").iterdir():
        shutil.copy(wheel, tree / "cache" / "dist")
    pins = application.run(application.host / "pip/bin/pip", "freeze", cwd=tree).replace("==", " = ")
    text = BUILDOUT.format(eggs="\n    ".join(PACKAGES), versions=pins)
    (tree / "buildout.cfg").write_text(text, encoding="utf-8")
    for name in ("manage.py", "settings.py", "urls.py"):
        shutil.copy(application.site / name, tree)
    archive = application.place / "shop.tgz"
    with TABLE.time("buildout: pack the download cache"), tarfile.open(archive, "w:gz") as file:
        file.add(tree, "buildout")
    TABLE.add("buildout: the archive", f"{megabytes(archive):.1f} MB")
    application.give(archive)
    with TABLE.time("buildout: unpack, and run it offline"):
        application.run_alone("tar", "-xzf", archive.name)
        host = application.host / "buildout"
        application.run_alone(application.python, "-m", "venv", "tools", cwd=host)
        needed = ("install", "-q", "--no-index", "--find-links", "cache/dist", "zc.buildout", "setuptools", "wheel")
        application.run_alone("tools/bin/pip", *needed, cwd=host)
        application.run_alone("tools/bin/buildout", "-q", cwd=host)
    try_checks(application, "buildout", host / "bin/python")


def try_checks(application: Application, what: str, python: Path) -> None:
    """Run the tests and the health check once each, as the bundle's installation does."""
    source = application.host / "srv" / "shop"
    with TABLE.time(f"{what}: the same tests and health check"):
        path = f"PYTHONPATH={source}"  # which buildout's interpreter does not look at by itself
        application.run_alone("env", path, python, "manage.py", "check", cwd=source)
        application.run_alone("env", path, python, "manage.py", "check", "--deploy", cwd=source)


if __name__ == "__main__":
    main()
