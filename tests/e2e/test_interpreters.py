"""An upgrade of the operating system exchanges or removes Python: one update leaves the site running, and says why."""

from pathlib import Path
from typing import Any

from tests.e2e.scenes import body, edit_pyproject, silent, states
from tests.support.pythons import Installation, RealPython, give_pythons, need_python, need_two_patches
from tests.support.sites import SampleSite, SiteFactory

RUNS_ON = "import sys; print('%d.%d.%d' % sys.version_info[:3])"


def site_on(make_site: SiteFactory, place: Path, python: RealPython, **options: Any) -> tuple[SampleSite, Installation]:
    """Make an adopted site on an interpreter of its own, the only one that it can find."""
    installation = Installation(place / "python", python)
    site = make_site(**options)
    give_pythons(site, installation)
    site.adopt()
    return site, installation


def versions(site: SampleSite) -> dict[str, str]:
    return {name: site.live_version(name) for name in ("alpha", "beta", "localtools")}


def live_is_tested(site: SampleSite) -> bool:
    tests = site.manage_runs("test")
    return bool(tests) and tests[-1].prefix == str(site.link.resolve())


def test_another_patch_version_and_then_none_at_all(make_site: SiteFactory, tmp_path: Path) -> None:
    old, new = need_two_patches()
    other = need_python("3.13")
    site, installation = site_on(make_site, tmp_path, old)
    first, before = site.live_id(), versions(site)
    site.update_to("alpha", "1.0.5")
    left = site.live_id()
    site.publish("alpha", "1.1.0")  # it waits until what is live is in order

    installation.upgrade(new)
    changed = f"Python {old.version} became Python {new.version} under it"
    problems = site.json("status")["problems"]
    assert any("its interpreter has changed" in problem for problem in problems)
    assert not any(f"release {first} " in problem for problem in problems)
    assert site.json("list")[0]["broken"]
    assert [one["message"] for one in site.json("verify", check=10)["problems"] if one["kind"] == "interpreter"] == [
        f"{changed} ({installation.executable})"
    ]
    # All earlier releases have the new patch version, too; without them there would be no way back.
    why = f"{first} was tested with another Python: {changed}"
    assert why in site.releaser("rollback", "--dry-run", check=0).stdout
    report = site.json("rollback")
    assert (report["release"], report["previous"], report["result"]) == (first, left, "rolled-back")
    assert why in str(report["problems"])
    assert (site.python(RUNS_ON), versions(site)) == (new.version, before)

    report = site.json("update")
    assert (report["result"], report["changes"], report["problems"]) == ("updated", [], [])
    assert site.json("verify")["ok"]
    assert [row["broken"] for row in site.json("list")] == [False, True, True]
    assert report["rebuilt"].startswith(changed)
    assert "site: rebuilt, Python" in site.outbox_mails()[-1]["subject"]
    assert changed in body(site)
    assert site.json("history")[0]["rebuilt"] == report["rebuilt"]
    assert site.live_id() == report["release"] != first
    assert (site.python(RUNS_ON), versions(site)) == (new.version, before)
    assert live_is_tested(site)
    site.releaser("update", check=0)
    assert site.live_version("alpha") == "1.1.0"
    assert site.json("update")["rebuilt"] is None
    before, dead = versions(site), site.live_id()

    give_pythons(site, other)
    gone = installation.executable
    installation.delete()
    site.publish("beta", "1.1.0")
    refused = site.releaser("rollback", check=9).stderr
    assert "its interpreter is gone" in refused
    assert f"To repair {report['release']}, reinstall Python {new.version} at its former path" in refused
    assert "Run `releaser update`: it rebuilds the release" in refused
    assert f"{dead} would be rebuilt, because its interpreter is gone" in site.json("update", "--dry-run")["would"][0]
    report = site.json("update")
    assert (report["result"], report["exit_code"], report["changes"]) == ("updated", 0, [])
    assert f"rebuilt {dead} as {report['release']}, because its interpreter is gone" in report["headline"]
    assert report["rebuilt"] == f"its interpreter is gone (Python {new.version} at {gone})"
    assert site.git("show", "HEAD:uv.lock") == site.lock_text().rstrip("\n")
    assert f"The site now runs on Python {other.version}" in body(site)
    assert (site.python(RUNS_ON), versions(site)) == (other.version, before)
    assert live_is_tested(site)

    # A rollback passes over one that is dead, and says so.
    rebuilt = site.live_id()
    said = site.releaser("rollback", check=9).stderr
    assert f"release {dead} is damaged: its interpreter is gone (Python {new.version} at" in said
    site.releaser("update", check=0)
    assert (site.live_version("beta"), site.python(RUNS_ON)) == ("1.1.0", other.version)
    said = site.releaser("rollback", dead, check=9).stderr
    assert f"To repair {dead}, reinstall Python {new.version} at its former path" in said
    assert f"To go to {rebuilt}, run `releaser rollback {rebuilt}`" in said
    site.releaser("rollback", check=0)
    assert (site.live_id(), site.python(RUNS_ON)) == (rebuilt, other.version)


