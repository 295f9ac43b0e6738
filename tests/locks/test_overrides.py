"""What `--override` takes, what it refuses, and what uv is told."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from releaser.errors import UsageError
from releaser.locks.lock import LockFile
from releaser.locks.overrides import Override, apply_overrides, check_locked, not_taken, parse_overrides, with_extras

LOCK = LockFile.parse(b"""\
version = 1

[manifest]
members = ["shop", "shop-parts"]

[[package]]
name = "alpha"
version = "1.0.0"
source = { registry = "../index" }

[[package]]
name = "beta"
version = "1.0.0"
source = { git = "https://example.org/beta?rev=v1#0123456789" }
dependencies = [{ name = "alpha", extra = ["fast"] }]

[package.optional-dependencies]
more = [{ name = "alpha", extra = ["slow"] }]

[[package]]
name = "shop"
version = "0.1.0"
source = { virtual = "." }

[package.dev-dependencies]
local = [{ name = "alpha", extra = ["fast", "tests"] }]

[[package]]
name = "shop-parts"
version = "0.1.0"
source = { editable = "parts" }
""")


def parsed(value: str, directory: Path) -> Override:
    (found,) = parse_overrides([value], directory)
    return found


def from_elsewhere(name: str = "alpha", extras: frozenset[str] = frozenset()) -> Override:
    return Override(name=name, extras=extras, url="https://example.org/new.whl")


@pytest.mark.parametrize(
    ("value", "requirement"),
    [
        ("alpha@https://example.org/alpha-2.tar.gz#sha256=00", "alpha @ https://example.org/alpha-2.tar.gz#sha256=00"),
        (" Al_pha.X [Fast, more]  @  http://example.org/a.whl ", "al-pha-x[fast,more] @ http://example.org/a.whl"),
        ("alpha @ git+file:///srv/alpha@v2#subdirectory=p", "alpha @ git+file:///srv/alpha@v2#subdirectory=p"),
        ("alpha==2.0.0rc1", "alpha==2.0.0rc1"),
        ("alpha [fast] >= 2, < 3", "alpha[fast]<3,>=2"),
    ],
)
def test_a_requirement_is_taken(value: str, requirement: str, tmp_path: Path) -> None:
    assert parsed(value, tmp_path).requirement == requirement


def test_a_path_starts_at_the_directory_and_may_have_any_name(tmp_path: Path) -> None:
    place = tmp_path / "work on ü;x" / "alpha"
    for directory in (place, tmp_path / "cwd"):
        directory.mkdir(parents=True)
    (place / "pyproject.toml").touch()
    for value in (f"alpha @ {place}", "alpha @ ../work on ü;x/alpha", f"alpha @ {place.as_uri()}"):
        assert parsed(value, tmp_path / "cwd").url == place.as_uri()
    (tmp_path / "alpha-2-py3-none-any.whl").touch()
    assert parsed("alpha @ alpha-2-py3-none-any.whl", tmp_path).url.endswith("/alpha-2-py3-none-any.whl")


@pytest.mark.parametrize(
    ("value", "reason", "advice"),
    [
        ("", "is not a requirement", "NAME @ URL"),
        ("alpha", "nor a version", "NAME==VERSION"),
        ("../alpha", "is not a requirement", "NAME @ PATH"),
        ("alpha>=2 @ https://example.org/a.whl", "is not a requirement", "NAME @ URL"),
        ("alpha==2; python_version > '3'", "has a condition", "applies anyway"),
        ("alpha @ https://example.org/a.whl ; python_version > '3'", "has a condition", "applies anyway"),
        ("alpha @ git@example.org:alpha.git", "which does not exist", "git+https://"),
        (f"alpha @ {'a' * 300}", "cannot be read: File name too long", "NAME @ PATH"),
        ("alpha @ a\0b", "embedded null", "NAME @ PATH"),
        ("alpha @ file://[::1/x", "cannot be read: Invalid IPv6 URL", "NAME @ URL"),
        ("alpha @ ~nobody-of-that-name/alpha", "cannot be read: Could not determine home", "NAME @ PATH"),
        ("alpha @ s3://bucket/alpha.whl", "s3://, which uv does not support", "https"),
        ("alpha @ .", "without pyproject.toml and setup.py", "from which the package can be built"),
    ],
)
def test_what_is_wrong_is_named_and_what_would_be_right(value: str, reason: str, advice: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        parse_overrides([value], tmp_path)
    assert f"--override {value!r}" in caught.value.message
    assert reason in caught.value.message
    assert advice in caught.value.advice


def test_one_package_has_one_override(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="names alpha-x twice"):
        parse_overrides(["alpha.x==1", "beta==1", "Alpha_X==2"], tmp_path)


def test_no_password_is_shown(tmp_path: Path) -> None:
    override = parsed("alpha @ git+https://ada:s3cret@example.org/alpha", tmp_path)
    assert "s3cret" in override.requirement
    assert str(override) == "alpha @ git+https://***@example.org/alpha"
    with pytest.raises(UsageError) as caught:
        parse_overrides(["alpha @ https://ada:s3cret@example.org/a.whl ; python_version > '3'"], tmp_path)
    assert "s3cret" not in caught.value.message


@pytest.mark.parametrize(
    ("name", "reason"),
    [("gamma", "not in uv.lock"), ("shop", "a part of the project"), ("shop-parts", "a part of the project")],
)
def test_only_a_package_that_others_make_and_the_lock_has_can_be_tried(name: str, reason: str) -> None:
    check_locked([from_elsewhere("alpha"), from_elsewhere("beta")], LOCK)
    with pytest.raises(UsageError, match=reason):
        check_locked([from_elsewhere("alpha"), from_elsewhere(name)], LOCK)


def test_the_extras_that_are_in_use_stay_unless_others_are_named() -> None:
    named = from_elsewhere(extras=frozenset({"other"}))
    alpha, beta, other = with_extras([from_elsewhere(), from_elsewhere("beta"), named], LOCK)
    assert alpha.requirement == "alpha[fast,slow,tests] @ https://example.org/new.whl"
    assert beta.extras == frozenset()
    assert other == named


PYPROJECT = """\
[project]
name = "shop"
dependencies = ["alpha[fast]<2", "beta"]

