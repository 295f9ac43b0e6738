"""Four updates with commits, half of them refused, on gunicorn whose workers are replaced all the time.

Visitors never pause, and somebody looks at HEAD, at `git status` and at what the live code imports the whole time. A
worker that is started between the move of the checkout and the restart may have new code beside the packages that are
being left. That is the only mixture that may be seen, and only while that very update goes live.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import itertools
import json
import re
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.e2e.scenes import eventually
from tests.live.test_servers import SocketConnection
from tests.support.sites import TESTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.sites import SampleSite, SiteFactory

pytestmark = pytest.mark.slow

WEB_SERVERS = Path(__file__).parents[2] / "docs" / "guides" / "web-servers.md"
# The code of the site and a package of it belong together: `code 3` comes with alpha 1.3.0. A page says if they do not.
APPLICATION = """\
import pathlib
import alpha
CODE = pathlib.Path(__file__).with_name("code.txt").read_text().strip()
if "broken" in CODE:
    raise RuntimeError("this code was never to be live")
PAGE = f"{CODE}, alpha {alpha.__version__}"
if CODE != f"code {alpha.__version__.split('.')[1]}":
    PAGE += ": a mixture"

def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [PAGE.encode()]
"""
MIXTURE = re.compile(r"code (\d+), alpha 1\.(\d+)\.0: a mixture")
GREEN = "def test_code(packages):\n    assert 'broken' not in open('code.txt').read()\n"
UPDATES = 2  # that are refused, and as many that are accepted


@dataclass(frozen=True, kw_only=True)
class Look:
    """What was seen between two moments."""

    begun: float
    ended: float
    found: str


class Watch:
    """Somebody who never stops looking, until the end of the block; then there is one look more."""

    def __init__(self, look: Callable[[], str]) -> None:
        self.looks: list[Look] = []
        self.failures: list[str] = []
        self._look = look
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def _watch(self) -> None:
        while not self._done.is_set():
            self._look_once()

    def _look_once(self) -> None:
        begun = time.monotonic()
        try:
            found = self._look()
        except Exception as error:  # noqa: BLE001 - whatever goes wrong is what is looked for
            self.failures.append(f"{type(error).__name__}: {error}")
        else:
            self.looks.append(Look(begun=begun, ended=time.monotonic(), found=found))

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        self._look_once()


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
    """Serve the site as web-servers.md has it, with workers that end after three requests."""
    (config,) = re.findall(r"^```python\n(.*?)^```$", WEB_SERVERS.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
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
    site.push_commit("Serve by gunicorn")
    site.make_venv()
    return site


def _phase(site: SampleSite) -> str:
    """Return what the journal says that releaser is about."""
    try:
        return str(json.loads((site.state_dir / "journal.json").read_text(encoding="utf-8"))["phase"])
    except FileNotFoundError:
        return ""


def _when_it_went_live(checkout: Watch, before: str, after: str) -> tuple[float, float]:
    """See that HEAD and `git status` changed only while an update went live, and return when that was."""
    quiet = [state for phases, *state in map(_parsed, checkout.looks) if "committing" not in phases]
    assert [found for found, _ in itertools.groupby(quiet)] == [[before, ""], [after, ""]]
    return max(one.begun for one in checkout.looks if _parsed(one)[1] == before), time.monotonic()


def _parsed(look: Look) -> tuple[list[str], str, str]:
    """Return what the journal said before and after the look, HEAD and `git status`."""
    phases, head, status = json.loads(look.found)
    return phases, head, status


def _mixtures(watch: Watch, went_live: list[tuple[float, float]]) -> int:
    """Count the mixtures, each of which has to be new code beside the packages that are just being left."""
    found = [(one, match) for one in watch.looks if (match := MIXTURE.fullmatch(one.found))]
    for look, match in found:
        code, package = map(int, match.groups())
        begun, ended = went_live[code - 1]
        assert package == code - 1, look
        assert look.ended > begun, look
        assert look.begun < ended, look
    return len(found)


def test_no_visitor_meets_untested_code(make_site: SiteFactory) -> None:
    site = _site(make_site)
    with _gunicorn(site) as ask:
        site.releaser("init", check=0)
        code = "import sys; sys.path.insert(0, '.'); import app; print(app.PAGE)"

        def import_live() -> str:
            words: list[str | Path] = [site.link / "bin" / "python", "-c", code]
            finished = subprocess.run(words, cwd=site.path, env=site.env, capture_output=True, text=True, check=True)
            return str(finished.stdout.strip())

        def look() -> str:
            phase, head = _phase(site), site.head()
            status = site.git("--no-optional-locks", "status", "--porcelain")
            return json.dumps([[phase, _phase(site)], head, status])

        went_live: list[tuple[float, float]] = []
        with Watch(ask) as visitor, Watch(ask) as another, Watch(import_live) as importer:
            for number in range(1, UPDATES + 1):
                site.push_from_elsewhere({"code.txt": f"broken {number}\n"})
                before = site.head()
                with Watch(look) as checkout:
                    site.releaser("update", check=5)
                states = {_parsed(one)[1:] for one in checkout.looks}
                assert states == {(before, "")}, "the checkout of a refused update moved"
                assert len(checkout.looks) > 2
                site.push_from_elsewhere({"code.txt": f"code {number}\n"})
                site.publish("alpha", f"1.{number}.0")
                with Watch(look) as checkout:
                    site.releaser("update", check=0)
                went_live.append(_when_it_went_live(checkout, before, site.head()))
    assert [*visitor.failures, *another.failures, *importer.failures] == []
    assert len(visitor.looks) + len(another.looks) > 200
    mixtures = [_mixtures(watch, went_live) for watch in (visitor, another, importer)]
    print(f"{mixtures} mixtures were seen")  # noqa: T201 - shown when the test fails, or with -s
    pages = [f"code {number}, alpha 1.{number}.0" for number in range(UPDATES + 1)]
    for watch in (visitor, another, importer):
        pairs = (one.found for one in watch.looks if not MIXTURE.fullmatch(one.found))
        assert [page for page, _ in itertools.groupby(pairs)] == pages
