"""Every file of a release is compared with what was installed; what only looks different is not different."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from releaser.releases.contents import Contents
from releaser.releases.records import hash_of, matches
from releaser.releases.release import Release, write_manifest
from releaser.releases.seal import FILES, seal_files
from releaser.releases.soundness import damage
from tests.releases.makers import LOCK, a_manifest, on_paper

if TYPE_CHECKING:
    from collections.abc import Callable

SITE = "lib/python3.11/site-packages"
INFO = f"{SITE}/alpha-1.0.dist-info"


def put(path: Path, text: str = "text") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


@pytest.fixture
def release(tmp_path: Path) -> Release:
    """A release with one package, sealed."""
    venv = on_paper(tmp_path, a_manifest()).venv
    for name in ("pyvenv.cfg", "bin/python", "bin/alpha", f"{SITE}/_virtualenv.py", f"{SITE}/old.egg-info/PKG-INFO"):
        put(venv / name)
    lines = []
    for name in ("alpha/__init__.py", "alpha/other.py", "alpha/bare.pyc"):
        put(venv / SITE / name, name * 100_000)  # more than is read at once
        lines.append(f"{name},{hash_of(str(venv / SITE / name))},1")
    put(venv / SITE / "alpha/__pycache__/__init__.cpython-311.pyc")
    lines += ["alpha/__pycache__/__init__.cpython-311.pyc,,", "../../../bin/alpha,,", "alpha-1.0.dist-info/RECORD,,"]
    put(venv / INFO / "RECORD", "\n".join(lines))
    (venv.parent / "uv.lock").write_bytes(LOCK)
    manifest = a_manifest(fingerprint=seal_files(venv.parent))
    write_manifest(venv.parent, manifest)
    return on_paper(tmp_path, manifest)


def found(release: Release) -> set[tuple[str, str]]:
    read: list[None] = []
    contents = Contents(release)
    said = [(one.kind, str(one.path).removeprefix(f"{SITE}/")) for one in contents.findings(lambda: read.append(None))]
    assert len(said) == len(set(said))
    assert len(read) == contents.to_read
    return set(said)


def test_all_is_well_once_it_is_sealed(release: Release) -> None:
    assert found(release) == set()


def rewrite(path: Path) -> None:
    """Change a file, but neither its size nor its time."""
    status = path.stat()
    path.write_text(path.read_text(encoding="utf-8").swapcase(), encoding="utf-8")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def share(path: Path) -> None:
    os.link(path, path.parents[5] / "outside")


def make_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def link(path: Path) -> None:
    """Put a link to the same contents, which somebody else may change, in the place of a file."""
    path.chmod(0o755)
    path.rename(path.parents[5] / "elsewhere")
    path.symlink_to(path.parents[5] / "elsewhere")


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def touch_what_has_no_hash(venv: Path) -> None:
    for name in ("pyvenv.cfg", "bin/alpha"):
        os.utime(venv / name)


HARMS: dict[str, tuple[Callable[[Path], object], set[tuple[str, str]]]] = {
    "an edit that shows in no time": (
        lambda venv: rewrite(venv / SITE / "alpha/__init__.py"), {("changed", "alpha/__init__.py")}
    ),
    "a script": (lambda venv: put(venv / "bin/alpha", "x"), {("changed", "bin/alpha")}),
    "a RECORD": (lambda venv: put(venv / INFO / "RECORD", (venv / INFO / "RECORD").read_text() + "\n\n"),
        {("changed", "alpha-1.0.dist-info/RECORD")}),
    "a file is gone": (lambda venv: (venv / SITE / "alpha/other.py").unlink(), {("missing", "alpha/other.py")}),
    "a script is gone": (lambda venv: (venv / "bin/alpha").unlink(), {("missing", "bin/alpha")}),
    "a directory in its place": (
        lambda venv: make_directory(venv / SITE / "alpha/other.py"),
        {("missing", "alpha/other.py")},
    ),
    "a link in its place": (lambda venv: link(venv / SITE / "alpha/other.py"), {("changed", "alpha/other.py")}),
    "a pipe in its place": (lambda venv: pipe(venv / SITE / "alpha/other.py"), {("changed", "alpha/other.py")}),
    "a module is added": (lambda venv: put(venv / SITE / "six.py"), {("unexpected", "six.py")}),
    "byte code without a source": (lambda venv: put(venv / SITE / "x.pyc"), {("unexpected", "x.pyc")}),
    "a program is added": (lambda venv: put(venv / "bin/x"), {("unexpected", "bin/x")}),
    "a name outside": (lambda venv: share(venv / SITE / "alpha/other.py"), {("shared", "alpha/other.py")}),
    "others may not read it": (
        lambda venv: (venv / SITE / "alpha/other.py").chmod(0o600), {("permissions", "alpha/other.py")}
    ),
    "it may be run": (lambda venv: (venv / "pyvenv.cfg").chmod(0o755), {("permissions", "pyvenv.cfg")}),
    "a package is replaced": (
        lambda venv: (venv / INFO).rename(venv / SITE / "alpha-1.1.dist-info"), set()  # which the lock tells
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HARMS)
def test_harm_is_named(release: Release, name: str) -> None:
    harm, expected = HARMS[name]
    harm(release.venv)
    assert found(release) == expected


HARMLESS: dict[str, Callable[[Path], object]] = {
    "byte code": lambda venv: put(venv / SITE / "alpha/__pycache__/other.cpython-311.pyc"),
    "a touch": lambda venv: (venv / SITE / "alpha/other.py").touch(),
    "a touch of what has no hash": touch_what_has_no_hash,
    "what was adopted with it": lambda venv: put(venv / SITE / "old.egg-info/PKG-INFO", "other"),
    "two names within": lambda venv: (venv / "lib/again").hardlink_to(venv / "bin/alpha"),
}


@pytest.mark.parametrize("name", HARMLESS)
def test_what_is_no_harm_is_not_named(release: Release, name: str) -> None:
    HARMLESS[name](release.venv)
    assert found(release) == set()
    assert damage(release) is None


def test_a_copy_that_keeps_no_times_is_as_sound(release: Release, tmp_path: Path) -> None:
    shutil.copytree(release.directory, tmp_path / "copy" / release.id, copy_function=shutil.copy)
    copy = on_paper(tmp_path / "copy", release.manifest)
    assert damage(copy) is None
    rewrite(copy.venv / SITE / "alpha/__init__.py")
    assert str(damage(copy)) == "alpha/__init__.py is changed"
    copy.venv.joinpath("bin/alpha").chmod(0o700)
    assert "bin/alpha is changed" in str(damage(copy))


def test_without_what_was_noted_the_hashes_still_tell(release: Release) -> None:
    (release.directory / FILES).unlink()
    assert found(release) == {("unexpected", "old.egg-info/PKG-INFO")}
    rewrite(release.venv / SITE / "alpha/__init__.py")
    assert ("changed", "alpha/__init__.py") in found(release)


@pytest.mark.parametrize("algorithm", ["sha256", "sha384", "sha512"])
def test_hashes_are_those_of_the_specification(tmp_path: Path, algorithm: str) -> None:
    put(tmp_path / "file", "alpha\n")
    hashed = hash_of(str(tmp_path / "file"), algorithm)
    assert matches(str(tmp_path / "file"), f"{hashed}=")
    if algorithm == "sha256":
        assert hashed == "sha256=tqmNnOmi2RSSiPo99C03fD5Cc3r9za9xTjPAoQC1EGA"
    put(tmp_path / "file", "beta\n")
    assert not matches(str(tmp_path / "file"), hashed)
