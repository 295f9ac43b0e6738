"""Runs releaser, names each change it makes to the file system, and lets a fault come before a chosen one.

A script, and what tests need to start it. The script knows the calls of Python, and of releaser no more than how it
starts programs and where it asks the C library.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

ROOT = Path(__file__).parents[2]
if __name__ == "__main__":  # as a script: the directory of this file is on the path, not the project
    sys.path[0] = str(ROOT)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.faults.forgetting import ForgetfulDisk
    from tests.support.commands import Finished
    from tests.support.sites import SampleSite

# What comes at the point. Of what has not been synced, `forget` loses all, `reorder` the oldest alone, and `newest
# lasts` all but what was changed last, and the other entries of that directory.
How = Literal["SIGKILL", "SIGSTOP", "forget", "reorder", "newest lasts", ""]
LOSING = ("forget", "reorder", "newest lasts")

END = "end"
_ALIKE = 12  # events of one name that all become points
_VARIABLE = "OBSERVE"
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_RELEASE = re.compile(r"\d{8}T\d{6}Z(-\d+)*")
_DEEP = re.compile(r"(releases/[^/]*<release>/\w+/).+")
_MAIL = re.compile(r"(outbox/\w+/).+")
_STAGING = re.compile(r"^[^/]*staging(-live)?(/.+)?$")
_CHANGING = {
    "git": ("fetch", "worktree", "merge", "reset", "checkout", "add", "commit", "push", "update-ref"),
    "uv": ("lock", "sync", "pip", "export"),
    "python": ("manage.py",),
}
# Other machines, and what nothing depends on.
_APART = ("remote.git", "elsewhere", "index")


@dataclass(frozen=True)
class Point:
    """Before the `number`th time that an event of this name happens."""

    event: str
    number: int = 1

    def __str__(self) -> str:
        return f"{self.event} #{self.number}"


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What comes, and when; `without` is the name of a mutation that is in force, empty for none."""

    at: Point = Point(END)
    how: How = ""
    without: str = ""


def run_observed(site: SampleSite, command: str, *args: str, fault: Fault) -> Finished:
    """Run releaser to its end, or to its fault."""
    return _run_noted(site, command, *args, fault=fault)[0]


def _run_noted(site: SampleSite, command: str, *args: str, fault: Fault) -> tuple[Finished, list[str]]:
    """Run releaser; return how it ended, and the events that there were, in order."""
    from tests.support.commands import run

    notes = _notes(site)
    finished = run(_words(site, command, args), cwd=notes.parent, env=_environment(site, fault, notes))
    events = notes.read_text(encoding="utf-8").splitlines()
    notes.unlink()
    return finished, events


def started(
    site: SampleSite, command: str, *args: str, fault: Fault
) -> contextlib.AbstractContextManager[subprocess.Popen[str]]:
    """Start releaser and go on at once; it is ended at the end of the block."""
    from tests.support.commands import beside

    notes = _notes(site)
    env = _environment(site, fault, notes)
    return beside(_words(site, command, args), cwd=notes.parent, env=env, output=subprocess.DEVNULL)


