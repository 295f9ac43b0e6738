"""The lock, code and wheels of a verified bundle. No index, remote or service is asked."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING

from releaser.bundles.archive import offline_lock
from releaser.bundles.code import fetch_bundle
from releaser.bundles.manifest import CODE, INCLUDED, LOCK, WHEELS
from releaser.checkout.publish import own_commits
from releaser.errors import Finding, PreflightError, ToolError, refuse
from releaser.locks.lock import LockFile
from releaser.site.supply import Provenance, Supply
from releaser.sources.locked import Locked, refuse_unwanted
from releaser.system.files import read_file
from releaser.system.words import plural

if TYPE_CHECKING:
    from pathlib import Path

    from releaser.bundles.manifest import BundleManifest
    from releaser.core.source import Wanted
    from releaser.report import RunLog
    from releaser.site.site import Site, SiteFacts


class Bundle(Locked):
    """Takes the lock of a bundle that was verified and unpacked at `place`; it may be unsigned."""

    name = "bundle"

    def __init__(self, place: Path, manifest: BundleManifest, signer: str, *, runs_tests: bool) -> None:
        self.place, self.manifest, self.signer, self.runs_tests = place, manifest, signer, runs_tests

    def supply(self, site: Site) -> Supply:
        """Let uv install and build from the wheels alone, and add the files of the bundle to the checkout.

        uv ignores its own settings, which could add indexes and directories. It still reads groups and sources of the
        project.
        """
        manifest, wheels = self.manifest, self.place / WHEELS
        names = [file.path.removeprefix(INCLUDED) for file in manifest.below(INCLUDED)]
        return Supply(
            read_lock=lambda: LockFile.parse(read_file(self.place / LOCK)),
            takes=f"the lock of the bundle of {manifest.release}",
            publishes=not manifest.overrides,
            asks_others=False,
            overrides=manifest.overrides,
            runs_tests=self.runs_tests,
            variables={"UV_NO_CONFIG": "1", "UV_OFFLINE": "1", "UV_NO_INDEX": "1", "UV_FIND_LINKS": str(wheels)},
            to_install=partial(offline_lock, wheels=wheels, manifest=manifest),
            included={name: self.place / INCLUDED / name for name in names},
            advice="Add these files to `bundle_include` where the bundle is created, and create it again.",
            provenance=Provenance(
                release=manifest.release,
                sequence=manifest.sequence,
                sha256=manifest.sha256,
                signer=self.signer,
                included_sha256=manifest.included_sha256,
                brought=tuple(name for name in names if not os.path.lexists(site.project.root / name)),
            ),
        )

    def fetch(self, site: Site, log: RunLog, facts: SiteFacts, *, follow: bool) -> str:
        """Take the commit out of the bundle. Raises PreflightError."""
        git, commit = site.git, self.manifest.commit
        with log.step("fetch") as step:
            step.says(commit[:12])
            try:
                if self.manifest.find(CODE) is not None:  # else the base of this delta had it
                    fetch_bundle(git, self.place / CODE, commit)
            except ToolError as error:
                message = f"the code of the bundle cannot be read: {error.message}"
                advice = "First install the full bundle, or the bundle that this delta builds on."
                raise PreflightError(Finding("bundle-code-unreadable", message, advice, output=error.output)) from error
            if not git.has_commit(commit):
                refuse(
                    "commit-missing",
                    f"commit {commit[:12]} is neither in this repository nor in the bundle",
                    "Install the full bundle.",
                )
        ahead, behind = git.list_diverged(git.commit("HEAD"), commit)
        own = own_commits(site, ahead)
        others = [own_commit for own_commit in ahead if own_commit.id not in own]
        if others and (behind or not follow):
            lacks = f"{plural(len(others), 'commit')} that the bundle lacks ({others[0].subject})"
            advice = "Create a bundle whose code has these commits" + (
                "." if behind else ", or go back to the older code with `--allow-older`."
            )
            refuse("bundle-lacks", f"{site.project.checkout} has {lacks}", advice)
        return commit

    def refuse_unfit(self, wanted: Wanted, lock: LockFile) -> None:
        """Refuse a lock that changes what a person holds; whether it fits the project was checked where it was made."""
        refuse_unwanted(wanted.work, lock, force=wanted.force)
