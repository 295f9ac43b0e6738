"""What a project without a lock asks for, and what is in the way of locking it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from releaser.crossing import read_wanted
from releaser.errors import UsageError
from releaser.project.imports import Modules
from releaser.project.project import Project, Pyproject
from releaser.project.settings import Settings
from releaser.project.site import Site
from releaser.steps.asking import Asked, Wanted, asked_of_file, asked_of_venv
from releaser.tools.distributions import Distribution, Environment
from releaser.tools.process import Runner

if TYPE_CHECKING:
    from collections.abc import Mapping

PLACE = "/srv/shop/.venv/lib/python3.11/site-packages"
MARKERS = {"python_version": "3.11", "python_full_version": "3.11.7", "sys_platform": "linux"}
BY_SETUP = "was installed by its setup.py, which leaves no trace of where it came from"
NOTHING = Modules(imported=frozenset(), mentioned=frozenset())


def package(name: str, *requires: str, version: str = "1.0", **fields: Any) -> Distribution:
    metadata = f"{name}-{version}.dist-info"
    known = {"location": PLACE, "metadata": metadata, "modules": frozenset({name}), **fields}
    return Distribution(name=name, version=version, requires=requires, **known)


def site_at(root: Path, content: Mapping[str, Any] | None = None) -> Site:
    return Site(
        project=Project.at(root, state_dir=None, venv=".venv"),
        settings=Settings(),
        pyproject=Pyproject(path=root / "pyproject.toml", content=content or {}),
        findings=(),
        runner=Runner(environ={}),
    )


def of_venv(root: Path, *packages: Distribution, used: Modules = NOTHING, **wanted: Any) -> Asked:
    environment = Environment(python=Path("/usr/bin/python3"), markers=MARKERS, distributions=packages)
    return asked_of_venv(site_at(root), Wanted(venv=root, **wanted), environment, used)


def of_file(
    root: Path, text: str, *packages: Distribution, content: Mapping[str, Any] | None = None, **wanted: Any
) -> Asked:
    (root / "requirements.txt").write_text(text, encoding="utf-8")
    environment = Environment(python=Path("/usr/bin/python3"), markers=MARKERS, distributions=packages)
    asked = Wanted(requirements=root / "requirements.txt", **wanted)
    return asked_of_file(site_at(root, content), asked, environment, NOTHING)


def messages(asked: Asked) -> list[str]:
    assert all(one.advice for one in asked.problems)
    return [one.message for one in asked.problems]


def test_what_the_code_imports_is_asked_for(tmp_path: Path) -> None:
    used = Modules(imported=frozenset({"b", "shared"}), mentioned=frozenset())
    shared = frozenset({"shared"})
    packages = [package("a", "b", "c", "d"), package("b"), package("c", modules=shared), package("d", modules=shared)]
    asked = of_venv(tmp_path, *packages, used=used)
    assert asked.dependencies == ("a>=1.0", "b>=1.0")
    assert asked.versions == {"a": "1.0", "b": "1.0", "c": "1.0", "d": "1.0"}
    assert (messages(asked), asked.whole) == ([], True)


def test_packages_of_the_system_are_told_of(tmp_path: Path) -> None:
    packages = [package("a", "b"), package("b", outside=True), *(package(f"x{n}", outside=True) for n in range(30))]
    taken, left = of_venv(tmp_path, *packages).notes
    assert taken.message == "these packages of the operating system come from the index now: b"
    assert left.message.endswith("x18, x19 and 10 more")


@pytest.mark.parametrize(
    ("packages", "wanted", "expected"),
    [
        ([package("a", "b")], {}, ["a 1.0 needs b, which is not installed"]),
        ([package("a")], {"without": frozenset({"b"})}, ["--without b: it is not installed for /usr/bin/python3"]),
        (
            [package("a", metadata="a.egg-info")],
            {},
            [f"a 1.0 {BY_SETUP}, so no lock can hold it"],
        ),
        ([package("a", metadata="a.egg-info")], {"without": frozenset({"a"})}, []),
    ],
)
def test_what_is_in_the_way_is_named(
    tmp_path: Path, packages: list[Distribution], wanted: dict[str, Any], expected: list[str]
) -> None:
    assert messages(of_venv(tmp_path, *packages, **wanted)) == expected


def test_the_project_itself_must_be_one_that_uv_installs(tmp_path: Path) -> None:
    own = package("shop", direct_url={"url": tmp_path.as_uri(), "dir_info": {"editable": True}})
    (message,) = messages(of_venv(tmp_path, package("a"), own))
    assert message.startswith("shop 1.0 is the project itself, and ")
    built: dict[str, Any] = {"build-system": {"requires": []}}
    assert messages(of_file(tmp_path, "-e .\na\n", package("a"), own, content=built)) == []


def test_what_is_given_takes_the_place_of_what_is_installed(tmp_path: Path) -> None:
    theme = tmp_path / "theme"
    theme.mkdir()
    (theme / "pyproject.toml").touch()
    given = read_wanted(tmp_path, None, [], [f"theme[x] @ {theme}", "a==1.0", "new==2.0"]).given
    editable = {"url": theme.as_uri(), "dir_info": {"editable": True}}
    installed = [package("a", version="1.0+shop", metadata="a.egg-info"), package("theme", direct_url=editable)]
    asked = of_venv(tmp_path / "shop", *installed, given=given)
    assert messages(asked) == []
    assert asked.versions == {"a": "1.0", "new": "2.0"}
    assert asked.given == {"theme"}
    assert asked.dependencies == ("a>=1.0", "new>=2.0", "theme[x]")
    assert asked.sources == {"theme": {"path": "../theme", "editable": True}}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\nb==1.0\n", []),
        ("a==2\n", ["{file}, line 1: a==2 is installed as 1.0"]),
        ("a\n\nc>1\n", ["{file}, line 3: c>1 is not installed"]),
        ("c; sys_platform == 'win32'\n", []),
        ("b c\n", ["{file}, line 1: 'b c' is no requirement"]),
        ("-e ./lib\n", ["{file}, line 1: -e ./lib names a place and no version of an index, so no lock can hold it"]),
        ("--index-url https://grace:hush@example.org/simple\n", ["{file} names an index with a password"]),
    ],
)
def test_a_file_and_a_venv_must_agree(tmp_path: Path, text: str, expected: list[str]) -> None:
    found = messages(of_file(tmp_path, text, package("a"), package("b")))
    file = tmp_path / "requirements.txt"
    assert len(found) == len(expected)
    assert all(one.startswith(start.format(file=file)) for one, start in zip(found, expected, strict=True))


def test_a_file_alone_gives_its_pins(tmp_path: Path) -> None:
    (tmp_path / "pins.txt").write_text("b==2.0\nc<3\n", encoding="utf-8")
    asked = of_file(tmp_path, "-c pins.txt\na==1.0\nb\nd==1 # via a\ne==1\n", without=frozenset({"e"}))
    assert asked.versions == {"a": "1.0", "b": "2.0", "d": "1"}
    assert asked.dependencies == ("a>=1.0", "b")
    assert (asked.constraints, asked.whole) == (("c<3",), False)


def test_indexes_come_from_the_file_unless_pyproject_names_one(tmp_path: Path) -> None:
    text = "-i https://i.example.org/simple\n--extra-index-url https://x.example.org/simple\n-f ../wheels\na==1\n"
    asked = of_file(tmp_path, text)
    assert asked.indexes == (
        {"url": "https://x.example.org/simple"}, {"url": "https://i.example.org/simple", "default": True},
    )  # fmt: skip
    assert asked.links == ("../wheels",)
    assert of_file(tmp_path, text, content={"tool": {"uv": {"index": [{"url": "x"}]}}}).indexes == ()


@pytest.mark.parametrize(
    ("without", "given", "message"),
    [
        (["A_b"], ["a-b==1"], "--with and --without both name a-b"),
        ([], ["a>=1"], "--with a>=1 does not say which version"),
        ([], ["a==1.*"], "does not say which version"),
        ([], ["a==1", "a==2"], "--with names a twice"),
        ([], ["a @ /nowhere"], "--with 'a @ /nowhere' names /nowhere, which is not there"),
    ],
)
def test_options_that_make_no_sense_are_refused(without: list[str], given: list[str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_wanted(Path("venv"), None, without, given)
    assert message in caught.value.message
    assert caught.value.advice
