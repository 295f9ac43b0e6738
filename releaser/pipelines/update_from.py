"""`update --from`: makes the release of a channel live, newer or older, if its pointer is valid."""

from __future__ import annotations

import shutil
from functools import partial
from typing import TYPE_CHECKING

from releaser.bundles.archive import open_archive
from releaser.bundles.pool import Pool
from releaser.checkout.files import place_included
from releaser.core.change import retry_failed_actions
from releaser.errors import ActivationError, Finding, IncompleteReturnError, ResolutionError, TestsFailedError, refuse
from releaser.pipelines.bundle_install import (
    InstallRequest,
    bundle_before,
    find_missing,
    install,
    names_of,
    refuse_lack,
    trust_of,
)
from releaser.pipelines.due import Timing, plan_when_due, update_when_due
from releaser.pipelines.rollback import roll_back
from releaser.pipelines.session import PipelineResult, Request
from releaser.pipelines.workspaces import explain_rebuild
from releaser.releases.blocks import BLOCKS, read_blocks
from releaser.releases.channels import CHANNELS, Seen, SeenChannels
from releaser.releases.integrity import find_live_damage, find_rollback_damage, usable
from releaser.releases.release import Release, refuse_moved
from releaser.releases.store import store_of
from releaser.report import Plan, RunReport
from releaser.system.files import UnreadableStateError, hash_of_file, read_state, write_state
from releaser.system.frozen import replace
from releaser.system.words import first_few, size

if TYPE_CHECKING:
    from pathlib import Path

    from releaser.bundles.manifest import BundleManifest
    from releaser.bundles.pointer import Channel, Move, Pointer, PublishedBundle, PublishedDelta
    from releaser.core.run import Run
    from releaser.site.site import Site


def update_from(request: Request, timing: Timing, channel: Channel, *, force: bool = False) -> RunReport:
    """Make the release of a channel live, if the channel has changed since the last look.

    `force` tries again a release that failed here before.
    """
    return update_when_due(request, timing, partial(_follow, channel=channel, force=force))


def plan_update_from(site: Site, timing: Timing, channel: Channel, *, force: bool = False) -> Plan:
    """Describe what `update_from` would do. Raises PreflightError and ResolutionError."""
    return plan_when_due(site, timing, lambda site, _: _plan(site, channel=channel, force=force))


def _plan(site: Site, *, channel: Channel, force: bool) -> Plan:
    pointer, before, _ = _read(site, channel)
    move, kept = pointer.current, _find_kept(site, pointer.current)
    no_move = _explain_no_move(site, pointer, before, force=force)
    no_way_back = _explain_no_way_back(site, pointer, before, kept, force=force)
    if no_move:
        would = f"nothing would change: {no_move}"
    elif kept is not None and kept.live:
        would = f"nothing would change: {move.release} is live"
    elif no_way_back:
        would = f"nothing would change: {no_way_back}"
    elif kept is not None:
        would = f"would go to {kept.id}, which was installed from {move.release}"
    else:
        deltas, why = _choose_deltas(Pool.of(site.state_dir), move)
        loads = ", ".join(filter(None, [size(move.bundle.size), why]))
        if deltas:
            loads = f"a delta from {deltas[0].base}, {size(deltas[0].size)}"
        would = f"would download {move.release} ({loads}), and install it as `bundle install` does"
    return Plan(would=(would,))


def _follow(run: Run, *, channel: Channel, force: bool) -> PipelineResult:
    refuse_moved(run.store)
    retry_failed_actions(run.site, run.log)
    with run.log.step("channel") as step:
        pointer, before, signer = _read(run.site, channel)
        step.says(f"{channel.name} points at {pointer.current.release}, signed by {signer}")
    no_move = _explain_no_move(run.site, pointer, before, force=force)
    if no_move:
        return PipelineResult(result="no-changes", headline=no_move)
    seen = Seen(
        channel=channel.name,
        sequence=pointer.current.sequence,
        sha256=pointer.sha256,
        release=pointer.current.release,
    )
    _remember(run.site, seen)  # before anything that may fail: an older pointer is refused from now on
    try:
        result = _reach(run, channel, pointer, before, force=force)
    except IncompleteReturnError:
        raise
    except (TestsFailedError, ActivationError) as error:
        known = read_blocks(run.site.state_dir).candidates
        if not any(seen_move.sick for seen_move in known):  # such candidates are tried each time
            _settle(run.site, seen, f"{seen.release} is skipped, because it failed here before: {error.message}")
        raise
    kept = _find_kept(run.site, pointer.current)
    is_live = kept is not None and kept.live
    if is_live or not run.log.learned.waits:  # a waiting release is examined each time
        _settle(run.site, seen, f"nothing newer on {channel.name}" if is_live else result.headline)
    return result


