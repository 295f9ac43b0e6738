"""What people read of a run: code by its subject, old news as such, and no sentence about what was not asked."""

import contextlib
import json

import pytest

from tests.e2e.scenes import CODE, NEW_IS_SICK, during_tests, eventually, is_open, no_change, says
from tests.support.servers import WAITING_TESTS, meeting
from tests.support.sites import SampleSite, SiteFactory


def test_code_is_named_by_its_subject(site: SampleSite) -> None:
    site.push_from_elsewhere(CODE, message="Raise the prices.")
    says(site.releaser("update", "--dry-run", check=0), "(Raise the prices.)")
    found = site.json("update")
    assert found["headline"].endswith("Raise the prices.")
    for command in ("history", "list"):
        assert "Raise the prices." in site.releaser(command, check=0).stdout
    run = site.json("history")[0]["run"]
    assert run in site.releaser("history", check=0).stdout
    assert run in site.releaser("logs", run, "--json", check=0).stdout


def test_law_20_what_was_cured_by_hand_is_no_news(site: SampleSite) -> None:
    site.replace("shop.py", "EDITION", "EDITION = 3\nOLD_EDITION")
    site.releaser("update", check=3)
    assert [problem["code"] for problem in site.json("status", check=10)["attention"]] == ["changed-files"]
    site.git("checkout", "--quiet", "--", "shop.py")
    assert site.json("status")["attention"] == []
    site.publish("alpha", "2.0.0", broken=True)
    site.releaser("update", check=5)
    status = site.json("status", check=10)
    assert status["last_run"]["ended_at"]
    assert status["last_run"]["ended_at"][:10] in site.releaser("status", check=10).stdout
    assert not [each for each in status["attention"] if "releaser status" in each["advice"]]


def test_law_20_28_status_names_a_run_at_work_and_a_wrong_name_changes_no_site(make_site: SiteFactory) -> None:
    site = make_site.live(files={"site_tests.py": WAITING_TESTS}, due="1.1.0")
    with during_tests(site):
        assert "well, and at work" in site.releaser("status", check=0).stdout
        assert "is at work" in site.json("status")["headline"]
    with no_change(site):
        finished = site.releaser("show", "nope", check=9)
    assert "unchanged" not in finished.stderr


@pytest.mark.slow
def test_the_wait_for_another_run_is_a_step(make_site: SiteFactory) -> None:
    site = make_site.live(files={"site_tests.py": WAITING_TESTS}, due="1.1.0")
    with meeting() as met, contextlib.ExitStack() as stack:
        update = stack.enter_context(site.starting("update", env=met.env))
        with met.kept_waiting():
            prune = stack.enter_context(site.starting("prune", "--json", "--wait", "60"))
            eventually(lambda: is_open(prune.pid, site.state / "lock"), "the wait for the lock")
        stdout, _ = prune.communicate(timeout=60)
        assert update.wait(timeout=60) == 0
    step = json.loads(stdout)["steps"][0]
    assert (step["step"], step["status"], step["seconds"] > 0) == ("wait", "done", True)
    assert f"process {update.pid}" in step["detail"]


@pytest.mark.slow
def test_law_06_a_good_release_is_used_again_after_a_rollback(site: SampleSite) -> None:
    live = site.update_to("1.1.0")
    site.releaser("rollback", check=0)
    site.releaser("unhold", "alpha", check=0)
    runs = len(site.test_runs())
    says(site.releaser("update", "--dry-run", check=0), f"{live} is good already, and not built again")
    found = site.json("update")
    assert (found["result"], site.live(), len(site.test_runs())) == ("updated", live, runs)
    assert [(each["name"], each["old"], each["new"]) for each in found["changes"]] == [("alpha", "1.0.0", "1.1.0")]
    assert site.states()[live] == "live"


@pytest.mark.slow
def test_law_06_what_an_automatic_rollback_left_is_built_again(site: SampleSite) -> None:
    (site.path.parent / "sick").touch()
    site.write_dotenv(health_check=NEW_IS_SICK, health_timeout="1s")
    site.publish("alpha", "1.1.0")
    site.releaser("update", check=6)
    site.releaser("unhold", "alpha", check=0)
    site.write_dotenv()
    runs = len(site.test_runs())
    site.releaser("update", check=0)
    assert (site.version("alpha"), len(site.test_runs())) == ("1.1.0", runs + 1)
