"""The reasons to rebuild the live release: it is damaged, or its Python or a setting has changed."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from releaser.core.target import RebuildReason
from releaser.errors import refuse
from releaser.pipelines.workspaces import explain_rebuild
from releaser.releases import leases
from releaser.releases.integrity import advise, find_live_damage, has_lost_python
from releaser.releases.release import Release
from releaser.releases.venv import VenvFacts, executable_of
from releaser.site.pythons import Choice, find_request, minor

if TYPE_CHECKING:
    from releaser.site.site import Site

_WRITERS = "Check who changed it: `uv sync` and `pip` write to the live venv."
_PAUSE = 1.0  # seconds between two looks at an interpreter: an upgrade of the system may be replacing it just now


def find_rebuild_reason(site: Site, choice: Choice, live: Release | None) -> RebuildReason | None:
    """Return why the live release has to be rebuilt; None if it need not be. Raises PreflightError."""
    refuse_unreadable_live(live)
    if live is None:
        return None
    found = find_live_damage(live)
    if found is not None and found.kind == "gone" and live.works():  # the failure may be temporary
        time.sleep(_PAUSE)
        found = find_live_damage(live)
    if reason := explain_rebuild(site, live, found):
        is_built = found is None and live.manifest.origin == "built"
        is_damaged = not is_built and not has_lost_python(live, found)
        is_down = found is not None and found.fatal
        how = advise(live, found)
        if found is None or found.kind != "moved":
            how = f"{_WRITERS} {how}".rstrip()
        return RebuildReason(release=live, reason=reason, is_damaged=is_damaged, is_down=is_down, advice=how)
    request, built_with = find_request(site), live.manifest.python
    if request is None or request.admits(built_with) or minor(choice.version) == minor(built_with):
        return None
    reason = f"{request.name} is {request.version!r}, but it was built with Python {built_with}"
    return RebuildReason(release=live, reason=reason, is_damaged=False)


def refuse_unreadable_live(live: Release | None) -> None:
    """Refuse if the interpreter of the live release is hidden from releaser, but not gone. Raises PreflightError.

    It is hidden if it does not start here, while processes run on its file, which is not deleted.
    """
    if live is None or live.works() or not os.path.isdir(live.venv):
        return
    time.sleep(_PAUSE)
    if live.works():
        return
    interpreter = VenvFacts.of(live.manifest).interpreter
    executable = interpreter.executable if interpreter is not None else executable_of(live.venv / "bin" / "python")
    running = [pid for pid in leases.holders(str(live.directory)) if leases.executable(pid) == executable]
    if not running:
        return
    count = "1 process runs" if len(running) == 1 else f"{len(running)} processes run"
    message = (
        f"releaser cannot see the interpreter of the live release {live.id} ({executable}), but {count} on it:"
        f" {', '.join(map(str, running))}"
    )
    advice = (
        "Nothing was changed. A sandbox, a mount or permissions hide that file: give releaser access to it. To build"
        " with another interpreter, run `releaser rebuild`."
    )
    refuse("interpreter-hidden", message, advice)
