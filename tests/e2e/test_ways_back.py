"""Ways back when something is amiss: a full disk, an interrupted update, a wrong setting, a lost state, a person."""

import os
import signal
from collections.abc import Iterator

import pytest

from tests.e2e.scenes import eventually, refused, says, silent, small_disk
from tests.faults import filling
from tests.support.commands import require
from tests.support.sites import SampleSite, SiteFactory

LARGE = "x" * (8 << 20)


@pytest.fixture
def large(make_site: SiteFactory) -> Iterator[SampleSite]:
    """A site on a small disk whose second release has no file of 8 MB, which the first has."""
    require(os.geteuid() == 0, "only root mounts a small file system")
    site = make_site.live(files={"large.txt": LARGE, "notes.txt": "one\n"}, due="1.1.0")
    site.push_from_elsewhere({"large.txt": "small\n", "notes.txt": "two\n"})
    with small_disk(site.outer):
        site.releaser("update", check=0)
        yield site


def fill(site: SampleSite) -> None:
    """Fill the disk of a site to the last byte."""
    filling.fill(str(site.outer), "ballast", "bytes")


@pytest.mark.slow
def test_law_05_12_code_that_does_not_fit_on_a_full_disk_is_refused_before_a_file_is_touched(large: SampleSite) -> None:
    site, restarted = large, large.restarted_at()
    fill(site)
    finished = refused(site, "rollback")
    says(finished, site.outer, "more are needed", "--keep-code")
    assert not site.status(), "a file of the checkout is torn"
    assert site.releaser("rollback", "--keep-code").returncode in (0, 7)
    assert (site.version("alpha"), site.restarted_at() != restarted, site.status()) == ("1.0.0", True, "")
    assert (site.path / "notes.txt").read_text(encoding="utf-8") == "two\n"
    filling.empty(str(site.outer), "ballast")


@pytest.mark.slow
def test_law_05_12_small_changes_of_code_fit_into_the_reserve(make_site: SiteFactory) -> None:
    require(os.geteuid() == 0, "only root mounts a small file system")
    site = make_site.live(files={"large.txt": LARGE, "notes.txt": "one\n"}, due="1.1.0")
    site.push_from_elsewhere({"notes.txt": "two\n"})
    with small_disk(site.outer):
        site.releaser("update", check=0)
        site.push_from_elsewhere({"large.txt": f"{LARGE}y", "notes.txt": "three\n"})
        site.publish("alpha", "1.2.0")
        site.write_dotenv(before_live="sh -c 'head -c 1G /dev/zero > ../ballast || true'")
        says(site.releaser("update", check=4), "more are needed", site.outer)
        assert (site.version("alpha"), site.status()) == ("1.1.0", "")
        assert site.releaser("rollback").returncode in (0, 7)
        assert (site.version("alpha"), site.status()) == ("1.0.0", "")
        assert (site.path / "notes.txt").read_text(encoding="utf-8") == "one\n"


@pytest.mark.slow
@pytest.mark.parametrize("command", ["update", "rollback"])
def test_law_05_a_rollback_ends_where_recovery_has_gone_back_to(make_site: SiteFactory, command: str) -> None:
    """The run is killed right before the flip; one that was a rollback itself is what the person wants still."""
    site = make_site.live("1.1.0", due="1.2.0")
    second, first = site.states()
    site.push_from_elsewhere({"notes.txt": "two\n"})
    git = site.base / "bin" / "git"
    git.parent.mkdir()
    done = site.base / "done"
    git.write_text(f'#!/bin/sh\n/usr/bin/git "$@"; c=$?\n[ "$2" = update-ref ] && touch {done} && sleep 60\nexit $c\n')
    git.chmod(0o755)
    if command == "rollback":
        site.releaser("update", check=0)
        second, first = list(site.states())[:2]
    with site.starting(command, env={"PATH": f"{git.parent}:{os.environ['PATH']}"}) as process:
        eventually(done.exists, "the move of the checkout")
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    answer = site.json("rollback")
    assert answer["result"] == ("no-changes" if command == "update" else "updated")
    assert site.live() == (second if command == "update" else first)
    said = [answer["headline"], *answer["notes"]]
    assert [command for sentence in said if "was interrupted" in sentence] == [command]  # once
    assert site.status() == ""


@pytest.mark.slow
def test_law_05_a_wrong_setting_does_not_refuse_a_rollback(make_site: SiteFactory) -> None:
    site = make_site.live("1.1.0")
    site.write_dotenv(kepp="3", test_timeout="soon", restart="sh -c 'unbalanced")
    says(refused(site, "rollback"), "RELEASER_RESTART")  # it would restart in another way than a person wants
    site.write_dotenv(kepp="3", test_timeout="soon")
    answer = site.json("rollback")
    assert (answer["exit_code"], site.version("alpha")) == (0, "1.0.0")
    assert "RELEASER_KEPP" in str(answer["notes"])
    assert "RELEASER_TEST_TIMEOUT" in str(answer["notes"])


@pytest.mark.slow
@pytest.mark.parametrize("state", ["deleted", "broken"])
def test_law_05_nothing_goes_back_to_a_release_whose_state_is_lost(make_site: SiteFactory, state: str) -> None:
    site = make_site.live("1.1.0", "1.2.0")
    _, second, first = site.states()
    path = site.release(second) / "state.json"
    path.unlink() if state == "deleted" else path.write_text("{")
    says(refused(site, "rollback", second, code=9), second, "is lost")
    assert site.json("rollback")["release"] == first == site.live()
    assert site.states()[second] == "rolled-back"


@pytest.mark.slow
@pytest.mark.parametrize("way", ["the older one", "the newer one"])
def test_law_19_a_link_to_an_older_release_is_a_decision_of_a_person(make_site: SiteFactory, way: str) -> None:
    site = make_site.live("1.1.0", due="1.2.0")
    second, first = site.states()
    site.run("ln", "-sfn", site.release(first) / "venv", site.link)
    for command, code in (("update", 3), ("update --force", 3), ("check", 3), ("rollback", 9)):
        says(refused(site, command, code=code), first, f"releaser rollback {first}", f"releaser rollback {second}")
    (problem,) = site.json("status", check=10)["attention"]
    assert problem["code"] == "moved-link"
    restarted, chosen = site.restarted_at(), first if way == "the older one" else second
    assert site.json("rollback", chosen)["result"] == "updated"
    assert (site.live(), site.restarted_at() != restarted) == (chosen, True)
    assert site.json("status")["well"]
    if chosen == first:
        assert site.states()[second] == "rolled-back"
        assert [hold["version"] for hold in site.json("status")["on_hold"]] == ["1.1.0"]
    site.releaser("update", check=0)
    assert site.version("alpha") == "1.2.0"
    silent(site.releaser("update"))
