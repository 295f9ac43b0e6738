"""What an index does to a site: it yanks, loses or lacks a version, or has it since yesterday."""

import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.e2e.scenes import changes, mostly_slow, says, silent
from tests.e2e.test_holds import add_gamma, commit_gamma
from tests.support.index import Index, serve_index
from tests.support.sites import SampleSite, SiteFactory
from tests.support.smtp import mail_server
from tests.support.wheels import build_sdist, build_wheel


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    """Serve the wheels of the site `outer`."""
    with serve_index(tmp_path / "outer" / "index") as index:
        yield index


@pytest.fixture
def site(make_site: SiteFactory, index: Index) -> SampleSite:
    """A live site with alpha 1.1.0 and beta 1.0.0 from an index."""
    site = make_indexed_site(make_site, index)
    site.releaser("init", check=0)
    return site


def make_indexed_site(make_site: SiteFactory, index: Index) -> SampleSite:
    """Make a site with alpha 1.1.0 and beta 1.0.0 from an index, without a venv."""
    site = make_site(packages={"alpha": "1.1.0", "beta": "1.0.0"})
    assert index.directory == site.index
    site.publish("alpha", "1.0.0")
    places = f'[[tool.uv.index]]\nname = "own"\nurl = "{index.url}"\ndefault = true'
    site.replace("pyproject.toml", '[tool.uv]\nno-index = true\nfind-links = ["../index"]', places)
    site.push_commit("An index", lock=True)
    return site


def shown(site: SampleSite, command: str = "status") -> str:
    """Return what a command prints, in one line."""
    return " ".join(site.releaser(command, check=0).stdout.split())


def publish_elsewhere(site: SampleSite, name: str, version: str, tag: str) -> None:
    """Offer a version for another system alone."""
    site.publish(name, version)
    wheel = site.index / f"{name}-{version}-py3-none-any.whl"
    wheel.rename(wheel.with_name(wheel.name.replace("py3-none-any", tag)))


@pytest.mark.met("a new version has no file for this system", "uv #12205")
@pytest.mark.met("a new version needs a newer C library or Python")
def test_law_23_what_has_no_file_for_this_host_waits_and_the_others_go_live(site: SampleSite) -> None:
    publish_elsewhere(site, "alpha", "1.2.0", "cp311-cp311-macosx_13_0_arm64")
    publish_elsewhere(site, "alpha", "1.3.0", "cp311-cp311-manylinux_2_99_x86_64")
    publish_elsewhere(site, "alpha", "1.4.0", "cp399-cp399-manylinux_2_17_x86_64")
    site.publish("beta", "1.1.0")
    says(site.releaser("update", "--dry-run", check=0), "beta 1.0.0 → 1.1.0")
    answer = site.json("update")
    assert changes(answer) == {"beta": ("1.0.0", "1.1.0")}
    held = [(hold["name"], hold["version"], hold["by"]) for hold in answer["on_hold"]]
    assert held == [("alpha", version, "index") for version in ("1.4.0", "1.3.0", "1.2.0")]
    reason = "has no file for this host, only for `cp399`"
    assert f"alpha 1.4.0 {reason}" in shown(site)
    assert f"alpha 1.4.0: {reason}" in shown(site, "outdated")
    silent(site.releaser("update"))
    assert site.json("status")["well"]
    (site.index / "alpha-1.4.0-cp399-cp399-manylinux_2_17_x86_64.whl").unlink()
    site.publish("alpha", "1.4.0")
    answer = site.json("update")
    assert (changes(answer), answer["on_hold"]) == ({"alpha": ("1.1.0", "1.4.0")}, [])


