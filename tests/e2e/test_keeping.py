"""`prune`, `pin` and `unpin`: the releases that stay."""

import fcntl
import os

import pytest

from tests.e2e.scenes import during_tests, refused, says, times_of_tree
from tests.support.servers import WAITING_TESTS
from tests.support.sites import SampleSite, SiteFactory

NOTHING_OLD = {"RELEASER_KEEP_WITHIN": "0s"}


@pytest.fixture
def four(make_site: SiteFactory) -> SampleSite:
    """A site with four releases, of alpha 1.0.0 to 1.3.0."""
    return make_site.live("1.1.0", "1.2.0", "1.3.0", dotenv=NOTHING_OLD)


def alphas(site: SampleSite) -> dict[str, str]:
    """Return the version of alpha and the state of each release, newest first."""
    return {site.versions(site.release(release) / "venv")["alpha"]: state for release, state in site.states().items()}


def test_law_07_prune_keeps_the_live_release_its_previous_one_and_as_many_good_ones(four: SampleSite) -> None:
    four.write_dotenv(keep="0", keep_within="30d")  # good releases of that time stay in addition
    four.releaser("prune", check=0)
    for keep, left in (("5", 4), ("2", 3), ("0", 2)):
        four.write_dotenv(NOTHING_OLD, keep=keep)
        four.releaser("prune", check=0)
        assert [*alphas(four)] == ["1.3.0", "1.2.0", "1.1.0", "1.0.0"][:left], keep
    four.releaser("rollback", check=0)
    assert four.version("alpha") == "1.2.0"


@pytest.mark.slow
def test_law_07_a_pinned_release_stays_until_it_is_unpinned(four: SampleSite) -> None:
    oldest = four.releases()[0]
    four.write_dotenv(NOTHING_OLD, keep="0")
    four.releaser("pin", oldest, check=0)
    assert [row["pinned"] for row in four.json("list")] == [False, False, False, True]
    four.releaser("prune", check=0)
    assert [*alphas(four)] == ["1.3.0", "1.2.0", "1.0.0"]
    says(refused(four, "pin", "19990101T000000Z", code=9), "19990101T000000Z")
    four.releaser("unpin", oldest, check=0)
    four.releaser("prune", check=0)
    assert [*alphas(four)] == ["1.3.0", "1.2.0"]


@pytest.mark.slow
def test_law_07_failed_releases_take_no_place_of_good_ones(make_site: SiteFactory) -> None:
    site = make_site.live("1.1.0", dotenv={**NOTHING_OLD, "RELEASER_KEEP": "1"})
    for version in ("1.2.0", "1.3.0", "1.4.0"):
        site.publish("alpha", version, broken=True)
        site.releaser("update", check=5)
    site.releaser("prune", check=0)
    assert {"1.1.0": "live", "1.0.0": "previous"}.items() <= alphas(site).items()
    assert list(site.states().values()).count("failed") <= 1
    site.releaser("update", check=5)  # the failure is still remembered
    assert len([run for run in site.test_runs() if run["versions"]["alpha"] == "1.4.0"]) == 1


@pytest.mark.slow
def test_law_07_what_a_person_has_linked_during_a_run_that_fails_stays(make_site: SiteFactory) -> None:
    waiting = WAITING_TESTS.replace('"MEETING_PORT" in os.environ', "alpha.BROKEN")  # not the tests of the live release
    tests = f"import alpha\n{waiting}        self.assertFalse(alpha.BROKEN)\n"
    site = make_site.live("1.1.0", "1.2.0", files={"site_tests.py": tests}, dotenv=NOTHING_OLD)
    site.write_dotenv(NOTHING_OLD, keep="0")
    site.publish("alpha", "1.3.0", broken=True)
    with during_tests(site, code=5):
        target = os.readlink(site.link).replace(site.live(), oldest := site.releases()[0])
        site.link.unlink()
        site.link.symlink_to(target)
    assert (site.live(), site.version("alpha")) == (oldest, "1.0.0")
    site.releaser("prune", check=0)
    assert (site.live(), site.python("import alpha; print(alpha.__version__)")) == (oldest, "1.0.0")


@pytest.mark.slow
def test_law_19_22_a_failure_is_reported_although_a_person_took_the_link_away_meanwhile(make_site: SiteFactory) -> None:
    waiting = WAITING_TESTS.replace('"MEETING_PORT" in os.environ', "alpha.BROKEN")
    tests = f"import alpha\n{waiting}        self.assertFalse(alpha.BROKEN)\n"
    site = make_site.live(files={"site_tests.py": tests})
    site.publish("alpha", "1.1.0", broken=True)
    with during_tests(site, code=5):
        site.link.unlink()
    assert not site.link.is_symlink()


@pytest.mark.slow
def test_law_07_order_is_by_the_record_and_never_by_times_of_files(four: SampleSite) -> None:
    for age, release in enumerate(four.releases()):
        directory = four.release(release)
        for path in (directory / "manifest.json", directory / "state.json", directory / "venv", directory):
            os.utime(path, (1_000_000_000 - age * 86400,) * 2)
    four.write_dotenv(NOTHING_OLD, keep="1")
    four.releaser("prune", check=0)
    assert alphas(four) == {"1.3.0": "live", "1.2.0": "previous"}


@pytest.mark.slow
def test_law_07_after_a_rollback_the_live_release_and_its_previous_one_stay(four: SampleSite) -> None:
    four.releaser("rollback", check=0)
    four.releaser("rollback", check=0)
    four.write_dotenv(NOTHING_OLD, keep="0")
    four.releaser("prune", check=0)
    assert {"1.1.0": "live", "1.0.0": "previous"}.items() <= alphas(four).items()
    four.releaser("rollback", check=0)
    assert four.version("alpha") == "1.0.0"


def test_an_update_prunes_by_itself_and_leaves_directories_of_people_alone(four: SampleSite) -> None:
    mine = four.state / "releases" / "mine"
    mine.mkdir()
    four.write_dotenv(NOTHING_OLD, keep="1")
    four.update_to("1.4.0")
    assert [*alphas(four)] == ["1.4.0", "1.3.0"]
    assert mine.is_dir(), "a directory that a person made was deleted"


def test_a_dry_run_names_what_prune_would_delete_and_deletes_nothing(four: SampleSite) -> None:
    four.write_dotenv(NOTHING_OLD, keep="1")
    earlier, oldest = times_of_tree(four.outer), four.releases()[:2]
    finished = four.releaser("prune", "--dry-run", check=0)
    assert all(release in finished.stdout + finished.stderr for release in oldest)
    assert times_of_tree(four.outer) == earlier


@pytest.mark.slow
def test_law_07_a_prune_that_died_gives_a_release_in_use_back(four: SampleSite) -> None:
    oldest, second = four.releases()[:2]
    for release in (oldest, second):
        four.release(release).rename(four.release(f".doomed-{release}"))
    with (four.release(f".doomed-{oldest}") / "lease").open() as lease:  # as the start-up module holds it
        fcntl.flock(lease, fcntl.LOCK_SH)
        four.releaser("prune", check=0)
        assert oldest in four.states()
    assert second not in four.states()
    path = four.release(oldest) / "lease"
    path.unlink()
    four.releaser("prune", check=0)
    assert path.stat().st_mode & 0o777 == 0o444, "a lease that is gone is made again"
    assert not list((four.state / "releases").glob(".doomed-*"))
