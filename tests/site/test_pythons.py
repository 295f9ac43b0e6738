"""Which interpreter a site is built with; what uv says is made up here."""

import contextlib
import dataclasses
import json
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from releaser.errors import PreflightError, ToolError
from releaser.site.pythons import (
    PythonRequest,
    admits,
    choose,
    find_base,
    find_newer_python,
    find_request,
    refuse_named_program,
    version_in,
    version_of,
)
from releaser.site.site import Site, open_site
from releaser.system.process import Finished
from tests.site.fakes import FakeRunner

PYPROJECT = '[project]\nname = "site"\nrequires-python = ">=3.11,<3.15"\n'
NONE_FOUND = ToolError(
    "uv failed", returncode=2, output="error: No interpreter found for Python 3.11 in managed\n  installations"
)


@dataclasses.dataclass(kw_only=True)
class Uv(FakeRunner):
    """Finds, of `there` (request to version), what is asked for; None stands for no request at all."""

    there: dict[str | None, str] = dataclasses.field(default_factory=dict)
    listed: Sequence[str] = ()
    broken: ToolError | None = None
    versions: list[str] = dataclasses.field(default_factory=list)

    def run(self, argv: Sequence[str | Path], *, check: bool = True, env: Any = None, **options: Any) -> Finished:
        """Answer as uv does: the version of what it finds is what a later question about its path tells."""
        words = [str(word) for word in argv]
        asked = [word for word in words[6:] if not word.startswith("--")]
        if self.broken:
            self.answers = {"uv python": self.broken}
        elif "list" in words:
            self.answers = {"uv python list": json.dumps([_listed(version) for version in self.listed])}
        elif "--show-version" in words:
            told = asked[0].removeprefix("/opt/")
            self.answers = {"uv python find": told if told in self.listed else self.versions[-1]}
        else:
            version = self.there.get(asked[0] if asked else None)
            self.versions.append(version or "")
            self.remembered.clear()  # all of them have the same path here
            self.answers = {"uv python find": sys.executable if version else NONE_FOUND}
        return super().run(argv, check=check, env=env, **options)


