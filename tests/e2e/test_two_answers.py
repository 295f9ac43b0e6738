"""`outdated` and `update` agree: what the one says that the next update installs is what the other then brings.

Each kind of lock gets the same offers beside its own: `plain` has a newer version; `bounded` has two, one of which the
project excludes; that of `future` is for a Python that nobody has, and that of `young` too young.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.scenes import edit_pyproject, watched
from tests.support.commands import git_executable, run
from tests.support.layouts import common_library
from tests.support.osv import Flaw, VulnerabilityService
from tests.support.simple_index import SimpleIndex, serving
from tests.support.sites import SampleSite, SiteFactory
from tests.support.templates import write_files
from tests.support.wheels import LocalIndex

OLD = 100  # days, of what is locked
OFFERED = 30  # and of what is offered, unless it says something else
COMMON = ("plain", "bounded", "future", "young")
COMES = {"plain": "1.1.0", "bounded": "1.5.0"}


def days_ago(days: float) -> str:
    return f"{datetime.now(UTC) - timedelta(days=days):%Y-%m-%dT%H:%M:%SZ}"


@dataclass(frozen=True, kw_only=True)
class Offer:
    """A version of a package, how old it is in days, and what it requires."""

    name: str
    version: str
    days: float = OFFERED
    requires: Sequence[str] = ()
    python: str | None = None
    #: A directory beside the site that is an index of its own, and tells no times; empty for the one of the site.
    place: str = ""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of lock: what the site asks for, how it is locked, what is offered then, and what of that comes."""

    dependencies: Sequence[str] = ("alpha",)
    #: Locked versions, beside `alpha` 1.0.0, and what is there when the lock is made.
    locked: Sequence[Offer] = (Offer(name="alpha", version="1.0.0", days=OLD),)
    offers: Sequence[Offer] = (Offer(name="alpha", version="1.1.0"),)
    comes: Mapping[str, str] = field(default_factory=lambda: {"alpha": "1.1.0"})
    #: Lines below `[tool.uv]`, and at the end of pyproject.toml.
    uv: Sequence[str] = ()
    toml: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    groups: Mapping[str, Sequence[str]] = field(default_factory=lambda: {"local": [], "prod": []})
    #: What else there is to do before the lock is made, and after the offers.
    prepare: Callable[[SampleSite], object] = id
    later: Callable[[SampleSite], object] = id
    #: Whether there is nothing of COMMON.
    alone: bool = False
    #: How the dry run ends.
    code: int = 0


def offer(
    name: str, version: str, days: float = OFFERED, *requires: str, python: str | None = None, place: str = ""
) -> Offer:
    return Offer(name=name, version=version, days=days, requires=requires, python=python, place=place)


def locked(*versions: str) -> tuple[Offer, ...]:
    """Return versions such as `alpha 1.0.0` that are there before the lock is made."""
    return tuple(offer(name, version, OLD) for name, version in map(str.split, versions))


LIMITED = (offer("alpha", "1.1.0"), offer("alpha", "1.2.0", 10))


# A directory that gives only what names it, and one that comes before the default index.
INDEXES = """
[[tool.uv.index]]
name = "own"
url = "../own"
format = "flat"
explicit = true

[[tool.uv.index]]
name = "first"
url = "../first"
format = "flat"
"""


_IDENTITY = ("-c", "user.name=Grace", "-c", "user.email=grace@example.org", "-c", "commit.gpgSign=false")


def add_git_library(site: SampleSite) -> None:
    library = site.outer / "library"
    write_files(library, common_library())
    for words in (("init", "--quiet"), ("add", "--all"), ("commit", "--quiet", "--message", "Begin")):
        run([git_executable(), *_IDENTITY, *words], cwd=library, env=site.env, check=0)


def commit_to_git_library(site: SampleSite) -> None:
    library = site.outer / "library"
    write_files(library, common_library("1.1.0"))
    run([git_executable(), *_IDENTITY, "commit", "--quiet", "--all", "--message", "Next"], cwd=library, env=site.env)


