"""What makes a lock that is live be rebuilt, though no package is newer."""

import contextlib
import os
import platform
import sys
from pathlib import Path

import pytest

from releaser.core.target import RebuildReason
from releaser.errors import PreflightError
from releaser.pipelines.damage import find_rebuild_reason, refuse_unreadable_live
from releaser.pipelines.rebuild import refuse_unadopted
from releaser.pipelines.workspaces import describe_python
from releaser.releases.integrity import find_damage, has_lost_python
from releaser.releases.lease import take
from releaser.releases.release import Release
from releaser.releases.store import ReleaseStore
from releaser.releases.venv import Interpreter
from releaser.site.pythons import Choice, PythonRequest
from releaser.site.site import open_site
from tests.releases.makers import live

OURS = os.path.realpath(sys.executable)
PYTHON = platform.python_version()


@pytest.fixture
def store(tmp_path: Path) -> ReleaseStore:
    """Make a store with a live release."""
    store = ReleaseStore(state_dir=tmp_path / "state", link=tmp_path / ".venv")
    on_our_python(store, 1, link_mode="copy")
    return store


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Do not wait, and collect how long it would have been."""
    found: list[float] = []
    monkeypatch.setattr("releaser.pipelines.damage.time.sleep", found.append)
    return found


def live_in(store: ReleaseStore) -> Release:
    release = store.live()
    assert release is not None
    return release


def lead_to(release: Release, executable: str) -> None:
    python = release.venv / "bin" / "python"
    python.unlink()
    python.symlink_to(executable)


def on_our_python(store: ReleaseStore, number: int, **changes: str) -> Release:
    """Make a live release on the interpreter of the tests."""
    release = live(store, number, **{"python": PYTHON, **changes})
    lead_to(release, OURS)
    return release


def found_reason(store: ReleaseStore, version: str = PYTHON, **settings: str) -> RebuildReason | None:
    environ = {f"RELEASER_{name.upper()}": value for name, value in settings.items()}
    site = open_site(store.link.parent, {"PATH": "/usr/bin", **environ})
    return find_rebuild_reason(site, Choice(python=Path(OURS), version=version), store.live())


def reason(store: ReleaseStore, version: str = PYTHON, **settings: str) -> str:
    found = found_reason(store, version, **settings)
    assert found is None or not found.is_damaged
    return found.reason if found is not None else ""


@pytest.mark.spawns
def test_another_way_to_link_is_a_reason_if_it_is_set(store: ReleaseStore) -> None:
    assert reason(store, link_mode="clone") == "`link_mode` is clone, but it was built with copy"
    assert reason(store, link_mode="copy") == reason(store) == ""
    on_our_python(store, 2)  # by an earlier releaser, which did not note it
    assert reason(store, link_mode="clone") == ""


@pytest.mark.spawns
def test_another_minor_version_is_a_reason_if_the_project_asks_for_it(store: ReleaseStore) -> None:
    why = f"is '3.99', but it was built with Python {PYTHON}"
    assert reason(store, "3.99.1") == ""
    assert reason(store, "3.99.1", python="3.99") == f"`python` {why}"
    (store.link.parent / ".python-version").write_text("3.99", encoding="utf-8")
    assert reason(store, "3.99.1") == f".python-version {why}"
    assert reason(store, PYTHON) == ""  # where uv finds nothing else


def test_what_somebody_has_changed_is_told(store: ReleaseStore) -> None:
    release = live_in(store)
    release.lock.write_text("changed", encoding="utf-8")
    found = found_reason(store)
    assert found is not None
    assert found.is_damaged
    assert found.describe_damage().message == f"the live release {release.id} is damaged: its uv.lock has been changed"


@pytest.mark.parametrize("link", [True, False])
def test_only_a_link_that_is_left_tells_of_a_python_that_is_gone(store: ReleaseStore, link: bool) -> None:
    release = live_in(store)
    python = release.venv / "bin" / "python"
    python.unlink()
    if link:
        python.symlink_to("/nowhere/python3.11")
    found = found_reason(store)
    assert found is not None
    assert found.reason.startswith("its interpreter is gone")
    assert found.is_damaged is not link
    assert has_lost_python(release, find_damage(release)) is link
    assert not has_lost_python(release, None)


@pytest.mark.spawns
def test_one_that_does_not_start_gets_a_second_look(store: ReleaseStore, pauses: list[float]) -> None:
    broken = store.link.parent / "python"
    broken.touch(mode=0o755)
    lead_to(live_in(store), str(broken))
    assert "no longer starts" in reason(store)
    assert pauses == [1.0]


def test_what_stands_in_is_told() -> None:
    against = PythonRequest(version="3.12", source=".python-version")
    choice = Choice(python=Path(OURS), version="3.13.1", instead_of="3.11.7", against=against)
    gone, requested = describe_python(choice)
    assert gone.message.startswith("Python 3.11 is no longer installed. The site now runs on Python 3.13.1")
    assert requested.message.startswith(".python-version is '3.12', which is not installed; the site now runs on")
    assert requested.advice.startswith("Set it to '3.13'")
    assert describe_python(Choice(python=Path(OURS), version="3.13.1")) == []


def test_without_any_release_there_is_nothing_to_rebuild(tmp_path: Path) -> None:
    with pytest.raises(PreflightError, match="no release has been live yet"):
        refuse_unadopted(ReleaseStore(state_dir=tmp_path, link=tmp_path / ".venv"))


@pytest.mark.parametrize(
    ("sealed_on", "is_used", "appears", "is_refused"),
    [
        (OURS, False, False, False),
        (OURS, True, False, True),
        ("/nowhere/python3.12", True, False, False),  # as a program that has inherited the lease, before it was removed
        (OURS, True, True, False),  # at the second look
    ],
)
def test_an_interpreter_that_cannot_be_seen_is_gone_only_if_no_process_runs_on_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sealed_on: str, is_used: bool, appears: bool, is_refused: bool
) -> None:
    was = Interpreter(executable=sealed_on, version="3.12.1", implementation="cpython", abi="", build="", seen={})
    store = ReleaseStore(state_dir=tmp_path / "state", link=tmp_path / ".venv")
    release = live(store, 1, interpreter=was)
    lead_to(release, "/nowhere/python3.12")
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if appears:
            lead_to(release, OURS)

    monkeypatch.setattr("releaser.pipelines.damage.time.sleep", pause)
    refuse_unreadable_live(None)
    with contextlib.ExitStack() as stack:
        if is_used:
            stack.callback(os.close, take(str(release.directory)))
        refused = stack.enter_context(pytest.raises(PreflightError)) if is_refused else None
        refuse_unreadable_live(release)
        if appears:
            refuse_unreadable_live(release)  # nothing is asked of what is there
    assert pauses == [1.0]
    if refused is not None:
        message = f"releaser cannot see the interpreter of the live release {release.id} ({OURS}), but 1 process runs"
        assert refused.value.message == f"{message} on it: {os.getpid()}"
        assert "Nothing was changed" in refused.value.advice
        assert "`releaser rebuild`" in refused.value.advice
