"""The network fails: package index, git remote, mail server. Live stays what it is, and every run keeps its limits."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest

from tests.faults.invariants import Witness
from tests.faults.network import STAGES, Stage, StagedMailServer, mute_server
from tests.faults.scenes import Scenes
from tests.faults.tally import Tally
from tests.support.commands import Finished
from tests.support.simple_index import Mood, SimpleIndex
from tests.support.sites import SampleSite, SiteFactory
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
    broken = [] if finished.returncode == code else [f"it should have ended with {code}: {finished}"]
    return finished, broken + ([] if seconds < LONGEST else [f"it took {seconds:.0f} s"])


def mails_like(site: SampleSite, words: str) -> int:
    return sum(words in str(mail["Subject"]) for mail in site.outbox_mails())


# The package index


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, templates: Templates) -> tuple[SampleSite, SimpleIndex]:
    """Make an adopted site that gets its packages by HTTP, and for which there is a newer one; tests get copies."""
    site = SiteFactory(tmp_path_factory.mktemp("shop"), templates)()
    index = SimpleIndex(site.index.path)
    text = (site.path / "pyproject.toml").read_text(encoding="utf-8")
    old = 'no-index = true\nfind-links = ["../index"]\n'
    assert old in text
    new = text.replace(old, f'\n[[tool.uv.index]]\nurl = "{index.url}"\ndefault = true\n')
    site.edit("pyproject.toml", new)
    with index.serving():
        site.push_commit("Get packages from a server", lock=True)
        site.adopt()
    site.publish("alpha", "1.1.0")
    return site, index


MOODS = [mood for mood in get_args(Mood) if mood not in ("is well", "is slow")]
MOODS_SPREAD: list[Mood] = ["hangs at a wheel", "cuts a wheel"]


def test_an_index_that_fails_in_any_way(
    shop: tuple[SampleSite, SimpleIndex], tmp_path: Path, tally: Callable[[str], Tally], all_points: bool
) -> None:
    points, (like, index) = tally("network: package index fails"), shop
    for number, mood in enumerate(MOODS if all_points else MOODS_SPREAD):
        base = tmp_path / str(number)
        site = without_cache(like.copy(base), base)
        witness, live = Witness.of(site), site.live_id()
        with index.serving(mood):
            _, broken = timed_update(site, code=4, uv="5s")
        broken += [] if site.live_id() == live else ["live has changed"]
        broken += witness.after_command()
        broken += [] if mails_like(site, "failed") == 1 else ["the failure should have been told once"]
        with index.serving():
            finished = site.releaser("update")
        broken += witness.after_update(finished, told=UPDATED, versions=NEWER)
        points.add(command="update", point=f"it {mood}", broken=broken)
    points.check()


def test_an_index_that_is_slow(
    shop: tuple[SampleSite, SimpleIndex], tmp_path: Path, tally: Callable[[str], Tally]
) -> None:
    points, (like, index) = tally("network: package index is slow"), shop
    site = without_cache(like.copy(tmp_path), tmp_path)
    witness = Witness.of(site)
    with index.serving("is slow"):
        finished, broken = timed_update(site, code=0)
    broken += witness.after_update(finished, told=UPDATED, versions=NEWER)
    points.add(command="update", point="in time", broken=broken)
    points.check()


def without_cache(site: SampleSite, base: Path) -> SampleSite:
    """Let uv find nothing that an earlier test has fetched."""
    site.env |= {"UV_HTTP_RETRIES": "1", "UV_CACHE_DIR": str(base / "cache")}
    return site


# The git remote


@pytest.fixture
def site(scenes: Scenes, tmp_path: Path) -> SampleSite:
    """Copy a site with a newer package and a commit to pull."""
    return scenes.copy("update", tmp_path)


def test_a_remote_that_is_gone_at_the_pull(site: SampleSite, tally: Callable[[str], Tally]) -> None:
    away = site.remote.with_name("elsewhere.git")

    def repair() -> None:
        away.rename(site.remote)

    site.remote.rename(away)
    fails_at_the_pull(site, "gone", repair, tally)


def test_a_remote_that_does_not_answer_the_pull(site: SampleSite, tally: Callable[[str], Tally]) -> None:
    url = site.git("remote", "get-url", "origin")

    def repair() -> None:
        site.git("remote", "set-url", "origin", url)

    with mute_server() as port:
        site.git("remote", "set-url", "origin", f"git://127.0.0.1:{port}/site.git")
        fails_at_the_pull(site, "hangs", repair, tally)


def fails_at_the_pull(site: SampleSite, point: str, repair: Callable[[], None], tally: Callable[[str], Tally]) -> None:
    points, live, head = tally("network: git remote at pull"), site.live_id(), site.head()
    _, broken = timed_update(site, code=4, git="3s")
    repair()
    witness = Witness.of(site)
    broken += witness.after_command()
    broken += [] if (site.live_id(), site.head()) == (live, head) else ["something has changed"]
    broken += [] if mails_like(site, "failed") == 1 else ["the failure should have been told once"]
    broken += witness.after_update(site.releaser("update"), told=UPDATED, versions=NEWER)
    points.add(command="update", point=point, broken=broken)
    points.check()


def test_a_remote_that_is_gone_at_the_push(site: SampleSite, tally: Callable[[str], Tally]) -> None:
    """It was there at the pull: the health check of the new release takes it away."""
    away = site.remote.with_name("elsewhere.git")
    site.env["RELEASER_HEALTH_CHECK"] = f"sh -c 'test ! -e {site.remote} || mv {site.remote} {away}'"

    def repair() -> None:
        away.rename(site.remote)
        del site.env["RELEASER_HEALTH_CHECK"]

    fails_at_the_push(site, "gone", repair, tally)


def test_a_remote_that_drops_the_push(site: SampleSite, tally: Callable[[str], Tally]) -> None:
    def repair() -> None:
        site.git("config", "--unset", "remote.origin.pushurl")

    with mute_server(drops=True) as port:
        site.git("config", "remote.origin.pushurl", f"git://127.0.0.1:{port}/site.git")
        fails_at_the_push(site, "drops", repair, tally)


def fails_at_the_push(site: SampleSite, point: str, repair: Callable[[], None], tally: Callable[[str], Tally]) -> None:
    """The release is live and good, and stays so; only the push is late."""
    points, live, witness = tally("network: git remote at push"), site.live_id(), Witness.of(site)
    finished, broken = timed_update(site, code=7)
    repair()
    now = site.live_id()
    broken += [] if now != live and "push failed" in finished.stderr else [f"it should be live and say so: {finished}"]
    broken += witness.after_command()
    broken += witness.after_update(site.releaser("update"), told=UPDATED, versions=NEWER)
    broken += [] if site.live_id() == now else ["live has changed again"]
    broken += [] if site.remote_head() == site.head() else ["the commit is not pushed"]
    points.add(command="update", point=point, broken=broken)
    points.check()


# The mail server

MAIL_POINTS = [(stage, hangs) for hangs in (False, True) for stage in STAGES]
MAIL_SPREAD: list[tuple[Stage, bool]] = [("RCPT", False), ("text", True)]


def test_a_mail_server_that_fails_at_any_stage(
    scenes: Scenes, tmp_path: Path, tally: Callable[[str], Tally], all_points: bool
) -> None:
    """The release is live and good, and the one mail about it comes when the server is well again."""
    points = tally("network: mail server fails")
    for number, (stage, hangs) in enumerate(MAIL_POINTS if all_points else MAIL_SPREAD):
        site = scenes.copy("update", tmp_path / str(number))
        witness = Witness.of(site)
        with StagedMailServer().serving() as server:
            site.write_dotenv({"RELEASER_SMTP_HOST": "127.0.0.1", "RELEASER_SMTP_PORT": str(server.port)})
            server.fails_at, server.hangs = stage, hangs
            _, broken = timed_update(site, code=7, smtp="1s")
            live = site.live_id()
            broken += [] if len(site.outbox_mails()) == 1 else ["the mail should be in the outbox"]
            server.fails_at = None
            finished = site.releaser("update")
            broken += witness.after_update(finished, versions=NEWER)
            broken += [] if site.live_id() == live else ["live has changed again"]
            broken += came_once(server, site)
        points.add(command="update", point=f"{'hangs' if hangs else 'drops'} at {stage}", broken=broken)
    points.check()


def came_once(server: StagedMailServer, site: SampleSite) -> list[str]:
    """See that one mail was accepted once, that no other was sent, and that none waits any more."""
    if len(server.accepted) == 1 and set(server.seen) == set(server.accepted) and not site.outbox_mails():
        return []
    return [f"I5: sent {server.seen}, of which {server.accepted} were accepted; {len(site.outbox_mails())} wait"]
