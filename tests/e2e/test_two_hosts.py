"""Staging and production on one remote: people do something on one of them, and the nights after it come to rest."""

import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from releaser.locks.lock import LockFile
from releaser.locks.versions import is_older
from tests.e2e.scenes import body, silent
from tests.e2e.test_several_hosts import second_host
from tests.support.commands import git_executable, run
from tests.support.sites import SampleSite, SiteFactory

PACKAGES = {"alpha": "1.0.0", "beta": "1.0.0"}
PAGE = Path(__file__).parents[2] / "docs" / "project" / "reliability-details.md"
TESTS = """\
import pathlib
def test_shop(packages):
    flaw = pathlib.Path('../../flaw.txt').exists() and packages['beta'].__version__ == '2.0.0'
    assert not flaw, ['beta']
"""


@dataclass
class Hosts:
    """Two hosts, and a developer's clone, of one remote."""

    staging: SampleSite
    production: SampleSite
    clone: Path
    mails: dict[str, int] = field(default_factory=dict)
    seen: str = ""

    def __post_init__(self) -> None:
        self.by_name = {"staging": self.staging, "production": self.production}
        self.both = (self.staging, self.production)

    def develop(self, *words: str | Path) -> str:
        return run([git_executable(), *words], cwd=self.clone, env=self.staging.env, check=0).stdout

    def look(self, *words: str) -> str:
        """Ask git in the remote."""
        return run([git_executable(), *words], cwd=self.staging.remote, env=self.staging.env, check=0).stdout

    def do(self, words: str) -> None:
        """Let one thing happen, as a row of `ACTS` says it."""
        who, _, what = words.partition(" ")
        if who == "night":
            self.night()
        elif who in PACKAGES:
            for host in self.both:
                host.publish(who, what)
        elif who == "developer":
            self.develop("pull", "--quiet", "--ff-only")
            if what == "reverts":
                self.develop("revert", "--no-edit", "HEAD")
            else:
                index = self.staging.index.path
                shutil.copytree(index, self.clone.parent / index.name, dirs_exist_ok=True)
                self.staging._uv(self.clone, "lock", "--quiet", "--upgrade")
                self.develop("commit", "--quiet", "--all", "--message", "Lock by hand")
            self.develop("push", "--quiet")
        elif what == "fails with beta 2":
            (self.by_name[who].outer.parent / "flaw.txt").touch()
        else:
            command, _, code = what.partition(" -> ")
            self.by_name[who].releaser(command, check=int(code or 0))

    def begin(self) -> None:
        """Count mails and commits from here on."""
        self.mails, self.seen = self._count(), self.staging.remote_head()

    def night(self) -> None:
        """Update both; none commits anything, or changes what is live, without a mail."""
        for host in self.both:
            before, mails, live = self.staging.remote_head(), len(host.outbox_mails()), host.live_id()
            finished = host.releaser("update")
            assert finished.returncode in (0, 5), str(finished)
            is_new = (self.staging.remote_head(), host.live_id()) != (before, live)
            assert len(host.outbox_mails()) > mails or not is_new, str(finished)

    def quiet_night(self) -> None:
        before, mails = self.staging.remote_head(), self._count()
        for host in self.both:
            live = host.live_id()
            silent(host.releaser("update"))
            assert host.live_id() == live
        assert (self.staging.remote_head(), self._count()) == (before, mails)

    def row(self, act: str) -> str:
        """Describe what has become of an act, as a row of the table in the documentation."""
        runs = [", ".join(f"{name} {host.live_version(name)}" for name in PACKAGES) for host in self.both]
        mailed = " and ".join(name for name, number in self._count().items() if number > self.mails[name]) or "none"
        subjects = [re.sub(r"\d{8}T\d{6}Z(-\d+)?", "ID", subject) for subject, _ in self.commits()]
        return " | ".join([f"| {act}", *runs, "; ".join(f"“{one}”" for one in subjects) or "none", f"{mailed} |"])

    def _count(self) -> dict[str, int]:
        return {name: len(host.outbox_mails()) for name, host in self.by_name.items()}

    def commits(self) -> list[tuple[str, dict[str, str]]]:
        """Return the subjects of the commits since `begin`, oldest first, each with the versions in the lock."""
        lines = self.look("log", "--reverse", "--format=%H %s", f"{self.seen}..main").splitlines()
        return [(line[41:], self._versions(line[:40])) for line in lines]

    def only_people_lower(self) -> None:
        """See that no night has lowered a package in the lock that all share."""
        before = self._versions(self.seen)
        for subject, versions in self.commits():
            is_by_person = subject.startswith(("Roll back to release", "Revert", "Lock by hand"))
            lower = [name for name in PACKAGES if is_older(versions[name], before[name])]
            assert is_by_person or not lower, (subject, lower)
            before = versions

    def _versions(self, commit: str) -> dict[str, str]:
        return dict(LockFile.parse(self.look("show", f"{commit}:uv.lock").encode()).versions)