KINDS = {
    "a span in the project": Kind(uv=['exclude-newer = "20 days"'], offers=LIMITED),
    "a package's limits in the project": Kind(
        uv=[
            f'exclude-newer = "{days_ago(20)}"',
            'exclude-newer-package = { alpha = "15 days", beta = false, plain = "25 days" }',
        ],
        dependencies=["alpha", "beta"],
        locked=locked("alpha 1.0.0", "beta 1.0.0"),
        offers=(*LIMITED, offer("beta", "1.1.0", 10)),
        comes={"alpha": "1.1.0", "beta": "1.1.0"},
    ),
    "forks by Python": Kind(
        dependencies=["alpha<2; python_version<'3.13'", "alpha>=2; python_version>='3.13'", "later", "other"],
        locked=locked("alpha 1.0.0", "alpha 2.0.0", "later 1.0.0", "other 1.0.0"),
        offers=(
            offer("alpha", "1.1.0"), offer("alpha", "2.1.0"),
            offer("later", "1.1.0"), offer("later", "2.0.0", python=">=3.13"),
            offer("other", "2.0.0", python=">=3.13"),
        ),
        comes={"alpha": "1.1.0", "later": "1.1.0"},
    ),
    "markers alone": Kind(
        dependencies=["beta; sys_platform=='win32'"],
        locked=locked("beta 1.0.0"),
        offers=[offer("beta", "1.1.0")],
        comes={},
        alone=True,
    ),
    "an explicit index, and several": Kind(
        dependencies=["alpha", "beta", "gamma"],
        toml=INDEXES + '\n[tool.uv.sources]\nalpha = { index = "own" }\n',
        locked=(
            offer("alpha", "1.0.0", place="own"), offer("gamma", "1.0.0", place="first"),
            *locked("alpha 1.5.0", "beta 1.0.0", "gamma 1.5.0"),
        ),
        offers=(
            offer("alpha", "1.1.0", place="own"), offer("beta", "9.0.0", place="own"),
            offer("gamma", "1.1.0", place="first"), offer("alpha", "3.0.0"), offer("beta", "1.1.0"),
            offer("gamma", "3.0.0"),
        ),
        comes={"alpha": "1.1.0", "beta": "1.1.0", "gamma": "1.1.0"},
    ),
    "git": Kind(
        dependencies=["common-lib", "alpha"],
        toml='\n[tool.uv.sources]\ncommon-lib = { git = "file://OUTER/library", branch = "main" }\n',
        prepare=add_git_library,
        later=commit_to_git_library,
        comes={"alpha": "1.1.0", "common-lib": "1.1.0"},
    ),
    "a group that is not installed": Kind(
        dependencies=[],
        groups={"local": [], "prod": ["delta"]},
        locked=locked("delta 1.0.0"),
        offers=[offer("delta", "1.1.0")],
        comes={},
        alone=True,
    ),
    "conflicts of groups": Kind(
        dependencies=["beta"],
        uv=['conflicts = [[{ group = "local" }, { group = "prod" }]]'],
        groups={"local": ["alpha<2"], "prod": ["alpha>=2", "beta<2"]},
        locked=locked("alpha 1.0.0", "alpha 2.0.0", "beta 1.0.0"),
        offers=(offer("alpha", "1.1.0"), offer("alpha", "2.0.1"), offer("beta", "1.1.0"), offer("beta", "2.0.0")),
        comes={"alpha": "1.1.0, 2.0.1", "beta": "1.1.0"},
    ),
    # What goes together
    "no solution": Kind(
        dependencies=["alpha", "beta"],
        locked=locked("alpha 1.0.0", "beta 1.0.0"),
        later=lambda site: site.push_commit(
            "Ask for what nobody has", {"pyproject.toml": edit_pyproject(site, "'beta'", "'beta>=7'")}
        ),
        comes={},
        alone=True,
        code=4,
    ),
    "taken together": Kind(
        dependencies=["alpha", "beta<2"],
        locked=locked("alpha 1.0.0", "beta 1.0.0"),
        offers=(offer("alpha", "1.1.0"), offer("alpha", "1.2.0", OFFERED, "beta>=2"), offer("beta", "2.0.0")),
    ),
}  # fmt: skip