def _listed(version: str) -> dict[str, str]:
    kind = {"t": "freethreaded"}.get(version[-1], "default")
    implementation = "pypy" if version.startswith("pypy") else "cpython"
    number = version.removeprefix("pypy").removesuffix("t")
    return {"implementation": implementation, "variant": kind, "version": number, "path": f"/opt/{version}"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Make a project whose live venv names Python 3.11.7, which is gone."""
    root = tmp_path.resolve() / "site"
    (root / ".venv" / "bin").mkdir(parents=True)
    (root / ".venv" / "pyvenv.cfg").write_text("home = /opt\nversion_info = 3.11.7\n", encoding="utf-8")
    (root / ".venv" / "bin" / "python").symlink_to("/nowhere/python3.11")
    (root / "pyproject.toml").write_text(PYPROJECT, encoding="utf-8")
    (root.parent / "bin").mkdir()
    (root.parent / "bin" / "uv").touch(mode=0o755)
    return root


def site_of(root: Path, *, setting: str = "", listed: Sequence[str] = (), **there: str) -> Site:
    """Read the project; `there` are the interpreters by what is asked for: `any`, or `_3_11` for 3.11."""
    environ = {"PATH": str(root.parent / "bin"), **({"RELEASER_PYTHON": setting} if setting else {})}
    found = {None if key == "any" else key[1:].replace("_", "."): value for key, value in there.items()}
    site = open_site(root, environ)
    return dataclasses.replace(site, runner=Uv(environ=environ, there=found, listed=listed))


def chosen(site: Site, wanted: str | None = None) -> tuple[str, str, PythonRequest | None]:
    """Return the version that is chosen, what it stands in for, and which pin speaks against it."""
    choice = choose(site, site.uv, wanted=wanted)
    runner = site.runner
    assert isinstance(runner, Uv)
    return next(one for one in reversed(runner.versions) if one), choice.instead_of, choice.against


def refused(site: Site, wanted: str | None = None) -> str:
    with pytest.raises(PreflightError) as caught:
        choose(site, site.uv, wanted=wanted)
    return f"{caught.value.message}. {caught.value.advice}"


def test_what_is_gone_is_replaced_by_its_like(root: Path) -> None:
    assert chosen(site_of(root, any="3.13.1", _3_11="3.11.9")) == ("3.11.9", "", None)
    assert chosen(site_of(root, any="3.13.1")) == ("3.13.1", "3.11.7", None)
    three = {"any": "3.13.1", "_3_11": "3.11.9", "_3_12": "3.12.1"}
    assert chosen(site_of(root, setting="3.12", **three))[:2] == ("3.12.1", "3.11.7")
    (root / ".python-version").write_text("# pyenv\n3.12\n", encoding="utf-8")
    assert chosen(site_of(root, **three))[0] == "3.12.1"
    (root / ".python-version").unlink()
    (root / "python3.12").touch()  # what stands there with another minor version counts as gone
    (root / ".venv" / "bin" / "python").unlink()
    (root / ".venv" / "bin" / "python").symlink_to(root / "python3.12")
    assert chosen(site_of(root, any="3.12.3", _3_11="3.11.9")) == ("3.11.9", "", None)
    assert chosen(site_of(root, any="3.12.3")) == ("3.12.3", "3.11.7", None)


@pytest.mark.parametrize(
    ("listed", "nearest"),
    [
        (["3.14.0", "3.12.1", "3.12.9", "3.13.0"], "3.12.9"),
        (["3.13.0", "3.10.4", "3.15.1"], "3.13.0"),
        (["3.11.2", "3.10.4"], "3.11.2"),
        (["3.14.0", "3.13.0rc1", "3.12.4t", "pypy3.12.5"], "3.14.0"),
    ],
)
def test_the_command_that_brings_the_site_back_is_named(root: Path, listed: list[str], nearest: str) -> None:
    said = refused(site_of(root, setting="3.11", listed=listed))
    assert said.startswith("Python 3.11, on which the live release ran, is gone, and environment: RELEASER_PYTHON is")
    short = nearest.rpartition(".")[0]
    assert f"Run `releaser rebuild --python {short}` to move the site to Python {nearest} if its tests" in said
    assert f"Then set environment: RELEASER_PYTHON to '{short}'." in said


@pytest.mark.parametrize("listed", [[], ["3.10.1", "3.15.0"]])
def test_where_nothing_will_do_it_is_said_what_to_install(root: Path, listed: list[str]) -> None:
    said = refused(site_of(root, listed=listed))
    file = root / "pyproject.toml"
    assert f"Install Python 3.11 again, or a version that requires-python allows ({file}: '>=3.11" in said
    assert "requires-python allows no installed version." in said
    raised = 'set requires-python to ">=3.15,<3.16", run `uv lock`, commit and push that (`git pull` on this host)'
    move = f"Or move the site to Python 3.15.0: {raised}, then run `releaser rebuild --python 3.15`"
    assert (move in said) == bool(listed)


@pytest.mark.parametrize(
    ("said", "is_cache"),
    [
        ("error: Failed to initialize cache at `/none`\n  cause: failed to create directory: Permission denied", True),
        ("error: failed to write `/home/ada/.cache/uv/archive-v0/x`: Permission denied (os error 13)", True),
        ("error: failed to read `/srv/x`: Permission denied (os error 13)", False),
    ],
)
def test_why_uv_cannot_look_for_any_is_said(root: Path, said: str, is_cache: bool) -> None:
    broken, site = ToolError("uv failed", returncode=2, output=said), site_of(root)
    environ = {**site.runner.environ, "HOME": "/home/ada"}
    told = refused(dataclasses.replace(site, runner=Uv(environ=environ, broken=broken)))
    assert "allows no installed version" not in told
    assert "uv could not list the installed versions: uv failed: failed to" in told.replace("Failed", "failed")
    assert ("UV_CACHE_DIR" in told) is is_cache


def test_what_somebody_asks_for_is_looked_at(root: Path) -> None:
    site = site_of(root, _3_12="3.12.1", _3_10="3.10.4", listed=["3.12.1", "3.13.0"])
    assert chosen(site, "3.12") == ("3.12.1", "", None)
    said = refused(site, "3.14")
    assert "--python 3.14: uv finds no such Python: No interpreter found" in said
    assert "in managed installations. " in said
    said = refused(site, "3.10")
    assert f"{root}/pyproject.toml: requires-python is '>=3.11,<3.15', which does not allow Python 3.10.4" in said
    assert "Installed: Python 3.12.1, 3.13.0." in said


def test_a_pin_that_is_for_another_one_matters(root: Path) -> None:
    for pin in ("3", "3.12.1", ">=3.11", "cpython@3.12", "python3.12"):
        assert chosen(site_of(root, setting=pin, _3_12="3.12.1"), "3.12") == ("3.12.1", "", None)
    for pin in ("3.13", "3.12.2", "<3.12", "3.1", "pypy"):
        against = PythonRequest(version=pin, source="environment: RELEASER_PYTHON")
        assert chosen(site_of(root, setting=pin, _3_12="3.12.1"), "3.12") == ("3.12.1", "", against)


@pytest.mark.parametrize(
    ("setting", "version", "newer"),
    [
        ("", "3.13.1", "3.14.2"),  # 3.15 is beyond requires-python
        ("", "3.14.2", None),
        ("", "3.14.3", None),
        ("3.13", "3.12.1", "3.13.1"),
        ("<3.14", "3.13.1", None),
        ("/opt/python", "3.13.1", None),
        ("", "unknown", None),
    ],
)
def test_a_newer_one_that_is_installed_is_found(root: Path, setting: str, version: str, newer: str | None) -> None:
    site = site_of(root, setting=setting, listed=["3.13.1", "3.14.2", "3.14.1", "3.15.0", "3.9.1"])
    assert find_newer_python(site, site.uv, version) == newer


def test_latest_is_no_python_to_ask_for_and_a_range_that_cannot_be_read_admits_all(root: Path) -> None:
    site = site_of(root, setting="latest")
    assert find_request(site) is None
    (finding,) = site.findings
    assert "RELEASER_PYTHON must name a Python such as 3.13, or be removed" in finding.message
    assert "`releaser rebuild --python VERSION`" in finding.message
    (root / "pyproject.toml").write_text('[project]\nname = "site"\nrequires-python = "new"\n', encoding="utf-8")
    assert admits(site_of(root), "2.7")


def test_pyvenv_cfg_names_the_version(tmp_path: Path) -> None:
    texts = {"version_info = 3.11.7.final.0\n": "3.11.7", "version = 3.12.1\n": "3.12.1", "home = /usr\n": "", "": ""}
    for text, version in texts.items():
        (tmp_path / "pyvenv.cfg").write_text(text, encoding="utf-8")
        assert version_in(tmp_path) == version
    assert version_in(tmp_path / "none") == ""


# Which interpreter a venv was made from, whatever made the venv


def installed(prefix: Path, minor: str = "3.10") -> Path:
    """Make what an installation of Python has in its bin; return the interpreter."""
    (prefix / "bin").mkdir(parents=True)
    python = prefix / "bin" / f"python{minor}"
    python.touch()
    for alias in ("python3", "python"):
        (prefix / "bin" / alias).symlink_to(python.name)
    return python


def venv(place: Path, home: Path | str, target: Path | None, version: str = "3.10.13") -> Path:
    """Make a venv whose interpreter is a link to `target`, or a copy of its own; return that interpreter."""
    (place / "bin").mkdir(parents=True)
    (place / "pyvenv.cfg").write_text(f"home = {home}\nversion = {version}\n", encoding="utf-8")
    python = place / "bin" / "python"
    if target is None:
        python.touch()
    else:
        python.symlink_to(target)
    return python


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return installed(tmp_path.resolve() / "opt")


def test_outside_of_a_venv_it_is_itself(base: Path) -> None:
    for python in (base, base.with_name("python3"), Path("/nowhere/python")):
        assert find_base(python) == python


def test_of_a_venv_it_is_the_one_in_its_home(base: Path, tmp_path: Path) -> None:
    for name in ("python", "python3", "python3.10"):
        assert find_base(venv(tmp_path / name, base.parent, base.with_name(name))) == base
    first = tmp_path / "python" / "bin" / "python"
    assert find_base(venv(tmp_path / "of a venv", first.parent, first)) == base
    (tmp_path / "newest").symlink_to(base.parent.parent)  # uv and Homebrew have such links for venvs to follow
    home = tmp_path / "newest" / "bin"
    assert find_base(venv(tmp_path / "by a link", home, home / "python3.10")) == home / "python3.10"


def test_by_a_link_to_the_venv_too(base: Path, tmp_path: Path) -> None:
    venv(tmp_path / "releases" / "venv", base.parent, base)
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / ".venv").symlink_to("../releases/venv")
    (tmp_path / "site" / "python").symlink_to(".venv/bin/python")
    assert find_base(tmp_path / "site" / ".venv" / "bin" / "python") == base
    assert find_base(tmp_path / "site" / "python") == base


def test_a_copy_is_of_what_home_has_in_that_version_and_a_new_link_is_followed(base: Path, tmp_path: Path) -> None:
    assert find_base(venv(tmp_path / "copied", base.parent, None)) == base
    assert find_base(venv(tmp_path / "orphan", "/nowhere", None)) is None
    assert find_base(venv(tmp_path / "newer", base.parent, None, version="3.11.2")) is None
    itself = tmp_path.resolve() / "itself"
    assert find_base(venv(itself, itself / "bin", itself / "bin" / "python")) is None
    other = installed(tmp_path.resolve() / "other", "3.12")
    assert find_base(venv(tmp_path / "linked again", base.parent, other)) == other


@pytest.mark.parametrize(
    ("line", "is_refused"),
    [
        ("3.13", False), (">=3.11,<3.14", False), ("cpython@3.13", False), ("pypy3.10", False), ("3.13t", False),
        ("cpython-3.12.3-linux-x86_64-gnu", False), ("# ./evil", False), ("3.12\r", False), ("python3.12", False),
        ("./evil", True), ("/usr/bin/python3", True), ("evil", True), ("v\fenv", True), ("3.12\u2028evil", True),
        ("3.12\x1c", True), ("v\renv", True), ("3.9", True),
    ],
)  # fmt: skip
def test_a_commit_names_versions_and_no_programs(tmp_path: Path, line: str, is_refused: bool) -> None:
    """uv starts what lies at a path, and ends a line at no sign but a line feed (seen with uv 0.13)."""
    root, checkout = tmp_path / "tree", tmp_path / "checkout"
    root.mkdir()
    checkout.mkdir()
    (root / "3.9").mkdir()  # an environment, perhaps
    (root / ".python-version").write_bytes(f"{line}\n".encode())
    with pytest.raises(PreflightError) if is_refused else contextlib.nullcontext():
        refuse_named_program(root, root, checkout)
    (checkout / ".python-version").write_bytes(f"{line}\n".encode())
    refuse_named_program(root, root, checkout)


@dataclasses.dataclass(kw_only=True)
class UvOfVenv(FakeRunner):
    """Picks one interpreter."""

    picked: str = ""

    def run(self, argv: Sequence[str | Path], **options: Any) -> Finished:
        """Answer as uv does."""
        found = platform.python_version() if "--show-version" in argv else self.picked
        self.answers = {"uv python find": found, "uv --version": "uv 0.13.8"}
        return super().run(argv, **options)


def questions(root: Path, environ: dict[str, str], picked: Path) -> list[str]:
    """Return what one run asks uv."""
    site = open_site(root, environ)
    runner = UvOfVenv(environ=environ, picked=str(picked), marks={"_RELEASER_RUN": "1"})
    site = dataclasses.replace(site, runner=runner)
    version_of(site, site.uv)
    choose(site, site.uv)
    return [words[1] for words in runner.asked if "--show-version" not in words]


@pytest.fixture
def own_python(root: Path) -> tuple[Path, dict[str, str]]:
    """Give the site the Python of the tests, and a program as uv; return the path of the former, and variables."""
    venv, python = root / ".venv", Path(sys.executable).resolve()
    config = f"home = {python.parent}\nversion_info = {platform.python_version()}\n"
    (venv / "pyvenv.cfg").write_text(config, encoding="utf-8")
    (venv / "bin" / "python").unlink()
    (venv / "bin" / "python").symlink_to(python)
    (root.parent / "bin" / "uv").write_bytes(b"\x7fELF")
    environ = {"PATH": str(root.parent / "bin"), "HOME": str(root.parent)}
    open_site(root, environ).state_dir.mkdir(parents=True)
    return venv / "bin" / "python", environ


@pytest.mark.parametrize(
    ("variable", "file", "content", "asked"),
    [
        ("", "README", b"", []),
        ("INVOCATION_ID", "", b"", []),
        ("UV_PYTHON_PREFERENCE", "", b"", ["python"]),
        ("", "site/.python-version", b"3.12\n", ["python"]),
        ("", ".python-versions", b"3.12\n", ["python"]),
        ("", "site/pyproject.toml", PYPROJECT.encode() + b"\n", ["python"]),
        ("", "pyproject.toml", b"", ["python"]),
        ("", "site/uv.toml", b"offline = true\n", ["python"]),
        ("", ".config/uv/uv.toml", b"offline = true\n", ["python"]),
        ("", ".config/uv/.python-version", b"3.12\n", ["python"]),
        ("", "bin/uv", b"\x7fELF 2", ["--version", "python"]),
        ("", "bin/uv", b"#!/bin/sh\n", ["--version", "python"]),
    ],
)
def test_uv_is_asked_again_only_if_something_changed(
    root: Path, own_python: tuple[Path, dict[str, str]], variable: str, file: str, content: bytes, asked: list[str]
) -> None:
    python, environ = own_python
    assert questions(root, environ, python) == ["--version", "python"]
    assert questions(root, environ, python) == []
    if variable:
        environ[variable] = "only-managed"
    if file:
        (root.parent / file).parent.mkdir(parents=True, exist_ok=True)
        (root.parent / file).write_bytes(content)
    assert questions(root, environ, python) == asked


def test_uv_is_asked_again_if_the_named_settings_changed(root: Path, own_python: tuple[Path, dict[str, str]]) -> None:
    python, environ = own_python
    environ["UV_CONFIG_FILE"] = "../uv-settings.toml"
    questions(root, environ, python)
    (root.parent / "uv-settings.toml").write_text('python-preference = "only-system"\n', encoding="utf-8")
    assert questions(root, environ, python) == ["python"]


def test_without_kept_answers_uv_is_asked_again(root: Path, own_python: tuple[Path, dict[str, str]]) -> None:
    python, environ = own_python
    questions(root, environ, python)
    for file in open_site(root, environ).state_dir.glob("answer-*"):
        file.unlink()
    assert questions(root, environ, python) == ["--version", "python"]


@pytest.mark.parametrize("text", ["[tool.uv.workspace]\nmembers = ['one']\n", ""])
def test_uv_is_asked_each_time_if_it_picks_another_interpreter_or_has_a_workspace(
    root: Path, own_python: tuple[Path, dict[str, str]], text: str
) -> None:
    python, environ = own_python
    (root / "pyproject.toml").write_text(PYPROJECT + text, encoding="utf-8")
    for _ in range(2):
        assert "python" in questions(root, environ, python if text else python.resolve())
