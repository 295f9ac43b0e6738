"""`releaser propose`: an upgrade is tested and proposed on a branch, and goes live when people have merged it."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from releaser.releases.proposal import BRANCH
from releaser.system.files import VERSION
from tests.e2e.interrupting import Point, interrupted
from tests.e2e.scenes import body, silent, step, steps
from tests.support.commands import run, uv_executable
from tests.support.sites import SampleSite, SiteFactory

PLACE = f"origin/{BRANCH}"


class Reviewed:
    """A site that proposes, and a clone of somebody who reviews that."""

    def __init__(self, site: SampleSite, clone: Path) -> None:
        self.site, self.clone = site, clone
        site.git("clone", "--quiet", site.remote, clone)
        for name in ("user.name", "user.email"):
            self.git(f"config {name} ada@example.org")

    def git(self, *commands: str) -> None:
        """Run git in the clone, at the remote as it is now; pushes go there."""
        for command in ("fetch --quiet --prune", "checkout --quiet -B main origin/main", *commands):
            self.site.git("-C", self.clone, *command.split())

    def merge(self, *, how: str = "--no-ff -m Merged", deletes: bool = False) -> None:
        self.git(f"merge --quiet {how} {PLACE}", f"push --quiet origin HEAD:main {f':{BRANCH}' if deletes else ''}")

    def tip(self) -> str:
        """Return the commit that is proposed; empty for none."""
        return self.branches().get(BRANCH, "")

    def branches(self) -> dict[str, str]:
        """Return the commits of the branches below `releaser/` on the remote."""
        lines = self.site.git("ls-remote", self.site.remote, "refs/heads/releaser*").splitlines()
        entries = (line.partition("\t") for line in lines)
        return {name.removeprefix("refs/heads/"): commit for commit, _, name in entries}

    def message(self, branch: str) -> str:
        """Return the message of the commit that is proposed on a branch."""
        self.git()
        return self.site.git("-C", self.clone, "log", "-1", "--format=%B", f"origin/{branch}")


@pytest.fixture
def site(make_site: SiteFactory) -> SampleSite:
    """A site that proposes upgrades, for which there is one."""
    return make_site.adopted(dotenv={"RELEASER_UPGRADE": "none"}, due="1.1.0")


@pytest.fixture
def reviewed(site: SampleSite, tmp_path: Path) -> Reviewed:
    return Reviewed(site, tmp_path / "review")


def test_a_proposal_does_not_go_live_because_a_record_is_lost(site: SampleSite) -> None:
    live, proposed = site.live_id(), site.json("propose")["release"]
    (site.state_dir / "ledger.json").unlink()
    shutil.rmtree(site.state_dir / "releases" / live)
    for command in (["prune"], ["update"], ["propose"], ["rollback", proposed]):
        finished = site.releaser(*command)
        is_prefix = str(site.live_id()).startswith(f"{proposed}-")  # of one that was begun in the same second
        assert (finished.returncode == 9) == (command[0] == "rollback" and not is_prefix), finished
        assert site.link.resolve().parent.name != proposed
        states = {row["id"]: row["state"] for row in site.json("list")}
        assert states.get(proposed) in ("candidate", None)  # a newer live release replaces it


def test_an_upgrade_is_proposed_once_and_goes_live_as_it_was_tested_when_it_is_merged(reviewed: Reviewed) -> None:
    site, before, head = reviewed.site, reviewed.site.snapshot(), reviewed.site.remote_head()
    assert f"1 package change would be tested and proposed on {BRANCH}" in site.releaser("propose", "--dry-run").stdout
    silent(site.releaser("update"))
    report = site.json("propose")
    assert (report["result"], report["exit_code"], report["proposed"]) == ("proposed", 0, PLACE)
    assert (report["live_changed"], site.snapshot(), site.remote_head()) == (False, before, head)
    tip = reviewed.tip()
    said = site.git("log", "-1", "--format=%P%n%B", tip)
    assert said.splitlines()[0] == head
    assert "Update 1 package" in said
    assert "alpha: 1.0.0 -> 1.1.0" in said
    assert site.git("diff", "--name-only", head, tip) == "uv.lock"
    assert PLACE in body(site)
    assert f"proposed on {PLACE}" in site.json("status")["proposal"]
    assert PLACE in site.releaser("status").stdout
    assert site.json("history")[0]["result"] == "proposed"
    kept = {one["release"]: one["reason"] for one in site.json("prune", env={"RELEASER_KEEP_AT_LEAST": "0"})}
    assert kept[report["release"]] == f"ready, and proposed on {PLACE}"
    silent(site.releaser("propose"))
    quiet = site.json("propose")
    assert (quiet["result"], reviewed.tip()) == ("no-changes", tip)
    assert not {"build", "test", "push"} & {*steps(quiet)}
    assert f"proposed on {PLACE}" in site.releaser("propose", "--dry-run").stdout
    reviewed.merge(deletes=True)
    early = site.json("propose")  # before the update
    assert (early["result"], "Run `releaser update` first" in early["headline"]) == ("no-changes", True)
    merged = site.json("update")
    assert (merged["result"], merged["release"]) == ("updated", report["release"])
    assert not {"build", "test"} & {*steps(merged)}
    assert (site.live_version("alpha"), site.head(), site.git("status", "--porcelain")) == (
        "1.1.0", site.remote_head(), ""
    )  # fmt: skip
    assert site.json("status")["proposal"] == ""
    for command in ("update", "propose"):
        silent(site.releaser(command))
    assert site.json("status")["proposal"] == ""
    assert "nothing would change" in site.releaser("propose", "--dry-run").stdout


def test_each_package_is_proposed_alone_and_branches_that_are_merged_or_overtaken_are_deleted(
    reviewed: Reviewed,
) -> None:
    site, alpha, beta = reviewed.site, f"{BRANCH}-alpha", f"{BRANCH}-beta"
    site.write_dotenv({"RELEASER_UPGRADE": "none", "RELEASER_PROPOSE": "package"})
    head = site.remote_head()
    site.publish("beta", "1.1.0")
    site.publish("beta", "2.0.0", broken=True)
    would = site.releaser("propose", "--dry-run").stdout
    assert all(f"1 package change would be tested and proposed on {branch}" in would for branch in (alpha, beta))
    report = site.json("propose")
    first = reviewed.branches()
    assert (report["result"], report["exit_code"], {*first}) == ("proposed", 0, {alpha, beta})
    assert report["proposed"] == f"origin/{alpha}, origin/{beta}"
    assert [(one["name"], one["state"], one["versions"]) for one in report["proposals"]] == [
        ("alpha", "open", {"alpha": "1.1.0"}), ("beta", "open", {"beta": "1.1.0"}),  # the next lower version
    ]  # fmt: skip
    assert reviewed.message(alpha).startswith("Update alpha from 1.0.0 to 1.1.0\n\nalpha: 1.0.0 -> 1.1.0")
    assert f"The tests passed with Python {site.json('status')['live_python']}" in reviewed.message(alpha)
    assert all(site.git("rev-parse", f"{commit}^") == head for commit in first.values())
    assert {"alpha", "beta"} == {change["name"] for change in report["changes"]}
    assert "git merge origin/releaser/update-beta" in body(site)
    status = site.json("status")
    assert [one["place"] for one in status["proposals"]] == [f"origin/{alpha}", f"origin/{beta}"]
    assert [one["name"] for one in status["on_hold"]] == ["beta"]
    kept = {one["reason"] for one in site.json("prune")}
    assert {f"ready, and proposed on origin/{branch}" for branch in (alpha, beta)} <= kept
    silent(site.releaser("propose"))
    assert reviewed.branches() == first

    reviewed.git(f"merge --quiet --no-ff -m Merged origin/{alpha}", "push --quiet origin HEAD:main")
    merged = site.json("update")
    assert (site.live_version("alpha"), site.live_version("beta")) == ("1.1.0", "1.0.0")
    assert not {"build", "test"} & {*steps(merged)}
    report = site.json("propose")
    assert step(report, "stale branch")["detail"] == f"deleted origin/{alpha}, which is merged or overtaken"
    assert ([*reviewed.branches()], report["proposed"]) == ([beta], f"origin/{beta}")
    assert reviewed.branches()[beta] != first[beta]  # on top of what is merged

    reviewed.git(
        f"checkout --quiet -B mine origin/{beta}",
        "commit --quiet --allow-empty -m Mine",
        f"push --quiet origin mine:{beta}",
    )
    theirs = reviewed.branches()[beta]
    site.releaser("hold", "beta", check=0)  # so that it is overtaken
    site.json("propose")
    assert reviewed.branches() == {beta: theirs}  # another person has committed to it
    reviewed.git(f"push --quiet origin --delete {beta}")
    silent(site.releaser("propose"))
    assert site.json("status")["proposals"] == []


def test_tests_that_fail_stop_only_their_own_proposal_and_a_limit_lets_others_wait(reviewed: Reviewed) -> None:
    site, beta = reviewed.site, f"{BRANCH}-beta"
    site.write_dotenv({"RELEASER_UPGRADE": "none", "RELEASER_PROPOSE": "package", "RELEASER_PROPOSE_LIMIT": "1"})
    site.withdraw("alpha", "1.1.0")
    site.publish("alpha", "1.2.0", broken=True)
    site.publish("beta", "1.1.0")
    report = site.json("propose", check=5)
    assert (report["blame"], reviewed.branches()) == ("update", {})
    found = {one["name"]: (one["state"], one["command"]) for one in site.json("status")["proposals"]}
    assert found == dict.fromkeys(("alpha", "beta"), ("failed", "releaser propose --force")) | {
        "beta": ("waits", "releaser propose --force")
    }
    assert "`propose_limit` permits 1 test run a night" in site.releaser("status").stdout
    report = site.json("propose")
    assert ([*reviewed.branches()], report["proposed"]) == ([beta], f"origin/{beta}")
    assert [one["name"] for one in report["on_hold"]] == ["alpha"]
    site.publish("alpha", "1.3.0")
    silent(site.releaser("propose"))
    assert "`propose_limit` permits 1 open proposal" in site.releaser("status").stdout
    reviewed.git(f"push --quiet origin --delete {beta}")  # declined
    report = site.json("propose")
    assert ([*reviewed.branches()], report["proposed"]) == ([f"{BRANCH}-alpha"], f"origin/{BRANCH}-alpha")
    assert {one["name"]: one["state"] for one in report["proposals"]} == {"alpha": "open", "beta": "declined"}
    site.write_dotenv({"RELEASER_UPGRADE": "none"})  # one proposal of all again
    report = site.json("propose")
    assert ([*reviewed.branches()], report["proposed"]) == ([BRANCH], PLACE)


def test_a_branch_that_the_remote_refuses_stops_only_its_own_proposal(reviewed: Reviewed) -> None:
    """It takes no place of the limit, and is pushed once the remote permits that, without another build."""
    site, alpha, beta = reviewed.site, f"{BRANCH}-alpha", f"{BRANCH}-beta"
    site.write_dotenv({"RELEASER_UPGRADE": "none", "RELEASER_PROPOSE": "package", "RELEASER_PROPOSE_LIMIT": "1"})
    site.publish("beta", "1.1.0")
    hook = site.remote / "hooks" / "update"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f'#!/bin/sh\n[ "$1" != refs/heads/{alpha} ]\n', encoding="utf-8")
    hook.chmod(0o755)
    assert any(f"{alpha} could not be pushed" in one for one in site.json("propose", check=4)["problems"])
    report = site.json("propose")
    assert ([*reviewed.branches()], report["result"], report["proposed"]) == ([beta], "proposed", f"origin/{beta}")
    assert any(f"{alpha} could not be pushed" in one for one in report["problems"])
    assert {one["name"]: one["state"] for one in site.json("status")["proposals"]} == {"alpha": "due", "beta": "open"}
    hook.unlink()
    report = site.json("propose")
    assert (report["proposed"], "build" in steps(report)) == (f"origin/{alpha}", False)


@pytest.mark.parametrize("groups", ["", "both=alpha beta"])
def test_packages_that_need_each_other_are_one_proposal(reviewed: Reviewed, groups: str) -> None:
    site = reviewed.site
    site.write_dotenv({"RELEASER_UPGRADE": "none", "RELEASER_PROPOSE": "package", "RELEASER_PROPOSE_GROUPS": groups})
    site.withdraw("alpha", "1.1.0")
    site.publish("alpha", "1.2.0", requires=("beta>=1.1",))
    site.publish("beta", "1.1.0")
    branch = f"{BRANCH}-{'both' if groups else 'alpha'}"
    assert site.json("propose")["proposed"] == f"origin/{branch}"
    assert [*reviewed.branches()] == [branch]
    title = "Update 2 packages: both" if groups else "Update alpha from 1.0.0 to 1.2.0 and 1 other package"
    assert reviewed.message(branch).startswith(f"{title}\n\nalpha: 1.0.0 -> 1.2.0\nbeta: 1.0.0 -> 1.1.0")


def test_what_is_merged_otherwise_and_new_code_go_live_and_newer_versions_replace_the_branch(
    reviewed: Reviewed,
) -> None:
    site = reviewed.site
    site.releaser("propose", check=0)
    first = reviewed.tip()
    site.publish("beta", "1.1.0")
    site.push_from_elsewhere({"notes.txt": "news"})
    report = site.json("update")  # the code goes live with the lock that the branch has
    assert (report["result"], report["live_changed"], report["proposed"]) == ("updated", True, None)
    assert (site.path / "notes.txt").exists()
    assert (site.live_version("alpha"), site.live_version("beta")) == ("1.0.0", "1.0.0")
    assert [one["name"] for one in report["changes"]] == []
    assert site.json("propose")["proposed"] == PLACE
    second = reviewed.tip()
    assert site.git("log", "-1", "--format=%P", second) == site.remote_head()
    assert second != first
    reviewed.git(f"merge --quiet --squash {PLACE}", "commit --quiet -m Squashed", "push --quiet origin HEAD:main")
    report = site.json("update")
    assert not {"build", "test"} & {*steps(report)}
    assert (site.live_version("alpha"), site.live_version("beta")) == ("1.1.0", "1.1.0")
    site.publish("alpha", "1.2.0")
    site.releaser("propose", check=0)
    reviewed.merge(how="--ff-only")
    site.push_from_elsewhere({"notes.txt": "other code"})  # with which it was not tested
    report = site.json("update")
    assert {"build", "test"} <= {*steps(report)}
    assert site.live_version("alpha") == "1.2.0"


def test_what_people_do_with_the_branch_is_respected(reviewed: Reviewed) -> None:
    site = reviewed.site
    declined = site.json("propose")["release"]
    reviewed.git(f"push --quiet origin --delete {BRANCH}")
    for _ in range(2):
        silent(site.releaser("propose"))
    assert (reviewed.tip(), "declined" in site.json("status")["proposal"]) == ("", True)
    state = json.loads((site.state_dir / "releases" / declined / "state.json").read_text(encoding="utf-8"))
    assert state["reserved"] == ""  # nothing keeps it from being pruned
    assert site.json("propose", "--force")["result"] == "proposed"
    reviewed.git(
        f"checkout --quiet -B {BRANCH} {PLACE}", "commit --quiet --allow-empty -m Mine", f"push --quiet origin {BRANCH}"
    )
    theirs = reviewed.tip()
    report = site.json("propose")
    assert any(theirs[:12] in one and "--delete" in one for one in report["problems"])
    assert (report["exit_code"], reviewed.tip()) == (0, theirs)
    assert "build" not in steps(report)
    silent(site.releaser("propose"))  # told once
    assert theirs[:12] in site.json("status")["proposal"]
    assert site.json("propose", "--force")["result"] == "no-changes"
    reviewed.git(f"push --quiet origin --delete {BRANCH}")
    assert site.json("propose")["result"] == "proposed"


def test_a_site_that_lost_its_state_goes_on_with_its_proposal_but_not_with_commits_of_people(
    reviewed: Reviewed,
) -> None:
    """As each scheduled job of a pipeline, which runs in a fresh checkout."""
    site = reviewed.site

    def propose_from_nothing() -> dict[str, Any]:
        shutil.rmtree(site.state_dir)
        site.link.unlink()
        run([uv_executable(), "sync", "--quiet", "--frozen"], cwd=site.path, env=site.env, check=0)
        site.releaser("init", "--force", check=0)
        report: dict[str, Any] = site.json("propose")
        return report

    site.releaser("propose", check=0)
    first = reviewed.tip()
    assert (propose_from_nothing()["result"], reviewed.tip()) == ("proposed", first)  # without another commit
    site.publish("beta", "1.1.0")
    assert propose_from_nothing()["result"] == "proposed"
    second = reviewed.tip()
    assert ("beta: 1.0.0 -> 1.1.0" in reviewed.message(BRANCH), second != first) == (True, True)
    silent(site.releaser("propose"))
    reviewed.git(f"checkout --quiet -B {BRANCH} {PLACE}")
    (reviewed.clone / "uv.lock").write_text("edited", encoding="utf-8")
    for commit in ("commit --quiet --all --amend --no-edit", "commit --quiet --allow-empty -m Mine"):
        site.git("-C", reviewed.clone, *commit.split())
        site.git("-C", reviewed.clone, "push", "--quiet", "--force", "origin", BRANCH)
        theirs = reviewed.tip()
        report = propose_from_nothing()
        assert (report["result"], reviewed.tip()) == ("no-changes", theirs)
        assert any(theirs[:12] in one for one in report["problems"])


def test_a_remote_that_refuses_the_branch_is_told_apart(reviewed: Reviewed) -> None:
    site = reviewed.site
    reviewed.git("push --quiet origin HEAD:refs/heads/releaser")
    assert any("the branch `releaser`" in one for one in site.json("propose", check=4)["problems"])
    reviewed.git("push --quiet origin :releaser")
    site.releaser("propose", check=0)
    site.git("-C", str(site.remote), "config", "receive.denyNonFastForwards", "true")
    site.publish("beta", "1.1.0")
    assert any("refuses to replace branches" in one for one in site.json("propose", check=4)["problems"])
    reviewed.git(f"push --quiet origin --delete {BRANCH}")
    assert site.json("propose")["result"] == "proposed"


def test_tests_that_fail_let_nothing_be_proposed_nor_does_a_level_that_is_too_low(reviewed: Reviewed) -> None:
    site, before = reviewed.site, reviewed.site.snapshot()
    site.withdraw("alpha", "1.1.0")
    site.publish("alpha", "2.0.0", broken=True)
    silent(site.releaser("propose", env={"RELEASER_UPGRADE": "minor"}))
    report = site.json("propose", check=5)
    assert (report["blame"], reviewed.tip(), site.snapshot()) == ("update", "", before)


@pytest.mark.spread(1)
@pytest.mark.parametrize(
    "at",
    [
        Point(place="releaser.releases.store:ReleaseStore.complete"),
        Point(place="releaser.tools.git:Git.commit_only"),
        Point(place="releaser.tools.git:Git.push_over", when="before"),
        Point(place="releaser.tools.git:Git.push_over"),
    ],
    ids=str,
)
def test_a_kill_leaves_live_alone_and_the_next_run_proposes(site: SampleSite, at: Point) -> None:
    before = site.snapshot()
    interrupted(site, "propose", at=at)
    assert site.snapshot()["(link)"] == before["(link)"]
    report = site.json("propose")
    assert (report["result"], site.snapshot()) == ("proposed", before)
    assert ("build" in steps(report)) == ("push" not in at.place)
    assert step(report, "push")["detail"] == PLACE
    silent(site.releaser("propose"))


def test_a_kill_after_a_stale_branch_is_deleted_declines_nothing(reviewed: Reviewed) -> None:
    site = reviewed.site
    site.releaser("propose", check=0)
    site.releaser("hold", "alpha", check=0)  # so that it is overtaken
    interrupted(site, "propose", at=Point(place="releaser.tools.git:Git.delete_branch"))
    assert reviewed.branches() == {}
    site.releaser("unhold", "alpha", check=0)
    assert site.json("propose")["result"] == "proposed"


def test_an_earlier_proposal_whose_successor_was_not_pushed_is_deleted_once_both_are_live(reviewed: Reviewed) -> None:
    site = reviewed.site
    site.releaser("propose", check=0)
    site.publish("beta", "1.1.0")
    interrupted(site, "propose", at=Point(place="releaser.tools.git:Git.push_over", when="before"))
    site.json("update", env={"RELEASER_UPGRADE": "minor"})
    assert (site.live_version("alpha"), site.live_version("beta")) == ("1.1.0", "1.1.0")
    report = site.json("propose")
    assert (report["problems"], reviewed.branches()) == ([], {})


def test_it_needs_git_to_push_and_a_release_that_is_live(site: SampleSite, make_site: SiteFactory) -> None:
    report = site.json("propose", check=3, env={"RELEASER_GIT_PUSH": "false"})
    assert any("needs `git_pull` and `git_push`" in one for one in report["problems"])
    said = site.releaser("update", check=3, env={"RELEASER_PUBLISH": "branch"}).stderr
    assert "releaser no longer has this setting" in said
    assert "releaser propose" in said
    assert "releaser init" in make_site(outer="other").releaser("propose", check=3).stderr


def test_a_proposal_of_the_earlier_version_goes_live_once_it_is_merged_and_after_its_rollback_none_is_made(
    reviewed: Reviewed,
) -> None:
    """That nothing is proposed, as the lock of the branch was rolled back, is said once."""
    site = reviewed.site
    proposed = site.json("propose")["release"]
    path = site.state_dir / "releases" / proposed / "state.json"
    state = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**state, "reserved": ""}, indent=1), encoding="utf-8")  # proposal.json alone had it
    known = site.state_dir / "proposals.json"
    (found,) = json.loads(known.read_text(encoding="utf-8"))["entries"]
    earlier = {
        key: value for key, value in found.items() if key not in ("name", "target", "versions", "failed", "waits")
    }
    known.with_name("proposal.json").write_text(
        json.dumps({"version": VERSION, **earlier, "stuck": ""}), encoding="utf-8"
    )
    known.unlink()
    site.releaser("update", check=0)
    assert f"proposed on {PLACE}" in site.json("status")["proposal"]
    silent(site.releaser("propose"))
    assert json.loads(path.read_text(encoding="utf-8"))["reserved"] == f"proposed on {PLACE}"
    reviewed.merge(deletes=True)
    assert site.json("update")["release"] == proposed
    for command in ("rollback", "update"):
        site.releaser(command, check=0)
    report = site.json("propose")
    assert any("nothing is proposed" in one for one in report["problems"])
    silent(site.releaser("propose"))
    assert "nothing is proposed" in site.json("status")["proposal"]
    site.releaser("update", "--force", check=0)
    silent(site.releaser("propose"))
    assert site.json("status")["proposal"] == ""
    known.unlink()
    known.with_name("proposal.json").write_text(
        json.dumps({"version": VERSION, **earlier, "done": True}), encoding="utf-8"
    )
    site.publish("alpha", "1.2.0")
    assert site.json("propose")["result"] == "proposed"


def test_what_was_proposed_is_tested_again_if_the_configuration_has_changed_since(reviewed: Reviewed) -> None:
    """Git does not track the file, so a merge alone cannot tell."""
    site = reviewed.site
    site.edit(".git/info/exclude", "/local.toml\n")
    site.edit("local.toml", "x = 1\n")
    proposed = site.json("propose")["release"]
    site.edit("local.toml", "x = 2\n")
    reviewed.merge(deletes=True)
    merged = site.json("update")
    assert (merged["result"], site.live_version("alpha")) == ("updated", "1.1.0")
    assert merged["release"] != proposed
    assert {"build", "test"} <= {*steps(merged)}
