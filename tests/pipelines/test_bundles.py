"""Bundles, where no site is needed."""

from __future__ import annotations

import pytest

from releaser.pipelines.bundle_from import parse_source


@pytest.mark.parametrize(
    ("source", "url", "ref"),
    [
        ("https://example.org/shop.git@v1.2", "https://example.org/shop.git", "v1.2"),
        ("https://me:secret@example.org/shop", "https://me:secret@example.org/shop", "HEAD"),
        ("https://me:secret@example.org/shop@main", "https://me:secret@example.org/shop", "main"),
        ("ssh://git@example.org/shop@feature/x", "ssh://git@example.org/shop", "feature/x"),
        ("git@example.org:shop.git", "git@example.org:shop.git", "HEAD"),
        ("git@example.org:shop.git@main", "git@example.org:shop.git", "main"),
        ("/srv/shop", "/srv/shop", "HEAD"),
    ],
)
def test_a_repository_may_have_a_user_and_a_branch(source: str, url: str, ref: str) -> None:
    assert parse_source(source) == (url, ref)
