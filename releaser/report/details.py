"""A release in detail, and the logs of runs."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import msgspec

from releaser.errors import NoSuchReleaseError
from releaser.releases.release import PackageChange
from releaser.releases.store import Store
from releaser.report.history import read_history
from releaser.site.site import Site
from releaser.system.run import Step
from releaser.system.text import clip_end


class Details(msgspec.Struct, frozen=True):
    """A release, as `releaser show --json` prints it: how it was made, and the end of what its tests printed."""

    id: str
    state: str
    created_at: datetime
    live_at: tuple[datetime, ...]
    python: str
    commit: str
    path: str
    failure: str
    changes: tuple[PackageChange, ...]
    steps: tuple[Step, ...]
    tests_output: str

    @property
    def headline(self) -> str:
        """The release and its state, in a sentence."""
        return f"Release {self.id} is {self.state}."


def describe_release(site: Site, name: str) -> Details:
    """Return the details of the release that a person means. Raises NoSuchReleaseError."""
    store = Store(site.paths)
    release = store.find(name)
    manifest = release.manifest
    steps = next((record.steps for record in read_history(site.paths) if record.run == manifest.run), ())
    log = release.tests_log
    return Details(
        id=release.id,
        state=store.name_state(release),
        created_at=manifest.created_at,
        live_at=release.state.live_at,
        python=manifest.key.python,
        commit=manifest.commit,
        path=str(release.venv),
        failure=manifest.failure,
        changes=manifest.changes,
        steps=steps,
        tests_output=clip_end(log.read_text(encoding="utf-8", errors="replace")) if log.is_file() else "",
    )


def find_log(site: Site, run: str | None) -> Path:
    """Return the log of a run, named by its id or a beginning of it; of the newest without a name.

    Raises NoSuchReleaseError.
    """
    logs = sorted(site.paths.logs.glob("*.log"))
    matches = [path for path in logs if path.stem == run] or [path for path in logs if path.stem.startswith(run or "")]
    if not matches or (run and len(matches) > 1):
        message = (
            f"`{run}` could be {len(matches)} runs."
            if matches
            else f"No log of {f'a run `{run}`' if run else 'any run'} exists."
        )
        raise NoSuchReleaseError(message, "Run `releaser history`.")
    return matches[-1]
