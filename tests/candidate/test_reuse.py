"""Which files a candidate takes from the live release, and which of them become one file at the seal."""

import errno
import os
import py_compile
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from releaser.candidate.reuse import RECORD as REUSE
from releaser.candidate.reuse import (
    Package,
    Reusable,
    Sharing,
    Taking,
    byte_code_of,
    find_changed_byte_code,
    hash_byte_code,
    make_independent,
)
from releaser.capabilities import gather
from releaser.core.reuse import Taken
from releaser.releases.contents import hash_of, read_each_record, read_records, seal_files
from releaser.releases.integrity import read_sealed
from releaser.releases.release import Release
from releaser.releases.venv import Interpreter
from releaser.system.files import write_state
from tests.releases.makers import a_manifest, on_paper

TAG = f"cpython-{sys.version_info[0]}{sys.version_info[1]}"
VERSION = f"{sys.version_info[0]}.{sys.version_info[1]}.0"
SITE = f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
INFO = "alpha-1.0.dist-info"
MODULE, DATA, SCRIPT = f"{SITE}/alpha/__init__.py", f"{SITE}/alpha/data.txt", "bin/alpha"
CODE = byte_code_of(MODULE, TAG)
RECORD = f"{SITE}/{INFO}/RECORD"
#: A module that names the file in the code of a nested function.
TEXT = "def where():\n    return (lambda: 0).__code__.co_filename\nWHERE = where()\n"
FAILING = """\
import traceback
def fail():
    1 / 0
try:
    fail()
except Exception:
    traceback.print_exc()
"""


def put(path: Path, text: str = "text\n") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def fill(venv: Path, *, data: str = "data\n", text: str = TEXT) -> None:
    """Install a package into a venv as uv does, with a script and byte code."""
    put(venv / MODULE, text)
    put(venv / DATA, data)
    put(venv / SITE / INFO / "METADATA", "Name: alpha\nVersion: 1.0\n")
    put(venv / SCRIPT, f"#!{venv}/bin/python\n")
    (venv / SCRIPT).chmod(0o755)
    names = [MODULE, DATA, f"{SITE}/{INFO}/METADATA", SCRIPT]
    rows = [f"{os.path.relpath(name, SITE)},{hash_of(str(venv / name))},1\n" for name in names]
    put(venv / RECORD, "".join([*rows, f"{INFO}/RECORD,,\n"]))
    put(venv / "pyvenv.cfg")
    py_compile.compile(str(venv / MODULE), str(venv / CODE), doraise=True)


@pytest.fixture
def live(tmp_path: Path) -> Release:
    """A sealed release with one package."""
    manifest = a_manifest()
    venv = tmp_path / "releases" / manifest.id / "venv"
    fill(venv)
    executable = os.path.realpath(sys.executable)
    interpreter = Interpreter(
        executable=executable, version=VERSION, implementation="cpython", abi="", build="", seen={}
    )
    manifest = a_manifest(fingerprint=seal_files(str(venv.parent)), interpreter=interpreter)
    return on_paper(tmp_path / "releases", manifest)


def take(live: Release, venv: Path, *, clones: bool = False) -> Taking:
    """Take the package of a release into a venv, as it was sealed."""
    sealed, codes = read_sealed(live), dict(hash_byte_code(str(live.venv), rows_of(live.venv), {}))
    return take_after(live, venv, sealed, codes, clones=clones)


def take_after(live: Release, venv: Path, sealed: Any, codes: dict[str, str], *, clones: bool = False) -> Taking:
    taking = Taking(
        live=live, venv=venv, sealed=sealed, recorded=read_records(str(live.venv)), byte_code=codes, clones=clones
    )
    taking.take(Package(info=INFO, files=sealed.files[INFO]))
    return taking


def files_of(venv: Path) -> set[str]:
    return {str(file.relative_to(venv)) for file in venv.rglob("*") if not file.is_dir()}


