"""The story of `make demo`: a small Django site, an update, a refused update and a rollback. Every claim is checked.

It happens in a temporary directory, which goes away at the end unless KEEP=1. Packages come from the usual index.
"""

import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

OLD = ("django==5.2.8", "sqlparse==0.5.3", "asgiref==3.10.0")  # nobody has updated the site for some months
FILES = {
    "pyproject.toml": """\
        [project]
        name = "teashop"
        version = "1.0"
        requires-python = ">=3.11"
        dependencies = ["django~=5.2.0"]
        """,
    ".gitignore": "__pycache__/\n/.venv\n",
    "tmp/.gitignore": "restart.txt\n",
    "manage.py": """\
        import os
        import sys
        from django.core.management import execute_from_command_line
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "teashop.settings")
        execute_from_command_line(sys.argv)
        """,
    "teashop/__init__.py": "",
    "teashop/settings.py": """\
        SECRET_KEY = "this site is for show"
        ALLOWED_HOSTS = ["testserver"]
        ROOT_URLCONF = "teashop.urls"
        """,
    "teashop/urls.py": """\
        from django.http import HttpResponse
        from django.urls import path

        CENTS = 1250
        urlpatterns = [path("", lambda request: HttpResponse(f"Darjeeling: EUR {CENTS / 100:.2f}"))]
        """,
    "teashop/tests.py": """\
        from django.test import SimpleTestCase

        class FrontPage(SimpleTestCase):
            def test_shows_the_price(self):
                self.assertContains(self.client.get("/"), "Darjeeling: EUR 12.50")
        """,
}


def environment(home: Path) -> dict[str, str]:
    """Return an environment in which no setting of git, Django, releaser or a venv changes the story."""
    strange = ("GIT_", "DJANGO_", "RELEASER_", "PYTHONPATH", "VIRTUAL_ENV", "UV_PROJECT")
    env = {name: value for name, value in os.environ.items() if not name.startswith(strange)}
    (home / "gitconfig").write_text("[user]\nname = Ada\nemail = ada@example.org\n[init]\ndefaultBranch = main\n")
    # uv passes over interpreters of venvs, so the Python below this venv is named.
    programs = [str(Path(sys.executable).parent), str(Path(sys.executable).resolve().parent)]
    return env | {
        "PATH": os.pathsep.join([*programs, env.get("PATH", os.defpath)]),
        "GIT_CONFIG_GLOBAL": str(home / "gitconfig"),
        "GIT_CONFIG_NOSYSTEM": "1",
        "UV_PYTHON_DOWNLOADS": "never",
    }


