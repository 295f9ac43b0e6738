"""What is not right with a release, as `releaser verify` names it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

# In the order in which they are told.
Kind = Literal[
    "interpreter", "start", "lock", "package", "changed", "missing", "unexpected", "shared", "permissions", "check",
    "tests",
]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that is not right: `path` is relative to the venv, if it is about a file."""

    kind: Kind
    message: str
    path: str | None = None
    package: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Return what `verify --json` prints of it."""
        return {"kind": self.kind, "path": self.path, "package": self.package, "message": self.message}