@pytest.mark.met("the live version is yanked", "uv #21430", "uv #19112")
@pytest.mark.met("a yanked version is on hold, or is gone back to", "uv #21430")
@pytest.mark.met("the live version vanishes, with a hold on it")
@pytest.mark.slow
def test_law_23_what_is_yanked_or_vanishes_stays_and_the_others_go_live(site: SampleSite, index: Index) -> None:
    index.yanked["alpha-1.1.0"] = "it breaks"
    site.publish("beta", "1.1.0")
    says(
        site.releaser("update", "--dry-run", check=0),
        "beta 1.0.0 → 1.1.0",
        "alpha 1.1.0 was yanked: it breaks, and stays",
    )
    answer = site.json("update")
    assert (changes(answer), site.version("alpha")) == ({"beta": ("1.0.0", "1.1.0")}, "1.1.0")
    assert "alpha 1.1.0 was yanked: it breaks, and stays" in " ".join(answer["notes"])
    assert "alpha 1.1.0 was yanked: it breaks, and stays" in shown(site)
    assert site.remote_head() == site.head()
    site.releaser("rollback", check=0)
    assert site.version("alpha") == "1.1.0"
    site.releaser("unhold", "--all", check=0)
    site.publish("alpha", "1.1.1")
    index.yanked["alpha-1.1.1"] = "as soon as it was there"
    assert changes(site.json("update")) == {"beta": ("1.0.0", "1.1.0")}
    (site.index / "alpha-1.1.0-py3-none-any.whl").unlink()
    silent(site.releaser("update"))
    assert "alpha 1.1.0 is not in the index any more, and stays" in shown(site)
    site.releaser("hold", "alpha", check=0)
    site.publish("beta", "1.2.0")
    assert changes(site.json("update")) == {"beta": ("1.1.0", "1.2.0")}
    assert "alpha 1.1.0 is not in the index any more, and stays" in shown(site)
    site.publish("alpha", "1.1.0")
    index.yanked["alpha-1.1.0"] = "it still breaks"
    silent(site.releaser("update"))
    assert "alpha 1.1.0 was yanked: it still breaks, and stays" in shown(site)
    site.releaser("unhold", "alpha", check=0)
    site.publish("alpha", "1.2.0")
    assert changes(site.json("update")) == {"alpha": ("1.1.0", "1.2.0")}
    assert site.remote_head() == site.head()


@pytest.mark.slow
def test_law_23_a_version_waits_until_it_has_an_age_and_what_is_live_stays(site: SampleSite, index: Index) -> None:
    index.ages |= {"alpha-1.1.0": 2, "alpha-1.2.0": 1, "beta-1.1.0": 9, "beta-1.2.0": 1}
    for name, version in (("alpha", "1.2.0"), ("beta", "1.1.0"), ("beta", "1.2.0")):
        site.publish(name, version)
    site.write_dotenv(min_age="5d")
    answer = site.json("update")
    assert (changes(answer), site.version("alpha")) == ({"beta": ("1.0.0", "1.1.0")}, "1.1.0")
    text = shown(site)
    assert "alpha 1.2.0 is too new: it was uploaded on " in text
    assert "beta 1.2.0 is too new: it was uploaded on " in text
    assert "exclude-newer" not in site.lock()
    site.uv("lock", "--check")
    silent(site.releaser("update"))
    site.write_dotenv(min_age="12h")
    assert changes(site.json("update")) == {"alpha": ("1.1.0", "1.2.0"), "beta": ("1.1.0", "1.2.0")}


#: Ages that a commit asks for, without a new lock: alpha 1.1.0 is two days old.
AGES = ['exclude-newer = "3 days"', f'exclude-newer = "{datetime.now(UTC) - timedelta(days=3):%Y-%m-%d}T00:00:00Z"']
AGES += ['exclude-newer-package = { alpha = "3 days" }']


@pytest.mark.slow
@pytest.mark.parametrize("age", AGES, ids=["span", "time", "package"])
def test_law_23_an_age_that_a_commit_asks_for_lowers_nothing_and_holds_nothing_back(
    site: SampleSite, index: Index, age: str
) -> None:
    index.ages["alpha-1.1.0"] = 2
    site.replace("pyproject.toml", "[[tool.uv.index]]", f"[tool.uv]\n{age}\n\n[[tool.uv.index]]")
    site.push_commit("An age")
    site.publish("beta", "1.1.0")
    assert changes(site.json("update")) == {"beta": ("1.0.0", "1.1.0")}
    assert "alpha 1.1.0 is too new for `min_age` or `exclude-newer`, and stays" in shown(site)
    site.uv("lock", "--check")
    assert site.status() == ""
    silent(site.releaser("update"))


