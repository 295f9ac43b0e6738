"""The figures of `make demo-gunicorn`: requests to a Django site under gunicorn while releaser works on it.

Another process asks for the page all the time: during a restart without releaser, an update, a rollback, and a release
that is broken. Every claim is checked. Packages come from the usual index.
"""

import contextlib
import http.client
import itertools
import json
import multiprocessing
import os
import shlex
import shutil
import signal
import socket
import sys
import tempfile
import textwrap
import time
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import NamedTuple

from demo import FILES, OLD, Story, caption, expect

SITE = FILES | {
    "pyproject.toml": FILES["pyproject.toml"].replace('"django~=5.2.0"', '"django~=5.2.0", "gunicorn"'),
    "teashop/settings.py": FILES["teashop/settings.py"].replace('"testserver"', '"testserver", "127.0.0.1"'),
    "teashop/wsgi.py": """\
        import os
        from django.core.wsgi import get_wsgi_application
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "teashop.settings")
        application = get_wsgi_application()
        import teashop.urls
        """,
    "teashop/urls.py": """\
        import os
        import django
        from django.http import HttpResponse
        from django.urls import path

        EDITION, IS_BROKEN = 1, False

        def page(request):
            if IS_BROKEN and "gunicorn" in os.environ.get("SERVER_SOFTWARE", ""):
                raise RuntimeError("the tests do not see this")
            return HttpResponse(f"edition {EDITION}, Django {django.__version__}")

        urlpatterns = [path("", page)]
        """,
    "teashop/tests.py": """\
        from django.test import SimpleTestCase

        class FrontPage(SimpleTestCase):
            def test_shows_the_edition(self):
                self.assertContains(self.client.get("/"), "edition")
        """,
}
PROCESSES = 3  # gunicorn and its two workers
# gunicorn deletes its file when it ends; a process id might be that of a zombie.
RESTART = """\
cd {site}
date +%s.%N >> ../restarts
if [ -e ../gunicorn.pid ]; then
    kill -TERM "$(cat ../gunicorn.pid)"
    while [ -e ../gunicorn.pid ]; do sleep 0.05; done
fi
.venv/bin/gunicorn --workers 2 --bind 127.0.0.1:{port} --pid ../gunicorn.pid --daemon --log-file ../log teashop.wsgi
for attempt in $(seq 200); do
    .venv/bin/python -c 'import socket; socket.create_connection(("127.0.0.1", {port}))' 2> /dev/null && break
done
date +%s.%N >> ../restarts
"""


class Answer(NamedTuple):
    """What a request got: when it began and ended, and the page, empty if it failed."""

    began: float
    ended: float
    page: str


def ask(port: int) -> Answer:
    """Ask for the page once, over a new connection."""
    began, page = time.time(), ""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
        connection.request("GET", "/")
        response = connection.getresponse()
        page = response.read().decode() if response.status == http.HTTPStatus.OK else ""
    return Answer(began, time.time(), page)


