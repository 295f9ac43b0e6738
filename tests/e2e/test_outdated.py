"""`outdated` tells what is newer than what is locked, and what keeps it from coming in; it writes nothing."""

from typing import Any

import pytest

from tests.e2e.scenes import edit_pyproject, from_server, outer_snapshot
from tests.support.sites import SampleSite, SiteFactory


def asked(site: SampleSite) -> dict[str, dict[str, Any]]:
    """Ask, and see that nothing is written; return the answers by package."""
    before = outer_snapshot(site)
    found = site.json("outdated")
    assert outer_snapshot(site) == before
    assert all(set(one) == {"name", "locked", "latest", "next", "blocked_by"} for one in found)
    return {one["name"]: one for one in found}


def blocked_by(site: SampleSite, name: str) -> list[tuple[str, str]]:
    return [(keeper["by"], keeper["reason"]) for keeper in asked(site)[name]["blocked_by"]]


@pytest.mark.story
def test_what_nothing_keeps_comes_with_the_next_update_and_if_nothing_is_newer_that_is_said(
    make_site: SiteFactory,
) -> None:
    site = make_site()
    site.publish("alpha", "1.1.0")
    row = {"name": "alpha", "locked": "1.0.0", "latest": "1.1.0", "next": "1.1.0", "blocked_by": []}
    assert asked(site) == {"alpha": row}
    lines = [" ".join(line.split()) for line in site.releaser("outdated", check=0).stdout.splitlines()]
    assert lines == ["PACKAGE LOCKED LATEST BLOCKED BY", "alpha 1.0.0 1.1.0 nothing; the next update installs it"]
    site.withdraw("alpha", "1.1.0")
    assert asked(site) == {}
    said = site.releaser("outdated", check=0)
    assert (said.stdout, said.stderr) == ("", "all packages are at their newest versions\n")


def test_a_constraint_is_named_with_whose_it_is(make_site: SiteFactory) -> None:
    """Those for another machine, or an extra that nobody wants, keep nothing."""
    names = ("alpha", "boss", "carl", "dora", "emil", "finn", "gina", "high")
    other_machine = "dora<1.1; sys_platform=='win32' and python_version<'3'"
    site = make_site(
        venv=True,
        packages=dict.fromkeys(names, "1.0.0"),
        dependencies=["alpha<1.1,>=1", "boss[old]", "carl", "dora", "emil", "finn", "gina"],
        requires={
            "boss": ["carl<1.1; python_version>'3'", other_machine, "dora<1.1; extra=='new'", "emil<1.1; extra=='old'"],
            "high": ["gina<1.1"],
        },
        groups={"local": [], "prod": ["high"]},
    )
    site.edit("pyproject.toml", edit_pyproject(site, "[tool.uv]", '[tool.uv]\nconstraint-dependencies = ["finn<1.1"]'))
    site.uv("lock", "--quiet")
    for name in ("alpha", "carl", "dora", "emil", "finn", "gina"):
        site.publish(name, "1.1.0")
    found = {name: [(by["by"], by["reason"]) for by in one["blocked_by"]] for name, one in asked(site).items()}
    ((by, reason),) = found.pop("gina")
    assert (by, "1.0.0" in reason) == ("constraint", True), "of what is not installed, it is told without a name"
    assert found == {
        "alpha": [("constraint", "the project requires alpha<1.1,>=1")],
        "carl": [("constraint", "boss 1.0.0 requires carl<1.1")],
        "dora": [],
        "emil": [("constraint", "boss 1.0.0 requires emil<1.1")],
        "finn": [("constraint", "the project (constraint-dependencies) requires finn<1.1")],
    }
    assert "constraint\n    boss 1.0.0 requires emil<1.1\n" in site.releaser("outdated", check=0).stdout
    site.publish("boss", "1.1.0", requires=["carl<2"])
    assert blocked_by(site, "carl") == [], "the next update lifts it"


def test_what_cannot_be_asked_or_read_is_an_error(make_site: SiteFactory, dead_port: int) -> None:
    site = make_site.adopted()
    site.publish("alpha", "1.1.0")

    def refused(code: int) -> str:
        said = site.releaser("outdated", check=code, env={"UV_HTTP_RETRIES": "0"})
        assert said.stdout == ""
        assert "live: " not in said.stderr
        return said.stderr

    from_server(site, f"http://127.0.0.1:{dead_port}/simple")
    assert refused(4).startswith("releaser: the package index could not be asked: ")
    site.git("checkout", "pyproject.toml")
    for text, words in (
        ("index = [\n", f"{site.path / 'uv.toml'} cannot be read: "),
        ("index = [3]\n", "uv cannot read"),
    ):
        site.edit("uv.toml", text)
        assert refused(3).startswith(f"releaser: {words}")
    (site.path / "uv.toml").unlink()
    site.edit("pyproject.toml", edit_pyproject(site, "[tool.uv]\n", "[tool.uv]\nindex = [{}]\n"))
    said = refused(4)
    assert "during settings discovery" in said.splitlines()[0]
    assert "Correct [tool.uv]" in said
    site.git("checkout", "pyproject.toml")
    site.edit("uv.lock", "no lock")
    said = refused(4)
    assert said.startswith("releaser: the changes of the next update are unknown: ")
    assert "uv.lock" in said


def test_what_no_index_has_is_named_and_hides_no_other(make_site: SiteFactory) -> None:
    """A pre-release counts only for what is locked at one."""
    packages = {"alpha": "1.0.0", "beta": "1.0rc1", "gamma": "1.0.0"}
    site = make_site(kind="path", packages=packages, dependencies=["alpha", "beta>=1.0rc1", "gamma"], venv=True)
    site.publish("alpha", "2.0rc1")
    site.publish("beta", "1.0rc2")
    site.publish("common-lib", "9.0.0")  # which comes from a directory
    site.withdraw("gamma", "1.0.0")
    assert {name: one["latest"] for name, one in asked(site).items()} == {"beta": "1.0rc2"}
    said = site.releaser("outdated", check=0).stderr
    assert "the index has no version of: gamma\n" in said
    assert "common-lib" not in said
    assert "not checked, because no index has them: common-lib\n" in site.releaser("outdated", "-v", check=0).stderr
    (site.path / "uv.lock").unlink()
    assert "uv.lock" in site.releaser("outdated", check=3).stderr
