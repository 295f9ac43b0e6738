"""A pytest plugin: unit tests cannot start programs or send mail by accident; CI skips nothing in silence."""

import os
import smtplib
import subprocess
from pathlib import Path
from typing import NoReturn

import pytest

TESTS = Path(__file__).parent.parent
# Directories of tests that drive real programs and servers.
SPAWNING = frozenset(
    ["candidate", "checkout", "core", "attacks", "e2e", "faults", "fleet", "kit", "launcher", "live", "pipelines",
     "reporting", "resolution", "sandbox", "serving", "system", "tools"]
)  # fmt: skip


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line("markers", "spawns: starts programs or sends mail, which unit tests may not")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse tests whose names differ in each process, so that workers cannot agree which tests there are."""
    unnamed = [item.nodeid for item in items if " at 0x" in item.nodeid]
    if unnamed:
        message = f"give these rows a name by `ids`: {', '.join(unnamed)}"
        raise pytest.UsageError(message)


@pytest.fixture(autouse=True)
def no_accidents(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a unit test fail when it starts a program or opens a mail connection."""
    if not may_spawn(request.node):
        forbid(monkeypatch)


def forbid(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make programs and mail connections fail the test; not even `except Exception` catches that."""
    monkeypatch.setattr(subprocess.Popen, "__init__", _refuse_program)
    monkeypatch.setattr(smtplib.SMTP, "__init__", _refuse_mail)


def may_spawn(test: pytest.Item) -> bool:
    """Whether a test lies where programs are driven, or is marked `spawns`."""
    if test.get_closest_marker("spawns"):
        return True
    return test.path.is_relative_to(TESTS) and test.path.relative_to(TESTS).parts[0] in SPAWNING


def require(condition: object, reason: str) -> None:
    """Skip the test, with the reason, unless the condition holds; in CI, where it has to hold, fail."""
    if condition:
        return
    if os.environ.get("CI"):
        pytest.fail(f"CI must be able to run this test: {reason}")
    pytest.skip(reason)


def other_file_system(here: Path) -> Path:
    """Return a directory on another file system than `here`, or skip the test."""
    places = [Path(name) for name in ("/dev/shm", "/run", "/var/tmp", "/tmp")]
    found = [place for place in places if os.access(place, os.W_OK) and place.stat().st_dev != here.stat().st_dev]
    require(found, "a second file system is needed")
    return found[0]


def _refuse_program(_: subprocess.Popen[bytes], args: object, *rest: object, **options: object) -> NoReturn:
    pytest.fail(f"a unit test tried to start {args!r}; if it has to, mark it `spawns`")


def _refuse_mail(_: smtplib.SMTP, *rest: object, **options: object) -> NoReturn:
    pytest.fail("a unit test tried to open a mail connection; if it has to, mark it `spawns`")
