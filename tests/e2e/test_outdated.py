"""`outdated` tells what is newer than what is locked, and what keeps it from coming in; it writes nothing."""

from __future__ import annotations

import socket
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.scenes import edit_pyproject, from_server, outer_snapshot
from tests.support.simple_index import serving

if TYPE_CHECKING:
    from tests.support.sites import SampleSite, SiteFactory


def asked(site: SampleSite) -> dict[str, dict[str, Any]]:
    """Ask, and see that nothing is written; return the answers by package."""
    before = outer_snapshot(site)
    found = site.json("outdated")
    assert outer_snapshot(site) == before
    assert all(set(one) == {"name", "locked", "latest", "kept_by"} for one in found)
    return {one["name"]: one for one in found}


def kept_by(site: SampleSite, name: str) -> list[tuple[str, str]]:
    return [(keeper["by"], keeper["reason"]) for keeper in asked(site)[name]["kept_by"]]


@pytest.mark.parametrize("venv", [True, False])
@pytest.mark.story
def test_what_nothing_keeps_comes_with_the_next_update_and_if_nothing_is_newer_that_is_said(
    make_site: SiteFactory, venv: bool
) -> None:
    site = make_site(venv=venv)
    site.publish("alpha", "1.1.0")
    assert asked(site) == {"alpha": {"name": "alpha", "locked": "1.0.0", "latest": "1.1.0", "kept_by": []}}
    lines = [" ".join(line.split()) for line in site.releaser("outdated", check=0).stdout.splitlines()]
    assert lines == ["PACKAGE LOCKED LATEST KEPT BY", "alpha 1.0.0 1.1.0 nothing; the next update installs it"]
    site.withdraw("alpha", "1.1.0")
    assert asked(site) == {}
    said = site.releaser("outdated", check=0)
    assert (said.stdout, said.stderr) == ("", "everything is at its newest version\n")


# Constraints


TWO = {"alpha": "1.0.0", "beta": "1.0.0"}
BY_BETA = [("constraint", "beta 1.0.0 asks for alpha<1.1")]
CONSTRAINTS: dict[str, tuple[dict[str, Any], list[tuple[str, str]]]] = {  # options of the site, what keeps alpha 1.1.0
    "of the project": (
        {"dependencies": ["alpha<1.1,>=1", "beta"]},
        [("constraint", "the project asks for alpha<1.1,>=1")],
    ),
    "of another package": ({"packages": TWO, "requires": {"beta": ["alpha<1.1; python_version>'3'"]}}, BY_BETA),
    "for another machine, or an extra that nobody wants": (
        {
            "packages": TWO,
            "requires": {
                "beta": ["alpha<1.1; sys_platform=='win32' and python_version<'3'", "alpha<1.1; extra=='old'"]
            },
        },
        [],
    ),
    "of an extra that somebody wants": (
        {
            "packages": TWO,
            "dependencies": ["alpha", "beta[old]"],
            "requires": {"beta": ["alpha<1.1; extra=='old'"]},
        },
        BY_BETA,
    ),
}


@pytest.mark.parametrize("name", CONSTRAINTS)
def test_a_constraint_is_named_with_whose_it_is(make_site: SiteFactory, name: str) -> None:
    options, keepers = CONSTRAINTS[name]
    site = make_site(venv=True, **options)
    site.publish("alpha", "1.1.0")
    assert kept_by(site, "alpha") == keepers
    said = site.releaser("outdated", check=0).stdout
    assert all(f"constraint\n    {reason}\n" in said for _, reason in keepers)
    if keepers == BY_BETA:  # until the next update lifts it
        site.publish("beta", "1.1.0", requires=["alpha<2"])
        assert kept_by(site, "alpha") == []


def test_what_the_project_tells_uv_is_a_constraint_and_hides_nothing(make_site: SiteFactory) -> None:
    site = make_site(venv=True)
    site.edit("pyproject.toml", edit_pyproject(site, "[tool.uv]", '[tool.uv]\nconstraint-dependencies = ["alpha<1.1"]'))
    site.uv("lock", "--quiet")
    site.publish("alpha", "1.1.0")
    assert kept_by(site, "alpha") == [("constraint", "the project (constraint-dependencies) asks for alpha<1.1")]


def test_a_constraint_of_what_is_not_installed_is_told_without_a_name(make_site: SiteFactory) -> None:
    site = make_site(
        packages={"alpha": "1.0.0", "beta": "1.0.0"},
        dependencies=["alpha"],
        requires={"beta": ["alpha<1.1"]},
        groups={"local": [], "prod": ["beta"]},
        venv=True,
    )
    site.publish("alpha", "1.1.0")
    ((by, reason),) = kept_by(site, "alpha")
    assert (by, "1.0.0" in reason) == ("constraint", True)


