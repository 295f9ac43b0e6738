"""What is under a release is told from what was under it when it was sealed."""

import base64
import hashlib
import json
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from releaser.errors import ToolError
from releaser.releases.integrity import find_damage, find_live_damage, find_rollback_damage
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
RUNNER = Runner(environ=os.environ)


def a_script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)
    return path


def install(python: Path, **changes: Any) -> None:
    """Put something that answers like an interpreter, and its library, where there may be one already."""
    library = python.with_name("os.py")
    answer = json.dumps({**SAID, "landmarks": [str(library)], **changes})
    a_script(python, f"#!/bin/sh\ncat <<'END'\n{answer}\nEND\n")
    library.write_text(f"# {changes}", encoding="utf-8")


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """An interpreter of the system."""
    path = tmp_path / "usr" / "python3.11"
    install(path)
    return path


@pytest.fixture
def release(tmp_path: Path, python: Path) -> Release:
    """A release that was built with it."""
    made = on_paper(tmp_path, a_manifest())
    (made.venv / "bin").mkdir(parents=True)
    (made.venv / "bin" / "python").symlink_to(python)
    made.lock.write_bytes(LOCK)
    write_manifest(made.directory, a_manifest(interpreter=ask(RUNNER, executable_of(made.venv / "bin" / "python"))))
    manifest = read_state(made.directory / MANIFEST, manifest_type())
    assert manifest is not None
    return on_paper(tmp_path, manifest)


@pytest.mark.spawns
def test_an_interpreter_says_what_it_is() -> None:
    asked = ask(RUNNER, os.path.realpath(sys.executable))
    assert (asked.version, asked.implementation) == (".".join(map(str, sys.version_info[:3])), "cpython")
    assert (asked.abi, asked.build) == (sysconfig.get_config_var("SOABI"), " ".join(sys.version.split()[1:]))
    assert {os.path.realpath(path) for path in asked.seen} >= {asked.executable, os.path.realpath(os.__file__)}
    assert all(asked.seen.values())
    assert change(asked, ask(RUNNER, asked.executable)) == ""
    if "libpython" in Path("/proc/self/maps").read_text(encoding="utf-8"):  # Debian's has one, and does not use it
        assert any("libpython" in path for path in asked.seen)


@pytest.mark.spawns
@pytest.mark.parametrize("text", ["#!/bin/sh\nexit 1\n", "#!/bin/sh\necho Python\n", "", "#!/bin/sh\necho '{}'\n"])
def test_what_does_not_answer_is_left_open(tmp_path: Path, text: str) -> None:
    a_script(tmp_path / "bin" / "python", text)
    assert ask_if_possible(RUNNER, tmp_path) is None


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
    assert ask_if_possible(RUNNER, release.venv, asked) == asked
    os.utime(python, ns=(1, 1))
    again = ask_if_possible(RUNNER, release.venv, asked)
    assert again is not None
    assert again.version == "3.11.8"


def move(release: Release, python: Path) -> None:
    moved = python.parents[1] / "opt" / "python3.11"
    shutil.copytree(python.parent, moved.parent)
    (release.venv / "bin" / "python").unlink()
    (release.venv / "bin" / "python").symlink_to(moved)


@pytest.mark.spawns
@pytest.mark.parametrize(
    "act",
    [
        pytest.param(lambda _, python: os.utime(python, ns=(1, 1)), id="a touch"),
        pytest.param(move, id="a move"),
        pytest.param(lambda _, python: python.with_name("os.py").unlink(), id="a library that is gone"),
    ],
)
def test_what_answers_as_before_has_not_changed(
    release: Release, python: Path, act: Callable[[Release, Path], object]
) -> None:
    act(release, python)
    assert find_damage(release) is None


PATCHED = "Python 3.11.7 became Python 3.11.9 under it ({python})"


@pytest.mark.spawns
@pytest.mark.parametrize(
    ("changes", "words", "fatal"),
    [
        ({"version": "3.11.9"}, PATCHED, False),
        ({"build": "(main, Jun 2 2026)"}, "[GCC 12.2.0] became Python 3.11.7 (main, Jun 2 2026) under it", False),
        (NEXT_MINOR, "(cpython-311-x86_64-linux-gnu) became Python 3.12.1 (cpython-312-x86_64-linux-", True),
        ({"abi": "cpython-311d"}, "became Python 3.11.7 (cpython-311d) under it", True),
        ({"implementation": "pypy"}, "became pypy 3.11.7 (cpython-311-x86_64-linux-gnu)", True),
    ],
    ids=["a patch", "a build", "a minor version", "an ABI", "an implementation"],
)
def test_another_one_in_its_place_is_named(
    release: Release, python: Path, changes: dict[str, str], words: str, fatal: bool
) -> None:
    install(python, **changes)
    damaged = find_damage(release)
    assert damaged is not None
    assert (damaged.kind, damaged.fatal) == ("interpreter", fatal)
    assert str(damaged).startswith("Python 3.11.7 ")
    assert words.format(python=python) in str(damaged)
    assert find_rollback_damage(release) == (damaged if fatal else None)
    release.lock.write_text("changed", encoding="utf-8")  # a patch does not make that fit for a rollback
    harm = find_rollback_damage(release)
    assert harm is not None
    assert harm.kind == ("interpreter" if fatal else "lock")


