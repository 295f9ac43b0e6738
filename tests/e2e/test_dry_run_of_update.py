"""`update --dry-run` beside `update`: whatever is new, the one says what the other then does, and writes nothing."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.e2e.scenes import edit_pyproject, outer_snapshot, steps
from tests.support.sites import RED_TESTS, TESTS, SampleSite, SiteFactory

NOTHING = "nothing would change"


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is new on a site before a night, and how its update ends; without `adopted`, that is the first one."""

    prepare: Callable[[SampleSite], object]
    code: int = 0
    builds: bool = True
    args: tuple[str, ...] = ()
    adopted: bool = True
    options: Mapping[str, Any] = field(default_factory=dict)
    says: str = ""


def nothing(site: SampleSite) -> None:
    """Leave all as it is."""


def another_order(site: SampleSite) -> None:
    head, *packages = site.lock_text().split("[[package]]")
    text = "[[package]]".join([head, *(f"{one.rstrip()}\n\n" for one in reversed(packages))])
    site.push_from_elsewhere({"uv.lock": text}, message="Sort the lock")


def a_version(site: SampleSite) -> None:
    site.publish("alpha", "1.1.0")


def backed_out(site: SampleSite) -> None:
    a_version(site)
    site.releaser("update", check=0)
    site.releaser("rollback", check=0)


def a_dependency(site: SampleSite) -> None:
    site.publish("gamma", "1.0.0")
    site.push_from_elsewhere({"pyproject.toml": edit_pyproject(site, '"beta"', '"beta", "gamma"')})


def a_ghost(site: SampleSite) -> None:
    site.push_from_elsewhere({"pyproject.toml": edit_pyproject(site, '"beta"', '"beta", "ghost"')})


def wrong_settings(site: SampleSite) -> None:
    text = (site.path / "pyproject.toml").read_text(encoding="utf-8")
    site.push_from_elsewhere({"pyproject.toml": f"{text}\n[tool.releaser]\nkepe = 3\n"})


def a_file_in_the_way(site: SampleSite) -> None:
    site.edit("static_out/kept.txt", "mine")
    site.push_from_elsewhere({".gitignore": "", "static_out/kept.txt": "theirs"})


def empty_commit(site: SampleSite) -> None:
    site.git("commit", "--quiet", "--allow-empty", "--message", "Nothing")
    site.push()
    site.git("reset", "--quiet", "--hard", "HEAD^")


def a_commit_and_its_revert(site: SampleSite) -> None:
    site.commit("Something", {"notes.txt": "news"})
    site.git("revert", "--no-edit", "HEAD")
    site.push()
    site.git("reset", "--quiet", "--hard", "HEAD~2")


def an_older_lock(site: SampleSite) -> None:
    text = site.lock_text()
    a_version(site)
    site.releaser("update", check=0)
    site.push_from_elsewhere({"uv.lock": text}, message="Back to the old lock")


def rewritten(site: SampleSite) -> None:
    first = site.head()
    site.push_from_elsewhere({"notes.txt": "one"})
    site.releaser("update", check=0)
    site.git("--git-dir", str(site.remote), "update-ref", "refs/heads/main", first)


def diverged(site: SampleSite) -> None:
    site.push_from_elsewhere({"notes.txt": "news"})
    site.commit("Mine", {"mine.txt": ""})


def failed_before(site: SampleSite) -> None:
    site.publish("alpha", "2.0.0", broken=True)
    site.releaser("update", check=5, env={"RELEASER_CULPRITS": "off"})
    site.write_dotenv({"RELEASER_CULPRITS": "off"})


def damaged(site: SampleSite) -> None:
    (site.link / "bin" / "python").unlink()


def a_culprit_and_a_lower_one(site: SampleSite) -> None:
    site.publish("alpha", "2.1.0", broken=True)
    site.releaser("update", check=5)
    site.publish("alpha", "1.1.0")


