"""The remote: upstreams, refused pushes, commits of people, a rewritten remote, and two hosts."""

import re
from collections.abc import Callable

import pytest

from tests.e2e.scenes import CODE, changed_files, changes, during_tests, hook, mostly_slow, refused, says, silent
from tests.support.commands import HOUSE, Finished
from tests.support.servers import WAITING_TESTS, web_site
from tests.support.sites import SampleSite, SiteFactory


@pytest.mark.slow
def test_law_15_the_upstream_of_the_branch_is_pulled_from_and_pushed_to(make_site: SiteFactory) -> None:
    site = make_site.live(due="1.1.0")
    company, origin = site.base / "company.git", site.remote_head()
    site.git("clone", "--quiet", "--bare", site.remote, company)
    site.git("remote", "add", "company", company)
    site.git("fetch", "--quiet", "company")
    site.git("branch", "--quiet", "--set-upstream-to", "company/main", "main")
    site.releaser("update", check=0)
    assert (site.git("rev-parse", "main", cwd=company), site.remote_head()) == (site.head(), origin)
    site.push_from_elsewhere(CODE)  # to origin
    silent(site.releaser("update"))


@pytest.mark.met("the branch follows one with another name")
def test_law_15_an_upstream_with_another_name_is_refused(make_site: SiteFactory) -> None:
    site = make_site.live(due="1.1.0")
    site.git("push", "--quiet", "origin", "main:develop")
    site.git("branch", "--quiet", "--set-upstream-to", "origin/develop", "main")
    says(refused(site, "update"), "develop", "main", "git branch")
    site.git("branch", "--quiet", "--set-upstream-to", "origin/main", "main")
    site.releaser("update", check=0)


@pytest.mark.slow
def test_law_28_a_branch_that_the_remote_calls_otherwise_is_named_with_the_way_on(make_site: SiteFactory) -> None:
    site = make_site.live(due="1.1.0")
    site.git("branch", "--move", "main", "trunk", cwd=site.remote)
    finished = site.releaser("update", check=4)
    says(finished, "`origin` has no branch `main` any more")
    site.run("sh", "-c", finished.stderr.partition("now, run `")[2].partition("`")[0].replace("NEW", "trunk"))
    site.write_dotenv(branch="trunk")
    assert site.json("update")["result"] == "updated"
    silent(site.releaser("update"))


@pytest.mark.parametrize("push", mostly_slow(["on", "off"], "on"))
def test_a_branch_without_upstream_is_refused_unless_nothing_is_pulled_or_pushed(
    make_site: SiteFactory, push: str
) -> None:
    site = make_site.live(due="1.1.0")
    remote = site.remote_head()
    site.git("branch", "--quiet", "--unset-upstream")
    if push == "on":
        says(refused(site, "update"), "upstream", "git branch")
        return
    site.write_dotenv(git_pull="off", git_push="off")
    site.releaser("update", check=0)
    assert (site.version("alpha"), changed_files(site), site.remote_head()) == ("1.1.0", {"uv.lock"}, remote)


@pytest.mark.slow
def test_git_pull_off_leaves_commits_of_the_remote_alone(make_site: SiteFactory) -> None:
    site = make_site.live(dotenv={"RELEASER_GIT_PULL": "off", "RELEASER_GIT_PUSH": "off"}, due="1.1.0")
    head, remote = site.head(), site.push_from_elsewhere(CODE)
    site.releaser("update", check=0)
    assert (site.git("rev-parse", "HEAD^"), site.remote_head(), site.version("alpha")) == (head, remote, "1.1.0")


@pytest.mark.slow
def test_law_15_a_refused_push_is_reported_and_made_again_the_next_night(make_site: SiteFactory) -> None:
    site = make_site.live(due="1.1.0")
    remote = site.remote_head()
    refusal = hook(site.remote, "pre-receive", "echo the vault is closed >&2; exit 1")
    answer = site.json("update", check=7)
    assert (answer["result"], site.version("alpha"), site.remote_head()) == ("updated", "1.1.0", remote)
    assert "the vault is closed" in str(answer["problems"])
    says(site.releaser("update", check=7), "the vault is closed")  # each night until it can be published
    assert site.json("status", check=10)["pending"]
    refusal.unlink()
    site.releaser("update", check=0)
    assert (site.remote_head(), changed_files(site), site.status()) == (site.head(), {"uv.lock"}, "")
    assert site.git("rev-parse", "HEAD^") == remote
    silent(site.releaser("update"))
    assert not site.json("status")["pending"]