@pytest.mark.spawns
def test_one_that_does_not_start_any_more_or_is_gone_is_named(release: Release, python: Path) -> None:
    a_script(python, "#!/bin/sh\nexit 3\n")
    ill = find_damage(release)
    assert str(ill) == f"its interpreter no longer starts ({python}): python3.11 failed (exit status 3)"
    python.unlink()
    gone = find_damage(release)
    assert str(gone) == f"its interpreter is gone (Python 3.11.7 at {python})"
    assert {(one.kind, one.fatal) for one in (ill, gone) if one is not None} == {("gone", True)}


@pytest.mark.spawns
@pytest.mark.parametrize(
    ("version", "starts", "words"),
    [
        ("2.7.9", True, "Python 2.7.9"),
        ("unknown", True, ""),
        ("3.11.7", True, ""),
        ("3.11.7", False, "no longer starts"),
    ],
)
def test_of_one_that_could_not_be_asked_the_version_is_known(
    release: Release, python: Path, version: str, starts: bool, words: str
) -> None:
    nothing: dict[str, Any] = {"interpreter": None}
    unasked = on_paper(release.directory.parent, replace(release.manifest, python=version, **nothing))
    if not starts:
        a_script(python, "#!/bin/sh\nexit 3\n")
        assert find_damage(unasked) is None
    found = find_live_damage(unasked)
    assert (found is not None) == bool(words)
    assert found is None or (found.fatal and words in found.reason)


def test_one_at_another_place_is_said_to_be_there() -> None:
    before = Interpreter(executable="/opt/python", seen={}, **SAID)
    now = replace(before, executable="/srv/python", version="3.11.9")
    assert change(before, now).endswith("became Python 3.11.9 under it (/opt/python, and now /srv/python)")


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
        (b"Project-URL: \xff\xfe\n", None),
        (b"\0\0\0", None),
        ("Project-URL: Changelog\n", None),
        ("Project-URL: ,,,\n", None),
        ("Project-URL: a, b\nProject-URL: a, c\n", None),
        ("Home-page: https://[\n", None),
        ("\n" * 10_000, None),
        (": : :\n", None),
    ],
)
def test_the_link_is_the_best_that_there_is(tmp_path: Path, said: str | bytes, link: str | None) -> None:
    install_metadata(tmp_path, "alpha", said)
    assert link_of(tmp_path, "alpha") == link


def test_what_is_not_there_says_nothing(tmp_path: Path) -> None:
    place = install_metadata(tmp_path, "alpha", urls("Changelog"))
    assert link_of(tmp_path, "beta") is None
    assert versions_in(tmp_path) == {"alpha": "1.0"}
    (place / "METADATA").unlink()
    (place / "METADATA").mkdir()
    assert (link_of(tmp_path, "alpha"), versions_in(tmp_path)) == (None, {})
    install_metadata(tmp_path, "Zope_Interface", urls("Changelog"))
    assert link_of(tmp_path, "zope-interface") == "https://example.org/0"


def test_what_a_package_asks_for_stands_before_its_description(tmp_path: Path) -> None:
    said = "requires-dist: beta>=1\r\nRequires-Dist: gamma\n  >=2\nKeywords: a: b\n\nRequires-Dist: delta\n"
    install_metadata(tmp_path, "alpha", said)
    install_metadata(tmp_path, "beta", "Name: other\nRequires-Dist: gamma\n")
    wanted = Installed(name="alpha", version="1.0", requires=("beta>=1", "gamma\n  >=2"))
    assert list(requirements_in(tmp_path)) == [wanted]


# Where editable packages lead: from the staging tree into the checkout, by the texts in their RECORD


