"""Deviations that people must accept: another index or publisher of a package, or another file of a version."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from releaser.errors import ReleaserError, ResolutionError
from releaser.locks.origins import Deviation, OriginFacts, find_deviations, unhashed_files
from releaser.releases.blocks import Blocks, change_blocks, read_blocks
from releaser.releases.contents import hash_of
from releaser.system.frozen import replace
from releaser.system.words import timestamp

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from releaser.locks.lock import LockFile
    from releaser.releases.release import Release


class DeviationError(ResolutionError):
    """A package comes from another index or publisher than before, or a file has changed or is badly attested."""

    def __init__(self, found: tuple[Deviation, ...]) -> None:
        """Describe what differs, and what to do."""
        names = list(dict.fromkeys(deviation.name for deviation in found))
        commands = " and ".join(f"`releaser accept {name}`" for name in names[:3])
        all_of_them = "" if len(names) < 4 else f" and so on; `releaser accept '*'` accepts all {len(names)}"
        message = f"packages differ from those of the live release: {'; '.join(map(str, found[:5]))}"
        message += f"; and {len(found) - 5} more" if len(found) > 5 else ""
        is_badly_attested = any(deviation.what == "attestation" and deviation.new for deviation in found)
        outdated = (
            " An outdated `attestations_root` or version of pypi-attestations may be the cause." * is_badly_attested
        )
        advice = f"Check the cause.{outdated} To accept the change, run {commands}{all_of_them}."
        super().__init__(message, advice=advice)
        self.found = found


@contextlib.contextmanager
def note_refusals(state_dir: Path, failures: Sequence[ReleaserError]) -> Iterator[None]:
    """Record the deviations that end a run, or that it works around (`failures`), so that a person can accept them."""
    try:
        yield
    except ReleaserError as error:
        if found := _collect_refused([*failures, error]):
            _ask(state_dir, found)
        raise
    _ask(state_dir, _collect_refused(failures))


def _collect_refused(failures: Iterable[ReleaserError]) -> dict[Deviation, None]:
    return dict.fromkeys(
        deviation for error in failures if isinstance(error, DeviationError) for deviation in error.found
    )


def _ask(state_dir: Path, found: Iterable[Deviation]) -> None:
    def ask(blocks: Blocks) -> Blocks:
        known = {deviation: deviation for deviation in blocks.asked}
        return replace(
            blocks, asked=tuple(known.get(deviation) or replace(deviation, since=timestamp()) for deviation in found)
        )

    change_blocks(state_dir, ask)


def foresee_refusal(state_dir: Path, command: str, error: DeviationError) -> tuple[str, str]:
    """Return the message and the advice of a dry run that would be refused; only a real run records deviations."""
    is_asked = set(error.found) <= set(read_blocks(state_dir).asked)
    first = "" if is_asked else f"Run `releaser {command}` first: a dry run records nothing to accept. "
    return f"it would be refused: {error.message}", first + error.advice


def accept_or_refuse(  # noqa: PLR0913 - two locks, and their files
    state_dir: Path,
    before: LockFile,
    after: LockFile,
    *,
    files_before: Mapping[str, str],
    root: Path,
    tried: Collection[str] = (),
) -> tuple[Deviation, ...]:
    """Return the accepted deviations from the lock before. Raises DeviationError if any is not accepted.

    Packages that are `tried` come from elsewhere on purpose.
    """
    known = {key: value.partition(" ")[0] for key, value in files_before.items()}
    files = {key: value.partition(" ")[0] for key, value in hash_files(after, root, files_before).items()}
    found = find_deviations(before, after, files_before=known, files=files)
    return refuse_unaccepted(state_dir, tuple(deviation for deviation in found if deviation.name not in tried))


def refuse_unaccepted(state_dir: Path, found: tuple[Deviation, ...]) -> tuple[Deviation, ...]:
    """Return the deviations if all are accepted. Raises DeviationError if any is not."""
    accepted = read_blocks(state_dir).accepted if found else ()
    if refused := tuple(deviation for deviation in found if deviation not in accepted):
        raise DeviationError(refused)
    return found


def refresh_arguments(lock: LockFile, root: Path, live: Release | None) -> list[str]:
    """Return arguments for `uv sync` that refresh packages whose files in directories were replaced since going live.

    Without them, uv installs the cached file of the same name (seen with 0.13).
    """
    known = OriginFacts.of(live and live.manifest).files
    found = hash_files(lock, root, known)
    other = {key.partition(" ")[0] for key, one in found.items() if known.get(key, one).split()[0] != one.split()[0]}
    return [word for name in sorted(other) for word in ("--refresh-package", name)]


def hash_files(lock: LockFile, root: Path, known: Mapping[str, str]) -> dict[str, str]:
    """Return, for each file without a hash in the lock, its hash and a stamp that changes when the file is written.

    A file whose stamp is in `known` is not read again. A missing file is skipped.
    """
    found = {}
    for key, place in unhashed_files(lock).items():
        path = os.path.join(root, place)
        with contextlib.suppress(OSError):
            seen = os.stat(path)
            stamp = f"{seen.st_size}-{seen.st_ino}-{seen.st_mtime_ns}-{seen.st_ctime_ns}"
            before = known.get(key, "")
            found[key] = before if before.endswith(f" {stamp}") else f"{hash_of(path)} {stamp}"
    return found
