"""`why` says who requires a package, what blocks each newer version of it, and what lets that version in."""

import pytest

from tests.e2e.scenes import edit_pyproject, outer_snapshot
from tests.support.sites import SampleSite, SiteFactory, variables


def text_of(site: SampleSite, name: str) -> list[str]:
    return site.releaser("why", name, check=0).stdout.splitlines()


@pytest.mark.story
def test_each_newer_version_has_its_reasons_and_the_command_that_lets_it_in(make_site: SiteFactory) -> None:
    site = make_site.adopted(
        packages={"alpha": "1.0.0", "boss": "1.0.0"},
        dependencies=["alpha<3", "boss"],
        requires={"boss": ["alpha<2.1"]},
        dotenv=variables(upgrade_packages="boss=patch"),
    )
    site.publish("boss", "2.0.0", requires=["alpha"])
    for version in ("1.1.0", "2.0.0", "2.2.0", "3.0.0"):
        site.publish("alpha", version, broken=version == "2.0.0")
    before = outer_snapshot(site)
    found = site.json("why", "Alpha")
    assert outer_snapshot(site) == before
    assert (found["name"], found["version"], found["latest"], found["next"]) == ("alpha", "1.0.0", "3.0.0", "2.0.0")
    assert found["release"] == site.live_id()
    assert found["required_by"] == ["the project requires alpha<3", "boss 1.0.0 requires alpha<2.1"]
    kinds = {one["version"]: [by["by"] for by in one["blocked_by"]] for one in found["newer"]}
    both = ["constraint", "constraint"]
    assert kinds == {"3.0.0": both, "2.2.0": ["constraint"], "2.0.0": []}
    assert text_of(site, "alpha")[-7:-1] == [
        "    to allow it: change it in pyproject.toml, line 5, run `uv lock`, and commit both",
        "    boss 1.0.0 requires alpha<2.1",
        "    to allow it: a newer boss: `releaser why boss`",
        "2.2.0: constraint",
        "    boss 1.0.0 requires alpha<2.1",
        "    to allow it: a newer boss: `releaser why boss`",
    ]
    assert text_of(site, "alpha")[-1] == "2.0.0: nothing; the next update installs it"
    assert '    to allow it: set `upgrade_packages = {boss = "all"}`' in text_of(site, "boss")

    site.releaser("update")  # 2.0.0 breaks the tests, and 1.1.0 goes live
    (blocked,) = site.json("why", "alpha")["newer"][-1]["blocked_by"]
    assert (blocked["by"], blocked["remedy"]) == ("tests", "`releaser unhold alpha`")
    assert "test_" in blocked["reason"], "the test has a name"
    assert blocked["since"]


def test_a_package_without_a_newer_version_or_outside_of_the_lock(make_site: SiteFactory) -> None:
    site = make_site(kind="path", packages={"alpha": "1.0.0", "beta": "1.0.0"}, venv=True)
    lines = text_of(site, "alpha")
    assert lines == [
        "alpha 1.0.0: locked",
        "newest: 1.0.0",
        "required: the project requires alpha",
        "It is at its newest version.",
    ]
    for name, said in (("alpah", "Did you mean `alpha`?"), ("sample-site", "is part of the checkout"), ("", "name")):
        refused = site.releaser("why", name, check=2)
        assert (said in refused.stderr, refused.stdout) == (True, "")
    site.edit("pyproject.toml", edit_pyproject(site, "[tool.uv]\n", "[tool.uv]\nindex = [{}]\n"))
    assert "Correct [tool.uv]" in site.releaser("why", "alpha", check=4).stderr
