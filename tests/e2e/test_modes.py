"""What the files of the state may be read and written by does not depend on the umask of whoever runs releaser."""

from __future__ import annotations

import os
import re
import stat
from typing import TYPE_CHECKING

import pytest

from tests.e2e.scenes import under_umask

if TYPE_CHECKING:
    from tests.support.sites import SampleSite, SiteFactory

# A release, a run and a mail have names of their own.
NAMES = re.compile(r"\d{8}T\d{6}Z[-\w.]*|(?<=outbox/)(new|cur)/.*")


def modes(site: SampleSite) -> dict[str, set[str]]:
    """Return the modes of all below the state directory but the venvs, by names that are the same in each site."""
    found: dict[str, set[str]] = {}
    for place, directories, files in os.walk(site.state_dir.parent):
        directories[:] = [name for name in directories if name != "venv"]
        for name in (".", *files):
            path = os.path.join(place, name)
            mode = f"{stat.S_IMODE(os.lstat(path).st_mode):o}"
            found.setdefault(NAMES.sub("*", os.path.relpath(path, site.state_dir)), set()).add(mode)
    return found


def grown(make_site: SiteFactory, umask: str) -> SampleSite:
    """Let releaser do most of what it does under an umask."""
    site = make_site(outer=f"outer-{umask}", venv=True)
    site.path.chmod(0o755)
    env: dict[str, str | None] = {}
    under_umask(site, umask, "init", env=env)
    for version, broken in (("1.1.0", False), ("1.2.0", True)):
        site.publish("alpha", version, broken=broken)
        under_umask(site, umask, "update", env=env)
    under_umask(site, umask, "rollback", env=env)
    return site


def test_the_modes_are_the_same_under_any_umask(make_site: SiteFactory) -> None:
    expected = modes(grown(make_site, "022"))
    assert {"ledger.json", "quarantine.json", "project.json", "history.jsonl", "reserve"} <= expected.keys()
    assert modes(grown(make_site, "077")) == expected
    everywhere = {mode for these in expected.values() for mode in these}
    assert not any(int(mode, 8) & 0o002 for mode in everywhere), expected


@pytest.mark.parametrize(("mode", "expected"), [(0o711, "755 644"), (0o777, "775 664")])
def test_code_that_comes_in_can_be_read_by_who_reads_the_rest(make_site: SiteFactory, mode: int, expected: str) -> None:
    site = make_site(venv=True)
    site.path.chmod(mode)
    site.releaser("init", check=0)
    site.push_from_elsewhere({"pages/new.py": ""})
    finished = under_umask(site, "077", "update", env={})
    assert finished.returncode == 0, finished
    found = {name: f"{stat.S_IMODE((site.path / name).stat().st_mode):o}" for name in ("pages", "pages/new.py")}
    assert " ".join(found.values()) == expected
