"""Every file, version, group and mode of a release is compared with what was installed and what the lock says."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from releaser.errors import NoSuchReleaseError
from releaser.locks.installed import Pin
from releaser.releases import verify as module
from releaser.releases.contents import FILES, hash_of, matches, seal_files
from releaser.releases.integrity import find_damage
from releaser.releases.release import Release, write_manifest
from releaser.releases.verify import compare_permissions, compare_with_lock, verify
from releaser.site.site import Site
from tests.releases.makers import LOCK, a_manifest, on_paper

SITE = "lib/python3.11/site-packages"
INFO = f"{SITE}/alpha-1.0.dist-info"


def put(path: Path, text: str = "text") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


@pytest.fixture
def release(tmp_path: Path) -> Release:
    """A release with one package, sealed."""
    venv = on_paper(tmp_path / "releases", a_manifest()).venv
    for name in ("pyvenv.cfg", "bin/python", "bin/alpha", f"{SITE}/_virtualenv.py", f"{SITE}/old.egg-info/PKG-INFO"):
        put(venv / name)
    lines = []
    for name in ("alpha/__init__.py", "alpha/other.py", "alpha/bare.pyc"):
        put(venv / SITE / name, name * 20_000)  # more than is read at once
        lines.append(f"{name},{hash_of(str(venv / SITE / name))},1")
    put(venv / SITE / "alpha/__pycache__/__init__.cpython-311.pyc")
    lines += ["alpha/__pycache__/__init__.cpython-311.pyc,,", "../../../bin/alpha,,", "alpha-1.0.dist-info/RECORD,,"]
    put(venv / INFO / "RECORD", "\n".join(lines))
    (venv.parent / "uv.lock").write_bytes(LOCK)
    manifest = a_manifest(fingerprint=seal_files(str(venv.parent)))
    write_manifest(venv.parent, manifest)
    return on_paper(tmp_path / "releases", manifest)


@pytest.fixture(autouse=True)
def files_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out what needs a real venv and the settings of a site."""
    for name in ("_check_start", "_check_lock", "_check_permissions"):
        monkeypatch.setattr(module, name, lambda *_: ())


def site_of(release: Release) -> Site:
    state_dir = release.directory.parents[1]
    project = SimpleNamespace(state_dir=state_dir, venv=state_dir / "none")
    return cast("Site", SimpleNamespace(project=project, state_dir=state_dir, asks=True))


def found(release: Release) -> set[tuple[str, str]]:
    looked: list[str] = []

    def track(paths: list[str], name: str) -> Iterator[str]:
        assert name == release.id
        for path in paths:
            looked.append(path)
            yield path

    (verified,) = verify(site_of(release), release.id, track=track)
    said = [(one.kind, str(one.path).removeprefix(f"{SITE}/")) for one in verified.problems]
    assert len(said) == len(set(said))
    assert len(set(looked)) == len(looked) >= verified.files
    return set(said)


def test_one_that_is_deleted_meanwhile_is_said_to_be(release: Release) -> None:
    def track(paths: list[str], name: str) -> list[str]:
        assert paths
        shutil.rmtree(release.directory)
        return paths

    with pytest.raises(NoSuchReleaseError, match=f"release {release.id} was deleted while it was being verified"):
        verify(site_of(release), release.id, track=track)


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


SCRIPT, MODULE, OTHER = "bin/alpha", f"{SITE}/alpha/__init__.py", f"{SITE}/alpha/other.py"
HARMS: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "an edit that shows in no time": (lambda venv: rewrite(venv / MODULE), "changed", "alpha/__init__.py"),
    "a script": (lambda venv: put(venv / SCRIPT, "x"), "changed", SCRIPT),
    "a RECORD": (
        lambda venv: put(venv / INFO / "RECORD", (venv / INFO / "RECORD").read_text() + "\n\n"),
        "changed",
        "alpha-1.0.dist-info/RECORD",
    ),
    "a file is gone": (lambda venv: (venv / OTHER).unlink(), "missing", "alpha/other.py"),
    "a script is gone": (lambda venv: (venv / SCRIPT).unlink(), "missing", SCRIPT),
    "a directory in its place": (lambda venv: make_directory(venv / OTHER), "changed", "alpha/other.py"),
    "a link in its place": (lambda venv: link(venv / OTHER), "changed", "alpha/other.py"),
    "a pipe in its place": (lambda venv: pipe(venv / OTHER), "changed", "alpha/other.py"),
    "a module is added": (lambda venv: put(venv / SITE / "six.py"), "unexpected", "six.py"),
    "byte code without a source": (lambda venv: put(venv / SITE / "x.pyc"), "unexpected", "x.pyc"),
    "a program is added": (lambda venv: put(venv / "bin/x"), "unexpected", "bin/x"),
    "a name outside": (lambda venv: share(venv / OTHER), "shared", "alpha/other.py"),
    "others may not read it": (lambda venv: (venv / OTHER).chmod(0o600), "permissions", "alpha/other.py"),
    "it may be run": (lambda venv: (venv / "pyvenv.cfg").chmod(0o755), "permissions", "pyvenv.cfg"),
}


