"""What programs find in their environment."""

from __future__ import annotations

import pytest

from releaser.system.environment import fetches_by_ssh


@pytest.mark.parametrize(
    ("line", "by_ssh"),
    [
        ('source = { git = "ssh://git@example.org/a.git?rev=main#0123" }', True),
        ('{ name = "a", git = "ssh://git@example.org/a.git" },', True),
        ('requires = "a @ git+ssh://git@example.org/a.git"', True),
        ('source = { git = "https://example.org/a.git#0123" }', False),
        ('url = "https://example.org/?git=ssh:"', False),
    ],
)
def test_a_lock_tells_what_is_fetched_by_ssh(line: str, by_ssh: bool) -> None:
    assert fetches_by_ssh(line.encode()) == by_ssh
