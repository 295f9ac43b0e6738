"""Reading a uv.lock: what is locked, and whether two lock the same."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from releaser.locking.lockfile import EMPTY, InvalidLockError, LockFile

if TYPE_CHECKING:
    from pathlib import Path

HEAD = 'version = 1\nrevision = 3\nrequires-python = ">=3.11"\n'
REGISTRY = '{ registry = "https://index.example/simple" }'
COMMIT = "0123abcdef0123abcdef0123abcdef0123abcdef"


def package(name: str, version: str | None = "1.0", source: str = REGISTRY, extra: str = "") -> str:
    lines = ["", "[[package]]", f'name = "{name}"', *([f'version = "{version}"'] if version else [])]
    return "\n".join([*lines, f"source = {source}", extra]) + "\n"


def parsed(*packages: str, head: str = HEAD) -> LockFile:
    return LockFile.parse((head + "".join(packages)).encode())


def test_each_package_has_its_version() -> None:
    lock = parsed(package("alpha"), package("beta", "2.0.post1"))
    assert lock.versions == {"alpha": "1.0", "beta": "2.0.post1"}
    assert lock.names == {"alpha", "beta"}
    assert lock.local == frozenset()


def test_a_package_may_be_locked_in_several_versions() -> None:
    lock = parsed(package("alpha", "2.0"), package("beta"), package("alpha", "1.0"))
    assert lock.versions == {"alpha": "1.0, 2.0", "beta": "1.0"}


@pytest.mark.parametrize("kind", ["editable", "directory", "virtual"])
def test_local_packages_are_told_apart(kind: str) -> None:
    source = f'{{ {kind} = "." }}'
    lock = parsed(package("site", "0.1.0", source), package("dynamic", None, source), package("alpha"))
    assert lock.versions == {"site": "0.1.0", "dynamic": "local", "alpha": "1.0"}
    assert lock.local == {"site", "dynamic"}


def test_a_package_from_git_shows_its_commit() -> None:
    lock = parsed(package("alpha", "1.0", f'{{ git = "https://git.example/alpha?branch=main#{COMMIT}" }}'))
    assert lock.versions == {"alpha": "1.0 (0123abcde)"}
    assert lock.local == frozenset()


@pytest.mark.parametrize(
    "source", ['{ url = "https://example.org/alpha-1.0.whl" }', '{ path = "../alpha-1.0.whl" }', REGISTRY]
)
def test_other_sources_show_the_version_alone(source: str) -> None:
    assert parsed(package("alpha", "1.0", source)).versions == {"alpha": "1.0"}
    assert parsed(package("alpha", None, source)).versions == {"alpha": "unknown"}


def test_the_digest_is_that_of_the_text(tmp_path: Path) -> None:
    text = HEAD + package("alpha")
    (tmp_path / "uv.lock").write_text(text, encoding="utf-8")
    assert LockFile.read(tmp_path / "uv.lock").sha256 == hashlib.sha256(text.encode()).hexdigest()


def test_a_lock_of_nothing_is_a_lock() -> None:
    assert parsed().versions == EMPTY.versions == {}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "no version"),
        (b"\xff\xfe", "utf-8"),
        (b"version = ", "Invalid value"),
        (b"a = 1", "no version"),
        (b"version = 1\npackage = 5", "no version or no packages"),
        (b"version = 1\npackage = [5]", "has no name"),
        (b"version = 1\n[[package]]\nversion = '1'", "has no name"),
        (b"version = 1\n[[package]]\nname = 5", "has no name"),
        (b"version = 1\n[[package]]\nname = 'alpha'\nversion = 5", "alpha is not a string"),
        (b"version = 1\n[[package]]\nname = 'alpha'\nsource = 5", "alpha is not a table"),
        (b"version = 1\n<<<<<<< HEAD\n", "Invalid"),
        (b"a = " + b"[" * 100_000, "recursion"),
        (b"a = " + b"1" * 5000, "digits"),
    ],
)
def test_what_is_no_lock_is_refused(text: bytes, words: str) -> None:
    with pytest.raises(InvalidLockError, match=words):
        LockFile.parse(text)


def test_a_lock_that_is_not_there_is_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        LockFile.read(tmp_path / "uv.lock")


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(HEAD + package("alpha") + package("beta"), id="the same"),
        pytest.param(HEAD + package("beta") + package("alpha"), id="another order"),
        pytest.param(HEAD.replace("revision = 3", "revision = 1") + package("alpha") + package("beta"), id="revision"),
        pytest.param(HEAD.replace("revision = 3\n", "") + package("alpha") + package("beta"), id="no revision"),
        pytest.param("# made by uv\n" + HEAD + package("alpha") + "\n\n" + package("beta"), id="layout"),
    ],
)
def test_two_locks_are_the_same_whatever_they_look_like(other: str) -> None:
    assert parsed(package("alpha"), package("beta")).same_packages(LockFile.parse(other.encode()))


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(HEAD + package("alpha", "1.1"), id="version"),
        pytest.param(HEAD + package("alpha") + package("beta"), id="one more"),
        pytest.param(HEAD, id="one less"),
        pytest.param(HEAD + package("alpha") + package("alpha", "1.1"), id="one more version"),
        pytest.param(HEAD + package("alpha", "1.0", '{ url = "https://example.org/alpha.whl" }'), id="source"),
        pytest.param(HEAD + package("alpha", extra='wheels = [{ hash = "sha256:00" }]'), id="hash"),
        pytest.param(HEAD + package("alpha", extra='dependencies = [{ name = "beta" }]'), id="dependencies"),
        pytest.param(HEAD.replace(">=3.11", ">=3.12") + package("alpha"), id="requires-python"),
        pytest.param(HEAD.replace("version = 1\n", "version = 2\n") + package("alpha"), id="version of the format"),
        pytest.param(HEAD + "[options]\nprerelease-mode = 'allow'\n" + package("alpha"), id="options"),
    ],
)
def test_two_locks_differ_if_something_else_would_be_installed(other: str) -> None:
    one, two = parsed(package("alpha")), LockFile.parse(other.encode())
    assert not one.same_packages(two)
    assert not two.same_packages(one)


def test_no_lock_is_the_same_as_itself_only() -> None:
    assert EMPTY.same_packages(EMPTY)
    assert not parsed(package("alpha")).same_packages(parsed())
