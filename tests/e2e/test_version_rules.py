"""Which versions an update takes: what is held or ignored, and how far it may go. With real uv."""

import pytest

from tests.e2e.scenes import body, edit_pyproject, silent
from tests.locks.test_rules import CASES
from tests.support.sites import SampleSite, SiteFactory


def versions(site: SampleSite) -> tuple[str, str]:
    """Return what is live of both packages."""
    return site.live_version("alpha"), site.live_version("beta")


@pytest.mark.story
def test_what_a_person_holds_stays_until_it_is_let_go(make_site: SiteFactory) -> None:
    site = make_site.adopted(due="2.0.0")
    site.publish("beta", "1.1.0")
    said = site.releaser("hold", "Alpha", "waits for the printer", check=0).stderr
    assert "alpha is on hold at 1.0.0 now" in said
    report = site.json("update", "--force")
    assert versions(site) == ("1.0.0", "1.1.0")
    (held,) = report["on_hold"]
    told = {"name": "alpha", "version": "2.0.0", "by": "person", "reason": "waits for the printer"}
    assert held | told == held
    assert "alpha 2.0.0: waits for the printer (on hold by you since 20" in body(site)
    (entry,) = site.json("status")["on_hold"]
    assert (entry["name"], entry["version"], entry["by"], entry["at"]) == ("alpha", "", "person", held["since"])
    assert "on hold: alpha: waits for the printer (on hold by you since 20" in site.releaser("status", check=0).stdout
    silent(site.releaser("update"))

    site.push_commit("Ask for more", {"pyproject.toml": edit_pyproject(site, '"alpha"', '"alpha>=2"')})
    report = site.json("update", check=4)
    (message,) = report["problems"]
    assert "the dependencies of the project have no solution" in message
    assert "alpha==1.0.0" in report["output"] + message
    assert "On hold by you: alpha (waits for the printer). To lift a hold, run `releaser unhold NAME`" in message
    assert versions(site) == ("1.0.0", "1.1.0")
    assert "is on hold at 1.0.0 already" in site.releaser("hold", "alpha", "-v", check=0).stderr
    assert site.json("hold", "alpha", "because")["result"] == "updated"
    assert site.json("status")["on_hold"][0]["reason"] == "because"
    assert "alpha would not be on hold" in site.releaser("unhold", "alpha", "--dry-run", check=0).stdout
    site.releaser("unhold", "ALPHA", check=0)  # the release shows what was held back when it was made
    (shown,) = site.json("show", site.live_id())["on_hold"]
    assert shown | told == shown
    text = f"on hold:\n  alpha 2.0.0: waits for the printer (on hold by you since {shown['since'][:10]})\n"
    assert text in site.releaser("show", site.live_id(), check=0).stdout
    site.releaser("update", check=0)
    assert versions(site) == ("2.0.0", "1.1.0")


@pytest.mark.story
def test_only_what_is_there_can_be_held_or_let_go(make_site: SiteFactory) -> None:
    site = make_site.adopted()

    def refuses(said: str, *words: str) -> None:
        for options in ((), ("--dry-run",)):
            assert said in site.releaser(*words, *options, check=2).stderr

    refuses("alpah is not in uv.lock", "hold", "alpah")
    refuses("Did you mean `alpha`", "hold", "alpah")
    refuses("is part of the checkout", "hold", "sample-site")
    refuses("Nothing is on hold.", "unhold", "alpha")
    site.releaser("hold", "beta", check=0)
    refuses("alpha is not on hold", "unhold", "alpha")
    refuses("On hold: beta.", "unhold", "alpha")


REAL = [case for number, case in enumerate(CASES) if number % 3 == 1 or "!" in case[0] or "rc" in case[0]]


def test_uv_chooses_what_the_table_of_the_policy_says(make_site: SiteFactory) -> None:
    rows = {f"row{number}": case for number, case in enumerate(REAL)}
    site = make_site(packages={name: locked for name, (locked, *_) in rows.items()})
    for name, (locked, available, *_) in rows.items():
        for version in available:
            if version != locked:
                site.publish(name, version)
    levels = ",".join(f"{name}={level}" for name, (_, _, level, _) in rows.items())
    plan = site.json("update", "--dry-run", env={"RELEASER_UPGRADE_PACKAGES": levels})
    chosen = {change["name"]: change["new"] for change in plan["changes"]}
    assert chosen == {name: case[3] for name, case in rows.items() if case[3] != case[0]}
    assert len(rows) >= 20


# The site is well with what it has, and ill with anything newer.
WELL = "import alpha, beta\nassert alpha.__version__ == beta.__version__ == '1.0.0'\n"


def let_all_in(site: SampleSite) -> dict[str, list[str]]:
    """Let in by the name that `status` shows whatever is held back, until nothing is; return what was, by its kind."""
    first = shown = held_back(site)
    while names := [name for some in shown.values() for name in some]:
        site.releaser("unhold", names[0], check=0)
        shown = held_back(site)
        assert names[0] not in [name for some in shown.values() for name in some]
    return first


def held_back(site: SampleSite) -> dict[str, list[str]]:
    status, text = site.json("status"), site.releaser("status", check=0).stdout
    names = {
        "packages": [one["name"] for one in status["on_hold"]],
        "candidates": [one["release"] for one in (*status["failed_candidates"], *status["waiting"])],
        "commits": [one["commit"][:12] for one in status["commits_on_hold"]],
    }
    assert all(name in text for some in names.values() for name in some)
    return names


def test_whatever_is_held_back_can_be_let_in_by_the_name_that_is_shown_and_is_tried_again(
    make_site: SiteFactory,
) -> None:
    settings = {"health_check": ".venv/bin/python well.py", "health_retries": 0}
    site = make_site.adopted(settings=settings, files={"well.py": WELL})
    for name in ("alpha", "beta"):
        site.publish(name, "1.1.0")
    backed_out = site.json("update", check=6)["release"]
    silent(site.releaser("update"))
    assert let_all_in(site) == {"packages": ["alpha", "beta"], "candidates": [backed_out], "commits": []}
    site.write_dotenv({"RELEASER_HEALTH_CHECK": "true"})
    site.releaser("update", check=0)
    assert versions(site) == ("1.1.0", "1.1.0")

    site.publish("alpha", "1.2.0", broken=True)
    site.update_to("beta", "1.2.0")
    silent(site.releaser("update"))
    assert let_all_in(site)["packages"] == ["alpha"]
    assert "alpha" in site.releaser("update").stderr
