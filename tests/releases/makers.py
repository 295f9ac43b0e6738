"""Releases made up for tests: on paper, or in a directory."""

import contextlib
import errno
import hashlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from releaser.locks.changes import Change
from releaser.releases.lifecycle import Lifecycle
from releaser.releases.release import Manifest, Release, State, manifest_type
from releaser.releases.store import ReleaseStore
from releaser.system.files import encode_state, remove_tree

LOCK = b"version = 1\n"
NOW = datetime(2026, 11, 20, 6, 12, tzinfo=UTC)
_HOLD = "import sys; from releaser.releases import lease; lease.take(sys.argv[1]); print('held', flush=True); input()"


def a_manifest(number: int = 1, **changes: Any) -> Manifest:
    """Make the manifest of the `number`th release, a day after the one before."""
    created = NOW + timedelta(days=number)
    fields: dict[str, Any] = {
        "id": f"{created:%Y%m%dT%H%M%SZ}",
        "sequence": number,
        "created_at": created,
        "origin": "built",
        "python": "3.11.7",
        "group": "local",
        "lock_sha256": hashlib.sha256(LOCK).hexdigest(),
        "dependencies_key": "d",
        "code_key": "c",
        "commit": None,
        "previous": None,
        "tests": "passed",
        "changes": (Change(name="alpha", old="1.0", new="1.1", bump="minor"),),
        "size_bytes": 1000,
        "own_bytes": 400,
        "inodes": 5,
    }
    return manifest_type()(**{**fields, **changes})


def as_stored(manifest: Manifest) -> dict[str, Any]:
    """Return what `manifest.json` holds."""
    stored: dict[str, Any] = json.loads(encode_state(manifest))
    return stored


def on_paper(directory: Path, manifest: Manifest, *, state: State = "good", pinned: bool = False) -> Release:
    """Make a release that has no directory."""
    lifecycle = Lifecycle(stage="live", since="", flip=1, pinned=pinned)
    return Release(place=f"{directory}/{manifest.id}", manifest=manifest, state=state, lifecycle=lifecycle)


def built(store: ReleaseStore, number: int, *, works: bool = True, **changes: Any) -> Release:
    """Make the `number`th release on disk, sealed, with a venv that has an interpreter if it `works`."""
    manifest = a_manifest(number, **changes)
    venv = store.path(manifest.id) / "venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "pyvenv.cfg").touch()
    if works:
        (venv / "bin" / "python").touch()
    (store.path(manifest.id) / "uv.lock").write_bytes(LOCK)
    return store.complete(manifest)


def live(store: ReleaseStore, number: int, **options: Any) -> Release:
    """Make a release, let the link lead to it and record that it is good."""
    release = built(store, number, **options)
    go_to(store, release.id)
    return release


def go_to(store: ReleaseStore, name: str) -> None:
    """Let the link lead to a release, and record that it is good."""
    store.link.unlink(missing_ok=True)
    store.link.symlink_to(store.path(name) / "venv")
    store.record_live(store.find(name))


@contextlib.contextmanager
def user(directory: Path) -> Iterator[subprocess.Popen[str]]:
    """Run a process that uses a release, by a lease, until the end of the block."""
    words = [sys.executable, "-c", _HOLD, str(directory)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.communicate("\n" if process.poll() is None else None, timeout=60)


WRITE_RECORD = "releaser.releases.store.Lifecycle.write"
WRITE_LEDGER = "releaser.releases.store.write_state"


@contextlib.contextmanager
def refusing(function: str, error: int) -> Iterator[None]:
    """Let a function fail with an error of the system."""

    def refuse(*_: object) -> None:
        raise OSError(error, "no")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(function, refuse)
        yield


def of(act: Callable[[ReleaseStore, str], object]) -> Callable[[ReleaseStore, int], object]:
    return lambda store, number: act(store, a_manifest(number).id)


ACTS: dict[str, Callable[[ReleaseStore, int], object]] = {
    "built": built,
    "failed": lambda store, number: built(store, number, tests="failed"),
    "live": live,
    "adopted": lambda store, number: live(store, number, tests="not run"),
    "broken": lambda store, number: live(store, number, works=False),
    "go": of(go_to),
    "withdraw": of(lambda store, name: store.record_withdrawn(store.find(name))),
    "pin": of(lambda store, name: store.pin(store.find(name), on=True)),
    "unpin": of(lambda store, name: store.pin(store.find(name), on=False)),
    "remove": of(lambda store, name: store.remove(name)),
    "delete": of(lambda store, name: remove_tree(store.path(name))),
    "lose record": of(lambda store, name: (store.path(name) / "state.json").unlink()),
    "lose ledger": lambda store, _: (store.state_dir / "ledger.json").unlink(),
    "unlink": lambda store, _: store.link.unlink(),
    "restore": lambda store, _: [*store.restore_records()],
}


def tell(store: ReleaseStore, story: str) -> None:
    """Let a story happen, such as `live 1, live 2, withdraw 2, go 1`.

    Before an act, `~` says that nobody may write into the releases, as where they belong to another user, and `!` that
    the ledger cannot be written, which the act has to say.
    """
    for act in story.split(", "):
        verb = act.strip("~! 0123456789")
        number = int(act.rpartition(verb)[2] or 0)
        with contextlib.ExitStack() as how:
            if act.startswith("~"):
                how.enter_context(refusing(WRITE_RECORD, errno.EACCES))
            if act.startswith("!"):
                how.enter_context(pytest.raises(OSError, match="no"))
                how.enter_context(refusing(WRITE_LEDGER, errno.ENOSPC))
            ACTS[verb](store, number)
