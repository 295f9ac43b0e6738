"""Static files are collected before visitors see the code that needs them, and can be collected at all."""

from collections.abc import Callable

import pytest

from tests.e2e.interrupting import Point, go_on, interrupted, stopped
from tests.e2e.refusals import unfit
from tests.e2e.scenes import step, steps
from tests.support.sites import SampleSite, SiteFactory

EARLIER, NEWER = "1.1.0", "1.2.0"  # of alpha; the newer one comes with a commit


def both_due(site: SampleSite) -> None:
    site.publish("alpha", NEWER)
    site.push_from_elsewhere({"notes.txt": "news"})


@pytest.fixture
def site(make_site: SiteFactory) -> SampleSite:
    """A site that has collected its static files, with a package and a commit that are due."""
    return make_site.adopted(EARLIER, prepare=both_due)


def collected(site: SampleSite) -> str:
    """Return for which version of alpha static files were collected last."""
    return (site.static_versions() or {})["alpha"]


def test_nothing_but_the_flip_lies_between_the_code_and_the_restart(site: SampleSite) -> None:
    for command, version in (("update", NEWER), ("rollback", EARLIER)):
        found = steps(site.json(command))
        assert found.index("collectstatic") < found.index("move checkout")
        assert found[found.index("move checkout") : found.index("restart") + 1] == [
            "move checkout", "flip", "python start", "restart"
        ]  # fmt: skip
        assert found.count("collectstatic") == 1
        assert (collected(site), site.live_version("alpha")) == (version, version)
        assert (site.path / "notes.txt").exists() == (version == NEWER)
    assert not list(site.outer.glob(".site.releaser-staging*"))
    places = site.path / ".git" / "worktrees"
    if places.exists():
        places.rmdir()
    places.touch()  # where git would note the staging tree, so that they wait for the flip
    found = steps(site.json("rollback", site.releases()[-1]))
    assert found.index("flip") < found.index("collectstatic") < found.index("restart")
    assert (collected(site), site.live_version("alpha")) == (NEWER, NEWER)


def test_those_of_a_package_that_is_found_in_the_checkout_wait_for_the_flip(make_site: SiteFactory) -> None:
    """A sealed release has its editable packages there, and until the flip the checkout has them as they were."""
    site = make_site(venv=True, kind="packaged")
    text = (site.path / "manage.py").read_text(encoding="utf-8")
    version = 'repr({"code": __import__("sample_site").__version__})'
    site.push_commit("Collect from the package", {"manage.py": text.replace("repr(versions())", version)})
    site.update_to("alpha", "1.1.0")
    code = (site.path / "src/sample_site/__init__.py").read_text(encoding="utf-8")
    site.push_from_elsewhere({"src/sample_site/__init__.py": code.replace("0.1.0", "0.10.0")})
    # Of another length: Python takes a module of the same second and size for the one that it has compiled.
    for command, there in (("update", "0.10.0"), ("rollback", "0.1.0")):
        found = steps(site.json(command))
        assert found.index("flip") < found.index("collectstatic") < found.index("restart")
        assert site.static_versions() == {"code": there}


@pytest.mark.parametrize(
    ("command", "at", "meddle"),
    [
        (
            "update",
            Point(place="releaser.pipelines.deploy:refuse_changes", when="before"),
            lambda site: site.commit("Mine", {"mine.txt": ""}),
        ),
        (
            "rollback",
            Point(place="releaser.serving.static_files:collectstatic"),
            lambda site: site.edit("notes.txt", "mine"),
        ),
    ],
    ids=["update", "rollback"],
)
def test_they_are_put_back_where_somebody_was_at_work(
    site: SampleSite, command: str, at: Point, meddle: Callable[[SampleSite], object]
) -> None:
    here, there = EARLIER, NEWER
    if command == "rollback":
        site.releaser("update", check=0)
        here, there = there, here
    with stopped(site, command, at=at) as process:
        assert collected(site) == there
        meddle(site)
        told = go_on(process, 3)
    assert "with the packages of another commit" not in told
    assert (collected(site), site.live_version("alpha")) == (here, here)
    notes = site.path / "notes.txt"
    assert (notes.read_text(encoding="utf-8") if notes.exists() else "") == ("mine" if command == "rollback" else "")


def test_what_a_failure_has_written_is_put_back_and_it_is_tried_again_with_the_release_live(site: SampleSite) -> None:
    text = (site.path / "manage.py").read_text(encoding="utf-8")
    done = '    say("1 static file copied.")\n    return 0\n'
    assert done in text
    site.push_from_elsewhere({"manage.py": text.replace(done, done.replace("return 0", "return 1"))})
    interrupted(site, "update", at=Point(place="releaser.actions.checkout:move_checkout", when="before"))
    assert collected(site) == NEWER
    site.releaser("prune", check=0)
    assert (collected(site), site.live_version("alpha")) == (EARLIER, EARLIER)
    report = site.json("update", check=6)
    assert step(report, "collectstatic again")["status"] == "ok"
    assert (collected(site), site.live_version("alpha")) == (EARLIER, EARLIER)


# Where they go, on a site that stands in for Django

SETTINGS = """\
INSTALLED_APPS = ["django.contrib.staticfiles"]
STATIC_ROOT = "../static_out"
"""


def site_with(make_site: SiteFactory, settings: str) -> SampleSite:
    """Make an adopted site with these settings of Django."""
    return make_site.adopted(files={"site_settings.py": settings, "run_tests.py": ""})


def test_a_site_that_cannot_be_asked_is_updated_all_the_same(make_site: SiteFactory) -> None:
    """Its own tests will tell whether it is ill."""
    site = site_with(make_site, "raise SystemExit('there is no database')")
    site.publish("alpha", "1.1.0")
    unknown = "the directory of static files is not known yet: Django does not answer: there is no database"
    assert unknown in site.releaser("check", check=0).stderr
    report = site.json("update")
    assert step(report, "static files")["status"] == "warning"
    assert step(report, "collectstatic")["status"] == "warning"
    assert report["result"] == "updated"


def test_django_is_asked_no_more_where_static_files_can_go(make_site: SiteFactory) -> None:
    """Before the flip it is; and a rollback asks the release that it goes to."""
    site = site_with(make_site, SETTINGS)
    site.update_to("alpha", "1.1.0")
    asked = len(site.manage_runs("shell"))
    site.update_to("alpha", "1.2.0")
    assert len(site.manage_runs("shell")) == asked + 2  # before the flip, and before files are collected
    (site.outer / "static_out").rename(site.outer / "static_before")
    (site.outer / "static_out").touch()
    site.publish("alpha", "1.3.0")
    live = site.live_id()
    report = site.json("update", check=3)
    assert step(report, "static files")["status"] == "failed"
    assert "build" not in steps(report)
    told = site.releaser("rollback", check=3).stderr
    assert "collectstatic cannot write there: it is not a directory" in told
    assert site.live_id() == live
    site.write_dotenv({"RELEASER_COLLECTSTATIC": "on"})
    site.edit("site_settings.py", SETTINGS.replace('"django.contrib.staticfiles"', ""))
    unfit(site).says("django.contrib.staticfiles is not in INSTALLED_APPS")
