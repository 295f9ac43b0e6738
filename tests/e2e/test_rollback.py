"""`rollback`: of packages, of packages and code, and what updates skip afterwards."""

import pytest

from tests.e2e.scenes import CODE, changed_files, changes, mostly_slow, refused, says, silent, times_of_tree
from tests.support.sites import SampleSite, SiteFactory

OLD_CODE = "EDITION = 1"


@pytest.fixture
def updated(make_site: SiteFactory) -> SampleSite:
    """A site that was updated from alpha 1.0.0 to 1.1.0."""
    return make_site.live("1.1.0")


def test_a_rollback_takes_packages_and_lock_back_and_publishes_that(updated: SampleSite) -> None:
    site = updated
    second, first = site.states()
    head, restarted = site.head(), site.restarted_at()
    answer = site.json("rollback")
    assert (answer["result"], answer["exit_code"]) == ("updated", 0)
    assert (answer["release"], site.live()) == (first, first)
    assert changes(answer) == {"alpha": ("1.1.0", "1.0.0")}
    assert (site.version("alpha"), site.python("import alpha; print(alpha.__version__)")) == ("1.0.0", "1.0.0")
    assert site.restarted_at() != restarted
    assert (site.git("rev-parse", "HEAD^"), changed_files(site), site.status()) == (head, {"uv.lock"}, "")
    assert site.remote_head() == site.head()
    assert site.states() == {second: "rolled-back", first: "live"}
    assert len(site.releases()) == 2, "a rollback builds nothing"
    assert site.test_runs() == []


def test_law_05_a_rollback_needs_no_network_no_index_and_no_uv(updated: SampleSite) -> None:
    site = updated
    for path in (site.index, site.remote):
        path.rename(path.with_name(f"{path.name}.away"))
    finished = site.releaser("rollback", env={"PATH": "/usr/bin:/bin", "RELEASER_UV": None}, check=7)
    assert site.version("alpha") == "1.0.0"
    says(finished, "push")


@pytest.mark.slow
def test_law_05_two_rollbacks_go_back_two_releases(make_site: SiteFactory) -> None:
    site = make_site.live("1.1.0", "1.2.0")
    third, second, first = site.states()
    assert (site.json("rollback")["release"], site.version("alpha")) == (second, "1.1.0")
    assert (site.json("rollback")["release"], site.version("alpha")) == (first, "1.0.0")
    says(refused(site, "rollback", code=9), "previous")
    assert site.json("rollback", check=9)["result"] == "refused"
    assert site.states() == {third: "rolled-back", second: "rolled-back", first: "live"}
    assert site.json("rollback", third)["release"] == third == site.live()  # left by a person, so it may be named
    assert site.states()[third] == "live"


@pytest.mark.slow
def test_law_05_a_rollback_never_goes_to_what_failed_or_was_rolled_back_automatically(make_site: SiteFactory) -> None:
    site = make_site.live("1.1.0")
    site.publish("alpha", "1.2.0", broken=True)
    site.releaser("update", check=5)
    site.publish("alpha", "1.3.0")
    site.write_dotenv(health_check=f"sh -c 'readlink .venv | grep -q {site.live()}'", health_timeout="1s")
    site.releaser("update", check=6)
    site.write_dotenv()
    unhealthy, failed, _, first = site.states()
    assert list(site.states().values()) == ["rolled-back", "failed", "live", "previous"]
    for release in (unhealthy, failed):
        says(refused(site, "rollback", release, code=9), release)
    assert site.json("rollback")["release"] == first


@pytest.mark.parametrize("damage", mostly_slow(["a module is gone", "Python is gone"], "a module is gone"))
def test_law_05_a_rollback_goes_only_to_a_release_that_verifies_and_starts(updated: SampleSite, damage: str) -> None:
    site = updated
    first = list(site.states())[1]
    venv = site.release(first) / "venv"
    if damage == "Python is gone":
        for python in venv.glob("bin/python*"):
            python.unlink()
            python.symlink_to("/nowhere/python")
        site.write_dotenv(health_check="false")
        advice = [problem["advice"] for problem in site.json("status", check=10)["attention"]]
        assert "Look at the log of the site." in advice, "no rollback to it is proposed"
    else:
        (module,) = venv.glob("lib/python*/site-packages/beta/__init__.py")
        module.unlink()
    finished = refused(site, "rollback", first, code=9)
    says(finished, first)
    assert site.version("alpha") == "1.1.0"


def test_law_06_updates_skip_the_versions_that_a_rollback_removed(updated: SampleSite) -> None:
    site = updated
    finished = site.releaser("rollback", check=0)
    assert "releaser unhold alpha" in finished.stdout + finished.stderr
    (hold,) = site.json("status")["on_hold"]
    assert (hold["name"], hold["version"], bool(hold["reason"]), bool(hold["by"])) == ("alpha", "1.1.0", True, True)
    silent(site.releaser("update"))
    assert site.version("alpha") == "1.0.0"
    site.publish("beta", "1.1.0")
    answer = site.json("update")
    assert changes(answer) == {"beta": ("1.0.0", "1.1.0")}  # another package still updates
    assert [entry["name"] for entry in answer["on_hold"]] == ["alpha"]
    site.publish("alpha", "1.2.0")
    assert changes(site.json("update")) == {"alpha": ("1.0.0", "1.2.0")}  # a newer version is not on hold
    assert site.json("status")["on_hold"] == []


