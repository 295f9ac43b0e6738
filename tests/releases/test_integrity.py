"""A release that is not what was sealed is told from one that is, and what differs is named."""

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from releaser.releases.contents import FILES, hash_of, observe, seal_files
from releaser.releases.integrity import Defect, find_damage
from releaser.releases.release import Release, write_manifest
from tests.releases.makers import LOCK, a_manifest, on_paper

SITE = "lib/python3.11/site-packages"
RECORD = """\
alpha/__init__.py,sha256=x,0
"alpha/a, b.txt",sha256=x,0
alpha/data.json,sha256=x,0
alpha/__pycache__/__init__.cpython-311.pyc,,
../../../bin/alpha,sha256=x,0
../../../../../outside,,
/etc/hostname,,
alpha-1.0.dist-info/RECORD,,
alpha-1.0.dist-info/METADATA,,
"""


def put(path: Path, text: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


@pytest.fixture
def release(tmp_path: Path) -> Release:
    """A release with one package, sealed."""
    made = on_paper(tmp_path, a_manifest())
    venv = made.venv
    for name in ("pyvenv.cfg", "bin/python3", "bin/alpha", f"{SITE}/site.pth"):
        put(venv / name)
    (venv / "bin" / "python").symlink_to("python3")
    for name in ("__init__.py", "a, b.txt", "data.json"):
        put(venv / SITE / "alpha" / name, "text")
    put(venv / SITE / "alpha-1.0.dist-info" / "RECORD", RECORD)
    put(venv / SITE / "alpha-1.0.dist-info" / "METADATA")
    made.lock.write_bytes(LOCK)
    manifest = a_manifest(fingerprint=seal_files(str(made.directory)))
    write_manifest(made.directory, manifest)
    return on_paper(tmp_path, manifest)


def found(release: Release) -> str:
    return str(find_damage(release) or "")


def test_what_counts_is_what_was_installed(release: Release) -> None:
    assert find_damage(release) is None
    counted = {name.removeprefix(f"{SITE}/") for name in observe(str(release.venv))}
    assert counted == {
        "pyvenv.cfg", "bin/python", "bin/python3", "bin/alpha", "site.pth", "alpha/__init__.py", "alpha/a, b.txt",
        "alpha/data.json", "alpha-1.0.dist-info/RECORD", "alpha-1.0.dist-info/METADATA",
    }  # fmt: skip


def rewrite(path: Path) -> None:
    """Change a file, but not its size."""
    text = path.read_text(encoding="utf-8")
    path.write_text(text.swapcase(), encoding="utf-8")
    os.utime(path, ns=(1, 1))


def relink(path: Path) -> None:
    path.unlink()
    path.symlink_to("alpha")


def make_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def uninstall(venv: Path) -> None:
    for name in ("alpha", "alpha-1.0.dist-info"):
        shutil.rmtree(venv / SITE / name)


def lose_record_and_change(venv: Path) -> None:
    (venv / SITE / "alpha-1.0.dist-info/RECORD").unlink()
    rewrite(venv / SITE / "alpha/data.json")


HARMS: dict[str, tuple[Callable[[Path], object], str]] = {
    "a module is rewritten": (lambda venv: rewrite(venv / SITE / "alpha/__init__.py"), "alpha/__init__.py is changed"),
    "a quoted name": (lambda venv: (venv / SITE / "alpha/a, b.txt").unlink(), "alpha/a, b.txt is missing"),
    "a .pth file is added": (lambda venv: put(venv / SITE / "evil.pth"), "evil.pth is added"),
    "a .pth file without a RECORD": (lambda venv: put(venv / SITE / "site.pth", "x"), "site.pth is changed"),
    "a module is added": (lambda venv: put(venv / SITE / "sitecustomize.py"), "sitecustomize.py is added"),
    "a package is added": (lambda venv: put(venv / SITE / "beta-1.0.dist-info/RECORD", ""), "beta 1.0 added"),
    "a package is removed": (uninstall, "alpha 1.0 removed"),
    "a program is added": (lambda venv: put(venv / "bin/beta"), "bin/beta is added"),
    "a program cannot be run": (lambda venv: (venv / "bin/alpha").chmod(0o400), "bin/alpha is changed"),
    "a link leads elsewhere": (lambda venv: relink(venv / "bin/python"), "bin/python is changed"),
    "a directory in its place": (lambda venv: make_directory(venv / "pyvenv.cfg"), "pyvenv.cfg is changed"),
    "a RECORD is gone, and a file is changed": (
        lose_record_and_change,
        "alpha-1.0.dist-info/RECORD is missing, alpha/data.json is changed",
    ),
    "the interpreter is gone": (lambda venv: (venv / "bin/python3").unlink(), "its interpreter is gone"),
    "the venv is gone": (shutil.rmtree, "its venv is gone"),
    "the lock is gone": (lambda venv: (venv / "../uv.lock").unlink(), "its uv.lock cannot be read"),
    "the lock is another one": (lambda venv: (venv / "../uv.lock").write_text("x"), "its uv.lock has been changed"),
    "byte code": (lambda venv: put(venv / SITE / "alpha/__pycache__/__init__.cpython-311.pyc", "x"), ""),
    "a file that a site writes": (lambda venv: put(venv / SITE / "alpha/cache.json", "x"), ""),
    "a file in the venv": (lambda venv: put(venv / ".lock", "x"), ""),
    "the group may write": (lambda venv: (venv / "pyvenv.cfg").chmod(0o664), ""),
    "outside": (lambda venv: put(venv / "../../outside", "x"), ""),
    "a touch of what has no hash in a RECORD": (lambda venv: os.utime(venv / "pyvenv.cfg"), ""),
}


@pytest.mark.parametrize("name", HARMS)
def test_harm_is_named_and_what_a_site_does_at_run_time_is_none(release: Release, name: str) -> None:
    harm, words = HARMS[name]
    harm(release.venv)
    assert words in found(release)
    assert "more" not in found(release)
    assert bool(found(release)) == bool(words)


def test_only_the_first_files_are_named(release: Release) -> None:
    shutil.rmtree(release.venv / SITE / "alpha")
    (release.venv / "bin/alpha").unlink()
    assert found(release).endswith("and 1 more")


def install(venv: Path, info: str, *files: str, text: str = "text") -> None:
    """Install a package."""
    for name in files:
        put(venv / SITE / name, text)
    put(venv / SITE / f"{info}.dist-info/METADATA")
    names = [*files, f"{info}.dist-info/METADATA", f"{info}.dist-info/RECORD"]
    put(venv / SITE / f"{info}.dist-info/RECORD", "".join(f"{name},,\n" for name in names))


def upgrade(venv: Path) -> None:
    uninstall(venv)
    (venv / "bin/alpha").unlink()
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


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (upgrade, "alpha 1.0 → 1.1"),
        (upgrade_and_more, "alpha 1.0 → 1.1, new-x 9 added; common/of_beta.py is missing, site.pth is changed"),
        (lambda venv: (venv / SITE / "alpha-1.0.dist-info").rename(venv / SITE / "alpha-2.dist-info"), "alpha 1.0 → 2"),
        (lambda venv: install(venv, "ALPHA-2"), "alpha 1.0 → 1.0, 2"),
        (install_many, ", ".join(f"p{number} 1 added" for number in range(8)) + " and 2 more"),
    ],
)
def test_whole_packages_are_told_as_that(tmp_path: Path, change: Callable[[Path], object], words: str) -> None:
    made = on_paper(tmp_path, a_manifest())
    for name in ("bin/python", "pyvenv.cfg", f"{SITE}/site.pth"):
        put(made.venv / name)
    install(made.venv, "alpha-1.0", "alpha/__init__.py", "alpha/old.py", "common/of_alpha.py", "../../../bin/alpha")
    install(made.venv, "beta-2.0", "common/of_beta.py")
    made.lock.write_bytes(LOCK)
    release = on_paper(tmp_path, a_manifest(fingerprint=seal_files(str(made.directory))))
    assert found(release) == ""
    change(release.venv)
    assert found(release) == words


