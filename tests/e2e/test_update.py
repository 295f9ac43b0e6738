"""`update`: a night with newer packages or commits, one without, and one whose candidate fails."""

import os
from pathlib import Path

import pytest

from tests.e2e.scenes import (
    BROKEN_CODE,
    CODE,
    STEPS,
    changed_files,
    changes,
    during_tests,
    mostly_slow,
    refused,
    says,
    silent,
    step_names,
    times_of_tree,
)
from tests.support import trees
from tests.support.servers import WAITING_TESTS
from tests.support.sites import SampleSite, SiteFactory


def test_a_newer_package_is_tested_goes_live_and_is_published(make_site: SiteFactory) -> None:
    site = make_site.live(due="1.1.0")
    before, head, restarted = site.live(), site.head(), site.restarted_at()
    answer = site.json("update")
    assert (answer["result"], answer["exit_code"], answer["problems"]) == ("updated", 0, [])
    assert (answer["release"], answer["previous"]) == (site.live(), before)
    (change,) = answer["changes"]
    assert change == {"name": "alpha", "old": "1.0.0", "new": "1.1.0", "bump": "minor"}
    assert (site.version("alpha"), site.python("import alpha; print(alpha.__version__)")) == ("1.1.0", "1.1.0")
    assert site.restarted_at() != restarted
    assert (changed_files(site), site.git("rev-parse", "HEAD^"), site.status()) == ({"uv.lock"}, head, "")
    assert site.remote_head() == site.head()
    assert "alpha 1.0.0" in site.git("log", "-1", "--format=%B").replace("`", "")
    assert site.states() == {site.live(): "live", before: "previous"}
    names = step_names(answer)
    assert set(names) <= {*STEPS}
    order = [STEPS.index(name) for name in names]
    assert order == sorted(order)
    assert {"resolve", "build", "test", "flip", "restart", "publish"} <= {*names}
    assert all(step["status"] and step["seconds"] >= 0 for step in answer["steps"])


def test_law_27_a_quiet_night_prints_nothing(make_site: SiteFactory) -> None:
    site = make_site.live("1.1.0")
    live, runs = site.snapshot(), len(site.test_runs())
    silent(site.releaser("update"))
    assert "no changes" in site.releaser("update", "-v", check=0).stderr.lower()
    answer = site.json("update")
    assert (answer["result"], answer["changes"], answer["commits"]) == ("no-changes", [], [])
    assert (site.snapshot(), len(site.test_runs())) == (live, runs)


def test_law_01_nothing_of_the_live_site_changes_before_the_tests_have_passed(make_site: SiteFactory) -> None:
    site = make_site.live(files={"site_tests.py": WAITING_TESTS}, due="1.1.0")
    site.push_from_elsewhere(CODE)
    earlier, releases = site.snapshot(), trees.digest(site.release() / "venv")
    with during_tests(site):
        assert site.snapshot() == earlier
        site.edit("upload.txt", "from a visitor")  # an untracked file is no reason to stop
    assert trees.digest(site.release(site.json("list")[1]["id"]) / "venv") == releases
    assert (site.version("alpha"), (site.path / "shop.py").read_text(encoding="utf-8")) == ("1.1.0", CODE["shop.py"])


@pytest.mark.slow
def test_law_01_releases_that_share_files_by_hard_links_stay_what_they_were(user_site: SampleSite) -> None:
    site = user_site
    first = site.release() / "venv"
    earlier = trees.digest(first)
    site.update_to("1.1.0")
    second = site.release() / "venv"
    module = "lib/python*/site-packages/beta/__init__.py"
    ((old,), (new,)) = (list(venv.glob(module)) for venv in (first, second))
    assert old.stat().st_ino == new.stat().st_ino, "the releases share no file"
    assert not old.stat().st_mode & 0o222, "a file that releases share may be written"
    assert trees.digest(first) == earlier
    site.publish("beta", "1.1.0", broken=True)
    site.releaser("update", check=5)
    site.releaser("rollback", check=0)
    assert trees.digest(first) == earlier
    assert site.versions(first) == {"alpha": "1.0.0", "beta": "1.0.0", "localtools": "1.0.0"}


def test_law_03_what_goes_live_was_tested_with_this_lock_commit_and_python(make_site: SiteFactory) -> None:
    noted = "import pathlib, subprocess\nhead = subprocess.check_output(['git', 'rev-parse', 'HEAD'], text=True)\n"
    noted += "import os; pathlib.Path(os.environ.get('SITE_RECORD', '/dev/null') + '.head').write_text(head)\n"
    site = make_site.live(files={"site_tests.py": noted + WAITING_TESTS}, due="1.1.0")
    commit = site.push_from_elsewhere(CODE)
    site.releaser("update", check=0)
    (tested,) = site.test_runs("passed")
    assert (tested["prefix"], tested["versions"]) == (str(site.link.resolve()), site.versions())
    assert Path(f"{site.record}.head").read_text(encoding="utf-8").strip() == commit == site.git("rev-parse", "HEAD^")
    assert site.release().joinpath("uv.lock").read_text(encoding="utf-8") == site.lock()


