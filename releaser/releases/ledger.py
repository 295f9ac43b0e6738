"""The ledger: what became of each release, and in which order they went live. The manifests never change; this does."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from releaser.durable import UnreadableStateError, check_texts, check_types, read_json, write_json

if TYPE_CHECKING:
    from pathlib import Path

LEDGER = "ledger.json"
Mark = Literal["good", "bad", "failed"]


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """`marks` by release id; `activations` lists ids in the order in which they went live; `pins` are never pruned.

    `last_sequence` is the highest sequence number ever given, also to releases that are gone.
    """

    marks: dict[str, Mark]
    activations: tuple[str, ...] = ()
    pins: frozenset[str] = frozenset()
    last_sequence: int = 0

    @property
    def named(self) -> frozenset[str]:
        """The releases of which it knows anything."""
        return frozenset(self.marks) | frozenset(self.activations) | self.pins

    def marked(self, release: str, mark: Mark) -> Ledger:
        """Record what became of a release."""
        return replace(self, marks={**self.marks, release: mark})

    def activated(self, release: str) -> Ledger:
        """Record that a release went live."""
        if self.activations[-1:] == (release,):
            return self
        return replace(self, activations=(*self.activations, release))

    def replaced(self, release: str, by: str) -> Ledger:
        """Put a good release in the place of another one, which stays, but is not in the order any more."""
        return replace(
            self,
            marks={**self.marks, by: "good"},
            activations=tuple(by if name == release else name for name in self.activations),
            pins=self.pins - {release} | {by} if release in self.pins else self.pins,
        )

    def pinned(self, release: str, *, on: bool) -> Ledger:
        """Record a pin, or that it was taken away."""
        return replace(self, pins=self.pins | {release} if on else self.pins - {release})

    def forgotten(self, *releases: str) -> Ledger:
        """Drop everything about releases that are gone."""
        gone = frozenset(releases)
        return replace(
            self,
            marks={name: mark for name, mark in self.marks.items() if name not in gone},
            activations=tuple(name for name in self.activations if name not in gone),
            pins=self.pins - gone,
        )

    def as_json(self) -> dict[str, Any]:
        """Return what `ledger.json` holds."""
        return {**asdict(self), "pins": sorted(self.pins)}


EMPTY_LEDGER = Ledger(marks={})


def read_ledger(state_dir: Path) -> Ledger:
    """Read the ledger; an empty one when there is none. Raises UnreadableStateError."""
    path = state_dir / LEDGER
    content = read_json(path)
    if content is None:
        return EMPTY_LEDGER
    try:
        check_types(content, {"marks": dict, "activations": list, "pins": list, "last_sequence": int})
        check_texts((*content["marks"].values(), *content["activations"], *content["pins"]))
        return Ledger(
            marks=dict(content["marks"]),
            activations=tuple(content["activations"]),
            pins=frozenset(content["pins"]),
            last_sequence=int(content["last_sequence"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UnreadableStateError(path, f"not a ledger ({error!r})") from error


def write_ledger(state_dir: Path, ledger: Ledger) -> None:
    """Replace the ledger."""
    write_json(state_dir / LEDGER, ledger.as_json())
