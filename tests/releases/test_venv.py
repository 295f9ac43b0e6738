"""What is under a release is told from what was under it when it was sealed."""

import base64
import hashlib
import json
import os
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from releaser.errors import ToolError
from releaser.releases.integrity import Damage, find_damage, find_live_damage, find_rollback_damage
from releaser.releases.release import MANIFEST, Release, manifest_type, write_manifest
from releaser.releases.startup import put_into
from releaser.releases.venv import (
    Installed,
    Interpreter,
    VenvFacts,
    ask,
    ask_if_possible,
    change,
    executable_of,
    leads_into,
    link_of,
    relocate,
    repoint_editables,
    requirements_in,
    sources_below,
    start_through,
    versions_in,
)
from releaser.system.files import read_state
from releaser.system.process import Runner
from tests.releases.makers import LOCK, a_manifest, on_paper

SAID = {
    "version": "3.11.7", "implementation": "cpython", "abi": "cpython-311-x86_64-linux-gnu",
    "build": "(main, May 1 2026, 10:00:00) [GCC 12.2.0]",
}  # fmt: skip
NEXT_MINOR = {"version": "3.12.1", "abi": "cpython-312-x86_64-linux-gnu"}
BEFORE = Interpreter(executable="/opt/python", seen={}, **SAID)


def install(python: Path, **changes: Any) -> None:
    """Put something that answers like an interpreter, and its library, where there may be one already."""
    library = python.with_name("os.py")
    library.write_text(f"# {changes}", encoding="utf-8")
    answer = json.dumps({**SAID, "landmarks": [str(library)], **changes})
    python.write_text(f"#!/bin/sh\ncat <<'END'\n{answer}\nEND\n", encoding="utf-8")
    python.chmod(0o755)


def runner() -> Runner:
    return Runner(environ=os.environ)


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """An interpreter of the system."""
    path = tmp_path / "usr" / "python3.11"
    path.parent.mkdir()
    install(path)
    return path


@pytest.fixture
def release(tmp_path: Path, python: Path) -> Release:
    """A release that was built with it."""
    made = on_paper(tmp_path, a_manifest())
    (made.venv / "bin").mkdir(parents=True)
    (made.venv / "bin" / "python").symlink_to(python)
    made.lock.write_bytes(LOCK)
    write_manifest(made.directory, a_manifest(interpreter=ask(runner(), executable_of(made.venv / "bin" / "python"))))
    manifest = read_state(made.directory / MANIFEST, manifest_type())
    assert manifest is not None
    return on_paper(tmp_path, manifest)


def found(release: Release) -> Damage:
    damaged = find_damage(release)
    assert damaged is not None
    return damaged


@pytest.mark.spawns
def test_an_interpreter_says_what_it_is() -> None:
    asked = ask(runner(), os.path.realpath(sys.executable))
    assert (asked.version, asked.implementation) == (".".join(map(str, sys.version_info[:3])), "cpython")
    assert (asked.abi, asked.build) == (sysconfig.get_config_var("SOABI"), " ".join(sys.version.split()[1:]))
    assert {os.path.realpath(path) for path in asked.seen} >= {asked.executable, os.path.realpath(os.__file__)}
    assert all(asked.seen.values())
    assert change(asked, ask(runner(), asked.executable)) == ""
    if "libpython" in Path("/proc/self/maps").read_text(encoding="utf-8"):  # Debian's has one, and does not use it
        assert any("libpython" in path for path in asked.seen)


@pytest.mark.spawns
@pytest.mark.parametrize("text", ["#!/bin/sh\nexit 1\n", "#!/bin/sh\necho Python\n", "", "#!/bin/sh\necho '{}'\n"])
def test_what_does_not_answer_is_left_open(tmp_path: Path, text: str) -> None:
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text(text, encoding="utf-8")
    python.chmod(0o755)
    assert ask_if_possible(runner(), tmp_path) is None


