"""What others put in the way steers releaser nowhere."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.commands import run

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.sites import SiteFactory


def test_a_restart_file_that_leads_out_of_the_site_is_not_touched(make_site: SiteFactory, tmp_path: Path) -> None:
    site = make_site.adopted("1.1.0")
    theirs = tmp_path / "theirs"
    theirs.touch()
    os.utime(theirs, (0, 0))
    file = site.path / "config" / "tmp" / "restart.txt"
    file.unlink(missing_ok=True)
    file.symlink_to(theirs)
    live = site.live_id()
    site.publish("alpha", "1.2.0")
    for command in ("update", "rollback"):
        finished = site.releaser(command, check=3, env={"RELEASER_RESTART": "auto"})
        assert f"is a symlink that leads out of {site.outer}, to {theirs}" in finished.stderr
    assert (theirs.stat().st_mtime, site.live_id()) == (0, live)


@pytest.mark.parametrize("words", [["--version"], ["list"], ["status"]])
def test_nothing_is_imported_from_the_current_directory(make_site: SiteFactory, words: list[str]) -> None:
    site = make_site.adopted()
    for name in ("click", "msgspec", "json", "filelock", "dotenv", "jinja2", "rich"):
        (site.path / f"{name}.py").write_text("raise SystemExit('imported')\n", encoding="utf-8")
    finished = run([sys.executable, "-m", "releaser", *words], cwd=site.path, env=site.environment(), check=0)
    assert "imported" not in finished.stderr
