"""What uv answers about the newest versions, and how it is asked."""

import tomllib
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from packaging.markers import Marker

from releaser.errors import PreflightError, ResolutionError
from releaser.locks.installed import environment_of
from releaser.locks.lock import Graph, LockFile
from releaser.releases.venv import Installed
from releaser.resolution.newest import (
    AvailableVersions,
    _as_toml,
    _is_for,
    _read_answer,
    find_excluded,
    find_missing,
    name_required,
    requirements_for,
    settings_of_uv,
)
from releaser.resolution.outdated import survey
from releaser.site.project import Pyproject
from releaser.site.site import open_site
from releaser.tools.uv import NoSolution

HEAD = 'lock-version = "1.0"\ncreated-by = "uv"\nrequires-python = ">=3.11.7"\n'
LOCKED = '\n[[packages]]\nname = "alpha"\nversion = "1.0"\nsdist = { url = "https://example.org/a", broken }\n'
NEWER = """
[[packages]]
name = "beta"
version = "3.0"
marker = "python_full_version >= '3.13'"
wheels = [{ url = "https://example.org/b3", upload-time = 2026-03-02T10:00:00Z, size = 1 }]

[[packages]]
name = "beta"
version = "2.0"
marker = "python_full_version < '3.13'"
wheels = [{ url = "https://example.org/b2", upload-time = 2026-02-02T10:00:00Z, size = 1 }]
"""


def test_what_is_locked_as_the_newest_is_not_read_further() -> None:
    assert _read_answer(HEAD + LOCKED + NEWER, {"alpha": "1.0", "beta": "2.0"}, python="3.12.1") == {
        "alpha": AvailableVersions(newest="1.0", fitting="1.0", times={}),
        "beta": AvailableVersions(
            newest="3.0",
            fitting="2.0",
            times={
                ("beta", "3.0"): datetime(2026, 3, 2, 10, tzinfo=UTC),
                ("beta", "2.0"): datetime(2026, 2, 2, 10, tzinfo=UTC),
            },
            marker="python_full_version >= '3.13'",
        ),
    }


def test_what_another_uv_writes_otherwise_is_read_whole() -> None:
    text = HEAD + NEWER.replace('name = "beta"\nversion = "2.0"\n', 'version = "2.0"\nname = "beta"\n')
    assert _read_answer(text, {"beta": "2.0"}, python="3.12.1") == _read_answer(
        HEAD + NEWER, {"beta": "2.0"}, python="3.12.1"
    )


@pytest.mark.parametrize("text", [HEAD + LOCKED, f"{HEAD}no answer"])
def test_what_is_no_answer_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        _read_answer(text, {"alpha": "0.9"}, python="3.12.1")


def test_values_are_written_as_they_were_read() -> None:
    value = {
        "a b": [True, 1, 'say "x\\y"\n', "\x7fä\U0001f40d", {}],
        "day": date(2026, 1, 2),
        "then": datetime(2026, 1, 2, tzinfo=UTC),
    }
    assert tomllib.loads(f"value = {_as_toml(value)}\n") == {"value": value}


@pytest.mark.parametrize(
    ("text", "asks"),
    [
        ("Zope.Interface>=5", True),
        ("  zope_interface [test] ; python_version < '4'", True),
        ("zope-interface@ https://example.org", True),
        ("zope-interface-extra", False),
        ("zope", False),
        (7, False),
    ],
)
def test_a_requirement_asks_for_one_package(text: object, *, asks: bool) -> None:
    assert (name_required(text) == "zope-interface") is asks


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


@pytest.mark.parametrize(("text", "code"), [("[project\n", "pyproject-invalid"), (None, "pyproject-missing")])
def test_without_the_project_no_index_is_asked(tmp_path: Path, text: str | None, code: str) -> None:
    """The project names its index; uv would ask another one."""
    if text is not None:
        (tmp_path / "pyproject.toml").write_text(text, encoding="utf-8")
    with pytest.raises(PreflightError) as caught:
        survey(open_site(tmp_path, {}), None)
    assert [one.code for one in caught.value.findings] == [code]


@pytest.mark.parametrize("text", ["a = ", "a = " + "[" * 9999])
def test_settings_of_uv_that_cannot_be_read_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'site'\n")
    (tmp_path / "uv.toml").write_text(text)
    with pytest.raises(PreflightError, match=r"uv.toml cannot be read"):
        settings_of_uv(open_site(tmp_path, {}))


@pytest.mark.parametrize("python", ["3.11.7", "3.12.0", "3.13.0rc1"])
@pytest.mark.parametrize(
    "marker",
    [
        "python_full_version >= '3.11.7'",
        "python_full_version >= '3.11.7' and python_full_version < '3.12'",
        "python_full_version < '3.12.dev0'",
        "python_full_version >= '3.12' or sys_platform == 'win32'",
        "python_full_version == '3.12.*'",
        "python_version >= '3.12' and sys_platform == 'linux'",
    ],
)
def test_markers_count_as_for_packaging(python: str, marker: str) -> None:
    assert _is_for(python, marker) is Marker(marker).evaluate(environment_of(python))


_TEXTS = (
    "alpha", "alpha>=1", "Alpha (>=1,<2)", "alpha[extra] <2 ; python_version >= '3'", "alpha<2; python_version < '3'",
    "alpha==2.0", "alpha == 1.9.post1", "alpha~=2.0", "alpha<2; extra == 'wanted'", "alpha<2; extra == 'other'",
    "alpha @ https://example.org/alpha.whl", "alpha (<2", "alpha !", "alphabet<2", "alpha-extra<2", "alpha<2,",
    "alpha ()", "alpha[extra] () ; python_version < '3'",
)  # fmt: skip


@pytest.mark.parametrize("text", _TEXTS)
@pytest.mark.parametrize("version", ["2.0", "2.0rc1", "1.5"])
def test_a_version_is_excluded_as_packaging_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, version: str
) -> None:
    installed = Installed(name="beta", version="1.0", requires=(text,))
    monkeypatch.setattr("releaser.resolution.newest.requirements_in", lambda _: (installed,))
    graph = Graph.of(LockFile.parse(b"version = 1"))
    site = SimpleNamespace(pyproject=Pyproject(path=tmp_path, content={}), project=SimpleNamespace(venv=tmp_path))
    where: tuple[Any, None, Graph, str] = (site, None, replace(graph, extras={"beta": frozenset({"wanted"})}), "3.11.7")
    demands = list(requirements_for(*where, {"alpha"}))
    expected = {"alpha"} if any(demand.excludes("alpha", version) for demand in demands) else set()
    assert find_excluded(*where, {"alpha": version}) == expected
