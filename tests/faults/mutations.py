"""Releaser with one step of its protocol left out: what each of them is for, a fault shows.

Applied by the script that starts releaser; releaser itself has no such switch.
"""

import importlib
import inspect
import os
import pkgutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

STATE = ".releaser/site"
RELEASE = f"{STATE}/releases/<release>"


def _nothing() -> None:
    """Patch nothing."""


@dataclass(frozen=True, kw_only=True)
class Mutation:
    """A step that is left out: every event that matches `omits`, and what `patch` changes."""

    name: str
    omits: str = ""
    patch: Callable[[], None] = _nothing


def named(name: str) -> Mutation:
    """Return a mutation by its name; one that changes nothing for the empty name."""
    if not name:
        return Mutation(name="")
    return next(one for one in MUTATIONS if one.name == name)


# What is patched


def _everywhere(function: Callable[..., Any], instead: Callable[..., Any]) -> None:
    """Replace a function of releaser in every module that has imported it.

    Raises TypeError if the other one takes other arguments: it would end the run, and what is left out tell nothing.
    """
    import releaser

    ours, theirs = inspect.signature(instead).parameters, inspect.signature(function).parameters
    takes_any = any(one.kind in (one.VAR_POSITIONAL, one.VAR_KEYWORD) for one in ours.values())
    if not takes_any and [name.lstrip("_") for name in ours] != [*theirs]:
        message = f"{function.__qualname__} takes {[*theirs]}, and what is put in its place {[*ours]}"
        raise TypeError(message)
    for module in pkgutil.walk_packages(releaser.__path__, "releaser."):
        if module.name != "releaser.__main__":
            importlib.import_module(module.name)
    for name, loaded in list(sys.modules.items()):
        if name.startswith("releaser"):
            for key, value in list(vars(loaded).items()):
                if value is function:
                    setattr(loaded, key, instead)


def _without_journal(phase: str) -> Callable[[], None]:
    """Write nothing to the journal for a phase; for `done`, nothing of what is finished after the flip."""

    def patch() -> None:
        from releaser.releases.journal import Entry, Journal

        real = Journal.write

        def write(self: Journal, entry: Entry) -> Entry:
            is_meant = bool(entry.done) if phase == "done" else entry.phase == phase and not entry.done
            return entry if is_meant else real(self, entry)

        Journal.write = write  # type: ignore[method-assign]

    return patch


def _over_what_is_there(
    target: Path, data: bytes, *, staging: Path | None = None, private: bool = False, mode: int | None = None
) -> None:
    """Write a file in its place."""
    from releaser.system import files as durable

    with target.open("wb") as file:
        os.fsync(file.fileno())
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    durable.sync_directory(target.parent)


def _in_place() -> None:
    """Write state files over what is there."""
    from releaser.system import files as durable

    _everywhere(durable.replace_file, _over_what_is_there)


def _journal_in_place() -> None:
    """Write the journal over what is there."""

    from releaser.releases.journal import Entry, Journal
    from releaser.system.files import encode_state

    def write(self: Journal, entry: Entry) -> Entry:
        _over_what_is_there(self.path, encode_state(entry))
        return entry

    Journal.write = write  # type: ignore[method-assign]


def _unlink_then_link() -> None:
    """Take the old link away, and then make the new one."""
    from releaser.system import files as durable

    def replace_symlink(link: Path, target: str, *, staging: Path) -> None:
        link.unlink(missing_ok=True)
        link.symlink_to(target)
        durable.sync_directory(link.parent)

    _everywhere(durable.replace_symlink, replace_symlink)


def _without_exchange() -> None:
    from releaser.system import files as durable

    _everywhere(durable.exchange, lambda *_: False)


def _adoption_unnoted() -> None:
    _without_exchange()
    _without_journal("adopting")()


def _keeps_stale(caller: str) -> Callable[[], None]:
    """Clear no name where a function of that name wants it cleared."""

    def patch() -> None:
        from releaser.system import files as durable

        real = durable.clear_name

        def clear_name(path: Path, **how: bool) -> None:
            if sys._getframe(1).f_code.co_name != caller:
                real(path, **how)

        _everywhere(real, clear_name)

    return patch


def _untold() -> None:
    """Drop the journal as soon as nothing is in progress any more."""
    from releaser.releases.journal import Entry, Journal

    real = Journal.write

    def write(self: Journal, entry: Entry) -> Entry:
        if entry.phase != "reporting":
            return real(self, entry)
        self.drop()
        return entry

    Journal.write = write  # type: ignore[method-assign]


def _git_by_default() -> None:
    from releaser.tools import git_reader

    assert git_reader._DURABLY
    git_reader._DURABLY = ()  # type: ignore[assignment]


def _not_written_out(module: str) -> Callable[[], None]:
    def patch() -> None:
        found = importlib.import_module(module)
        assert hasattr(found, "write_out")
        found.write_out = lambda _: None  # type: ignore[attr-defined]

    return patch


