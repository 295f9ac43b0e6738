"""The commands that change a mark: `pin`, `unpin`, `hold`, `unhold`, `pause` and `resume`."""

from __future__ import annotations

from collections.abc import Sequence

from releaser.errors import refuse
from releaser.packages import holds
from releaser.releases.store import SiteRun, write_state
from releaser.releases.venv import list_installed
from releaser.report.outcomes import Outcome, make_done, make_unchanged
from releaser.site.site import Site
from releaser.system.text import find_close, format_time, join_few, normalize_name


def set_pinned(run: SiteRun, name: str, *, pinned: bool) -> Outcome:
    """Keep a release from pruning, or let pruning delete it again."""
    release = write_state(run.store.find(name), pinned=pinned)
    run.store = run.store.having(release)
    return make_done(f"Release {release.id} is {'pinned' if pinned else 'not pinned any more'}.", release.id)


def hold(site: Site, run: SiteRun, name: str, seconds: float | None) -> Outcome:
    """Let updates leave a package at its live version, for a time, None for no end."""
    installed = list_installed(run.store.find("live").venv)
    version = installed.get(normalize_name(name))
    if version is None:
        close = find_close(normalize_name(name), installed)
        advice = f"Did you mean `{close}`?" if close else "Run `releaser run -- uv pip list`."
        raise refuse("not-installed", f"`{name}` is not in the live release.", advice)
    until = holds.hold_package(site.paths, name, seconds)
    end = f" until {format_time(until)}" if until else ""
    return make_done(f"Updates leave {name} at {version}{end}. Undo: `releaser unhold {name}`.")


def unhold(site: Site, names: Sequence[str]) -> Outcome:
    """Let updates take versions or commits again."""
    removed, unknown = holds.remove_holds(site.paths, names)
    if unknown:
        close = find_close(unknown[0], [holds.describe_hold(hold).word for hold in holds.read_holds(site.paths)])
        advice = "Run `releaser status`; what is on hold by the setting `ignore`, take out of that."
        advice = f"Did you mean `{close}`? {advice}" if close else advice
        raise refuse("not-on-hold", f"Not on hold: {join_few(unknown)}. Nothing was changed.", advice)
    return make_done(f"Updates take these again: {join_few([hold.label for hold in removed])}.")


def unhold_all(site: Site) -> Outcome:
    """Let updates take everything again that was on hold; what the setting `ignore` names, and a pause, stay."""
    if not (removed := holds.remove_all_holds(site.paths)):
        return make_unchanged("Nothing is on hold.")
    return make_done(f"Updates take these again: {join_few([hold.label for hold in removed])}.")


def pause(site: Site, seconds: float | None, reason: str) -> Outcome:
    """Let updates do nothing for a time, None for no end."""
    return make_done(f"{holds.pause_updates(site.paths, seconds, reason).sentence} Undo: `releaser resume`.")


def resume(site: Site) -> Outcome:
    """Let updates go on."""
    is_over = holds.resume_updates(site.paths)
    return make_done("Updates go on.") if is_over else make_unchanged("Updates are not paused.")
