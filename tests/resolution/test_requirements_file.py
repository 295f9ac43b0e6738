"""What a requirements file says that `uv add` does not write down."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from releaser.errors import ResolutionError
from releaser.resolution.newest import find_missing
from releaser.resolution.requirements_file import (
    Line,
    bounds,
    index_options,
    index_settings,
    read_lines,
)
from releaser.tools.uv import NoSolution

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def lines_of(directory: Path, text: str, environ: Mapping[str, str] | None = None, **others: str) -> list[Line]:
    (directory / "requirements.txt").write_text(text, encoding="utf-8")
    for name, content in others.items():
        (directory / f"{name}.txt").write_text(content, encoding="utf-8")
    return list(read_lines(directory / "requirements.txt", environ or {}))


def test_lines_are_joined_freed_of_comments_and_numbered_as_an_editor_does(tmp_path: Path) -> None:
    text = "# why\nalpha==1.0 \\\n  --hash=sha256:aa \\\n  --hash sha256:bb  # via gamma\n\nbeta @ https://x/#egg\n"
    found = lines_of(tmp_path, text)
    assert [one.where.rpartition(", ")[2] for one in found] == ["line 2", "line 6"]
    assert found[0].hashes == {"sha256:aa", "sha256:bb"}
    assert str(found[0].requirement) == "alpha==1.0"
    assert found[1].text == "beta @ https://x/#egg"


@pytest.mark.parametrize("word", ["-r base.txt", "--requirement base.txt", '-r "base.txt"', "--requirement=base.txt"])
def test_what_a_file_includes_counts(tmp_path: Path, word: str) -> None:
    found = lines_of(
        tmp_path,
        f"{word}\nalpha\n",
        base="beta\n-c bounds.txt\n-r base.txt\n",
        bounds="gamma<2\n-r ./base.txt\ndelta==1.0\n",
    )
    assert [one.text for one in found] == ["beta", "gamma<2", "delta==1.0", "alpha"]
    assert found[0].where == f"{tmp_path}/base.txt, line 1"
    assert bounds(found) == ["gamma<2"]


def test_the_options_that_name_an_index_become_settings(tmp_path: Path) -> None:
    text = "--no-index\n-f ../wheels\n--find-links=https://x/files\n-i https://${HOST}/a\n--extra-index-url https://b\n--pre\n"
    options = index_options(lines_of(tmp_path, text, {"HOST": "index.example.org"}))
    assert index_settings(options, tmp_path) == {
        "no-index": True,
        "find-links": ["../wheels", "https://x/files"],
        "index": [{"url": "https://index.example.org/a", "default": True}, {"url": "https://b"}],
    }
    assert index_settings(options, tmp_path / "deep" / "shop")["find-links"][0] == str(tmp_path.parent / "wheels")


@pytest.mark.parametrize("missing", [set(), {"a==1"}, {"c==1"}, {"a==1", "b==1", "d==1", "e==1"}])
def test_all_that_no_index_has_is_found(missing: set[str]) -> None:
    def ask(wanted: Mapping[str, str]) -> object:
        first = next((f"{name}==1" for name in wanted if f"{name}==1" in missing), "")
        return NoSolution(output=f"Because {first} was not found, and you require {first}; a==1.0.1") if first else ""

    for version in ("==1", "==1.0.0", "==01.0"):  # which uv writes in its own way
        found = find_missing(ask, dict.fromkeys("abcde", version), what="nobody knows")
        assert {f"{name}==1" for name in found} == missing


@pytest.mark.parametrize(
    "output",
    [
        "error: Failed to fetch: https://x",
        "a==1, b==1: 403 Forbidden",
        "a==1, b==1",
        "{0} was not found in the cache and you require {0}==1\nhint: unavailable because the network was disabled",
    ],
)
def test_an_index_that_does_not_answer_is_no_index_that_lacks_something(output: str) -> None:
    def ask(wanted: Mapping[str, str]) -> object:
        return NoSolution(output=output.format(*wanted))

    with pytest.raises(ResolutionError, match="nobody knows: "):
        find_missing(ask, {"a": "==1", "b": "==1"}, what="nobody knows")