def _lock_inherited() -> None:
    """Let every program that is started have the project lock open too."""
    from releaser.site import run_lock
    from releaser.system.process import Runner

    acquire, start = run_lock._try_to_acquire, Runner._start

    def acquired(lock: FileLock, wait: float) -> bool:
        if not acquire(lock, wait):
            return False
        descriptor = lock._context.lock_file_fd
        assert descriptor is not None
        os.set_inheritable(descriptor, True)
        return True

    def started(self: Runner, words: tuple[str, ...], **options: Any) -> Any:
        return start(self, words, close_fds=False, **options)

    run_lock._try_to_acquire = acquired
    Runner._start = started  # type: ignore[method-assign]


def _without_sweep() -> None:
    from releaser.pipelines import recovery

    _everywhere(recovery.sweep, lambda _site, _log: None)


def _syncs_of(file: str, name: str) -> tuple[Mutation, Mutation]:
    """Leave out the sync of a state file's data, and that of its new name."""
    directory, _, base = file.rpartition("/")
    temporary = f"{STATE if base == 'uv.lock' else directory}/.{base}.new"
    return (
        Mutation(name=f"fsync of the {name}", omits=f"sync-data {temporary}"),
        Mutation(name=f"fsync of the directory with the {name}", omits=f"sync-entry {file}"),
    )


MUTATIONS: tuple[Mutation, ...] = (
    Mutation(name="syncfs of a built release", omits=f"syncfs {RELEASE}"),
    Mutation(name="syncfs of an adopted venv", omits=f"syncfs {RELEASE}"),
    *_syncs_of(f"{RELEASE}/manifest.json", "manifest"),
    *_syncs_of(f"{STATE}/journal.json", "journal"),
    *_syncs_of("site/uv.lock", "lock in the checkout"),
    _syncs_of(f"{STATE}/ledger.json", "ledger")[0],
    *_syncs_of(f"{RELEASE}/state.json", "record of a release"),
    _syncs_of(f"{STATE}/blocks.json", "table of blocks")[0],
    _syncs_of(f"{STATE}/pending.json", "note of what is to be pushed")[0],
    _syncs_of(f"{STATE}/lock-before", "lock before the flip")[0],
    Mutation(name="fsync of the directory after the flip", omits="sync-entry site/.venv"),
    Mutation(name="fsync of the directory after the link is taken away", omits="sync-removal site/.venv"),
    Mutation(name="fsync of the directory after the journal is dropped", omits=f"sync-removal {STATE}/journal.json"),
    Mutation(name="fsync of the directory with a journal put aside", omits=f"sync-entry {STATE}/journal.json.*"),
    Mutation(name="fsync of a mail", omits=f"sync-data {STATE}/outbox/tmp/<mail>"),
    Mutation(name="fsync of the directory with a mail", omits=f"sync-entry {STATE}/outbox/new/<mail>"),
    Mutation(name="fsync of the directory with the outbox's own", omits=f"sync-entry {STATE}/outbox/???"),
    Mutation(name="fsync of the directory with a new state directory", omits="sync-entry .releaser"),
    Mutation(name="fsync of the history", omits=f"sync-data {STATE}/history.jsonl"),
    Mutation(name="fsync of the directory with the history", omits=f"sync-entry {STATE}/history.jsonl"),
    Mutation(name="fsync of the directory with a release on its way out", omits="sync-entry *.doomed-<release>"),
    Mutation(name="core.fsync=all for git", patch=_git_by_default),
    Mutation(name="syncfs after git moved the checkout", patch=_not_written_out("releaser.tools.git")),
    Mutation(name="syncfs after collectstatic", patch=_not_written_out("releaser.tools.django")),
    Mutation(name="journal: building", patch=_without_journal("building")),
    Mutation(name="journal: adopting", patch=_adoption_unnoted),
    Mutation(name="journal: committing", patch=_without_journal("committing")),
    Mutation(name="journal: what is done after the flip", patch=_without_journal("done")),
    Mutation(name="journal: reverting", patch=_without_journal("reverting")),
    Mutation(name="journal: reporting", patch=_untold),
    Mutation(name="journal dropped at the end", omits=f"remove {STATE}/journal.json"),
    Mutation(name="state files by rename", patch=_in_place),
    Mutation(name="the journal by rename", patch=_journal_in_place),
    Mutation(name="the flip by rename", patch=_unlink_then_link),
    Mutation(name="adoption by exchange", patch=_without_exchange),
    Mutation(name="unlink of a stale temporary link", patch=_keeps_stale("_rename_when_done")),
    Mutation(name="unlink of a stale temporary file", patch=_keeps_stale("_rename_when_done")),
    Mutation(name="sweep of what is half-made", patch=_without_sweep),
    Mutation(name="the project lock kept from what is started", patch=_lock_inherited),
)
