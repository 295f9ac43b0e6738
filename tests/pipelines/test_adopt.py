"""A venv that cannot become the first release."""

import errno
import os
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from releaser.errors import BuildError
from releaser.pipelines.adopt import Venvs
from releaser.site.site import SiteFacts, open_site
from tests.support.logs import a_log


def test_a_venv_of_the_image_of_a_container_stays_and_it_is_said_how_to_move_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, target: Path) -> bool:  # as overlayfs does
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), str(path), None, str(target))

    monkeypatch.setattr("releaser.releases.release.exchange", refuse)
    (tmp_path / "site" / ".venv").mkdir(parents=True)
    site = open_site(tmp_path / "site", {"RELEASER_GIT": "false"})
    venv = site.project.venv
    with pytest.raises(BuildError) as refused:
        Venvs().adopt(site, a_log(), cast("SiteFacts", SimpleNamespace(group=None)))
    assert f"`cp -a {venv} {venv}.new && rm -r {venv} && mv {venv}.new {venv}`" in refused.value.advice
    assert venv.is_dir()
    assert not venv.is_symlink()