# Python


def test_a_version_for_a_newer_python_is_told_and_the_newest_for_this_one(make_site: SiteFactory) -> None:
    site = make_site(dependencies=["alpha", "beta<1.2"], venv=True)
    site.publish("alpha", "1.1.0")
    site.publish("alpha", "2.0.0", requires_python=">=3.98")
    site.publish("beta", "1.2.0")
    site.publish("beta", "2.0.0", requires_python=">=3.98")
    python = site.python("import platform; print(platform.python_version())")
    with serving(site.index.path) as index:
        from_server(site, index.url)
        found = asked(site)
    assert found["alpha"]["latest"] == found["beta"]["latest"] == "2.0.0"
    assert found["alpha"]["kept_by"] == [
        {"by": "python", "reason": f"2.0.0 needs a newer Python than {python}; 1.1.0 is the newest for it"}
    ]
    assert found["beta"]["kept_by"] == [
        {"by": "python", "reason": f"2.0.0 needs a newer Python than {python}; 1.2.0 is the newest for it"},
        {"by": "constraint", "reason": "the project asks for beta<1.2"},
    ]


# What releaser itself keeps out


def by_whom(site: SampleSite, name: str = "alpha") -> list[str]:
    return [by for by, _ in kept_by(site, name)]


def test_what_is_too_young_is_told_with_the_day_it_may_come_in(make_site: SiteFactory) -> None:
    site = make_site(settings={"min_age": "7d"}, venv=True)
    site.publish("alpha", "1.1.0")
    site.publish("beta", "1.1.0")
    with serving(site.index.path) as index:
        now = datetime.now(UTC)
        index.uploaded["alpha", "1.1.0"] = now - timedelta(days=2, hours=1)
        index.uploaded["beta", "1.1.0"] = now - timedelta(days=8)
        from_server(site, index.url)
        found = asked(site)
    assert found["beta"]["kept_by"] == []
    ((by, reason),) = [(one["by"], one["reason"]) for one in found["alpha"]["kept_by"]]
    assert by == "age"
    assert "2 days" in reason
    assert f"{now + timedelta(days=5, hours=-1):%Y-%m-%d}" in reason


@pytest.mark.story
def test_what_somebody_holds_or_ignores_is_told(make_site: SiteFactory) -> None:
    site = make_site(settings={"ignore": ["bet*"]}, venv=True)
    site.releaser("init", check=0)
    site.releaser("hold", "alpha", "ask Ada first", check=0)
    site.publish("alpha", "1.1.0")
    site.publish("beta", "1.1.0")
    ((by, reason),) = kept_by(site, "alpha")
    assert by == "person"
    assert reason.startswith("ask Ada first (held by hand since 20")
    assert by_whom(site, "beta") == ["ignore"]
    site.releaser("unhold", "alpha", check=0)
    assert by_whom(site) == []


def test_what_breaks_the_tests_is_told_until_the_code_that_they_touch_is_another(make_site: SiteFactory) -> None:
    site = make_site.adopted()
    site.publish("alpha", "1.1.0", broken=True)
    site.publish("beta", "1.1.0")
    site.releaser("update")
    assert by_whom(site) == ["tests"]
    assert "beta" not in asked(site)
    site.commit("Say when the shop is open", {"news.txt": "on Sundays"})
    assert by_whom(site) == ["tests"]
    tests = (site.path / "site_tests.py").read_text(encoding="utf-8")
    site.commit("Test the shop in another way", {"site_tests.py": tests + "# anew\n"})
    assert by_whom(site) == []


def test_what_was_backed_out_is_told_until_something_newer_appears(make_site: SiteFactory) -> None:
    site = make_site(venv=True)
    site.publish("alpha", "1.1.0")
    site.releaser("update", check=0)
    site.releaser("rollback", check=0)
    assert by_whom(site) == ["activation"]
    site.publish("alpha", "1.2.0")
    assert by_whom(site) == []


def test_everything_that_keeps_a_version_out_is_told(make_site: SiteFactory) -> None:
    site = make_site(settings={"ignore": ["alpha"], "upgrade": "patch"}, dependencies=["alpha<2", "beta"], venv=True)
    site.releaser("init", check=0)
    site.releaser("hold", "alpha", check=0)
    site.publish("alpha", "2.0.0")
    site.publish("beta", "1.0.9")
    found = asked(site)
    assert [one["by"] for one in found["alpha"]["kept_by"]] == ["constraint", "person", "ignore", "policy"]
    assert '`upgrade = "patch"`' in found["alpha"]["kept_by"][3]["reason"]
    assert found["beta"]["kept_by"] == []