@pytest.mark.spawns
def test_while_it_looks_the_same_it_is_not_started(release: Release, python: Path) -> None:
    asked = VenvFacts.of(release.manifest).interpreter
    assert asked is not None
    assert asked.executable == str(python)
    status = python.stat()
    install(python, version="3.11.8")
    for path in (python, python.with_name("os.py")):
        os.truncate(path, int(asked.seen[str(path)].split()[0]))
        os.utime(path, ns=(status.st_atime_ns, int(asked.seen[str(path)].split()[1])))
    assert find_damage(release) is None
    assert ask_if_possible(runner(), release.venv, asked) == asked
    os.utime(python, ns=(1, 1))
    again = ask_if_possible(runner(), release.venv, asked)
    assert again is not None
    assert again.version == "3.11.8"


@pytest.mark.spawns
def test_a_touch_and_a_move_are_no_change(release: Release, python: Path, tmp_path: Path) -> None:
    os.utime(python, ns=(1, 1))
    assert find_damage(release) is None
    moved = tmp_path / "opt" / "python3.11"
    shutil.copytree(python.parent, moved.parent)
    (release.venv / "bin" / "python").unlink()
    (release.venv / "bin" / "python").symlink_to(moved)
    assert find_damage(release) is None


CHANGES: dict[str, tuple[dict[str, str], str, bool]] = {
    "a patch": ({"version": "3.11.9"}, "Python 3.11.7 became Python 3.11.9 under it ({python})", False),
    "a build": (
        {"build": "(main, Jun 2 2026)"},
        "(main, May 1 2026, 10:00:00) [GCC 12.2.0] became Python 3.11.7 (main, Jun 2 2026) under it",
        False,
    ),
    "a minor version": (
        NEXT_MINOR,
        "Python 3.11.7 (cpython-311-x86_64-linux-gnu) became Python 3.12.1 (cpython-312-x86_64-linux-",
        True,
    ),
    "an ABI": ({"abi": "cpython-311d"}, "became Python 3.11.7 (cpython-311d) under it", True),
    "an implementation": ({"implementation": "pypy"}, "became pypy 3.11.7 (cpython-311-x86_64-linux-gnu)", True),
}


@pytest.mark.spawns
@pytest.mark.parametrize("name", CHANGES)
def test_another_one_in_its_place_is_named(release: Release, python: Path, name: str) -> None:
    changes, words, fatal = CHANGES[name]
    install(python, **changes)
    damaged = found(release)
    assert (damaged.kind, damaged.fatal) == ("interpreter", fatal)
    assert str(damaged).startswith("Python 3.11.7 ")
    assert words.format(python=python) in str(damaged)
    assert find_rollback_damage(release) == (damaged if fatal else None)


@pytest.mark.spawns
def test_a_patch_under_a_changed_release_does_not_make_it_fit_for_a_rollback(release: Release, python: Path) -> None:
    install(python, version="3.11.9")
    release.lock.write_text("changed", encoding="utf-8")
    harm = find_rollback_damage(release)
    assert harm is not None
    assert (found(release).kind, harm.kind) == ("interpreter", "lock")


@pytest.mark.spawns
def test_one_that_does_not_start_any_more_or_is_gone_is_named(release: Release, python: Path) -> None:
    python.write_text("#!/bin/sh\nexit 3\n", encoding="utf-8")
    ill = found(release)
    assert str(ill) == f"its interpreter no longer starts ({python}): python3.11 failed (exit status 3)"
    python.unlink()
    gone = found(release)
    assert str(gone) == f"its interpreter is gone (Python 3.11.7 at {python})"
    assert {(one.kind, one.fatal) for one in (ill, gone)} == {("gone", True)}


@pytest.mark.spawns
def test_without_its_library_it_is_started(release: Release, python: Path) -> None:
    python.with_name("os.py").unlink()
    assert find_damage(release) is None  # it is what it was, for all that can be asked


