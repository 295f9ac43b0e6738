"""Releaser with one step of its protocol left out: what each of them is for, a fault shows.

Applied by the script that starts releaser; releaser itself has no such switch.
"""

import inspect
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from releaser.pipelines import recovery
from releaser.releases.journal import Entry, Journal
from releaser.site import run_lock
from releaser.system import files as durable
from releaser.system.process import Runner
from releaser.tools import django, git, git_reader
from tests.support.forks import import_all

_WRITE = Journal.write
STATE = ".releaser/site"
RELEASE = f"{STATE}/releases/<release>"


def _nothing() -> None:
    """Patch nothing."""


@dataclass(frozen=True)
class Mutation:
    """A step that is left out: every event that matches `omits`, and what `patch` changes."""

    name: str
    omits: str = ""
    patch: Callable[[], None] = _nothing


def named(name: str) -> Mutation:
    """Return a mutation by its name; one that changes nothing for the empty name."""
    if not name:
        return Mutation("")
    return next(one for one in MUTATIONS if one.name == name)


# What is patched


def _everywhere(function: Callable[..., Any], instead: Callable[..., Any]) -> None:
    """Replace a function of releaser in every module that has imported it.

    Raises TypeError if the other one takes other arguments: it would end the run, and what is left out tell nothing.
    """
    ours, theirs = inspect.signature(instead).parameters, inspect.signature(function).parameters
    takes_any = any(one.kind in (one.VAR_POSITIONAL, one.VAR_KEYWORD) for one in ours.values())
    if not takes_any and [name.lstrip("_") for name in ours] != [*theirs]:
        message = f"{function.__qualname__} takes {[*theirs]}, and what is put in its place {[*ours]}"
        raise TypeError(message)
    import_all()
    for name, loaded in list(sys.modules.items()):
        if name.startswith("releaser"):
            for key, value in list(vars(loaded).items()):
                if value is function:
                    setattr(loaded, key, instead)


def _write_journal(write: Callable[[Journal, Entry], Entry]) -> None:
    Journal.write = write  # type: ignore[assignment,method-assign]


def _without_journal(phase: str) -> Callable[[], None]:
    """Write nothing to the journal for a phase; for `done`, nothing of what is finished after the flip."""

    def write(self: Journal, entry: Entry) -> Entry:
        is_meant = bool(entry.done) if phase == "done" else entry.phase == phase and not entry.done
        return entry if is_meant else _WRITE(self, entry)

    return lambda: _write_journal(write)


def _over_what_is_there(
    target: Path, data: bytes, *, staging: Path | None = None, private: bool = False, mode: int | None = None
) -> None:
    """Write a file in its place."""
    with target.open("wb") as file:
        os.fsync(file.fileno())
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    durable.sync_directory(target.parent)


def _in_place() -> None:
    """Write state files over what is there."""
    _everywhere(durable.replace_file, _over_what_is_there)


def _journal_in_place() -> None:
    """Write the journal over what is there."""

    def write(self: Journal, entry: Entry) -> Entry:
        _over_what_is_there(self.path, durable.encode_state(entry))
        return entry

    _write_journal(write)


def _unlink_then_link() -> None:
    """Take the old link away, and then make the new one."""

    def replace_symlink(link: Path, target: str, *, staging: Path) -> None:
        link.unlink(missing_ok=True)
        link.symlink_to(target)
        durable.sync_directory(link.parent)

    _everywhere(durable.replace_symlink, replace_symlink)


def _without_exchange() -> None:
    _everywhere(durable.exchange, lambda *_: False)


def _adoption_unnoted() -> None:
    _without_exchange()
    _without_journal("adopting")()


def _keeps_stale(caller: str) -> Callable[[], None]:
    """Clear no name where a function of that name wants it cleared."""
    real = durable.clear_name

    def clear_name(path: Path, **how: bool) -> None:
        if sys._getframe(1).f_code.co_name != caller:
            real(path, **how)

    return lambda: _everywhere(real, clear_name)


def _untold() -> None:
    """Drop the journal as soon as nothing is in progress any more."""

    def write(self: Journal, entry: Entry) -> Entry:
        if entry.phase != "reporting":
            return _WRITE(self, entry)
        self.drop()
        return entry

    _write_journal(write)


def _git_by_default() -> None:
    assert git_reader._DURABLY
    git_reader._DURABLY = ()  # type: ignore[assignment]