ODD_SPAN = 'exclude-newer = "480:00:00"'
#: The kinds that are updated in earnest.
REALLY = (
    "a span in the project", "forks by Python", "git", "conflicts of groups", "markers alone",
    "a group that is not installed",
)  # fmt: skip


def publish(site: SampleSite, index: SimpleIndex, offers: Sequence[Offer]) -> None:
    for one in offers:
        if one.place:
            LocalIndex(site.outer / one.place).publish(one.name, one.version)
            continue
        site.publish(one.name, one.version, requires=one.requires, requires_python=one.python)
        index.uploaded[one.name, one.version] = datetime.now(UTC) - timedelta(days=one.days)


@contextlib.contextmanager
def made(make_site: SiteFactory, kind: Kind, *, adopts: bool = True) -> Iterator[tuple[SampleSite, SimpleIndex]]:
    """Make a site with such a lock, and an index that tells ages; both answers are the same before it is adopted."""
    options: dict[str, Any] = {"settings": {"min_age": "7d"}, **kind.options}
    site = make_site(packages={}, dependencies=[], groups={"local": [], "prod": []}, **options)
    common = () if kind.alone else COMMON
    with serving(site.index.path) as index:
        for file in site.index.path.glob("*.whl"):
            index.uploaded[file.name.split("-")[0], "1.0.0"] = datetime.now(UTC) - timedelta(days=OLD)
        publish(site, index, [*kind.locked, *locked(*(f"{name} 1.0.0" for name in common))])
        kind.prepare(site)
        asks = [*kind.dependencies, *(f"{name}<2" if name == "bounded" else name for name in common)]
        members = ["one", "two"] if options.get("kind") == "workspace" else []
        text = (site.path / "pyproject.toml").read_text(encoding="utf-8")
        start, _, rest = text.partition("dependencies = [")
        text = f"{start}dependencies = {[*asks, *members]!r}{rest.partition(']')[2]}"
        for name, asked in kind.groups.items():
            text = text.replace(f"{name} = []", f"{name} = {[*asked]!r}")
        lines = "\n".join([f'index-url = "{index.url}"', *kind.uv])
        text = text.replace('no-index = true\nfind-links = ["../index"]', lines)
        site.edit("pyproject.toml", text + kind.toml.replace("OUTER", str(site.outer)))
        site.uv("lock", "--quiet")
        site.push_commit("Lock")
        if adopts:
            site.adopt()
        yield site, index


def answers(site: SampleSite, code: int = 0) -> tuple[dict[str, str], dict[str, str]]:
    """Return what comes by `outdated`, and what a dry run of `update` brings, by package."""
    rows = site.json("outdated")
    plan = site.json("update", "--dry-run") if not code else {"changes": []}
    if code:
        site.releaser("update", "--dry-run", check=code)
    said = {one["name"]: one["next"] for one in rows if one["next"]}
    for one in rows:
        assert (not one["blocked_by"]) == (one["latest"] in (one["next"] or "").split(", ")), one
    return said, brought_by(plan)


def brought_by(found: Mapping[str, Any]) -> dict[str, str]:
    """Return what is newer by a report or a plan."""
    return {one["name"]: one["new"] for one in found["changes"] if one["old"] and one["new"]}


@pytest.mark.spread(3)
@pytest.mark.parametrize("kind", KINDS)
def test_what_outdated_says_is_what_a_dry_run_brings(make_site: SiteFactory, kind: str) -> None:
    given = KINDS[kind]
    with made(make_site, given, adopts=kind in REALLY) as (site, index):
        publish(site, index, given.offers)
        if not given.alone:
            publish(
                site, index,
                [
                    offer("plain", "1.1.0"), offer("bounded", "1.5.0"), offer("bounded", "2.0.0"),
                    offer("future", "1.1.0", python=">=3.98"), offer("young", "1.1.0", 1),
                ],
            )  # fmt: skip
        given.later(site)
        said, brought = answers(site, given.code)
        assert said == brought
        comes = {**given.comes, **({} if given.alone else COMES)}
        assert {name: version.split(" (")[0] for name, version in brought.items()} == comes
        if kind in REALLY:
            assert brought_by(site.json("update")) == said
            assert answers(site) == ({}, {})


