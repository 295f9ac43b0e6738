"""Reading requirements files as pip does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from releaser.locking.requirements import RequirementsFile, read_requirements

if TYPE_CHECKING:
    from pathlib import Path

MARKERS = {"python_version": "3.11", "python_full_version": "3.11.7", "sys_platform": "linux"}


def read(tmp_path: Path, text: str | bytes, **others: str) -> RequirementsFile:
    for name, content in others.items():
        (tmp_path / f"{name}.txt").write_text(content, encoding="utf-8")
    path = tmp_path / "requirements.txt"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_requirements(path, {"MIRROR": "https://mirror.example.org"})


def said(found: RequirementsFile) -> list[str]:
    return [str(one.requirement) for one in found.lines]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("# nothing\n\n  # at all\n", []),
        ("Django==5.2.8\nrequests [socks] >= 2 # why\n", ["Django==5.2.8", "requests[socks]>=2"]),
        ("a==1 ; python_version < '3.12'\n", ['a==1; python_version < "3.12"']),
        ("a==1 \\\n    --hash=sha256:00 \\\n    --hash sha256:11\nb\n", ["a==1", "b"]),
        ("a \\\n # not a part\nb", ["a", "b"]),
        ("a==1 --config-settings=x=y\n", ["a==1"]),
        ("\ufeffa\r\nb\r\n", ["a", "b"]),
        ("a\nb".encode("utf-16"), ["a", "b"]),
        ("--pre\n--trusted-host example.org\n--no-binary :all:\n--require-hashes\na", ["a"]),
        ("a#b\n", []),
    ],
)
def test_lines_are_requirements(tmp_path: Path, text: str | bytes, expected: list[str]) -> None:
    found = read(tmp_path, text)
    assert said(found) == expected
    assert bool(found.problems) == (text == "a#b\n")


def test_hashes_are_kept(tmp_path: Path) -> None:
    (line,) = read(tmp_path, "a==1 \\\n    --hash=sha256:00 \\\n    --hash=sha256:11\n    # via b\n").lines
    assert line.hashes == {"sha256:00", "sha256:11"}
    assert line.came_along


def test_included_files_are_read_from_where_they_lie(tmp_path: Path) -> None:
    found = read(tmp_path, "-r one.txt\n--constraint=two.txt\na\n", one="b\n-r requirements.txt\n-cthree.txt\n",
                 two="c==1\nd<2\n", three="e==3; sys_platform == 'win32'\n")  # fmt: skip
    assert said(found) == ["b", "a"]
    assert [str(one.requirement) for one in found.constraints] == ['e==3; sys_platform == "win32"', "c==1", "d<2"]
    assert found.pins(MARKERS) == {"c": "1"}
    assert found.lines[0].where == f"{tmp_path / 'one.txt'}, line 1"
    assert not found.problems


@pytest.mark.parametrize(
    ("text", "pins"),
    [
        ("a==1.0\n", {"a": "1.0"}),
        ("A_b===1.0\n", {"a-b": "1.0"}),
        ("a==1.*\nb>=1\nc\nd==1,<2\n", {}),
        ("a==1; python_version < '3'\n", {}),
    ],
)
def test_exact_versions_are_pins(tmp_path: Path, text: str, pins: dict[str, str]) -> None:
    assert read(tmp_path, text).pins(MARKERS) == pins


@pytest.mark.parametrize(
    ("text", "came_along"),
    [
        ("a==1\n    # via b\n", True),
        ("a==1\n    # via\n    #   b\n    #   c\n", True),
        ("a==1  # via b, c\n", True),
        ("a==1\n    # via -r requirements.in\n", False),
        ("a==1\n    # via\n    #   -r requirements.in\n    #   b\n", False),
        ("a==1\n    # via shop (pyproject.toml)\n", False),
        ("a==1\n#   why\n", False),
        ("a==1  # viable\n", False),
        ("a==1\n", False),
    ],
)
def test_what_a_tool_noted_as_needed_by_others_came_along(tmp_path: Path, text: str, came_along: bool) -> None:
    (line,) = read(tmp_path, text).lines
    assert line.came_along is came_along


@pytest.mark.parametrize(
    ("text", "name", "place"),
    [
        ("-e ./lib\n", "", "{here}/lib"),
        ("--editable=../lib#egg=lib\n", "lib", "{parent}/lib"),
        ("-e git+https://example.org/lib.git@v1#egg=The_Lib\n", "the-lib", "git+https://example.org/lib.git@v1"),
        ("lib @ git+https://example.org/lib.git\n", "lib", "git+https://example.org/lib.git"),
        ("https://example.org/lib-1.0-py3-none-any.whl\n", "lib", "https://example.org/lib-1.0-py3-none-any.whl"),
        ("./lib[fast]\n", "", "{here}/lib"),
        ("/srv/lib-1.0-py3-none-any.whl ; python_version > '3'\n", "lib", "/srv/lib-1.0-py3-none-any.whl"),
    ],
)
def test_what_names_a_place_comes_from_elsewhere(tmp_path: Path, text: str, name: str, place: str) -> None:
    found = read(tmp_path, text)
    (one,) = found.elsewhere
    assert (one.name, one.place) == (name, place.format(here=tmp_path, parent=tmp_path.parent))
    assert one.where.endswith("requirements.txt, line 1")
    assert not found.lines
    assert not found.problems


def test_options_that_name_indexes_are_kept(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        "-i ${MIRROR}/simple\n--extra-index-url https://more.example.org\n-f wheels\n--find-links=https://x.example.org/\n",
    )
    assert (found.index, found.extra) == ("https://mirror.example.org/simple", ["https://more.example.org"])
    assert found.links == [str(tmp_path / "wheels"), "https://x.example.org/"]
    assert not found.no_index
    assert read(tmp_path, "--no-index\n").no_index


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a\nb c\n", "line 2: 'b c' is no requirement"),
        ("-r missing.txt\n", "missing.txt cannot be read: No such file or directory"),
        ("-r https://grace:hush@example.org/r.txt\n", "https://***@example.org/r.txt is not read"),
        ("--frobnicate\n", "'--frobnicate' is no option that is known here"),
    ],
)
def test_what_makes_no_sense_is_named_with_its_line(tmp_path: Path, text: str, problem: str) -> None:
    (found,) = read(tmp_path, text).problems
    assert problem in found
    assert found.startswith(f"{tmp_path / 'requirements.txt'}, line ")