@pytest.mark.spawns
def test_of_one_that_could_not_be_asked_the_version_is_known(release: Release, python: Path) -> None:
    nothing: dict[str, Any] = {"interpreter": None}
    unasked = replace(release.manifest, **nothing)
    other = on_paper(release.directory.parent, replace(unasked, python="2.7.9"))
    found = find_live_damage(other)
    assert found is not None
    assert (found.fatal, "Python 2.7.9" in found.reason) == (True, True)
    without_version = on_paper(release.directory.parent, replace(unasked, python="unknown"))
    assert find_live_damage(without_version) is None
    unknown = on_paper(release.directory.parent, unasked)
    assert find_live_damage(unknown) is None
    python.write_text("#!/bin/sh\nexit 3\n", encoding="utf-8")
    assert find_damage(unknown) is None
    found = find_live_damage(unknown)
    assert found is not None
    assert found.fatal


def test_one_at_another_place_is_said_to_be_there() -> None:
    now = replace(BEFORE, executable="/srv/python", version="3.11.9")
    assert change(BEFORE, now).endswith("became Python 3.11.9 under it (/opt/python, and now /srv/python)")


# What packages in a venv say of themselves, however badly


def install_metadata(venv: Path, name: str, text: str | bytes) -> Path:
    """Put metadata alone into a venv, as text below the name and the version."""
    place = venv / "lib" / "python3.12" / "site-packages" / f"{name}-1.0.dist-info"
    place.mkdir(parents=True)
    head = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
    (place / "METADATA").write_bytes(head.encode() + (text.encode() if isinstance(text, str) else text))
    return place


def urls(*labels: str) -> str:
    return "".join(f"Project-URL: {label}, https://example.org/{number}\n" for number, label in enumerate(labels))


@pytest.mark.parametrize(
    ("said", "link"),
    [
        (urls("Homepage", "Changelog"), "https://example.org/1"),
        (urls("Source", "What's New?"), "https://example.org/1"),
        (urls("change_log", "HISTORY"), "https://example.org/0"),
        (urls("Source Code", "Home-Page"), "https://example.org/1"),
        (urls("Issues", "GitHub"), "https://example.org/1"),
        (urls("Funding", "Issues"), None),
        ("Home-page: https://example.org/home\n", "https://example.org/home"),
        ("Home-page: https://example.org/home\n" + urls("Changelog"), "https://example.org/0"),
        ("Home-page: UNKNOWN\n" + urls("Repository"), "https://example.org/0"),
        ("Project-URL: Changelog, javascript:alert(1)\n" + urls("Homepage"), "https://example.org/0"),
        ("", None),
    ],
)
def test_the_link_is_the_best_that_there_is(tmp_path: Path, said: str, link: str | None) -> None:
    install_metadata(tmp_path, "alpha", said)
    assert link_of(tmp_path, "alpha") == link


@pytest.mark.parametrize(
    "text",
    [
        b"Project-URL: \xff\xfe\n",
        b"\0\0\0",
        b"Project-URL: Changelog\n",
        b"Project-URL: ,,,\n",
        b"Project-URL: a, b\nProject-URL: a, c\n",
        b"Home-page: https://[\n",
        b"\n" * 10_000,
        b": : :\n",
    ],
)
def test_garbage_is_no_link_and_no_failure(tmp_path: Path, text: bytes) -> None:
    install_metadata(tmp_path, "alpha", text)
    assert link_of(tmp_path, "alpha") is None


def test_what_is_not_there_says_nothing(tmp_path: Path) -> None:
    place = install_metadata(tmp_path, "alpha", urls("Changelog"))
    assert link_of(tmp_path, "beta") is None
    assert versions_in(tmp_path) == {"alpha": "1.0"}
    (place / "METADATA").unlink()
    (place / "METADATA").mkdir()
    assert link_of(tmp_path, "alpha") is None
    assert versions_in(tmp_path) == {}
    install_metadata(tmp_path, "Zope_Interface", urls("Changelog"))
    assert link_of(tmp_path, "zope-interface") == "https://example.org/0"


