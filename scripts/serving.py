"""A Django site under a real server, and what its visitors feel while releaser works on it; for the demos.

Three rounds of an update, a rollback, and a release that does not start, beside the server's own restart. Visitors ask
twenty times a second. Every claim is checked; the figures are medians.
"""

import contextlib
import json
import os
import shutil
import signal
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from demo import FILES, Story, caption, expect
from traffic import Answer, Panel, Visitors, ask, draw, percentile, wait_for

QUIET = int(os.environ.get("QUIET", "60"))  # seconds
ROUNDS = int(os.environ.get("ROUNDS", "3"))
SITE = FILES | {
    ".gitignore": "__pycache__/\n/.venv\n/static\n",
    "teashop/settings.py": """\
        SECRET_KEY = "this site is for show"
        ALLOWED_HOSTS = ["testserver", "127.0.0.1"]
        ROOT_URLCONF = "teashop.urls"
        INSTALLED_APPS = ["django.contrib.staticfiles", "django.contrib.contenttypes", "django.contrib.auth"]
        STATIC_URL, STATIC_ROOT = "/static/", "../static"
        STATICFILES_DIRS = ["assets"]
        """,
    "assets/tea.css": "body { color: brown }\n",
    "teashop/wsgi.py": """\
        import os
        from django.core.wsgi import get_wsgi_application
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "teashop.settings")
        application = get_wsgi_application()
        from django.test import Client
        Client().get("/?table=1")  # no visitor meets a cold worker
        """,
    "teashop/urls.py": """\
        import os
        import django
        from django.http import HttpResponse
        from django.template import Context, Engine
        from django.urls import path

        TABLE = Engine().from_string(
            "<table>{% for tea in teas %}<tr><td>{{ tea|title }}</td><td>{{ tea|length }}</td></tr>{% endfor %}</table>"
        )
        EDITION, IS_BROKEN = 1, False
        if IS_BROKEN and "SERVED" in os.environ:
            raise RuntimeError("the tests do not see this")

        def page(request):
            table = TABLE.render(Context({"teas": [f"tea number {number}" for number in range(400)]}))
            return HttpResponse(f"edition {EDITION}, Django {django.__version__}" + (table if request.GET else ""))

        urlpatterns = [path("", page)]
        """,
    "teashop/tests.py": """\
        from django.test import SimpleTestCase

        class FrontPage(SimpleTestCase):
            def test_shows_the_edition(self):
                self.assertContains(self.client.get("/"), "edition")
        """,
}


class Figures(NamedTuple):
    """What visitors felt of an action, and the seconds from its beginning until all processes were new."""

    requests: int
    failed: int
    slow: float  # the 99th percentile, in seconds
    slowest: float
    change: float