@pytest.mark.slow
@pytest.mark.parametrize("age", AGES, ids=["span", "time", "package"])
def test_law_23_what_the_age_of_a_project_keeps_back_is_named(site: SampleSite, index: Index, age: str) -> None:
    site.replace("pyproject.toml", "[[tool.uv.index]]", f"[tool.uv]\n{age}\n\n[[tool.uv.index]]")
    site.push_commit("An age", lock=True)
    site.releaser("update", check=0)
    index.ages["alpha-1.2.0"] = 1
    site.publish("alpha", "1.2.0")
    index.yanked["beta-1.0.0"] = ""  # a package without a version to take hides no other one
    for names in ((), ("alpha",)):
        (row,) = site.json("outdated", *names)["packages"]
        (blocked,) = row["blocked"]
        assert (row["tonight"], blocked["version"], blocked["by"]) == (None, "1.2.0", "age")
        assert "`exclude-newer`" in blocked["reason"]


@pytest.mark.slow
@pytest.mark.parametrize(("min_age", "own"), [("1d", "3 days"), ("3d", "1 day"), ("1d", "1 week")])
def test_law_23_of_two_ages_the_stricter_one_holds(site: SampleSite, index: Index, min_age: str, own: str) -> None:
    site.replace("pyproject.toml", "[[tool.uv.index]]", f'[tool.uv]\nexclude-newer = "{own}"\n\n[[tool.uv.index]]')
    site.push_commit("An age", lock=True)
    site.write_dotenv(min_age=min_age)
    site.releaser("update", check=0)
    index.ages |= {"alpha-1.2.0": 2, "beta-1.1.0": 9}
    site.publish("alpha", "1.2.0")
    site.publish("beta", "1.1.0")
    assert changes(site.json("update")) == {"beta": ("1.0.0", "1.1.0")}
    assert re.search(r"exclude-newer-span = \"P\w+\"", site.lock())
    silent(site.releaser("update"))


@pytest.mark.slow
def test_law_23_a_commit_that_lowers_is_followed_and_held_and_a_revert_is_not(site: SampleSite) -> None:
    site.publish("alpha", "1.2.0")
    site.releaser("update", check=0)
    clone = site.elsewhere()
    site.git("revert", "--no-edit", "HEAD", cwd=clone)
    site.git("push", "--quiet", cwd=clone)
    site.releaser("update", check=0)
    assert site.version("alpha") == "1.2.0"
    assert re.search(r"alpha 1.2.0 stays: commit \w+ is a revert, which has 1.1.0", shown(site))
    clone = site.elsewhere()
    site.uv("lock", "-P", "alpha==1.0.0", cwd=clone)
    site.git("commit", "--quiet", "--all", "--message", "alpha 1.2 is bad for us", cwd=clone)
    site.git("push", "--quiet", cwd=clone)
    head = site.git("rev-parse", "HEAD", cwd=clone)
    answer = site.json("update")
    assert (changes(answer), site.head()) == ({"alpha": ("1.2.0", "1.0.0")}, head)
    assert [(hold["name"], hold["version"], hold["by"]) for hold in answer["on_hold"]] == [("alpha", "1.2.0", "commit")]
    assert f"lowered by commit {head[:12]}" in shown(site)
    silent(site.releaser("update"))
    site.publish("alpha", "1.3.0")
    answer = site.json("update")
    assert (changes(answer), answer["on_hold"]) == ({"alpha": ("1.0.0", "1.3.0")}, [])


@pytest.mark.slow
def test_law_23_a_requirement_lowers_a_package_also_beside_a_lock_that_has_it_newer(site: SampleSite) -> None:
    site.push_from_elsewhere(
        {"pyproject.toml": (site.path / "pyproject.toml").read_text().replace('"alpha"', '"alpha<1.1"')}
    )
    site.publish("beta", "1.1.0")
    assert changes(site.json("update")) == {"alpha": ("1.1.0", "1.0.0"), "beta": ("1.0.0", "1.1.0")}
    silent(site.releaser("update"))


