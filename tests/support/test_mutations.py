"""The mutations of the fault tests can be made, those that are not in a spread as well."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.spawns
def test_a_function_that_has_changed_its_arguments_is_told_at_once() -> None:
    script = "from tests.faults.mutations import MUTATIONS\nfor one in MUTATIONS:\n    one.patch()\n"
    done = subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
