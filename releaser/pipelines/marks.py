"""The commands that change a mark: `pin`, `unpin`, `hold`, `unhold`, `pause` and `resume`."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from releaser.errors import refuse
from releaser.packages.holds import add_hold, read_pause, remove_holds, write_pause
from releaser.releases.store import Store, write_state
from releaser.releases.verify import list_installed
from releaser.report.outcome import Outcome
from releaser.site.site import Site
from releaser.system.files import remove_path, sync_directory
from releaser.system.text import join_few, normalize_name


def set_pinned(site: Site, name: str, *, pinned: bool) -> Outcome:
    """Keep a release from pruning, or let pruning delete it again."""
    release = Store(site.paths).find(name)
    write_state(release, pinned=pinned)
    words = "pinned" if pinned else "not pinned any more"
    return Outcome("updated", 0, f"Release {release.id} is {words}.", release.id)


def hold(site: Site, name: str) -> Outcome:
    """Let updates leave a package at its live version."""
    live = Store(site.paths).find("live")
    installed = list_installed(live.venv)
    version = installed.get(normalize_name(name))
    if version is None:
        close = difflib.get_close_matches(normalize_name(name), installed, 1)
        advice = f"Did you mean `{close[0]}`?" if close else "Run `releaser run -- uv pip list`."
        raise refuse("not-installed", f"`{name}` is not in the live release.", advice)
    add_hold(site.paths, name)
    return Outcome("updated", 0, f"Updates leave {name} at {version}. Undo: `releaser unhold {name}`.")


def unhold(site: Site, names: Sequence[str]) -> Outcome:
    """Let updates take versions or commits again."""
    removed, unknown = remove_holds(site.paths, names)
    if unknown:
        advice = "Run `releaser status`; what is on hold by the setting `ignore`, take out of that."
        raise refuse("not-on-hold", f"Not on hold: {join_few(unknown)}. Nothing was changed.", advice)
    words = join_few([hold.label for hold in removed])
    return Outcome("updated", 0, f"Updates take these again: {words}.")


def pause(site: Site, seconds: float | None, reason: str) -> Outcome:
    """Let updates do nothing for a time, None for no end."""
    return Outcome("updated", 0, f"{write_pause(site.paths, seconds, reason).sentence} Undo: `releaser resume`.")


def resume(site: Site) -> Outcome:
    """Let updates go on."""
    if read_pause(site.paths) is None:
        return Outcome("no-changes", 0, "Updates are not paused.")
    remove_path(site.paths.pause)
    sync_directory(site.paths.state)
    return Outcome("updated", 0, "Updates go on.")
