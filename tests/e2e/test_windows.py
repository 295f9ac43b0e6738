"""Updates that wait: until they are due, and for their window."""

from datetime import datetime, timedelta

from tests.e2e.scenes import silent
from tests.support.sites import SiteFactory, variables


def _in_hours(first: float, last: float) -> str:
    now = datetime.now().astimezone()
    return f"{now + timedelta(hours=first):%H:%M}-{now + timedelta(hours=last):%H:%M}"


def test_an_update_waits_for_its_window_and_until_it_is_due(make_site: SiteFactory) -> None:
    site = make_site.adopted(dotenv=variables(window=_in_hours(2, 4), jitter="1s"), due="1.1.0")
    live, before = site.live_id(), site.snapshot()
    silent(site.releaser("update"))
    said = site.releaser("update", "--if-due", "-v", check=0).stderr
    assert "an update waits for the maintenance window, which opens " in said
    assert "To update now, run `releaser update --now`" in said
    answer = site.json("update", "--if-due")
    assert (answer["result"], answer["exit_code"], bool(answer["due_at"])) == ("no-changes", 0, True)
    for command in ("update --dry-run", "status"):
        assert "an update waits for the maintenance window" in site.releaser(command, check=0).stdout
    assert site.json("status")["due_at"] == answer["due_at"][:19] + answer["due_at"][-6:]
    assert site.json("status")["last_success"] is None  # monitoring must not take waiting for an update
    assert (site.live_id(), site.snapshot()) == (live, before)
    assert "updated to" in site.releaser("update", "--now", "-v", check=0).stderr
    site.publish("alpha", "1.2.0")
    site.releaser("update", "--if-due", "--now", check=2)
    env = {"RELEASER_WINDOW": _in_hours(-1, 1)}
    assert "the next update is due" in site.releaser("update", "--if-due", "-v", env=env, check=0).stderr
    env["RELEASER_EVERY"] = "1s"
    assert "updated to" in site.releaser("update", "--if-due", "-v", env=env, check=0).stderr


def test_what_a_killed_update_has_left_does_not_wait(make_site: SiteFactory) -> None:
    site = make_site.adopted(due="1.1.0")
    site.releaser("update", env={"RELEASER_RESTART": "sh -c 'kill -9 $PPID'"}, check=-9)
    assert site.json("status")["interrupted"]
    found = site.releaser("update", "--if-due", "-v", env={"RELEASER_WINDOW": _in_hours(2, 4)}).stderr
    assert "an update waits for the maintenance window" in found
    assert not site.json("status")["interrupted"]
    assert site.json("history")[0]["due_at"]
