"""A real web server runs a real Django site, and of its visitors, who never pause, none meets a failure or a mixture.

The story is the one of `make demo-passenger`, which counts what they see; without the pin it must count mixtures, which
one of the servers shows.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

from tests.support.commands import program_path, run
from tests.support.guards import require

pytestmark = pytest.mark.slow

STORY = Path(__file__).parents[2] / "scripts" / "demo_web_server.py"
SECONDS = 600.0  # alone on two processors it takes a tenth of that
ACTS = ("update", "rollback", "refused update")


@pytest.mark.network
@pytest.mark.parametrize(
    ("server", "acts_without_pin"),
    [
        ("passenger", 0),
        pytest.param("passenger", 1, marks=pytest.mark.exhaustive),
        pytest.param("gunicorn", 0, marks=pytest.mark.exhaustive),
    ],
)
def test_visitors_meet_neither_failures_nor_mixtures_and_would_without_the_pin(
    server: str, acts_without_pin: int, tmp_path: Path, uv_cache: Path
) -> None:
    if server == "passenger":
        require(shutil.which("python3.11", path=program_path()), "Passenger starts sites on Python 3.11")
        has_both = shutil.which("apache2", path="/usr/sbin") and shutil.which("passenger-config")
        require(has_both, "Apache and Passenger are needed (scripts/install-debian-packages)")
    env = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    # Under root, Apache serves as another user, who can go through no directory that pytest makes.
    with tempfile.TemporaryDirectory(dir=os.environ.get("PYTEST_DEBUG_TEMPROOT") or None) as place:
        Path(place).chmod(0o755)
        words: list[str | Path] = [sys.executable, STORY, place, Path(sys.executable).parent, server]
        words += ["--unpinned", str(acts_without_pin)]
        told = run(words, cwd=tmp_path, env={**env, "UV_CACHE_DIR": str(uv_cache)}, timeout=SECONDS)
    require("Failed to fetch" not in told.stderr, "the package index is out of reach")
    with_pin, _, without = told.stdout.rpartition("with the pin\n")[2].partition("switched off")
    pinned, unpinned = figures(with_pin), figures(without)
    assert [act for act, *_ in pinned] == list(ACTS), str(told)
    assert all((requests > 100, failed, mixed) == (True, 0, 0) for _, requests, failed, mixed in pinned), str(told)
    assert all(mixed > 0 for *_, mixed in unpinned), str(told)
    assert len(unpinned) == acts_without_pin, str(told)
    # Each update, rollback and automatic rollback of Passenger starts new processes before it ends old ones.
    exchanges = told.stdout.count(" without a gap")
    assert exchanges == (len(ACTS) + 1 + acts_without_pin if server == "passenger" else 0), str(told)
    assert told.returncode == 0, str(told)


def figures(text: str) -> list[tuple[str, int, int, int]]:
    """Return act, requests, failed and mixed of each line that has them."""
    found = re.findall(r"^ +(\S.*?) +(\d+) +(\d+) +(\d+)(?: +[\d.]+ s){2}$", text, re.MULTILINE)
    return [(act, int(requests), int(failed), int(mixed)) for act, requests, failed, mixed in found]
