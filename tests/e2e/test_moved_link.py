"""A symlink that leads elsewhere than releaser has let it: nothing moves it but the command that a person gives."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.scenes import body, silent, states
from tests.support.sites import SampleSite, SiteFactory


@pytest.fixture
def site(make_site: SiteFactory) -> SampleSite:
    """A site with two releases, of which the newer is live."""
    return make_site.adopted("1.2.0")


def live_in(site: SampleSite) -> str:
    """Return the release that `list` calls live."""
    return next(name for name, state in states(site).items() if state == "live")


def relink(site: SampleSite, target: Path | str) -> None:
    site.link.unlink()
    site.link.symlink_to(target)


def to_another_release(site: SampleSite) -> None:
    """Let it lead to a release that it does not lead to."""
    (other, *_) = (name for name in states(site) if name != site.live_id())
    relink(site, site.state_dir / "releases" / other / "venv")


def to_a_venv_outside(site: SampleSite) -> None:
    place = site.outer.parent / "outside"
    site.uv("venv", "--quiet", place)
    relink(site, place)


def to_a_failed_release(site: SampleSite) -> None:
    site.publish("alpha", "3.0.0", broken=True)
    site.releaser("update", check=5)
    (failed,) = [name for name, state in states(site).items() if state == "failed"]
    relink(site, site.state_dir / "releases" / failed / "venv")


def place(site: SampleSite) -> tuple[bool, str]:
    """Return what stands at the place of the link."""
    return site.link.is_symlink(), os.path.realpath(site.link)


def test_no_command_moves_it_and_all_say_so(site: SampleSite) -> None:
    live = site.live_id()
    to_another_release(site)
    seen, lock = place(site), site.lock_text()
    site.publish("alpha", "4.0.0")
    before = site.outbox_mails()
    for words in (["update"], ["rebuild"], ["rollback"], ["prune"], ["update", "--dry-run"], ["check"]):
        finished = site.releaser(*words, check=3)
        assert f"and not to {live}, which releaser made live last" in finished.stderr, words
    for words in (["hold", "alpha"], ["pin", live]):
        site.releaser(*words, check=0)
    assert (place(site), site.lock_text()) == (seen, lock)
    assert "it was moved by hand" in site.json("status")["problems"][0]
    assert "it was moved by hand" in site.releaser("list", "-v").stderr
    assert len(site.outbox_mails()) > len(before)
    assert f"releaser rollback {live}" in body(site, len(before))
    assert "releaser init" in body(site, len(before))


def test_init_and_rollback_keep_the_release_that_it_leads_to(site: SampleSite) -> None:
    for command in ("init", "rollback"):
        to_another_release(site)
        name = site.live_id()
        report = site.json(command, *([name] if command == "rollback" else []))
        result = "rolled-back" if command == "rollback" else "updated"
        assert (report["result"], report["release"], live_in(site)) == (result, name, name)
        assert site.live_id() == name
        assert site.json("status")["problems"] == []
        assert site.json("init")["result"] == "no-changes"


def test_init_adopts_the_venv_that_stands_there(site: SampleSite) -> None:
    before = set(states(site))
    site.link.unlink()
    site.make_venv()
    report = site.json("init")
    assert (report["result"], report["release"]) == ("updated", live_in(site))
    assert live_in(site) not in before
    assert site.json("status")["problems"] == []
    site.update_to("alpha", "1.3.0")
    assert site.live_version("alpha") == "1.3.0"


@pytest.mark.parametrize("move", [to_a_venv_outside, to_a_failed_release])
def test_rollback_goes_back_as_told(site: SampleSite, move: Callable[[SampleSite], None]) -> None:
    live = site.live_id()
    move(site)
    assert move is to_a_venv_outside or "failed its tests" in site.releaser("init", check=3).stderr
    restarted = site.restarted_at()
    report = site.json("rollback", live)
    assert (report["result"], site.live_id()) == ("rolled-back", live)
    assert site.restarted_at() != restarted
    assert site.live_version("alpha") == "1.2.0"
    assert site.json("status")["problems"] == []
    site.withdraw("alpha", "3.0.0") if move is to_a_failed_release else None
    silent(site.releaser("update"))


def test_a_missing_or_dangling_link_is_repaired_with_restart_and_health_check(site: SampleSite) -> None:
    live, asked = site.live_id(), site.outer.parent / "asked"
    for harm in ("missing", "dangling"):
        site.link.unlink() if harm == "missing" else relink(site, "nowhere")
        restarted = site.restarted_at()
        site.releaser("prune", check=0, env={"RELEASER_HEALTH_CHECK": f"touch {asked}"})
        assert site.live_id() == live
        assert site.restarted_at() != restarted
        assert f"was {harm}" in body(site)
        asked.unlink()
    silent(site.releaser("update"))


def test_a_repair_that_is_cut_off_is_finished(site: SampleSite) -> None:
    live = site.live_id()
    site.link.unlink()
    site.releaser("prune", env={"RELEASER_HEALTH_CHECK": "sh -c 'kill -9 $PPID'"}, check=-9)
    asked = site.outer.parent / "asked"
    report = site.json("update", env={"RELEASER_HEALTH_CHECK": f"touch {asked}"})
    assert f"had pointed the symlink, which was missing or dangling, to {live} again" in report["recovered"]
    assert asked.exists()
    assert site.live_id() == live
    silent(site.releaser("update"))