def test_what_a_package_asks_for_stands_before_its_description(tmp_path: Path) -> None:
    said = "requires-dist: beta>=1\r\nRequires-Dist: gamma\n  >=2\nKeywords: a: b\n\nRequires-Dist: delta\n"
    install_metadata(tmp_path, "alpha", said)
    install_metadata(tmp_path, "beta", "Name: other\nRequires-Dist: gamma\n")
    assert list(requirements_in(tmp_path)) == [
        Installed(name="alpha", version="1.0", requires=("beta>=1", "gamma\n  >=2"))
    ]


# Where editable packages lead: from the staging tree into the checkout, by the texts in their RECORD


def _installed(tmp_path: Path, source: Path, files: dict[str, bytes]) -> Path:
    """Make a venv with a package that was installed from `source`."""
    packages = tmp_path / "venv" / "lib" / "python3.12" / "site-packages"
    info = packages / "shop-1.0.dist-info"
    info.mkdir(parents=True)
    url = json.dumps({"url": source.as_uri(), "dir_info": {"editable": True}}).encode()
    for name, data in {**files, "shop-1.0.dist-info/direct_url.json": url}.items():
        (packages / name).write_bytes(data)
    names = [*files, "shop-1.0.dist-info/direct_url.json", "shop-1.0.dist-info/RECORD"]
    (info / "RECORD").write_text("".join(f"{name},,\n" for name in names), encoding="utf-8")
    return packages


def test_paths_in_texts_are_replaced_and_recorded(tmp_path: Path) -> None:
    old, new = tmp_path / ".shop.releaser-staging", tmp_path / "meine Läden" / "shop"
    packages = _installed(tmp_path, old / "app", {"shop.pth": f"{old}/app/src\n".encode(), "other.pth": b"/srv\n"})
    repoint_editables(tmp_path / "venv", old, new)
    text = (packages / "shop.pth").read_bytes()
    assert text.decode() == f"{new}/app/src\n"
    digest = base64.urlsafe_b64encode(hashlib.sha256(text).digest()).rstrip(b"=").decode()
    record = (packages / "shop-1.0.dist-info" / "RECORD").read_text(encoding="utf-8").splitlines()
    assert f"shop.pth,sha256={digest},{len(text)}" in record
    assert "other.pth,," in record
    said = json.loads((packages / "shop-1.0.dist-info" / "direct_url.json").read_text(encoding="utf-8"))
    assert said == {"url": (new / "app").as_uri(), "dir_info": {"editable": True}}


def test_nothing_outside_of_the_venv_is_written_though_a_candidate_s_tests_lead_there(tmp_path: Path) -> None:
    old, new = tmp_path / "staging", tmp_path / "shop"
    text = f"{old}/app/src\n".encode()
    packages = _installed(tmp_path, old / "app", {"shop.pth": text})
    outside = [tmp_path / name for name in ("linked", "named", "record")]
    for file in outside[:2]:
        file.write_bytes(text)
    (packages / "shop.pth").unlink()
    (packages / "shop.pth").symlink_to(outside[0])
    record = packages / "shop-1.0.dist-info" / "RECORD"
    outside[2].write_text(f"{record.read_text(encoding='utf-8')}../../../../named,,\n", encoding="utf-8")
    before = outside[2].read_bytes()
    record.unlink()
    record.symlink_to(outside[2])
    repoint_editables(tmp_path / "venv", old, new)
    assert [file.read_bytes() for file in outside] == [text, text, before]
    assert not record.is_symlink()


def test_compiled_files_and_longer_names_stay_as_they_are(tmp_path: Path) -> None:
    old, new = tmp_path / "staging", tmp_path / "shop"
    compiled, longer = f"\0ELF {old}/src/x.c\0".encode(), f"{old}-2/src\n".encode()
    packages = _installed(tmp_path, old, {"x.so": compiled, "shop.pth": longer})
    repoint_editables(tmp_path / "venv", old, new)
    assert (packages / "x.so").read_bytes() == compiled
    assert (packages / "shop.pth").read_bytes() == longer


