"""Requests of the page of `releaser serve`: a run carries them out, each once, as the owner of the site."""

from pathlib import Path
from typing import Any

import pytest

from releaser.core.request import Wanted
from releaser.releases.requests import leave
from tests.e2e.scenes import body, silent
from tests.support.commands import console_script, run
from tests.support.sites import SampleSite, SiteFactory, variables


def opened(site: SampleSite) -> Path:
    """Make the directory for requests, and return it."""
    directory = site.outer / "requests"
    directory.mkdir(mode=0o700)
    site.write_dotenv(variables(request_dir=directory))
    return directory


def request(site: SampleSite, action: str, **more: str) -> str:
    """Leave a request, as the page does."""
    return leave(site.outer / "requests", Wanted(project=str(site.path), action=action, **more))


def taken(site: SampleSite) -> list[Any]:
    """Carry out the waiting requests, and return the result of each."""
    found: list[Any] = site.json("run-requests")
    return found


@pytest.mark.story
def test_each_request_is_carried_out_once_and_says_who_made_it(make_site: SiteFactory) -> None:
    site = make_site.adopted(dotenv=variables(window="Mon 00:00-00:01"), due="1.1.0")
    assert site.json("run-requests") == []  # request_dir is not set
    directory, first = opened(site), site.live_id()
    silent(site.releaser("run-requests", check=0))
    one = request(site, "update", by="alice")
    assert (
        "would carry out: update now, for alice on the page of "
        in site.releaser("run-requests", "--dry-run", check=0).stdout
    )
    assert site.json("status")["requests_waiting"] == 1
    (done,) = taken(site)
    assert (done["id"], done["what"], done["result"], done["exit_code"]) == (one, "update now", "updated", 0)
    assert (site.live_version("alpha"), list(directory.iterdir())) == ("1.1.0", [])
    assert "Requested by alice on the page of " in body(site)
    assert "requested by alice on the page of " in site.releaser("history", check=0).stdout
    (run, *_) = site.json("history")
    assert (run["command"], run["requested_by"]) == ("update", done["by"])
    status = site.json("status")
    assert (status["requests"], status["requests_waiting"], status["request_dir"]) == ([done], 0, str(directory))
    assert "last request: update now" in site.releaser("status", check=0).stdout
    # Several at once, in their order; then the nightly update takes up what waits.
    for action, more in {
        "hold": {"name": "Alpha", "reason": "the sale", "by": "bob"}, "rollback": {"live": status["live"]},
        "pause": {"length": "7d", "by": "deploy"},
    }.items():  # fmt: skip
        request(site, action, **more)
    assert [(one["what"], one["result"]) for one in taken(site)] == [
        ("hold Alpha", "updated"), ("roll back", "rolled-back"), ("pause updates for a week", "updated"),
    ]  # fmt: skip
    assert site.live_id() == first
    assert site.json("status")["paused_by"].startswith("deploy on the page of ")
    # A click on a page that still shows the release before: the run must not go back once more.
    request(site, "rollback", live=status["live"])
    (late,) = site.json("run-requests", check=3)
    assert (late["result"], site.live_id()) == ("refused", first)
    assert f"{first} is live now, not {status['live']}" in late["headline"]
    (hold,) = (one for one in site.json("status")["on_hold"] if one["by"] == "person")
    assert (hold["name"], "the sale (requested by bob)" in hold["reason"]) == ("alpha", True)
    request(site, "resume")
    request(site, "unhold", name="alpha")
    assert site.json("update")["exit_code"] == 0
    status = site.json("status")
    assert (status["paused"], [one["what"] for one in status["requests"][:2]]) == (
        "", ["take off hold alpha", "end the pause"]
    )  # fmt: skip


def test_a_package_is_updated_during_a_pause_and_an_unknown_name_is_reported(make_site: SiteFactory) -> None:
    site = make_site.adopted(due="1.1.0")
    opened(site)
    site.releaser("pause", check=0)
    packages = '{alpha = {publish = "branch"}}'
    request(site, "update-package", name="alpha")
    site.releaser("run-requests", env={"RELEASER_PACKAGES": packages}, check=0)
    assert site.live_version("alpha") == "1.0.0"  # it needs a review, which no click replaces
    request(site, "update-package", name="nothing-of-that-name")
    request(site, "update-package", name="alpha")
    finished = site.releaser("run-requests", check=10)
    assert "request refused: update this package now nothing-of-that-name" in finished.stderr
    assert site.live_version("alpha") == "1.1.0"
    assert [one["result"] for one in site.json("status")["requests"]] == ["updated", "refused", "no-changes"]


def test_a_request_that_was_cut_off_is_not_repeated_and_an_open_directory_is_ignored(make_site: SiteFactory) -> None:
    site = make_site.adopted(due="1.1.0")
    opened(site)
    request(site, "update")
    site.releaser("run-requests", env={"RELEASER_BEFORE_LIVE": "sh -c 'kill -9 $PPID'"}, check=-9)
    assert site.json("status")["requests"][0]["result"] == ""
    assert taken(site) == []  # once: the run that was killed is recovered, and not repeated
    assert site.json("update")["exit_code"] == 0
    request(site, "rollback")
    (site.outer / "requests").chmod(0o777)
    silent(site.releaser("update"))
    ignored = f"request_dir {site.outer / 'requests'} is writable by all users"
    assert ignored in site.releaser("check", check=0).stderr
    assert ignored in site.releaser("run-requests", check=3).stderr
    assert ignored in site.releaser("status").stdout


def test_the_line_for_cron_runs_the_requests_of_all_sites_and_is_silent_without_any(make_site: SiteFactory) -> None:
    site = make_site.adopted(due="1.1.0")
    opened(site)
    sites = site.outer.parent / "sites.toml"
    sites.write_text(f'[[site]]\npath = "{site.path}"\n', encoding="utf-8")
    words: list[str | Path] = [console_script(), "run-requests", "--sites", sites]
    silent(run(words, cwd=site.outer, env=site.environment()))
    request(site, "hold", name="alpha")
    request(site, "hold", name="missing")
    finished = run(words, cwd=site.outer, env=site.environment(), check=2)
    assert "missing is not in uv.lock" in finished.stdout
    assert [one["name"] for one in site.json("status")["on_hold"]] == ["alpha"]
