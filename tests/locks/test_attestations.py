"""What differs between the publishers that were known and what indexes tell."""

import pytest

from releaser.locks.installed import IndexFile, index_files
from releaser.locks.lock import LockFile
from releaser.locks.origins import Answer, Publisher, judge

OWN = Publisher(kind="GitHub", repository="example/alpha", workflow="publish.yml")
MOVED = Publisher(kind="GitHub", repository="Example/Alpha", workflow="release.yml")
OTHER = Publisher(kind="GitLab", repository="example/alpha", workflow="publish.yml")
BY_OWN, NONE, UNKNOWN = Answer(state="verified", publisher=OWN), Answer(state="none"), Answer(state="unknown")
INVALID = Answer(state="invalid", reason="it is bad")


@pytest.mark.parametrize(
    ("known", "answers", "publisher", "told"),
    [
        (None, [BY_OWN], OWN, []),
        (None, [NONE], None, []),
        (None, [INVALID], None, ["attestation"]),
        (None, [UNKNOWN], None, ["unknown"]),
        (OWN, [Answer(state="verified", publisher=MOVED)], MOVED, []),
        (OWN, [Answer(state="verified", publisher=OTHER)], OTHER, ["publisher"]),
        (OWN, [UNKNOWN], OWN, ["unknown"]),
        (OWN, [NONE], OWN, ["lost"]),
        (None, [NONE, BY_OWN], OWN, []),  # one of two files of a version, whichever comes first
        (OWN, [BY_OWN, NONE], OWN, ["lost"]),
        (None, [BY_OWN, Answer(state="verified", publisher=OTHER)], OTHER, ["publisher"]),
    ],
)
def test_a_publisher_is_known_or_something_is_told(
    known: Publisher | None, answers: list[Answer], publisher: Publisher | None, told: list[str]
) -> None:
    files = [IndexFile("https://example.org/simple", "alpha", "1.1", f"alpha-{one}.whl", "00") for one in range(9)]
    found = judge({"alpha": known} if known else {}, zip(files, answers, strict=False))
    assert found.publishers == ({"alpha": publisher} if publisher else {})
    assert [
        *(one.what for one in found.deviations),
        *("lost" for _ in found.lost),
        *("unknown" for _ in found.unknown),
    ] == told


def test_asked_about_are_the_files_from_indexes_that_could_be_installed() -> None:
    text = """version = 1
[[package]]
name = "alpha"
version = "1.1"
source = { registry = "https://example.org/simple" }
sdist = { url = "https://example.org/alpha-1.1.tar.gz", hash = "sha256:11" }
wheels = [
    { url = "https://example.org/alpha-1.1-py3-none-any.whl", hash = "sha256:22" },
    { url = "https://example.org/alpha-1.1-cp27-none-any.whl", hash = "sha256:33" },
]
[[package]]
name = "beta"
version = "1.0"
source = { registry = "../index" }
wheels = [{ path = "beta-1.0-py3-none-any.whl", hash = "sha256:44" }]
[[package]]
name = "gamma"
version = "1.0"
source = { registry = "https://example.org/simple" }
sdist = { url = "https://example.org/gamma-1.0.tar.gz", hash = "md5:55" }
"""
    lock = LockFile.parse(text.encode())
    index = "https://example.org/simple"
    assert index_files(lock, group=None, default_groups=None, python="3.11.7") == (
        (index, "alpha", "1.1", "alpha-1.1-py3-none-any.whl", "22"),
        (index, "gamma", "1.0", "gamma-1.0.tar.gz", "md5:55"),
    )
    built = index_files(lock, group=None, default_groups=None, python="3.11.7", built={"alpha", "beta"})
    assert [one.file for one in built] == ["alpha-1.1.tar.gz", "gamma-1.0.tar.gz"]