# What is asked, and of whom


def test_a_pre_release_counts_only_for_what_is_locked_at_one(make_site: SiteFactory) -> None:
    site = make_site(packages={"alpha": "1.0.0", "beta": "1.0rc1"}, dependencies=["alpha", "beta>=1.0rc1"], venv=True)
    site.publish("alpha", "2.0rc1")
    site.publish("beta", "1.0rc2")
    assert {name: one["latest"] for name, one in asked(site).items()} == {"beta": "1.0rc2"}


def test_what_comes_from_a_directory_is_not_asked_about(make_site: SiteFactory) -> None:
    site = make_site(kind="path", venv=True)
    site.index.publish("common-lib", "9.0.0")
    assert asked(site) == {}
    assert "not checked, because no index has them: common-lib\n" in site.releaser("outdated", "-v", check=0).stderr
    assert "common-lib" not in site.releaser("outdated", check=0).stderr


def test_a_package_that_the_index_has_lost_is_named_and_hides_no_other(make_site: SiteFactory) -> None:
    site = make_site(packages={"alpha": "1.0.0", "beta": "1.0.0"}, venv=True)
    site.publish("alpha", "1.1.0")
    site.withdraw("beta", "1.0.0")
    assert set(asked(site)) == {"alpha"}
    assert "the index has no version of: beta\n" in site.releaser("outdated", check=0).stderr


def test_each_package_is_asked_of_the_index_that_the_project_takes_it_from(make_site: SiteFactory) -> None:
    index = '\n[[tool.uv.index]]\nname = "own"\nurl = "../own"\nformat = "flat"\nexplicit = true\n'
    main = '\n[[tool.uv.index]]\nname = "main"\nurl = "../index"\nformat = "flat"\ndefault = true\n'
    site = make_site(venv=True)
    own = type(site.index)(site.outer / "own")
    own.publish("beta", "1.0.0")
    text = (site.path / "pyproject.toml").read_text(encoding="utf-8")
    text = text.replace('no-index = true\nfind-links = ["../index"]\n', "")
    site.edit("pyproject.toml", text + main + index + '\n[tool.uv.sources]\nbeta = { index = "own" }\n')
    site.uv("lock", "--quiet")
    own.publish("beta", "1.5.0")
    site.publish("beta", "3.0.0")
    assert asked(site)["beta"]["latest"] == "1.5.0"


def test_an_index_that_cannot_be_reached_is_an_error(make_site: SiteFactory) -> None:
    site = make_site(venv=True)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    from_server(site, f"http://127.0.0.1:{port}/simple")
    said = site.releaser("outdated", check=4, env={"UV_HTTP_RETRIES": "0"})
    assert said.stdout == ""
    assert said.stderr.startswith("releaser: the package index could not be asked: ")
    assert "live: " not in said.stderr


def test_without_a_lock_it_is_said_what_to_do(make_site: SiteFactory) -> None:
    site = make_site(venv=True)
    (site.path / "uv.lock").unlink()
    assert "uv.lock" in site.releaser("outdated", check=3).stderr


def test_settings_of_uv_that_cannot_be_read_are_named(make_site: SiteFactory) -> None:
    site = make_site(venv=True)
    for text, words in (
        ("index = [\n", f"{site.path / 'uv.toml'} cannot be read: "),
        ("index = [3]\n", "uv cannot read"),
    ):
        site.edit("uv.toml", text)
        assert site.releaser("outdated", check=3).stderr.startswith(f"releaser: {words}")
    (site.path / "uv.toml").unlink()
    for index in ("[{}]", "[3]"):
        site.edit("pyproject.toml", edit_pyproject(site, "[tool.uv]\n", f"[tool.uv]\nindex = {index}\n"))
        said = site.releaser("outdated", check=4).stderr
        assert "during settings discovery" in said.splitlines()[0]
        assert "Correct [tool.uv]" in said
        site.git("checkout", "pyproject.toml")


def test_a_lock_that_uv_cannot_read_is_not_blamed_on_the_index(make_site: SiteFactory) -> None:
    site = make_site.adopted()
    site.publish("alpha", "1.1.0")
    site.edit("uv.lock", "no lock")
    said = site.releaser("outdated", check=4).stderr
    assert said.startswith("releaser: could not determine what an update would bring: ")
    assert "uv.lock" in said
