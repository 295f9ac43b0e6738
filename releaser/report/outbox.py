"""The outbox: a Maildir with the mails that no server has taken yet."""

from __future__ import annotations

from releaser.site.paths import Paths


def count_waiting(paths: Paths) -> int:
    """Return the number of mails in the outbox."""
    return len([*paths.outbox.glob("new/*"), *paths.outbox.glob("cur/*")])
