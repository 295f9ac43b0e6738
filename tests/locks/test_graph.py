"""Who asks for which package, as a lock tells it."""

import pytest

from releaser.locks.lock import EMPTY, Graph, LockFile, asked_by_project

HEAD = 'version = 1\nrevision = 3\nrequires-python = ">=3.11"\n'
REGISTRY = 'source = { registry = "https://index.example.org/simple" }'


def package(name: str, *, version: str = "1.0", source: str = REGISTRY, more: str = "") -> str:
    return f'\n[[package]]\nname = "{name}"\nversion = "{version}"\n{source}\n{more}\n'


def asking(*names: str) -> str:
    return "dependencies = [" + ", ".join(f'{{ name = "{name}" }}' for name in names) + "]"


def graph(*packages: str, head: str = HEAD) -> Graph:
    return Graph.of(LockFile.parse((head + "".join(packages)).encode()))


ROOT = 'source = { virtual = "." }'


@pytest.mark.parametrize("kind", ["virtual", "editable"])
def test_what_the_project_asks_for_is_direct_by_groups_and_extras_too(kind: str) -> None:
    asked = asking("alpha") + (
        '\n[package.optional-dependencies]\npdf = [{ name = "beta" }]\n'
        '[package.dev-dependencies]\nprod = [{ name = "gamma" }]'
    )
    root = package("site", source=f'source = {{ {kind} = "." }}', more=asked)
    found = graph(root, package("alpha", more=asking("delta")), *(package(one) for one in ("beta", "gamma", "delta")))
    assert found.direct == {"alpha", "beta", "gamma"}
    assert found.askers == {"delta": ("alpha",)}
    lock = LockFile.parse((HEAD + root).encode())
    assert asked_by_project(lock) == {"alpha": ("project",), "beta": ("extra pdf",), "gamma": ("group prod",)}


def test_members_of_a_workspace_are_the_project_and_a_path_dependency_is_not() -> None:
    head = HEAD + '[manifest]\nmembers = ["site", "shop"]\n[manifest.dependency-groups]\ndev = [{ name = "tool" }]\n'
    found = graph(
        package("site", source=ROOT, more=asking("shop", "library")),
        package("shop", source='source = { editable = "packages/shop" }', more=asking("alpha")),
        package("library", source='source = { editable = "../library" }', more=asking("beta")),
        *(package(one) for one in ("alpha", "beta", "tool")),
        head=head,
    )
    assert found.direct == {"alpha", "library", "tool"}
    assert found.askers == {"beta": ("library",)}


def test_those_who_ask_come_in_the_order_of_their_distance_from_the_project() -> None:
    found = graph(
        package("site", source=ROOT, more=asking("zeta", "far")),
        package("far", more=asking("middle")),
        package("middle", more=asking("alpha")),
        package("zeta", more=asking("alpha", "alpha")),
        package("alpha"),
    )
    assert found.askers["alpha"] == ("zeta", "middle")


def test_a_circle_of_packages_and_one_that_asks_for_itself_end() -> None:
    itself = asking("beta") + '\n[package.optional-dependencies]\nall = [{ name = "alpha" }]'
    found = graph(
        package("site", source=ROOT, more=asking("alpha")),
        package("alpha", more=itself),
        package("beta", more=asking("alpha")),
    )
    assert found.direct == {"alpha"}
    assert found.askers == {"beta": ("alpha",), "alpha": ("beta",)}


def test_extras_of_a_package_ask_as_well() -> None:
    more = '[package.optional-dependencies]\nargon2 = [{ name = "argon2-cffi" }]'
    found = graph(package("site", source=ROOT, more=asking("django")), package("django", more=more))
    assert found.askers == {"argon2-cffi": ("django",)}


def test_only_what_comes_from_an_index_is_said_to() -> None:
    found = graph(
        package("site", source=ROOT),
        package("alpha"),
        package("local", source='source = { registry = "../index" }'),
        package("forked", source='source = { git = "https://git.example.org/x?rev=1#abc" }'),
        package("wheel", source='source = { url = "https://files.example.org/x.whl" }'),
        package("library", source='source = { editable = "../library" }'),
    )
    assert found.from_index == {"alpha", "local"}
    assert Graph.of(EMPTY).direct == frozenset()


def test_the_extras_that_are_asked_of_a_package_are_known() -> None:
    asked = 'dependencies = [{ name = "alpha", extra = ["a", "b"] }, { name = "beta" }]'
    found = graph(package("site", source=ROOT, more=asked), package("alpha"), package("beta"))
    assert found.extras == {"alpha": {"a", "b"}}
    assert found.own == {"site"}
