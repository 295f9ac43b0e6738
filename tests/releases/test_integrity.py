"""A release that is not what was sealed is told from one that is: by a quick look, and by `verify` of every file."""

import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from releaser.errors import NoSuchReleaseError
from releaser.locks.installed import Pin
from releaser.releases import verify as module
from releaser.releases.contents import FILES, hash_of, matches, observe, seal_files
from releaser.releases.integrity import Defect, find_damage, find_rollback_damage
from releaser.releases.release import Release, write_manifest
from releaser.releases.verify import compare_permissions, compare_with_lock, verify
from releaser.site.ownership import name_of
from releaser.site.site import Site
from tests.releases.makers import LOCK, a_manifest, on_paper

SITE = "lib/python3.11/site-packages"
INFO = "alpha-1.0.dist-info"
WHO = name_of(os.getuid()) or os.getuid()
QUOTED = "alpha/a, b.txt"
HASHED = ("alpha/__init__.py", QUOTED, "alpha/data.json", "alpha/bare.pyc")
UNHASHED = (
    "alpha/__pycache__/__init__.cpython-311.pyc", "../../../bin/alpha", "../../../../../outside", "/etc/hostname",
    f"{INFO}/RECORD", f"{INFO}/METADATA",
)  # fmt: skip


def put(path: Path, text: str = "text") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


@pytest.fixture
def release(tmp_path: Path) -> Release:
    """A release with one package, sealed."""
    made = on_paper(tmp_path / "releases", a_manifest())
    for name in ("pyvenv.cfg", "bin/python3", "bin/alpha"):
        put(made.venv / name)
    (made.venv / "bin" / "python").symlink_to("python3")
    packages = made.venv / SITE
    for name in ("site.pth", "_virtualenv.py", "old.egg-info/PKG-INFO", UNHASHED[0], f"{INFO}/METADATA"):
        put(packages / name)
    for name in HASHED:
        put(packages / name, name * 20_000)  # more than is read at once
    lines = [f'"{name}",{hash_of(str(packages / name))},1\n' for name in HASHED]
    put(packages / INFO / "RECORD", "".join([*lines, *(f"{name},,\n" for name in UNHASHED)]))
    made.lock.write_bytes(LOCK)
    manifest = a_manifest(fingerprint=seal_files(str(made.directory)))
    write_manifest(made.directory, manifest)
    return on_paper(tmp_path / "releases", manifest)


