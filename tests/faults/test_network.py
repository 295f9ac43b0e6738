"""The network fails: package index, git remote, mail server. Live stays what it is, and every run keeps its limits."""

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import get_args

import pytest

from tests.e2e.scenes import from_server
from tests.faults.invariants import Witness, unless
from tests.faults.scenes import Scenes
from tests.faults.tally import Tallies
from tests.support.commands import Finished
from tests.support.simple_index import Mood, SimpleIndex
from tests.support.sites import SampleSite, SiteFactory
from tests.support.smtp import STAGES, mail_server, mute_server
from tests.support.templates import Templates

LONGEST = 40.0  # seconds that a run takes at the most with a limit of a few seconds, on a busy machine
UPDATED = r"^. site: updated"
NEWER = {"alpha": "1.1.0"}


def timed_update(site: SampleSite, *, code: int, **limits: str) -> tuple[Finished, list[str]]:
    """Run an update; name what it should not have done: end with another code, or not in time.

    The `limits` are those of what hangs: what works may take its time on a busy machine.
    """
    began = time.monotonic()
    finished = site.releaser("update", env={f"RELEASER_{name.upper()}_TIMEOUT": limits[name] for name in limits})
    seconds = time.monotonic() - began
    broken = unless(finished.returncode == code, f"it should have ended with {code}: {finished}")
    return finished, broken + unless(seconds < LONGEST, f"it took {seconds:.0f} s")


def failure_mailed_once(site: SampleSite) -> list[str]:
    mails = [str(mail["Subject"]) for mail in site.outbox_mails()]
    return unless(sum("failed" in one for one in mails) == 1, f"the failure should have been mailed once: {mails}")


# The package index


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, templates: Templates) -> tuple[SampleSite, SimpleIndex]:
    """Make an adopted site that gets its packages by HTTP, and for which there is a newer one; tests get copies."""
    site = SiteFactory(tmp_path_factory.mktemp("shop"), templates)()
    index = SimpleIndex(site.index.path)
    with index.serving():
        from_server(site, index.url, lock=True)
        site.adopt()
    site.publish("alpha", "1.1.0")
    return site, index


def copied(like: SampleSite, base: Path) -> SampleSite:
    """Copy the site; uv finds nothing that an earlier test has fetched."""
    site = like.copy(base)
    site.env |= {"UV_HTTP_RETRIES": "1", "UV_CACHE_DIR": str(base / "cache")}
    return site


MOODS = [mood for mood in get_args(Mood) if mood not in ("is well", "is slow")]


def test_an_index_that_fails_in_any_way(
    shop: tuple[SampleSite, SimpleIndex], tmp_path: Path, tally: Tallies, all_points: bool
) -> None:
    points, (like, index) = tally("network: package index fails"), shop
    for mood in MOODS if all_points else ("hangs at a wheel", "cuts a wheel"):
        site = copied(like, tmp_path / mood)
        witness, live = Witness.of(site), site.live_id()
        with index.serving(mood):
            _, broken = timed_update(site, code=4, uv="5s")
        broken += unless(site.live_id() == live, "live has changed")
        broken += witness.after_command() + failure_mailed_once(site)
        with index.serving():
            finished = site.releaser("update")
        broken += witness.after_update(finished, told=UPDATED, versions=NEWER)
        points.add(command="update", point=f"it {mood}", broken=broken)
    points.check()


def test_an_index_that_is_slow(shop: tuple[SampleSite, SimpleIndex], tmp_path: Path, tally: Tallies) -> None:
    points, (like, index) = tally("network: package index is slow"), shop
    site = copied(like, tmp_path)
    witness = Witness.of(site)
    with index.serving("is slow"):
        finished, broken = timed_update(site, code=0)
    broken += witness.after_update(finished, told=UPDATED, versions=NEWER)
    points.add(command="update", point="in time", broken=broken)
    points.check()


# The git remote


@pytest.fixture
def site(scenes: Scenes, tmp_path: Path) -> SampleSite:
    """Copy a site with a newer package and a commit to pull."""
    return scenes.copy("update", tmp_path)


Outage = Callable[[SampleSite], contextlib.AbstractContextManager[None]]


@contextlib.contextmanager
def gone(site: SampleSite) -> Iterator[None]:
    away = site.remote.with_name("elsewhere.git")
    site.remote.rename(away)
    yield
    away.rename(site.remote)