#: What a server says that takes no push here: of GitHub, GitLab, Gitea, a hook alone, and of a key that may only read.
REFUSALS = {
    "github": "error: GH006: Protected branch update failed for refs/heads/main.",
    "gitlab": "GitLab: You are not allowed to push code to protected branches on this project.",
    "gitea": "Gitea: Not allowed to push to protected branch main",
    "a hook": "",
    "a key": "ERROR: The key you are authenticating with has been marked as read only.",
}


PROTECTED = ["a protected branch", "lorekeep #80", "noether #202", "rocketride-server #1775"]


def push_as_advised(site: SampleSite, finished: Finished) -> None:
    """Paste the command that a refusal has named."""
    found = re.search("`git -C ([^`]+)`", finished.stderr)
    assert found is not None, str(finished)
    site.env["BY_REQUEST"] = "1"
    site.git("-C", *found[1].split())
    del site.env["BY_REQUEST"]


@pytest.mark.slow
@pytest.mark.parametrize("server", mostly_slow(REFUSALS, met={"github": PROTECTED}))
def test_law_15_23_a_protected_branch_names_a_remedy_each_night(make_site: SiteFactory, server: str) -> None:
    site, words = make_site.live(due="1.1.0"), REFUSALS[server]
    refusal = hook(site.remote, "pre-receive", f"[ -n \"$BY_REQUEST\" ] && exit 0\necho '{words}' >&2; exit 1")
    first = site.releaser("update", check=7)
    remedy = f"push origin {site.head()[:12]}:refs/heads/releaser-{site.head()[:12]}"
    says(first, words, remedy, "merge request", "deploy key", "`git_push` to `false`")
    says(site.releaser("update", check=7), remedy)
    push_as_advised(site, first)
    site.publish("alpha", "1.2.0")
    assert site.head()[:12] not in site.releaser("update", check=7).stderr, "one problem, with the newest commit"
    status = site.json("status", check=10)
    assert [*status["pending_changes"].values()] == ["alpha 1.0.0 -> 1.1.0", "alpha 1.1.0 -> 1.2.0"]
    assert status["pending"] == site.git("rev-list", "--reverse", "origin/main..HEAD").split()
    shown = site.releaser("status", check=10).stdout
    assert ("alpha 1.1.0 -> 1.2.0" in shown, "merge request" in " ".join(shown.split())) == (True, True)
    site.env["BY_REQUEST"] = "1"
    site.push_from_elsewhere(CODE)
    del site.env["BY_REQUEST"]
    push_as_advised(site, site.releaser("update", check=7))  # although the branches of the earlier ones stay
    assert [*site.json("status", check=10)["pending_changes"].values()] == ["alpha 1.0.0 -> 1.2.0"], "made again"
    site.releaser("rollback")
    assert site.lock() == (site.release() / "uv.lock").read_text(encoding="utf-8"), "checkout and live stay one"
    assert len(site.json("status", check=10)["pending_changes"]) == 2
    assert site.json("status", check=10)["notes"] == []
    says(site.releaser("update", check=7), "merge request")  # although the head of the remote is on hold now
    site.releaser("unhold", "--all", check=0)
    refusal.unlink()
    site.releaser("update", check=0)
    status = site.json("status")
    assert (site.version("alpha"), site.remote_head(), status["pending"]) == ("1.2.0", site.head(), [])


@pytest.mark.slow
def test_law_17_status_names_each_day_how_the_committed_lock_differs(hosts: tuple[SampleSite, SampleSite]) -> None:
    first, second = hosts
    first.releaser("hold", "alpha", check=0)
    first.publish("alpha", "1.2.0")
    nights(second, first, count=1)
    nights(first)
    assert (first.version("alpha"), second.version("alpha")) == ("1.1.0", "1.2.0")
    answer = first.json("status")
    assert answer["well"], "a hold is the wish of a person"
    [note] = answer["notes"]
    assert "alpha 1.2.0 → 1.1.0" in note
    assert "`releaser unhold alpha`" in note
    assert "releaser unhold alpha" in " ".join(first.releaser("status", check=0).stdout.split())
    assert second.json("status")["notes"] == []


