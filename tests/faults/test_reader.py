"""Readers of `.venv` while it is moved: web workers, cron jobs, people at a prompt always find one release, whole."""

import contextlib
import itertools
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from releaser.releases.release import flip
from tests.e2e.scenes import SECONDS
from tests.faults.scenes import Scenes
from tests.faults.tally import Tallies
from tests.support.sites import SampleSite

FLIPS, SPREAD = 10_000, 500
ENOUGH = 40  # readings, of which some begin on either side
VERSIONS = "1.2.0", "1.3.0"

# Reads as often as it can: `once`, with the link in sys.argv[1], returns the versions that it sees.
READING = """\
import importlib, json, os, subprocess, sys, threading
{once}
failures, seen, count, told = [], set(), 0, open(sys.argv[2], "wb", buffering=0)
stopped = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), stopped.set()), daemon=True).start()
print("ready", flush=True)
while not stopped.is_set():
    count += told.write(b".")
    try:
        seen.add(once(sys.argv[1]))
    except Exception as error:
        failures.append(repr(error))
print(json.dumps({{"reads": count, "failures": failures, "seen": sorted(seen)}}))
"""
# Resolves the link, and imports a package of the lock through it.
RESOLVER = """\
sys.path.insert(0, os.path.join(sys.argv[1], "lib", "python%d.%d" % sys.version_info[:2], "site-packages"))
sys.dont_write_bytecode = True
def once(link):
    os.stat(os.path.join(os.path.realpath(link, strict=True), "pyvenv.cfg"))
    importlib.invalidate_caches()
    sys.path_importer_cache.clear()
    sys.modules.pop("alpha", None)
    return importlib.import_module("alpha").__version__
"""
# Starts the live Python, which imports one package and, a moment later, another.
STARTER = """\
program = "import alpha, time; time.sleep(0.005); import beta; print(alpha.__version__, beta.__version__)"
def once(link):
    done = subprocess.run([link + "/bin/python", "-c", program], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return done.stdout.strip()
"""


class Reader:
    """A process that reads a site until it is told to stop."""

    def __init__(self, process: subprocess.Popen[str], told: Path) -> None:
        self._process, self._told = process, told

    def has_read_enough(self) -> bool:
        """Whether it has read so often that it has met both releases; a busy machine lets it read more rarely."""
        assert self._process.poll() is None
        return self._told.stat().st_size > ENOUGH

    def result(self) -> dict[str, Any]:
        """Let it stop, and return how often it has read, what failed, and which versions it has seen."""
        stdout, _ = self._process.communicate("", timeout=SECONDS)
        found: dict[str, Any] = json.loads(stdout)
        return found


@contextlib.contextmanager
def reading(site: SampleSite, program: str) -> Iterator[Reader]:
    """Start a reader of the live environment; wait until it reads."""
    told = site.outer.parent / "readings"
    words = [sys.executable, "-c", READING.format(once=program), str(site.link), str(told)]
    with subprocess.Popen(
        words, cwd=site.outer, env=site.environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield Reader(process, told)
        finally:
            process.kill()


def two_releases(site: SampleSite) -> list[Path]:
    """Give a site two releases with different packages."""
    for version in VERSIONS:
        for name in ("alpha", "beta"):
            site.publish(name, version)
        site.releaser("update", check=0)
    return [site.state_dir / "releases" / row["id"] / "venv" for row in site.json("list")[:2]]


# The pauses between flips, in seconds, are such that many flips come in the middle of a reading, at all its stages.
@pytest.mark.parametrize(
    ("kind", "program", "pause", "imports"),
    [("resolves and imports", RESOLVER, 0.0003, 1), ("starts Python", STARTER, 0.003, 2)],
    ids=["import", "start"],
)
def test_a_reader_through_thousands_of_flips(
    kind: str,
    program: str,
    pause: float,
    imports: int,
    scenes: Scenes,
    tmp_path: Path,
    tally: Tallies,
    all_points: bool,
) -> None:
    points = tally(f"flips under a reader that {kind}")
    site = scenes.copy("update", tmp_path / "site")
    releases, flips = two_releases(site), FLIPS if all_points else SPREAD
    with reading(site, program) as reader:
        for number in itertools.count():
            if number >= flips and reader.has_read_enough():
                break
            flip(site.link, releases[number % 2], staging=site.state_dir)
            time.sleep(pause)
        result = reader.result()
    assert result["reads"] > flips / 200
    # Both, else it was not looking while the link moved; and no other, of which each would be a mixture of two.
    assert result["seen"] == [" ".join([version] * imports) for version in VERSIONS]
    for number in range(flips):  # each flip is a point; a failure of the reader is charged to one of them
        points.add("flip", f"read {number}", result["failures"][number : number + 1])
    points.check()
