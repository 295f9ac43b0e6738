"""Staging and production on one remote: people do something on one of them, and the nights after it come to rest."""

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from releaser.locks.lock import LockFile
from releaser.locks.versions import is_older
from tests.e2e.scenes import body, silent
from tests.support.commands import git_executable, run
from tests.support.sites import SampleSite, SiteFactory

PACKAGES = {"alpha": "1.0.0", "beta": "1.0.0"}
PAGE = Path(__file__).parents[2] / "docs" / "project" / "reliability-details.md"
TESTS = """\
import pathlib
def test_shop(packages):
    flaw = pathlib.Path('../../flaw.txt')
    bad = flaw.read_text().split() if flaw.exists() else []
    found = [name for name in bad if packages[name].__version__ == '2.0.0']
    assert not found, found
"""


@dataclass
class Hosts:
    """Two hosts, and a developer's clone, of one remote."""

    staging: SampleSite
    production: SampleSite
    clone: Path
    mails: dict[str, int] = field(default_factory=dict)
    seen: str = ""

    @property
    def both(self) -> tuple[SampleSite, SampleSite]:
        return self.staging, self.production

    def publish(self, name: str, version: str) -> None:
        for host in self.both:
            host.publish(name, version)

    def develop(self, *words: str | Path) -> str:
        return run([git_executable(), *words], cwd=self.clone, env=self.staging.env, check=0).stdout

    def push(self, message: str) -> None:
        self.develop("commit", "--quiet", "--all", "--message", message)
        self.develop("push", "--quiet")

    def lock(self, *words: str) -> None:
        """Let the developer lock and push."""
        self.develop("pull", "--quiet", "--ff-only")
        self.staging._uv(self.clone, "lock", "--quiet", *words)
        self.push("Lock by hand")

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

    def commits(self) -> list[str]:
        """Return the subjects of the commits since `begin`, oldest first."""
        words = ("log", "--reverse", "--format=%s", f"{self.seen}..main")
        found = run([git_executable(), *words], cwd=self.staging.remote, env=self.staging.env, check=0).stdout
        return [re.sub(r"\d{8}T\d{6}Z(-\d+)?", "ID", one) for one in found.splitlines()]

    def row(self, act: str) -> str:
        """Describe what has become of an act, as a row of the table in the documentation."""
        runs = [
            ", ".join(f"{name} {host.live_version(name)}" for name in PACKAGES if name in host.lock_text())
            for host in self.both
        ]
        names = ("staging", "production")
        after = self._count()
        mailed = [name for name in names if after[name] > self.mails[name]]
        commits = "; ".join(f"“{one}”" for one in self.commits()) or "none"
        return f"| {act} | {runs[0]} | {runs[1]} | {commits} | {' and '.join(mailed) or 'none'} |"

    def _count(self) -> dict[str, int]:
        return {name: len(host.outbox_mails()) for name, host in zip(("staging", "production"), self.both, strict=True)}

    def locks(self) -> list[tuple[str, dict[str, str]]]:
        """Return the versions in the lock after each commit since `begin`, each with its subject."""
        words = ("log", "--reverse", "--format=%H %s", f"{self.seen}..main")
        found = run([git_executable(), *words], cwd=self.staging.remote, env=self.staging.env, check=0).stdout
        return [(line.partition(" ")[2], self._versions(line.partition(" ")[0])) for line in found.splitlines()]

    def only_people_lower(self) -> None:
        """See that no night has lowered a package in the lock that all share."""
        before = self._versions(self.seen)
        for subject, versions in self.locks():
            is_by_person = subject.startswith(("Roll back to release", "Revert", "Lock by hand"))
            lower = [name for name in PACKAGES if is_older(versions[name], before[name])]
            assert is_by_person or not lower, (subject, lower)
            before = versions

    def _versions(self, commit: str) -> dict[str, str]:
        text = run(
            [git_executable(), "show", f"{commit}:uv.lock"], cwd=self.staging.remote, env=self.staging.env, check=0
        ).stdout
        return dict(LockFile.parse(text.encode()).versions)


