"""A power cut right behind a move of the checkout: git syncs none of its files, so releaser does."""

import subprocess
import sys
from pathlib import Path
from typing import Literal

import pytest

from releaser.system.files import sync_file_system
from tests.faults.powercut import Disks
from tests.support.sites import SampleSite

Move = Literal["fast_forward", "reset_keep"]
SCRIPT = """\
import os, sys
from pathlib import Path
from releaser.tools import git
from releaser.system.process import Runner
root, move, commit, synced = sys.argv[1:]
if not synced:
    git.write_out = lambda _: None
tool = git.Git(runner=Runner(environ=os.environ), root=Path(root), timeout=60)
getattr(tool, move)(commit)
"""


def move(site: SampleSite, how: Move, commit: str, *, synced: bool) -> None:
    words = [sys.executable, "-c", SCRIPT, str(site.path), how, commit, "yes" if synced else ""]
    subprocess.run(words, check=True, env=site.environment(), cwd=site.outer.parent)


@pytest.mark.parametrize("how", ["fast_forward", "reset_keep"])
def test_the_files_are_those_of_the_commit(how: Move, disks: Disks, tmp_path: Path) -> None:
    assert after_a_cut(how, disks, tmp_path / "synced", synced=True) == ""
    assert after_a_cut(how, disks, tmp_path / "unsynced", synced=False) != "", "the cut shows nothing"


def after_a_cut(how: Move, disks: Disks, base: Path, *, synced: bool) -> str:
    """Move the checkout and cut the power; return what git says of the tree."""
    with disks.site("rollback", base) as (site, disk):
        before = site.head()
        text = (site.path / "manage.py").read_text(encoding="utf-8")
        after = site.push_from_elsewhere({"manage.py": f"{text}# changed\n", "new.py": "# new\n"})
        site.git("fetch", "--quiet")
        if how == "reset_keep":
            move(site, "fast_forward", after, synced=True)
        sync_file_system(site.path)  # what is here before
        move(site, how, after if how == "fast_forward" else before, synced=synced)
        disk.cut(entries_written=True)
        disk.boot()
        assert site.head() == (after if how == "fast_forward" else before)
        return site.git("status", "--porcelain")
