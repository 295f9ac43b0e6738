"""What differs in a release is told in packages where it is about packages, and in files where it is not."""

from __future__ import annotations

import pytest

from releaser.releases.drift import Drift, drift, packages_in

SITE = "lib/python3.11/site-packages"
SEALED = {
    "pyvenv.cfg": "1", "bin/alpha": "1", f"{SITE}/alpha/__init__.py": "1", f"{SITE}/alpha/old.py": "1",
    f"{SITE}/alpha-1.0.dist-info/RECORD": "1", f"{SITE}/alpha-1.0.dist-info/METADATA": "1",
    f"{SITE}/beta/__init__.py": "1", f"{SITE}/Beta_x-2.0.dist-info/RECORD": "1",
    f"{SITE}/shared/of_beta.py": "1", f"{SITE}/shared/of_gamma.py": "1", f"{SITE}/gamma-3.dist-info/RECORD": "1",
}  # fmt: skip


def compared(changes: dict[str, str], owners: dict[str, str] | None = None) -> Drift:
    """Compare with a look at a venv in which some names show something else; empty: the file is gone."""
    return drift(SEALED, {**SEALED, **changes}, owners or {})


def within(names: list[str], seen: str) -> dict[str, str]:
    return dict.fromkeys((f"{SITE}/{name}" for name in names), seen)


ALPHA_UP = {
    **within(["alpha-1.0.dist-info/RECORD", "alpha-1.0.dist-info/METADATA", "alpha/old.py"], ""),
    **within(["alpha-1.1.dist-info/RECORD", "alpha-1.1.dist-info/METADATA", "alpha/__init__.py", "alpha/new.py"], "2"),
}
ALPHA_OWNS = dict.fromkeys((name for name in ALPHA_UP if "1.0" not in name), "alpha-1.1.dist-info")
BETA_GONE = within(["beta/__init__.py", "Beta_x-2.0.dist-info/RECORD"], "")


@pytest.mark.parametrize(
    ("changes", "owners", "words"),
    [
        pytest.param({}, {}, "", id="nothing"),
        pytest.param(within(["alpha/old.py"], "2"), {}, "alpha/old.py is changed", id="an edit"),
        pytest.param(within(["alpha/old.py"], ""), {}, "alpha/old.py is missing", id="a deletion"),
        pytest.param({"bin/beta": "1"}, {}, "bin/beta is added", id="an addition"),
        pytest.param(ALPHA_UP, ALPHA_OWNS, "alpha 1.0 → 1.1", id="an upgrade"),
        pytest.param(BETA_GONE, {}, "beta-x 2.0 removed", id="a removal"),
        pytest.param(
            {**BETA_GONE, **within(["shared/of_beta.py"], "")},
            {},
            "beta-x 2.0 removed; shared/of_beta.py is missing",  # it could be gamma's
            id="a removal from a shared directory",
        ),
        pytest.param(
            {**within(["new-9.dist-info/RECORD", "new.py"], "1"), "bin/new": "1"},
            {f"{SITE}/new.py": "new-9.dist-info", "bin/new": "new-9.dist-info"},
            "new 9 added",
            id="a new package",
        ),
        pytest.param(
            {**BETA_GONE, **ALPHA_UP, "bin/alpha": "2", **within(["shared/of_gamma.py"], "2")},
            ALPHA_OWNS,
            "alpha 1.0 → 1.1, beta-x 2.0 removed; bin/alpha is changed, shared/of_gamma.py is changed",
            id="packages and files",
        ),
    ],
)
def test_what_differs_is_told(changes: dict[str, str], owners: dict[str, str], words: str) -> None:
    found = compared(changes, owners)
    assert str(found) == words
    assert bool(found) == bool(words)


def test_only_the_first_of_many_are_told() -> None:
    many = compared(within([f"p{number}-1.dist-info/RECORD" for number in range(10)], "1"))
    assert str(many).endswith("p7 1 added and 2 more")
    names = [f"alpha/{number}.py" for number in range(5)]
    assert str(compared(within(names, "1"))) == f"{', '.join(f'{name} is added' for name in names[:3])} and 2 more"
    assert len(many.as_json()["packages"]) == 10


def test_no_name_of_a_file_breaks_the_line() -> None:
    assert str(compared(within(["alpha/\n\x1b[31m\udce9.py"], "1"))) == "alpha/??[31m?.py is added"


def test_two_of_a_package_are_both_told() -> None:
    assert packages_in(within(["x_Y-1.dist-info/RECORD", "x.y-2.dist-info/METADATA", "x/METADATA"], "1")) == {
        "x-y": "1, 2"
    }