@pytest.mark.parametrize("shadow", mostly_slow(["auto", "off"], "auto"))
def test_tests_see_the_candidate_and_run_away_from_the_site(make_site: SiteFactory, shadow: str) -> None:
    site = make_site.live(due="1.1.0", toml='\n[tool.releaser]\ntest_environment = { SHOP_MODE = "testing" }\n')
    site.write_dotenv(shadow=shadow)
    site.releaser("update", check=0)
    (tested,) = site.test_runs()
    venv = site.link.resolve()
    assert os.path.realpath(tested["env"]["VIRTUAL_ENV"]) == os.path.realpath(tested["prefix"]) == str(venv)
    assert os.path.realpath(tested["env"]["UV_PROJECT_ENVIRONMENT"]) == str(venv)
    assert tested["env"]["SHOP_MODE"] == "testing"
    is_mounted = "at the site's own paths" in site.releaser("check", check=0).stderr
    assert (is_mounted and shadow == "auto", Path(tested["cwd"]).name) == (Path(tested["cwd"]) == site.path, "site")
    assert list(site.state.glob("shadow-*")) == [], "the shadow outlives its run"


@pytest.mark.slow
def test_a_commit_that_fails_the_tests_does_not_reach_the_checkout(site: SampleSite) -> None:
    earlier = site.snapshot()
    site.push_from_elsewhere(BROKEN_CODE)
    finished = site.releaser("update", check=5)
    says(finished, "the shop is closed")
    assert {key for key, value in site.snapshot().items() if earlier.get(key) != value} == {"(remote)"}
    assert len(site.test_runs("failed")) == 1
    assert list(site.states().values()) == ["failed", "live"]
    site.push_from_elsewhere(CODE)
    assert site.json("update")["result"] == "updated"


@pytest.mark.slow
def test_a_candidate_that_failed_is_not_tried_again_until_something_changes(make_site: SiteFactory) -> None:
    site = make_site.live()
    site.publish("alpha", "1.1.0", broken=True)
    earlier = site.snapshot()
    first = site.releaser("update", check=5)
    says(first, "alpha")
    assert "already failing" not in first.stderr
    candidates = len([run for run in site.test_runs() if run["versions"]["alpha"] == "1.1.0"])
    assert candidates >= 1

    again = site.releaser("update", check=5)
    assert (again.stdout, again.stderr) == ("", "")  # the same failure each night says nothing again
    assert site.json("update", check=5)["result"] == "failed"
    assert len([run for run in site.test_runs() if run["versions"]["alpha"] == "1.1.0"]) == candidates
    assert site.snapshot() == earlier
    assert site.json("status", check=10)["well"] is False

    site.releaser("update", "--force", check=5)
    assert len([run for run in site.test_runs() if run["versions"]["alpha"] == "1.1.0"]) > candidates
    site.publish("alpha", "1.1.1")
    assert changes(site.json("update")) == {"alpha": ("1.0.0", "1.1.1")}


@pytest.mark.slow
def test_law_22_tests_that_fail_on_the_live_release_too_are_not_blamed_on_the_update(make_site: SiteFactory) -> None:
    """The tests ask for something outside of the site, which was there at first."""
    text = "import os, unittest\nclass Shop(unittest.TestCase):\n    def test_till(self):\n"
    text += "        self.assertTrue(os.path.exists(os.environ['SITE_RECORD'] + '.open'), 'the till is stuck')\n"
    site = make_site.live(due="1.1.0")
    site.push_from_elsewhere({"site_tests.py": text})
    opened = Path(f"{site.record}.open")
    opened.touch()
    site.releaser("update", check=0)
    site.publish("alpha", "1.2.0")
    opened.unlink()
    finished = site.releaser("update", check=5)
    says(finished, "already failing")
    assert {run["versions"]["alpha"] for run in site.test_runs("failed")} == {"1.2.0", "1.1.0"}
    opened.touch()
    site.releaser("update", "--force", check=0)


NOT_A_PASS = {
    "no tests": ("import unittest\n", "no tests"),
    "killed": ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n", "SIGKILL"),
    "timed out": ("import time\ntime.sleep(60)\n", "test_timeout"),
}


