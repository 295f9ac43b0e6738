"""A setting that is wrong once: the run is refused, and when the setting is correct again, updates work as before."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from releaser.errors import ExitCode
from tests.support.guards import other_file_system

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.sites import SampleSite, SiteFactory

_ELSEWHERE = "on another file system"  # whichever that is for the site
_FOREIGN, _FILE, _HOLDER, _OF_ANOTHER = "../data", "../notes.txt", "..", "../.releaser/another"
WRONG = {
    "a state directory with files of others": {"RELEASER_STATE_DIR": _FOREIGN},
    "a state directory that is a file": {"RELEASER_STATE_DIR": _FILE},
    "a state directory that holds the project": {"RELEASER_STATE_DIR": _HOLDER},
    "a state directory of another project": {"RELEASER_STATE_DIR": _OF_ANOTHER},
    "a state directory in the venv": {"RELEASER_STATE_DIR": ".venv/state"},
    "a state directory on another file system": {"RELEASER_STATE_DIR": _ELSEWHERE},
    "a value of the wrong kind": {"RELEASER_KEEP": "many"},
    "an unknown setting": {"RELEASER_KEP": "3"},
    "another branch": {"RELEASER_BRANCH": "trunk"},
    "another name of the venv": {"RELEASER_VENV": "manage.py"},
    "a dependency group that does not exist": {"RELEASER_GROUP": "nowhere"},
    "a Python that is not installed": {"RELEASER_PYTHON": "3.2"},
    "a program for the tests that does not exist": {"RELEASER_TEST_COMMAND": "no-such-program"},
    "a restart by a program that does not exist": {"RELEASER_RESTART": "no-such-program"},
    "a site that does not answer": {"RELEASER_HEALTH_CHECK": "http://127.0.0.1:9/"},
    "a uv that does not exist": {"RELEASER_UV": "/nowhere/uv"},
}


def _files_of_others(site: SampleSite) -> dict[Path, bytes]:
    """Make what a wrong `state_dir` leads to, and return the files in it."""
    notes, photo = site.outer / "notes.txt", site.outer / "data" / "photo.jpg"
    owner = site.outer / ".releaser" / "another" / "project.json"
    for path, text in ((notes, "tea"), (photo, "jpg"), (owner, '{"root": "../../another", "link": "../../another/e"}')):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    (site.outer / "another").mkdir()
    (site.outer / "another" / "e").symlink_to("../.releaser/another/releases/1/venv")
    return {path: path.read_bytes() for path in (notes, photo, owner)}


@pytest.mark.spread(3)
@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_a_new_site_works_once_a_wrong_setting_is_corrected(wrong: dict[str, str], make_site: SiteFactory) -> None:
    _refuse_and_correct(make_site(venv=True), wrong)


def _refuse_and_correct(site: SampleSite, wrong: dict[str, str]) -> None:
    site.publish("alpha", "1.1.0")
    others = _files_of_others(site)
    if _ELSEWHERE in wrong.values():
        wrong = {"RELEASER_STATE_DIR": str(other_file_system(site.outer) / f"releaser-state-{os.getpid()}")}
    site.write_dotenv(wrong)
    for _ in range(2):
        refused = site.releaser("update")
        assert refused.returncode in (ExitCode.PREFLIGHT, ExitCode.BUILD, ExitCode.TESTS), refused
    assert {path: path.read_bytes() for path in others} == others
    site.write_dotenv()
    site.releaser("check", check=0)
    site.releaser("update", "--force", check=0)
    site.releaser("update", check=0)
    assert site.live_id() in site.releases()
    assert {path: path.read_bytes() for path in others} == others