@pytest.fixture(scope="module")
def yesterday(make_scene: SiteFactory, tmp_path_factory: pytest.TempPathFactory) -> Hosts:
    """Two hosts on which alpha 1.1.0 has been live since last night, to be copied."""
    place = tmp_path_factory.mktemp("yesterday")
    staging = make_scene(packages=PACKAGES, files={"site_tests.py": TESTS}, venv=True)
    production = staging.copy(place / "production")
    production.git("remote", "set-url", "origin", staging.remote)
    shutil.rmtree(production.outer / "remote.git")
    clone = place / "developer" / "site"
    clone.parent.mkdir()
    shutil.copytree(staging.index.path, clone.parent / staging.index.path.name)
    run([git_executable(), "clone", "--quiet", staging.remote, clone], cwd=place, env=staging.env, check=0)
    found = Hosts(staging=staging, production=production, clone=clone)
    found.develop("config", "user.name", "Developer")
    found.develop("config", "user.email", "developer@example.org")
    for host, name in zip(found.both, ("Staging", "Production"), strict=True):
        host.git("config", "user.name", name)
        host.releaser("init", check=0)
    found.publish("alpha", "1.1.0")
    found.night()
    found.quiet_night()
    return found


@pytest.fixture
def hosts(yesterday: Hosts, tmp_path: Path) -> Hosts:
    """Those hosts, with a remote of their own."""
    staging, production = yesterday.staging.copy(tmp_path), yesterday.production.copy(tmp_path / "production")
    clone = tmp_path / "developer" / "site"
    shutil.copytree(yesterday.clone.parent, clone.parent, symlinks=True)
    found = Hosts(staging=staging, production=production, clone=clone)
    production.git("remote", "set-url", "origin", staging.remote)
    found.develop("remote", "set-url", "origin", staging.remote)
    return found


def roll_back_staging(hosts: Hosts) -> None:
    hosts.staging.releaser("rollback", check=0)


def roll_back_before_the_news(hosts: Hosts) -> None:
    """Roll back a host that does not know yet what the other has pushed, so that its commit is refused."""
    hosts.publish("beta", "1.1.0")
    hosts.production.releaser("update", check=0)
    hosts.staging.releaser("rollback", check=7)


def roll_back_production(hosts: Hosts) -> None:
    hosts.production.releaser("rollback", check=0)


def roll_back_and_release(hosts: Hosts) -> None:
    hosts.staging.releaser("rollback", check=0)
    hosts.night()
    hosts.publish("alpha", "1.2.0")


def roll_back_and_unhold(hosts: Hosts) -> None:
    hosts.staging.releaser("rollback", check=0)
    hosts.night()
    hosts.staging.releaser("unhold alpha", check=0)


def hold_on_staging(hosts: Hosts) -> None:
    hosts.staging.releaser("hold beta", check=0)
    hosts.publish("beta", "1.1.0")


def hold_on_production(hosts: Hosts) -> None:
    hosts.production.releaser("hold beta", check=0)
    hosts.publish("beta", "1.1.0")


def unhold_on_production(hosts: Hosts) -> None:
    hold_on_production(hosts)
    hosts.night()
    hosts.production.releaser("unhold beta", check=0)


def new_version(hosts: Hosts) -> None:
    hosts.publish("beta", "1.1.0")


def developer_locks(hosts: Hosts) -> None:
    hosts.publish("beta", "1.1.0")
    shutil.copytree(hosts.staging.index.path, hosts.clone.parent / hosts.staging.index.path.name, dirs_exist_ok=True)
    hosts.lock("--upgrade")


def developer_locks_after_rollback(hosts: Hosts) -> None:
    hosts.staging.releaser("rollback", check=0)
    hosts.night()
    shutil.copytree(hosts.staging.index.path, hosts.clone.parent / hosts.staging.index.path.name, dirs_exist_ok=True)
    hosts.lock("--upgrade")


