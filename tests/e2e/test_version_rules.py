"""Which versions an update takes: what is held or ignored, and how far it may go. With real uv."""

from pathlib import Path

import pytest

from tests.e2e.scenes import body, edit_pyproject, silent
from tests.locks.test_rules import CASES
from tests.support.sites import SampleSite, SiteFactory
from tests.support.wheels import write_sdist


def adopted(make_site: SiteFactory, **settings: object) -> SampleSite:
    """Make an adopted site for which there is a newer version of each of its two packages."""
    site = make_site.adopted(settings=settings, due="2.0.0")
    site.publish("beta", "1.1.0")
    return site


def versions(site: SampleSite) -> tuple[str | None, str | None]:
    """Return what is live of both packages."""
    return site.live_version("alpha"), site.live_version("beta")


# Holds


@pytest.mark.story
def test_what_a_person_holds_stays_and_all_are_told(make_site: SiteFactory) -> None:
    site = adopted(make_site)
    said = site.releaser("hold", "Alpha", "waits for the printer", check=0).stderr
    assert "alpha is on hold at 1.0.0 now" in said
    report = site.json("update", "--force")
    assert versions(site) == ("1.0.0", "1.1.0")
    (held,) = report["on_hold"]
    assert (held["name"], held["version"], held["by"], held["reason"]) == (
        "alpha",
        "2.0.0",
        "person",
        "waits for the printer",
    )
    assert "alpha 2.0.0: waits for the printer (on hold by you since 20" in body(site)
    (entry,) = site.json("status")["on_hold"]
    assert (entry["name"], entry["version"], entry["by"], entry["at"]) == ("alpha", "", "person", held["since"])
    assert "on hold: alpha: waits for the printer (on hold by you since 20" in site.releaser("status", check=0).stdout
    quiet = site.releaser("update", check=0)
    assert quiet.stdout + quiet.stderr == ""
    site.releaser("unhold", "alpha", check=0)  # the release shows what was held back when it was made
    (shown,) = site.json("show", site.live_id())["on_hold"]
    assert (shown["name"], shown["version"], shown["by"]) == ("alpha", "2.0.0", "person")
    told = f"on hold:\n  alpha 2.0.0: waits for the printer (on hold by you since {shown['since'][:10]})\n"
    assert told in site.releaser("show", site.live_id(), check=0).stdout


@pytest.mark.story
def test_a_lifted_hold_lets_the_package_in(make_site: SiteFactory) -> None:
    site = adopted(make_site)
    site.releaser("hold", "alpha", check=0)
    assert "is on hold at 1.0.0 already" in site.releaser("hold", "alpha", "-v", check=0).stderr
    assert site.json("hold", "alpha", "because")["result"] == "updated"
    assert site.json("status")["on_hold"][0]["reason"] == "because"
    assert "alpha would not be on hold" in site.releaser("unhold", "alpha", "--dry-run", check=0).stdout
    site.releaser("unhold", "ALPHA", check=0)
    site.releaser("update", check=0)
    assert versions(site) == ("2.0.0", "1.1.0")


@pytest.mark.story
def test_only_what_is_there_can_be_held_or_let_go(make_site: SiteFactory) -> None:
    site = adopted(make_site)
    for options in ((), ("--dry-run",)):
        said = site.releaser("hold", "alpah", *options, check=2).stderr
        assert "alpah is not in uv.lock" in said
        assert "Did you mean `alpha`" in said
        assert "is part of the checkout" in site.releaser("hold", "sample-site", *options, check=2).stderr
        assert "Nothing is on hold." in site.releaser("unhold", "alpha", *options, check=2).stderr
    site.releaser("hold", "beta", check=0)
    for options in ((), ("--dry-run",)):
        said = site.releaser("unhold", "alpha", *options, check=2).stderr
        assert "alpha is not on hold" in said
        assert "On hold: beta." in said


def test_a_hold_that_leaves_no_solution_is_named(make_site: SiteFactory) -> None:
    site = adopted(make_site)
    site.releaser("hold", "alpha", "waits for the printer", check=0)
    site.push_commit("Ask for more", {"pyproject.toml": edit_pyproject(site, '"alpha"', '"alpha>=2"')})
    report = site.json("update", check=4)
    (message,) = report["problems"]
    assert "the dependencies of the project have no solution" in message
    assert "alpha==1.0.0" in report["output"] + message
    assert "On hold by you: alpha (waits for the printer). To lift a hold, run `releaser unhold NAME`" in message
    assert versions(site) == ("1.0.0", "1.0.0")
    site.releaser("unhold", "alpha", check=0)
    site.releaser("update", check=0)
    assert versions(site) == ("2.0.0", "1.1.0")


