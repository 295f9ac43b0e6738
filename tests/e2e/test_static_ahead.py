"""Static files of new code are collected before visitors see that code: nothing keeps the restart waiting."""

import pytest

from tests.e2e.interrupting import Point, go_on, interrupted, stopped
from tests.e2e.scenes import steps
from tests.support.sites import SampleSite, SiteFactory


def both_due(site: SampleSite) -> None:
    site.publish("alpha", "1.2.0")
    site.push_from_elsewhere({"notes.txt": "news"})


@pytest.fixture
def site(make_site: SiteFactory) -> SampleSite:
    """A site that has collected its static files, with a package and a commit that are due."""
    return make_site.adopted("1.1.0", prepare=both_due)


def static(site: SampleSite) -> str:
    return (site.static_versions() or {})["alpha"]


def test_nothing_but_the_flip_lies_between_the_code_and_the_restart(site: SampleSite) -> None:
    report = site.json("update")
    found = steps(report)
    assert found.index("collectstatic") < found.index("move checkout")
    assert found[found.index("move checkout") : found.index("restart") + 1] == [
        "move checkout", "flip", "python start", "restart"
    ]  # fmt: skip
    assert found.count("collectstatic") == 1
    assert static(site) == "1.2.0"


def test_those_of_a_package_that_is_found_in_the_checkout_wait_for_the_flip(make_site: SiteFactory) -> None:
    """A sealed release has its editable packages there, and until the flip the checkout has them as they were."""
    site = make_site(venv=True, kind="packaged")
    text = (site.path / "manage.py").read_text(encoding="utf-8")
    version = 'repr({"code": __import__("sample_site").__version__})'
    site.push_commit("Collect from the package", {"manage.py": text.replace("repr(versions())", version)})
    site.update_to("alpha", "1.1.0")
    assert site.static_versions() == {"code": "0.1.0"}
    code = (site.path / "src/sample_site/__init__.py").read_text(encoding="utf-8")
    site.push_from_elsewhere({"src/sample_site/__init__.py": code.replace("0.1.0", "0.10.0")})
    # Of another length: Python takes a module of the same second and size for the one that it has compiled.
    for command, there in (("update", "0.10.0"), ("rollback", "0.1.0")):
        found = steps(site.json(command))
        assert found.index("flip") < found.index("collectstatic") < found.index("restart")
        assert site.static_versions() == {"code": there}


def test_they_are_put_back_where_somebody_was_at_work(site: SampleSite) -> None:
    with stopped(site, "update", at=Point(place="releaser.pipelines.deploy:refuse_changes", when="before")) as process:
        assert static(site) == "1.2.0"
        site.commit("Mine", {"mine.txt": ""})
        go_on(process, 3)
    assert (static(site), site.live_version("alpha")) == ("1.1.0", "1.1.0")


def test_what_a_failure_ahead_has_written_is_put_back_too(site: SampleSite) -> None:
    text = (site.path / "manage.py").read_text(encoding="utf-8")
    done = '    say("1 static file copied.")\n    return 0\n'
    assert done in text
    site.push_from_elsewhere({"manage.py": text.replace(done, done.replace("return 0", "return 1"))})
    interrupted(site, "update", at=Point(place="releaser.actions.checkout:move_checkout", when="before"))
    assert static(site) == "1.2.0"
    site.releaser("prune", check=0)
    assert (static(site), site.live_version("alpha")) == ("1.1.0", "1.1.0")