class Serving(Story):
    """The site; a demo says how its server is started, asked to restart, and which processes it has."""

    has_session = True
    server = ""
    dependency = ""  # of the site
    restart = ""  # the setting
    health_timeout = "10s"
    picture = ""

    def __init__(self, place: Path) -> None:
        super().__init__(place)
        self.place, self.outer = place, self.site.parent
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.port = listener.getsockname()[1]
        self.visitors = Visitors(self.port, place / "answers")
        self.panels: list[Panel] = []
        self.env["RELEASER_AUDIT"] = "off"

    def files(self) -> dict[str, str]:
        """Return the files that the server needs in the site."""
        return {}

    def start(self) -> None:
        """Start the server."""

    def restart_itself(self) -> None:
        """Restart the server by its own means, and return at once."""

    def list_processes(self) -> set[int]:
        """Return the processes that serve the site."""
        return set()

    def end(self) -> None:
        """End the server."""

    def set_up(self) -> None:
        """Make the site, let releaser adopt it, and start its server."""
        packages = '"django~=5.2.0"' + (f', "{self.dependency}"' if self.dependency else "")
        toml = FILES["pyproject.toml"].replace('"django~=5.2.0"', packages)
        self.make_checkout({**SITE, "pyproject.toml": toml, **self.files()})
        self.run(f"git clone --quiet {self.remote} {self.colleague}")
        url = f"http://127.0.0.1:{self.port}/"
        lines = ["ENVIRONMENT=local", f"RESTART={self.restart}", f"HEALTH_CHECK={url}"]
        lines.append(f"HEALTH_TIMEOUT={self.health_timeout}")
        (self.outer / ".env").write_text("".join(f"RELEASER_{line}\n" for line in lines))
        self.env |= {"RELEASER_RESTART": "none", "RELEASER_HEALTH_CHECK": ""}  # its server does not run yet
        self.run("releaser init")
        del self.env["RELEASER_RESTART"], self.env["RELEASER_HEALTH_CHECK"]
        self.start()
        expect(wait_for(self.port), f"{self.server} does not start")

    def push_edition(self, edition: int, *, is_broken: bool = False) -> None:
        """Push a commit of another person."""
        self.run("git pull --quiet", self.colleague)
        file = self.colleague / "teashop/urls.py"
        lines = file.read_text().splitlines(keepends=True)
        new = f"EDITION, IS_BROKEN = {edition}, {is_broken}\n"
        file.write_text("".join(new if line.startswith("EDITION") else line for line in lines))
        self.run(f"git commit --quiet --all -m 'Edition {edition}'", self.colleague)
        self.run("git push --quiet", self.colleague)

    def measure(self, title: str, act: Callable[[], object], begins: str = "journal") -> Figures:
        """Do something while visitors come, and return what they felt."""
        before, moments, is_over = self.list_processes(), dict[str, float](), threading.Event()
        journal = self.outer / ".releaser/teashop/journal.json"

        def watch() -> None:
            while not is_over.is_set() or "all new" not in moments:
                with contextlib.suppress(OSError, ValueError):
                    if "change" not in moments and json.loads(journal.read_text())["phase"] == "changing":
                        moments["change"] = time.time()
                if not before & self.list_processes():
                    moments.setdefault("all new", time.time())
                if is_over.wait(0.03) and (time.time() > ended + 15 or "all new" in moments):
                    return

        began = ended = time.time()
        if begins == "action":
            moments["change"] = began
        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        act()
        ended = time.time()
        is_over.set()
        watcher.join()
        until = max(ended, moments.get("all new", ended)) + 1
        answers = self.visitors.answers(began, until)
        slow = percentile([answer for answer in answers if answer.page])
        change = moments["all new"] - moments["change"] if len(moments) == 2 else 0.0
        self.panels.append(Panel(title, began, answers, moments))
        failed = sum(not answer.page for answer in answers)
        return Figures(len(answers), failed, slow, max(answer.seconds for answer in answers), change)

    def run_round(self, number: int) -> dict[str, Figures]:
        """Restart, update, roll back, and try a release that does not start; return the figures of each."""
        rows = {}
        caption(f"Round {number}: the server's own restart, with `collectstatic`.")
        rows["its own restart"] = self.measure("the server's own restart", self.do_bare_restart, "action")
        edition, old = 2 * number, self.live_django()
        caption("An update: a newer Django, and a new edition of the page.")
        self.push_edition(edition)
        rows["an update"] = self.measure("releaser update", lambda: self.show("releaser update"))
        self.expect_page(f"edition {edition}, Django {self.live_django()}")
        expect(self.live_django() != old, "the update brought no newer Django")
        caption("A rollback: the older Django and the earlier edition are back.")
        rows["a rollback"] = self.measure("releaser rollback", lambda: self.show("releaser rollback"))
        expect(self.live_django() == old, "the rollback did not bring back the older Django")
        page = self.expect_page("")
        caption("A release passes its tests, but does not start under the server. It goes back by itself.")
        self.run("releaser unhold --all")
        self.push_edition(edition + 1, is_broken=True)
        broken = self.measure("a release that does not start", lambda: self.show("releaser update", exit_code=6))
        rows["a broken release"] = broken
        self.expect_page(page)
        self.run("releaser unhold --all")
        return rows

    def do_bare_restart(self) -> None:
        """Collect the static files and restart the server, without releaser."""
        self.run(".venv/bin/python manage.py collectstatic --noinput")
        self.restart_itself()

    def expect_page(self, page: str) -> str:
        """Expect one page of all processes."""
        pages = {ask(self.port).page for _ in range(20)}
        expect(len(pages) == 1 and (not page or pages == {page}), f"the site shows {pages}, not {page!r}")
        return next(iter(pages))

    def tell(self) -> None:
        """Tell the story, print the figures and draw the picture."""
        began = time.monotonic()
        caption(f"A Django site under {self.server}, whose packages are some months old. releaser adopts it.")
        self.set_up()
        rounds = []
        with self.visitors:
            caption(f"Visitors ask {QUIET} seconds long, and nothing happens.")
            since = time.time()
            time.sleep(QUIET)
            quiet = self.visitors.answers(since, since + QUIET)
            expect(all(answer.page for answer in quiet), "requests failed while nothing happened")
            for number in range(1, ROUNDS + 1):
                rounds.append(self.run_round(number))
        self.print_figures(quiet, rounds)
        if self.picture:
            last = self.panels[-len(rounds[0]) :]
            Path(self.picture).write_text(draw(last, f"Requests to a Django site under {self.server}, 20 a second"))
            print(f"Drew {self.picture}.")
        print(f"\n{time.monotonic() - began:.0f} seconds, and every claim above was checked.")

    def print_figures(self, quiet: list[Answer], rounds: list[dict[str, Figures]]) -> None:
        """Print the median of each figure."""
        usual = percentile(quiet)
        caption(f"What visitors felt: medians of {ROUNDS} rounds. All new: from the journal's `changing` on.")
        print(f"{'':<20}{'requests':>9}{'failed':>8}{'99 % within':>13}{'of quiet':>10}{'slowest':>10}{'all new':>10}")
        print(f"{'a quiet minute':<20}{len(quiet):>9}{0:>8}{usual * 1000:>10.0f} ms{1:>10.2f}")
        for name in rounds[0]:
            columns = zip(*(each[name] for each in rounds), strict=True)
            requests, failed, slow, slowest, change = map(statistics.median, columns)
            after = f"{change:>8.1f} s" if change else f"{'-':>10}"
            words = f"{slow * 1000:>10.0f} ms{slow / usual:>10.2f}{slowest * 1000:>7.0f} ms{after}"
            print(f"{name:<20}{requests:>9.0f}{failed:>8.0f}{words}")


def find_processes(word: str) -> set[int]:
    """Return the processes whose command line has a word, but for this one."""
    found = set()
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and word.encode() in (entry / "cmdline").read_bytes():
                found.add(int(entry.name))
    return found - {os.getpid()}


def run_demo(kind: type[Serving]) -> None:
    """Tell the story of a demo in a temporary directory."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    place = Path(tempfile.mkdtemp(prefix="releaser-demo-"))
    serving = kind(place)
    try:
        serving.tell()
    finally:
        serving.end()
        shutil.rmtree(place, ignore_errors=True)
