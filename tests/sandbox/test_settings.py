"""Which settings of the sandbox a commit can change for its own build and tests: it can only narrow the sandbox."""

from dataclasses import replace
from typing import Any

import pytest

from releaser.site.in_force import InForce
from releaser.site.settings import AllSettings


@pytest.mark.parametrize(
    ("name", "live", "own", "counts"),
    [
        ("test_sockets", (), ("a.sock",), ()),
        ("test_sockets", ("a.sock", "b.sock"), ("a.sock",), ("a.sock",)),
        ("test_network", False, True, False),
        ("test_network", True, False, False),
        ("sandbox", "auto", "off", "auto"),
        ("sandbox", "bwrap", "auto", "bwrap"),
        ("sandbox", "off", "auto", "auto"),
        ("sandbox", "auto", "bwrap", "bwrap"),
        ("test_writable", (), ("/",), ()),
        ("test_writable", ("../logs", "../run"), ("../logs", "/"), ("../logs",)),
    ],
)
def test_what_opens_the_sandbox_waits_and_what_narrows_it_counts(name: str, live: Any, own: Any, counts: Any) -> None:
    settings: Any = AllSettings()
    found = InForce.of(replace(settings, **{name: live}), replace(settings, **{name: own}))
    assert getattr(found.settings, name) == counts
    assert [one.name for one in found.waiting] == ([] if counts == own else [name])