@contextlib.contextmanager
def hangs(site: SampleSite) -> Iterator[None]:
    url = site.git("remote", "get-url", "origin")
    with mute_server() as port:
        site.git("remote", "set-url", "origin", f"git://127.0.0.1:{port}/site.git")
        yield
    site.git("remote", "set-url", "origin", url)


@contextlib.contextmanager
def gone_after_the_pull(site: SampleSite) -> Iterator[None]:
    """Let the health check of the new release take the remote away."""
    away = site.remote.with_name("elsewhere.git")
    site.env["RELEASER_HEALTH_CHECK"] = f"sh -c 'test ! -e {site.remote} || mv {site.remote} {away}'"
    yield
    away.rename(site.remote)
    del site.env["RELEASER_HEALTH_CHECK"]


@contextlib.contextmanager
def drops(site: SampleSite) -> Iterator[None]:
    with mute_server(drops=True) as port:
        site.git("config", "remote.origin.pushurl", f"git://127.0.0.1:{port}/site.git")
        yield
    site.git("config", "--unset", "remote.origin.pushurl")


@pytest.mark.parametrize("outage", [gone, hangs])
def test_a_remote_that_fails_at_the_pull(outage: Outage, site: SampleSite, tally: Tallies) -> None:
    points, live, head = tally("network: git remote at pull"), site.live_id(), site.head()
    with outage(site):
        _, broken = timed_update(site, code=4, git="3s")
    witness = Witness.of(site)
    broken += witness.after_command() + failure_mailed_once(site)
    broken += unless((site.live_id(), site.head()) == (live, head), "something has changed")
    broken += witness.after_update(site.releaser("update"), told=UPDATED, versions=NEWER)
    points.add(command="update", point=outage.__name__, broken=broken)
    points.check()


@pytest.mark.parametrize("outage", [gone_after_the_pull, drops])
def test_a_remote_that_fails_at_the_push(outage: Outage, site: SampleSite, tally: Tallies) -> None:
    """The release is live and good, and stays so; only the push is late."""
    points, live, witness = tally("network: git remote at push"), site.live_id(), Witness.of(site)
    with outage(site):
        finished, broken = timed_update(site, code=7)
    now = site.live_id()
    broken += unless(now != live and "push failed" in finished.stderr, f"it should be live and say so: {finished}")
    broken += witness.after_command()
    broken += witness.after_update(site.releaser("update"), told=UPDATED, versions=NEWER)
    broken += unless(site.live_id() == now, "live has changed again")
    broken += unless(site.remote_head() == site.head(), "the commit is not pushed")
    points.add(command="update", point=outage.__name__, broken=broken)
    points.check()


# The mail server


def test_a_mail_server_that_fails_at_any_stage(
    scenes: Scenes, tmp_path: Path, tally: Tallies, all_points: bool
) -> None:
    """The release is live and good, and the one mail about it comes when the server is well again."""
    points = tally("network: mail server fails")
    every = [(stage, hangs) for hangs in (False, True) for stage in STAGES]
    for number, (stage, hangs) in enumerate(every if all_points else (("RCPT", False), ("text", True))):
        site = scenes.copy("update", tmp_path / str(number))
        witness = Witness.of(site)
        with mail_server() as server:
            site.write_dotenv({"RELEASER_SMTP_HOST": "127.0.0.1", "RELEASER_SMTP_PORT": str(server.port)})
            server.fails_at, server.hangs = stage, hangs
            _, broken = timed_update(site, code=7, smtp="1s")
            live = site.live_id()
            broken += unless(len(site.outbox_mails()) == 1, "the mail should be in the outbox")
            server.fails_at = None
            broken += witness.after_update(site.releaser("update"), versions=NEWER)
            broken += unless(site.live_id() == live, "live has changed again")
        seen, accepted = ({str(one.message["Message-ID"]) for one in some} for some in (server.seen, server.messages))
        came_once = len(server.messages) == 1 and seen == accepted and not site.outbox_mails()
        broken += unless(came_once, f"I5: sent {seen}, of which {accepted} were accepted")
        points.add(command="update", point=f"{'hangs' if hangs else 'drops'} at {stage}", broken=broken)
    points.check()