def _read(site: Site, channel: Channel) -> tuple[Pointer, Seen | None, str]:
    """Return the pointer, the record of the last one, and the signer. Raises PreflightError and ResolutionError."""
    pointer, signer = channel.read(site.runner, trust_of(site))
    if pointer.project not in names_of(site):
        refuse(
            "other-project",
            f"the channel is of {pointer.project}, but this project is {site.project.name}",
            "Use a channel of this project.",
        )
    before = _seen(site).of(channel.name)
    if before is not None and pointer.current.sequence < before.sequence:
        message = (
            f"{channel} is older than before: its sequence is {pointer.current.sequence}, and was {before.sequence}"
        )
        refuse(
            "channel-went-back",
            message,
            "Check who published the old pointer. To publish a new one, run `releaser channel publish`.",
        )
    if before is not None and pointer.current.sequence == before.sequence and pointer.sha256 != before.sha256:
        message = f"{channel} has changed, but its sequence is still {pointer.current.sequence}"
        refuse(
            "channel-changed",
            message,
            "Two pointers were signed with the same sequence. Check who signed them, and publish the channel again.",
        )
    if pointer.has_expired:
        message = f"{channel} expired at {pointer.expires}, and may be out of date"
        refuse(
            "channel-expired",
            message,
            "Publish the channel again. If it was published since, check why this host does not get it.",
        )
    return pointer, before, signer


def _explain_no_move(site: Site, pointer: Pointer, before: Seen | None, *, force: bool) -> str:
    """Return the earlier result for this pointer, if nothing has changed since; else empty."""
    if force or before is None:
        return ""
    if pointer.sha256 != before.sha256 or not before.headline or before.quarantine != _digest_of_blocks(site):
        return ""
    live = store_of(site).live()
    return "" if live is None or explain_rebuild(site, live, find_live_damage(live)) else before.headline


def _reach(run: Run, channel: Channel, pointer: Pointer, before: Seen | None, *, force: bool) -> PipelineResult:
    """Make the release of a channel live, by a flip if it is here, unless this host has a reason to stay."""
    move, kept = pointer.current, _find_kept(run.site, pointer.current)
    if kept is not None and kept.live and not explain_rebuild(run.site, kept, find_live_damage(kept)):
        if force:  # files in their way may be gone
            place_included(run.site, run.log, kept)
        return PipelineResult(result="no-changes", headline=f"{move.release} is live")
    live, no_way_back = run.store.live(), _explain_no_way_back(run.site, pointer, before, kept, force=force)
    if no_way_back:
        if live is not None and (reason := explain_rebuild(run.site, live, find_live_damage(live))):
            run.log.note(Finding("release-damaged", f"{live.id} must be rebuilt: {reason}", "Run `releaser rebuild`."))
        return PipelineResult(result="no-changes", headline=no_way_back)
    if kept is not None and not kept.live:
        # Back or forward. The channel decides about the next release, so nothing is put on hold.
        return roll_back(run, to=kept.id, holds_left=False)
    newest = bundle_before(run.site)
    is_older = newest is not None and move.built < newest.sequence
    with run.log.step("download") as step:
        file, summary, lacking = _download(run.site, channel, move)
        step.says(summary)
    if lacking:
        run.log.say(f"The full bundle was downloaded ({size(move.bundle.size)}), as no delta fits: {lacking}.")
    result = install(run, InstallRequest(file=file, allow_older=is_older, force=force, for_tests=pointer.for_tests))
    if not run.log.learned.waits:
        shutil.rmtree(file.parent, ignore_errors=True)
    return result