@pytest.mark.slow
def test_law_28_a_hold_that_a_requirement_contradicts_is_named(site: SampleSite) -> None:
    site.releaser("hold", "alpha", check=0)
    site.publish("alpha", "2.0.0")
    site.push_from_elsewhere(
        {"pyproject.toml": (site.path / "pyproject.toml").read_text().replace('"alpha"', '"alpha>=2"')}
    )
    finished = site.releaser("update", check=4)
    assert "without what is on hold: alpha" in finished.stderr
    assert "releaser unhold alpha" in finished.stderr
    site.releaser("unhold", "alpha", check=0)
    assert changes(site.json("update")) == {"alpha": ("1.1.0", "2.0.0")}


@pytest.mark.slow
def test_law_23_what_does_not_build_waits_and_the_others_go_live(site: SampleSite) -> None:
    build_sdist(site.index, "alpha", "1.2.0", "def build_wheel(*args):\n    raise OSError('no compiler')\n")
    site.publish("beta", "1.1.0")
    answer = site.json("update")
    assert changes(answer) == {"beta": ("1.0.0", "1.1.0")}
    (hold,) = answer["on_hold"]
    assert (hold["name"], hold["version"], hold["by"], bool(hold["until"])) == ("alpha", "1.2.0", "build", True)
    assert "alpha==1.2.0" in hold["reason"]
    runs = len(site.test_runs())
    silent(site.releaser("update"))
    assert len(site.test_runs()) == runs
    site.publish("alpha", "1.3.0")
    answer = site.json("update")
    assert (changes(answer), answer["on_hold"]) == ({"alpha": ("1.1.0", "1.3.0")}, [])


Act = Callable[[SampleSite, Index], object]
MET_FORK = "a hold or a rollback of a package that the lock has in several versions"
FORKED = "\"alpha>=1.1; sys_platform == 'linux'\", \"alpha<1.1; sys_platform != 'linux'\""


def lose(site: SampleSite, index: Index) -> None:
    """Delete the live version of alpha from the index."""
    (index.directory / "alpha-1.1.0-py3-none-any.whl").unlink()


def lower(site: SampleSite, index: Index) -> None:
    """Commit a lock that has an older alpha."""
    clone = site.elsewhere()
    site.uv("lock", "-P", "alpha==1.0.0", cwd=clone)
    site.git("commit", "--quiet", "--all", "--message", "An older alpha", cwd=clone)
    site.git("push", "--quiet", cwd=clone)


def offer_young(site: SampleSite, index: Index) -> None:
    """Offer a version of today."""
    index.ages["alpha-1.2.0"] = 0
    site.publish("alpha", "1.2.0")
    site.write_dotenv({"RELEASER_MIN_AGE": "3d", **dict(_dotenv(site))})


def forge(site: SampleSite, index: Index) -> None:
    """Offer a version whose file was replaced after the index had read it."""
    index.forged.add("alpha-1.2.0-py3-none-any.whl")
    site.publish("alpha", "1.2.0")


def refuse_file(site: SampleSite, index: Index, version: str = "1.2.0") -> None:
    """Offer a version that the index lists, and whose file it gives to nobody, as a firewall for packages does."""
    index.refusal, index.refused = 403, {f"files/alpha-{version}-py3-none-any.whl"}
    site.publish("alpha", version)


def hold(site: SampleSite, index: Index) -> None:
    """Hold alpha, and offer a newer one."""
    site.releaser("hold", "alpha", check=0)
    site.publish("alpha", "1.2.0")


def fork(site: SampleSite) -> None:
    """Let the lock have two versions of alpha."""
    site.replace("pyproject.toml", '"alpha"', FORKED)
    site.push_commit("Two alphas", lock=True)


def need_delta(site: SampleSite, index: Index) -> None:
    """Offer an alpha that needs a new package, of which this host has no file."""
    publish_elsewhere(site, "delta", "1.0.0", "cp311-cp311-macosx_13_0_arm64")
    site.publish("alpha", "1.2.0", requires=["delta"])


def lock_delta(site: SampleSite, index: Index) -> None:
    """Lock that alpha on another system."""
    need_delta(site, index)
    site.push_from_elsewhere({}, upgrade=True)


