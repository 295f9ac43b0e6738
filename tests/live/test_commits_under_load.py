"""Ten updates with commits, half of them refused, on gunicorn whose workers are replaced all the time.

Visitors never pause, and somebody looks at HEAD, at `git status` and at what the live code imports the whole time.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import re
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from tests.e2e.scenes import eventually
from tests.live.test_servers import SocketConnection
from tests.support.sites import TESTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.sites import SampleSite, SiteFactory

OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"
# The code of the site and a package of it must belong together: `code.txt` names the version of alpha that it needs.
APPLICATION = """\
import pathlib
import alpha
CODE = pathlib.Path(__file__).with_name("code.txt").read_text().strip()
if "broken" in CODE:
    raise RuntimeError("this code was never to be live")

def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{CODE} {alpha.__version__}".encode()]
"""
GREEN = "def test_code(packages):\n    assert 'broken' not in open('code.txt').read()\n"
REFUSED, ACCEPTED = 5, 5


class Watch:
    """Somebody who never stops looking; everything that was seen is counted once."""

    def __init__(self, look: Callable[[], str]) -> None:
        self.seen: list[str] = []
        self.count = 0
        self.failures: list[str] = []
        self._look = look
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def _watch(self) -> None:
        while not self._done.is_set():
            try:
                found = self._look()
            except Exception as error:  # noqa: BLE001 - whatever goes wrong is what is looked for
                self.failures.append(f"{type(error).__name__}: {error}")
            else:
                if not self.seen or self.seen[-1] != found:
                    self.seen.append(found)
            self.count += 1

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()


def _publish_gunicorn(site: SampleSite) -> None:
    """Offer the gunicorn that development has, and what it needs, on the site's own index."""
    for name in ("gunicorn", "packaging"):
        found = importlib.metadata.distribution(name)
        modules = {
            str(file): Path(str(found.locate_file(file))).read_text(encoding="utf-8")
            for file in found.files or ()
            if file.suffix == ".py" and str(file).startswith(f"{name}/")
        }
        site.index.publish(name, found.version, modules=modules)


@contextlib.contextmanager
def _gunicorn(site: SampleSite) -> Iterator[Callable[[], str]]:
    """Serve the site as operations.md has it, with workers that end after three requests."""
    (config,) = re.findall(r"^```python\n(.*?)^```$", OPERATIONS.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    (site.path / "tmp" / "gunicorn.conf.py").write_text(f"{config}\nmax_requests = 3\n", encoding="utf-8")
    place = site.path / "tmp" / "gunicorn.sock"

    def ask() -> str:
        with contextlib.closing(SocketConnection(place)) as connection:
            connection.request("GET", "/")
            answer = connection.getresponse()
            page = answer.read().decode()
            if answer.status != 200:
                message = f"status {answer.status}: {page[:200]}"
                raise RuntimeError(message)
            return page

    words: list[str | Path] = [
        site.link / "bin" / "python",
        "-m",
        "gunicorn",
        "--config",
        "tmp/gunicorn.conf.py",
        "app:application",
    ]
    log = site.outer / "gunicorn.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            words, cwd=site.path, env=site.env, stdout=output, stderr=output, start_new_session=True
        )
    try:
        eventually(lambda: _answers(ask), "an answer")
        yield ask
    finally:
        process.terminate()
        process.wait(60)
        print(log.read_text(encoding="utf-8")[-3000:])  # noqa: T201 - shown when the test fails


def _answers(ask: Callable[[], str]) -> bool:
    with contextlib.suppress(OSError, RuntimeError):
        return bool(ask())
    return False


def _site(make_site: SiteFactory) -> SampleSite:
    site = make_site(
        dependencies=["alpha", "beta", "gunicorn", "packaging"],
        packages={"alpha": "1.0.0", "beta": "1.0.0", "gunicorn": "1", "packaging": "1"},
        files={"app.py": APPLICATION, "code.txt": "code 0\n", TESTS: GREEN, "tmp/.gitignore": "*\n!.gitignore\n"},
        settings={
            "restart": ["sh", "-c", "kill -HUP $(cat tmp/gunicorn.pid)"],
            "health_check": "http://site.example.org/",
            "culprits": "off",
        },
    )
    site.write_dotenv({"RELEASER_HEALTH_SOCKET": str(site.path / "tmp" / "gunicorn.sock")})
    _publish_gunicorn(site)
    site.uv("lock", "--quiet", "--upgrade")
    site.commit("Serve by gunicorn")
    site.push()
    site.make_venv()
    return site


def test_no_visitor_meets_untested_code(make_site: SiteFactory) -> None:
    site = _site(make_site)
    with _gunicorn(site) as ask:
        site.releaser("init", check=0)
        code = "import sys; sys.path.insert(0, '.'); import app; print(app.CODE)"

        def import_live() -> str:
            words: list[str | Path] = [site.link / "bin" / "python", "-c", code]
            finished = subprocess.run(words, cwd=site.path, env=site.env, capture_output=True, text=True, check=True)
            return str(finished.stdout.strip())

        def look() -> str:
            status = site.git("--no-optional-locks", "status", "--porcelain")
            return json.dumps([site.head(), status])

        allowed = {"code 0"}
        with Watch(ask) as visitor, Watch(ask) as another, Watch(import_live) as importer:
            for number in range(1, max(REFUSED, ACCEPTED) + 1):
                site.push_from_elsewhere({"code.txt": f"broken {number}\n"})
                with Watch(look) as checkout:
                    site.releaser("update", check=5)
                assert checkout.seen == [json.dumps([site.head(), ""])], "the checkout of a refused update moved"
                assert checkout.count > 1
                site.push_from_elsewhere({"code.txt": f"code {number}\n"})
                site.publish("alpha", f"1.{number}.0")
                site.releaser("update", check=0)
                allowed.add(f"code {number}")
                assert site.git("status", "--porcelain") == ""
    assert [*visitor.failures, *another.failures, *importer.failures] == []
    assert visitor.count + another.count > 200
    assert set(importer.seen) == allowed
    last = max(REFUSED, ACCEPTED)
    assert visitor.seen[-1] == f"code {last} 1.{last}.0"
