"""Projects that are not fit: what real uv says of them, and how it is shown. The table is in the tests of preflight."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.e2e.refusals import refused, unfit
from tests.e2e.scenes import edit_pyproject

if TYPE_CHECKING:
    from tests.support.sites import SiteFactory


@pytest.mark.parametrize("command", ["update", "init", "check"])
def test_no_pyproject(make_site: SiteFactory, command: str) -> None:
    site = make_site(venv=True)
    site.git("rm", "--quiet", "pyproject.toml")
    site.git("commit", "--quiet", "--message", "Lose it")
    refused(site, command=command).says_only(site.path / "pyproject.toml", "does not exist", "--project")


@pytest.mark.story
def test_no_requires_python(make_site: SiteFactory) -> None:
    site = make_site(venv=True)
    site.commit("Lose it", {"pyproject.toml": edit_pyproject(site, 'requires-python = ">=3.11"\n', "")})
    refused(site).says(site.path / "pyproject.toml", "requires-python", 'requires-python = ">=3.11"')


@pytest.mark.parametrize("wanted", [">=99", "banana"])
def test_no_python_fits(make_site: SiteFactory, wanted: str) -> None:
    site = make_site()
    text = edit_pyproject(site, 'requires-python = ">=3.11"', f'requires-python = "{wanted}"')
    site.commit("Want too much", {"pyproject.toml": text})
    unfit(site).says(wanted, "requires-python")


def test_no_lock_and_something_else_in_its_place(make_site: SiteFactory) -> None:
    site = make_site()
    site.git("rm", "--quiet", "uv.lock")
    site.git("commit", "--quiet", "--message", "Lose it")
    unfit(site).says_only(site.path / "uv.lock", "does not exist", "`uv lock`")
    site.commit("Replace it", {"uv.lock/README": "?"})
    unfit(site).says(site.path / "uv.lock", "not a lock")


@pytest.mark.parametrize(
    ("environment", "names"), [("staging", ["`staging`"]), ("production", ["`prod`", "`production`"])]
)
def test_a_missing_group(make_site: SiteFactory, environment: str, names: list[str]) -> None:
    site = make_site(groups={"local": ["localtools"]}, dotenv={"RELEASER_ENVIRONMENT": environment})
    unfit(site).says_only(site.path / "pyproject.toml", "[dependency-groups]", *names, environment, "Add the group")


def test_a_missing_group_that_a_setting_names(make_site: SiteFactory) -> None:
    site = make_site(settings={"group": "nightly"})
    unfit(site).says_only(site.path / "pyproject.toml", "`nightly`", "set `group`")


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ('"prodtools"', ("pyproject.toml", "`prod`", "not a list", "List the packages")),
        ('[{ include-group = "gone" }]', ("gone",)),
    ],
)
def test_a_group_that_cannot_be_read(make_site: SiteFactory, written: str, words: tuple[str, ...]) -> None:
    site = make_site(dotenv={"RELEASER_ENVIRONMENT": "production"})
    text = edit_pyproject(site, 'prod = ["prodtools"]', f"prod = {written}")
    site.commit("Write it wrongly", {"pyproject.toml": text})
    unfit(site).says_only(*words)


def test_dependencies_without_a_solution(make_site: SiteFactory) -> None:
    site = make_site.adopted()
    site.commit("Want too much", {"pyproject.toml": edit_pyproject(site, '"alpha"', '"alpha>=7"')})
    refused(site, code=4).says("alpha>=7", "pyproject.toml")