def test_an_unchanged_package_is_copied_with_its_byte_code_and_its_script_starts_the_new_venv(
    live: Release, tmp_path: Path
) -> None:
    venv = tmp_path / "new"
    taking = take(live, venv)
    assert files_of(venv) == files_of(live.venv) - {"pyvenv.cfg"}
    assert (venv / SCRIPT).read_text(encoding="utf-8") == f"#!{venv}/bin/python\n"
    assert stat.S_IMODE((venv / SCRIPT).stat().st_mode) == 0o755
    assert read_records(str(venv))[SCRIPT] == hash_of(str(venv / SCRIPT))
    assert taking.looks.keys() == {MODULE, CODE, DATA, f"{SITE}/{INFO}/METADATA"}
    assert taking.compiled == {MODULE}
    for path in taking.looks:
        assert (venv / path).read_bytes() == (live.venv / path).read_bytes()
        assert (venv / path).stat().st_mtime_ns == (live.venv / path).stat().st_mtime_ns
        assert (venv / path).stat().st_nlink == 1  # code that writes to the candidate does not reach the live release


def rewrite(path: str, text: str | bytes) -> Callable[[Path], None]:
    """Return what changes the contents of a file, with the same size and mtime, as a rotten disk does."""

    def change(venv: Path) -> None:
        file = venv / path
        seen, data = file.stat(), text if isinstance(text, bytes) else text.encode()
        file.write_bytes(data.ljust(seen.st_size, b"#")[: seen.st_size])
        os.utime(file, ns=(seen.st_atime_ns, seen.st_mtime_ns))

    return change


def replaced(path: str, by: Callable[[Path], object]) -> Callable[[Path], None]:
    def change(venv: Path) -> None:
        (venv / path).unlink()
        by(venv / path)

    return change


DOUBTS: dict[str, Callable[[Path], object]] = {
    "other contents": rewrite(MODULE, "import evil"),
    "other contents of data": rewrite(DATA, "evil"),
    "another mtime": lambda venv: os.utime(venv / DATA, (1, 1)),
    "another mode": lambda venv: (venv / DATA).chmod(0o755),
    "longer": lambda venv: (venv / DATA).write_text("longer than before"),
    "gone": lambda venv: (venv / DATA).unlink(),
    "a symlink": replaced(DATA, lambda file: file.symlink_to("/etc/hostname")),
    "a pipe": replaced(DATA, os.mkfifo),
    "a directory": replaced(DATA, Path.mkdir),
    "another RECORD": rewrite(RECORD, "alpha/__init__.py,sha256=abc,1\n"),
    "a script that was edited": rewrite(SCRIPT, "#!/bin/false\n"),
}


@pytest.mark.parametrize("doubt", DOUBTS)
def test_a_package_with_one_doubtful_file_is_left_to_uv_wholly(live: Release, tmp_path: Path, doubt: str) -> None:
    sealed, codes = read_sealed(live), dict(hash_byte_code(str(live.venv), rows_of(live.venv), {}))
    DOUBTS[doubt](live.venv)
    venv = tmp_path / "new"
    taking = take_after(live, venv, sealed, codes)
    assert list(venv.rglob("*.dist-info")) == [], "uv takes an empty one for an installed package"
    assert files_of(venv) == set()
    assert not taking.looks


def shifted(venv: Path) -> None:
    """Compile another source, so that the byte code does not fit."""
    put(venv / "other.py", "import evil")
    py_compile.compile(str(venv / "other.py"), str(venv / CODE), doraise=True)
    (venv / "other.py").unlink()


