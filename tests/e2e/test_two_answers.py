"""`outdated` and `update` agree: what the one says that the next update installs is what the other then brings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.scenes import edit_pyproject
from tests.support.commands import git_executable, run
from tests.support.layouts import common_library
from tests.support.simple_index import SimpleIndex, serving
from tests.support.sites import SampleSite, SiteFactory
from tests.support.templates import write_files
from tests.support.wheels import LocalIndex

# `own` is a directory that gives only what names it; `first` comes before the default index. Neither tells times.
PYPROJECT = """\
[project]
name = "sample-site"
version = "0.1.0"
requires-python = ">=3.11"
dependencies = [
    "plain", "bounded<2", "future", "young", "limited", "free", "dated", "odd", "tied", "low<2", "common-lib",
    "forked<2; python_version<'3.13'", "forked>=2; python_version>='3.13'", "later",
    "windows; sys_platform=='win32'", "own", "first", "capped",
]

[dependency-groups]
local = ["torn<2"]
prod = ["torn>=2", "absent"]

[tool.releaser]
min_age = "7d"
constraints = "limits.txt"

[tool.uv]
index-url = "{url}"
conflicts = [[{{ group = "local" }}, {{ group = "prod" }}]]
exclude-newer = "20 days"

[tool.uv.exclude-newer-package]
free = false
own = false
first = false
tinybuild = false
dated = "25 days"
odd = "{odd}"

[tool.uv.sources]
own = {{ index = "own" }}
common-lib = {{ git = "file://{outer}/library", branch = "main" }}

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


@dataclass(frozen=True)
class Offer:
    """A version of a package, how old it is in days, and what it requires."""

    name: str
    version: str
    days: float = 30
    requires: Sequence[str] = ()
    python: str | None = None
    #: A directory beside the site that is an index of its own; empty for the one of the site.
    place: str = ""


LOCKED = (
    *(Offer(name, "1.0.0", days=100) for name in ("plain", "bounded", "future", "young", "limited", "free", "dated")),
    *(Offer(name, "1.0.0", days=100) for name in ("odd", "tied", "low", "later", "windows", "absent", "capped")),
    *(Offer(name, version, days=100) for name in ("forked", "torn") for version in ("1.0.0", "2.0.0")),
    Offer("own", "1.0.0", place="own"),
    Offer("own", "1.5.0", days=100),
    Offer("first", "1.0.0", place="first"),
    Offer("first", "1.5.0", days=100),
)
OFFERS = (
    Offer("plain", "1.1.0"),
    Offer("bounded", "1.5.0"),
    Offer("bounded", "2.0.0"),  # the project excludes it
    Offer("bounded", "2.1.0", python=">=3.98"),
    Offer("future", "1.1.0"),
    Offer("future", "2.0.0", python=">=3.98"),
    Offer("young", "1.1.0", days=1),
    Offer("limited", "1.1.0"),
    Offer("limited", "1.2.0", days=10),
    Offer("free", "1.1.0", days=10),
    Offer("dated", "1.1.0"),
    Offer("dated", "1.2.0", days=22),
    Offer("tied", "1.1.0"),
    Offer("tied", "1.2.0", requires=["low>=2"]),
    Offer("low", "2.0.0"),
    Offer("forked", "1.1.0"),
    Offer("forked", "2.1.0"),
    Offer("later", "1.1.0"),
    Offer("later", "2.0.0", python=">=3.13"),
    Offer("torn", "1.1.0"),
    Offer("torn", "2.0.1"),
    Offer("own", "1.1.0", place="own"),
    Offer("own", "3.0.0"),
    Offer("plain", "9.0.0", place="own"),
    Offer("first", "1.1.0", place="first"),
    Offer("first", "3.0.0"),
    Offer("capped", "1.1.0"),
    Offer("capped", "2.0.0"),
)
NEXT = (
    "plain",
    "future",
    "limited",
    "free",
    "dated",
    "tied",
    "forked",
    "later",
    "own",
    "first",
    "capped",
    "common-lib",
)
COMES = {**dict.fromkeys(NEXT, "1.1.0"), "bounded": "1.5.0", "torn": "1.1.0, 2.0.1"}


def publish(site: SampleSite, index: SimpleIndex, offers: Sequence[Offer]) -> None:
    for one in offers:
        if one.place:
            LocalIndex(site.outer / one.place).publish(one.name, one.version)
            continue
        site.publish(one.name, one.version, requires=one.requires, requires_python=one.python)
        index.uploaded[one.name, one.version] = datetime.now(UTC) - timedelta(days=one.days)


def commit_library(site: SampleSite, version: str) -> None:
    """Commit a version of the library that the site takes from git."""
    library = site.outer / "library"
    write_files(library, common_library(version))
    identity = ("-c", "user.name=Grace", "-c", "user.email=grace@example.org", "-c", "commit.gpgSign=false")
    for words in (("init", "--quiet"), ("add", "--all"), ("commit", "--quiet", "--message", version)):
        run([git_executable(), *identity, *words], cwd=library, env=site.env, check=0)


def write_pyproject(site: SampleSite, index: SimpleIndex, odd: str) -> None:
    """Let the site ask for packages of each kind; `odd` is the limit of the package of that name."""
    site.edit("pyproject.toml", PYPROJECT.format(url=index.url, outer=site.outer, odd=odd))


