"""What makes a lock that is live be rebuilt, though no package is newer."""

from __future__ import annotations

import os
import platform
import sys
from typing import TYPE_CHECKING

import pytest

from releaser.project.settings import Settings
from releaser.releases.soundness import damage
from releaser.releases.store import ReleaseStore
from releaser.steps.diagnosis import lost_python
from releaser.steps.renewal import reason_to_renew
from tests.releases.makers import a_manifest, live

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def store(tmp_path: Path) -> ReleaseStore:
    """Make a store with a live release."""
    store = ReleaseStore(state_dir=tmp_path / "state", link=tmp_path / ".venv")
    on_our_python(store, 1, link_mode="copy")
    return store


def on_our_python(store: ReleaseStore, number: int, **changes: str) -> None:
    """Make a live release on the interpreter of the tests."""
    python = live(store, number, python=platform.python_version(), **changes).venv / "bin" / "python"
    python.unlink()
    python.symlink_to(os.path.realpath(sys.executable))


def reason(store: ReleaseStore, link_mode: str | None = None) -> str:
    found = store.live()
    assert found is not None
    return reason_to_renew(Settings(link_mode=link_mode), store, found)


def test_another_way_to_link_is_a_reason_if_it_is_set(store: ReleaseStore) -> None:
    assert reason(store, "clone") == "`link_mode` is clone, and it was built with copy"
    assert reason(store, "copy") == reason(store) == ""
    on_our_python(store, 2)  # by an earlier releaser, which did not note it
    assert reason(store, "clone") == ""


@pytest.mark.parametrize("link", [True, False])
def test_only_a_link_that_is_left_tells_of_a_python_that_is_gone(store: ReleaseStore, link: bool) -> None:
    found = store.live()
    assert found is not None
    python = found.venv / "bin" / "python"
    python.unlink()
    if link:
        python.symlink_to("/nowhere/python3.11")
    assert os.path.lexists(python) is link
    assert reason(store).startswith("its interpreter is gone")
    assert lost_python(found, damage(found)) is link
    assert not lost_python(found, None)
    assert a_manifest(1).id == found.id
