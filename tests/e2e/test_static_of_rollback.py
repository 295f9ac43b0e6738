"""Static files of earlier code are collected before a rollback goes back to that code."""

import os
import shutil
import signal

import pytest

from tests.e2e.interrupting import Point, stopped
from tests.e2e.scenes import step, steps
from tests.support.sites import SampleSite, SiteFactory

COLLECTED = Point(place="releaser.serving.static_files:collectstatic")
NEWER, EARLIER = "1.2.0", "1.1.0"  # of alpha; the newer one came with a commit


def update(site: SampleSite) -> None:
    """Bring in the newer version along with a commit."""
    site.publish("alpha", NEWER)
    site.push_from_elsewhere({"notes.txt": "news"})
    site.releaser("update", check=0)


@pytest.fixture
def site(make_site: SiteFactory) -> SampleSite:
    """A site that has collected its static files, and that a rollback takes back a package and a commit."""
    return make_site.adopted(EARLIER, prepare=update)


def static(site: SampleSite) -> str:
    return (site.static_versions() or {})["alpha"]


def see_nothing_has_changed(site: SampleSite) -> None:
    """See that the site has the newer packages, code and static files."""
    assert (static(site), site.live_version("alpha")) == (NEWER, NEWER)
    assert (site.path / "notes.txt").exists()


def test_nothing_but_the_flip_lies_between_the_code_and_the_restart(site: SampleSite) -> None:
    found = steps(site.json("rollback"))
    assert found.index("collectstatic") < found.index("move checkout")
    assert found[found.index("move checkout") : found.index("restart") + 1] == [
        "move checkout", "flip", "python start", "restart"
    ]  # fmt: skip
    assert found.count("collectstatic") == 1
    assert (static(site), site.live_version("alpha")) == (EARLIER, EARLIER)
    assert not (site.path / "notes.txt").exists()
    assert not list(site.outer.glob(".site.releaser-staging*"))


def test_what_cannot_be_staged_waits_for_the_flip(site: SampleSite) -> None:
    places = site.path / ".git" / "worktrees"
    shutil.rmtree(places, ignore_errors=True)
    places.touch()  # where git would note the tree
    found = steps(site.json("rollback"))
    assert found.index("flip") < found.index("collectstatic") < found.index("restart")
    assert (static(site), site.live_version("alpha")) == (EARLIER, EARLIER)


def test_they_are_put_back_where_somebody_edited_what_the_earlier_code_has_otherwise(site: SampleSite) -> None:
    with stopped(site, "rollback", at=COLLECTED) as process:
        site.edit("notes.txt", "mine")
        os.kill(process.pid, signal.SIGCONT)
        _, error = process.communicate(timeout=120)
    assert process.returncode == 3, error
    assert "notes.txt in the checkout was edited" in error
    assert "with the packages of another commit" not in error
    see_nothing_has_changed(site)
    assert (site.path / "notes.txt").read_text(encoding="utf-8") == "mine"


def test_what_fails_ahead_is_tried_with_the_earlier_release_live(make_site: SiteFactory) -> None:
    """The code that came in since can collect the files, the earlier one cannot."""
    earlier = make_site.adopted(EARLIER)
    text = (earlier.path / "manage.py").read_text(encoding="utf-8")
    done = '    say("1 static file copied.")\n    return 0\n'
    assert done in text
    earlier.push_from_elsewhere({"manage.py": text.replace(done, done.replace("return 0", "return 1"))})
    earlier.releaser("update", check=0, env={"RELEASER_COLLECTSTATIC": "off"})
    earlier.push_from_elsewhere({"manage.py": text})
    update(earlier)
    report = earlier.json("rollback", check=6)
    assert step(report, "collectstatic again")["status"] == "ok"
    see_nothing_has_changed(earlier)
