"""Pins a process to the release that it was started on, and shows releaser that the process runs.

releaser puts this module and a `.pth` file that imports it into each release; nothing else imports it. It runs at the
start of every interpreter of the venv, before any other package, on Python 3.8 and later, and needs only the standard
library. If the module fails, the interpreter starts as it would without. The code that few processes need is in
`_releaser_pin_rare.py`, as every process loads this module, and 1 kB of byte code takes 0.01 ms.

The venv of a site is a symlink, and may lead elsewhere at any moment. A process whose paths name the symlink would
later import modules of a newer release. So the module replaces the symlink in all paths by its present target.

The process also holds a shared flock(2) on the lease file of the release. A memory mapping keeps the lock: unlike a
descriptor, it survives in daemons that close all descriptors, and in forked children, and ends with exec or with the
process.
"""

import builtins
import os
import site
import sys

LEASE = "releaser.lease"
_TEST_RUN = "_RELEASER_TEST_RUN"  # a directory, in which the first process of a test run records how it ends
_REEXECUTED = "_RELEASER_PINNED"  # how often which process came to which release by which executable
_LONGEST = 200  # compared characters of a command line
_TRIES = 500  # 1 s: to get the lock while releaser, which may be delayed, checks whether the release is in use
_FEW = 5  # 10 ms: then also try the other kind of lock, as a stranger may hold the first for any time
_GUNICORN = "GUNICORN_PID"  # a gunicorn that another one has executed has that one's process id
_OFD_SETLK = 37  # fcntl(2); in the standard library since Python 3.9

TYPE_CHECKING = False  # importing `typing` would take longer than this whole module
if TYPE_CHECKING:
    from collections.abc import Sequence
    from mmap import mmap
    from types import ModuleType
    from typing import Any


class _Pin:
    """The release of this process; `links` are the symlinks to its venv, which may lead elsewhere later.

    While Python starts, it is also a finder that finds no module: it replaces the symlink in new entries of `sys.path`.
    Later `.pth` files add entries, and Python adds the script's directory. Then the finder removes itself.
    """

    def __init__(self) -> None:
        seen = os.path.abspath(__file__).rsplit("/", 4)[0]  # without lib/pythonX.Y/site-packages/_releaser_pin.py
        self.real = _real_path(seen)
        script = sys.argv[0] if getattr(sys, "argv", None) else ""
        self.script_directory = os.path.dirname(os.path.abspath(script)) if os.path.dirname(script) else ""
        self.links = [] if seen == self.real else [seen]  # even if the symlink leads elsewhere by now
        self._add_link(sys.prefix)
        if os.path.basename(self.script_directory) == "bin":
            self._add_link(os.path.dirname(self.script_directory))
        self.lease: mmap | None = None
        self.kept: list[mmap] = []
        self.site_is_done = hasattr(builtins, "exit")  # if a program adds the venv long after its start

    def _add_link(self, name: str) -> None:
        """Add a path to `links` if it is another name of the venv."""
        if name != self.real and name not in self.links and _real_path(name) == self.real:
            self.links.append(name)

    def resolved(self, path: str) -> str:
        """Return a path with the symlink replaced by its target."""
        for link in self.links:
            if path == link or path.startswith(link + "/"):
                return self.real + path[len(link) :]
        return path

    def apply(self) -> None:
        """Replace the symlink in all paths that Python uses."""
        came_by = sys.executable or ""  # a program that embeds Python may have none
        executable = self.resolved(came_by)
        times = 0 if executable == came_by else self._times_before()
        if times < 1 and executable:
            # Before Python 3.11 both are equal in a venv, which makes uv and virtualenv look for its base.
            if getattr(sys, "_base_executable", None) == came_by:
                sys._base_executable = executable  # type: ignore[attr-defined]
            sys.executable = executable
        if times < 2:
            for name in ("prefix", "exec_prefix", "base_prefix", "base_exec_prefix"):
                setattr(sys, name, self.resolved(getattr(sys, name)))
        site.PREFIXES[:] = map(self.resolved, site.PREFIXES)

    def _times_before(self) -> int:
        """Return, and record, how many times in a row this program has come by the same path to the same release.

        Start scripts of some sites execute the python of their venv, as themselves or as a child, again and again until
        `sys.executable` or `sys.prefix` names it.
        """
        try:
            line = f"{sys.executable} {self.real} {' '.join(getattr(sys, 'argv', ()))[:_LONGEST]}"
            before, _, last = os.environ.get(_REEXECUTED, "").partition(" ")
            known = last in (f"{os.getpid()} {line}", f"{os.getppid()} {line}")
            if known:
                import _releaser_pin_rare  # type: ignore[import-not-found]

                known = not _releaser_pin_rare.is_sub_interpreter()
            times = {"0": 1, "1": 2, "2": 2}.get(before, 0) if known else 0
            os.environ[_REEXECUTED] = f"{times} {os.getpid()} {line}"
        except (TypeError, ValueError):  # an embedding program has put other values than strings into `sys.argv`
            return 0
        return times

    def tidy(self) -> None:
        """Replace the symlink in `sys.path`, without duplicates, and in the finders of replaced entries.

        A finder has listed its directory, which may have hundreds of entries: a new one would list it once more.
        """
        entries = [self.resolved(entry) if isinstance(entry, str) else entry for entry in sys.path]
        entries = list(dict.fromkeys(entries))  # `site` adds the site-packages of a venv twice, by `sys.prefix`
        if entries != sys.path:
            for entry in set(sys.path) - set(entries):
                finder: Any = sys.path_importer_cache.pop(entry, None)
                real = self.resolved(entry)
                if type(finder).__module__ == "_frozen_importlib_external" and finder.path == entry:
                    finder.path = real
                    sys.path_importer_cache.setdefault(real, finder)
            sys.path[:] = entries

    def hold(self) -> None:
        """Take a new lease for this process, and then release its former lease."""
        lease = _lease(os.path.join(self.real, LEASE))
        if lease is not None:
            if self.lease is not None and not _can_go(self.lease):
                self.kept.append(self.lease)
            self.lease = lease

    def find_spec(self, name: str, _path: "Sequence[str] | None" = None, _target: "ModuleType | None" = None) -> None:
        """Replace the symlink in new entries, and find nothing."""
        self.tidy()
        self.site_is_done |= name == "sitecustomize"  # `site` imports it after all `.pth` files
        if self.site_is_done and self._knows_the_script():
            # In a new list: Python, which iterates over the old one now, would skip the next finder.
            sys.meta_path = [finder for finder in sys.meta_path if finder is not self]

    def _knows_the_script(self) -> bool:
        """True if the directory of the script, which Python adds to `sys.path` later, needs no more replacement."""
        if self.resolved(self.script_directory) == self.script_directory:
            return True
        return hasattr(sys.modules.get("__main__"), "__file__")


