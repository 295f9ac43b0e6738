"""What a cut-off run has left is not deleted while a process runs on it."""

import json
import shutil
from contextlib import ExitStack

from tests.e2e.scenes import eventually
from tests.releases.makers import user
from tests.support.sites import SiteFactory


def test_it_stays_until_nobody_uses_it(make_site: SiteFactory) -> None:
    site = make_site.adopted("1.1.0")
    live, releases = site.live_id(), site.state_dir / "releases"
    unsealed, half_deleted = releases / "20250101T000000Z", releases / ".doomed-20250103T000000Z"
    candidate = releases / "20250102T000000Z"
    for place in (unsealed, candidate, half_deleted):
        shutil.copytree(releases / live, place, symlinks=True)
    (unsealed / "manifest.json").unlink()  # as of a run that was killed while it built

    # What a run that was killed between the seal and the flip leaves: a release like any other, that went nowhere.
    manifest = json.loads((candidate / "manifest.json").read_text(encoding="utf-8"))
    (candidate / "manifest.json").write_text(json.dumps({**manifest, "id": candidate.name}), encoding="utf-8")
    entry = {"version": 2, "command": "update", "run_id": "20250102T000000Z-1", "phase": "building", "done": []}
    content = {**entry, "target": candidate.name, "origin": live, "head_before": None, "head_after": None}
    (site.state_dir / "journal.json").write_text(json.dumps(content), encoding="utf-8")

    with ExitStack() as running:
        for place in (unsealed, candidate, half_deleted):
            running.enter_context(user(place))
        site.releaser("pin", live, check=0)
        site.releaser("update", check=0)
        for place in (unsealed, candidate, half_deleted):
            assert (place / "venv" / "bin" / "python").exists(), place
            assert (place / "uv.lock").exists(), place
    eventually(
        lambda: site.releaser("pin", live, check=0) and not (unsealed.exists() or half_deleted.exists()),
        "the deletion",
    )
