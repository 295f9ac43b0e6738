"""The options of the commands."""

from __future__ import annotations

import msgspec


class UpdateOptions(msgspec.Struct, frozen=True):
    """`force` tries again what failed."""

    force: bool = False


class RollbackOptions(msgspec.Struct, frozen=True):
    """`release` is the one to go to, None for the previous one; `keep_code` leaves the checkout as it is."""

    release: str | None = None
    keep_code: bool = False