def test_no_name_of_a_file_breaks_the_line() -> None:
    name = f"{SITE}/alpha/\n\x1b[31m\udce9.py"
    assert str(Defect(path=name, kind="unexpected", message="m")) == "alpha/??[31m?.py is added"


def test_a_copy_that_keeps_no_times_is_as_sound(release: Release, tmp_path: Path) -> None:
    names = ("alpha/__init__.py", "alpha/a, b.txt", "alpha/data.json")
    hashed = "".join(f'"{name}",{hash_of(str(release.venv / SITE / name))},4\n' for name in names)
    put(release.venv / SITE / "alpha-1.0.dist-info" / "RECORD", hashed)
    sealed = on_paper(tmp_path, a_manifest(fingerprint=seal_files(str(release.directory))))
    shutil.copytree(sealed.directory, tmp_path / "copy" / release.id, copy_function=shutil.copy, symlinks=True)
    copy = on_paper(tmp_path / "copy", sealed.manifest)
    os.utime(copy.venv / SITE / "alpha/data.json", ns=(1, 1))
    assert found(copy) == ""
    rewrite(copy.venv / SITE / "alpha/__init__.py")
    assert found(copy) == "alpha/__init__.py is changed"
    copy.venv.joinpath("bin/alpha").chmod(0o700)
    assert "bin/alpha is changed" in found(copy)


@pytest.mark.parametrize("text", [None, "garbage", "{}", '{"version": 2, "files": 3}', '{"version": 2, "files": {}}'])
def test_without_the_list_of_files_damage_is_seen_but_not_named(release: Release, text: str | None) -> None:
    if text is None:
        (release.directory / FILES).unlink()
    else:
        (release.directory / FILES).write_text(text, encoding="utf-8")
    assert find_damage(release) is None
    rewrite(release.venv / SITE / "alpha/__init__.py")
    assert found(release) == "its files have been changed"


def test_two_thousand_files_take_no_time(tmp_path: Path) -> None:
    site = tmp_path / "venv" / SITE
    names = [f"package{number // 40}/module{number}.py" for number in range(2_000)]
    for name in names:
        put(site / name)
    put(site / "all-1.dist-info/RECORD", "".join(f"{name},sha256=x,0\n" for name in names))
    began = time.process_time()
    assert len(observe(str(tmp_path / "venv"))) == 2_002
    assert time.process_time() - began < 0.1