def answers(site: SampleSite) -> tuple[dict[str, str], dict[str, str]]:
    """Return what comes by `outdated`, and what a dry run of `update` brings, by package."""
    rows = site.json("outdated")
    for one in rows:
        assert (not one["blocked_by"]) == (one["latest"] in (one["next"] or "").split(", ")), one
    said = {one["name"]: one["next"] for one in rows if one["next"]}
    return said, brought_by(site.json("update", "--dry-run"))


def brought_by(found: Mapping[str, Any]) -> dict[str, str]:
    """Return what is newer by a report or a plan."""
    return {one["name"]: one["new"] for one in found["changes"] if one["old"] and one["new"]}


def test_of_each_kind_of_lock_an_update_brings_what_was_said(make_site: SiteFactory) -> None:
    site = make_site(packages={}, groups={"local": [], "prod": []})
    with serving(site.index.path) as index:
        publish(site, index, LOCKED)
        commit_library(site, "1.0.0")
        write_pyproject(site, index, f"{datetime.now(UTC) - timedelta(days=40):%Y-%m-%dT%H:%M:%SZ}")
        site.edit("limits.txt", "# why\ncapped<2\n")
        site.push_commit("Lock", lock=True)
        publish(site, index, OFFERS)
        commit_library(site, "1.1.0")
        said, brought = answers(site)
        assert said == brought
        assert {name: version.split(" (")[0] for name, version in said.items()} == COMES
        site.adopt()
        said, brought = answers(site)
        report = site.json("update")
        assert said == brought == brought_by(report)
        (on_hold,) = [(one["by"], one["version"]) for one in report["on_hold"] if one["name"] == "capped"]
        assert on_hold == ("constraint", "2.0.0")
        assert answers(site) == ({}, {})
        blocks = {one["name"]: [(by["by"], by["reason"]) for by in one["blocked_by"]] for one in site.json("outdated")}
        assert blocks["capped"] == [("constraint", "constrained by limits.txt:2: capped<2")]
        python = site.python("import platform; print(platform.python_version())")
        assert blocks["future"] == [("python", f"2.0.0 needs a newer Python than {python}")]
        assert blocks["bounded"] == [
            ("python", f"2.1.0 needs a newer Python than {python}; 2.0.0 is the newest for it"),
            ("constraint", "the project requires bounded<2"),
        ]
        ((by, reason),) = blocks["young"]
        assert (by, "it is 1 day old" in reason, "updates skip it until" in reason) == ("age", True, True)
        site.uv("lock", "--check")  # which knows nothing of the constraints
        assert site.git("status", "--porcelain") == ""
        publish(site, index, [Offer("windows", "1.1.0"), Offer("absent", "1.1.0")])
        assert answers(site) == ({}, {}), "nothing that is installed would change"

        # What releaser does not understand of a setting it takes from the lock, which may be older than the setting.
        write_pyproject(site, index, "480:00:00")
        site.push_commit("Wait for 20 days")
        publish(site, index, [Offer("odd", "1.1.0")])
        report = site.json("update")
        assert (report["changes"], site.outbox_mails()[1:]) == ([], [])
        assert "nothing blocks it" not in str(report)
        warning = "WARNING releaser.resolution.resolve: odd 1.1.0: nothing blocks it, so this update should install it"
        assert warning in Path(report["log_file"]).read_text(encoding="utf-8")

        site.push_commit("Go back", {"limits.txt": "capped==1.0.0\n"})
        assert ("capped", "1.0.0") in [(one["name"], one["new"]) for one in site.json("update")["changes"]]
        asks = edit_pyproject(site, '"capped"', '"capped>=1.1"')
        site.push_commit("Ask for what the constraints exclude", {"pyproject.toml": asks})
        assert "limits.txt:1: capped==1.0.0" in site.releaser("update", "--dry-run", check=4).stderr
        assert {one["next"] for one in site.json("outdated")} == {None}


@pytest.mark.exhaustive
def test_of_what_releaser_keeps_out_an_update_brings_what_was_said(make_site: SiteFactory) -> None:
    site = make_site.adopted()
    site.update_to("alpha", "1.1.0")
    site.releaser("rollback", check=0)
    site.publish("alpha", "1.0.7")
    site.publish("beta", "2.0.0", broken=True)
    site.releaser("update", check=5)
    assert answers(site) == ({}, {})
    for name, version in (("alpha", "1.2.0"), ("alpha", "1.3.0rc1"), ("beta", "1.9.0.post1")):
        site.publish(name, version)
    comes = {"alpha": "1.2.0", "beta": "1.9.0.post1"}
    assert answers(site) == (comes, comes)
    assert brought_by(site.json("update")) == comes

    # A candidate that failed as a whole is tried again as soon as something is newer.
    site.write_dotenv({"RELEASER_CULPRITS": "off"})
    site.publish("beta", "2.1.0", broken=True)
    site.releaser("update", check=5)
    assert answers(site) == ({}, {})
    site.publish("alpha", "1.4.0")
    comes = {"alpha": "1.4.0", "beta": "2.1.0"}
    assert answers(site) == (comes, comes)

    # What others have locked comes in whatever the rules are.
    site.uv("lock", "--quiet", "--upgrade-package", "alpha")
    site.push_commit("Upgrade")
    site.publish("alpha", "1.5.0")
    site.write_dotenv({"RELEASER_UPGRADE": "none"})
    assert answers(site) == ({"alpha": "1.4.0"}, {"alpha": "1.4.0"})
