"""What there is of releases at one moment, read from disk once, and what follows from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from releaser.releases.ledger import Ledger
    from releaser.releases.release import Release


@dataclass(frozen=True, kw_only=True)
class Census:
    """`releases` are the complete ones, newest first by the record; `live_id` is what the symlink leads to.

    `damaged` are directories with a manifest that tells nothing of them, each with what that manifest is or does.
    """

    releases: tuple[Release, ...]
    ledger: Ledger
    live_id: str | None
    damaged: Mapping[str, str]

    @property
    def live(self) -> Release | None:
        """The release that the symlink leads to; None when it leads to none."""
        return self.get(self.live_id)

    @property
    def just_left(self) -> str | None:
        """The release that was live until the last flip: what has not been restarted yet still runs on it."""
        activations = self.ledger.activations
        return activations[-2] if len(activations) > 1 and activations[-1] == self.live_id else None

    @property
    def replaced(self) -> Mapping[str, str]:
        """The releases in whose place others were rebuilt, each with that one."""
        return {
            one.manifest.replaces: one.id
            for one in reversed(self.releases)
            if one.manifest.replaces is not None and one.state in ("good", "live")
        }

    def get(self, release: str | None) -> Release | None:
        """Return one release by its whole id; None when it is not there."""
        return next((one for one in self.releases if one.id == release), None)

    def rollback_order(self) -> Iterator[Release]:
        """Yield the good releases that went live before the live one did, and are still there, the last one first.

        It is never a newer one: whoever went back two releases at once goes back further from there, not forward.
        """
        live = self.live
        order = list(self.ledger.activations)
        if live is not None and live.id in order:
            order = order[: len(order) - 1 - order[::-1].index(live.id)]
        for release in self._by_activation(order):
            if release.state == "good" and (live is None or release.manifest.sequence < live.manifest.sequence):
                yield release

    def good_order(self) -> Iterator[Release]:
        """Yield every good release, the live one included, the one that went live last first."""
        marks = self.ledger.marks
        return (one for one in self._by_activation(self.ledger.activations) if marks.get(one.id) == "good")

    def _by_activation(self, order: list[str] | tuple[str, ...]) -> Iterator[Release]:
        releases = {one.id: one for one in self.releases}
        return (releases[name] for name in dict.fromkeys(reversed(order)) if name in releases)
