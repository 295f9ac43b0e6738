"""Which dependency groups, test command and unix group a project uses when no setting names one."""

import contextlib
import grp
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from releaser.errors import PreflightError
from releaser.site import conventions
from releaser.site.project import Pyproject
from releaser.site.settings import Settings
from tests.support.guards import require

FILE = Path("/srv/site/pyproject.toml")
WEB = ["gunicorn"]


def pyproject(uv: Mapping[str, Any] | None = None, **groups: Any) -> Pyproject:
    content = {"project": {"name": "shop"}, "dependency-groups": groups, "tool": {"uv": uv or {}}}
    return Pyproject(path=FILE, content=content)


@pytest.mark.parametrize(
    ("host", "setting", "groups", "expected"),
    [
        ("dweb1", None, ["staging"], "staging"),
        ("qweb1", None, ["staging"], "staging"),
        ("pweb1.example.org", None, ["production"], "production"),
        ("pweb1", None, ["prod"], "production"),
        ("debian", None, ["prod"], "local"),
        ("pop-os", None, [], "local"),
        ("laptop", None, ["staging", "prod"], "local"),
        ("pweb1", "local", ["prod"], "local"),
        ("laptop", "production", [], "production"),
    ],
)
def test_the_environment_is_as_set_or_by_host_where_its_group_exists(
    monkeypatch: pytest.MonkeyPatch, host: str, setting: str | None, groups: list[str], expected: str
) -> None:
    monkeypatch.setattr("os.uname", lambda: os.uname_result(("Linux", host, "6.1", "#1", "x86_64")))
    there = pyproject(None, **dict.fromkeys(groups, WEB))
    assert conventions.choose_environment(Settings(environment=setting), there) == expected


@pytest.mark.parametrize(
    ("environment", "setting", "groups", "expected"),
    [
        ("staging", None, {"staging": WEB, "prod": WEB}, "staging"),
        ("production", None, {"staging": WEB, "prod": WEB}, "prod"),
        ("production", None, {"production": WEB}, "production"),
        ("production", None, {"prod": WEB, "production": WEB}, "prod"),
        ("local", None, {"local": WEB, "prod": WEB}, "local"),
        ("local", None, {"prod": WEB}, None),
        ("local", None, {}, None),
        ("staging", None, {"staging": []}, "staging"),
        ("production", None, {"prod": [], "production": WEB}, "prod"),
        ("production", "web", {"web": WEB, "prod": WEB}, "web"),
        ("local", "web", {"web": WEB}, "web"),
        ("production", "none", {"prod": WEB}, None),
        ("production", "none", {"none": WEB}, "none"),
        ("staging", None, {"staging": [{"include-group": "web"}], "web": WEB}, "staging"),
    ],
)
def test_the_group_is_the_one_for_the_environment(
    environment: str, setting: str | None, groups: dict[str, Any], expected: str | None
) -> None:
    settings = Settings(environment=environment, group=setting)
    assert conventions.choose_dependency_group(settings, pyproject(**groups)) == expected


def test_only_servers_want_a_group() -> None:
    def lacks(environment: str, setting: str | None = None, **groups: Any) -> bool:
        return conventions.lacks_group(Settings(environment=environment, group=setting), pyproject(**groups))

    assert lacks("production")
    assert lacks("staging", prod=WEB)
    assert not lacks("production", production=[])
    assert not lacks("production", "none")
    assert not lacks("local")


@pytest.mark.parametrize(
    ("environment", "setting", "groups", "message"),
    [
        ("staging", None, {}, "has no group `staging` (environment staging)"),
        ("production", None, {"staging": WEB}, "has no group `prod` or `production` (environment production)"),
        ("local", "web", {"local": WEB}, "has no group `web` (environment local)"),
        ("staging", None, {"staging": "gunicorn"}, "dependency group `staging` is not a list"),
        ("local", None, {"local": {}}, "dependency group `local` is not a list"),
    ],
)
def test_a_group_that_will_not_do_is_unfit(
    environment: str, setting: str | None, groups: dict[str, Any], message: str
) -> None:
    with pytest.raises(PreflightError) as caught:
        conventions.choose_dependency_group(Settings(environment=environment, group=setting), pyproject(**groups))
    assert caught.value.message.startswith("/srv/site/pyproject.toml: ")
    assert message in caught.value.message
    assert caught.value.advice


