"""A lock that goes live as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from releaser.core.source import Source
from releaser.errors import ResolutionError, ToolError
from releaser.releases.blocks import read_blocks
from releaser.releases.release import lock_of
from releaser.resolution.resolve import candidate_key, resolve_as_locked
from releaser.system.words import first_few
from releaser.tools.uv import NoSolution
from releaser.tools.uv_arguments import LOCK_CHECK

if TYPE_CHECKING:
    from releaser.core.run import Workspace
    from releaser.core.source import Resolution, Wanted
    from releaser.locks.lock import LockFile
    from releaser.releases.blocks import Blocks


class Locked(Source):
    """Takes the lock that is provided; else the one that an update starts from."""

    def resolve(self, wanted: Wanted) -> Resolution:
        """Take it."""
        work, read = wanted.work, wanted.work.site.supply.read_lock
        return resolve_as_locked(work, work.facts.lock if read is None else read())

    def refuse_unfit(self, wanted: Wanted, lock: LockFile) -> None:
        """Refuse a lock that does not fit pyproject.toml, or that changes what a person holds."""
        refuse_unwanted(wanted.work, lock, force=wanted.force)
        _refuse_other_project(wanted.work)


def refuse_unwanted(work: Workspace, lock: LockFile, *, force: bool) -> None:
    """Refuse a lock with a package on hold, or the very lock that was rolled back. Raises ResolutionError.

    `force` permits the lock that was rolled back. Other locks may have some of its versions: a developer chose them.
    """
    blocks, before = read_blocks(work.site.state_dir), lock_of(work.live).versions
    if not force:
        _refuse_rolled_back(work, lock, blocks)
    for hold in blocks.held:
        wanted, live = lock.versions.get(hold.name), before.get(hold.name)
        if wanted != live and live is not None:
            locked = f"{hold.name} {wanted}" if wanted else f"no {hold.name}"
            message = f"uv.lock has {locked}, but {live} is on hold by you"
            advice = (
                f"To follow uv.lock, run `releaser unhold {hold.name}`. To keep the hold, lock {live} where "
                f"you develop, and push."
            )
            raise ResolutionError(f"{message} ({hold.reason})" if hold.reason else message, advice)


def _refuse_other_project(work: Workspace) -> None:
    """See that the lock in the staging tree fits pyproject.toml. Raises ResolutionError."""
    site = work.site
    try:
        checked = work.facts.uv.lock(site.project.root, LOCK_CHECK, python=work.facts.python)
    except ToolError as error:
        message = f"uv could not check whether uv.lock fits pyproject.toml: {error.message}"
        raise ResolutionError(message, error.advice or "Check the network.", output=error.output) from error
    if isinstance(checked, NoSolution):
        message = "uv.lock does not fit pyproject.toml, and releaser does not change it"
        raise ResolutionError(
            message, "Run `uv lock` on your own machine, commit uv.lock, and push.", output=checked.output
        )


def _refuse_rolled_back(work: Workspace, lock: LockFile, blocks: Blocks) -> None:
    key = candidate_key(work.site, work.facts, lock)
    out = [hold for hold in blocks.by("rollback") if hold.is_in(lock.versions)]
    for candidate in blocks.candidates if out else ():
        if candidate.key and candidate.key.lock_sha256 == key.lock_sha256:
            names = first_few([f"{block.name} {block.version}" for block in out])
            were = "was" if len(out) == 1 else "were"
            message = (
                f"{names} {were} rolled back ({candidate.reason}), and uv.lock is still that of {candidate.release}"
            )
            advice = (
                "Lock other versions on your own machine, and push. To install this lock anyway, run "
                "`releaser update --force`."
            )
            raise ResolutionError(message, advice)
