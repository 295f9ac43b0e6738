"""`update --dry-run` beside `update`: whatever is new, the one says what the other then does, and writes nothing."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tests.e2e.scenes import edit_pyproject, outer_snapshot, steps
from tests.support.sites import RED_TESTS, TESTS, SampleSite, SiteFactory

NOTHING = "nothing would change"


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


def a_dependency(site: SampleSite, name: str = "gamma") -> None:
    site.publish("gamma", "1.0.0")
    site.push_from_elsewhere({"pyproject.toml": edit_pyproject(site, '"beta"', f'"beta", "{name}"')})


def a_ghost(site: SampleSite) -> None:
    a_dependency(site, "ghost")


def wrong_settings(site: SampleSite) -> None:
    text = (site.path / "pyproject.toml").read_text(encoding="utf-8")
    site.push_from_elsewhere({"pyproject.toml": f"{text}\n[tool.releaser]\nkepe = 3\n"})


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


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is new on a site before a night, and how its update ends; without `adopted`, that is the first one."""

    prepare: Callable[[SampleSite], object]
    code: int = 0
    builds: bool = True
    args: tuple[str, ...] = ()
    adopted: bool = True
    says: str = ""


CASES = {
    "nothing new": Case(prepare=nothing, builds=False),
    "another order in the lock": Case(prepare=another_order, builds=False),
    "a lock taken back": Case(prepare=an_older_lock, builds=False),
    "a version that was backed out, and force": Case(prepare=backed_out, args=("--force",)),
    "a dependency that is nowhere": Case(prepare=a_ghost, code=4, builds=False),
    "a dependency": Case(prepare=a_dependency),
    "wrong settings in a commit": Case(prepare=wrong_settings, code=3, builds=False),
    "a remote that was moved back": Case(prepare=rewritten, code=3, builds=False),
    "a release without its interpreter": Case(prepare=damaged),
    "a version below one that failed": Case(prepare=a_culprit_and_a_lower_one),
    "the first update, with a version": Case(prepare=a_version, adopted=False),
    "a commit and its revert": Case(prepare=a_commit_and_its_revert, builds=False),
    "what failed before": Case(prepare=failed_before, builds=False, says="which failed before"),
}


@pytest.mark.spread(4)
@pytest.mark.parametrize("name", CASES)
def test_what_is_said_is_what_is_done(make_site: SiteFactory, name: str) -> None:
    """A rehearsal and the update tell the same, and the first writes nothing."""
    case = CASES[name]
    site = make_site.adopted() if case.adopted else make_site(venv=True)
    case.prepare(site)
    before, head = outer_snapshot(site), site.head()
    refused = case.code in (3, 4)
    said = site.json("update", "--dry-run", *case.args) if not refused else {}
    told = site.releaser("update", "--dry-run", *case.args, check=case.code).stderr if refused else ""
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
    how = "would go live, without a new release: it changes neither code nor packages"
    assert site.json("update", "--dry-run")["would"] == [f"commit {theirs[:12]} (Nothing) {how}", NOTHING]
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