def sicken_fork(site: SampleSite, index: Index) -> None:
    """Let an automatic rollback hold a version of alpha that the lock has beside another one."""
    sick = "alpha-1.2.0.dist-info"
    check = f"sh -c 'test ! -e .venv/lib/python3.{sys.version_info.minor}/site-packages/{sick}'"
    site.write_dotenv({**dict(_dotenv(site)), "RELEASER_HEALTH_CHECK": check, "RELEASER_HEALTH_TIMEOUT": "0s"})
    site.publish("alpha", "1.2.0")
    site.releaser("update", check=6)


def hold_fork(site: SampleSite, index: Index) -> None:
    """Roll back to the first release, and so hold a version of alpha that the lock has beside another one."""
    site.update_to("1.2.0")
    site.releaser("rollback", check=0)


def _dotenv(site: SampleSite) -> Iterator[tuple[str, str]]:
    for line in (site.outer / ".env").read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition("=")
        yield name, value.strip("'\"")


@dataclass(frozen=True, kw_only=True)
class Night:
    """What is planted beside a new beta, and what is seen the next morning; `before` comes before the first release."""

    act: Act
    live: str = "alpha 1.1.0, beta 1.1.0"
    held: str = ""
    subject: str = "Updated: site, beta 1.1.0"
    before: Callable[[SampleSite], object] = lambda site: None


NIGHTS = {
    "the live version is yanked": Night(act=lambda site, index: index.yanked.update({"alpha-1.1.0": "it breaks"})),
    "the live version is yanked, of two in the lock": Night(
        act=lambda site, index: index.yanked.update({"alpha-1.1.0": "it breaks"}), before=fork
    ),
    "the live version vanishes from its index": Night(act=lose),
    "a version without a file for this host": Night(
        act=lambda site, index: publish_elsewhere(site, "alpha", "1.2.0", "cp311-cp311-macosx_13_0_arm64"),
        held="alpha 1.2.0",
    ),
    "a version that needs a new package without a file for this host": Night(act=need_delta, held="delta 1.0.0"),
    "a lock of a person that needs a package without a file for this host": Night(act=lock_delta, held="delta 1.0.0"),
    "a version that does not build": Night(
        act=lambda site, index: build_sdist(index.directory, "alpha", "1.2.0", "raise OSError('no compiler')\n"),
        held="alpha 1.2.0",
    ),
    "a version whose file is another one than its index says": Night(act=forge, held="alpha 1.2.0"),
    "a version whose file its index refuses": Night(act=refuse_file, held="alpha 1.2.0"),
    "the live version, whose file its index refuses from now on": Night(
        act=lambda site, index: refuse_file(site, index, "1.1.0")
    ),
    'a version of today, with `min_age = "3d"`': Night(act=offer_young),
    "a version of a package that a person holds": Night(act=hold, held="alpha"),
    "a rolled back version that the lock has beside another one": Night(act=hold_fork, held="alpha 1.2.0", before=fork),
    "a version that a person holds, and the lock has beside another one": Night(act=hold, held="alpha", before=fork),
    "a version that an automatic rollback holds, and the lock has beside another one": Night(
        act=sicken_fork, held="alpha 1.2.0", before=fork
    ),
    "a commit of a git dependency, whose version stays": Night(
        act=lambda site, index: commit_gamma(site, 2),
        live="alpha 1.1.0, beta 1.1.0, gamma 1.0 (new)",
        subject="Updated: site, beta 1.1.0 and 1 more",
        before=add_gamma,
    ),
    "a lock of a person with an older version": Night(
        act=lower, live="alpha 1.0.0, beta 1.1.0", held="alpha 1.1.0", subject="Updated: site, alpha 1.0.0 and 1 more"
    ),
}


FORKS = {name: [MET_FORK] for name in NIGHTS if "beside another one" in name}


