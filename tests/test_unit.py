"""The unit of systemd that comes with releaser."""

import re
import shutil
import subprocess

import pytest

from releaser.tools.systemd import TEMPLATE as UNIT
from tests.support.guards import require


@pytest.mark.attack
@pytest.mark.spawns
def test_the_unit_exposes_little() -> None:
    require(shutil.which("systemd-analyze"), "systemd-analyze judges it")
    words = ["systemd-analyze", "security", "--offline=true", "--no-pager", str(UNIT)]
    finished = subprocess.run(words, capture_output=True, text=True, check=False)
    found = re.search(r"Overall exposure level .*: ([\d.]+) ", finished.stdout)
    assert found is not None, finished.stderr
    assert float(found[1]) < 4