@pytest.mark.parametrize("name", mostly_slow(NOT_A_PASS, "no tests"))
def test_law_24_a_test_run_without_tests_killed_or_timed_out_is_not_a_pass(make_site: SiteFactory, name: str) -> None:
    text, word = NOT_A_PASS[name]
    site = make_site.live(due="1.1.0", dotenv={"RELEASER_TEST_TIMEOUT": "2s"})
    site.push_from_elsewhere({"site_tests.py": text})
    live = site.live()
    finished = site.releaser("update", check=5)
    says(finished, word)
    assert (site.live(), site.version("alpha")) == (live, "1.0.0")


def test_law_24_a_project_without_a_way_to_run_tests_is_refused(fresh: SampleSite) -> None:
    fresh.git("rm", "--quiet", "run_tests.py")
    fresh.push_commit("Remove the tests")
    says(fresh.releaser("init", check=3), "test_command")
    assert not fresh.link.exists()


@pytest.mark.parametrize("how", mostly_slow(["toml", "environment"], "environment"))
def test_the_test_command_is_a_list_in_toml_and_words_in_the_environment(make_site: SiteFactory, how: str) -> None:
    command = ["python", "run_tests.py", "a word", "$HOME"]
    site = make_site.live(settings={"test_command": command} if how == "toml" else {})
    if how == "environment":
        site.write_dotenv(test_command="python run_tests.py 'a word' $HOME")
    site.update_to("1.1.0")
    (tested,) = site.test_runs("passed")
    assert tested["argv"] == ["run_tests.py", "a word", "$HOME"]  # no shell


def test_a_dry_run_says_what_an_update_would_do_and_writes_nothing(make_site: SiteFactory) -> None:
    site = make_site.live(due="1.1.0")
    earlier = times_of_tree(site.outer)
    finished = site.releaser("update", "--dry-run", check=0)
    assert "alpha" in finished.stdout + finished.stderr
    assert "1.1.0" in finished.stdout + finished.stderr
    assert changes(site.json("update", "--dry-run")) == {"alpha": ("1.0.0", "1.1.0")}
    assert (times_of_tree(site.outer), site.test_runs()) == (earlier, [])


@pytest.mark.slow
def test_upgrade_none_deploys_the_committed_lock(make_site: SiteFactory) -> None:
    site = make_site.live(settings={"upgrade": "none"}, due="1.1.0")
    silent(site.releaser("update"))
    commit = site.push_from_elsewhere({}, upgrade=True)
    site.publish("alpha", "1.2.0")
    assert changes(site.json("update")) == {"alpha": ("1.0.0", "1.1.0")}
    assert (site.head(), site.remote_head(), site.status()) == (commit, commit, "")


def test_dependencies_without_a_solution_fail_the_build_alone(site: SampleSite) -> None:
    text = (site.path / "pyproject.toml").read_text(encoding="utf-8")
    site.push_from_elsewhere({"pyproject.toml": text.replace('"beta"', '"beta>=9"')})
    says(refused(site, "update", code=4), "beta")


@pytest.mark.slow
@pytest.mark.parametrize(("environment", "group"), [("local", "localtools"), ("production", "prodtools")])
def test_the_environment_chooses_the_dependency_group(make_site: SiteFactory, environment: str, group: str) -> None:
    site = make_site(dotenv={"RELEASER_ENVIRONMENT": environment})
    site.releaser("init", check=0)
    assert {*site.versions()} == {"alpha", "beta", group}


@pytest.mark.slow
def test_extras_are_installed_and_stay(make_site: SiteFactory) -> None:
    settings = 'extras = ["tools"]'
    site = make_site(
        packages={"alpha": "1.0.0", "beta": "1.0.0"},
        toml=f"\n[project.optional-dependencies]\ntools = ['prodtools']\n\n[tool.releaser]\n{settings}\n",
    )
    site.releaser("init", check=0)
    site.update_to("1.1.0")
    assert {*site.versions()} == {"alpha", "beta", "localtools", "prodtools"}


@pytest.mark.parametrize("setting", mostly_slow(["state_dir", "venv", "branch", "unix_group", "uv"], "venv"))
def test_a_commit_that_changes_where_the_site_lies_is_refused(site: SampleSite, setting: str) -> None:
    text = (site.path / "pyproject.toml").read_text(encoding="utf-8")
    site.push_from_elsewhere({"pyproject.toml": f'{text}\n[tool.releaser]\n{setting} = "elsewhere"\n'})
    says(refused(site, "update"), setting)


@pytest.mark.slow
def test_the_settings_of_a_new_commit_hold_for_its_own_release(site: SampleSite) -> None:
    text = (site.path / "pyproject.toml").read_text(encoding="utf-8")
    command = 'test_command = ["python", "run_tests.py", "new"]\nrestart_file = "restarted"'
    site.push_from_elsewhere({"pyproject.toml": f"{text}\n[tool.releaser]\n{command}\n"})
    site.releaser("update", check=0)
    (tested,) = site.test_runs("passed")
    assert tested["argv"][1:] == ["new"]
    assert (site.path / "restarted").exists()
