"""What a cut-off run has left is not deleted while a process runs on it."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.e2e.scenes import eventually
from tests.support.sites import SampleSite, SiteFactory


@contextmanager
def running_on(release: Path) -> Iterator[None]:
    """Let a process run on a release, as a worker does that somebody has started on a candidate."""
    words = [str(release / "venv" / "bin" / "python"), "-c", "print('up', flush=True); input()"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        try:
            yield
        finally:
            process.kill()


def copy_of_live(site: SampleSite, name: str) -> Path:
    """Put another release beside the live one."""
    place = site.state_dir / "releases" / name
    shutil.copytree(site.link.resolve().parent, place, symlinks=True)
    return place


def leave_unsealed(site: SampleSite) -> Path:
    """Leave what a run that was killed while it built leaves."""
    place = copy_of_live(site, "20250101T000000Z")
    (place / "manifest.json").unlink()
    return place


def leave_candidate(site: SampleSite) -> Path:
    """Leave what a run that was killed between the seal and the flip leaves."""
    place = copy_of_live(site, "20250102T000000Z")
    manifest = json.loads((place / "manifest.json").read_text(encoding="utf-8"))
    (place / "manifest.json").write_text(json.dumps({**manifest, "id": place.name}), encoding="utf-8")
    entry = {"version": 2, "command": "update", "run_id": "20250102T000000Z-1", "phase": "building", "done": []}
    content = {**entry, "target": place.name, "origin": site.live_id(), "head_before": None, "head_after": None}
    (site.state_dir / "journal.json").write_text(json.dumps(content), encoding="utf-8")
    return place


def leave_half_deleted(site: SampleSite) -> Path:
    """Leave what a run that was killed while it pruned leaves."""
    return copy_of_live(site, ".doomed-20250103T000000Z")


def test_it_stays_until_nobody_uses_it(make_site: SiteFactory) -> None:
    site = make_site.adopted("1.1.0")
    places = [leave(site) for leave in (leave_unsealed, leave_candidate, leave_half_deleted)]
    with ExitStack() as running:
        for place in places:
            running.enter_context(running_on(place))
        site.releaser("pin", site.live_id(), check=0)
        site.releaser("update", check=0)
        for place in places:
            assert (place / "venv" / "bin" / "python").exists(), place
            assert (place / "uv.lock").exists(), place
    unsealed, _, half_deleted = places  # the candidate is a release like any other by now, that went nowhere
    left = (unsealed, half_deleted)
    eventually(
        lambda: site.releaser("pin", site.live_id(), check=0) and not any(place.exists() for place in left),
        "the deletion",
    )