def _explain_no_way_back(
    site: Site, pointer: Pointer, before: Seen | None, kept: Release | None, *, force: bool
) -> str:
    """Return why this host stays: it has failed, gone back, or is ahead of the channel; empty if it follows."""
    move, newest = pointer.current, bundle_before(site)
    if force or usable(store_of(site).live()) is None:  # the site is down
        return ""
    if kept is not None and not kept.live:
        if (failed := read_blocks(site.state_dir).candidate(kept.key)) is not None:
            return f"{move.release} is skipped: {failed.reason}"
        if before is not None and before.release == move.release and before.headline:  # else a run was killed
            return f"{move.release} was live here, and was rolled back by hand"
    is_ahead = newest is not None and newest.sequence > move.built
    if newest is not None and is_ahead and newest.release not in {known_move.release for known_move in pointer.moves}:
        return f"the newer {newest.release} was installed here; to go back to {move.release}, add --force"
    return ""


def _find_kept(site: Site, move: Move) -> Release | None:
    """Return the usable release that was installed here from the bundle; None without one."""
    digests = {file.manifest for file in move.files}
    for one in sorted(store_of(site).all(), key=lambda release: not release.live):
        is_it = one.provenance.sha256 in digests and one.state in ("live", "good", "rolled-back")
        if is_it and (one.live or find_rollback_damage(one) is None):
            return one
    return None


def _choose_deltas(pool: Pool, move: Move) -> tuple[list[PublishedDelta], str]:
    """Return the deltas whose base this host has, and words on the others; empty if the channel has no deltas."""
    fit = [delta for delta in move.deltas if pool.manifest_of(delta.base) is not None]
    bases = [delta.base for delta in move.deltas if delta not in fit]
    return fit, f"this host does not have the bundle of {first_few(bases)}" if bases else ""


def _download(site: Site, channel: Channel, move: Move) -> tuple[Path, str, str]:
    """Return the file of a bundle, or of a delta if this host has its base, its description, and why no delta fits.

    Raises as `_fetch`.
    """
    pool = Pool.of(site.state_dir)
    deltas, lacking = _choose_deltas(pool, move)
    for delta in deltas:
        try:
            file = _fetch(site, channel, delta)
            with open_archive(file) as archive:
                manifest = archive.manifest()
                lacking = _describe_lack(site, pool, manifest)
                if not lacking:
                    return file, f"{size(delta.size)}, a delta from {delta.base}", ""
        except ResolutionError as error:  # then the full bundle is tried
            lacking = error.message
    return _fetch(site, channel, move.bundle), f"{size(move.bundle.size)}, the full bundle", lacking


def _describe_lack(site: Site, pool: Pool, manifest: BundleManifest) -> str:
    """Name what this host lacks of the base of a delta; empty if it has all."""
    if manifest.base is None:
        return ""
    if missing := find_missing(pool, manifest):
        return f"this host lacks {first_few([file.path for file in missing])} of {manifest.base.release}"
    commit = manifest.base.commit
    if commit is not None and not site.git.has_commit(commit):  # the base may never have been installed
        return f"this host lacks commit {commit[:12]} of {manifest.base.release}"
    return ""


def _fetch(site: Site, channel: Channel, bundle: PublishedBundle) -> Path:
    """Download a file, unless a run that was cut off has done so. Raises PreflightError and ResolutionError."""
    directory = Pool.of(site.state_dir).directory / "download"
    file = directory / f"{bundle.sha256}.bundle"
    if hash_of_file(file) == bundle.sha256:
        return file
    try:
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True, mode=0o700)
        refuse_lack(bundle.size, directory)
    except OSError as error:
        refuse("state-unwritable", f"{directory} cannot be created: {error}", "Check free space and permissions there.")
    try:
        channel.place(site.runner).fetch(bundle.path, file, sha256=bundle.sha256, size=bundle.size)
    except ResolutionError:
        directory.rmdir()
        raise
    return file


# The pointers seen last


def _seen(site: Site) -> SeenChannels:
    try:
        return read_state(site.state_dir / CHANNELS, SeenChannels) or SeenChannels()
    except UnreadableStateError as error:
        return refuse(
            "state-unreadable", f"{error.path} cannot be read: {error}", "If the channel is right, delete that file."
        )


def _remember(site: Site, seen: Seen) -> None:
    others = tuple(channel for channel in _seen(site).channels if channel.channel != seen.channel)
    write_state(site.state_dir / CHANNELS, SeenChannels(channels=(*others, seen)))


def _settle(site: Site, seen: Seen, headline: str) -> None:
    _remember(site, replace(seen, headline=headline, quarantine=_digest_of_blocks(site)))


def _digest_of_blocks(site: Site) -> str:
    return hash_of_file(site.state_dir / BLOCKS) or ""
