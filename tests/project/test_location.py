"""The quick way to find state and symlink: it agrees with the whole settings, or declines."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from releaser.errors import Unfit
from releaser.project.location import default_state_dir, quick_location
from releaser.project.project import Project, Pyproject, read_pyproject
from releaser.project.settings import load

if TYPE_CHECKING:
    from collections.abc import Mapping


def whole(root: Path, environ: Mapping[str, str]) -> tuple[str, str]:
    """Find both places with the whole settings."""
    try:
        pyproject = read_pyproject(root / "pyproject.toml")
    except Unfit:
        pyproject = Pyproject(path=root / "pyproject.toml", content={})
    loaded = load(
        table=pyproject.table("tool").get("releaser", {}),
        pyproject=pyproject.path,
        env_file=root.parent / ".env",
        environ=environ,
    )
    project = Project.at(root, state_dir=loaded.settings.state_dir, venv=loaded.settings.venv)
    return str(project.state_dir), str(project.venv)


def write(outer: Path, pyproject: str | bytes | None, dotenv: str | bytes | None) -> Path:
    root = outer / "site"
    root.mkdir(exist_ok=True)
    for path, content in ((root / "pyproject.toml", pyproject), (outer / ".env", dotenv)):
        if content is not None:
            path.write_bytes(content.encode() if isinstance(content, str) else content)
    return root


@pytest.fixture
def outer(tmp_path: Path) -> Path:
    return tmp_path.resolve()


def test_by_default_the_state_lies_beside_the_project(outer: Path) -> None:
    root = write(outer, "[project]\nname = 'site'\n", "ADMINS_JSON=[]\n")
    assert quick_location(str(root), {}) == (str(outer / ".releaser" / "site"), str(root / ".venv"))
    assert default_state_dir("/srv/site") == "/srv/.releaser/site"


# pyproject.toml, .env, environment; whether the quick way may answer.
TABLE: list[tuple[str | bytes | None, str | bytes | None, dict[str, str], bool]] = [
    ("", "", {}, True),
    (None, None, {}, True),
    ("[tool.releaser]\nkeep = 3\n", "RELEASER_KEEP=3\n", {"RELEASER_KEEP": "3"}, True),
    ("[project]\nname = 'venv-tools'\n", None, {}, True),  # not of releaser
    ("# releaser makes the venv\n", None, {}, False),
    ("[tool.releaser]\nvenv = 'env'\n", None, {}, False),
    ("[tool.releaser]\nstate_dir = 'x'\n", None, {}, False),
    ("[tool]\nreleaser = { venv = 'env' }\n", None, {}, False),
    ("tool.releaser.venv = 'env'\n", None, {}, False),
    ('[tool.releaser]\n"\\u0076env" = "env"\n', None, {}, False),
    ('[tool.releaser]\n"\\U00000076env" = "env"\n', None, {}, False),
    ('[tool."rel\\u0065aser"]\n"v\\u0065nv" = "env"\n', None, {}, False),
    ('[tool."rel\\U00000065aser"]\n"v\\U00000065nv" = "env"\n', None, {}, False),
    (b"\xff\xfe", None, {}, False),
    ("[tool.releaser\nvenv = 'env'\n", None, {}, False),
    (None, "RELEASER_VENV=env\n", {}, False),
    (None, "export RELEASER_STATE_DIR='x'\n", {}, False),
    (None, "# RELEASER_VENV=env\n", {}, False),
    (None, "\ufeffRELEASER_VENV=env\n", {}, False),
    (None, b"\xe9=1\n", {}, False),
    (None, "A=1\n=\nB=2\n", {}, True),
    (None, None, {"RELEASER_VENV": "env"}, True),
    (None, None, {"RELEASER_VENV": "../env"}, True),
    (None, None, {"RELEASER_VENV": "web/../env/."}, True),
    (None, None, {"RELEASER_VENV": "/srv/env"}, True),
    (None, None, {"RELEASER_VENV": ""}, True),
    (None, None, {"RELEASER_VENV": " "}, False),
    (None, None, {"RELEASER_VENV": " env"}, False),
    (None, None, {"RELEASER_VENV": "a\nb"}, False),
    (None, None, {"RELEASER_STATE_DIR": "x/./y/../z"}, True),
    (None, None, {"RELEASER_STATE_DIR": "/srv/state/"}, True),
    (None, None, {"RELEASER_STATE_DIR": "~/state"}, False),
    (None, None, {"RELEASER_STATE_DIR": "~nobody-of-this-name/state"}, False),
    (None, None, {"RELEASER_STATE_DIR": ""}, True),
    (None, None, {"RELEASER_STATE_DIR": "\t"}, False),
    ("[tool.releaser]\nvenv = 'env'\n", None, {"RELEASER_VENV": "other"}, False),
]


@pytest.mark.parametrize(("pyproject", "dotenv", "environ", "answers"), TABLE)
def test_the_quick_way_agrees_or_declines(
    outer: Path, pyproject: str | bytes | None, dotenv: str | bytes | None, environ: dict[str, str], answers: bool
) -> None:
    root = write(outer, pyproject, dotenv)
    assert quick_location(str(root), environ) == (whole(root, environ) if answers else None)


def test_a_directory_on_the_way_to_the_symlink_may_be_a_link(outer: Path) -> None:
    root = write(outer, "", None)
    (outer / "www").mkdir()
    (root / "web").symlink_to(outer / "www")
    environ = {"RELEASER_VENV": "web/env"}
    assert quick_location(str(root), environ) == whole(root, environ)
    assert whole(root, environ)[1] == str(outer / "www" / "env")


def test_the_symlink_itself_is_not_followed(outer: Path) -> None:
    root = write(outer, "", None)
    (root / ".venv").symlink_to(outer)
    (root / "loop").symlink_to("loop")
    assert quick_location(str(root), {}) == whole(root, {})
    assert whole(root, {})[1] == str(root / ".venv")
    assert quick_location(str(root), {"RELEASER_VENV": "loop/env"}) == whole(root, {"RELEASER_VENV": "loop/env"})


def test_a_file_that_cannot_be_read_is_left_to_the_whole_settings(outer: Path) -> None:
    root = write(outer, "", None)
    (outer / ".env").mkdir()
    assert quick_location(str(root), {}) is None


# Texts that are made of what matters here, put together in any way.
KEYS = ["venv", "state_dir", "state-dir", "keep", '"venv"', "'venv'", '"v\\u0065nv"', '"v\\U00000065nv"', "ve nv"]
VALUES = ['"env"', "'../env'", '"/srv/env"', '" env"', '""', "1", "[]", '"~/x"', '"a\\nb"', "{ venv = 'x' }", "é"]
TABLES = ["[tool.releaser]", "[tool]", '[tool."releaser"]', '[tool."rel\\u0065aser"]', "[tool.other]", "[project]"]
assignments = st.builds(
    "{} = {}".format, st.sampled_from([*KEYS, "releaser", "releaser.venv"]), st.sampled_from(VALUES)
)
pyprojects = st.lists(st.one_of(st.sampled_from([*TABLES, "# releaser venv", "[["]), assignments), max_size=6)
NAMES = ["RELEASER_VENV", "RELEASER_STATE_DIR", "RELEASER_KEEP", "export RELEASER_VENV", "'RELEASER_VENV'", "A", ""]
dotenvs = st.lists(
    st.builds("{}={}".format, st.sampled_from(NAMES), st.sampled_from(["env", "'x y'", '"', "", "~/x", "${A}", "é"])),
    max_size=3,
)
environments = st.dictionaries(
    st.sampled_from(["RELEASER_VENV", "RELEASER_STATE_DIR", "RELEASER_KEEP", "HOME"]),
    st.one_of(
        st.sampled_from(["env", "../x", "/srv/x/", "~", "~/x", " x", "x ", "", "a\nb", "a//b/.", "-", "//x", "/"]),
        st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8),
    ),
    max_size=3,
)


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(pyproject=pyprojects, dotenv=dotenvs, environ=environments)
def test_the_quick_way_agrees_or_declines_whatever_is_written(
    pyproject: list[str], dotenv: list[str], environ: dict[str, str]
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        root = write(Path(os.path.realpath(directory)), "\n".join(pyproject), "\n".join(dotenv))
        assert quick_location(str(root), environ) in (None, whole(root, environ))
