"""The setting `venv` on another file system is refused before anything is built."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from tests.support.guards import other_file_system

if TYPE_CHECKING:
    from tests.support.sites import SiteFactory


def test_a_venv_on_another_file_system_is_refused_by_check(make_site: SiteFactory) -> None:
    site = make_site()
    place = other_file_system(site.outer) / f"releaser-venv-{os.getpid()}"
    place.mkdir()
    try:
        for command in ("check", "update", "init"):
            finished = site.releaser(command, env={"RELEASER_VENV": str(place / "venv")}, check=3)
            assert f"venv {place / 'venv'} is on another file system than the project" in finished.stderr
            assert "Set `venv`" in finished.stderr
        assert list(place.iterdir()) == []
        assert not (site.state_dir / "releases").exists()
    finally:
        shutil.rmtree(place)