def test_what_is_set_cannot_be_had_any_more(make_site: SiteFactory, tmp_path: Path) -> None:
    old, new = need_python("3.12"), need_python("3.13")
    site, installation = site_on(make_site, tmp_path, old, settings={"python": "3.12"})
    before = versions(site)
    give_pythons(site, new)
    installation.delete()

    command = "`releaser rebuild --python 3.13`"
    key = "pyproject.toml: tool.releaser.python is '3.12'"
    for name, code in (("update", 3), ("check", 3), ("rollback", 9)):
        said = site.releaser(name, check=code).stderr
        assert command in said
        assert key in said
    assert any(command in problem for problem in site.json("status")["problems"])
    report = site.json("rebuild", "--python", "3.13")
    assert (report["result"], report["exit_code"], report["changes"]) == ("updated", 0, [])
    assert any(key in problem and "Set it to '3.13'" in problem for problem in report["problems"])
    assert site.outbox_mails()[-1]["subject"].startswith("! site: ")
    assert site.python(RUNS_ON) == new.version
    assert versions(site) == before
    assert live_is_tested(site)
    site.releaser("update", check=3)  # as it said
    site.push_commit("Go to 3.13", {"pyproject.toml": edit_pyproject(site, 'python = "3.12"', 'python = "3.13"')})
    silent(site.releaser("update"))


def test_a_dead_release_stays_live_until_it_is_rebuilt_or_left_by_hand(make_site: SiteFactory, tmp_path: Path) -> None:
    """Earlier releases would work, but the interpreter may just not be visible for this run: nothing goes there."""
    newer = Installation(tmp_path / "newer", need_python("3.13"))
    site = make_site()
    give_pythons(site, need_python("3.12"), newer)
    site.adopt()
    site.update_to("alpha", "1.1.0")
    before = site.live_id()
    site.releaser("rebuild", "--python", "3.13", check=0)
    dead = site.live_id()
    newer.delete()
    site.releaser("prune", check=0)
    assert site.live_id() == dead
    newer = Installation(tmp_path / "newer", need_python("3.13"))  # it is back
    silent(site.releaser("update"))
    assert site.live_id() == dead

    newer.delete()
    (site.index.path / "alpha-1.1.0-py3-none-any.whl").write_bytes(b"half a download")
    site.env["UV_CACHE_DIR"] = str(tmp_path / "empty-cache")
    assert "a different file now" in site.json("update", check=4)["headline"]
    site.releaser("accept", "alpha", check=0)
    report = site.json("update", check=4)
    assert (report["live_changed"], site.live_id()) == (False, dead), "its replacement cannot be built"
    assert any("nothing can run on the live release" in problem for problem in report["problems"])
    report = site.json("rollback")
    assert (site.live_id(), report["previous"]) == (before, dead), "it goes back by one"
    assert site.restarted_at() is not None
    site.publish("alpha", "1.2.0")
    assert [one["new"] for one in site.json("update")["changes"]] == ["1.2.0"]


def test_a_new_release_is_not_taken_back_to_a_dead_one(make_site: SiteFactory, tmp_path: Path) -> None:
    old, new = need_python("3.12"), need_python("3.13")
    settings = {"collectstatic": "on", "restart": ["test", "-e", "../up"]}
    site, installation = site_on(make_site, tmp_path, old, settings=settings)
    dead = site.live_id()
    give_pythons(site, new)
    tools = site.outer.parent / "tools"
    (tools / "test").symlink_to("/usr/bin/test")
    installation.delete()
    checked = len(site.manage_runs("check"))
    env = {"RELEASER_HEALTH_CHECK": "python manage.py check"}
    report = site.json("update", env=env, check=7)
    assert (report["result"], report["release"]) == ("updated", site.live_id())
    (problem,) = [one for one in report["problems"] if "restart failed" in one]
    assert f"{site.live_id()} stays live anyway, as nothing can run on {dead}" in problem
    assert "site: rebuilt, 2 problems" in site.outbox_mails()[-1]["subject"]
    assert site.python(RUNS_ON) == new.version
    assert live_is_tested(site)
    assert len(site.manage_runs("check")) == checked + 1  # what comes behind the restart is done
    assert states(site)[site.live_id()] == "live"
    problem = site.json("status")["problems"][0]
    assert f"after {site.live_id()} went live, these steps failed" in problem
    assert "no earlier release existed to roll back to: restart" in problem

    again = site.json("update", env=env, check=7)  # its processes may still be dead
    assert (again["result"], again["live_changed"]) == ("no-changes", False)
    assert any("restart failed" in one for one in again["problems"])
    (site.outer / "up").touch()
    checked = len(site.manage_runs("check"))
    changed = site.path / "site_settings.py"
    text = changed.read_text(encoding="utf-8")
    changed.write_text(f"{text}# somebody is at work\n", encoding="utf-8")
    well = site.json("update", env=env, check=3)  # a restart needs nothing of the checkout
    changed.write_text(text, encoding="utf-8")
    assert f"after {site.live_id()} went live have now succeeded: restart and health check" in well["noted"]
    assert len(site.manage_runs("check")) == checked + 1
    assert "no way back" not in str(site.json("status")["problems"])
    silent(site.releaser("update", env=env))
    assert len(site.manage_runs("check")) == checked + 1