[dependency-groups]
local = [{ include-group = "base" }, "gamma"]
base = [{ include-group = "local" }]

[[tool.uv.index]]
name = "ours"
url = "../index"

[tool.uv]
no-index = true
constraint-dependencies = ["Alpha<2", "beta<2"]
override-dependencies = ["alpha==1.5", "gamma==1", "not ! a requirement"]

[tool.uv.sources]
ALPHA = { path = "../alpha", editable = true }
beta = { index = "ours" }

[tool.releaser]
keep = 3
"""


def test_the_override_is_all_that_pyproject_says_of_a_package() -> None:
    expected: dict[str, Any] = tomllib.loads(PYPROJECT)
    uv = expected["tool"]["uv"]
    uv["constraint-dependencies"] = ["beta<2"]
    uv["override-dependencies"] = ["gamma==1", "not ! a requirement", "alpha @ https://example.org/new.whl"]
    del uv["sources"]["ALPHA"]
    assert tomllib.loads(apply_overrides(PYPROJECT, [from_elsewhere()])) == expected


@pytest.mark.parametrize(
    "text", ["[project]\nname = 'shop'\n", "tool = { ruff = { fix = true } }\n", "[tool.uv.pip]\n"]
)
def test_a_pyproject_that_says_nothing_to_uv_gets_the_override(text: str) -> None:
    content = tomllib.loads(apply_overrides(text, [Override(name="alpha", specifier="==2")]))
    assert content["tool"]["uv"]["override-dependencies"] == ["alpha==2"]


def test_it_is_seen_whether_uv_has_taken_an_override() -> None:
    exact, other = Override(name="alpha", specifier="==1.0"), Override(name="alpha", specifier=">1")
    taken = [from_elsewhere("beta"), exact]
    for override in taken:
        assert not_taken([override], LOCK) == ()
    others = [from_elsewhere(name) for name in ("alpha", "shop-parts", "gamma")]
    others += [other, Override(name="beta", specifier="==1.0")]
    assert not_taken([*taken, *others], LOCK) == tuple(others)
