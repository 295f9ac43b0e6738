"""Holding back what the tests fail with, or what cannot be built, and saying when it is worth another try."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from releaser.durable import UnreadableStateError
from releaser.locking.gates import follows
from releaser.releases.holds import Hold, read_holds
from releaser.report.capping import cap
from releaser.steps.resolve import held_by_tests, lock_of, shown
from releaser.steps.runners import failing_tests
from releaser.steps.touched import code_digest, named_files

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from releaser.locking.lockfile import LockFile
    from releaser.releases.holds import Holds
    from releaser.releases.quarantine import CandidateKey
    from releaser.report.outcome import HeldBack
    from releaser.run import Run

_LONGEST_OUTPUT = 20_000  # characters of a test's output that a hold keeps


@dataclass(frozen=True, kw_only=True)
class Fault:
    """How a part of the upgrades failed: in a few words, and all that was printed."""

    words: str
    output: str


def hold_back(
    run: Run,
    lock: LockFile,
    key: CandidateKey,
    faults: Mapping[str, Fault],
    *,
    release: str = "",
    together: Mapping[str, Sequence[str]] | None = None,
) -> None:
    """Hold versions back that failed; what is `together` with one of them, by its name, comes only with it."""
    known, root, now = run.holds(), run.site.project.root, run.now_iso()
    code, live = code_digest(run.site), lock_of(run.store.live()).versions
    holds = []
    for name, fault in faults.items():
        version = lock.versions[name]
        before = next((one for one in known.of_tests(name) if one.version == version), None)
        again = bool(known.of_tests(name)) and _is_try(known, name, version)
        holds.append(
            Hold(
                name=name,
                by="tests",
                version=version,
                reason=fault.words,
                at=before.at if before else now,
                release=release,
                python=key.python,
                output=cap(fault.output, max_chars=_LONGEST_OUTPUT),
                tests=failing_tests(fault.output),
                together=tuple((together or {}).get(name, ())),
                files=named_files(fault.output, root),
                code=code,
                live=live.get(name, ""),
                tried_at=now if again else "",
            )
        )
    run.change_holds(lambda holds_before: holds_before.adding(holds))


def hold_again(
    run: Run, lock: LockFile, key: CandidateKey, names: Sequence[str], fault: Fault, *, release: str
) -> None:
    """Note that what was known to fail was tried again, and what is left passes without it.

    Of several that were tried together, nobody knows which it was: only those of which this very version had failed
    before are noted.
    """
    known, now = run.holds(), run.now_iso()
    if len(names) == 1:
        hold_back(run, lock, key, dict.fromkeys(names, fault), release=release)
        return
    tried = {(name, lock.versions[name]) for name in names}
    again = [
        replace(one, tried_at=now) for one in known.entries if one.by == "tests" and (one.name, one.version) in tried
    ]
    run.change_holds(lambda holds: holds.adding(again))


def hold_undecided(run: Run, versions: Mapping[str, str], reason: str) -> None:
    """Say of these versions that nobody knows yet whether they fail, in place of what was not known before."""
    now = run.now_iso()
    undecided = [
        Hold(name=name, by="undecided", version=version, reason=reason, at=now)
        for name, version in sorted(versions.items())
    ]
    if undecided or any(one.by == "undecided" for one in run.holds().entries):
        run.change_holds(lambda known: known.deciding(undecided))


def tries_again(holds: Holds, versions: Mapping[str, str], live: Mapping[str, str]) -> tuple[str, ...]:
    """Name the packages that come in although a version of theirs is known to fail: that one, or the next after it."""
    names = sorted({one.name for one in holds.entries if one.by == "tests"})
    return tuple(
        name
        for name in names
        if name in versions and versions[name] != live.get(name) and _is_try(holds, name, versions[name])
    )


def next_try(holds: Holds, names: Sequence[str]) -> str:
    """Choose which of several packages that are known to fail is tried: the one that has waited the longest."""

    def waits_since(name: str) -> str:
        return max(one.tried_at for one in holds.of_tests(name))

    return min(names, key=lambda name: (waits_since(name), name))


def _is_try(holds: Holds, name: str, version: str) -> bool:
    failed = [one.version for one in holds.of_tests(name)]
    return version in failed or any(follows(version, one, failed) for one in failed)


def tell_held(run: Run, lock: LockFile) -> None:
    """Name in the report what failed and is newer than this lock, whichever part of the run has found it out."""
    holds = run.holds()
    known = {(one.name, one.version) for one in holds.entries if one.by != "person"}
    others = tuple(
        one
        for one in run.draft.held_back
        if (one.name, one.version) not in known and one.version != lock.versions.get(one.name)
    )
    run.draft.held_back = others + held_by_tests(holds, lock)


def standing_holds(run: Run) -> tuple[HeldBack, ...]:
    """Return what is held, by whom and since when, but for versions that something newer has replaced."""
    try:
        holds = read_holds(run.site.project.state_dir)
    except (UnreadableStateError, OSError):  # which is said elsewhere
        return ()
    live = lock_of(run.store.live()).versions
    return tuple(shown(holds.without_older(live).entries, live))
