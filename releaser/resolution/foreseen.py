"""Predicts the versions that the next update would install, by the steps of an update, without changing the site."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from releaser.errors import PreflightError, ReleaserError, ResolutionError, ToolError
from releaser.locks.installed import installed_key, versions_for
from releaser.locks.lock import LockFile
from releaser.locks.origins import OriginFacts
from releaser.releases.acceptance import DeviationError, accept_or_refuse
from releaser.releases.release import lock_of
from releaser.resolution.aside import project_aside
from releaser.resolution.committed import starts_from_commit
from releaser.resolution.constrained import resolve_within_rules
from releaser.resolution.newest import describe_unanswered
from releaser.resolution.resolve import TreeResolver, key_of, live_lock, read_made_lock, refuse_rolled_back_versions
from releaser.site.committed import committed_lock
from releaser.site.conventions import choose_dependency_group, default_groups
from releaser.system.frozen import Frozen, replace
from releaser.tools.uv import NoSolution

if TYPE_CHECKING:
    from releaser.locks.rules import Rules
    from releaser.releases.blocks import Blocks, StoredBlock
    from releaser.releases.release import Release
    from releaser.resolution.newest import AvailableVersions
    from releaser.site.pythons import Choice
    from releaser.site.site import Site
    from releaser.tools.uv import Uv

_UNDETERMINED = "the changes of the next update are unknown"
_NO_SOLUTION = (
    "the dependencies of the project have no solution within these rules; run `releaser update --dry-run` for details"
)

logger = logging.getLogger(__name__)


class Foreseen(Frozen):
    """The lock that the next update would make, and why the update would not install it."""

    #: None if no lock could be made.
    lock: LockFile | None = None
    #: Its versions for the Python of the site.
    versions: Mapping[str, str] | None = None
    #: Why the update would not install it; empty if it would. `by` is a kind of `Blocker`.
    refused: str = ""
    by: str = "constraint"
    #: As in `Blocker`.
    since: str = ""
    remedy: str = ""


class Outlook(Frozen):
    """The inputs of an update's resolution."""

    site: Site
    uv: Uv
    choice: Choice
    live: Release | None
    #: The lock that an update starts from.
    base: LockFile
    blocks: Blocks
    rules: Rules
    #: The versions that the indexes have.
    available: Mapping[str, AvailableVersions]
    #: The versions that fix vulnerabilities of the live release; asked only if the rules block a version.
    find_fixes: Callable[[], Mapping[str, str]]

    def foresee(self) -> Foreseen:
        """Resolve as an update does, in a copy of the project. Raises ResolutionError and PreflightError."""
        site = self.site
        if (read := site.supply.read_lock) is not None:
            try:
                lock = read()
            except ReleaserError as error:  # it is not committed yet, or git cannot be read
                logger.warning("the lock of the checkout is used instead of the committed lock: %s", error.message)
                lock = self.base
            return self._judge(lock, site)
        with project_aside(site) as aside:
            try:
                found = self._resolve(aside, self.rules)
                if found is None:
                    return Foreseen(refused=_NO_SOLUTION)
                refuse_rolled_back_versions(found, self.blocks)
            except ToolError as error:
                raise describe_unanswered(
                    error.output or error.message, what=_UNDETERMINED, advice=error.advice
                ) from error
            except ResolutionError as error:
                return Foreseen(refused=error.message)
            return self._judge(found, aside)

    @property
    def _before(self) -> LockFile:
        return lock_of(self.live)

    def _resolve(self, aside: Site, rules: Rules) -> LockFile | None:
        """Return the lock within the rules; None without a solution. Raises ToolError and ResolutionError."""
        resolver = TreeResolver(
            site=aside, lock=self.base, uv=self.uv, choice=self.choice, now=rules.policy.age.now, live=self.live,
            available=self.available,
        )  # fmt: skip
        locked = self.base.versions
        live = live_lock(self.live, locked).versions
        found = resolve_within_rules(resolver, lambda: rules, locked=locked, live=live, find_fixes=self.find_fixes)
        return None if isinstance(found, NoSolution) else read_made_lock(aside.project.root)

    def _judge(self, found: LockFile, aside: Site) -> Foreseen:
        """Return a lock with the reason, if any, for which an update would not install it."""
        foreseen = Foreseen(lock=found, versions=versions_for(found, self.choice.version))
        files = OriginFacts.of(self.live and self.live.manifest).files
        try:
            accept_or_refuse(aside.state_dir, self.base, found, files_before=files, root=aside.project.root)
            group = choose_dependency_group(self.site.settings, self.site.pyproject)
            if self._is_as_live(found, group):
                reason = "no installed package would change, so releaser makes no new lock"
                return replace(foreseen, refused=reason, by="no-changes")
            failed = self.blocks.candidate(key_of(self.site, found, python=self.choice.version, group=group))
        except DeviationError as error:
            names = " ".join(dict.fromkeys(deviation.name for deviation in error.found))
            remedy = f"`releaser update`, then `releaser accept {names}`"
            return replace(foreseen, refused=f"it would be refused: {error.message}", by="refused", remedy=remedy)
        except (PreflightError, ResolutionError):  # `check` reports it
            return foreseen
        if failed is not None and not failed.sick:
            return replace(
                foreseen,
                refused=_explain_failure(failed),
                by="failed",
                since=failed.since,
                remedy="`releaser update --force`",
            )
        return foreseen

    def _is_as_live(self, found: LockFile, group: str | None) -> bool:
        """True if a lock installs the live packages; without a release, the packages of the venv to adopt."""
        live, others = self.live, default_groups(self.site)
        if live is None and not os.path.exists(self.site.project.venv):
            return False
        before = self._before if live is not None else self.base
        python = live.manifest.python if live is not None else self.choice.version
        live_group = live.manifest.group if live is not None else group
        if live_group != group or not before.data:
            return False
        keys = [installed_key(lock, python=python, group=group, default_groups=others) for lock in (before, found)]
        return keys[0] == keys[1]


def _explain_failure(failed: StoredBlock) -> str:
    return f"{failed.release} had it, and failed on {failed.since[:10]}: {failed.reason}"


def read_base(site: Site, checkout: LockFile, live: Release | None) -> LockFile:
    """Return the lock that an update starts from. Raises ResolutionError without one."""
    if not checkout.data:
        message = f"{_UNDETERMINED}: {site.project.lock} is not a valid lock"
        raise ResolutionError(message, "Run `releaser check` for details.")
    with contextlib.suppress(ReleaserError):
        if starts_from_commit(site, live) and (committed := committed_lock(site)).data:
            return committed
    return checkout