@pytest.mark.parametrize("name", HARMS)
def test_harm_is_named(release: Release, name: str) -> None:
    harm, kind, path = HARMS[name]
    harm(release.venv)
    assert found(release) == {(kind, path)}


HARMLESS: dict[str, Callable[[Path], object]] = {
    "nothing": Path.exists,
    "byte code": lambda venv: put(venv / SITE / "alpha/__pycache__/other.cpython-311.pyc"),
    "a touch": lambda venv: (venv / OTHER).touch(),
    "a touch of what has no hash": touch_what_has_no_hash,
    "what was adopted with it": lambda venv: put(venv / SITE / "old.egg-info/PKG-INFO", "other"),
    "two names within": lambda venv: (venv / "lib/again").hardlink_to(venv / SCRIPT),
}


@pytest.mark.parametrize("name", HARMLESS)
def test_what_is_no_harm_is_not_named(release: Release, name: str) -> None:
    HARMLESS[name](release.venv)
    assert found(release) == set()
    assert find_damage(release) is None


def test_another_version_of_a_package_is_left_to_the_comparison_with_the_lock(release: Release) -> None:
    (release.venv / INFO).rename(release.venv / SITE / "alpha-1.1.dist-info")
    assert found(release) == set()


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


# Versions, group and mode

LOCKED = ("alpha", "beta", "of-linux", "site")
PINS = (Pin("alpha", "1.0"), Pin("beta", "2.0.0"), Pin("of-linux", "3"))
SOUND = {"alpha": "1.0", "beta": "2", "site": "0"}


@pytest.mark.parametrize(
    ("found", "sealed", "expected"),
    [
        (SOUND, SOUND, {}),
        (SOUND, {}, {"of-linux": "it is not installed, and the lock says 3"}),
        ({**SOUND, "alpha": "1.1"}, SOUND, {"alpha": "it is 1.1, and the lock says 1.0"}),
        ({**SOUND, "alpha": "x"}, SOUND, {"alpha": "it is x, and the lock says 1.0"}),
        ({"alpha": "1.0"}, SOUND, {"beta": "it is not installed, and the lock says 2.0.0"}),
        ({**SOUND, "gamma": "1"}, SOUND, {"gamma": "1 is installed, and it is not in the lock"}),
        ({**SOUND, "pip": "1"}, {**SOUND, "pip": "1"}, {}),
    ],
    ids=[
        "what a marker keeps out is not missed", "unless nobody knows what was there", "another", "no version",
        "one removed", "one added", "what was adopted with it",
    ],
)  # fmt: skip
def test_versions_are_compared(found: dict[str, str], sealed: dict[str, str], expected: dict[str, str]) -> None:
    said = compare_with_lock(PINS, found, sealed, locked=LOCKED)
    assert {one.package: one.message for one in said} == expected


def test_one_of_several_locked_versions_will_do() -> None:
    pins = (Pin("Alpha_x", "1"), Pin("alpha-x", "2"))
    assert list(compare_with_lock(pins, {"alpha-x": "2"}, {}, locked=["Alpha_x"])) == []
    (one,) = compare_with_lock(pins, {"alpha-x": "3"}, {}, locked=["Alpha_x"])
    assert one.message == "it is 3, and the lock says 1 or 2"


def test_group_and_mode_are_compared(tmp_path: Path) -> None:
    files = {"right": 0o664, "closed": 0o600, "program": 0o755, "open": 0o666}
    for name, mode in files.items():
        (tmp_path / name).touch()
        (tmp_path / name).chmod(mode)
    (tmp_path / "link").symlink_to("right")
    there = {path.name: path.lstat() for path in tmp_path.iterdir()}
    group = os.lstat(tmp_path / "right").st_gid
    said = {one.path: one.message for one in compare_permissions(there, group=group, others=True, writable=True)}
    assert said == {
        "closed": "its mode is 600, and should be 664",
        "open": "its mode is 666, and should be 664",
        "program": "its mode is 755, and should be 775",
    }
    said = {one.path: one.message for one in compare_permissions(there, group=group + 1, others=True)}
    assert said["link"] == f"it belongs to group {group}, and not to {group + 1}"
