"""Who published packages, by attestations (PEP 740): what was known, what indexes tell now, what differs; pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from releaser.locks.origins import Deviation

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from releaser.locks.installed import IndexFile


@dataclass(frozen=True, kw_only=True)
class Publisher:
    """Who has published a file, such as a workflow of a repository on GitHub."""

    #: The kind, such as `GitHub` or `GitLab`.
    kind: str
    #: What stands for a repository where there is none: an email address, or the id of a project.
    repository: str
    workflow: str

    def __str__(self) -> str:
        """Say it for people."""
        return f"{self.repository} ({', '.join(filter(None, (self.kind, self.workflow)))})"

    def is_same(self, other: Publisher) -> bool:
        """Whether it is the same repository; workflows get renamed often."""
        return (self.kind, self.repository.casefold()) == (other.kind, other.repository.casefold())


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What is known of a file: `none` if it has no attestation, `invalid` if none of those that it has verifies."""

    state: Literal["verified", "none", "invalid", "unknown"]
    publisher: Publisher | None = None
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What came of the questions about some files."""

    #: The publishers of those packages of which one is known now, by name.
    publishers: Mapping[str, Publisher]
    #: What is never taken for granted: an attestation that does not verify, and another publisher than before.
    deviations: tuple[Deviation, ...]
    #: What had an attestation, and has none.
    lost: tuple[Deviation, ...]
    #: The files of which it is unknown, each with the reason.
    unknown: Mapping[IndexFile, str]


def judge(known: Mapping[str, Publisher], answers: Iterable[tuple[IndexFile, Answer]]) -> Judgement:
    """Compare what indexes tell of files with the publishers of their packages that are `known`."""
    found = dict(known)
    unknown: dict[IndexFile, str] = {}
    deviations, lost = list[Deviation](), list[Deviation]()
    ordered = sorted(answers, key=lambda pair: (pair[1].state != "verified", pair[0]))
    for one, answer in ordered:
        before, now = found.get(one.name), answer.publisher
        # A file beside it that is attested does not tell that this one ever was.
        old, by = str(known.get(one.name, "")), answer.reason
        if now is not None and before is not None and not now.is_same(before):
            is_by = Deviation(name=one.name, version=one.version, what="publisher", old=str(before), new=str(now))
            deviations.append(is_by)
        if now is not None:
            found[one.name] = now
        elif answer.state == "unknown":
            unknown[one] = answer.reason
        elif answer.state == "invalid" or old:
            new = f"sha256:{one.sha256}" if answer.state == "invalid" else ""
            (deviations if new else lost).append(
                Deviation(
                    name=one.name, version=one.version, what="attestation", old=old, new=new, file=one.file, why=by
                )
            )
    return Judgement(
        publishers={name: found[name] for name in {one.name for one, _ in ordered} if name in found},
        deviations=tuple(dict.fromkeys(deviations)),
        lost=tuple(lost),
        unknown=unknown,
    )
