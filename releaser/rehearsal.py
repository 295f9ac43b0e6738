"""What a command would do, without writing anything at all: the `--dry-run` of each."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from releaser.errors import ResolutionError, ToolError
from releaser.locking.foretold import parse_changes
from releaser.project.preflight import Fitness, check
from releaser.queries import store_of
from releaser.releases.quarantine import Quarantine, read_quarantine
from releaser.rollback import choose, refuse_unwise
from releaser.steps.litter import known_litter
from releaser.steps.pruning import keep_policy, verdicts
from releaser.steps.publish import files_due
from releaser.steps.resolve import lock_of
from releaser.steps.restraint import resolve_without

if TYPE_CHECKING:
    from collections.abc import Mapping

    from releaser.locking.diff import Change
    from releaser.project.site import Site
    from releaser.releases.policy import Verdict
    from releaser.tools.uv import Bounds


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What would happen, a sentence each, and the package changes that it would bring."""

    lines: tuple[str, ...]
    changes: tuple[Change, ...] = ()


def rehearse_check(site: Site) -> Fitness:
    """Run every check, the remote included. Raises PreflightError with all the problems."""
    live = store_of(site).live()
    needed = live.manifest.size_bytes if live else 0
    litter = known_litter(site.project.state_dir)
    return check(site, needed_bytes=needed, pending=files_due(site, live), litter=litter, ask_remote=True)


def rehearse_update(site: Site, *, force: bool) -> Plan:
    """Say what an update would bring. Raises PreflightError and ResolutionError.

    The pull cannot be tried without writing to the repository, so packages are resolved for the code as it is.
    """
    fitness = rehearse_check(site)
    live = store_of(site).live()
    quarantine = read_quarantine(site.project.state_dir)

    changes: tuple[Change, ...] = ()

    def resolve(bounded: Bounds) -> Mapping[str, str]:
        nonlocal changes
        text = fitness.uv.lock_dry_run(site.project.root, bounds=bounded, packages=fitness.lock.names)
        changes = parse_changes(text)
        return {**fitness.lock.versions, **{change.name: change.new for change in changes if change.new}}

    try:
        resolve_without(resolve, Quarantine() if force else quarantine, lock_of(live).versions)
    except ToolError as error:
        raise ResolutionError(error.message, advice="See what uv says.", output=error.output) from error
    packages = {0: "no package", 1: "1 package"}.get(len(changes), f"{len(changes)} packages")
    lines = [f"{packages} would change"]
    lines += _commits_to_pull(site, fitness)
    if live is None:
        lines.append(f"{site.project.venv.name} would become a symlink to a release")
    return Plan(lines=tuple(lines), changes=changes)


def _commits_to_pull(site: Site, fitness: Fitness) -> list[str]:
    if not site.settings.git_pull or fitness.remote is None:
        return []
    theirs = site.git.remote_commit(fitness.remote, site.settings.branch)
    return (
        [] if theirs == fitness.state.head else [f"{fitness.remote} is at another commit, which would be pulled first"]
    )


def rehearse_init(site: Site) -> Plan:
    """Say what adopting the project would do. Raises PreflightError."""
    rehearse_check(site)
    link, store = site.project.venv, store_of(site)
    live = store.live()
    if live is not None:
        return Plan(lines=(f"the project is adopted already; {live.id} is live",))
    if link.is_symlink() and (link / "pyvenv.cfg").is_file():
        return Plan(lines=(f"the venv that {link.name} leads to would become the first release",))
    if link.is_dir():
        return Plan(lines=(f"{link.name} would become the first release, and a symlink to it",))
    return Plan(lines=("a first release would be built from uv.lock and tested",))


def rehearse_rollback(site: Site, to: str | None, *, force: bool) -> Plan:
    """Say where a rollback would go. Raises NoSuchReleaseError and PreflightError."""
    from releaser.locking.diff import LockDiff

    store = store_of(site)
    live, target = store.live(), choose(store, to)
    if live is not None and live.id == target.id:
        return Plan(lines=(f"{target.id} is live already",))
    refuse_unwise(site, target, force=force)
    changes = LockDiff.between(lock_of(live), lock_of(target)).changes
    return Plan(lines=(f"would go from {live.id if live else 'nothing'} to {target.id}",), changes=changes)


def rehearse_prune(site: Site) -> tuple[Verdict, ...]:
    """Return the verdict on every release."""
    return verdicts(keep_policy(site.settings), store_of(site), now=datetime.now(UTC))


def rehearse_pin(site: Site, release: str, *, on: bool) -> Plan:
    """Say what a pin would change. Raises NoSuchReleaseError."""
    found = store_of(site).find(release)
    what = "pinned" if on else "not pinned"
    return Plan(lines=(f"{found.id} is {what} already" if found.pinned == on else f"{found.id} would be {what}",))