def test_the_tests_are_found(tmp_path: Path) -> None:
    def choose(*locked: str, **settings: Any) -> tuple[str, ...]:
        return conventions.choose_test_command(Settings(**settings), tmp_path, locked=frozenset(locked))

    (tmp_path / "manage.py").mkdir()
    with pytest.raises(PreflightError, match="no tests were found") as caught:
        choose("alpha")
    assert "test_command" in caught.value.advice
    assert choose("pytest", "alpha") == ("python", "-m", "pytest")
    (tmp_path / "manage.py").rmdir()
    (tmp_path / "manage.py").touch()
    assert choose("pytest") == ("python", "manage.py", "test", "--noinput")
    (tmp_path / "run_tests.py").touch()
    assert choose("pytest") == ("python", "run_tests.py")
    assert choose("pytest", test_command=("tox", "-q")) == ("tox", "-q")


def files(directory: Path, count: int, number: int) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for name in range(count):
        path = directory / f"{number}-{name}"
        path.touch()
        os.chown(path, -1, number)


def test_the_commonest_group_of_the_files_counts(tmp_path: Path) -> None:
    require(os.geteuid() == 0, "only root may give files to any group")
    root = tmp_path / "site"
    for directory in ("", ".git", "node_modules", ".venv", "../elsewhere"):
        files(root / directory, 2 if not directory else 9, 4321)
    (root / ".venv" / "pyvenv.cfg").touch()
    files(root / "below", 3, 1234)
    (root / "link").symlink_to("../elsewhere")  # which is not followed
    os.lchown(root / "link", -1, 1234)
    assert conventions.find_commonest_group(root) == 1234
    assert conventions.choose_unix_group(Settings(), root) == 1234


def test_the_group_may_be_set_and_must_exist(tmp_path: Path) -> None:
    assert conventions.find_commonest_group(tmp_path) == tmp_path.stat().st_gid  # without any files
    name = grp.getgrgid(os.getegid()).gr_name
    assert conventions.choose_unix_group(Settings(unix_group=name), tmp_path) == os.getegid()
    with pytest.raises(PreflightError, match="the group 'nobodys-group' does not exist on this host"):
        conventions.choose_unix_group(Settings(unix_group="nobodys-group"), tmp_path)


def test_a_group_of_others_is_unfit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("geteuid", 1000), ("getegid", 1000), ("getgroups", [1000, 1001])):
        monkeypatch.setattr(os, name, lambda value=value: value)
    for number, name in ((54321, "54321"), (0, "root")):
        monkeypatch.setattr(conventions, "find_commonest_group", lambda _, number=number: number)
        with pytest.raises(PreflightError, match=f"belong to group {name}, but this user is not a member of it"):
            conventions.choose_unix_group(Settings(), tmp_path)
    monkeypatch.setattr(conventions, "find_commonest_group", lambda _: 1001)
    assert conventions.choose_unix_group(Settings(), tmp_path) == 1001


# Groups that go live unasked, and those for the tests alone


ALL: dict[str, Any] = {"prod": ["gunicorn"], "dev": ["ruff"], "test": ["pytest"]}