@pytest.fixture(scope="module")
def yesterday(make_scene: SiteFactory, tmp_path_factory: pytest.TempPathFactory) -> Hosts:
    """Two hosts on which alpha 1.1.0 has been live since last night, to be copied."""
    place = tmp_path_factory.mktemp("yesterday")
    staging = make_scene(packages=PACKAGES, files={"site_tests.py": TESTS}, venv=True)
    production = second_host(staging, place / "production")
    clone = place / "developer" / "site"
    clone.parent.mkdir()
    shutil.copytree(staging.index.path, clone.parent / staging.index.path.name)
    run([git_executable(), "clone", "--quiet", staging.remote, clone], cwd=place, env=staging.env, check=0)
    found = Hosts(staging=staging, production=production, clone=clone)
    found.develop("config", "user.name", "Developer")
    found.develop("config", "user.email", "developer@example.org")
    for host in found.both:
        host.releaser("init", check=0)
    found.do("alpha 1.1.0")
    found.night()
    found.quiet_night()
    return found


@pytest.fixture
def hosts(yesterday: Hosts, tmp_path: Path) -> Hosts:
    """Those hosts, with a remote of their own."""
    staging = yesterday.staging.copy(tmp_path)
    production = yesterday.production.copy(tmp_path / "production")
    clone = tmp_path / "developer" / "site"
    shutil.copytree(yesterday.clone.parent, clone.parent, symlinks=True)
    found = Hosts(staging=staging, production=production, clone=clone)
    production.git("remote", "set-url", "origin", staging.remote)
    found.develop("remote", "set-url", "origin", staging.remote)
    found.begin()
    return found


# Each with what happens; in this order, a spread has those in which both hosts differ.
ACTS = {
    "production brings beta 1.1.0; then `releaser rollback` on staging, which does not know that yet": [
        "beta 1.1.0", "production update", "staging rollback -> 7",
    ],
    "beta 1.1.0 appears": ["beta 1.1.0"],
    "`releaser rollback` on staging": ["staging rollback"],
    "`releaser rollback` on production": ["production rollback"],
    "`releaser rollback` on staging; after the next night, alpha 1.2.0 appears": [
        "staging rollback", "night", "alpha 1.2.0",
    ],
    "`releaser rollback` on staging; after the next night, `releaser unhold alpha` there": [
        "staging rollback", "night", "staging unhold alpha",
    ],
    "`releaser hold beta` on staging; beta 1.1.0 appears": ["staging hold beta", "beta 1.1.0"],
    "`releaser hold beta` on production; beta 1.1.0 appears": ["production hold beta", "beta 1.1.0"],
    "the same; after the next night, `releaser unhold beta` there": [
        "production hold beta", "beta 1.1.0", "night", "production unhold beta",
    ],
    "a developer pushes `uv lock --upgrade` with beta 1.1.0": ["beta 1.1.0", "developer locks"],
    "`releaser rollback` on staging; after the next night, a developer pushes `uv lock --upgrade`": [
        "staging rollback", "night", "developer locks",
    ],
    "a developer reverts the commit that upgraded alpha": ["developer reverts"],
    "beta 2.0.0 appears, with which the tests fail on staging alone": ["staging fails with beta 2", "beta 2.0.0"],
    "beta 2.0.0 appears, with which the tests fail on production alone": ["production fails with beta 2", "beta 2.0.0"],
}  # fmt: skip


@pytest.mark.spread(2)
@pytest.mark.parametrize("act", ACTS)
def test_after_each_act_two_nights_bring_what_the_documentation_says_and_the_third_nothing(
    act: str, hosts: Hosts
) -> None:
    for words in (*ACTS[act], "night", "night"):
        hosts.do(words)
    row = hosts.row(act)
    hosts.only_people_lower()
    hosts.quiet_night()
    assert row in PAGE.read_text(encoding="utf-8").splitlines()


def test_status_list_and_mail_say_where_a_host_differs_and_a_dry_run_that_it_follows(hosts: Hosts) -> None:
    for words in ("production hold beta", "beta 1.1.0", "night"):
        hosts.do(words)
    said = "beta 1.0.0 is live here, 1.1.0 is committed (on hold by you)"
    difference = {"name": "beta", "live": "1.0.0", "committed": "1.1.0", "reason": "on hold by you"}
    production = hosts.production
    assert f"uv.lock is not committed: {said}" in body(production)
    assert "releaser unhold beta" in body(production)
    assert f"not as committed: {said}" in production.releaser("status", check=0).stdout
    assert f"{production.live_id()} is not as committed: {said}" in production.releaser("list", check=0).stdout
    assert production.json("status")["lock_differences"] == [difference]
    assert [one["lock_differences"] for one in production.json("list") if one["live"]] == [[difference]]
    for words in ("production unhold beta", "night"):
        hosts.do(words)
    assert production.json("status")["lock_differences"] == []
    hosts.do("staging rollback")
    plan = production.json("update", "--dry-run")
    assert [(one["name"], one["old"], one["new"]) for one in plan["changes"]] == [("beta", "1.1.0", "1.0.0")]
    assert any("beta 1.1.0 would be skipped: commit" in line for line in plan["would"])