@pytest.mark.slow
def test_law_06_unhold_lets_a_version_in_again(updated: SampleSite) -> None:
    site = updated
    site.releaser("rollback", check=0)
    assert site.releaser("unhold", "gamma").returncode != 0
    site.releaser("unhold", "alpha", check=0)
    assert site.json("status")["on_hold"] == []
    assert changes(site.json("update")) == {"alpha": ("1.0.0", "1.1.0")}


@pytest.fixture
def with_code(make_site: SiteFactory) -> SampleSite:
    """A site that was updated to alpha 1.1.0 and the second edition of its code, as one."""
    site = make_site.live(due="1.1.0")
    site.push_from_elsewhere(CODE)
    site.releaser("update", check=0)
    return site


@pytest.mark.slow
def test_law_06_packages_and_code_go_back_together_and_stay_back(with_code: SampleSite) -> None:
    site = with_code
    remote, first = site.remote_head(), list(site.states())[1]
    site.releaser("rollback", check=0)
    assert (site.live(), site.version("alpha")) == (first, "1.0.0")
    assert OLD_CODE in (site.path / "shop.py").read_text(encoding="utf-8")
    assert (site.remote_head(), site.status()) == (remote, "")  # the branch moves back, nothing is published
    assert site.git("rev-parse", "--abbrev-ref", "HEAD") == "main"
    assert site.git("merge-base", "--is-ancestor", "HEAD", remote) == ""

    finished = site.releaser("update")
    assert finished.returncode in {0, 7}, str(finished)
    assert (site.live(), site.remote_head()) == (first, remote)  # the commit is on hold
    site.publish("beta", "1.1.0")
    site.releaser("update")
    assert (site.version("beta"), site.version("alpha"), site.remote_head()) == ("1.1.0", "1.0.0", remote)
    site.push_from_elsewhere({"shop.py": "EDITION = 3\nBROKEN = False\n"})
    site.releaser("update", check=0)  # a newer commit is not on hold
    assert "EDITION = 3" in (site.path / "shop.py").read_text(encoding="utf-8")
    assert site.remote_head() == site.head()


@pytest.mark.slow
def test_keep_code_takes_back_the_packages_alone(with_code: SampleSite) -> None:
    site = with_code
    head = site.head()
    site.releaser("rollback", "--keep-code", check=0)
    assert site.version("alpha") == "1.0.0"
    assert (site.path / "shop.py").read_text(encoding="utf-8") == CODE["shop.py"]
    assert (site.head(), site.remote_head(), site.status()) == (head, head, "")
    site.releaser("update", check=0)
    assert (site.version("alpha"), site.remote_head()) == ("1.0.0", head)
    silent(site.releaser("update"))


@pytest.mark.slow
def test_commits_that_are_on_no_remote_do_not_go_back(with_code: SampleSite) -> None:
    site = with_code
    mine = site.commit("Mine", {"mine.txt": "mine"})
    says(refused(site, "rollback"), "--keep-code", mine[:7])
    finished = site.releaser("rollback", "--keep-code")
    assert finished.returncode in {0, 7}, str(finished)
    assert site.version("alpha") == "1.0.0"
    assert mine in site.git("log", "--format=%H").splitlines()
    assert mine not in site.git("log", "--format=%H", "main", cwd=site.remote).splitlines()


@pytest.mark.slow
def test_a_release_is_named_in_several_ways(updated: SampleSite) -> None:
    second, first = updated.states()
    names = {"live": second, "@0": second, "previous": first, "@1": first, first: first}
    length = next(number for number in range(len(first)) if first[:number] != second[:number])
    for name, release in (names | {first[:length]: first}).items():
        assert updated.json("rollback", name, "--dry-run")["release"] == release, name
    assert updated.json("rollback", "live")["result"] == "no-changes"
    says(refused(updated, "rollback", first[: length - 1], code=9), first, second)  # an ambiguous prefix
    for name in ("19990101T000000Z", "@9"):
        says(refused(updated, "rollback", name, code=9), name)


def test_a_dry_run_of_a_rollback_writes_nothing(updated: SampleSite) -> None:
    earlier = times_of_tree(updated.outer)
    answer = updated.json("rollback", "--dry-run")
    assert changes(answer) == {"alpha": ("1.1.0", "1.0.0")}
    assert times_of_tree(updated.outer) == earlier


@pytest.mark.slow
def test_law_01_37_a_copied_project_is_not_that_site(site: SampleSite) -> None:
    """Its link leads to a release of the other one."""
    before, copy = site.snapshot(), site.outer / "copy"
    site.run("cp", "--archive", site.path, copy)
    for command in ("check", "update", "rollback", "init"):
        finished = site.releaser(command, project=copy)
        assert finished.returncode in (3, 9), finished
        says(finished, f"rm {copy}/.venv")
    site.releaser("uninstall", project=copy)
    assert site.snapshot() == before
    site.releaser("verify", check=0)
