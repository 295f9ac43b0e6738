"""Which packages of a lock a release installs."""

from collections.abc import Iterable

import pytest

from releaser.locks.installed import groups_in, list_installed
from releaser.locks.lock import EMPTY, LockFile
from tests.support.commands import clean_environment, run, uv_executable
from tests.support.wheels import LocalIndex

pytestmark = pytest.mark.spawns  # uv makes the lock

PYPROJECT = """
[project]
name = "shop"
version = "0"
requires-python = ">=3.11"
dependencies = ["alpha", "beta[fast]", "member", "library"]

[project.optional-dependencies]
unused = ["optional"]

[dependency-groups]
dev = ["debugger"]
prod = ["server"]
staging = ["profiler", {include-group = "prod"}]

[tool.uv]
no-index = true
find-links = ["../index"]

[tool.uv.sources]
member = { workspace = true }
library = { path = "../library", editable = true }

[tool.uv.workspace]
members = ["packages/*"]
"""
LOCAL = '[project]\nname = "{}"\nversion = "3.0"\nrequires-python = ">=3.11"\ndependencies = ["{}"]\n'
OFFERED: dict[str, tuple[str, ...]] = {
    "alpha": ("winonly; sys_platform == 'win32'", "linux; sys_platform == 'linux'"),
    "beta": ("old; python_version < '3.12'", "new; python_version >= '3.12'", "quick; extra == 'fast'"),
    "server": ("alpha", "circle"),
    "circle": ("server",),
} | dict.fromkeys(["winonly", "linux", "old", "new", "quick", "optional", "debugger", "profiler", "leaf", "twig"], ())


@pytest.fixture(scope="module")
def lock(tmp_path_factory: pytest.TempPathFactory) -> LockFile:
    """A lock that uv made."""
    base = tmp_path_factory.mktemp("installed")
    index = LocalIndex(base / "index")
    for name, requires in OFFERED.items():
        index.publish(name, "1.0", requires=requires)
    for name, place, needs in (("library", "library", "leaf"), ("member", "shop/packages/member", "twig")):
        (base / place).mkdir(parents=True)
        (base / place / "pyproject.toml").write_text(LOCAL.format(name, needs), encoding="utf-8")
    shop = base / "shop"
    (shop / "pyproject.toml").write_text(PYPROJECT, encoding="utf-8")
    run([uv_executable(), "lock", "--quiet"], cwd=shop, env=clean_environment(base, base / "cache"), check=0)
    return LockFile.read(shop / "uv.lock")


def names(
    lock: LockFile, group: str | None = None, defaults: Iterable[str] | None = (), python: str = "3.11.7"
) -> set[str]:
    return {pin.name for pin in list_installed(lock, group=group, default_groups=defaults, python=python)}


ALWAYS = {"alpha", "linux", "beta", "quick", "leaf", "twig"}


def test_the_project_and_its_groups_lead_to_what_is_installed(lock: LockFile) -> None:
    assert names(lock) == ALWAYS | {"old"}
    assert names(lock, "prod") - names(lock) == {"server", "circle"}
    assert names(lock, "staging") - names(lock) == {"server", "circle", "profiler"}
    assert names(lock, "prod", ["dev"]) - names(lock) == {"server", "circle", "debugger"}
    assert names(lock, None, None) - names(lock) == {"server", "circle", "debugger", "profiler"}


def test_the_python_and_the_platform_decide_and_local_packages_are_not_third_party(lock: LockFile) -> None:
    assert names(lock, python="3.13.1") == ALWAYS | {"new"}
    assert not {"winonly", "shop", "member", "library"} & names(lock, None, None)
    pins = dict(list_installed(lock, group=None, default_groups=(), python="3.12.1"))
    assert (pins["alpha"], pins["quick"]) == ("1.0", "1.0")


def test_a_lock_without_a_project_of_its_own_installs_all_it_has(lock: LockFile) -> None:
    text = lock.data.replace(b'{ virtual = "." }', b'{ virtual = "elsewhere" }')
    assert text != lock.data
    assert {"winonly", "optional", "server"} <= names(LockFile.parse(text))


def test_the_groups_of_a_project_are_those_with_packages_and_the_empty_ones(lock: LockFile) -> None:
    assert groups_in(lock) == {"dev", "prod", "staging"}
    text = lock.data.replace(b"[package.metadata.requires-dev]\n", b"[package.metadata.requires-dev]\nNo_Thing = []\n")
    assert text != lock.data
    assert groups_in(LockFile.parse(text)) == {"dev", "prod", "staging", "no-thing"}
    assert groups_in(EMPTY) == frozenset()
    assert list_installed(EMPTY, group="prod", default_groups=None, python="3.12.1") == ()