def _real_path(path: str) -> str:
    """Return a path without symlinks: that by which the kernel names an open file.

    `os.path.realpath` asks for each directory on the way: it serves where `/proc` is missing, or leads elsewhere.
    """
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            real = os.readlink(f"/proc/self/fd/{descriptor}")
            if os.path.samestat(os.stat(real), os.fstat(descriptor)):
                return real
        finally:
            os.close(descriptor)
    except (OSError, ValueError):
        pass
    return os.path.realpath(path)


def _lease(path: str) -> "mmap | None":
    """Return a mapping that holds a shared lock on a file while it lives; None if the lock is not available."""
    import fcntl
    import mmap

    untracked = {"trackfd": False} if sys.version_info >= (3, 13) else {}
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        for tries in range(_TRIES):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
                return mmap.mmap(descriptor, 0, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ, **untracked)
            except BlockingIOError:
                import time

                if tries >= _FEW and _take_other_lock(descriptor):
                    return mmap.mmap(descriptor, 0, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ, **untracked)
                time.sleep(0.002)
        return None
    except (OSError, ValueError):  # an empty file, or a file system without locks or mappings
        return None
    finally:
        os.close(descriptor)


def _take_other_lock(descriptor: int) -> bool:
    """Take the other kind of lock, which releaser respects as well; False if it is not available.

    Any user who may read a file can block it by flock(2). This kind can be blocked only by those who may write the
    file: releaser, while it deletes the release.
    """
    import fcntl
    import struct

    try:
        fcntl.fcntl(descriptor, _OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_RDLCK, os.SEEK_SET, 0, 0, 0))
    except OSError:
        return False
    return True


def _can_go(lease: "mmap") -> bool:
    """True if this mapping can be closed without closing anything else.

    Before Python 3.13, a mapping has its own descriptor, and closes that number whatever it refers to by then: in a
    daemon that has closed all descriptors, perhaps a socket.
    """
    try:
        return lease.size() == len(lease)  # the size of the file of the descriptor
    except (OSError, ValueError):  # the descriptor is closed, or does not exist
        return True


def _start() -> "_Pin | None":
    pin = _Pin()
    if not os.path.exists(os.path.join(pin.real, LEASE)):
        return None  # a copy of a release, or a changed one
    pin.tidy()  # first: the other module must be that of this release
    if os.environ.get(_GUNICORN) == str(os.getppid()):
        import _releaser_pin_rare

        _releaser_pin_rare.run_live_gunicorn(pin.real, _command_line())
    pin.apply()
    if pin.links:
        sys.meta_path.insert(0, pin)
    pin.hold()
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=pin.hold)
    if "gunicorn" in " ".join(_command_line()[:4]):
        import _releaser_pin_rare

        _releaser_pin_rare.begin_gunicorn()
    return pin


def _is_questioned_by_uv() -> bool:
    """True if uv runs this interpreter to query it. uv caches the answer by the path that it has queried.

    The path is mostly the symlink, and after the next flip uv would take the present target for it: the key of its
    cache is the path and the time of the base interpreter, the same in every release (seen with uv 0.13).
    """
    return "get_interpreter_info" in " ".join(_command_line()[:9])


def _command_line() -> "Sequence[str]":
    """Return the command line of this process; Python has it since 3.10."""
    words: Sequence[str] | None = getattr(sys, "orig_argv", None)
    if words is not None:
        return words
    try:
        with open("/proc/self/cmdline", encoding="utf-8", errors="replace") as file:
            return file.read().split("\0")
    except OSError:
        return []


if _TEST_RUN in os.environ:
    import _releaser_pin_rare

    _releaser_pin_rare.watch_end(os.environ[_TEST_RUN])
_pin = None if _is_questioned_by_uv() else _start()
