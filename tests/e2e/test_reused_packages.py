"""Unchanged packages come from the live release, and equal files of releases are one file that nothing writes to."""

import os
import stat
from pathlib import Path

import pytest

from tests.e2e.test_group_use import ADA, adas_site, by
from tests.support.sites import SampleSite, SiteFactory
from tests.support.templates import Templates

#: As root, whom no mode keeps from writing, releases share files only on request.
ALWAYS = {"RELEASER_SHARE_FILES": "always"}
# A package that writes to its own files fails in the tests, and not only when it is live.
AS_WHEN_LIVE = "import beta, os; assert not os.access(beta.__file__, os.W_OK)"
# Makes a file of a package writable, and writes to it in place, as the tests of a bad version might.
SPOILING = """
import beta, os, pathlib
def test_shop(packages):
    file = pathlib.Path(beta.__file__)
    file.chmod(0o644)
    file.write_text("spoilt = True")
"""


def files_of(site: SampleSite, release: str) -> dict[str, os.stat_result]:
    """Return the files below site-packages of a release."""
    (place,) = (site.state_dir / "releases" / release).glob("venv/lib/python*/site-packages")
    return {str(file.relative_to(place)): file.stat() for file in place.rglob("*") if file.is_file()}


def shared(site: SampleSite, one: str, other: str) -> set[str]:
    """Return the files that two releases have in one inode."""
    mine, theirs = files_of(site, one), files_of(site, other)
    return {name for name, status in mine.items() if name in theirs and theirs[name].st_ino == status.st_ino}


def of_beta(names: set[str]) -> set[str]:
    return {name for name in names if name.startswith(("beta/", "beta-"))}


def test_releases_of_an_ordinary_user_share_what_is_equal_and_nothing_writes_to_it(
    templates: Templates, everybodys: Path
) -> None:
    with adas_site(templates, everybodys) as site:
        by(ADA, site, "init")
        site.write_dotenv({"RELEASER_TEST_COMMAND": f"python -c '{AS_WHEN_LIVE}'"})
        for version in ("1.1.0", "1.2.0"):
            site.publish("alpha", version)
            by(ADA, site, "update")
        first, second = sorted(site.releases())[-2:]
        whole = of_beta(set(files_of(site, second)))
        assert any(name.endswith(".pyc") for name in whole)
        assert of_beta(shared(site, first, second)) == whole
        assert all(files_of(site, first)[name].st_mode & 0o222 == 0 for name in whole)
        assert "alpha/__init__.py" not in shared(site, first, second)
        assert files_of(site, second)["alpha/__init__.py"].st_mode & 0o222 == 0  # a later release may share it
        by(ADA, site, "verify", "--all")
        by(ADA, site, "rollback")
        by(ADA, site, "prune")
        site.write_dotenv({"RELEASER_SHARE_FILES": "never"})
        site.publish("alpha", "1.3.0")
        by(ADA, site, "update")
        files = files_of(site, site.live_id())
        assert all(status.st_nlink == 1 and status.st_mode & stat.S_IWUSR for status in files.values())


@pytest.mark.story
def test_an_update_takes_unchanged_packages_and_a_rebuild_does_not(make_site: SiteFactory) -> None:
    site = make_site.adopted("1.1.0", dotenv=ALWAYS)
    for version in ("1.2.0", "1.3.0"):
        site.update_to("alpha", version)
    first, second = sorted(site.releases())[-2:]
    assert of_beta(shared(site, first, second)) == of_beta(set(files_of(site, second)))
    where = site.python(
        "import beta; print((lambda: 0).__globals__ and beta.__spec__.loader.get_code('beta').co_filename)"
    )
    assert f"/{second}/" in where
    site.releaser("rebuild", check=0)
    third = site.live_id()
    assert third not in (first, second)
    assert shared(site, third, second) == set()
    site.releaser("uninstall --yes", check=0)
    assert all(file.stat().st_mode & stat.S_IWUSR for file in site.link.resolve().rglob("*.py"))


def test_tests_that_write_to_their_venv_do_not_reach_the_live_release(make_site: SiteFactory) -> None:
    site = make_site.adopted("1.1.0", dotenv=ALWAYS)
    site.update_to("alpha", "1.2.0")
    live = site.live_id()
    (place,) = site.link.resolve().glob("lib/python*/site-packages/beta/__init__.py")
    before = place.read_bytes()
    site.commit("Spoil a package", {"site_tests.py": SPOILING})
    site.push()
    site.publish("alpha", "1.3.0")
    finished = site.releaser("update", check=5)
    assert "changed installed files" in finished.stderr
    assert site.live_id() == live
    assert place.read_bytes() == before
    site.releaser("verify", check=0)