def _not_written_out(module: ModuleType) -> Callable[[], None]:
    assert hasattr(module, "write_out")
    return lambda: setattr(module, "write_out", lambda _: None)


def _lock_inherited() -> None:
    """Let every program that is started have the project lock open too."""
    acquire, start = run_lock._try_to_acquire, Runner._start

    def acquired(state_dir: Path, wait: float) -> int | None:
        descriptor = acquire(state_dir, wait)
        if descriptor is not None:
            os.set_inheritable(descriptor, True)
        return descriptor

    def started(self: Runner, words: tuple[str, ...], **options: Any) -> Any:
        return start(self, words, close_fds=False, **options)

    run_lock._try_to_acquire = acquired
    Runner._start = started  # type: ignore[method-assign]


def _without_sweep() -> None:
    _everywhere(recovery.sweep, lambda _site, _log: None)


def _syncs_of(file: str, name: str) -> tuple[Mutation, Mutation]:
    """Leave out the sync of a state file's data, and that of its new name."""
    directory, _, base = file.rpartition("/")
    temporary = f"{STATE if base == 'uv.lock' else directory}/.{base}.new"
    return (
        Mutation(f"fsync of the {name}", f"sync-data {temporary}"),
        Mutation(f"fsync of the directory with the {name}", f"sync-entry {file}"),
    )


MUTATIONS: tuple[Mutation, ...] = (
    Mutation("syncfs of a built release", f"syncfs {RELEASE}"),
    Mutation("syncfs of an adopted venv", f"syncfs {RELEASE}"),
    *_syncs_of(f"{RELEASE}/manifest.json", "manifest"),
    *_syncs_of(f"{STATE}/journal.json", "journal"),
    *_syncs_of("site/uv.lock", "lock in the checkout"),
    _syncs_of(f"{STATE}/ledger.json", "ledger")[0],
    *_syncs_of(f"{RELEASE}/state.json", "record of a release"),
    _syncs_of(f"{STATE}/blocks.json", "table of blocks")[0],
    _syncs_of(f"{STATE}/pending.json", "note of what is to be pushed")[0],
    _syncs_of(f"{STATE}/lock-before", "lock before the flip")[0],
    Mutation("fsync of the directory after the flip", "sync-entry site/.venv"),
    Mutation("fsync of the directory after the link is taken away", "sync-removal site/.venv"),
    Mutation("fsync of the directory after the journal is dropped", f"sync-removal {STATE}/journal.json"),
    Mutation("fsync of the directory with a journal put aside", f"sync-entry {STATE}/journal.json.*"),
    Mutation("fsync of a mail", f"sync-data {STATE}/outbox/tmp/<mail>"),
    Mutation("fsync of the directory with a mail", f"sync-entry {STATE}/outbox/new/<mail>"),
    Mutation("fsync of the directory with the outbox's own", f"sync-entry {STATE}/outbox/???"),
    Mutation("fsync of the directory with a new state directory", "sync-entry .releaser"),
    Mutation("fsync of the history", f"sync-data {STATE}/history.jsonl"),
    Mutation("fsync of the directory with the history", f"sync-entry {STATE}/history.jsonl"),
    Mutation("fsync of the directory with a release on its way out", "sync-entry *.doomed-<release>"),
    Mutation("core.fsync=all for git", patch=_git_by_default),
    Mutation("syncfs after git moved the checkout", patch=_not_written_out(git)),
    Mutation("syncfs after collectstatic", patch=_not_written_out(django)),
    Mutation("journal: building", patch=_without_journal("building")),
    Mutation("journal: adopting", patch=_adoption_unnoted),
    Mutation("journal: committing", patch=_without_journal("committing")),
    Mutation("journal: what is done after the flip", patch=_without_journal("done")),
    Mutation("journal: reverting", patch=_without_journal("reverting")),
    Mutation("journal: reporting", patch=_untold),
    Mutation("journal dropped at the end", f"remove {STATE}/journal.json"),
    Mutation("state files by rename", patch=_in_place),
    Mutation("the journal by rename", patch=_journal_in_place),
    Mutation("the flip by rename", patch=_unlink_then_link),
    Mutation("adoption by exchange", patch=_without_exchange),
    Mutation("unlink of a stale temporary link", patch=_keeps_stale("_rename_when_done")),
    Mutation("unlink of a stale temporary file", patch=_keeps_stale("_rename_when_done")),
    Mutation("sweep of what is half-made", patch=_without_sweep),
    Mutation("the project lock kept from what is started", patch=_lock_inherited),
)
