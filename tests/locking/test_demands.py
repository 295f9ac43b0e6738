"""Who asks for which versions, and whom a version would not suit."""

from __future__ import annotations

import pytest

from releaser.locking.demands import demands, project_demands


def excluding(texts: list[str], version: str, *, extras: tuple[str, ...] = (), python: str = "3.12.1") -> list[str]:
    found = demands("beta 1.0", texts, python=python, extras=extras)
    return [str(one) for one in found if one.excludes("alpha-x", version)]


@pytest.mark.parametrize(
    ("text", "excludes"),
    [
        ("alpha-x<2", True),
        ("Alpha.X >=1, <2", True),
        ("alpha_x[extra]<2", True),
        ("alpha-x==1.*", True),
        ("alpha-x!=2.0", True),
        ("alpha-x", False),
        ("alpha-x>=2", False),
        ("alpha-x<3", False),
        ("other<2", False),
        ("alpha-x @ https://files.example.org/x.whl", False),
        ("alpha-x<2; python_version >= '3.12'", True),
        ("alpha-x<2; python_version < '3.12'", False),
        ("alpha-x<2; python_full_version >= '3.12.1'", True),
        ("alpha-x<2; sys_platform == 'win32'", False),
        ("alpha-x<2; extra == 'old'", False),
        ("alpha-x<2; nonsense == 'x'", False),
        ("<<<", False),
    ],
)
def test_a_version_is_excluded_by_what_applies_here_and_does_not_admit_it(text: str, excludes: bool) -> None:
    assert bool(excluding([text], "2.0")) is excludes


def test_extras_count_if_they_are_wanted() -> None:
    text = "alpha-x<2; extra == 'old'"
    assert excluding([text], "2.0", extras=("old",)) == ["beta 1.0 asks for alpha-x<2"]
    assert excluding([text], "2.0", extras=("new",)) == []


def test_a_pre_release_within_the_bounds_is_admitted() -> None:
    assert excluding(["alpha-x>=1"], "2.0rc1") == []


def test_the_project_asks_by_dependencies_extras_groups_and_what_it_tells_uv() -> None:
    content = {
        "project": {"dependencies": ["alpha<1"], "optional-dependencies": {"pdf": ["alpha<2"]}},
        "dependency-groups": {"prod": ["alpha<3", {"include-group": "base"}], "base": ["alpha<4"]},
        "tool": {"uv": {"constraint-dependencies": ["alpha<5"], "override-dependencies": ["alpha<6"]}},
    }
    assert [str(one) for one in project_demands(content, python="3.12.1")] == [
        "the project asks for alpha<1",
        "the project (extra pdf) asks for alpha<2",
        "the project (group prod) asks for alpha<3",
        "the project (group base) asks for alpha<4",
        "the project (constraint-dependencies) asks for alpha<5",
        "the project (override-dependencies) asks for alpha<6",
    ]


@pytest.mark.parametrize(
    "content",
    [{}, {"project": 1}, {"project": {"dependencies": "alpha"}}, {"tool": {"uv": []}}, {"dependency-groups": 1}],
)
def test_a_pyproject_of_another_form_asks_for_nothing(content: dict[str, object]) -> None:
    assert list(project_demands(content, python="3.12.1")) == []
