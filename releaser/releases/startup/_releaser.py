"""Keeps a process on the release that it was started on, and shows that the release is in use.

releaser puts this module into each venv, with a `.pth` file that imports it whenever a Python of the venv starts; from
Python 3.15 on, a `.start` file does (PEP 829). It needs Python 3.8. If it fails, Python says so and starts as without
it.

The venv of a site is a symlink. A process whose paths name the symlink would import modules of a newer release after
the next flip, so the release's own path replaces it. The process also holds a shared lock on the lease of the release,
one of open file descriptions (fcntl(2)): nobody who may only read the lease can refuse it. A memory mapping keeps it:
that outlives closed descriptors and forks, and ends with exec or the process.
"""

import atexit
import os
import site
import sys
import types

_STARTS = "_RELEASER_STARTS"  # process, release, and how often the one was started on the other
_OFD_SETLK = 37  # `fcntl.F_OFD_SETLK` has a name from Python 3.9 on
_TEST, _LIVE = "_RELEASER_TEST", "_RELEASER_LIVE"  # where a test run records its end; the live checkout


class _Pin:
    """A finder that finds nothing: it corrects what later start-up files of the venv add to `sys.path`."""

    def __init__(self, link: str, real: str) -> None:
        self.link, self.real = link, real

    def resolve(self, path: str) -> str:
        is_linked = isinstance(path, str) and (path + "/").startswith(self.link + "/")
        return self.real + path[len(self.link) :] if is_linked else path

    def pin_names(self) -> None:
        """Correct the names of interpreter and prefix, but not from the third start of the same process on.

        Start scripts of some sites execute the venv's Python until `sys.executable` names it: for ever, otherwise.
        """
        word = f"{os.getpid()} {self.real} "
        before = os.environ.get(_STARTS, "")
        starts = int(before[len(word) :]) if before.startswith(word) else 0
        os.environ[_STARTS] = word + str(starts + 1)
        if starts < 2:
            for name in ("prefix", "exec_prefix", "executable", "_base_executable"):
                setattr(sys, name, self.resolve(getattr(sys, name, "")))

    def pin_paths(self) -> None:
        sys.path[:] = dict.fromkeys(map(self.resolve, sys.path))
        site.PREFIXES[:] = map(self.resolve, site.PREFIXES)
        for module in list(sys.modules.values()):
            path = getattr(module, "__dict__", {}).get("__path__")  # a module may import for an unknown attribute
            path = getattr(path, "_path", path)
            if isinstance(path, list):  # of namespace packages, which `.pth` files make
                path[:] = map(self.resolve, path)

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        self.pin_paths()
        frame: types.FrameType | None = sys._getframe()
        while frame and frame.f_globals.get("__name__") != "site":
            frame = frame.f_back
        if not frame or name == "sitecustomize":  # all start-up files are read
            sys.meta_path = [finder for finder in sys.meta_path if finder is not self]


def _hold(lease: str) -> None:
    """Hold a lease while this process lives. The module `mmap` would later close a descriptor that others may use."""
    import fcntl
    import struct

    descriptor = os.open(lease, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    fcntl.fcntl(descriptor, _OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_RDLCK, os.SEEK_SET, 0, 0, 0))
    try:
        from ctypes import CDLL, c_long, c_void_p
    except ImportError:  # a Python without libffi: the open descriptor holds the lease
        return
    CDLL(None).mmap(c_void_p(None), c_long(1), 1, 1, descriptor, c_long(0))  # PROT_READ, MAP_SHARED
    os.close(descriptor)


def _watch(directory: str, venv: str, live: str) -> None:
    """Record in a directory which venvs a test run starts, and which of these processes end, not by `os._exit`.

    Of the first process, too; which files below `live` are loaded; and the programs of tox and nox.
    """
    own, first = str(os.getpid()), os.path.join(directory, "first")
    if not os.path.lexists(first):
        os.symlink(own, first)

    def record(name: str, line: str) -> None:
        with open(os.path.join(directory, name), "a") as file:
            file.write(line + "\n")

    def record_end() -> None:
        if own == str(os.getpid()):  # else this is a fork
            record("ended-venvs", venv)
            if os.readlink(first) == own:
                os.symlink(own, os.path.join(directory, "ended"))

    def record_file(event: str, args: tuple) -> None:  # type: ignore[type-arg]
        program = os.fsdecode(args[0]) if event == "subprocess.Popen" else ""
        if not {".tox", ".nox"}.isdisjoint(program.split("/")):
            record("elsewhere", program)
        name = str(getattr(args[0], "co_filename", args[0])) if event in ("exec", "cpython.run_file") else "<"
        if live and name and name[0] != "<" and os.path.realpath(name).startswith(live + "/"):
            record("loaded", name)

    record("started-venvs", venv)
    atexit.register(record_end)
    sys.addaudithook(record_file)


def _start() -> None:
    with open("/proc/self/cmdline", errors="replace") as file:
        if "get_interpreter_info" in file.read(4096):
            return  # uv keeps the answer for the path that it asked, which leads elsewhere after the next flip
    venv = os.path.abspath(__file__).rsplit("/", 4)[0]  # without lib/pythonX.Y/site-packages/_releaser.py
    real = os.path.realpath(venv)
    lease = os.path.join(os.path.dirname(real), "lease")
    if os.path.exists(lease):  # else this is a copy of a release
        if venv != real:
            pin = _Pin(venv, real)
            pin.pin_names()
            pin.pin_paths()
            sys.meta_path.insert(0, pin)
        _hold(lease)
    if os.environ.get(_TEST):
        _watch(os.environ[_TEST], real, os.environ.get(_LIVE, ""))


def has_started() -> bool:
    """Return True: the `.start` file has to name a function, and the import has done everything."""
    return True


_start()