@pytest.mark.slow
def test_law_15_a_commit_that_waits_is_pushed_although_the_index_is_down(make_site: SiteFactory) -> None:
    site = make_site.live(due="1.1.0")
    refusal = hook(site.remote, "pre-receive")
    site.releaser("update", check=7)
    refusal.unlink()
    site.index.rename(site.outer / "away")
    site.releaser("update", check=4)
    assert site.remote_head() == site.head()
    (site.outer / "away").rename(site.index)
    silent(site.releaser("update"))
    assert site.json("status")["well"]


@pytest.mark.slow
def test_law_15_a_commit_that_could_not_be_pushed_is_made_again_on_top_of_the_remote(make_site: SiteFactory) -> None:
    site = make_site.live(files={"site_tests.py": WAITING_TESTS}, due="1.1.0")
    with during_tests(site, code=7):
        theirs = site.push_from_elsewhere(CODE)
    ours = site.head()
    assert (site.version("alpha"), changed_files(site), site.remote_head()) == ("1.1.0", {"uv.lock"}, theirs)
    site.releaser("update", check=0)
    assert (site.git("rev-parse", "HEAD^"), site.remote_head()) == (theirs, site.head())
    assert ours not in site.git("log", "--format=%H").splitlines()
    assert (site.path / "shop.py").read_text(encoding="utf-8") == CODE["shop.py"]
    assert (site.status(), site.git("log", "--merges", "--format=%H")) == ("", "")
    silent(site.releaser("update"))


def test_law_15_commits_of_people_are_not_pushed_or_rewritten(make_site: SiteFactory) -> None:
    site = make_site.live(due="1.1.0")
    mine, remote = site.commit("Mine", {"mine.txt": "mine"}), site.remote_head()
    finished = site.releaser("update", check=7)
    says(finished, "unpushed")
    assert (site.version("alpha"), site.head(), site.remote_head(), site.status()) == ("1.1.0", mine, remote, "")
    site.push()
    site.releaser("update", check=0)
    assert (site.git("rev-parse", "HEAD^"), changed_files(site)) == (mine, {"uv.lock"})
    assert site.remote_head() == site.head()
    silent(site.releaser("update"))


def test_law_15_20_an_unpushed_commit_is_named_each_night_also_if_no_lock_waits(make_site: SiteFactory) -> None:
    site = make_site.live()
    site.commit("Mine", CODE)
    for _ in range(2):
        problem, *others = site.json("update", check=7)["problems"]
        assert (problem["code"], "1 unpushed commit" in problem["message"], others) == ("not-published", True, [])
        assert [each["code"] for each in site.json("status", check=10)["attention"]] == ["not-published"]
    site.push()
    silent(site.releaser("update"))
    site.commit("Mine", {"notes.txt": "of this host"})
    site.write_dotenv(git_push="false")
    site.releaser("update")
    silent(site.releaser("update"))  # nothing of this host is pushed


def test_law_20_23_a_quiet_night_names_the_commit_that_is_on_hold(make_site: SiteFactory) -> None:
    site = make_site.live()
    commit = site.push_from_elsewhere(CODE)
    site.releaser("update", check=0)
    site.releaser("rollback", check=0)
    words = f"Everything is up to date, but for this: commit {commit[:12]} of `origin/main` is on hold."
    says(site.releaser("update", "--dry-run", check=0), words)
    silent(site.releaser("update"))
    assert site.json("status")["decision"]["sentence"] == words
    assert site.json("outdated")["headline"] == words


def test_law_15_a_diverged_branch_is_refused(make_site: SiteFactory) -> None:
    site = make_site.live(due="1.1.0")
    site.commit("Mine", {"mine.txt": "mine"})
    site.push_from_elsewhere(CODE)
    says(refused(site, "update"), "diverged")


@pytest.mark.slow
def test_law_15_a_commit_has_the_identity_of_git_or_of_releaser(make_site: SiteFactory) -> None:
    site = make_site.live(due="1.1.0")
    site.releaser("update", check=0)
    assert site.git("log", "-1", "--format=%an <%ae>") == "Grace <grace@example.org>"
    config = site.base / "no-identity"
    config.write_text("[init]\n\tdefaultBranch = main\n", encoding="utf-8")
    site.publish("alpha", "1.2.0")
    site.releaser("update", check=0, env={"GIT_CONFIG_GLOBAL": str(config)})
    assert "releaser" in site.git("log", "-1", "--format=%an")


