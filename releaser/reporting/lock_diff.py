"""What a run changed in `uv.lock`, or was to change, as text to read: a mail has it as an attachment."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from releaser.releases.store import store_of
from releaser.system.files import read_text
from releaser.system.words import truncate

if TYPE_CHECKING:
    from releaser.report import RunReport
    from releaser.site.site import Site

NAME = "uv.lock.diff"
_LONGEST = 200_000  # characters
_LARGEST = 100_000  # lines of a lock that are compared: some three seconds


def lock_diff(site: Site, report: RunReport) -> str:
    """Return the difference of the locks of the release before and of the one that a run is about; mostly empty."""
    store = store_of(site)
    try:
        old, new = store.get(report.previous), store.get(report.release)
        if old is None or new is None:
            return ""
        before, after = (read_text(one.lock, errors="replace").splitlines() for one in (old, new))
    except OSError:  # what is wrong with a release is told elsewhere
        return ""
    if len(before) + len(after) > _LARGEST:
        return ""
    lines = difflib.unified_diff(before, after, "a/uv.lock", "b/uv.lock", old.id, new.id, lineterm="")
    text = site.redactor.clean("\n".join(lines))
    return truncate(text, head_lines=_LONGEST, max_chars=_LONGEST) + "\n" if text else ""