def points(site: SampleSite, command: str, *args: str) -> tuple[Point, ...]:
    """Run releaser once and return the points that it came by, in order; of many alike three are kept."""
    _, events = _run_noted(site, command, *args, fault=Fault())
    totals, seen = Counter(events), Counter[str]()
    found = []
    for event in events:
        seen[event] += 1
        number, total = seen[event], totals[event]
        if total <= _ALIKE or number in (1, total // 2, total):
            found.append(Point(event, number))
    return tuple(found)


def _words(site: SampleSite, command: str, args: tuple[str, ...]) -> list[str]:
    return [sys.executable, __file__, command, "--project", str(site.path), *args]


def _notes(site: SampleSite) -> Path:
    """Make a file in a directory that no fault reaches: the one of git's configuration, away from the site."""
    import tempfile

    descriptor, name = tempfile.mkstemp(prefix="events-", suffix=".txt", dir=site.env["HOME"])
    os.close(descriptor)
    return Path(name)


def _environment(site: SampleSite, fault: Fault, notes: Path) -> dict[str, str]:
    order = {"root": str(site.outer), "notes": str(notes), **asdict(fault)}
    return site.environment({_VARIABLE: json.dumps(order)})


# What follows runs in the script


class Observer:
    """Hears of every change before it is made."""

    def __init__(self, order: Mapping[str, Any], disk: ForgetfulDisk | None, omit: str) -> None:
        self.root = os.path.realpath(order["root"])
        self._at, self._how = Point(**order["at"]), order["how"]
        self._notes = Path(order["notes"]).open("a", encoding="utf-8")  # noqa: SIM115 - for the whole process
        self._counts: Counter[str] = Counter()
        self._changed: dict[str, str] = {}
        self._busy = False
        self._omit = omit
        self._pid = os.getpid()
        self.disk = disk

    def happens(self, event: str) -> bool:
        """Note an event, and let the fault come if it is its time; False when the event is to be left out."""
        self._counts[event] += 1
        self._notes.write(event + "\n")
        self._notes.flush()
        if (self._how, event, self._counts[event]) == (self._how, self._at.event, self._at.number):
            self._strike()
        return not (self._omit and fnmatchcase(event, self._omit))

    def _strike(self) -> None:
        if self._how in LOSING and self.disk is not None:
            self._busy = True
            self.disk.lose(self._how)
        if self._how:
            os.kill(os.getpid(), signal.SIGSTOP if self._how == "SIGSTOP" else signal.SIGKILL)

    def name(self, path: str) -> str | None:
        """Return how a path is called in events; None when it is of no interest."""
        inside = os.path.relpath(path, self.root)
        if inside.startswith("..") or inside.split("/")[0] in _APART or "/logs" in inside:
            return None
        inside = _RELEASE.sub("<release>", inside)
        inside = _DEEP.sub(r"\1<file>", inside)
        inside = _MAIL.sub(r"\1<mail>", inside)
        return _STAGING.sub("<staging>", inside)

    def audit(self, event: str, args: tuple[Any, ...]) -> None:
        """Hear of a call of Python's; see the table of audit events."""
        if self._busy or event not in _AUDITED or os.getpid() != self._pid:
            return
        self._busy = True
        try:
            going_on = self._heard(event, args)
        finally:
            self._busy = False
        if not going_on:
            raise FileNotFoundError(2, "left out by a mutation", str(args[0]))

    def _heard(self, event: str, args: tuple[Any, ...]) -> bool:
        if event == "open" and (not isinstance(args[0], str | bytes | os.PathLike) or not args[2] & _WRITING):
            return True
        kind, position, directory = _AUDITED[event]
        path = _absolute(args[position], args[directory] if directory else -1)
        name = self.name(path)
        if name is None or _is_in_vain(kind, path):
            return True  # nothing of ours, or nothing that will be done
        self._changed[os.path.dirname(path)] = f"{'removal' if kind in ('remove', 'rmdir') else 'entry'} {name}"
        if not self.happens(f"{kind} {name}"):
            return False
        if self.disk is not None:
            self.disk.will(event, path, args)
        return True

    def exchanges(self, first: str, second: str) -> None:
        """Hear that two entries are about to be exchanged."""
        for path in (first, second):
            self._changed[os.path.dirname(path)] = f"entry {self.name(path)}"
        self.happens(f"exchange {self.name(second)}")

    def syncs(self, descriptor: int, kind: str) -> bool:
        """Hear of a sync of an open file or directory; False when it is to be left out."""
        if self._busy:
            return True
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        if self.name(path) is None:
            return True
        if kind == "fsync":
            of_directory = self._changed.get(path, f"directory {self.name(path)}")
            return self.happens(f"sync-{of_directory if os.path.isdir(path) else f'data {self.name(path)}'}")
        return self.happens(f"{kind} {self.name(path)}")


# By event: what it is called, which argument is the path, and which the directory's descriptor (0: none).
_AUDITED = {
    "open": ("write", 0, 0),
    "os.rename": ("rename", 1, 3),
    "os.link": ("link", 1, 3),
    "os.remove": ("remove", 0, 1),
    "os.rmdir": ("rmdir", 0, 1),
    "os.mkdir": ("mkdir", 0, 2),
    "os.symlink": ("symlink", 1, 2),
}


def _is_in_vain(kind: str, path: str) -> bool:
    """Whether a call will fail, as what it makes is there, or what it removes is not."""
    if kind in ("mkdir", "symlink", "link"):
        return os.path.lexists(path)
    return kind in ("remove", "rmdir") and not os.path.lexists(path)


def _absolute(path: Any, directory: int) -> str:
    text = os.fsdecode(path)
    if directory >= 0 and not text.startswith("/"):
        text = os.path.join(os.readlink(f"/proc/self/fd/{directory}"), text)
    parent, name = os.path.split(os.path.abspath(text))
    return os.path.join(os.path.realpath(parent), name)


class _Libc(ctypes.CDLL):
    """The C library, with an ear at what releaser asks it."""

    def __init__(self, observer: Observer) -> None:
        super().__init__(None, use_errno=True)
        self._observer = observer

    def syncfs(self, descriptor: int) -> int:
        if not self._observer.syncs(descriptor, "syncfs"):
            return 0
        result = int(self["syncfs"](descriptor))
        if self._observer.disk is not None:
            self._observer.disk.all_is_synced()
        return result

    def renameat2(self, *args: Any) -> int:
        first, second = os.fsdecode(args[1]), os.fsdecode(args[3])
        self._observer.exchanges(first, second)
        result = int(self["renameat2"](*args))
        if self._observer.disk is not None and result == 0:
            self._observer.disk.has_exchanged(first, second)
        return result


def _observe_syncs(observer: Observer) -> None:
    from releaser.system import files as durable

    real = os.fsync

    def fsync(file: Any) -> None:
        descriptor = file if isinstance(file, int) else file.fileno()
        if not observer.syncs(descriptor, "fsync"):
            return
        real(descriptor)
        if observer.disk is not None:
            observer.disk.is_synced(descriptor)

    os.fsync = fsync  # type: ignore[assignment]
    durable._libc = lambda: _Libc(observer)


def _observe_programs(observer: Observer) -> None:
    from releaser.system.process import Runner

    real = Runner.run

    @functools.wraps(real)
    def run(self: Runner, argv: Any, **options: Any) -> Any:
        name = program_name([os.fspath(word) for word in argv])
        if name:
            observer.happens(f"start {name}")
        result = real(self, argv, **options)
        if observer.disk is not None and "core.fsync=all" in argv:
            observer.disk.repository_is_synced(str(options["cwd"]))
        if name:
            observer.happens(f"after {name}")
        return result

    Runner.run = run  # type: ignore[method-assign]


def program_name(words: list[str]) -> str:
    """Return what a program that changes something is called in events; empty for all others."""
    program = os.path.basename(words[0])
    program = "python" if program.startswith("python") else program
    for verb in _CHANGING.get(program, ()):
        if verb in words:
            return f"{program} {words[words.index(verb) + 1]}" if verb == "manage.py" else f"{program} {verb}"
    return ""


def _main() -> None:
    order = json.loads(os.environ.pop(_VARIABLE))
    from tests.faults import mutations
    from tests.faults.forgetting import ForgetfulDisk

    mutation = mutations.named(order["without"])
    disk = ForgetfulDisk(order["root"], apart=_APART) if order["how"] in LOSING else None
    observer = Observer(order, disk, mutation.omits)
    _observe_syncs(observer)
    _observe_programs(observer)
    mutation.patch()
    sys.addaudithook(observer.audit)
    from releaser.__main__ import main

    try:
        main()
    finally:
        observer.happens(END)


if __name__ == "__main__":
    _main()
