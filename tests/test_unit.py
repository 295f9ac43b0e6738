"""The unit of systemd that comes with releaser."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.guards import require

UNIT = Path(__file__).resolve().parents[1] / "docs" / "systemd" / "releaser@.service"


def test_the_documentation_shows_it_as_it_is() -> None:
    assert f"```ini\n{UNIT.read_text(encoding='utf-8')}```" in UNIT.parents[1].joinpath("operations.md").read_text()


@pytest.mark.spawns
def test_it_exposes_little() -> None:
    require(shutil.which("systemd-analyze"), "systemd-analyze judges it")
    words = ["systemd-analyze", "security", "--offline=true", "--no-pager", str(UNIT)]
    finished = subprocess.run(words, capture_output=True, text=True, check=False)
    found = re.search(r"Overall exposure level .*: ([\d.]+) ", finished.stdout)
    assert found is not None, finished.stderr
    assert float(found[1]) < 4
