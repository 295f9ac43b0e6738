"""What is handed to a site of what others have failed with."""

from __future__ import annotations

import pytest

from releaser.locks.failed_elsewhere import SiteFailure, keep_out, read_failures, say_what_waits, write_failures
from tests.support.rules import make_rules

FAILURE = SiteFailure(site="/srv/first", versions=frozenset({("alpha", "2"), ("beta", "3")}), reason="")


def test_it_arrives_as_it_was_sent() -> None:
    unknown = SiteFailure(site="/srv/ö", reason="its update ended with exit code 3")
    assert read_failures(write_failures([FAILURE, unknown])) == (FAILURE, unknown)
    assert read_failures("") == ()


@pytest.mark.parametrize(
    "text",
    [
        "x", "{}", "5", "[5]", "[{}]", '[{"site": 5}]', '[{"site": "/srv", "versions": "alpha"}]', "[" * 5000,
        '[{"site": "/srv", "versions": [["alpha"]]}]', '[{"site": "/srv", "versions": [["alpha", "x,>=1"]]}]',
        '[{"site": "/srv", "versions": [["al pha", "1"]]}]', '[{"site": "/srv", "versions": [["-r", "1"]]}]',
    ],
)  # fmt: skip
def test_what_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_failures(text)


def test_whatever_it_says_is_one_line() -> None:
    (found,) = read_failures(write_failures([SiteFailure(site="/srv/a\n\x1b[31mb", reason="x\ny")]))
    assert (found.site, found.reason) == ("/srv/a b", "x y")


@pytest.mark.parametrize("count", [1, 2000])
def test_what_gets_too_long_for_a_variable_is_said_in_short(count: int) -> None:
    many = frozenset((f"package-{number}", "1.0.0") for number in range(9000 // count))
    text = write_failures([SiteFailure(site=f"/srv/{number}" + "x" * 60, versions=many) for number in range(count)])
    assert len(text) < 2**17
    assert all(one.reason and not one.versions for one in read_failures(text))


def test_what_is_live_does_not_wait() -> None:
    found = keep_out([FAILURE], make_rules(locked={}, live={"alpha": "1, 2", "beta": "2"})).rejected
    assert [(one.name, one.version, one.by) for one in found] == [("beta", "3", "first")]
    assert say_what_waits([FAILURE], found) == "beta 3 waits for /srv/first, which failed first"
    assert say_what_waits([FAILURE], []) == ""
