"""A symlink that leads elsewhere than releaser has let it: nothing moves it but the command that a person gives."""

import os
from pathlib import Path

import pytest

from tests.e2e.scenes import body, silent, states
from tests.support.sites import SampleSite, SiteFactory


@pytest.fixture
def site(make_site: SiteFactory) -> SampleSite:
    """A site with two releases, of which the newer is live."""
    return make_site.adopted("1.2.0")


def relink(site: SampleSite, target: Path | str) -> None:
    site.link.unlink()
    site.link.symlink_to(target)


def to_another_release(site: SampleSite) -> str:
    """Let it lead to a release that it does not lead to; return that."""
    (other, *_) = (name for name in states(site) if name != site.live_id())
    relink(site, site.state_dir / "releases" / other / "venv")
    return other


def test_no_command_moves_it_and_all_say_so(site: SampleSite) -> None:
    live = site.live_id()
    to_another_release(site)
    seen, lock = os.path.realpath(site.link), site.lock_text()
    site.publish("alpha", "4.0.0")
    before = site.outbox_mails()
    for words in (["update"], ["rebuild"], ["rollback"], ["prune"], ["update", "--dry-run"], ["check"]):
        finished = site.releaser(*words, check=3)
        assert f"not to {live}, which releaser last made live" in finished.stderr, words
    for words in (["hold", "alpha"], ["pin", live]):
        site.releaser(*words, check=0)
    assert (os.path.realpath(site.link), site.lock_text()) == (seen, lock)
    assert "it was moved by hand" in site.json("status")["problems"][0]
    assert "it was moved by hand" in site.releaser("list", "-v").stderr
    assert len(site.outbox_mails()) > len(before)
    assert f"releaser rollback {live}" in body(site, len(before))
    assert "releaser init" in body(site, len(before))


def test_what_a_person_decides_is_done(site: SampleSite) -> None:
    """`init` and `rollback` keep the release that it leads to, `init` adopts a venv that stands there."""

    def decided(command: str, *args: str, result: str) -> str:
        restarted = site.restarted_at()
        report = site.json(command, *args)
        assert (report["result"], report["release"]) == (result, site.live_id())
        assert states(site)[site.live_id()] == "live"
        assert site.json("status")["problems"] == []
        assert site.json("init")["result"] == "no-changes"
        return site.live_id() if site.restarted_at() != restarted else "not restarted"

    live, other = site.live_id(), to_another_release(site)
    decided("init", result="updated")
    assert site.live_id() == other
    assert to_another_release(site) == live
    decided("rollback", live, result="rolled-back")
    assert site.live_id() == live

    before = set(states(site))
    site.link.unlink()
    site.make_venv()
    decided("init", result="updated")
    assert site.live_id() not in before
    site.update_to("alpha", "1.3.0")
    live = site.live_id()
    assert live not in before

    site.uv("venv", "--quiet", site.outer.parent / "outside")
    relink(site, site.outer.parent / "outside")
    assert decided("rollback", live, result="rolled-back") == live
    site.publish("alpha", "3.0.0", broken=True)
    failed = site.json("update", check=5)["release"]
    site.withdraw("alpha", "3.0.0")
    relink(site, site.state_dir / "releases" / failed / "venv")
    assert "failed its tests" in site.releaser("init", check=3).stderr
    assert decided("rollback", live, result="rolled-back") == live
    assert site.live_version("alpha") == "1.3.0"
    silent(site.releaser("update"))


def test_a_missing_or_dangling_link_is_repaired_with_restart_and_health_check(site: SampleSite) -> None:
    """A repair that is cut off is finished."""
    live, asked = site.live_id(), site.outer.parent / "asked"
    checked = {"RELEASER_HEALTH_CHECK": f"touch {asked}"}
    for harm in ("missing", "dangling"):
        site.link.unlink() if harm == "missing" else relink(site, "nowhere")
        restarted = site.restarted_at()
        site.releaser("prune", check=0, env=checked)
        assert site.live_id() == live
        assert site.restarted_at() != restarted
        assert f"was {harm}" in body(site)
        asked.unlink()
    site.link.unlink()
    site.releaser("prune", env={"RELEASER_HEALTH_CHECK": "sh -c 'kill -9 $PPID'"}, check=-9)
    report = site.json("update", env=checked)
    assert f"had pointed the symlink, which was missing or dangling, to {live} again" in report["recovered"]
    assert asked.exists()
    assert site.live_id() == live
    silent(site.releaser("update"))
