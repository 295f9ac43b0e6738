"""A disk that is full, for real: of bytes or of inodes, with so much left that it is full at one step or another."""

import contextlib
import os
import shutil
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import pytest

from tests.e2e.refusals import BUG_SIGN, small_file_system
from tests.faults.invariants import Witness, unless
from tests.faults.scenes import SCENES, UPDATED, Scene, Scenes
from tests.faults.tally import Tallies
from tests.support.commands import Finished, run
from tests.support.sites import SampleSite

Kind = Literal["bytes", "inodes"]
PAGE = 4096  # tmpfs gives its room in pages
KINDS: tuple[Kind, ...] = ("bytes", "inodes")
SIZES, SPREAD = 24, (0.1, 0.6)  # how many; which parts of what is needed
ENOUGH = 1.1
# Others fill a disk at any time: what is asked for at the beginning may be gone at the next step.
WITHOUT_LOOKING = """\
from releaser.candidate import space
space.find_lacks = lambda *_, **__: iter(())
from releaser.__main__ import main
main()
"""
CODES = {0, 3, 4, 5, 6, 7}  # all but a bug, and what has nothing to do with a disk


@contextlib.contextmanager
def on_small_disk(scenes: Scenes, name: str, tmp_path: Path) -> Iterator[SampleSite]:
    """Copy the site of a scene to a file system of its own."""
    with small_file_system(tmp_path / "small", size="300m", nr_inodes=12_000) as place:
        for record in ("manage-runs", "manage-runs.passed"):  # the site's tests do not fail for these
            (place / f"outer-{record}").symlink_to(tmp_path / record)
        site = scenes.copy(name, place)
        site.env["TMPDIR"] = str(tmp_path)
        dotenv = site.outer / ".env"
        text = dotenv.read_text(encoding="utf-8")  # tests may write where the records lead to
        dotenv.write_text(text.replace("TEST_WRITABLE='../..'", f"TEST_WRITABLE='../..,{tmp_path}'"), encoding="utf-8")
        yield site


def free(site: SampleSite, kind: Kind) -> int:
    """Return how many pages or inodes are free."""
    found = os.statvfs(site.outer)
    return found.f_bavail * found.f_frsize // PAGE if kind == "bytes" else found.f_favail


@contextlib.contextmanager
def filled(site: SampleSite, kind: Kind, *, leave: int) -> Iterator[None]:
    """Take all of the file system but so many pages or inodes, and give them back at the end of the block."""
    ballast = site.outer.parent / "ballast"
    take = free(site, kind) - leave
    if kind == "bytes":
        with ballast.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, take * PAGE)
    else:
        ballast.mkdir()
        for number in range(take - 1):
            (ballast / str(number)).touch()
    try:
        yield
    finally:
        ballast.unlink() if kind == "bytes" else shutil.rmtree(ballast)


def needed(scenes: Scenes, name: str, base: Path) -> dict[Kind, int]:
    """Measure how many pages and inodes a command takes at its widest."""
    base.mkdir()
    with on_small_disk(scenes, name, base) as site, ThreadPoolExecutor() as pool:
        before = {kind: free(site, kind) for kind in KINDS}
        least, run = {**before}, pool.submit(site.releaser, SCENES[name].command, check=0)
        while not run.done():
            least = {kind: min(least[kind], free(site, kind)) for kind in KINDS}
            time.sleep(0.001)
        run.result()
        return {kind: before[kind] - least[kind] for kind in KINDS}


def sizes(most: int, *, everything: bool) -> list[int]:
    """Step from nothing to enough, in smaller steps at both ends, where a run writes the least."""
    parts = [step / (SIZES - 1) for step in range(SIZES)]
    eased = [ENOUGH * part * part * (3 - 2 * part) for part in parts]
    return sorted({round(most * part) for part in (eased if everything else SPREAD)})


@pytest.mark.spread(3)
@pytest.mark.parametrize("name", ["update", "init", "init without a venv", "rollback"])
def test_a_disk_that_is_full_at_any_step(
    name: str, scenes: Scenes, tmp_path: Path, tally: Tallies, all_points: bool
) -> None:
    scene, most, codes = SCENES[name], needed(scenes, name, tmp_path / "measured"), []
    tallies = {kind: tally(f"no {kind} left on a small disk") for kind in KINDS}
    for kind, points in tallies.items():
        for leave in sizes(most[kind], everything=all_points):
            base = tmp_path / f"{kind}-{leave}"
            base.mkdir()
            with on_small_disk(scenes, name, base) as site:
                finished, broken = on_full_disk(site, scene, kind, leave=leave)
            codes.append(finished.returncode)
            points.add(scene.command, f"{leave} {kind} of {most[kind]} left", broken)
    # A rollback has room of its own; all else should have had too little at least once.
    assert any(codes) == (name != "rollback"), codes
    for points in tallies.values():
        points.check()


def on_full_disk(site: SampleSite, scene: Scene, kind: Kind, *, leave: int) -> tuple[Finished, list[str]]:
    """Run the command of a scene with so much left; make room, and let an update follow. Name what is broken."""
    witness = Witness.of(site)
    with filled(site, kind, leave=leave):
        words: list[str | Path] = [sys.executable, "-c", WITHOUT_LOOKING, scene.command, "--project", site.path]
        finished = run(words, cwd=site.outer.parent.parent, env=site.environment())
        # It has ended in a way that people can understand.
        fits = finished.returncode in CODES and not BUG_SIGN.search(finished.stdout + finished.stderr)
        broken = witness.at_once() + unless(fits, f"it should have said what is wrong: {finished}")
    gone_back = scene.command == "rollback" and finished.returncode in (0, 7)
    versions = {"alpha": "1.0.0"} if gone_back else UPDATED
    told = r"^. site: (updated|recovered)" if scene.command == "update" else None
    return finished, broken + witness.after_update(site.releaser("update"), told=told, versions=versions)
