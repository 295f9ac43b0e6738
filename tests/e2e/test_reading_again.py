"""Settings are those of the code that is checked out when a run really begins, not when it was called."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from tests.e2e.interrupting import Point, interrupted, stopped
from tests.e2e.refusals import refused
from tests.e2e.scenes import edit_pyproject, eventually, in_background

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.sites import SiteFactory

# What the remote's side of a fetch runs: it reports that it has come, and goes on when the test lets it.
GATE = '#!/bin/sh\ntouch {came}\nread answer < {go}\nexec git-upload-pack "$@"\n'
ASKING_FOR_THE_LOCK = Point(place="releaser.site.run_lock:acquire", when="before")


def test_a_rollback_that_waited_for_an_update_sees_what_that_pulled(make_site: SiteFactory, tmp_path: Path) -> None:
    site = make_site.adopted()
    site.publish("gamma", "1.0.0")
    site.push_from_elsewhere({"pyproject.toml": edit_pyproject(site, '"alpha"', '"alpha", "gamma"')}, lock=True)
    first = site.live_id()
    came, go, script = tmp_path / "came", tmp_path / "go", tmp_path / "upload-pack"
    os.mkfifo(go)
    script.write_text(GATE.format(came=came, go=go), encoding="utf-8")
    script.chmod(0o755)
    site.git("config", "remote.origin.uploadpack", str(script))
    with in_background(site, "update") as update:
        eventually(came.exists, "the fetch")
        with stopped(site, "rollback", "--wait", "60", "--keep-code", at=ASKING_FOR_THE_LOCK) as rollback:
            with go.open("w", encoding="utf-8") as gate:
                gate.write("go\n")
            assert update.wait(timeout=60) == 0
            rollback.send_signal(signal.SIGCONT)
            _, said = rollback.communicate(timeout=60)
    assert rollback.returncode == 3
    assert f"{first} was built for other dependencies" in said
    assert site.live_id() != first
    assert site.live_version("gamma") == "1.0.0"


def test_a_rollback_behind_a_killed_pull_sees_the_code_from_before(make_site: SiteFactory) -> None:
    site = make_site.adopted()
    first = site.live_id()
    site.publish("alpha", "1.1.0")
    site.releaser("update", check=0)
    before = site.head()
    site.push_from_elsewhere({"pyproject.toml": edit_pyproject(site, '"alpha"', '"alpha>=1.0"')}, lock=True)
    interrupted(site, "update", at=Point(place="releaser.tools.git:Git.fast_forward"))
    assert site.head() == site.remote_head() != before
    finished = site.releaser("rollback")
    assert finished.returncode in (0, 7), str(finished)  # the push of the lock has to wait for a pull
    assert site.live_id() == first
    assert site.git("log", "-1", "--format=%P") == before
    assert '"alpha>=1.0"' not in (site.path / "pyproject.toml").read_text(encoding="utf-8")


def test_an_update_whose_settings_were_pulled_goes_by_them(make_site: SiteFactory) -> None:
    site = make_site.adopted(settings={"restart": "none"})
    text = edit_pyproject(site, 'restart = "none"', 'restart = "none"\nrequirements_export = "requirements.txt"')
    site.push_from_elsewhere({"pyproject.toml": text})
    site.releaser("update", check=0)
    assert "alpha==1.0.0" in (site.path / "requirements.txt").read_text(encoding="utf-8")


# Where releases lie


@pytest.mark.parametrize(
    ("key", "value", "there_before"), [("state_dir", "../elsewhere-state", False), ("venv", "env", True)]
)
def test_a_commit_that_moves_releases_elsewhere_is_refused(
    make_site: SiteFactory, key: str, value: str, there_before: bool
) -> None:
    default = {"state_dir": "../.releaser/site", "venv": ".venv"}[key]
    site = make_site.adopted(settings={"keep": 3, **({key: default} if there_before else {})})
    old = f'{key} = "{default}"' if there_before else "keep = 3"
    text = edit_pyproject(site, old, f'{key} = "{value}"')
    theirs = site.push_from_elsewhere({"pyproject.toml": text, "untested.py": ""})
    refused(site).says_only(theirs[:12], f"tool.releaser.{key}", value)
    assert not (site.outer / "elsewhere-state").exists()
    assert not (site.path / "env").exists()
    site.push_from_elsewhere({"pyproject.toml": (site.path / "pyproject.toml").read_text(encoding="utf-8")})
    assert site.releaser("update").returncode == 0
    assert (site.path / "untested.py").exists()


def test_a_commit_that_says_where_releases_lie_already_is_pulled(make_site: SiteFactory) -> None:
    site = make_site.adopted(settings={"state_dir": "../.releaser/site"})
    text = edit_pyproject(site, "[tool.releaser]", "[tool.releaser]\nkeep = 7")
    theirs = site.push_from_elsewhere({"pyproject.toml": text})
    site.releaser("update", check=0)
    assert site.head() == theirs