def digest_in_record(data: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    return f"sha256={digest},{len(data)}"


def install_from(tmp_path: Path, source: Path, files: dict[str, bytes]) -> Path:
    """Make a venv with a package that was installed from `source`; return its site-packages."""
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
    others = {
        "other.pth": b"/srv\n",
        "x.so": f"\0ELF {old}/src/x.c\0".encode(),
        "longer.pth": f"{old}-2/src\n".encode(),
    }
    packages = install_from(tmp_path, old / "app", {"shop.pth": f"{old}/app/src\n".encode(), **others})
    repoint_editables(tmp_path / "venv", old, new)
    text = (packages / "shop.pth").read_bytes()
    assert text.decode() == f"{new}/app/src\n"
    record = (packages / "shop-1.0.dist-info" / "RECORD").read_text(encoding="utf-8").splitlines()
    assert f"shop.pth,{digest_in_record(text)}" in record
    assert {name: (packages / name).read_bytes() for name in others} == others
    assert {f"{name},," for name in others} <= {*record}
    said = json.loads((packages / "shop-1.0.dist-info" / "direct_url.json").read_text(encoding="utf-8"))
    assert said == {"url": (new / "app").as_uri(), "dir_info": {"editable": True}}


def test_nothing_outside_of_the_venv_is_written_though_a_candidate_s_tests_lead_there(tmp_path: Path) -> None:
    old, new = tmp_path / "staging", tmp_path / "shop"
    text = f"{old}/app/src\n".encode()
    packages = install_from(tmp_path, old / "app", {"shop.pth": text})
    linked, named, records = (tmp_path / name for name in ("linked", "named", "record"))
    linked.write_bytes(text)
    named.write_bytes(text)
    (packages / "shop.pth").unlink()
    (packages / "shop.pth").symlink_to(linked)
    record = packages / "shop-1.0.dist-info" / "RECORD"
    before = f"{record.read_text(encoding='utf-8')}../../../../named,,\n"
    records.write_text(before, encoding="utf-8")
    record.unlink()
    record.symlink_to(records)
    repoint_editables(tmp_path / "venv", old, new)
    assert [file.read_bytes() for file in (linked, named, records)] == [text, text, before.encode()]
    assert not record.is_symlink()


def test_packages_from_elsewhere_are_not_touched(tmp_path: Path) -> None:
    text = f"{tmp_path}/staging/src\n".encode()
    packages = install_from(tmp_path, tmp_path / "library", {"shop.pth": text})
    repoint_editables(tmp_path / "venv", tmp_path / "staging", tmp_path / "shop")
    assert (packages / "shop.pth").read_bytes() == text


def test_the_places_that_are_searched_for_modules_are_known(tmp_path: Path) -> None:
    shop = tmp_path / "shop"
    install_from(tmp_path, shop, {"a.pth": f"{shop}/b/src\nimport sys\n".encode(), "b.pth": f"{shop}\n/srv\n".encode()})
    assert [str(one) for one in sources_below(tmp_path / "venv", shop)] == [".", "b/src"]
    assert leads_into(tmp_path / "venv", shop)
    assert not leads_into(tmp_path / "venv", tmp_path / "other")


@pytest.mark.spawns
@pytest.mark.parametrize("name", ["plain", "it's with a space", "long" * 40])
def test_programs_of_a_venv_that_moves_start_its_python_there(tmp_path: Path, name: str) -> None:
    old, new = Path("/srv/releases/1/venv"), tmp_path / name / ".venv"
    info, programs = new / "lib/python3.11/site-packages/tool-1.0.dist-info", new / "bin"
    info.mkdir(parents=True)
    script = f"#!{old}/bin/python\nimport sys; print(sys.argv[1])\n"
    tools = [a_script(programs / place, script) for place in ("tool", "unrecorded")]
    (programs / "python").symlink_to(sys.executable)
    (programs / "python3").symlink_to(old / "bin/python")
    (programs / "activate").write_text(f"VIRTUAL_ENV='{old}'\nOTHER='{old}-2'\n")
    (new / "pyvenv.cfg").write_text(f"home = /usr/bin\ncommand = python -m venv {old}\n")
    (info / "RECORD").write_text(f"../../../bin/tool,sha256=x,{len(script)}\ntool-1.0.dist-info/RECORD,,\n")
    relocate(new, old, new)
    assert [subprocess.check_output([tool, "said"], text=True) for tool in tools] == ["said\n"] * 2
    assert (programs / "activate").read_text() == f"VIRTUAL_ENV='{new}'\nOTHER='{old}-2'\n"
    assert str(new) in (new / "pyvenv.cfg").read_text()
    assert (programs / "python3").resolve() == (programs / "python").resolve()
    recorded = digest_in_record(tools[0].read_bytes())
    assert (info / "RECORD").read_text().splitlines()[0] == f"../../../bin/tool,{recorded}"


def test_one_without_a_place_for_packages_cannot_be_pinned(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no site-packages"):
        put_into(tmp_path)


@pytest.mark.spawns
@pytest.mark.parametrize(
    ("prefix", "said"),
    [("/usr", "reports /usr as its venv"), ("", "reports no venv instead of"), (None, "exit status 3")],
)
def test_a_python_that_does_not_run_in_its_venv_is_named(tmp_path: Path, prefix: str | None, said: str) -> None:
    answers = "exit 3" if prefix is None else f"echo start-up; echo {os.fsencode(prefix).hex()}"
    a_script(tmp_path / "live" / "bin" / "python", f"#!/bin/sh\n{answers}\n")
    with pytest.raises(ToolError) as caught:
        start_through(Runner(environ={}), tmp_path / "live", tmp_path / "release", cwd=tmp_path)
    assert said in caught.value.message
    assert f"Start {tmp_path}/release/bin/python" in caught.value.advice
