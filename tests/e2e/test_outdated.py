"""`outdated`: what is newer, what the next update brings, what blocks each other version, and how to allow it."""

from typing import Any

import pytest

from tests.e2e.scenes import changes, no_change, says
from tests.support.sites import SampleSite, SiteFactory

_NAMES = ("alpha", "beta", "gamma", "delta", "eta", "zeta")


@pytest.fixture
def blocked(make_site: SiteFactory) -> SampleSite:
    """A site on which a hold, a level and two requirements block versions; no file fits, and one package is free."""
    site = make_site.live(packages=dict.fromkeys(_NAMES, "1.0.0"))
    site.publish("epsilon", "1.0.0", requires=["delta<2"])
    site.replace("pyproject.toml", '"gamma"', '"gamma<2", "epsilon"')
    site.replace("pyproject.toml", '"zeta"', '"zeta<3"')
    site.push_commit("Bound two packages", lock=True)
    site.releaser("update", check=0)
    for name in _NAMES:
        site.publish(name, "1.1.0")
        site.publish(name, "2.0.0")
    wheel = site.index / "zeta-3.0.0-py3-none-any.whl"
    site.publish("zeta", "3.0.0")
    wheel.rename(site.index / "zeta-3.0.0-cp39-cp39-win_amd64.whl")
    site.releaser("hold", "alpha", check=0)
    site.write_dotenv(upgrade_packages='{"beta": "minor"}')
    return site


def _list_rows(site: SampleSite, *names: str) -> dict[str, Any]:
    return {row["name"]: row for row in site.json("outdated", *names)["packages"]}


@pytest.mark.slow
def test_law_23_each_newer_version_has_its_reason_and_the_way_to_allow_it(blocked: SampleSite) -> None:
    """A hold, a level, two requirements: what `update --dry-run` brings, and why not the rest; nothing is written."""
    with no_change(blocked):
        answer = blocked.json("outdated")
    assert changes(answer) == changes(blocked.json("update", "--dry-run"))
    rows = {row["name"]: row for row in answer["packages"]}
    reasons = {name: (row["tonight"], [(b["version"], b["by"]) for b in row["blocked"]]) for name, row in rows.items()}
    assert reasons == {
        "alpha": (None, [("2.0.0", "hold")]),
        "beta": ("1.1.0", [("2.0.0", "level")]),
        "gamma": ("1.1.0", [("2.0.0", "requirement")]),
        "delta": ("1.1.0", [("2.0.0", "requirement")]),
        "eta": ("2.0.0", []),
        "zeta": ("2.0.0", []),
    }
    assert rows["alpha"]["blocked"][0]["allow"] == "`releaser unhold alpha`"
    assert '"beta" = "all"' in rows["beta"]["blocked"][0]["allow"]
    assert "pyproject.toml requires: `gamma<2`" in rows["gamma"]["blocked"][0]["reason"]
    assert "epsilon 1.0.0 requires: `delta<2`" in rows["delta"]["blocked"][0]["reason"]
    (zeta,) = blocked.json("outdated", "zeta")["packages"]
    assert [(entry["version"], entry["by"]) for entry in zeta["blocked"]] == [("3.0.0", "file"), ("1.1.0", "older")]
    finished = blocked.releaser("outdated", check=0)
    assert "`releaser unhold alpha`" in finished.stdout, str(finished)
    says(blocked.releaser("outdated", "epsilon", check=0), "No version newer than epsilon 1.0.0 is known.")
    says(blocked.releaser("hold", "eta", "--for", "2h", check=0), "Updates leave eta at 1.0.0 until ")


@pytest.mark.slow
def test_law_23_a_version_that_uv_bounds_is_named_with_that_bound(make_site: SiteFactory) -> None:
    site = make_site.live()
    site.replace("pyproject.toml", "no-index = true", 'no-index = true\nconstraint-dependencies = ["alpha<2"]')
    site.push_commit("Bound a package", lock=True)
    site.releaser("update", check=0)
    site.publish("alpha", "2.0.0")
    for names in ((), ("alpha",)):
        row = _list_rows(site, *names)["alpha"]
        assert (row["tonight"], [entry["version"] for entry in row["blocked"]]) == (None, ["2.0.0"])


@pytest.mark.slow
def test_law_37_outdated_says_what_a_dry_run_says(make_site: SiteFactory) -> None:
    """A candidate that failed, and a pause: the next update brings nothing, and the reason is the same."""
    site = make_site.live(due="1.1.0")
    site.publish("alpha", "1.2.0", broken=True)
    site.releaser("update", check=5)
    row = _list_rows(site, "alpha")["alpha"]
    assert (row["tonight"], [(entry["version"], entry["by"]) for entry in row["blocked"]]) == (
        None,
        [("1.2.0", "failed"), ("1.1.0", "older")],
    )
    with no_change(site):
        says(site.releaser("outdated", "alhpa", check=3), "Did you mean `alpha`?")
    site.releaser("pause", check=0)
    for command in ("outdated", "update --dry-run"):
        answer = site.json(command)
        assert (answer["decision"], answer["changes"]) == ("paused", []), answer
