"""Who asks for which package, as a lock tells it."""

import pytest

from releaser.locks.lock import EMPTY, Graph, asked_by_project
from tests.locks.test_lock import HEAD, package, parsed


def asking(*names: str) -> str:
    return "dependencies = [" + ", ".join(f'{{ name = "{name}" }}' for name in names) + "]"


def graph(*packages: str, head: str = HEAD) -> Graph:
    return Graph.of(parsed(*packages, head=head))


ROOT = '{ virtual = "." }'


@pytest.mark.parametrize("kind", ["virtual", "editable"])
def test_what_the_project_asks_for_is_direct_by_groups_and_extras_too(kind: str) -> None:
    asked = asking("alpha") + (
        '\n[package.optional-dependencies]\npdf = [{ name = "beta" }]\n'
        '[package.dev-dependencies]\nprod = [{ name = "gamma" }]'
    )
    root = package("site", source=f'{{ {kind} = "." }}', extra=asked)
    found = graph(root, package("alpha", extra=asking("delta")), *(package(one) for one in ("beta", "gamma", "delta")))
    assert found.direct == {"alpha", "beta", "gamma"}
    assert found.askers == {"delta": ("alpha",)}
    assert asked_by_project(parsed(root)) == {"alpha": ("project",), "beta": ("extra pdf",), "gamma": ("group prod",)}


def test_members_of_a_workspace_are_the_project_and_a_path_dependency_is_not() -> None:
    head = HEAD + '[manifest]\nmembers = ["site", "shop"]\n[manifest.dependency-groups]\ndev = [{ name = "tool" }]\n'
    found = graph(
        package("site", source=ROOT, extra=asking("shop", "library")),
        package("shop", source='{ editable = "packages/shop" }', extra=asking("alpha")),
        package("library", source='{ editable = "../library" }', extra=asking("beta")),
        *(package(one) for one in ("alpha", "beta", "tool")),
        head=head,
    )
    assert found.direct == {"alpha", "library", "tool"}
    assert found.askers == {"beta": ("library",)}


def test_those_who_ask_come_in_the_order_of_their_distance_from_the_project() -> None:
    found = graph(
        package("site", source=ROOT, extra=asking("zeta", "far")),
        package("far", extra=asking("middle")),
        package("middle", extra=asking("alpha")),
        package("zeta", extra=asking("alpha", "alpha")),
        package("alpha"),
    )
    assert found.askers["alpha"] == ("zeta", "middle")


def test_a_circle_of_packages_and_one_that_asks_for_itself_end() -> None:
    itself = asking("beta") + '\n[package.optional-dependencies]\nall = [{ name = "alpha" }]'
    found = graph(
        package("site", source=ROOT, extra=asking("alpha")),
        package("alpha", extra=itself),
        package("beta", extra=asking("alpha")),
    )
    assert found.direct == {"alpha"}
    assert found.askers == {"beta": ("alpha",), "alpha": ("beta",)}


def test_extras_of_a_package_ask_as_well_and_those_that_are_asked_of_it_are_known() -> None:
    more = '[package.optional-dependencies]\nargon2 = [{ name = "argon2-cffi" }]'
    asked = 'dependencies = [{ name = "django", extra = ["a", "b"] }, { name = "beta" }]'
    found = graph(package("site", source=ROOT, extra=asked), package("django", extra=more), package("beta"))
    assert found.askers == {"argon2-cffi": ("django",)}
    assert found.extras == {"django": {"a", "b"}}
    assert found.own == {"site"}


def test_only_what_comes_from_an_index_is_said_to() -> None:
    found = graph(
        package("site", source=ROOT),
        package("alpha"),
        package("local", source='{ registry = "../index" }'),
        package("forked", source='{ git = "https://git.example.org/x?rev=1#abc" }'),
        package("wheel", source='{ url = "https://files.example.org/x.whl" }'),
        package("library", source='{ editable = "../library" }'),
    )
    assert found.from_index == {"alpha", "local"}
    assert Graph.of(EMPTY).direct == frozenset()