@pytest.mark.parametrize("name", mostly_slow(NIGHTS, met=FORKS))
def test_law_23_planted_nights_of_the_index(make_site: SiteFactory, index: Index, name: str) -> None:
    """What the index and people do to a version keeps no other package back; the night after is quiet."""
    night = NIGHTS[name]
    with mail_server() as server:
        site = make_indexed_site(make_site, index)
        night.before(site)
        site.write_dotenv({"ADMINS_JSON": '[["Ada", "ada@example.org"]]', "RELEASER_SMTP_HOST": server.host})
        site.releaser("init", check=0)
        night.act(site, index)
        site.publish("beta", "1.1.0")
        sent, before, gamma = len(server.mails), len(site.test_runs()), site.lock()
        finished = site.releaser("update", check=0)
        runs, mails = len(site.test_runs()) - before, server.mails[sent:]
        says(finished)
    names = {"alpha", "beta", "gamma"}
    live = [f"{package} {version}" for package, version in sorted(site.versions().items()) if package in names]
    live = [f"{each} (new)" if each.startswith("gamma") and gamma != site.lock() else each for each in live]
    held = [f"{each['name']} {each['version'] or ''}".strip() for each in site.json("status")["on_hold"]]
    seen = (", ".join(live), ", ".join(held), runs, mails[0][1]["Subject"].partition(" [")[0] if mails else "")
    assert seen == (night.live, night.held, 1, night.subject), finished
    silent(site.releaser("update"))
    assert len(site.test_runs()) - before == runs
    if "needs" in name:
        assert "alpha 1.2.0: needs delta 1.0.0, which has no file for this host, only for" in shown(site, "outdated")
        assert "releaser unhold" not in shown(site), "that brings no file"


@pytest.mark.slow
def test_law_06_23_a_hold_holds_although_nothing_is_upgraded(site: SampleSite) -> None:
    site.write_dotenv(upgrade="none")
    site.releaser("hold", "alpha", check=0)
    for name in ("alpha", "beta"):
        site.publish(name, "2.0.0")
    site.push_from_elsewhere({}, upgrade=True)
    assert changes(site.json("update")) == {"beta": ("1.0.0", "2.0.0")}
    assert site.version("alpha") == "1.1.0"
    silent(site.releaser("update"))
    site.releaser("unhold", "alpha", check=0)
    assert changes(site.json("update")) == {"alpha": ("1.1.0", "2.0.0")}