def developer_reverts(hosts: Hosts) -> None:
    hosts.develop("pull", "--quiet", "--ff-only")
    hosts.develop("revert", "--no-edit", "HEAD")
    hosts.develop("push", "--quiet")


def tests_fail_on_staging(hosts: Hosts) -> None:
    (hosts.staging.outer.parent / "flaw.txt").write_text("beta")
    hosts.publish("beta", "2.0.0")


def tests_fail_on_production(hosts: Hosts) -> None:
    (hosts.production.outer.parent / "flaw.txt").write_text("beta")
    hosts.publish("beta", "2.0.0")


ACTS: dict[str, Callable[[Hosts], None]] = {
    "beta 1.1.0 appears": new_version,
    "`releaser rollback` on staging": roll_back_staging,
    "`releaser rollback` on production": roll_back_production,
    "production brings beta 1.1.0; then `releaser rollback` on staging, which does not know that yet": (
        roll_back_before_the_news
    ),
    "`releaser rollback` on staging; after the next night, alpha 1.2.0 appears": roll_back_and_release,
    "`releaser rollback` on staging; after the next night, `releaser unhold alpha` there": roll_back_and_unhold,
    "`releaser hold beta` on staging; beta 1.1.0 appears": hold_on_staging,
    "`releaser hold beta` on production; beta 1.1.0 appears": hold_on_production,
    "the same; after the next night, `releaser unhold beta` there": unhold_on_production,
    "a developer pushes `uv lock --upgrade` with beta 1.1.0": developer_locks,
    "`releaser rollback` on staging; after the next night, a developer pushes `uv lock --upgrade`": (
        developer_locks_after_rollback
    ),
    "a developer reverts the commit that upgraded alpha": developer_reverts,
    "beta 2.0.0 appears, with which the tests fail on staging alone": tests_fail_on_staging,
    "beta 2.0.0 appears, with which the tests fail on production alone": tests_fail_on_production,
}


@pytest.mark.spread(3)
@pytest.mark.parametrize("act", ACTS)
def test_after_each_act_two_nights_bring_what_the_documentation_says_and_the_third_nothing(
    act: str, hosts: Hosts
) -> None:
    hosts.begin()
    ACTS[act](hosts)
    hosts.night()
    hosts.night()
    row = hosts.row(act)
    hosts.only_people_lower()
    hosts.quiet_night()
    assert row in PAGE.read_text(encoding="utf-8").splitlines()


def test_status_list_and_mail_say_where_a_host_differs(hosts: Hosts) -> None:
    hosts.production.releaser("hold beta", check=0)
    hosts.publish("beta", "1.1.0")
    hosts.night()
    said = "beta 1.0.0 is live here, 1.1.0 is committed (on hold by you)"
    difference = {"name": "beta", "live": "1.0.0", "committed": "1.1.0", "reason": "on hold by you"}
    production = hosts.production
    assert f"uv.lock is not committed: {said}" in body(production)
    assert "releaser unhold beta" in body(production)
    assert f"not as committed: {said}" in production.releaser("status", check=0).stdout
    assert f"{production.live_id()} is not as committed: {said}" in production.releaser("list", check=0).stdout
    assert production.json("status")["lock_differences"] == [difference]
    assert [one["lock_differences"] for one in production.json("list") if one["live"]] == [[difference]]
    production.releaser("unhold beta", check=0)
    hosts.night()
    assert production.json("status")["lock_differences"] == []


def test_a_dry_run_foresees_that_a_rollback_elsewhere_is_followed(hosts: Hosts) -> None:
    roll_back_staging(hosts)
    plan = hosts.production.json("update", "--dry-run")
    assert [(one["name"], one["old"], one["new"]) for one in plan["changes"]] == [("alpha", "1.1.0", "1.0.0")]
    assert any("alpha 1.1.0 would be skipped: commit" in line for line in plan["would"])
