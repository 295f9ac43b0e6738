"""`hold`, `unhold` and `ignore`; `show`, `logs` and `list`; and releases that processes still use."""

import re
from typing import Any

import pytest

from tests.e2e.scenes import changes, make_old, mostly_slow, refused, says, step_names
from tests.support.commands import require, started
from tests.support.sites import SampleSite, SiteFactory


def holds(answer: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the name and the origin of everything on hold."""
    assert all(hold["reason"] for hold in answer["on_hold"])
    return [(hold["name"], hold["by"]) for hold in answer["on_hold"]]


@pytest.mark.slow
@pytest.mark.parametrize("by", mostly_slow(["person", "setting"], "person"))
def test_law_06_a_package_on_hold_stays_while_others_update(make_site: SiteFactory, by: str) -> None:
    site = make_site.live("1.1.0", due="1.2.0")
    site.publish("beta", "1.1.0")
    if by == "person":
        says(refused(site, "hold", "gamma"), "gamma")
        says(site.releaser("hold", "Alpha", check=0), "1.1.0", "releaser unhold")
    else:
        site.write_dotenv(ignore="Alpha")
    answer = site.json("update")
    assert (changes(answer), holds(answer)) == ({"beta": ("1.0.0", "1.1.0")}, [("alpha", by)])
    status = site.json("status")
    assert (status["well"], holds(status)) == (True, [("alpha", by)])
    assert ("releaser unhold alpha" in site.releaser("status", check=0).stdout) == (by == "person")
    assert (site.json("update")["result"], site.version("alpha")) == ("no-changes", "1.1.0")
    if by == "person":
        assert site.releaser("unhold", "alpha", "gamma").returncode != 0  # all or nothing
        assert holds(site.json("status")) == [("alpha", "person")]
        site.releaser("unhold", "alpha", check=0)
    site.write_dotenv()
    answer = site.json("update")
    assert (changes(answer), holds(answer)) == ({"alpha": ("1.1.0", "1.2.0")}, [])


def test_law_23_37_levels_and_names_limit_what_moves(make_site: SiteFactory) -> None:
    site = make_site.live()
    for name, version in (("alpha", "1.1.0"), ("alpha", "2.0.0"), ("beta", "1.0.1"), ("beta", "1.1.0")):
        site.publish(name, version)
    site.write_dotenv(upgrade="minor", upgrade_packages='{"Beta": "patch"}')
    preview, answer = site.json("update", "--dry-run"), site.json("update")
    assert changes(preview) == changes(answer) == {"alpha": ("1.0.0", "1.1.0"), "beta": ("1.0.0", "1.0.1")}
    shown = " ".join(site.releaser("status", check=0).stdout.split())
    assert ("alpha 2.0.0 is a major upgrade" in shown, "beta 1.1.0 is a minor upgrade" in shown) == (True, True), shown
    site.write_dotenv(upgrade="none")
    assert site.json("update")["result"] == "no-changes"
    says(refused(site, "update", "alhpa"), "`alhpa` is not in uv.lock", "`alpha`")
    assert changes(site.json("update", "Alpha")) == {"alpha": ("1.1.0", "2.0.0")}
    assert (site.version("beta"), site.status()) == ("1.0.1", "")


OLD = {
    "the hold of a rollback": ("holds.json", "since", "releaser unhold alpha"),
    "the last update": ("history.jsonl", "ended_at", "No update has run"),
}


@pytest.mark.parametrize("name", mostly_slow(OLD, "the hold of a rollback"))
def test_law_20_what_is_older_than_a_week_needs_attention(make_site: SiteFactory, name: str) -> None:
    file, key, words = OLD[name]
    site = make_site.live("1.1.0")
    site.releaser("rollback", check=0)
    site.releaser("hold", "beta", check=0)  # never too old, since a person wants it; and no update
    assert holds(site.json("status")) == [("alpha", "rollback"), ("beta", "person")]
    for days, code in ((6, 0), (8, 10)):
        make_old(site.state / file, key, days)
        status = site.json("status", check=code)
        assert (status["well"], len(status["attention"])) == (code == 0, int(code != 0))
        assert code == 0 or words in str(status["attention"])


@pytest.mark.slow
def test_a_failed_release_shows_steps_and_the_end_of_its_tests_and_runs_have_logs(make_site: SiteFactory) -> None:
    site = make_site.live("1.1.0")
    site.publish("alpha", "1.2.0", broken=True)
    site.releaser("update", check=5)
    failed, live, first = site.states()
    details = site.json("show", failed)
    assert (details["state"], details["live_at"]) == ("failed", [])
    assert (changes(details), bool(details["failure"])) == ({"alpha": ("1.1.0", "1.2.0")}, True)
    assert {"resolve", "build", "test"} <= {*step_names(details)} <= {"fetch", "resolve", "build", "test", "prune"}
    assert "alpha 1.2.0 breaks the shop" in details["tests_output"]
    text = site.releaser("show", failed, check=0).stdout
    assert all(word in text for word in (f"{failed}, failed", "alpha 1.1.0 → 1.2.0", "breaks the shop")), text
    assert re.search(r"(?m)^ +build +done .*\n +test ", text)
    for name, release in (("live", live), ("previous", first), ("@2", first)):
        shown = site.json("show", name)
        assert (shown["id"], "OK" in shown["tests_output"], "flip" in step_names(shown)) == (release, True, True)
    says(refused(site, "show", "1999", code=9), "1999", "releaser list")

    run = site.json("status", check=10)["last_run"]["run"]
    assert site.json("logs") == (log := site.json("logs", run))
    assert (log["run"], "breaks the shop" in log["text"]) == (run, True)
    assert "breaks the shop" in site.releaser("logs", run, check=0).stdout
    says(refused(site, "logs", "1999", code=9), "1999")
    says(refused(site, "logs", "2", code=9), "`2`")  # could be each of them


USERS = {"its owner": 0, "another user": 1}
SLEEP = "import time; print(1, flush=True); time.sleep(600)"


@pytest.mark.slow
@pytest.mark.parametrize("who", mostly_slow(USERS, "its owner"))
def test_law_07_a_release_that_a_process_uses_is_named_and_never_deleted(user_site: SampleSite, who: str) -> None:
    site, prefix = user_site, list[str]()
    if site.user:
        prefix = [word.replace(str(site.user.user), str(site.user.user + USERS[who])) for word in site.user.prefix]
    require(site.user or who == "its owner", "only root can start processes of another user")
    site.write_dotenv(keep="0", keep_within="0s", restart="none")
    first, python = site.live(), site.link / "bin" / "python"
    with started([*prefix, python, "-c", SLEEP], cwd=site.path, env=site.env) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "1\n"
        site.update_to("1.1.0")
        site.update_to("1.2.0")  # prunes, too
        finished = site.releaser("prune", "--dry-run", check=0)
        assert first not in finished.stdout + finished.stderr
        site.releaser("prune", check=0)
        assert (first in site.releases(), len(site.releases())) == (True, 3)
        row = site.json("list")[-1]
        if who == "its owner":  # else the process may hide which one it is
            assert (row["id"], row["in_use_by"]) == (first, [process.pid])
            assert "good, in use" in site.releaser("list", check=0).stdout
        process.kill()
        process.wait()
    site.releaser("prune", check=0)
    assert (first in site.releases(), len(site.releases())) == (False, 2)


MET_GIT = ["a dependency of git moves, its version stays", "uv #18005", "uv #6305", "metaflow #2695"]
GIT_PACKAGE = """[project]
name = "gamma"
version = "1.0"
requires-python = ">=3.8"
[build-system]
requires = []
build-backend = "build"
backend-path = ["."]
"""
GIT_BUILD = """import zipfile

def build_wheel(directory, settings=None, metadata=None):
    name, info = "gamma-1.0-py3-none-any.whl", "gamma-1.0.dist-info"
    with zipfile.ZipFile(f"{directory}/{name}", "w") as wheel:
        wheel.writestr("gamma/__init__.py", open("gamma.py").read())
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\\nName: gamma\\nVersion: 1.0\\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        names = ["gamma/__init__.py", f"{info}/METADATA", f"{info}/WHEEL", f"{info}/RECORD"]
        wheel.writestr(f"{info}/RECORD", "".join(f"{name},,\\n" for name in names))
    return name
"""


def commit_gamma(site: SampleSite, edition: int) -> str:
    """Commit an edition of gamma, whose version stays, to its repository; return the commit."""
    library, code = site.base / "gamma", f"EDITION = {edition}"
    for name, text in {"pyproject.toml": GIT_PACKAGE, "build.py": GIT_BUILD, "gamma.py": code}.items():
        (library / name).write_text(text, encoding="utf-8")
    site.git("add", "--all", cwd=library)
    site.git("commit", "--quiet", "--message", code, cwd=library)
    return site.git("rev-parse", "HEAD", cwd=library)


def edition(site: SampleSite) -> str:
    """Return the edition of gamma that is live."""
    return site.python("import gamma; print(gamma.EDITION)")


@pytest.fixture
def with_gamma(make_site: SiteFactory) -> SampleSite:
    """A site with a live release that needs the first edition of gamma, from a git repository."""
    site = make_site()
    add_gamma(site)
    site.releaser("init", check=0)
    return site


def add_gamma(site: SampleSite) -> None:
    """Let a site need the first edition of gamma."""
    library = site.base / "gamma"
    library.mkdir()
    site.git("init", "--quiet", cwd=library)
    commit_gamma(site, 1)
    site.replace("pyproject.toml", '"beta"]', '"beta", "gamma"]')
    text = (site.path / "pyproject.toml").read_text(encoding="utf-8")
    source = f'[tool.uv.sources]\ngamma = {{ git = "file://{library}" }}\n'
    site.push_commit("Add gamma", {"pyproject.toml": f"{text}\n{source}"}, lock=True)


@pytest.mark.met(*MET_GIT)
@pytest.mark.slow
def test_law_38_a_commit_of_a_git_dependency_is_news_though_its_version_stays(with_gamma: SampleSite) -> None:
    site = with_gamma
    first = site.git("rev-parse", "HEAD", cwd=site.base / "gamma")
    live, second = site.live(), commit_gamma(site, 2)
    old, new = f"1.0 ({first[:7]})", f"1.0 ({second[:7]})"
    assert changes(site.json("update")) == {"gamma": (old, new)}
    assert (edition(site), second in site.lock()) == ("2", True)
    assert f"gamma {old} -> {new}" in site.git("log", "-1", "--format=%B")
    site.releaser("rollback", check=0)
    assert (site.live(), holds(site.json("status"))) == (live, [("gamma", "rollback")])
    assert site.json("update")["result"] == "no-changes"
    third = commit_gamma(site, 3)
    assert changes(site.json("update")) == {"gamma": (old, f"1.0 ({third[:7]})")}


@pytest.mark.slow
def test_law_23_a_git_dependency_that_does_not_build_or_is_gone_keeps_nothing_else_back(with_gamma: SampleSite) -> None:
    site, library = with_gamma, with_gamma.base / "gamma"
    first = site.git("rev-parse", "HEAD", cwd=library)
    (library / "build.py").write_text("def build_wheel(*words):\n    raise SystemExit('no compiler')\n", "utf-8")
    site.git("commit", "--quiet", "--all", "--message", "Break it", cwd=library)
    site.publish("alpha", "1.1.0")
    answer = site.json("update")
    assert (changes(answer), holds(answer)) == ({"alpha": ("1.0.0", "1.1.0")}, [("gamma", "build")])
    library.rename(site.base / "gone")
    site.publish("alpha", "1.2.0")
    assert changes(site.json("update")) == {"alpha": ("1.1.0", "1.2.0")}
    stays = f"gamma 1.0 ({first[:7]}) stays: its repository cannot be fetched"
    says(site.releaser("update", "-v", check=0), stays)
    assert (edition(site), first in site.lock()) == ("1", True)


@pytest.mark.met(*MET_GIT)
@pytest.mark.slow
@pytest.mark.parametrize("by", ["rollback", "person"])
def test_law_06_23_a_git_dependency_on_hold_stays_although_a_person_has_locked_it(
    with_gamma: SampleSite, by: str
) -> None:
    site = with_gamma
    healthy = "! grep -q 2 .venv/lib/python*/site-packages/gamma/__init__.py"
    site.write_dotenv(health_check=f'sh -c "{healthy}"', health_timeout="0s")
    if by == "person":
        site.releaser("hold", "gamma", check=0)
    second = commit_gamma(site, 2)
    site.push_from_elsewhere({}, upgrade=True)
    if by == "rollback":
        site.releaser("update", check=6)
    live, releases, tests = site.live(), site.releases(), len(site.test_runs())
    for _ in range(3):
        says(site.releaser("update", "-v", check=0), f"gamma 1.0 ({second[:7]}) is on hold")
        assert (site.live(), edition(site), holds(site.json("status"))) == (live, "1", [("gamma", by)])
        assert (site.releases(), len(site.test_runs())) == (releases, tests), "it was built again"
    commit_gamma(site, 3)
    if by == "person":
        site.releaser("unhold", "gamma", check=0)
    site.releaser("update", check=0)
    assert edition(site) == "3"


@pytest.mark.slow
def test_law_17_23_a_git_dependency_on_hold_never_lowers_the_lock_of_others(with_gamma: SampleSite) -> None:
    site = with_gamma
    site.releaser("hold", "gamma", check=0)
    commit_gamma(site, 2)
    locked = site.push_from_elsewhere({}, upgrade=True)
    site.releaser("update", check=0)
    assert (edition(site), site.head(), site.status()) == ("1", locked, "")
    assert site.remote_head() == locked, site.git("log", "-1", "--format=%B", cwd=site.remote)
