"""Commands of a site at fixed points of a run: what they find, what their failure means, and what a kill leaves."""

import contextlib
import json
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.interrupting import Point, interrupted
from tests.e2e.scenes import STEPS, body, silent, states, step, steps
from tests.support.sites import SampleSite, SiteFactory

HOOKS = ("before_build", "before_live", "after_static", "after_live", "on_failure", "on_rollback")
# Notes where it runs and what it is told; it fails if there is a file with the name of its hook.
NOTE = """\
import json, os, pathlib, sys
place, hook = pathlib.Path(__file__).parent, sys.argv[1]
made = pathlib.Path("made.txt")
if hook == "before_build":
    made.touch()
with (place / "notes").open("a") as file:
    facts = {name: value for name, value in os.environ.items() if name.startswith(("RELEASER_", "VIRTUAL_"))}
    note = {"hook": hook, "cwd": os.getcwd(), "env": facts, "made": made.exists(), "report": json.load(sys.stdin)}
    print(json.dumps(note), file=file)
print(f"{hook} was here", flush=True)
if (place / f"fails-{hook}").exists():
    sys.exit(f"{hook} has its reasons")
"""


class Hooked:
    """A site all of whose hooks note what they find."""

    def __init__(self, make_site: SiteFactory, place: Path) -> None:
        self.place = place
        (place / "note.py").write_text(NOTE, encoding="utf-8")
        command = shlex.join([sys.executable, str(place / "note.py")])
        dotenv = {f"RELEASER_{one.upper()}": f"{command} {one}" for one in HOOKS}
        self.site: SampleSite = make_site.adopted(dotenv={**dotenv, "RELEASER_STAGING_OMIT": "made.txt"})

    @contextlib.contextmanager
    def failing(self, *hooks: str) -> Iterator[None]:
        files = [self.place / f"fails-{hook}" for hook in hooks]
        for file in files:
            file.touch()
        yield
        for file in files:
            file.unlink()

    def notes(self) -> list[dict[str, Any]]:
        """Return what has been noted since this was asked last."""
        file = self.place / "notes"
        found = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.exists() else []
        file.unlink(missing_ok=True)
        first = next((one for one in found if one["hook"] == HOOKS[0]), None)  # it runs again behind the tests
        return [one for one in found if one is first or one["hook"] != HOOKS[0]]

    def ran(self) -> list[str]:
        return [one["hook"] for one in self.notes()]


@pytest.fixture
def hooked(make_site: SiteFactory, tmp_path: Path) -> Hooked:
    return Hooked(make_site, tmp_path)


@pytest.mark.story
def test_each_runs_in_its_place_and_is_told_what_is_known(hooked: Hooked) -> None:
    site, before = hooked.site, hooked.site.live_id()
    silent(site.releaser("update"))
    assert hooked.ran() == []
    site.publish("alpha", "1.1.0")
    report = site.json("update")
    found = steps(report)
    places = [found.index(name) for name in ("before_build", "build", "test", "before_live", "flip", "collectstatic")]
    assert places == sorted(places)
    assert found[found.index("flip") + 1 : found.index("after_live")] == [*STEPS]
    notes = {one["hook"]: one for one in hooked.notes()}
    assert list(notes) == ["before_build", "before_live", "after_static", "after_live"]
    venv = site.link.resolve()
    for name, one in notes.items():
        told, is_staged = one["report"], name.startswith("before_")
        assert told.keys() == report.keys()
        assert (one["cwd"] != str(site.path)) == is_staged == one["made"]
        expected = {"RELEASER_HOOK": name, "RELEASER_PROJECT": str(site.path)}
        expected["RELEASER_RELEASE"] = "" if name == "before_build" else str(venv.parent)
        expected |= {} if name == "before_build" else {"VIRTUAL_ENV": str(venv)}
        assert one["env"] == expected
        if name != "before_build":
            assert (told["release"], told["previous"]) == (report["release"], before)
            assert told["changes"][0]["name"] == "alpha"
        assert told["live_changed"] == (name in ("after_static", "after_live"))
    assert "after_live was here" in step(report, "after_live")["detail"]
    report = site.json("rollback")
    assert [one["hook"] for one in hooked.notes()] == ["after_static", "on_rollback"]
    assert steps(report).index([*STEPS][-1]) < steps(report).index("on_rollback")