def test_packages_from_elsewhere_are_not_touched(tmp_path: Path) -> None:
    text = f"{tmp_path}/staging/src\n".encode()
    packages = _installed(tmp_path, tmp_path / "library", {"shop.pth": text})
    repoint_editables(tmp_path / "venv", tmp_path / "staging", tmp_path / "shop")
    assert (packages / "shop.pth").read_bytes() == text


def test_the_places_that_are_searched_for_modules_are_known(tmp_path: Path) -> None:
    shop = tmp_path / "shop"
    _installed(tmp_path, shop, {"a.pth": f"{shop}/b/src\nimport sys\n".encode(), "b.pth": f"{shop}\n/srv\n".encode()})
    assert [str(one) for one in sources_below(tmp_path / "venv", shop)] == [".", "b/src"]
    assert leads_into(tmp_path / "venv", shop)
    assert not leads_into(tmp_path / "venv", tmp_path / "other")


@pytest.mark.spawns
@pytest.mark.parametrize("name", ["plain", "it's with a space", "long" * 40])
def test_programs_of_a_venv_that_moves_start_its_python_there(tmp_path: Path, name: str) -> None:
    old, new = Path("/srv/releases/1/venv"), tmp_path / name / ".venv"
    info, programs = new / "lib/python3.11/site-packages/tool-1.0.dist-info", new / "bin"
    info.mkdir(parents=True)
    programs.mkdir()
    (programs / "python").symlink_to(sys.executable)
    (programs / "python3").symlink_to(old / "bin/python")
    script = f"#!{old}/bin/python\nimport sys; print(sys.argv[1])\n"
    for place in ("tool", "unrecorded"):
        (programs / place).write_text(script)
        (programs / place).chmod(0o755)
    (programs / "activate").write_text(f"VIRTUAL_ENV='{old}'\nOTHER='{old}-2'\n")
    (new / "pyvenv.cfg").write_text(f"home = /usr/bin\ncommand = python -m venv {old}\n")
    (info / "RECORD").write_text(f"../../../bin/tool,sha256=x,{len(script)}\ntool-1.0.dist-info/RECORD,,\n")
    relocate(new, old, new)
    for place in ("tool", "unrecorded"):
        assert subprocess.check_output([programs / place, "said"], text=True) == "said\n"
    assert (programs / "activate").read_text() == f"VIRTUAL_ENV='{new}'\nOTHER='{old}-2'\n"
    assert str(new) in (new / "pyvenv.cfg").read_text()
    assert (programs / "python3").resolve() == (programs / "python").resolve()
    text = (programs / "tool").read_bytes()
    digest = base64.urlsafe_b64encode(hashlib.sha256(text).digest()).decode().rstrip("=")
    assert (info / "RECORD").read_text().splitlines()[0] == f"../../../bin/tool,sha256={digest},{len(text)}"


def test_one_without_a_place_for_packages_cannot_be_pinned(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no site-packages"):
        put_into(tmp_path)


@pytest.mark.spawns
@pytest.mark.parametrize(
    ("prefix", "said"),
    [("/usr", "reports /usr as its venv"), ("", "reports no venv instead of"), (None, "exit status 3")],
)
def test_a_python_that_does_not_run_in_its_venv_is_named(tmp_path: Path, prefix: str | None, said: str) -> None:
    python = tmp_path / "live" / "bin" / "python"
    python.parent.mkdir(parents=True)
    answers = "exit 3" if prefix is None else f"echo start-up; echo {os.fsencode(prefix).hex()}"
    python.write_text(f"#!/bin/sh\n{answers}\n", encoding="utf-8")
    python.chmod(0o755)
    with pytest.raises(ToolError) as caught:
        start_through(Runner(environ={}), tmp_path / "live", tmp_path / "release", cwd=tmp_path)
    assert said in caught.value.message
    assert f"See where {tmp_path}/release/bin/python leads" in caught.value.advice