@pytest.mark.parametrize(
    "change", [shifted, lambda venv: (venv / CODE).unlink(), lambda venv: (venv / CODE).write_bytes(b"evil")]
)
def test_byte_code_that_differs_is_compiled_again(
    live: Release, tmp_path: Path, change: Callable[[Path], object]
) -> None:
    sealed, codes = read_sealed(live), dict(hash_byte_code(str(live.venv), rows_of(live.venv), {}))
    change(live.venv)
    taking = take_after(live, tmp_path / "new", sealed, codes)
    assert (MODULE in taking.looks, CODE in taking.looks) == (True, False)
    assert not taking.compiled
    assert not (tmp_path / "new" / CODE).exists()


def test_byte_code_that_did_not_fit_its_source_at_the_seal_is_not_taken(live: Release, tmp_path: Path) -> None:
    shifted(live.venv)
    taking = take(live, tmp_path / "new")
    assert (MODULE in taking.looks, CODE in taking.looks) == (True, False)


def test_a_script_that_still_names_the_live_release_is_left_to_uv(live: Release, tmp_path: Path) -> None:
    put(live.venv / SCRIPT, f"#!/bin/sh\nexec {live.directory}/other\n")
    (live.venv / SCRIPT).chmod(0o755)
    fill_record(live.venv)
    seal_files(str(live.directory))
    manifest = a_manifest(fingerprint=seal_files(str(live.directory)), interpreter=vars(live.manifest)["interpreter"])
    again = on_paper(tmp_path / "releases", manifest)
    taking = take(again, tmp_path / "new")
    assert list((tmp_path / "new").iterdir()) == []
    assert not taking.looks


def rows_of(venv: Path) -> list[tuple[str, str, str]]:
    return [*read_each_record(str(venv))]


def fill_record(venv: Path) -> None:
    names = [MODULE, DATA, f"{SITE}/{INFO}/METADATA", SCRIPT]
    rows = [f"{os.path.relpath(name, SITE)},{hash_of(str(venv / name))},1\n" for name in names]
    put(venv / RECORD, "".join([*rows, f"{INFO}/RECORD,,\n"]))


# At the seal


def share(live: Release, venv: Path, taken: Taken | None = None, *, links: bool = True) -> dict[str, str]:
    reusable = Reusable(byte_code=dict(hash_byte_code(str(live.venv), rows_of(live.venv), {})))
    return Sharing(
        live=live, venv=venv, taken=taken or Taken(), reusable=reusable, links=links, rows=rows_of(venv)
    ).share()


def shared(live: Release, venv: Path) -> set[str]:
    """Return the files that both have in one inode."""
    return {path for path in files_of(venv) if (venv / path).stat().st_ino in inodes(live.venv)}


def inodes(venv: Path) -> set[int]:
    return {(venv / path).stat().st_ino for path in files_of(venv)}