def test_what_may_refuse_does_and_live_is_unchanged(hooked: Hooked) -> None:
    site, before = hooked.site, hooked.site.snapshot()
    site.publish("alpha", "1.1.0")
    for hook, code in (("before_build", 4), ("before_live", 5)):
        with hooked.failing(hook):
            report = site.json("update", check=code)
        assert f"{hook}: " in report["headline"]
        assert f"{hook} has its reasons" in report["headline"]
        assert f"{hook} was here" in report["output"]
        assert f"{hook} was here" in body(site)
        assert (site.snapshot(), report["live_changed"], len(site.releases())) == (before, False, 1)
        *_, last = hooked.notes()
        assert (last["hook"], last["report"]["exit_code"]) == ("on_failure", code)
    assert site.json("status")["failed_candidates"] == []
    site.releaser("update", check=0)  # nothing is held against the candidate
    assert site.live_version("alpha") == "1.1.0"


def test_after_static_counts_as_collectstatic_does(hooked: Hooked) -> None:
    site, before = hooked.site, hooked.site.live_id()
    site.publish("alpha", "1.1.0")
    with hooked.failing("after_static"):
        report = site.json("update", check=6)
    assert "collectstatic failed: after_static" in report["headline"]
    assert site.live_id() == before
    notes = hooked.notes()
    ran = ["before_build", "before_live", "after_static", "after_static", "on_rollback", "on_failure"]
    assert [one["hook"] for one in notes] == ran
    back, failed = (one["report"] for one in notes[-2:])
    assert (back["result"], back["exit_code"], back["previous"]) == ("rolled-back", 6, before)
    assert back["headline"] in failed["headline"]
    assert notes[-2]["env"]["RELEASER_RELEASE"].endswith(before)


def test_the_others_fail_without_an_effect_on_the_site(hooked: Hooked) -> None:
    site = hooked.site
    site.publish("alpha", "1.1.0")
    with hooked.failing("on_rollback", "on_failure"):
        with hooked.failing("after_live"):
            report = site.json("update", check=7)
            assert any("after_live failed" in problem and "stays live" in problem for problem in report["problems"])
            assert site.live_version("alpha") == "1.1.0"
            assert states(site)[site.live_id()] == "live"
            hooked.ran()
            site.releaser("update", check=7)  # it is due again, and nothing else is
            assert hooked.ran() == ["after_live"]
        report = site.json("update")
        assert "after_live" in report["noted"]
        assert (hooked.ran(), site.json("update")["result"]) == (["after_live"], "no-changes")
        report = site.json("rollback")
        assert any("on_rollback" in problem for problem in report["problems"])
        hooked.ran()
        site.publish("beta", "1.1.0", broken=True)
        report = site.json("update", check=5)
        assert any("on_failure" in problem for problem in report["problems"])
        assert hooked.ran()[-1] == "on_failure"


def test_an_interrupted_run_has_failed_and_a_kill_lets_recovery_run_what_is_not_noted_as_done(hooked: Hooked) -> None:
    site = hooked.site
    site.publish("alpha", "1.1.0")
    interrupted(site, "update", at=Point(place="releaser.gates.before_live:run_hook"), by="SIGTERM")
    last = hooked.notes()[-1]
    assert (last["hook"], last["report"]["exit_code"]) == ("on_failure", 143)
    # The hooks before it, which other modules run: before_build, before_live, after_static.
    interrupted(site, "update", at=Point(place="releaser.actions.hooks:run_hook"))
    assert hooked.ran() == ["before_build", "before_live", "after_static", "after_live"]
    site.releaser("prune", check=0)
    assert hooked.ran() == ["after_live"]
    assert site.live_version("alpha") == "1.1.0"
    silent(site.releaser("update"))


def test_migrations_that_a_hook_has_applied_are_not_told_as_missing(make_site: SiteFactory, tmp_path: Path) -> None:
    database = tmp_path / "database"
    database.touch()
    files = {
        "site_settings.py": 'INSTALLED_APPS = ["django.contrib.staticfiles"]\nSTATIC_ROOT = "static_out"\n'
        f"DATABASE = {str(database)!r}\nMIGRATIONS = ()\n"
    }
    site = make_site(venv=True, dotenv={"RELEASER_BEFORE_LIVE": "python manage.py migrate"}, files=files)
    site.releaser("init", check=0)
    site.publish(
        "alpha", "1.1.0", modules={"alpha/__init__.py": '__version__ = "1.1.0"\nMIGRATIONS = ("0002_price",)\n'}
    )
    report = site.json("update")
    assert (report["migrations"], report["problems"]) == ([], [])
    assert "0002_price" in database.read_text(encoding="utf-8")
