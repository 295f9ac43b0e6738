"""A venv that is not what uv.lock says is not adopted unasked: the first release would be no way back to anything."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from tests.e2e.refusals import refused

if TYPE_CHECKING:
    from tests.support.sites import SampleSite, SiteFactory


def without_alpha(site: SampleSite) -> None:
    (place,) = site.link.glob("lib/python*/site-packages")
    for entry in place.glob("alpha*"):
        shutil.rmtree(entry)


def with_newer_beta(site: SampleSite) -> None:
    """Let the lock go ahead of the venv, as a pull without `uv sync` does."""
    site.publish("beta", "1.1.0")
    site.uv("lock", "--quiet", "--upgrade-package", "beta")
    site.commit("Upgrade beta")
    site.push()


def test_a_package_that_is_not_installed(make_site: SiteFactory) -> None:
    site = make_site(venv=True)
    without_alpha(site)
    refusal = refused(site, command="init")
    refusal.says_only(f"{site.link} does not match uv.lock", "alpha: it is not installed, and the lock says 1.0.0")
    refusal.says_only("`uv sync --frozen --group local`", "`releaser init --force`")


def test_a_package_in_another_version(make_site: SiteFactory) -> None:
    site = make_site(venv=True)
    with_newer_beta(site)
    refused(site, command="check").says_only("beta: it is 1.0.0, and the lock says 1.1.0")


def test_force_adopts_it_and_tells(make_site: SiteFactory) -> None:
    site = make_site(venv=True)
    without_alpha(site)
    planned = site.releaser("init", "--dry-run", "--force", check=0).stdout
    assert "alpha: it is not installed, and the lock says 1.0.0" in planned
    site.releaser("init", "--dry-run", check=3)
    report = site.json("init", "--force")
    assert report["result"] == "activated"
    assert any("alpha: it is not installed, and the lock says 1.0.0" in one for one in report["problems"])
    assert site.json("init")["problems"] == [], "what is adopted is adopted"
    site.releaser("check", check=0)


def test_a_project_that_says_what_it_needs_is_locked_by_uv(make_site: SiteFactory) -> None:
    site = make_site(venv=True)
    (site.path / "uv.lock").unlink()
    for command in ("check", "init"):
        said = site.releaser(command, check=3).stderr
        assert "`uv lock`" in said
        assert "--from-venv" not in said, "which would be refused"


@pytest.mark.parametrize("text", [None, '[project]\nname = "shop"\nversion = "1"\nrequires-python = ">=3.11"\n'])
def test_a_project_of_pip_gets_the_same_advice_which_works(make_site: SiteFactory, text: str | None) -> None:
    site = make_site(venv=True)
    site.git("rm", "--quiet", "uv.lock", "pyproject.toml")
    if text is not None:
        site.edit("pyproject.toml", text + '[tool.uv]\nno-index = true\nfind-links = ["../index"]\n')
        site.git("add", "pyproject.toml")
    site.git("commit", "--quiet", "--message", "There is no lock")
    site.push()
    for command in ("check", "init"):
        said = site.releaser(command, check=3).stderr
        assert "`releaser init --from-venv .venv`" in said
    if text is not None:
        assert site.json("init", "--from-venv", site.link)["result"] == "activated"