REWRITTEN: dict[str, Callable[[SampleSite], object]] = {
    "moved back": lambda site: site.git("update-ref", "refs/heads/main", "main~1", cwd=site.remote),
    "rewritten": lambda site: (
        site.git("commit", "-q", "--amend", "-m", "Rewritten", cwd=site.elsewhere()),
        site.git("push", "-q", "--force", cwd=site.base / "elsewhere" / site.outer.name / site.path.name),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", REWRITTEN)
def test_law_16_a_remote_that_moved_back_or_was_rewritten_is_not_followed(site: SampleSite, name: str) -> None:
    site.push_from_elsewhere(CODE)
    site.releaser("update", check=0)
    REWRITTEN[name](site)
    head, remote, same = site.head(), site.remote_head(), name == "rewritten"  # the same code
    assert head != remote
    site.publish("alpha", "1.1.0")
    finished = site.releaser("update", check=7)
    says(finished, "remote")
    assert (site.version("alpha"), site.head(), site.remote_head()) == ("1.1.0", head, remote)
    assert (site.path / "shop.py").read_text(encoding="utf-8") == CODE["shop.py"]
    site.json("status", check=10)
    says(site.releaser("update", check=7), "--follow-remote")  # the second night, too
    says(site.releaser("update", "--follow-remote", "--dry-run", check=0), "Would", remote[:12])
    site.releaser("update", "--follow-remote", check=0)
    assert (site.git("merge-base", remote, "HEAD"), site.remote_head(), site.status()) == (remote, site.head(), "")
    assert ("EDITION = 2" in (site.path / "shop.py").read_text(encoding="utf-8"), site.version("alpha")) == (
        same,
        "1.1.0",
    )
    silent(site.releaser("update"))


@pytest.mark.slow
@pytest.mark.parametrize("name", REWRITTEN)
def test_law_16_a_rollback_from_a_remote_that_was_followed_refuses_no_night(site: SampleSite, name: str) -> None:
    site.push_from_elsewhere(CODE)
    site.releaser("update", check=0)
    left = site.head()
    REWRITTEN[name](site)
    if name == "rewritten":
        site.push_from_elsewhere({"shop.py": "EDITION = 3\nBROKEN = False\n"})
    site.releaser("update", "--follow-remote", check=0)
    site.releaser("rollback", check=0)
    assert (site.head(), "EDITION = 2" in (site.path / "shop.py").read_text("utf-8")) == (left, True)
    for _ in range(2):
        silent(site.releaser("update"))
        assert site.head() == left  # what was left is on hold
    site.publish("alpha", "1.1.0")
    site.releaser("update", check=0)
    assert (site.version("alpha"), site.head()) == ("1.1.0", left)
    site.push_from_elsewhere({"shop.py": "EDITION = 4\nBROKEN = False\n"})
    site.releaser("update", check=0)
    assert "EDITION = 4" in (site.path / "shop.py").read_text(encoding="utf-8")
    assert (site.git("merge-base", "origin/main", "HEAD"), site.status()) == (site.head(), "")


@pytest.mark.slow
def test_law_16_a_run_that_prepares_names_a_rewritten_remote_and_ends_well(site: SampleSite) -> None:
    site.push_from_elsewhere(CODE)
    site.releaser("update", check=0)
    REWRITTEN["rewritten"](site)
    site.publish("alpha", "1.1.0")
    live = site.live()
    finished = site.releaser("update", "--prepare", check=0)
    says(finished, "was rewritten", "--follow-remote")
    assert finished.stderr.count("The live release is unchanged") == 1, str(finished)
    assert (site.json("update", "--prepare")["result"], site.live()) == ("ready", live)


@pytest.mark.slow
def test_law_27_a_run_that_prepares_leaves_commits_of_people_to_updates(make_site: SiteFactory) -> None:
    site = make_site.live(due="1.1.0")
    site.commit("Mine", {"mine.txt": "mine"})
    says(site.releaser("update", check=7), "push")
    silent(site.releaser("update", "--prepare"))
    says(site.releaser("update", check=7), "push")
    assert site.head() != site.remote_head()


@pytest.mark.slow
def test_law_15_16_following_a_remote_drops_commits_of_releaser_and_none_of_people(site: SampleSite) -> None:
    site.push_from_elsewhere(CODE)
    site.releaser("update", check=0)
    site.write_dotenv(git_push="off")
    site.update_to("1.1.0")
    REWRITTEN["moved back"](site)
    site.write_dotenv()
    mine = site.commit("Mine", {"mine.py": ""})
    says(refused(site, "update", "--follow-remote"), f"lost: {mine[:12]}.")
    site.git("push", "-q", "origin", "HEAD:refs/heads/mine")
    site.json("update", "--follow-remote")
    assert (site.version("alpha"), site.head(), site.json("status")["pending"]) == ("1.1.0", site.remote_head(), [])
    assert "EDITION = 1" in (site.path / "shop.py").read_text(encoding="utf-8")
    assert not (site.path / "mine.py").exists()


def lock_versions(site: SampleSite, commit: str) -> dict[str, str]:
    """Return the versions in the uv.lock of a commit in the remote."""
    text = site.git("show", f"{commit}:uv.lock", cwd=site.remote)
    return dict(re.findall(r'name = "(\w+)"\nversion = "([\d.]+)"', text))


@pytest.fixture
def hosts(make_site: SiteFactory) -> tuple[SampleSite, SampleSite]:
    """Two hosts of one remote, with alpha 1.1.0 live on both."""
    first = make_site.live("1.1.0")
    second = first.second_host()
    second.releaser("init", check=0)
    return first, second


def nights(*hosts: SampleSite, count: int = 1) -> None:
    """Update each host that many times."""
    for _ in range(count):
        for host in hosts:
            finished = host.releaser("update")
            assert finished.returncode in {0, 7}, str(finished)


@pytest.mark.slow
def test_law_17_a_second_host_follows_the_commit_of_the_first(hosts: tuple[SampleSite, SampleSite]) -> None:
    first, second = hosts
    first.update_to("1.2.0")
    assert changes(second.json("update")) == {"alpha": ("1.1.0", "1.2.0")}
    assert first.head() == second.head() == first.remote_head()
    for host in hosts:
        silent(host.releaser("update"))


@pytest.mark.slow
def test_law_17_a_host_that_holds_a_version_never_lowers_the_lock_of_the_others(
    hosts: tuple[SampleSite, SampleSite],
) -> None:
    first, second = hosts
    first.update_to("1.2.0")
    second.releaser("update", check=0)
    second.releaser("rollback", check=0)
    begin = second.remote_head()
    nights(first, second)
    after_first_night = first.remote_head()
    nights(first, second, count=4)
    assert first.remote_head() == after_first_night, "nights bring commits without news"
    assert second.version("alpha") == "1.1.0"
    commits = first.git("log", "--reverse", "--format=%H", f"{begin}..main", cwd=first.remote).split()
    alpha = [lock_versions(first, commit)["alpha"] for commit in [begin, *commits]]
    assert alpha == sorted(alpha), "a night has lowered the lock"
    for host in hosts:
        assert host.status() == ""

    first.publish("beta", "1.1.0")
    nights(first, second)
    assert (second.version("beta"), second.version("alpha")) == ("1.1.0", "1.1.0")
    assert lock_versions(first, "main")["alpha"] == first.version("alpha")
    second.releaser("unhold", "alpha", check=0)
    nights(second, first)
    assert second.version("alpha") == first.version("alpha") == "1.2.0"


Pair = Callable[[SampleSite, SampleSite], object]


def offer(staging: SampleSite, production: SampleSite) -> None:
    """Offer versions on the index."""
    for name in ("alpha", "beta"):
        staging.publish(name, "1.1.0")


def hold_beta(staging: SampleSite, production: SampleSite) -> None:
    """Hold a package on one host, and offer a newer version."""
    staging.releaser("hold", "beta", check=0)
    staging.publish("beta", "1.2.0")


def add_dependency(staging: SampleSite, production: SampleSite) -> None:
    """Let a person add a package, and lock anew."""
    staging.publish("gamma", "1.0.0")
    text = (staging.elsewhere() / "pyproject.toml").read_text(encoding="utf-8")
    staging.push_from_elsewhere({"pyproject.toml": text.replace('"beta"', '"beta", "gamma"')}, lock=True)


def upgrade_by_hand(staging: SampleSite, production: SampleSite) -> None:
    """Let a person upgrade the lock."""
    staging.publish("alpha", "1.2.0")
    staging.push_from_elsewhere({}, upgrade=True)


def rewrite(staging: SampleSite, production: SampleSite) -> None:
    """Let the remote answer again, with its newest commit amended by a person."""
    (staging.base / "away").rename(staging.remote)
    REWRITTEN["rewritten"](staging)


def follow(staging: SampleSite, production: SampleSite) -> None:
    """Let people follow the advice on a rewritten remote."""
    for host in (staging, production):
        host.git("reset", "--quiet", "--keep", "origin/main")


#: What has happened before each night; the exit codes; alpha and beta on each host; who has committed in the night.
TEN_NIGHTS: list[tuple[str, Pair, tuple[int, int], tuple[str, str], tuple[str, str], list[str]]] = [
    ("new versions on the index", offer, (0, 0), ("1.1.0", "1.1.0"), ("1.1.0", "1.1.0"),
     ["staging"]),
    ("a commit", lambda staging, production: staging.push_from_elsewhere(CODE), (0, 0), ("1.1.0", "1.1.0"),
     ("1.1.0", "1.1.0"), []),
    ("a new dependency, locked by hand", add_dependency, (0, 0), ("1.1.0", "1.1.0"), ("1.1.0", "1.1.0"), []),
    ("alpha 1.2.0, locked by hand", upgrade_by_hand, (0, 0), ("1.2.0", "1.1.0"), ("1.2.0", "1.1.0"), []),
    ("`releaser rollback` on production", lambda staging, production: production.releaser("rollback", check=0),
     (0, 0), ("1.2.0", "1.1.0"), ("1.1.0", "1.1.0"), ["staging"]),
    ("`releaser hold beta` on staging, beta 1.2.0", hold_beta,
     (0, 0), ("1.2.0", "1.1.0"), ("1.1.0", "1.2.0"), []),
    ("`releaser unhold` on both", lambda staging, production: (
        staging.releaser("unhold", "beta", check=0), production.releaser("unhold", "alpha", check=0)),
     (0, 0), ("1.2.0", "1.2.0"), ("1.2.0", "1.2.0"), ["staging"]),
    ("the remote does not answer", lambda staging, production: staging.remote.rename(staging.base / "away"),
     (4, 4), ("1.2.0", "1.2.0"), ("1.2.0", "1.2.0"), []),
    ("it answers, with its last commit amended", rewrite, (7, 7), ("1.2.0", "1.2.0"), ("1.2.0", "1.2.0"), []),
    ("`git reset --keep origin/main` on both", follow, (0, 0), ("1.2.0", "1.2.0"), ("1.2.0", "1.2.0"), []),
]  # fmt: skip


@pytest.mark.slow
def test_law_17_ten_nights_of_two_hosts(make_site: SiteFactory) -> None:
    """Staging and production follow one remote; docs/two-hosts.md has the table that this prints."""
    hosts = {"staging": make_site(dotenv={"RELEASER_ENVIRONMENT": "staging"})}
    hosts["production"] = hosts["staging"].second_host()
    hosts["production"].write_dotenv(environment="production")
    for name, host in hosts.items():
        host.git("config", "user.name", name)
        host.releaser("init", check=0)
    staging = hosts["staging"]
    lines = [
        "| night | what happened before it | staging | production | commits of the night |",
        "|---|---|---|---|---|",
    ]
    expected = lines.copy()
    for number, (what, act, codes, of_staging, of_production, authors) in enumerate(TEN_NIGHTS, 1):
        act(*hosts.values())
        before = staging.remote_head() if staging.remote.exists() else ""
        seen: list[tuple[int, str, str]] = []
        for host in hosts.values():
            finished = host.releaser("update")
            says(finished)
            assert host.status() == "", f"night {number}: {finished}"
            assert host.python("import alpha, beta; print('works')") == "works"
            seen.append((finished.returncode, host.version("alpha"), host.version("beta")))
        new = (
            staging.git("log", "--reverse", "--format=%H %an", f"{before}..main", cwd=staging.remote) if before else ""
        )
        commits = [line.split(" ", 1) for line in new.splitlines()]
        for commit, _ in commits:
            earlier, later = lock_versions(staging, f"{commit}^"), lock_versions(staging, commit)
            assert earlier != later, f"night {number}: {commit} has no news"
            assert all(later[name] >= version for name, version in earlier.items()), f"night {number}: a lower lock"
        lines.append(describe_night(number, what, seen, [author for _, author in commits]))
        expected.append(describe_night(number, what, [(codes[0], *of_staging), (codes[1], *of_production)], authors))
    print("", *lines, sep="\n")
    assert lines == expected
    assert "\n".join(lines) in (HOUSE / "docs/two-hosts.md").read_text(encoding="utf-8")


def describe_night(number: int, what: str, hosts: list[tuple[int, str, str]], authors: list[str]) -> str:
    """Return the row of a night."""
    shown = [f"{code}; {alpha}, {beta}" for code, alpha, beta in hosts]
    return f"| {number} | {what} | {' | '.join(shown)} | {', '.join(f'by {author}' for author in authors) or 'none'} |"


GIT_CONFIGURATION = {
    "core.autocrlf": "true", "core.fileMode": "false", "core.quotePath": "false", "core.pager": "false",
    "core.hooksPath": "/nowhere", "core.fsmonitor": "false", "core.untrackedCache": "true", "color.ui": "always",
    "commit.gpgSign": "true", "push.gpgSign": "true", "push.default": "nothing", "push.followTags": "true",
    "status.showUntrackedFiles": "all", "status.short": "true", "diff.external": "false", "diff.noprefix": "true",
    "merge.ff": "false", "fetch.prune": "true", "fetch.writeCommitGraph": "true", "log.showSignature": "true",
    "log.decorate": "full", "checkout.defaultRemote": "company", "remote.origin.tagOpt": "--tags",
    "commit.template": "/nowhere", "commit.cleanup": "scissors", "i18n.logOutputEncoding": "latin1",
}  # fmt: skip
HOOKS = ("pre-commit", "commit-msg", "prepare-commit-msg", "pre-push", "post-checkout", "reference-transaction")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["configuration", "hooks", "attributes"])
def test_law_33_git_settings_of_a_person_change_no_answer(make_site: SiteFactory, kind: str) -> None:
    site = make_site.live(due="1.1.0")
    site.push_from_elsewhere({**CODE, "photos/kätzchen.txt": "a cat\n"})
    if kind == "configuration":
        for key, value in GIT_CONFIGURATION.items():
            site.git("config", key, value)
    elif kind == "hooks":
        for name in HOOKS:
            hook(site.path / ".git", name)
    else:
        site.git("config", "filter.fail.smudge", "false")
        site.git("config", "filter.fail.required", "true")
        attributes = site.path / ".git" / "info" / "attributes"
        attributes.write_text("*.pdf filter=fail\nuv.lock text eol=crlf\n", encoding="utf-8")
    answer = site.json("update")
    assert (answer["result"], answer["problems"], site.version("alpha")) == ("updated", [], "1.1.0")
    assert (changed_files(site), site.remote_head()) == ({"uv.lock"}, site.head())
    silent(site.releaser("update"))
    assert site.json("rollback")["problems"] == []
    assert (site.version("alpha"), site.status(), (site.path / "photos").exists()) == ("1.0.0", "", False)


def test_law_33_git_never_asks(site: SampleSite) -> None:
    """A remote that wants a password, and programs that would ask for it."""
    asked = site.base / "asked"
    helper = site.base / "ask"
    helper.write_text(f"#!/bin/sh\ntouch {asked}\necho secret\n", encoding="utf-8")
    helper.chmod(0o755)
    head = site.head()
    with web_site(lambda: 401) as web:
        site.git("config", "remote.origin.url", web.url)
        env = {"GIT_ASKPASS": str(helper), "SSH_ASKPASS": str(helper), "DISPLAY": ":0"}
        finished = site.releaser("update", env=env)
        assert web.asked
    assert finished.returncode == 4, str(finished)
    assert (asked.exists(), site.head()) == (False, head)