# Settings


REAL = [(number, case) for number, case in enumerate(CASES) if number % 3 == 1 or "!" in case[0] or "rc" in case[0]]


def test_uv_chooses_what_the_table_of_the_policy_says(make_site: SiteFactory) -> None:
    rows = {f"row{number}": case for number, case in REAL}
    site = make_site(packages={name: locked for name, (locked, *_) in rows.items()})
    for name, (locked, available, *_) in rows.items():
        for version in available:
            if version != locked:
                site.publish(name, version)
    levels = ",".join(f"{name}={level}" for name, (_, _, level, _) in rows.items())
    plan = site.json("update", "--dry-run", env={"RELEASER_UPGRADE_PACKAGES": levels})
    chosen = {change["name"]: change["new"] for change in plan["changes"]}
    expected = {name: case[3] for name, case in rows.items() if case[3] != case[0]}
    assert chosen == expected
    assert len(rows) >= 20


def test_what_does_not_build_stops_nothing_if_it_is_kept_out_anyway(make_site: SiteFactory) -> None:
    """By other rules, too: tests/attacks/test_builds.py."""
    site = make_site.adopted()
    site.publish("beta", "1.1.0")
    offer_unbuildable(site.index.path, "alpha", "2.0.0")
    (problem,) = site.json("update", check=4)["problems"]
    assert problem.startswith("alpha 2.0.0 fails to build, so its dependencies are unknown")
    assert "To update the other packages meanwhile, run `releaser hold alpha`" in problem
    site.releaser("hold", "alpha", check=0)
    assert [(one["name"], one["new"]) for one in site.json("update")["changes"]] == [("beta", "1.1.0")]


def offer_unbuildable(directory: Path, name: str, version: str) -> None:
    """Offer the source of a version whose build fails."""
    files = {
        "pyproject.toml": '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n',
        "backend.py": 'raise SystemExit("no compiler")\n',
        "PKG-INFO": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
    }
    write_sdist(directory, name, version, files)


# Whatever `status` shows as held back can be let in again by the name that it shows, and is tried again then


# The site is well with what it has, and ill with anything newer.
WELL = "import alpha, beta\nassert alpha.__version__ == beta.__version__ == '1.0.0'\n"


def shown(site: SampleSite) -> dict[str, list[str]]:
    """Return the names under which `status` shows what is held back, by what it is; see that it does."""
    status, text = site.json("status"), site.releaser("status", check=0).stdout
    names = {
        "packages": [one["name"] for one in status["on_hold"]],
        "candidates": [one["release"] for one in (*status["failed_candidates"], *status["waiting"])],
        "commits": [one["commit"][:12] for one in status["commits_on_hold"]],
    }
    assert all(name in text for some in names.values() for name in some)
    return {kind: some for kind, some in names.items() if some}


def let_all_in(site: SampleSite) -> None:
    """Let in by its name whatever is shown, until nothing is."""
    while names := [name for some in shown(site).values() for name in some]:
        site.releaser("unhold", names[0], check=0)
        assert names[0] not in [name for some in shown(site).values() for name in some]


def test_versions_that_make_the_site_ill(make_site: SiteFactory) -> None:
    settings = {"health_check": ".venv/bin/python well.py", "health_retries": 0}
    site = make_site.adopted(settings=settings, files={"well.py": WELL})
    for name in ("alpha", "beta"):
        site.publish(name, "1.1.0")
    backed_out = site.json("update", check=6)["release"]
    assert shown(site) == {"packages": ["alpha", "beta"], "candidates": [backed_out]}
    silent(site.releaser("update"))
    let_all_in(site)
    site.releaser("update", check=6)
    let_all_in(site)
    site.releaser("update", check=0, env={"RELEASER_HEALTH_CHECK": "true"})
    assert (site.live_version("alpha"), site.live_version("beta")) == ("1.1.0", "1.1.0")


@pytest.mark.story
def test_a_version_that_the_tests_fail_with(make_site: SiteFactory) -> None:
    site = make_site.adopted()
    site.publish("alpha", "1.1.0", broken=True)
    site.update_to("beta", "1.1.0")
    assert shown(site)["packages"] == ["alpha"]
    silent(site.releaser("update"))
    let_all_in(site)
    assert "alpha" in site.releaser("update").stderr