def keep_asking(port: int, record: Path, stop: Event) -> None:
    """Ask again and again, and write down each answer."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with record.open("w") as file:
        while not stop.wait(0.01):
            file.write(json.dumps(ask(port)) + "\n")
            file.flush()


class Trial(Story):
    """The site under gunicorn, and what its visitors see."""

    def __init__(self, place: Path) -> None:
        super().__init__(place)
        self.outer = self.site.parent
        self.record = place / "answers"
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.port = listener.getsockname()[1]

    def set_up(self) -> None:
        """Make the site, let releaser adopt it, and start gunicorn."""
        for name, text in SITE.items():
            file = self.site / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(textwrap.dedent(text))
        self.run("uv lock " + " ".join(f"--upgrade-package {pin}" for pin in OLD))
        self.run("uv sync --frozen")
        self.run(f"git init --quiet --bare {self.remote}")
        for words in ("init --quiet", "add --all", "commit --quiet -m 'Sell tea'", f"remote add origin {self.remote}"):
            self.run(f"git {words}")
        self.run("git push --quiet --set-upstream origin main")
        self.run(f"git clone --quiet {self.remote} {self.colleague}")
        (self.outer / "restart.sh").write_text(RESTART.format(site=shlex.quote(str(self.site)), port=self.port))
        url = f"http://127.0.0.1:{self.port}/"
        lines = ("ENVIRONMENT=local", "RESTART='sh ../restart.sh'", f"HEALTH_CHECK={url}", "HEALTH_TIMEOUT=3s")
        (self.outer / ".env").write_text("".join(f"RELEASER_{line}\n" for line in lines))
        self.run("releaser init")
        self.run("sh ../restart.sh")

    def push_edition(self, edition: int, *, is_broken: bool = False) -> None:
        """Push a commit of another person."""
        self.run("git pull --quiet", self.colleague)
        file = self.colleague / "teashop/urls.py"
        lines = file.read_text().splitlines(keepends=True)
        new = f"EDITION, IS_BROKEN = {edition}, {is_broken}\n"
        file.write_text("".join(new if line.startswith("EDITION") else line for line in lines))
        self.run(f"git commit --quiet --all -m 'Edition {edition}'", self.colleague)
        self.run("git push --quiet", self.colleague)

    def answers(self) -> list[Answer]:
        """Return the answers until now."""
        lines = self.record.read_text().splitlines(keepends=True) if self.record.exists() else []
        return [Answer(*json.loads(line)) for line in lines if line.endswith("\n")]

    def measure(self, title: str, command: str, edition: int, *, exit_code: int = 0, restarts: int = 1) -> str:
        """Run a command that ends with an edition live, while visitors come; return a row of the table."""
        earlier = ask(self.port).page
        (self.outer / "restarts").write_text("")
        began = time.time()
        self.show(command, exit_code=exit_code)
        ended = time.time()
        times = [float(line) for line in (self.outer / "restarts").read_text().split()]
        expect(len(times) == 2 * restarts, f"gunicorn was restarted {len(times) / 2:g} times, not {restarts}")
        while not (answers := self.answers()) or answers[-1].began < ended:
            time.sleep(0.05)
        answers = [answer for answer in answers if began <= answer.ended and answer.began <= ended]
        failed = [answer for answer in answers if not answer.page]
        outside = [answer for answer in failed if answer.ended < times[0] or answer.began > times[-1]]
        expect(not outside, f"{len(outside)} requests failed while nothing restarted")
        pages, last = {answer.page for answer in answers} - {""}, f"edition {edition}, Django {self.live_django()}"
        expect(pages == {earlier, last}, f"visitors saw {sorted(pages)}, not {earlier!r} and then {last!r}")
        expect({ask(self.port).page for _ in range(20)} == {last}, f"the site does not show {last!r}")
        (live,) = (row for row in json.loads(self.run("releaser list --json")) if row["live"])
        expect(len(live["in_use_by"]) >= PROCESSES, f"gunicorn does not use the live release: {live['in_use_by']}")
        slowest = max(answer.ended - answer.began for answer in answers)
        good = [began, *(answer.ended for answer in answers if answer.page), ended]
        outage = max(after - before for before, after in itertools.pairwise(good))
        return f"{title:<28}{len(answers):>9}{len(failed):>9}{slowest:>10.2f} s{outage:>10.2f} s    {last}"

    def tell(self) -> None:
        """Tell the story."""
        began = time.monotonic()
        caption("A Django site under gunicorn, with two workers. Its packages are some months old. releaser adopts it.")
        self.set_up()
        caption("Another process asks for the page all the time. First, a restart without releaser, for comparison.")
        stop = multiprocessing.Event()
        visitors = multiprocessing.Process(target=keep_asking, args=(self.port, self.record, stop), daemon=True)
        visitors.start()
        try:
            rows = [self.measure("a restart without releaser", "sh ../restart.sh", 1)]
            first = self.live_django()
            caption("An update: a newer Django, and a new edition of the page.")
            self.push_edition(2)
            rows.append(self.measure("an update", "releaser update", 2))
            expect(self.live_django() != first, "the update brought no newer Django")
            caption("A rollback: the older Django and the first edition are back.")
            rows.append(self.measure("a rollback", "releaser rollback", 1))
            expect(self.live_django() == first, "the rollback did not bring back the older Django")
            caption("A third edition passes its tests, but fails under gunicorn. It goes back by itself.")
            self.push_edition(3, is_broken=True)
            rows.append(self.measure("a broken release", "releaser update", 1, exit_code=6, restarts=2))
        finally:
            stop.set()
            visitors.join()
        caption("What the visitors saw. Requests failed only between the start of a restart and the end of the last.")
        print(f"{'':<28}{'requests':>9}{'failed':>9}{'slowest':>12}{'no page':>12}    page at the end", *rows, sep="\n")
        print(f"\n{time.monotonic() - began:.0f} seconds, and every claim above was checked.")

    def end(self) -> None:
        """End gunicorn: the master, and its workers with it."""
        file = self.outer / "gunicorn.pid"
        with contextlib.suppress(OSError, ValueError):
            os.kill(int(file.read_text()), signal.SIGTERM)
            deadline = time.monotonic() + 10
            while file.exists() and time.monotonic() < deadline:
                time.sleep(0.05)
            if file.exists():
                os.killpg(int(file.read_text()), signal.SIGKILL)


def main() -> None:
    """Tell the story in a temporary directory."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    place = Path(tempfile.mkdtemp(prefix="releaser-demo-"))
    trial = Trial(place)
    try:
        trial.tell()
    finally:
        trial.end()
        shutil.rmtree(place, ignore_errors=True)


if __name__ == "__main__":
    main()