def test_what_an_update_should_bring_and_does_not_is_in_its_log(make_site: SiteFactory) -> None:
    """What releaser does not understand of a setting it takes from the lock, which may be older than the setting."""
    kind = Kind(uv=[f'exclude-newer = "{days_ago(40)}"'], alone=True)
    with made(make_site, kind) as (site, index):
        site.push_commit("Wait for 20 days", {"pyproject.toml": edit_pyproject(site, kind.uv[0], ODD_SPAN)})
        publish(site, index, kind.offers)
        report = site.json("update")
        assert report["changes"] == []
        assert "nothing blocks it" not in str(report)
        log = Path(report["log_file"]).read_text(encoding="utf-8")
        assert (
            "WARNING releaser.resolution.resolve: alpha 1.1.0: nothing blocks it, so this update should install it,"
            " but it locks 1.0.0;"
        ) in log
        assert not site.outbox_mails()


# What releaser itself keeps out, or brings early


def newer(site: SampleSite) -> None:
    for name in ("alpha", "beta"):
        site.publish(name, "1.1.0")


def rolled_back(site: SampleSite) -> None:
    site.update_to("alpha", "1.1.0")
    site.releaser("rollback", check=0)
    site.publish("alpha", "1.0.7")
    site.publish("beta", "1.1.0")


def rolled_back_and_newer(site: SampleSite) -> None:
    rolled_back(site)
    site.publish("alpha", "1.2.0")


def broken(site: SampleSite) -> None:
    site.publish("alpha", "2.0.0", broken=True)
    site.update_to("beta", "1.1.0")


def broken_and_newer(site: SampleSite) -> None:
    broken(site)
    site.publish("alpha", "2.0.1")
    site.publish("beta", "1.2.0")


def broken_and_lower(site: SampleSite) -> None:
    broken(site)
    site.publish("alpha", "1.9.0")


def failed_as_a_whole(site: SampleSite) -> None:
    site.write_dotenv({"RELEASER_CULPRITS": "off"})
    site.publish("alpha", "2.0.0", broken=True)
    site.releaser("update", check=5)


def failed_as_a_whole_and_newer(site: SampleSite) -> None:
    failed_as_a_whole(site)
    site.publish("beta", "1.1.0")


def locked_by_others(site: SampleSite) -> None:
    site.publish("alpha", "1.1.0")
    site.uv("lock", "--quiet", "--upgrade")
    site.push_commit("Upgrade")
    site.publish("alpha", "1.2.0")
    site.publish("beta", "1.1.0")
    site.write_dotenv({"RELEASER_UPGRADE": "none"})


def in_advance(site: SampleSite) -> None:
    site.publish("alpha", "1.1.0rc1")
    site.publish("beta", "1.1.0.post1")


RULES: dict[str, tuple[Callable[[SampleSite], object], dict[str, str]]] = {
    "rolled back, and newer": (rolled_back_and_newer, {"alpha": "1.2.0", "beta": "1.1.0"}),
    "broken, and newer": (broken_and_newer, {"alpha": "2.0.1", "beta": "1.2.0"}),
    "broken, and one below": (broken_and_lower, {"alpha": "1.9.0"}),
    "failed as a whole, and newer": (failed_as_a_whole_and_newer, {"alpha": "2.0.0", "beta": "1.1.0"}),
    "locked by others": (locked_by_others, {"alpha": "1.1.0"}),
    "in advance": (in_advance, {"beta": "1.1.0.post1"}),
}


@pytest.mark.spread(3)
@pytest.mark.parametrize("rule", RULES)
def test_the_answers_agree_on_what_releaser_keeps_out(make_site: SiteFactory, rule: str) -> None:
    prepare, comes = RULES[rule]
    site = make_site.adopted()
    prepare(site)
    said, brought = answers(site)
    assert said == brought == comes


def test_a_fix_that_comes_early_is_said_to_come(make_site: SiteFactory) -> None:
    with VulnerabilityService(Flaw(id="CVE-2026-1", package="alpha", fixed="1.1.0")).serving() as service:
        site = watched(make_site, service.url, upgrade="patch")
        newer(site)
        said, brought = answers(site)
        assert said == brought == {"alpha": "1.1.0"}
