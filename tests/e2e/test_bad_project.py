"""Projects that are not fit: pyproject.toml, uv.lock and dependency groups that are missing or broken."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.e2e.refusals import refused

if TYPE_CHECKING:
    from tests.support.sites import SampleSite, SiteFactory


def replaced(site: SampleSite, old: str, new: str) -> str:
    text = (site.path / "pyproject.toml").read_text(encoding="utf-8")
    assert old in text
    return text.replace(old, new)


@pytest.mark.parametrize("command", ["update", "init", "check"])
def test_no_pyproject(make_site: SiteFactory, command: str) -> None:
    site = make_site(venv=True)
    site.git("rm", "--quiet", "pyproject.toml")
    site.git("commit", "--quiet", "--message", "Lose it")
    refused(site, command=command).says_only(site.path / "pyproject.toml", "does not exist", "--project")


UNREADABLE = {
    "syntax": (b"[project\nname = 1\n", "line 1"),
    "twice": (b"a = 1\na = 2\n", "line 2"),
    "latin-1": ("[project]\nname = 'Größe'\n".encode("latin-1"), "UTF-8"),
    "binary": (bytes(range(256)), "UTF-8"),
    "deep": (b"a = " + b"[" * 100_000, "TOML"),
    "long number": (b"a = " + b"9" * 10_000, "TOML"),
}


@pytest.mark.parametrize("kind", UNREADABLE)
def test_unreadable_toml(make_site: SiteFactory, kind: str) -> None:
    content, words = UNREADABLE[kind]
    site = make_site(venv=True, dotenv={"RELEASER_ENVIRONMENT": "production"})
    (site.path / "pyproject.toml").write_bytes(content)
    site.commit("Break it")
    refused(site).says_only(site.path / "pyproject.toml", words, "Correct" if words != "UTF-8" else "Make it")


def test_an_empty_pyproject(make_site: SiteFactory) -> None:
    site = make_site(venv=True)
    site.commit("Empty it", {"pyproject.toml": ""})
    refused(site).says_only(site.path / "pyproject.toml", "empty", "[project]")


def test_no_project_table(make_site: SiteFactory) -> None:
    site = make_site(venv=True)
    site.commit("Lose it", {"pyproject.toml": replaced(site, "[project]", "[tool.other]")})
    refused(site).says_only(site.path / "pyproject.toml", "[project]", "uv init --bare")


@pytest.mark.parametrize("line", ["", "requires-python = 3.11\n"])
@pytest.mark.story
def test_no_requires_python(make_site: SiteFactory, line: str) -> None:
    site = make_site(venv=True)
    site.commit("Lose it", {"pyproject.toml": replaced(site, 'requires-python = ">=3.11"\n', line)})
    refused(site).says(site.path / "pyproject.toml", "requires-python", 'requires-python = ">=3.11"')


@pytest.mark.parametrize(("wanted", "shown"), [(">=99", ">=99"), ("banana", "banana")])
def test_no_python_fits(make_site: SiteFactory, wanted: str, shown: str) -> None:
    site = make_site(venv=True)
    text = replaced(site, 'requires-python = ">=3.11"', f'requires-python = "{wanted}"')
    site.commit("Want too much", {"pyproject.toml": text})
    refused(site).says_only(shown, "requires-python")


GARBAGE = {
    "empty": b"",
    "words": b"this is not a lock\n",
    "conflict": b"version = 1\n<<<<<<< HEAD\nrevision = 2\n=======\nrevision = 3\n>>>>>>> theirs\n",
    "binary": bytes(range(256)) * 100,
    "no table": b"version = 1\npackage = [1, 2]\n",
    "no list": b"version = 1\npackage = 'alpha'\n",
    "no name": b"version = 1\n[[package]]\nversion = '1.0'\n",
    "odd version": b"version = 1\n[[package]]\nname = 'alpha'\nversion = [1]\n",
    "odd source": b"version = 1\n[[package]]\nname = 'alpha'\nversion = '1'\nsource = 7\n",
    "deep": b"a = " + b"[" * 100_000,
    "long number": b"version = " + b"9" * 10_000,
}


@pytest.mark.parametrize("kind", GARBAGE)
def test_a_garbage_lock(make_site: SiteFactory, kind: str) -> None:
    site = make_site(venv=True)
    (site.path / "uv.lock").write_bytes(GARBAGE[kind])
    site.commit("Break it")
    refused(site).says_only(site.path / "uv.lock", "not a lock", "uv lock")


def test_no_lock(make_site: SiteFactory) -> None:
    site = make_site(venv=True)
    site.git("rm", "--quiet", "uv.lock")
    site.git("commit", "--quiet", "--message", "Lose it")
    refused(site).says_only(site.path / "uv.lock", "does not exist", "`uv lock`")


def test_a_directory_in_the_place_of_the_lock(make_site: SiteFactory) -> None:
    site = make_site(venv=True)
    site.git("rm", "--quiet", "uv.lock")
    site.commit("Replace it", {"uv.lock/README": "?"})
    refused(site).says_only(site.path / "uv.lock", "not a lock")


@pytest.mark.parametrize(
    ("environment", "names"), [("staging", ["`staging`"]), ("production", ["`prod`", "`production`"])]
)
def test_a_missing_group(make_site: SiteFactory, environment: str, names: list[str]) -> None:
    site = make_site(venv=True, groups={"local": ["localtools"]}, dotenv={"RELEASER_ENVIRONMENT": environment})
    refused(site).says_only(site.path / "pyproject.toml", "[dependency-groups]", *names, environment, "Add the group")


def test_a_missing_group_that_a_setting_names(make_site: SiteFactory) -> None:
    site = make_site(venv=True, settings={"group": "nightly"})
    refused(site).says_only(site.path / "pyproject.toml", "`nightly`", "set `group`")


def test_no_groups_at_all(make_site: SiteFactory) -> None:
    site = make_site(venv=True, dotenv={"RELEASER_ENVIRONMENT": "production"})
    site.commit("Misspell it", {"pyproject.toml": replaced(site, "[dependency-groups]", "[dependencygroups]")})
    refused(site).says_only(site.path / "pyproject.toml", "[dependency-groups]", "`prod`")


def test_a_group_that_is_no_list(make_site: SiteFactory) -> None:
    site = make_site(venv=True, dotenv={"RELEASER_ENVIRONMENT": "production"})
    site.commit("Write a name", {"pyproject.toml": replaced(site, 'prod = ["prodtools"]', 'prod = "prodtools"')})
    refused(site).says_only(site.path / "pyproject.toml", "`prod`", "not a list", "List the packages")


def test_a_group_that_uv_cannot_read(make_site: SiteFactory) -> None:
    site = make_site(venv=True, dotenv={"RELEASER_ENVIRONMENT": "production"})
    text = replaced(site, 'prod = ["prodtools"]', 'prod = [{ include-group = "gone" }]')
    site.commit("Include what is not there", {"pyproject.toml": text})
    refused(site).says_only("gone")


def test_dependencies_without_a_solution(make_site: SiteFactory) -> None:
    site = make_site(venv=True)
    site.releaser("init", check=0)
    site.commit("Want too much", {"pyproject.toml": replaced(site, '"alpha"', '"alpha>=7"')})
    refused(site, code=4).says("alpha>=7", "pyproject.toml")
