"""What is not to be tried again: whole candidates whose tests failed, and package versions that were backed out."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from releaser.durable import UnreadableStateError, check_texts, check_types, read_json, write_json

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

QUARANTINE = "quarantine.json"


@dataclass(frozen=True, kw_only=True)
class CandidateKey:
    """What makes two candidates the same: the lock, the committed code without the lock, the Python, the group."""

    #: The digest of what the lock installs; it is the same for another mirror, or other upload times.
    lock_sha256: str
    code_key: str
    python: str
    group: str | None


@dataclass(frozen=True, kw_only=True)
class FailedCandidate:
    """A candidate that is not to be built again; `at` is an ISO time.

    With `sick`, the tests failed on the live release too, so that nothing is known of the candidate: it gets another
    chance once they pass there. One with `migrations` is well, and waits until somebody has applied these. What in an
    `unfinished` one is to blame is not known yet, and is being looked for.
    """

    key: CandidateKey
    release: str
    reason: str
    at: str
    sick: bool = False
    migrations: tuple[str, ...] = ()
    unfinished: bool = False


@dataclass(frozen=True, kw_only=True)
class BadVersion:
    """A package version that a backed-out release had brought in; no resolution takes it again."""

    name: str
    version: str
    release: str
    reason: str
    at: str

    def is_in(self, locked: Mapping[str, str]) -> bool:
        """Whether this version is among those in a lock, which shows several of one package comma-separated."""
        return self.version in locked.get(self.name, "").split(", ")


@dataclass(frozen=True, kw_only=True)
class RejectedCommit:
    """A commit that does not come in again by itself: it broke the tests or the site, or was rolled back from."""

    commit: str
    #: What identifies its code: everything in it but the files that releaser commits.
    code_key: str
    subject: str
    reason: str
    #: An ISO time.
    at: str
    #: Whether packages came in with it that may be to blame instead; if they fail alone, the commit is let in again.
    is_suspect: bool = False


@dataclass(frozen=True, kw_only=True)
class RefusedPython:
    """A version of Python that the site was to move to by itself, and did not; it is not tried again.

    One for which something is `unbuilt` is: as soon as all that is locked can be had for it, or, if nobody can tell
    what is missing, at each update.
    """

    version: str
    reason: str
    at: str
    unbuilt: bool = False


@dataclass(frozen=True, kw_only=True)
class Quarantine:
    """All lists, oldest first."""

    candidates: tuple[FailedCandidate, ...] = ()
    versions: tuple[BadVersion, ...] = ()
    pythons: tuple[RefusedPython, ...] = ()
    commits: tuple[RejectedCommit, ...] = ()

    def commit(self, code_key: str) -> RejectedCommit | None:
        """Return the entry for code that was rejected."""
        return next((entry for entry in self.commits if entry.code_key == code_key), None)

    def with_commit(self, entry: RejectedCommit) -> Quarantine:
        """Add a rejected commit."""
        return replace(self, commits=(*(one for one in self.commits if one.code_key != entry.code_key), entry))

    def candidate(self, key: CandidateKey) -> FailedCandidate | None:
        """Return the entry for a candidate that failed before."""
        return next((entry for entry in self.candidates if entry.key == key), None)

    @property
    def waiting(self) -> tuple[FailedCandidate, ...]:
        """The candidates that are well, and wait until somebody has applied their migrations."""
        return tuple(entry for entry in self.candidates if entry.migrations)

    def python(self, version: str) -> RefusedPython | None:
        """Return the entry for a version of Python that was refused."""
        return next((entry for entry in self.pythons if entry.version == version), None)

    def with_python(self, entry: RefusedPython) -> Quarantine:
        """Add a version of Python that was refused."""
        return replace(self, pythons=(*(one for one in self.pythons if one.version != entry.version), entry))

    def with_candidate(self, entry: FailedCandidate) -> Quarantine:
        """Add a failed candidate."""
        return replace(self, candidates=(*(one for one in self.candidates if one.key != entry.key), entry))

    def with_versions(self, brought: Mapping[str, str], *, release: str, reason: str, at: str) -> Quarantine:
        """Add every package version that a release had brought in; several of one package are comma-separated."""
        known = {(entry.name, entry.version) for entry in self.versions}
        added = tuple(
            BadVersion(name=name, version=version, release=release, reason=reason, at=at)
            for name, versions in sorted(brought.items())
            for version in versions.split(", ")
            if (name, version) not in known
        )
        return replace(self, versions=self.versions + added)

    def without(self, locked: Mapping[str, str], key: CandidateKey) -> Quarantine:
        """Lift what is live and good after all: somebody chose a backed-out release, or forced an update."""
        return replace(
            self,
            versions=tuple(entry for entry in self.versions if not entry.is_in(locked)),
            candidates=tuple(entry for entry in self.candidates if entry.key != key),
            pythons=tuple(entry for entry in self.pythons if entry.version != key.python),
            commits=tuple(entry for entry in self.commits if entry.code_key != key.code_key),
        )

    def without_suspects(self) -> Quarantine:
        """Lift the commits that came in with packages which turned out to fail by themselves."""
        return replace(self, commits=tuple(entry for entry in self.commits if not entry.is_suspect))

    def without_commits(self, commits: Collection[str]) -> Quarantine:
        """Lift commits."""
        return replace(self, commits=tuple(entry for entry in self.commits if entry.commit not in commits))

    def without_releases(self, releases: Collection[str]) -> Quarantine:
        """Lift candidates by the releases that they were built as: somebody wants them tried again."""
        return replace(self, candidates=tuple(entry for entry in self.candidates if entry.release not in releases))


def read_quarantine(state_dir: Path) -> Quarantine:
    """Read the quarantine; an empty one when there is none. Raises UnreadableStateError."""
    path = state_dir / QUARANTINE
    content = read_json(path)
    if content is None:
        return Quarantine()
    try:
        lists = {"candidates": list, "versions": list, "pythons": list, "commits": list}
        check_types({"pythons": [], "commits": [], **content}, lists)
        for entry in (*content["candidates"], *content["versions"]):
            check_texts(entry[name] for name in ("release", "reason", "at"))
        return Quarantine(
            candidates=tuple(_candidate(entry) for entry in content["candidates"]),
            versions=tuple(BadVersion(**entry) for entry in content["versions"]),
            pythons=tuple(_refused(entry) for entry in content.get("pythons", ())),
            commits=tuple(_rejected(entry) for entry in content.get("commits", ())),
        )
    except (KeyError, TypeError) as error:
        raise UnreadableStateError(path, f"not a quarantine ({error!r})") from error


def _candidate(entry: dict[str, Any]) -> FailedCandidate:
    migrations = tuple(entry.get("migrations", ()))
    check_texts(migrations)
    return FailedCandidate(**{**entry, "key": CandidateKey(**entry["key"]), "migrations": migrations})


def _refused(entry: dict[str, Any]) -> RefusedPython:
    check_texts(entry[name] for name in ("version", "reason", "at"))
    return RefusedPython(**entry)


def _rejected(entry: dict[str, Any]) -> RejectedCommit:
    check_texts(entry[name] for name in ("commit", "code_key", "subject", "reason", "at"))
    return RejectedCommit(**entry)


def write_quarantine(state_dir: Path, quarantine: Quarantine) -> None:
    """Replace the quarantine."""
    write_json(state_dir / QUARANTINE, asdict(quarantine))