CASES = {
    "nothing new": Case(prepare=nothing, builds=False),
    "another order in the lock": Case(prepare=another_order, builds=False),
    "a lock taken back": Case(prepare=an_older_lock, builds=False),
    "a version that was backed out, and force": Case(prepare=backed_out, args=("--force",)),
    "a dependency that is nowhere": Case(prepare=a_ghost, code=4, builds=False),
    "a dependency": Case(prepare=a_dependency),
    "wrong settings in a commit": Case(prepare=wrong_settings, code=3, builds=False),
    "a file in the way": Case(prepare=a_file_in_the_way, code=3, builds=False),
    "a remote that was moved back": Case(prepare=rewritten, code=3, builds=False),
    "branches that diverged": Case(prepare=diverged, code=3, builds=False),
    "a release without its interpreter": Case(prepare=damaged),
    "a version below one that failed": Case(prepare=a_culprit_and_a_lower_one),
    "the first update, with a version": Case(prepare=a_version, adopted=False),
    "a commit and its revert": Case(prepare=a_commit_and_its_revert, builds=False),
    "what failed before": Case(prepare=failed_before, builds=False, says="which failed before"),
}


@pytest.mark.spread(4)
@pytest.mark.parametrize("name", CASES)
def test_what_is_said_is_what_is_done(make_site: SiteFactory, name: str) -> None:
    case = CASES[name]
    site = make_site.adopted(**case.options) if case.adopted else make_site(venv=True, **case.options)
    case.prepare(site)
    compare(site, case)


def compare(site: SampleSite, case: Case) -> None:
    """Rehearse an update, run it, and see that both tell the same, and that the first has written nothing."""
    before, head = outer_snapshot(site), site.head()
    refused = case.code in (3, 4)
    said = site.json("update", "--dry-run", *case.args) if not refused else {}
    if refused:
        told = site.releaser("update", "--dry-run", *case.args, check=case.code).stderr
    assert outer_snapshot(site) == before
    report = site.json("update", *case.args, check=case.code)
    assert ("build" in steps(report)) == case.builds
    if refused:
        assert report["headline"].replace(str(site.path), "") in told.replace(str(site.path), "")
        return
    would = said["would"]
    assert case.says in "\n".join(would)
    keys = ("name", "old", "new", "bump")
    assert [tuple(one[key] for key in keys) for one in said["changes"]] == [
        tuple(one[key] for key in keys) for one in report["changes"]
    ]
    assert (NOTHING in would) == (not case.builds and case.adopted), would
    left_out = {f"{one['name']} {one['version']} would be skipped: {one['reason']}" for one in report["on_hold"]}
    assert {line for line in would if " would be skipped: " in line and not line.startswith("commit ")} == left_out
    how = "would go live" if case.builds or site.head() != head else "would not go live yet"
    coming = [f"commit {one['id'][:12]} ({one['subject']}) {how}" for one in report["commits"]]
    assert [line.partition(",")[0] for line in would if " go live" in line] == coming
    if case.adopted:
        assert any(line.endswith(("package would change", "packages would change")) for line in would) == case.builds


def test_what_comes_in_quietly_and_what_is_left_out_is_named_with_the_reason(make_site: SiteFactory) -> None:
    site = make_site.adopted()
    empty_commit(site)
    theirs = site.remote_head()
    quietly = (
        f"commit {theirs[:12]} (Nothing) would go live, without a new release: it changes neither code nor packages"
    )
    assert site.json("update", "--dry-run")["would"] == [quietly, NOTHING]
    site.releaser("update", check=0)
    assert site.head() == theirs
    theirs = site.push_from_elsewhere({TESTS: RED_TESTS}, message="Close the shop")
    site.releaser("update", check=5)
    line = f"commit {theirs[:12]} (Close the shop) would be skipped: it breaks the tests"
    assert site.json("update", "--dry-run")["would"] == [line, NOTHING]


def test_a_candidate_that_failed_as_the_site_did_is_not_decided(make_site: SiteFactory) -> None:
    """Only the tests of the live release would tell, and these are not run."""
    tests = "import pathlib, sys\nsys.exit(not pathlib.Path('../well').exists())\n"
    site = make_site.adopted(files={"run_tests.py": tests})
    a_version(site)
    site.releaser("update", check=5)
    would = site.json("update", "--dry-run")["would"]
    assert "an update would first repeat the tests" in would[0]
    assert NOTHING not in would


def test_a_lock_that_an_absolute_link_leads_to_is_not_written(make_site: SiteFactory) -> None:
    site = make_site(venv=True)
    (site.path / "locks").mkdir()
    site.git("mv", "uv.lock", "locks/uv.lock")
    (site.path / "uv.lock").symlink_to(site.path / "locks" / "uv.lock")
    site.push_commit("Keep locks together")
    a_version(site)
    before = outer_snapshot(site)
    (change,) = site.json("update", "--dry-run")["changes"]
    assert change["new"] == "1.1.0"
    assert outer_snapshot(site) == before
