"""Which repositories a project takes packages from, as its files name them."""

from __future__ import annotations

import pytest

from releaser.candidate.git_sources import find_sources

COMMIT = "0123456789" * 4


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            f'source = {{ git = "ssh://git@example.org/a.git?subdirectory=b&rev=main#{COMMIT}" }}',
            {"ssh://git@example.org/a.git": (COMMIT, "main")},
        ),
        ('a = { git = "https://example.org/a", tag = "v1" }', {"https://example.org/a": ()}),
        ('a = {"git"="https://ada:secret@example.org/a"}', {"https://ada:secret@example.org/a": ()}),
        (
            '["a @ git+ssh://git@example.org/a.git@v1#subdirectory=b"]',
            {"ssh://git@example.org/a.git": ("v1",)},
        ),
        (
            'a = { git = "https://example.org/a?rev=refs%2Fpull%2F1%2Fhead" }',
            {"https://example.org/a": ("refs/pull/1/head",)},
        ),
        ('url = "https://example.org/?git=ssh:"', {}),
        ('a = { git = "file:///srv/a" }', {}),
    ],
)  # fmt: skip
def test_repositories_and_what_is_wanted_of_them(text: str, expected: dict[str, tuple[str, ...]]) -> None:
    assert find_sources([text]) == expected
