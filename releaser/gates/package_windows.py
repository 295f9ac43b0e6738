"""A release waits if it changes packages whose window is closed; outside the site's window, commits wait too."""

from __future__ import annotations

from releaser.core.gate import Case, Gate, Stage, Verdict, Wait
from releaser.locks.blocks import PackageWaits
from releaser.locks.rules import find_wait
from releaser.site.package_windows import OpenPackages
from releaser.system.words import first_few, show_time


class PackageWindows(Gate):
    """Waits for the window of packages that a commit moves: for others, the rules keep the packages where they are.

    A commit with packages that need a review has had it.
    """

    is_foreseeable = True

    def judge(self, case: Case) -> Verdict:
        """Check each package that the release changes."""
        known = PackageWaits.of(case.log).package_waits
        found = {change.name: find_wait(known, change.name) for change in case.changes if change.moves}
        waits = {name: wait.until for name, wait in found.items() if wait is not None and wait.until is not None}
        if not waits or case.is_down:
            return None
        until, names = max(waits.values()), first_few(sorted(waits))
        command = f"`releaser update --now {' '.join(sorted(waits))}`"
        opens = f"whose maintenance window opens {show_time(until)}"
        return Wait(reason=f"it changes {names}, {opens}; to make it live now: {command}", until=until)


class WindowKeepsCheckout(Gate):
    """Keeps commits that change neither code nor packages for the maintenance window of the site."""

    stage: Stage = "unbuilt"

    def judge(self, case: Case) -> Verdict:
        """Wait if the run takes only packages whose own maintenance window is open."""
        if not OpenPackages.of(case.log).only_open_packages:
            return None
        return Wait(reason="only packages whose maintenance window is open go live", always=True)
