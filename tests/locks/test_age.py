"""Upload times and limits, as locks hold them."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from releaser.locks.lock import EMPTY, LockFile
from releaser.locks.versions import Uploads, limits_in_force, times_of, uploads_in

NOW = datetime(2026, 11, 20, 6, 0, tzinfo=UTC)
EARLIER = datetime(2026, 10, 1, tzinfo=UTC)
THEN = datetime(2026, 11, 1, tzinfo=UTC)
PACKAGES = """
[[package]]
name = "alpha"
version = "1.0"
source = { registry = "https://index.example.org/simple" }
sdist = { url = "https://x/alpha-1.0.tar.gz", upload-time = "2026-11-02T00:00:00Z" }
wheels = [
    { url = "https://x/alpha-1.0-1.whl", upload-time = "2026-11-01T00:00:00.000Z" },
    { url = "https://x/alpha-1.0-2.whl" },
]

[[package]]
name = "beta"
version = "1.0"
source = { registry = "../index" }
wheels = [{ path = "beta-1.0.whl" }]

[[package]]
name = "git"
version = "1.0"
source = { git = "https://git.example.org/git#0123456789abcdef" }
"""


def uploads(options: str = "") -> Uploads:
    text = f'version = 1\nrevision = 3\nrequires-python = ">=3.11"\n{options}\n{PACKAGES}'
    return uploads_in(LockFile.parse(text.encode()), NOW)


def test_the_first_file_of_a_version_tells_its_age() -> None:
    found = uploads()
    assert found.times == {("alpha", "1.0"): THEN, ("beta", "1.0"): None}
    assert [found.lacks(name, "1.0") for name in ("alpha", "beta", "git")] == [False, True, False]
    assert uploads_in(EMPTY, NOW) == Uploads()


def test_what_another_lock_tells_comes_in_addition() -> None:
    other = Uploads(times={("alpha", "1.0"): None, ("gamma", "1.0"): THEN}, limit=THEN)
    found = uploads().merge(other)
    assert found.times["alpha", "1.0"] == THEN
    assert found.times["gamma", "1.0"] == THEN
    assert found.limit is None


def test_times_may_be_of_toml_itself() -> None:
    assert times_of([{"name": "a", "version": "1", "wheels": [{"upload-time": THEN}]}]) == {("a", "1"): THEN}
    assert times_of([{"name": "a", "wheels": [{"upload-time": "soon"}]}]) == {("a", "unknown"): None}


OPEN = 'exclude-newer = "0001-01-01T00:00:00Z"\n'
EARLY = 'timestamp = "0001-01-01T00:00:00Z"'


@pytest.mark.parametrize(
    ("general", "packages", "alpha", "beta"),
    [
        ("", "", None, None),
        ('exclude-newer = "2026-11-01T00:00:00Z"', "", THEN, THEN),
        (f'{OPEN}exclude-newer-span = "P1W"', "", NOW - timedelta(days=7), NOW - timedelta(days=7)),
        # As uv writes `20 days ago`, and what releaser cannot read.
        (
            f'{OPEN}exclude-newer-span = "-P20DT1.5S"',
            f'beta = {{ {EARLY}, span = "soon" }}',
            NOW - timedelta(days=20, seconds=1.5),
            None,
        ),
        ('exclude-newer = "2026-11-01T00:00:00Z"', "beta = false", THEN, None),
        ("", f'alpha = {{ {EARLY}, span = "P1DT12H" }}', NOW - timedelta(hours=36), None),
        ("", 'beta = "2026-11-01T00:00:00Z"', None, THEN),
    ],
)
def test_limits_of_the_project_are_read(
    general: str, packages: str, alpha: datetime | None, beta: datetime | None
) -> None:
    found = uploads(f"[options]\n{general}\n[options.exclude-newer-package]\n{packages}")
    assert (found.own_limit("alpha"), found.own_limit("beta")) == (alpha, beta)


LIMITED = """
[options]
exclude-newer = "2026-11-01T00:00:00Z"

[options.exclude-newer-package]
beta = "2026-11-01T00:00:00Z"
"""


@pytest.mark.parametrize(
    ("settings", "environ", "alpha", "beta"),
    [
        ([], {}, None, None),  # uv drops what only the lock has
        ([{"exclude-newer": "2026-10-01T00:00:00Z"}], {}, EARLIER, EARLIER),
        ([{}, {"exclude-newer": "2026-10-01T00:00:00Z"}], {}, EARLIER, EARLIER),
        ([{"exclude-newer": "2026-10-01T00:00:00Z"}, {"exclude-newer": "7 days"}], {}, EARLIER, EARLIER),
        ([{"exclude-newer": "7 days"}], {"UV_EXCLUDE_NEWER": "2026-10-01T00:00:00Z"}, EARLIER, EARLIER),
        ([{"exclude-newer": "1 week"}], {}, NOW - timedelta(days=7), NOW - timedelta(days=7)),
        ([{"exclude-newer": "P1DT12H"}], {}, NOW - timedelta(hours=36), NOW - timedelta(hours=36)),
        ([{"exclude-newer": "3 days 4 hours"}], {}, NOW - timedelta(days=3, hours=4), NOW - timedelta(days=3, hours=4)),
        ([{"exclude-newer": "1w, 2d ago"}], {}, NOW - timedelta(days=9), NOW - timedelta(days=9)),
        ([{"exclude-newer": "1.5 hrs"}], {}, NOW - timedelta(minutes=90), NOW - timedelta(minutes=90)),
        ([{"exclude-newer": "76:00:00"}], {}, THEN, THEN),  # read from the lock, as uv wrote it there
        ([{"exclude-newer-package": {"Beta": "2026-10-01T00:00:00Z"}}], {}, None, EARLIER),
        ([{"exclude-newer": "7 days", "exclude-newer-package": {"beta": False}}], {}, NOW - timedelta(days=7), None),
        ([{"exclude-newer-package": {"beta": "76:00:00"}}], {}, None, THEN),
    ],
)
def test_limits_count_that_uv_takes_from_its_settings(
    settings: list[dict[str, Any]], environ: dict[str, str], alpha: datetime | None, beta: datetime | None
) -> None:
    found = limits_in_force(uploads(LIMITED), settings, environ, NOW)
    assert (found.own_limit("alpha"), found.own_limit("beta")) == (alpha, beta)


def test_a_day_counts_to_its_end() -> None:
    found = limits_in_force(uploads(""), [{"exclude-newer": "2026-10-01"}], {}, NOW)
    assert found.limit == datetime(2026, 10, 2).astimezone()