BOUND = {"yanked": "was yanked", "lost": "is not in the index any more"}
BOUND |= {"pinned": BOUND["lost"]}
PINNED = """\
explicit = true

[tool.uv.sources]
alpha = { index = "own" }

[[tool.uv.index]]
default = true
url = "other"
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", BOUND)
def test_law_23_a_version_stays_also_where_the_project_allows_no_older_one(
    site: SampleSite, index: Index, how: str
) -> None:
    site.replace("pyproject.toml", '"alpha"', '"alpha~=1.1.0"')
    if how == "pinned":
        other = index.url.replace("127.0.0.1", "localhost")
        site.replace("pyproject.toml", "default = true", PINNED.replace("other", other))
    site.push_commit("A bound", lock=True)
    if how == "yanked":
        index.yanked["alpha-1.1.0"] = ""
    else:
        lose(site, index)
    site.publish("beta", "1.1.0")
    assert changes(site.json("update")) == {"beta": ("1.0.0", "1.1.0")}
    assert f"alpha 1.1.0 {BOUND[how]}, and stays" in shown(site)
    silent(site.releaser("update"))
    if how == "yanked":  # and where the only newer one is on hold
        site.publish("alpha", "1.1.1")
        site.releaser("update", check=0)
        site.releaser("rollback", check=0)
        site.publish("beta", "1.2.0")
        assert changes(site.json("update")) == {"beta": ("1.1.0", "1.2.0")}
        assert f"alpha 1.1.0 {BOUND[how]}, and stays" in shown(site)
        silent(site.releaser("update"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("bound", "how", "age"), [("~=1.1.0", "yanked", "0d"), ("==1.1.*", "lost", "1d"), ("===1.1.0", "lost", "0d")]
)
def test_law_23_a_version_stays_also_where_the_constraints_of_the_site_allow_no_newer_one(
    site: SampleSite, index: Index, bound: str, how: str, age: str
) -> None:
    (site.outer / "bounds.txt").write_text(f"alpha{bound}\n", encoding="utf-8")
    site.write_dotenv(constraints="../bounds.txt", min_age=age)
    site.publish("alpha", "1.2.0")
    site.publish("beta", "1.1.0")
    if how == "yanked":
        index.yanked["alpha-1.1.0"] = ""
    else:
        lose(site, index)
    assert changes(site.json("update")) == {"beta": ("1.0.0", "1.1.0")}
    assert f"alpha 1.1.0 {BOUND[how]}, and stays" in shown(site)
    silent(site.releaser("update"))


@pytest.mark.slow
def test_law_38_a_version_of_another_index_is_not_newer(site: SampleSite, index: Index) -> None:
    (site.index / "second").mkdir()
    build_wheel(site.index / "second", "alpha", "9.0.0")
    source = f'\n[[tool.uv.index]]\nname = "second"\nurl = "{index.server}/second/simple"\n'
    source += '\n[tool.uv.sources]\nalpha = { index = "own" }\n'
    site.replace("pyproject.toml", "default = true", f"default = true\n{source}")
    site.push_commit("Another index", lock=True)
    site.publish("alpha", "1.2.0")
    (row,) = site.json("outdated", "alpha")["packages"]
    assert (row["tonight"], row["newest"], row["blocked"]) == ("1.2.0", "1.2.0", [])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("status", "words"), [(401, "refused (401)"), (403, "refused (403) to give "), (404, "does not have ")]
)
def test_law_20_23_an_index_that_refuses_this_host_has_lost_nothing(
    site: SampleSite, index: Index, status: int, words: str
) -> None:
    site.replace("pyproject.toml", 'prod = ["prodtools"]', "prod = []")
    site.push_commit("Only what is installed here", lock=True)
    index.refusal = status
    site.publish("alpha", "1.2.0")
    says(site.releaser("check", check=4), words)
    assert site.json("check", check=4)["headline"] == "An update would fail."
    says(site.releaser("update", check=4), words)
    assert site.json("status", check=10)["attention"]
    index.refusal = 0
    assert changes(site.json("update")) == {"alpha": ("1.1.0", "1.2.0")}


@pytest.mark.slow
def test_law_23_a_package_that_its_index_refuses_alone_keeps_nothing_else_back(site: SampleSite, index: Index) -> None:
    index.refusal, index.refused = 403, {"alpha"}
    site.publish("beta", "1.1.0")
    assert changes(site.json("update")) == {"beta": ("1.0.0", "1.1.0")}
    assert "alpha 1.1.0 is refused by its index, and stays" in shown(site)
    silent(site.releaser("update"))


@pytest.mark.slow
def test_law_20_23_one_of_two_indexes_that_is_gone_has_lost_nothing(make_site: SiteFactory, index: Index) -> None:
    """It had twelve packages. Three that are really lost stay."""
    names = [f"many{number}" for number in range(12)]
    sources = "\n".join(f'{name} = {{ index = "other" }}' for name in names)
    site = make_indexed_site(make_site, index)
    (site.outer / "other").mkdir()
    with serve_index(site.outer / "other") as other:
        for name in names:
            build_wheel(other.directory, name, "1.0.0")
        site.replace(
            "pyproject.toml",
            "[[tool.uv.index]]",
            f'[tool.uv.sources]\n{sources}\n[[tool.uv.index]]\nname = "other"\nurl = "{other.url}"\nexplicit = true\n'
            "\n[[tool.uv.index]]",
        )
        site.replace("pyproject.toml", '"alpha"', ", ".join(f'"{name}"' for name in ("alpha", *names)))
        site.push_commit("Two indexes", lock=True)
        site.releaser("init", check=0)
        other.refusal = 404
        site.publish("alpha", "1.2.0")
        says(site.releaser("update", check=4), f"The index {other.url} does not have many0, many1, many10 any more")
        other.refusal = 0
        for name in names[:3]:
            (other.directory / f"{name}-1.0.0-py3-none-any.whl").unlink()
        assert changes(site.json("update")) == {"alpha": ("1.1.0", "1.2.0")}
        assert all(f"{name} 1.0.0 is not in the index any more" in shown(site) for name in names[:3])


@pytest.mark.slow
def test_law_23_a_merge_that_lowers_is_followed_as_a_commit_is(site: SampleSite) -> None:
    site.publish("alpha", "1.2.0")
    site.releaser("update", check=0)
    clone = site.elsewhere()
    site.git("checkout", "--quiet", "-b", "earlier", "HEAD~1", cwd=clone)
    site.git("merge", "--quiet", "--strategy", "ours", "--no-edit", "main", cwd=clone)
    merge = site.git("rev-parse", "HEAD", cwd=clone)
    site.git("commit", "--quiet", "--allow-empty", "--message", "Read me", cwd=clone)
    site.git("push", "--quiet", "origin", "HEAD:main", cwd=clone)
    answer = site.json("update")
    assert merge[:12] in answer["on_hold"][0]["reason"]
    assert changes(answer) == {"alpha": ("1.2.0", "1.1.0")}
    assert [(hold["name"], hold["version"], hold["by"]) for hold in answer["on_hold"]] == [("alpha", "1.2.0", "commit")]
    assert site.head() == site.git("rev-parse", "HEAD", cwd=clone)
    silent(site.releaser("update"))


@pytest.mark.slow
@pytest.mark.parametrize("how", ["a rollback elsewhere", "a rollback elsewhere, then an update", "a revert"])
def test_law_17_23_it_stays_what_it_is_behind_a_merge(site: SampleSite, how: str) -> None:
    site.publish("alpha", "1.2.0")
    site.releaser("update", check=0)
    clone = site.elsewhere()
    site.git("checkout", "--quiet", "-b", "aside", cwd=clone)
    if how == "a revert":
        site.git("revert", "--no-edit", "HEAD", cwd=clone)
    else:
        for version in ("1.0.0", "1.1.0")[how == "a rollback elsewhere" :]:
            message = f"{'Roll back' if version == '1.0.0' or 'then' not in how else 'Update'} 1 package"
            site.uv("lock", "-P", f"alpha=={version}", cwd=clone)
            site.git("commit", "--quiet", "--all", "--message", message, cwd=clone)
    site.git("checkout", "--quiet", "main", cwd=clone)
    site.git("commit", "--quiet", "--allow-empty", "--message", "Read me", cwd=clone)
    site.git("merge", "--quiet", "--no-edit", "aside", cwd=clone)
    site.git("push", "--quiet", "origin", "main", cwd=clone)
    answer = site.json("update")
    assert (changes(answer), answer["on_hold"], site.version("alpha")) == ({}, [], "1.2.0")


@pytest.mark.slow
@pytest.mark.parametrize("is_paused", [False, True])
def test_a_check_says_what_a_hold_would_break(site: SampleSite, is_paused: bool) -> None:
    if is_paused:
        site.releaser("pause", check=0)
    site.releaser("hold", "alpha", check=0)
    site.publish("alpha", "2.0.0")
    site.replace("pyproject.toml", '"alpha"', '"alpha>=2"')
    site.push_commit("A requirement", lock=True)
    says(site.releaser("check", check=4), "without what is on hold: alpha", "releaser unhold alpha")


@pytest.mark.slow
def test_law_17_23_a_young_version_that_a_colleague_has_locked_is_taken(site: SampleSite, index: Index) -> None:
    index.ages["alpha-1.2.0"] = 1
    site.write_dotenv(min_age="7d")
    site.publish("alpha", "1.2.0")
    site.push_from_elsewhere({}, upgrade=True, message="Update uv.lock")
    assert changes(site.json("update")) == {"alpha": ("1.1.0", "1.2.0")}
    clone = site.elsewhere()
    site.uv("lock", "-P", "alpha==1.0.0", cwd=clone)
    site.git("commit", "--quiet", "--all", "--message", "Update uv.lock", cwd=clone)  # as a forge calls it
    site.git("push", "--quiet", cwd=clone)
    assert changes(site.json("update")) == {"alpha": ("1.2.0", "1.0.0")}
    site.push_from_elsewhere({}, upgrade=True)
    answer = site.json("update")
    assert (changes(answer), answer["on_hold"]) == ({"alpha": ("1.0.0", "1.2.0")}, [])
