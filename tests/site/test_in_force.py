"""Which settings of a commit count for its own build and tests."""

from dataclasses import replace
from typing import Any

import pytest

from releaser.site import values
from releaser.site.in_force import COUNTED_ONCE_LIVE, InForce
from releaser.site.settings import SPECS, AllSettings

A, B, PYTHON = ("make", "a"), ("make", "b"), "/opt/python3.13/bin/python"
# The setting, what is live, what the commit has, what counts.
ROWS: list[tuple[str, Any, Any, Any]] = [
    ("before_build", None, B, None),
    ("before_build", A, B, A),
    ("before_build", A, None, None),
    ("before_live", A, B, A),
    ("uv", None, "./uv", None),
    ("uv", "/opt/uv", None, None),
    ("python", None, "3.13", "3.13"),
    ("python", "3.12", ">=3.12, <3.14", ">=3.12, <3.14"),
    ("python", "3.12", "./python", "3.12"),
    ("python", "3.12", "evil", "3.12"),
    ("python", PYTHON, None, None),
    ("git_hooks", False, True, False),
    ("git_hooks", True, False, False),
    ("environment_file", "../site.env", "evil.env", "../site.env"),
    ("test_environment", ("API_KEY",), ("API_KEY", "AWS_SECRET_ACCESS_KEY"), ("API_KEY",)),
    ("smtp_password_file", "../password", None, "../password"),
    ("smtp_password_file", "../password", "nowhere", "../password"),
    ("smtp_password_file", None, "../password", "../password"),
    ("keep", 5, 7, 7),
    ("test_command", A, B, B),
]


def the_settings(**given: Any) -> Any:
    return AllSettings(**given)


@pytest.mark.parametrize(("name", "live", "own", "counts"), ROWS)
def test_what_a_commit_adds_waits_and_what_it_takes_back_counts(name: str, live: Any, own: Any, counts: Any) -> None:
    found = InForce.of(replace(the_settings(), **{name: live}), replace(the_settings(), **{name: own}))
    assert getattr(found.settings, name) == counts
    assert [one.name for one in found.waiting] == ([] if counts == own else [name])
    assert getattr(found.own, name) == own


def test_what_is_made_goes_with_the_command_that_makes_it() -> None:
    live, own = the_settings(before_build=A, build_output=("a",)), the_settings(before_build=B, build_output=("b",))

    def counts(live: Any, own: Any) -> Any:
        return InForce.of(live, own).settings

    assert counts(live, own).build_output == ("a",)
    assert counts(live, replace(own, before_build=A)).build_output == ("b",)
    assert counts(live, the_settings()).build_output == ()


def test_each_command_waits_or_runs_in_the_sandbox_or_once_its_commit_is_live() -> None:
    commands = {name for name, spec in SPECS.items() if spec.kind in (values.command, values.url_or_command)}
    in_sandbox = {"test_command"}
    once_live = {
        "restart",
        "stop",
        "start",
        "start_on_socket",
        "health_check",
        "after_live",
        "on_failure",
        "on_rollback",
    }
    assert commands - {*COUNTED_ONCE_LIVE} == (in_sandbox | once_live) & SPECS.keys()  # a capability may be left out


def test_a_sentence_can_be_pasted() -> None:
    found = InForce.of(the_settings(), the_settings(before_build=("sh", "-c", "a && b"), git_hooks=True))
    said = found.describe("0123456789abcdef")
    assert "Commit 0123456789ab sets before_build = sh -c 'a && b' and git_hooks = true." in said
    assert (
        """`RELEASER_BEFORE_BUILD='sh -c '"'"'a && b'"'"'' RELEASER_GIT_HOOKS=true releaser update --force`""" in said
    )
    assert InForce.of(the_settings(), the_settings(keep=7)).describe("0123") == ""