def test_equal_files_of_a_changed_package_become_one_with_their_byte_code(live: Release, tmp_path: Path) -> None:
    venv = tmp_path / "new"
    fill(venv, data="new data\n")
    os.utime(venv / MODULE, (1, 1))  # as uv unpacked the new version at another time
    py_compile.compile(str(venv / MODULE), str(venv / CODE), doraise=True)
    found = share(live, venv)
    assert shared(live, venv) == {MODULE, CODE, f"{SITE}/{INFO}/METADATA"}
    assert found == {CODE: hash_of(str(live.venv / CODE))}
    for path in (MODULE, CODE):
        assert stat.S_IMODE((live.venv / path).stat().st_mode) & 0o222 == 0
    assert (venv / DATA).stat().st_mode & 0o200
    ran = subprocess.run(
        [sys.executable, "-v", "-I", "-c", f"import sys; sys.path[:0] = [{str(venv / SITE)!r}]; import alpha"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert f"matches {venv / MODULE}" in ran.stderr  # the byte code is used


def test_a_copy_with_shared_blocks_keeps_the_mode_that_its_release_has(
    live: Release, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    venv = tmp_path / "new"
    fill(venv)
    (live.venv / DATA).chmod(0o444)
    (venv / DATA).chmod(0o664)
    cloned = list[int]()

    def clone(target: int, _: int, source: int) -> None:
        cloned.append(os.write(target, os.pread(source, 1 << 20, 0)))

    monkeypatch.setattr("releaser.candidate.reuse.fcntl.ioctl", clone)
    share(live, venv, links=False)
    assert cloned
    assert stat.S_IMODE((venv / DATA).stat().st_mode) == 0o664


def test_a_source_without_its_byte_code_stays_a_copy(live: Release, tmp_path: Path) -> None:
    venv = tmp_path / "new"
    fill(venv)
    rewrite(CODE, b"\0" * 16)(live.venv)
    sharing = Sharing(
        live=live,
        venv=venv,
        rows=rows_of(venv),
        taken=Taken(),
        links=True,
        reusable=Reusable(byte_code={CODE: hash_of(str(venv / CODE))}),
    )
    sharing.share()
    assert shared(live, venv) == {DATA, f"{SITE}/{INFO}/METADATA"}


CHANGES: dict[str, Callable[[Path], object]] = {
    "other contents": rewrite(DATA, "evil"),
    "another mode": lambda venv: (venv / DATA).chmod(0o755),
    "gone": lambda venv: (venv / DATA).unlink(),
    "a symlink": replaced(DATA, lambda file: file.symlink_to("/etc/hostname")),
    "a hard link to a file of uv's cache": lambda venv: (venv.parent / "cached").hardlink_to(venv / DATA),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_changed_during_the_tests_is_not_shared(live: Release, tmp_path: Path, change: str) -> None:
    venv = tmp_path / "new"
    taking = take(live, venv)
    before = (venv / DATA).read_bytes()
    CHANGES[change](live.venv)
    share(live, venv, Taken(looks=taking.looks, byte_code=taking.hashes))
    assert shared(live, venv) == {MODULE, CODE, f"{SITE}/{INFO}/METADATA"}
    assert (venv / DATA).read_bytes() == before


@pytest.mark.parametrize("takes", [True, False])
def test_a_file_that_another_package_replaced_stays_as_it_was_tested(
    live: Release, tmp_path: Path, *, takes: bool
) -> None:
    venv = tmp_path / "new"
    if takes:
        taking = take(live, venv)
    else:
        fill(venv)
        taking = Taking(live=live, venv=venv, sealed=read_sealed(live), recorded={}, byte_code={}, clones=False)
    put(venv / MODULE, "OTHER = 1\n")
    share(live, venv, Taken(looks=taking.looks))
    assert (venv / MODULE).read_text(encoding="utf-8") == "OTHER = 1\n"
    assert MODULE not in shared(live, venv)


def test_a_file_that_a_person_replaces_at_the_seal_is_not_shared(
    live: Release, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    venv, link = tmp_path / "new", os.link
    taking = take(live, venv)

    def edit_before(old: str, new: str, **words: bool) -> None:
        if old.endswith("data.txt"):
            put(live.venv / "edited", "edited\n")
            (live.venv / "edited").replace(old)
        link(old, new, **words)

    monkeypatch.setattr("releaser.candidate.reuse.os.link", edit_before)
    share(live, venv, Taken(looks=taking.looks))
    assert (venv / DATA).read_text(encoding="utf-8") == "data\n"
    assert (live.venv / DATA).stat().st_mode & stat.S_IWUSR


# Without hard links, as sshfs; and btrfs clones nothing between files with checksums and without (`chattr +C`).
@pytest.mark.parametrize(
    ("call", "number"),
    [
        ("os.link", "EMLINK"),
        ("os.link", "EPERM"),
        ("os.link", "EXDEV"),
        ("os.link", "ENOSYS"),
        ("fcntl.ioctl", "EINVAL"),
    ],
)
def test_a_file_that_cannot_be_linked_stays_a_copy(
    live: Release, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: str
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(getattr(errno, number), "no")

    venv = tmp_path / "new"
    fill(venv)
    before = files_of(venv)
    monkeypatch.setattr(f"releaser.candidate.reuse.{call}", refuse)
    share(live, venv, links=call == "os.link")
    assert shared(live, venv) == set()
    assert files_of(venv) == before


def test_a_venv_that_stays_without_releaser_shares_nothing(live: Release, tmp_path: Path) -> None:
    venv = tmp_path / "new"
    taking = take(live, venv)
    share(live, venv, Taken(looks=taking.looks))
    assert shared(live, venv)
    make_independent(venv)
    assert shared(live, venv) == set()
    assert all((venv / path).stat().st_mode & 0o200 for path in files_of(venv))
    assert (venv / MODULE).stat().st_mtime_ns == (live.venv / MODULE).stat().st_mtime_ns


def test_an_adopted_venv_may_have_read_only_files_of_another_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "foreign.py")
    put(tmp_path / "own.py")
    change = os.chmod

    def refuse(path: str, mode: int) -> None:
        if "foreign" in path:
            raise PermissionError(errno.EPERM, "no", path)
        change(path, mode)

    for file in tmp_path.iterdir():
        file.chmod(0o444)
    monkeypatch.setattr("releaser.candidate.reuse.os.chmod", refuse)
    make_independent(tmp_path)
    assert (tmp_path / "own.py").stat().st_mode & stat.S_IWUSR


# Byte code that was compiled at another path


def pythons() -> dict[str, str]:
    """Find an interpreter of each version that a site may run on, from 3.8."""
    minors = [f"3.{number}" for number in range(8, 14)]
    places = Path.home().glob(".pyenv/versions/3.*/bin/python")
    of_pyenv = {place.parts[-3].rpartition(".")[0]: str(place) for place in places}
    found = {minor: of_pyenv.get(minor) or shutil.which(f"python{minor}") for minor in minors}
    return {minor: python for minor, python in found.items() if python}


@pytest.mark.parametrize("minor", pythons())
def test_tracebacks_show_the_source_of_their_own_release(tmp_path: Path, minor: str) -> None:
    """Also by `-m`, after the earlier release is gone, and in a nested function."""
    python = pythons()[minor]
    first, second = tmp_path / "1" / "lib", tmp_path / "2" / "lib"
    put(first / "alpha" / "__init__.py", TEXT)
    put(first / "alpha" / "__main__.py", FAILING)
    subprocess.run([python, "-m", "compileall", "-q", first], check=True)
    shutil.copytree(first, second)
    shutil.rmtree(first)
    words = [python, "-v", "-c", "import alpha; print(alpha.WHERE)"]
    ran = subprocess.run(words, cwd=second, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == str(second / "alpha" / "__init__.py")
    assert f"matches {second / 'alpha' / '__init__.py'}" in ran.stderr
    ran = subprocess.run([python, "-m", "alpha"], cwd=second, capture_output=True, text=True, check=True)
    assert f'File "{second / "alpha" / "__main__.py"}", line 3, in fail\n    1 / 0' in ran.stderr


def test_verify_finds_byte_code_that_was_changed_in_place(tmp_path: Path) -> None:
    directory = tmp_path / a_manifest().id
    code, release = directory / "venv" / CODE, on_paper(tmp_path, a_manifest())
    code.parent.mkdir(parents=True)
    code.write_bytes(b"sealed")
    write_state(directory / REUSE, Reusable(byte_code={CODE: hash_of(str(code)), f"{CODE}.gone": "sha256=x"}))
    (tmp_path / "other.pyc").hardlink_to(code)
    assert find_changed_byte_code in gather("verifiers")
    assert list(find_changed_byte_code(release)) == []
    code.write_bytes(b"edited")
    assert [defect.path for defect in find_changed_byte_code(release)] == [CODE]
    (tmp_path / "other.pyc").unlink()
    assert list(find_changed_byte_code(release)) == [], "Python or a person compiled it again"