@pytest.mark.parametrize(
    ("uv", "tests", "live", "left_out"),
    [
        ({}, (), ("dev",), ()),
        ({}, ("test",), ("dev",), ()),
        ({}, ("dev",), (), ("dev",)),
        ({"default-groups": []}, ("dev",), (), ()),
        ({"default-groups": ["test", "gone"]}, (), ("test",), ()),
        ({"default-groups": ["test", "dev"]}, ("test",), ("dev",), ("test",)),
        ({"default-groups": "all"}, ("test",), ("prod", "dev"), ("test",)),
        ({"default-groups": "all"}, (), ("prod", "dev", "test"), ()),
        ({"default-groups": 5}, (), ("dev",), ()),
    ],
)
def test_default_groups_go_live_but_for_those_of_the_tests(
    uv: dict[str, Any], tests: tuple[str, ...], live: tuple[str, ...], left_out: tuple[str, ...]
) -> None:
    settings, there = Settings(test_groups=tests), pyproject(uv, **ALL)
    assert conventions.live_default_groups(settings, there) == live
    assert conventions.groups_to_exclude(settings, there) == left_out


def found(settings: Settings, there: Pyproject) -> list[str]:
    live = None
    with contextlib.suppress(PreflightError):
        live = conventions.choose_dependency_group(settings, there)
    findings = list(conventions.test_group_findings(settings, there, live=live, source="FILE: KEY"))
    assert all(one.advice for one in findings)
    return [f"{one.message}. {one.advice}" for one in findings]


def conflict(*names: str, **more: str) -> dict[str, Any]:
    return {"conflicts": [[{"group": name, **more} for name in names]]}


THREE = pyproject(**ALL)
TEST, PROD_TEST = {"test_groups": ("test",)}, {"test_groups": ("test",), "group": "prod"}


@pytest.mark.parametrize(
    ("settings", "there", "words"),
    [
        ({}, THREE, ""),
        ({"test_groups": ("test", "dev")}, THREE, ""),
        ({"test_groups": ("tset",)}, THREE, rf"FILE: KEY names the group `tset`.* not in .* of {FILE}.*`test`\?"),
        ({"test_groups": ("x",)}, THREE, "`x`.*Add the group to pyproject.toml, or remove it"),
        ({"test_groups": ("odd",)}, pyproject(odd={}), "`odd`, which is not a list in"),
        ({"test_groups": ("prod",), "group": "prod"}, THREE, "`prod`, which goes live"),
        (TEST | {"group": "gone"}, THREE, ""),
        (PROD_TEST, pyproject(conflict("prod", "test"), **ALL), "`prod` and `test`"),
        (TEST, pyproject(conflict("dev", "test"), **ALL), "`dev` and `test`"),
        ({"test_groups": ("test", "dev")}, pyproject(conflict("dev", "test"), **ALL), "`dev` and `test`"),
        (TEST, pyproject(conflict("prod", "test"), **ALL), ""),
        (PROD_TEST, pyproject(conflict("prod", "dev"), **ALL), ""),
        (TEST, pyproject(conflict("dev", "test", package="shop"), **ALL), "`dev` and `test`"),
        (TEST, pyproject(conflict("dev", "test", package="member"), **ALL), ""),
        (TEST, pyproject({"conflicts": [5, [{"extra": "x"}, 5]]}, **ALL), ""),
    ],
)
def test_what_cannot_be_is_found(settings: Mapping[str, Any], there: Pyproject, words: str) -> None:
    said = found(Settings(environment="local", **settings), there)
    assert len(said) == (1 if words else 0)
    assert not words or re.search(words, said[0])


def test_groups_that_are_included_count_for_conflicts() -> None:
    there = pyproject(
        conflict("old", "new"),
        prod=["gunicorn", {"include-group": "old"}],
        test=[{"include-group": "more"}],
        more=[{"include-group": "new"}, {"include-group": "test"}],
        old=["django<5"],
        new=["django>=5"],
    )
    (said,) = found(Settings(group="prod", test_groups=("test",)), there)
    assert "`new` and `old`" in said


def test_each_group_that_is_missing_is_told() -> None:
    assert len(found(Settings(environment="local", test_groups=("a", "b")), pyproject())) == 2
