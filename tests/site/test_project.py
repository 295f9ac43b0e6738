"""The paths of a project, and its pyproject.toml."""

from datetime import date
from pathlib import Path
from typing import Any

import pytest

from releaser.errors import PreflightError
from releaser.site.project import Project, Pyproject, local_sources, read_pyproject


@pytest.mark.parametrize(
    ("state_dir", "venv", "expected"),
    [
        ("../state", "env", ("/srv/state", "/srv/shop/env")),
        ("/var/lib/x/../y/", "../env", ("/var/lib/y", "/srv/env")),
        (".state", "/srv/www/env", ("/srv/shop/.state", "/srv/www/env")),
        ("~/state", "a/./b", ("/home/ada/state", "/srv/shop/a/b")),
    ],
)
def test_places_may_be_set(
    monkeypatch: pytest.MonkeyPatch, state_dir: str, venv: str, expected: tuple[str, str]
) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    project = Project.at(Path("/srv/shop"), state_dir=state_dir, venv=venv)
    assert (str(project.state_dir), str(project.venv)) == expected


def test_the_symlink_stands_where_it_really_is_and_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "www").mkdir()
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "web").symlink_to(tmp_path / "www")
    (tmp_path / "www" / "env").symlink_to("/nowhere")
    assert Project.at(tmp_path / "site", state_dir=None, venv="web/env").venv == tmp_path / "www" / "env"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (None, "does not exist"),
        (b"\xff", "cannot be read"),
        (b"[project", "is not valid TOML"),
        (b"a = 1\na = 2\n", "is not valid TOML"),
        (b"a = " + b"1" * 5000, "is not valid TOML"),
        (b"a = " + b"[" * 100_000, "is not valid TOML"),
    ],
)
def test_a_pyproject_that_cannot_be_read_is_unfit(tmp_path: Path, data: bytes | None, words: str) -> None:
    path = tmp_path / "pyproject.toml"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(PreflightError) as caught:
        read_pyproject(path)
    assert caught.value.message.startswith(f"{path} {words}")
    assert len(caught.value.message) < 500
    assert caught.value.advice


def a_pyproject(**content: Any) -> Pyproject:
    return Pyproject(path=Path("/srv/shop/pyproject.toml"), content=content)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({}, {}),
        ({"tool": {"uv": {"package": True}}}, {"package": True}),
        ({"tool": {"uv": 5}}, {}),
        ({"tool": []}, {}),
        ({"tool": "uv"}, {}),
    ],
)
def test_tables_of_a_wrong_type_read_as_empty(content: dict[str, Any], expected: dict[str, Any]) -> None:
    assert a_pyproject(**content).table("tool", "uv") == expected


BASE: dict[str, Any] = {
    "project": {"name": "shop", "version": "1.0", "dependencies": ["django"], "requires-python": ">=3.11"},
    "dependency-groups": {"prod": ["gunicorn"]},
    "tool": {"uv": {"index": [{"url": "https://index.example"}]}, "releaser": {"keep": 3}},
}


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({}, True),
        ({"project": {**BASE["project"], "version": "2.0"}}, True),
        ({"project": {**BASE["project"], "description": "A shop"}}, True),
        ({"tool": {**BASE["tool"], "releaser": {"keep": 5}}}, True),
        ({"tool": {**BASE["tool"], "ruff": {}}}, True),
        ({"build-system": {"requires": ["hatchling"]}}, True),
        ({"project": {**BASE["project"], "dependencies": ["django>=5"]}}, False),
        ({"project": {**BASE["project"], "requires-python": ">=3.12"}}, False),
        ({"project": {**BASE["project"], "optional-dependencies": {"x": ["y"]}}}, False),
        ({"dependency-groups": {"prod": ["uvicorn"]}}, False),
        ({"dependency-groups": {}}, False),
        ({"tool": {"uv": {"index": []}}}, False),
        ({"tool": {"uv": {**BASE["tool"]["uv"], "constraint-dependencies": ["x<2"]}}}, False),
    ],
)
def test_dependencies_are_the_same_if_the_same_would_be_installed(change: dict[str, Any], same: bool) -> None:
    one, two = a_pyproject(**BASE), a_pyproject(**{**BASE, **change})
    assert (one.dependencies_key() == two.dependencies_key()) is same


def test_a_pyproject_of_any_content_has_a_key() -> None:
    odd = a_pyproject(project={"dependencies": [date(2026, 11, 20), float("nan")]}, tool={"uv": {"index": 5}})
    assert odd.dependencies_key() == odd.dependencies_key()


@pytest.mark.parametrize(
    ("uv", "expected"),
    [
        ({}, ()),
        ({"find-links": ["wheels", "https://example.org/x", "./a/../b"]}, ("wheels", "b")),
        ({"find-links": "wheels"}, ("wheels",)),
        ({"index": [{"url": "wheels/simple"}, {"url": "https://example.org"}, {"name": "x"}, 5]}, ("wheels/simple",)),
        ({"sources": {"a": {"path": "../lib"}, "b": {"git": "https://x"}, "c": {"workspace": True}}}, ("../lib",)),
        ({"sources": {"a": [{"path": "x", "marker": "y"}, {"index": "z"}]}}, ("x",)),
        ({"sources": 5, "index": None, "find-links": [5]}, ()),
    ],
)
def test_the_places_that_packages_come_from_are_known(uv: dict[str, Any], expected: tuple[str, ...]) -> None:
    assert local_sources(a_pyproject(tool={"uv": uv})) == expected
