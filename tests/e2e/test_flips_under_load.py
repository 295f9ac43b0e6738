"""While releases come and go, whoever starts the site's Python finds a whole environment, every time."""

from __future__ import annotations

import subprocess
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.support.sites import SampleSite, SiteFactory

CHANGES = 10


class Visitor(threading.Thread):
    """Starts the live Python again and again, and imports a package of the lock."""

    def __init__(self, site: SampleSite) -> None:
        super().__init__()
        self.visits = 0
        self.failures: list[str] = []
        self._cwd = site.path
        self._words = [f"{site.link.name}/bin/python", "-c", "import alpha"]
        self._env = site.environment()
        self._closed = threading.Event()

    def run(self) -> None:
        while not self._closed.is_set():
            try:
                subprocess.run(self._words, cwd=self._cwd, env=self._env, capture_output=True, text=True, check=True)
            except subprocess.CalledProcessError as error:
                self.failures.append(f"{error}: {error.stderr}")
            except OSError as error:
                self.failures.append(f"it could not even be started: {error}")
            self.visits += 1

    def close(self) -> None:
        self._closed.set()
        self.join(timeout=60)


def test_not_one_visitor_fails_during_ten_updates_and_rollbacks(make_site: SiteFactory) -> None:
    site = make_site(venv=True, settings={"keep": 0, "keep_within": 0})
    visitor = Visitor(site)
    visitor.start()
    seen = set()
    try:
        for number in range(CHANGES):
            before = visitor.visits
            if number % 3 == 2:
                site.releaser("rollback", check=0)
            else:
                site.publish("alpha", f"1.{number}.1")
                site.releaser("update", check=0)
            seen.add(site.live_id())
            assert visitor.visits > before
    finally:
        visitor.close()
    assert visitor.failures == []
    assert len(seen) > CHANGES / 2