@pytest.fixture(autouse=True)
def files_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out of `verify` what needs a real venv and the settings of a site."""
    for name in ("_check_start", "_check_lock", "_check_permissions"):
        monkeypatch.setattr(module, name, lambda *_: ())


def seen(release: Release) -> str:
    """Return what a quick look says."""
    return str(find_damage(release) or "")


def site_of(release: Release) -> Site:
    state_dir = release.directory.parents[1]
    project = SimpleNamespace(state_dir=state_dir, venv=state_dir / "none")
    return cast("Site", SimpleNamespace(project=project, state_dir=state_dir, asks=True))


def found(release: Release) -> list[str]:
    """Return what the comparison of every file finds."""
    looked: list[str] = []

    def track(paths: list[str], name: str) -> Iterator[str]:
        assert name == release.id
        for path in paths:
            looked.append(path)
            yield path

    (verified,) = verify(site_of(release), release.id, track=track)
    assert len(set(looked)) == len(looked) >= verified.files
    return sorted(f"{one.kind} {str(one.path).removeprefix(f'{SITE}/')}" for one in verified.problems)


def test_what_counts_is_what_was_installed(release: Release) -> None:
    counted = {name.removeprefix(f"{SITE}/") for name in observe(str(release.venv))}
    assert counted == {
        "pyvenv.cfg", "bin/python", "bin/python3", "bin/alpha", "site.pth", *HASHED[:3], f"{INFO}/RECORD",
        f"{INFO}/METADATA",
    }  # fmt: skip


def rewrite(path: Path, unseen: bool = False) -> None:
    """Change a file, but not its size; if it is to be `unseen`, not its time, either."""
    status = path.stat()
    path.write_text(path.read_text(encoding="utf-8").swapcase(), encoding="utf-8")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns) if unseen else (1, 1))


def make(path: Path, put_there: Callable[[Path], object]) -> None:
    path.unlink()
    put_there(path)


def relink(path: Path) -> None:
    path.unlink()
    path.symlink_to("alpha")


def link(path: Path) -> None:
    """Put a link to the same contents, which somebody else may change, in the place of a file."""
    path.chmod(0o755)
    path.rename(path.parents[5] / "elsewhere")
    path.symlink_to(path.parents[5] / "elsewhere")


def uninstall(venv: Path) -> None:
    for name in ("alpha", INFO):
        shutil.rmtree(venv / SITE / name)


def lose_record_and_change(venv: Path) -> None:
    (venv / SITE / INFO / "RECORD").unlink()
    rewrite(venv / SITE / "alpha/data.json")


def touch_what_has_no_hash(venv: Path) -> None:
    for name in ("pyvenv.cfg", "bin/alpha"):
        os.utime(venv / name)


MODULE, DATA, SCRIPT, CONFIG = f"{SITE}/alpha/__init__.py", f"{SITE}/alpha/data.json", "bin/alpha", "pyvenv.cfg"
# What is done to the venv, to which file, what a quick look sees of it, and what the comparison of every file calls it.
HARMS: dict[str, tuple[Callable[[Path], object], str, str, str]] = {
    "a rewritten module": (lambda venv: rewrite(venv / MODULE), "alpha/__init__.py", "changed", "changed"),
    "an edit that shows in no time": (lambda venv: rewrite(venv / MODULE, True), "alpha/__init__.py", "", "changed"),
    "a quoted name": (lambda venv: (venv / SITE / QUOTED).unlink(), QUOTED, "missing", "missing"),
    "a .pth file is added": (lambda venv: put(venv / SITE / "evil.pth"), "evil.pth", "added", "unexpected"),
    "a .pth file without a RECORD": (lambda venv: put(venv / SITE / "site.pth", "x"), "site.pth", "changed", "changed"),
    "a module is added": (
        lambda venv: put(venv / SITE / "six.py"),
        "six.py",
        "added",
        "unexpected",
    ),
    "byte code without a source": (lambda venv: put(venv / SITE / "x.pyc"), "x.pyc", "", "unexpected"),
    "a data file is added": (lambda venv: put(venv / SITE / "alpha/x.json"), "alpha/x.json", "", "unexpected"),
    "a program is added": (lambda venv: put(venv / "bin/beta"), "bin/beta", "added", "unexpected"),
    "a program is changed": (lambda venv: put(venv / SCRIPT, "x"), SCRIPT, "changed", "changed"),
    "a program is gone": (lambda venv: (venv / SCRIPT).unlink(), SCRIPT, "missing", "missing"),
    "a program cannot be run": (lambda venv: (venv / SCRIPT).chmod(0o400), SCRIPT, "changed", "permissions"),
    "it may be run": (lambda venv: (venv / CONFIG).chmod(0o755), CONFIG, "changed", "permissions"),
    "others may not read it": (lambda venv: (venv / DATA).chmod(0o600), "alpha/data.json", "changed", "permissions"),
    "a link leads elsewhere": (lambda venv: relink(venv / "bin/python"), "bin/python", "changed", "changed"),
    "a directory in its place": (lambda venv: make(venv / DATA, Path.mkdir), "alpha/data.json", "changed", "changed"),
    "a link in its place": (lambda venv: link(venv / DATA), "alpha/data.json", "changed", "changed"),
    "a pipe in its place": (lambda venv: make(venv / DATA, os.mkfifo), "alpha/data.json", "changed", "changed"),
    "a name outside": (lambda venv: os.link(venv / DATA, venv / "../../outside"), "alpha/data.json", "", "shared"),
}


@pytest.mark.parametrize("name", HARMS)
def test_harm_to_a_file_is_named(release: Release, name: str) -> None:
    harm, path, words, kind = HARMS[name]
    harm(release.venv)
    assert seen(release) == (f"{path} is {words}" if words else "")
    assert found(release) == [f"{kind} {path}"]


HARMLESS: dict[str, Callable[[Path], object]] = {
    "nothing": Path.exists,
    "byte code": lambda venv: put(venv / SITE / UNHASHED[0], "x"),
    "a file in the venv": lambda venv: put(venv / ".lock", "x"),
    "the group may write": lambda venv: (venv / CONFIG).chmod(0o664),
    "outside": lambda venv: put(venv / "../../outside", "x"),
    "a touch": lambda venv: (venv / DATA).touch(),
    "a touch of what has no hash": touch_what_has_no_hash,
    "what was adopted with it": lambda venv: put(venv / SITE / "old.egg-info/PKG-INFO", "other"),
    "two names within": lambda venv: (venv / "lib/again").hardlink_to(venv / SCRIPT),
}


@pytest.mark.parametrize("name", HARMLESS)
def test_what_a_site_does_at_run_time_is_no_harm(release: Release, name: str) -> None:
    HARMLESS[name](release.venv)
    assert (seen(release), found(release)) == ("", [])


@pytest.mark.parametrize(
    ("harm", "words", "problems"),
    [
        (lambda venv: put(venv / SITE / "beta-1.0.dist-info/RECORD", ""), "beta 1.0 added", []),
        (uninstall, "alpha 1.0 removed", []),
        (lose_record_and_change, f"{INFO}/RECORD is missing, alpha/data.json is changed", None),
        (lambda venv: put(venv / SITE / INFO / "RECORD", "x"), f"{INFO}/RECORD is changed", None),
        (lambda venv: (venv / "bin/python3").unlink(), "its interpreter is gone (", ["missing bin/python3"]),
        (shutil.rmtree, "its venv is gone (", []),
        (lambda venv: (venv / "../uv.lock").unlink(), "its uv.lock cannot be read (", []),
        (lambda venv: (venv / "../uv.lock").write_text("x"), "its uv.lock has been changed", []),
    ],
)
def test_harm_to_a_package_or_to_all_is_named(
    release: Release, harm: Callable[[Path], object], words: str, problems: list[str] | None
) -> None:
    harm(release.venv)
    assert seen(release) == words or (words.endswith("(") and seen(release).startswith(words))
    if problems is None:  # without its RECORD, nobody knows of the byte code that has no source
        problems = [f"{'missing' if 'missing' in words else 'changed'} {INFO}/RECORD", "unexpected alpha/bare.pyc"]
        problems = ["changed alpha/data.json"] * ("data" in words) + problems
    assert found(release) == problems


def test_one_that_is_deleted_meanwhile_is_said_to_be(release: Release) -> None:
    def track(paths: list[str], name: str) -> list[str]:
        assert paths
        shutil.rmtree(release.directory)
        return paths

    with pytest.raises(NoSuchReleaseError, match=f"release {release.id} was deleted while it was being verified"):
        verify(site_of(release), release.id, track=track)


# What a quick look names, and how


def test_only_the_first_files_are_named(release: Release) -> None:
    shutil.rmtree(release.venv / SITE / "alpha")
    (release.venv / SCRIPT).unlink()
    assert seen(release).endswith("and 1 more")


def install(venv: Path, info: str, *files: str, text: str = "text") -> None:
    """Install a package."""
    for name in (*files, f"{info}.dist-info/METADATA"):
        put(venv / SITE / name, text)
    names = [*files, f"{info}.dist-info/METADATA", f"{info}.dist-info/RECORD"]
    put(venv / SITE / f"{info}.dist-info/RECORD", "".join(f"{name},,\n" for name in names))


def upgrade(venv: Path) -> None:
    uninstall(venv)
    (venv / SCRIPT).unlink()
    install(venv, "alpha-1.1", "alpha/__init__.py", "alpha/new.py", "../../../bin/alpha", text="other")


def upgrade_and_more(venv: Path) -> None:
    upgrade(venv)
    put(venv / SITE / "site.pth", "changed")
    for name in ("of_alpha", "of_beta"):
        (venv / SITE / f"common/{name}.py").unlink()
    install(venv, "New_x-9", "new.py")
    (venv / SITE / "new.py").unlink()


def install_many(venv: Path) -> None:
    for number in range(10):
        install(venv, f"p{number}-1")


def install_by(venv: Path, info: str, installer: str, at: int) -> None:
    install(venv, info)
    put(venv / SITE / f"{info}.dist-info/INSTALLER", installer)
    os.utime(venv / SITE / f"{info}.dist-info/RECORD", (at, at))


def install_by_several(venv: Path) -> None:
    for number, (installer, at) in enumerate((("pip\n", 60), ("uv", 120), ("\x1b[31m", 180))):
        install_by(venv, f"p{number}-1", installer, at)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (upgrade, "alpha 1.0 → 1.1"),
        (install_by_several, f"p0 1 added, p1 1 added, p2 1 added; by uv as {WHO} on 1970-01-01 at 00:02 UTC"),
        (lambda venv: install_by(venv, "p-1", "pip\n", 60), f"p 1 added; by pip as {WHO} on 1970-01-01 at 00:01 UTC"),
        (upgrade_and_more, "alpha 1.0 → 1.1, new-x 9 added; common/of_beta.py is missing, site.pth is changed"),
        (lambda venv: install(venv, "ALPHA-2"), "alpha 1.0 → 1.0, 2"),
        (install_many, ", ".join(f"p{number} 1 added" for number in range(8)) + " and 2 more"),
    ],
)
def test_whole_packages_are_told_as_that(tmp_path: Path, change: Callable[[Path], object], words: str) -> None:
    made = on_paper(tmp_path, a_manifest())
    for name in ("bin/python", CONFIG, f"{SITE}/site.pth"):
        put(made.venv / name)
    install(made.venv, "alpha-1.0", "alpha/__init__.py", "alpha/old.py", "common/of_alpha.py", "../../../bin/alpha")
    install(made.venv, "beta-2.0", "common/of_beta.py")
    made.lock.write_bytes(LOCK)
    release = on_paper(tmp_path, a_manifest(fingerprint=seal_files(str(made.directory))))
    assert seen(release) == ""
    change(release.venv)
    assert seen(release) == words


def test_no_name_of_a_file_breaks_the_line() -> None:
    name = f"{SITE}/alpha/\n\x1b[31m\udce9.py"
    assert str(Defect(path=name, kind="unexpected", message="m")) == "alpha/??[31m?.py is added"


def test_a_copy_that_keeps_no_times_is_as_sound(release: Release, tmp_path: Path) -> None:
    shutil.copytree(release.directory, tmp_path / "copy" / release.id, copy_function=shutil.copy, symlinks=True)
    copy = on_paper(tmp_path / "copy", release.manifest)
    os.utime(copy.venv / DATA, ns=(1, 1))
    assert seen(copy) == ""
    rewrite(copy.venv / MODULE)
    assert seen(copy) == "alpha/__init__.py is changed"
    copy.venv.joinpath(SCRIPT).chmod(0o700)
    assert "bin/alpha is changed" in seen(copy)


@pytest.mark.parametrize("text", [None, "garbage", "{}", '{"version": 2, "files": 3}', '{"version": 2, "files": {}}'])
def test_without_the_list_of_files_damage_is_seen_but_not_named_and_hashes_still_tell(
    release: Release, text: str | None
) -> None:
    (release.directory / FILES).unlink()
    if text is not None:
        (release.directory / FILES).write_text(text, encoding="utf-8")
    assert seen(release) == ""
    unknown = ["unexpected old.egg-info/PKG-INFO", "unexpected site.pth"]
    assert found(release) == unknown
    rewrite(release.venv / MODULE)
    assert seen(release) == "its files have been changed"
    assert found(release) == ["changed alpha/__init__.py", *unknown]


def test_two_thousand_files_take_no_time(tmp_path: Path) -> None:
    site = tmp_path / "venv" / SITE
    names = [f"package{number // 40}/module{number}.py" for number in range(2_000)]
    for name in names:
        put(site / name)
    put(site / "all-1.dist-info/RECORD", "".join(f"{name},sha256=x,0\n" for name in names))
    began = time.process_time()
    assert len(observe(str(tmp_path / "venv"))) == 2_002
    assert time.process_time() - began < 0.1


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
        (SOUND, {}, {"of-linux": "it is not installed, but the lock says 3"}),
        ({**SOUND, "alpha": "1.1"}, SOUND, {"alpha": "it is 1.1, but the lock says 1.0"}),
        ({**SOUND, "alpha": "x"}, SOUND, {"alpha": "it is x, but the lock says 1.0"}),
        ({"alpha": "1.0"}, SOUND, {"beta": "it is not installed, but the lock says 2.0.0"}),
        ({**SOUND, "gamma": "1"}, SOUND, {"gamma": "1 is installed, but not in the lock"}),
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
    assert one.message == "it is 3, but the lock says 1 or 2"


def test_releases_may_share_a_file_under_one_path_and_read_only(release: Release, tmp_path: Path) -> None:
    other = release.directory.parent / "other" / "venv" / DATA
    other.parent.mkdir(parents=True)
    other.hardlink_to(release.venv / DATA)
    assert found(release) == []
    there = {DATA: (release.venv / DATA).lstat()}
    (defect,) = compare_permissions(there, group=there[DATA].st_gid, others=True)
    assert defect.message == "its mode is 644, and should be 444"
    other.chmod(0o444)
    for names in (2, 1):
        there = {DATA: (release.venv / DATA).lstat()}
        assert there[DATA].st_nlink == names
        assert not list(compare_permissions(there, group=there[DATA].st_gid, others=True))
        other.unlink(missing_ok=True)
    for elsewhere in (other, tmp_path / "elsewhere"):
        elsewhere.hardlink_to(release.venv / DATA)
    assert found(release) == ["shared alpha/data.json"], "a name outside of the releases"


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
    assert said["link"] == f"it belongs to group {group}, not to {group + 1}"


@pytest.mark.parametrize("start", ["#!{}/bin/python3\n", "#!/bin/sh\n'''exec' '{}/bin/python' \"$0\" \"$@\"\n"])
def test_a_moved_site_is_rebuilt_because_its_programs_start_at_the_earlier_path(tmp_path: Path, start: str) -> None:
    made = on_paper(tmp_path / "a b" / "releases", a_manifest())
    for name, text in {"activate": "#!/bin/sh\n", "of-author": "#!/opt/none/venv/bin/python\n"}.items():
        put(made.venv / "bin" / name, text)
    put(made.venv / "bin" / "python")
    put(made.venv / "bin" / "gunicorn", start.format(made.venv))
    made.lock.write_bytes(LOCK)
    write_manifest(made.directory, a_manifest(fingerprint=seal_files(str(made.directory))))
    before = on_paper(tmp_path / "a b" / "releases", a_manifest())
    (tmp_path / "a b").rename(tmp_path / "c")
    moved = on_paper(tmp_path / "c" / "releases", a_manifest())
    assert f"start {before.venv}/bin/python, which does not exist" in seen(moved)
    damage = find_rollback_damage(moved)
    assert damage is not None
    assert damage.remedy.endswith(f"run `ln -s {tmp_path / 'c'} '{tmp_path / 'a b'}'`.")
    assert find_rollback_damage(moved, with_programs=False) is None, "its Python starts"
    (tmp_path / "a b" / "releases").mkdir(parents=True)
    assert (damage := find_rollback_damage(moved)) is not None
    assert not damage.remedy, "another site is there"
    shutil.rmtree(tmp_path / "a b")
    (tmp_path / "a b").symlink_to("c")
    assert not seen(moved), "the earlier path leads to the same files"


def test_an_adopted_venv_has_lost_its_programs_if_all_start_at_an_earlier_path(tmp_path: Path) -> None:
    adopted = on_paper(tmp_path / "releases", a_manifest(origin="adopted"))
    for name in ("python", "alpha"):
        put(adopted.venv / "bin" / name, "" if name == "python" else f"#!{tmp_path}/shop/.venv/bin/python\n")
    adopted.lock.write_bytes(LOCK)
    assert "it was moved" in seen(adopted)
    put(adopted.venv / "bin" / "beta", "#!/usr/bin/python3\n")
    assert not seen(adopted)