class Story:
    """The checkout of the site, its remote, and a colleague's clone.

    With `has_session`, what is shown runs in a session of its own, as by cron.
    """

    has_session = False

    def __init__(self, place: Path) -> None:
        self.site, self.remote, self.colleague = place / "server/teashop", place / "remote.git", place / "colleague"
        self.env = environment(place)

    def run(self, command: str, cwd: Path | None = None) -> str:
        """Run a command quietly, and return what it prints."""
        done = subprocess.run(
            shlex.split(command), cwd=cwd or self.site, env=self.env, capture_output=True, text=True, check=False
        )
        expect(done.returncode == 0, f"`{command}` ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout.strip()

    def show(self, command: str, *, exit_code: int = 0) -> None:
        """Show a command and what it prints."""
        print(f"$ {command}", flush=True)
        stderr = None if sys.stdout.isatty() else subprocess.STDOUT  # in order with stdout
        words, alone = shlex.split(command), self.has_session
        ended = subprocess.run(words, cwd=self.site, env=self.env, stderr=stderr, start_new_session=alone, check=False)
        if exit_code:
            print(f"(exit code {ended.returncode})", flush=True)
        expect(ended.returncode == exit_code, f"`{command}` ended with {ended.returncode}, not {exit_code}")

    def live_django(self) -> str:
        """Return the version of Django in the live venv."""
        return self.run(".venv/bin/python -m django --version")

    def pushed_django(self) -> str:
        """Return the version of Django in the uv.lock of the remote."""
        lock = self.run("git show main:uv.lock", self.remote)
        return lock.partition('name = "django"\nversion = "')[2].partition('"')[0]

    def set_up(self) -> None:
        """Make the site as it is before releaser comes, with its settings."""
        self.make_checkout(FILES)
        (self.site.parent / ".env").write_text("RELEASER_ENVIRONMENT=local\n")

    def make_checkout(self, files: dict[str, str], pins: tuple[str, ...] = OLD) -> None:
        """Make a checkout with these files, its remote, an old lock and its venv."""
        for name, text in files.items():
            file = self.site / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(textwrap.dedent(text))
        self.run("uv lock " + " ".join(f"--upgrade-package {pin}" for pin in pins))
        self.run("uv sync --frozen")
        self.run(f"git init --quiet --bare {self.remote}")
        for words in ("init --quiet", "add --all", "commit --quiet -m 'Sell tea'", f"remote add origin {self.remote}"):
            self.run(f"git {words}")
        self.run("git push --quiet --set-upstream origin main")

    def push_from_colleague(self) -> None:
        """Push a commit of another person, which breaks the tests."""
        self.run(f"git clone --quiet {self.remote} {self.colleague}")
        file = self.colleague / "teashop/urls.py"
        file.write_text(file.read_text().replace("/ 100", "/ 10"))
        self.run("git commit --quiet --all -m 'Round the prices'", self.colleague)
        self.run("git push --quiet", self.colleague)

    def tell(self) -> None:
        """Tell the story."""
        began = time.monotonic()
        caption("A Django site on a server: a checkout with uv.lock and .venv. Its packages are some months old.")
        self.set_up()
        self.show(".venv/bin/python -m django --version")

        caption("Adopt it: the venv becomes the first release, as it is, and .venv a symlink to it.")
        self.show("releaser init -v")
        expect((self.site / ".venv").is_symlink(), ".venv is no symlink")
        old = self.live_django()
        expect(f"django=={old}" in OLD, "init changed a package")

        caption("Update it: newer packages go into a new venv. It goes live only if the site's tests pass on it.")
        self.show("releaser update -v")
        new = self.live_django()
        expect(new not in (old, ""), "the update brought no newer Django")
        expect(self.pushed_django() == new, "the new lock was not pushed")
        expect((self.site / "tmp/restart.txt").exists(), "the site was not restarted")

        caption("Go back: nothing is built. The older lock is pushed, and updates skip the versions that were removed.")
        self.show("releaser rollback -v")
        expect(self.live_django() == self.pushed_django() == old, "the rollback did not bring back the first release")

        caption("A colleague pushes a commit that breaks the tests. It is refused, and the live site does not change.")
        self.push_from_colleague()
        link, head = (self.site / ".venv").readlink(), self.run("git rev-parse HEAD")
        self.show("releaser update -v", exit_code=5)
        expect((self.site / ".venv").readlink() == link, "the refused update moved the symlink")
        expect(self.run("git rev-parse HEAD") == head, "the refused update moved the checkout")
        expect(self.run("git status --porcelain") == "", "the refused update left changes in the checkout")

        caption("Look at it: the releases, and one screen about the site.")
        self.show("releaser list")
        rows = json.loads(self.run("releaser list --json"))
        expect([row["state"] for row in rows] == ["failed", "rolled-back", "live"], "the releases are not as told")
        self.show("releaser status", exit_code=10)
        print(f"\nThat is all of it: {time.monotonic() - began:.0f} seconds, and every claim above was checked.")


def caption(text: str) -> None:
    """Print a caption between two commands."""
    text = textwrap.fill(text, 88)
    print(f"\n\033[1m{text}\033[0m\n" if sys.stdout.isatty() and "NO_COLOR" not in os.environ else f"\n{text}\n")


def expect(condition: object, otherwise: str) -> None:
    """End the demo unless the condition holds."""
    if not condition:
        sys.exit(f"\nThe demo went wrong: {otherwise}")


def main() -> None:
    """Tell the story in a temporary directory."""
    place = Path(tempfile.mkdtemp(prefix="releaser-demo-"))
    try:
        Story(place).tell()
    finally:
        if os.environ.get("KEEP") == "1":
            print(f"Kept: {place / 'server/teashop'}")
        else:
            shutil.rmtree(place, ignore_errors=True)


if __name__ == "__main__":
    main()
