"""Runs releaser under strace: records the calls that change a file system, and kills releaser at one of them.

strace counts the calls of each name by itself, so a call is identified by its name and number. Only releaser's own
process is traced, not the programs that it starts.
"""

import contextlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.commands import HOUSE, Finished, require, run
from tests.support.sites import SampleSite

# Opening and writing count only where a file is opened for writing, or written.
CHANGING = (
    "open", "openat", "creat", "write", "pwrite64", "writev", "pwritev", "sendfile", "copy_file_range", "ftruncate",
    "truncate", "fallocate", "rename", "renameat", "renameat2", "link", "linkat", "symlink", "symlinkat", "unlink",
    "unlinkat", "mkdir", "mkdirat", "rmdir", "mknod", "mknodat", "fsync", "fdatasync", "syncfs", "chmod", "fchmod",
    "fchmodat", "chown", "fchown", "lchown", "fchownat", "utimensat", "setxattr", "fsetxattr",
)  # fmt: skip
SYNCS = frozenset({"fsync", "fdatasync", "syncfs"})
SECONDS = 120.0  # the longest run
_TRACE = ",".join(f"?{name}" for name in CHANGING)  # the question mark: not every machine has every call
_LINE = re.compile(r"(?P<name>\w+)\((?P<rest>.*)")
_FAILED = re.compile(r"\) += -1 E\w+ \([^)]*\)$")
_DESCRIPTOR = re.compile(r"\d+</[^>]*>")
_DEVICE = re.compile(r"(?:\d+<|[^\"]*\")/(?:dev/(?:null|tty|pts|fd|urandom)|proc)\b")
_RANDOM = re.compile(r"/tmp/(?:releaser-[0-9a-f]+-)?[a-z0-9_]{8}[/\">]")  # the module `tempfile` names them
_OF_A_RUN = re.compile(r"\d{8}T\d{6}Z(-\d+)?")  # in names of releases, logs and shadows
_OPENED_TO_CHANGE = re.compile(r"O_(?:CREAT|TRUNC|WRONLY|RDWR)")
_OPENING = frozenset({"open", "openat"})
_WRITING = frozenset({"write", "pwrite64", "writev", "pwritev", "sendfile"})


@dataclass(frozen=True, kw_only=True)
class Call:
    """The `number`th call of that name; `text` is what strace printed of its arguments.

    `position` is its place among the changing calls. For a call that opens a file, `nth` is its number among those
    that open the same file.
    """

    name: str
    number: int
    text: str
    position: int = 0
    nth: int = 0

    def __str__(self) -> str:
        return f"{self.name}#{self.number} {self.text[:120]}"

    @property
    def is_one_of_many(self) -> bool:
        """True for the log of a run, its lock, the reserve, the deletion of a tree: their calls are many, all alike."""
        return any(place in self.text for place in ("/logs/", "/lock>", "/reserve")) or self.name == "unlinkat"

    @property
    def is_counted_by_path(self) -> bool:
        """True if the call opens a file that has the same name in every run."""
        return self.name in _OPENING and self.nth > 0 and _OF_A_RUN.search(_path(self.text)) is None

    def concerns(self, path: str) -> bool:
        """Tell if an argument of the call ends with this path."""
        return re.search(re.escape(path) + r'["<>]', self.text) is not None


@dataclass(frozen=True, kw_only=True)
class Hit:
    """The end of a run with a fault; `is_exact` tells if the fault hit the call that it was meant for."""

    finished: Finished
    is_exact: bool


def require_strace() -> None:
    """Skip the test where strace is missing, or may not trace."""
    program = shutil.which("strace")
    require(program, "faults at system calls need strace")
    tried = subprocess.run([str(program), "-qq", "-o", os.devnull, "true"], capture_output=True, check=False)
    require(tried.returncode == 0, "strace may not trace here (ptrace is forbidden)")


def recorded(site: SampleSite, command: str, *, codes: Iterable[int] = (0,)) -> list[Call]:
    """Run releaser, which must end with one of `codes`; return its changing calls in order."""
    with _note() as note:
        words = ["strace", "-qq", "-y", "-s", "256", "-o", str(note), "-e", f"trace={_TRACE}"]
        finished = run_under(site, words, command)
        assert finished.returncode in codes, str(finished)
        return list(parsed(_lines(note)))


def hit(site: SampleSite, command: str, *, at: Call, fault: str, env: dict[str, str] | None = None) -> Hit:
    """Run releaser with a fault at one call: `signal=KILL` (the call is not executed), `error=EIO` and so on.

    Where possible, only the opening of that very file is counted (strace's -P): other numbers depend on the machine.
    """
    number = at.nth if at.is_counted_by_path else at.number
    with _note() as note:
        words = ["strace", "-qq", "-y", "-o", str(note), "-e", f"trace={at.name}"]
        words += ["-P", _path(at.text)] if at.is_counted_by_path else []
        words += ["-e", f"inject={at.name}:{fault}:when={number}"]
        finished = run_under(site, words, command, env=env)
        calls = [line for line in _lines(note) if line.startswith(f"{at.name}(")]
    is_exact = len(calls) >= number and _shape(calls[number - 1]) == _shape(at.text)
    return Hit(finished=finished, is_exact=is_exact)


def run_under(site: SampleSite, tracer: list[str], command: str, *, env: dict[str, str] | None = None) -> Finished:
    """Run releaser in this very interpreter, as a child of `tracer`."""
    words = [*tracer, sys.executable, "-m", "releaser", *command.split(), "--project", str(site.path)]
    # The same order at every run; and the same package, also where it is not installed.
    environment = {"PYTHONPATH": str(HOUSE), "PYTHONHASHSEED": "0", **site.env, **(env or {})}
    return run(words, cwd=site.outer.parent, env=environment, timeout=SECONDS)


def parsed(lines: Iterable[str]) -> Iterator[Call]:
    """Give every changing call of a record, numbered by its name."""
    counts: Counter[str] = Counter()
    opened: Counter[str] = Counter()
    position = 0
    for line in lines:
        match = _LINE.match(line)
        if match is None or match["name"] not in CHANGING:
            continue
        name, text = match["name"], match["rest"].strip()
        counts[name] += 1
        if name in _OPENING:
            opened[_path(text)] += 1
        if _is_changing(name, text):
            yield Call(name=name, number=counts[name], text=text, position=position, nth=opened[_path(text)])
            position += 1


def _is_changing(name: str, text: str) -> bool:
    if name in _OPENING and (not _OPENED_TO_CHANGE.search(text) or _DEVICE.search(text)):
        return False
    if "O_TMPFILE" in text or _RANDOM.search(text):  # a file without a name that could be found again
        return False
    if name in _WRITING and (not _DESCRIPTOR.match(text) or _DEVICE.match(text)):
        return False
    return not _FAILED.search(text)


def recording(note: str) -> str:
    """Return the words of shell that record the changing calls of a program in a file."""
    return f"strace -qq -y -s 256 -o {note} -e trace={shlex.quote(_TRACE)}"


def read_record(note: Path) -> list[Call]:
    """Return the changing calls that a program has made, as recorded."""
    return list(parsed(_lines(note)))


def killing(call: Call) -> str:
    """Return the words of shell that kill a program at a call, which is not executed."""
    return f"strace -qq -o /dev/null -e trace={call.name} -e inject={call.name}:signal=KILL:when={call.number}"


def _path(text: str) -> str:
    descriptor = re.match(r"(?:\w+\()?\d+<([^>]*)>", text)
    return descriptor[1] if descriptor else text.partition('"')[2].partition('"')[0]


def _shape(text: str) -> str:
    """Return the end of the path that a call names, without the parts that differ between runs."""
    return re.sub(r"[0-9a-f]*\d[0-9a-f]*", "#", "/".join(_path(text).split("/")[-2:]))


def _lines(note: Path) -> list[str]:
    return note.read_text(encoding="utf-8", errors="replace").splitlines()


@contextlib.contextmanager
def _note() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="trace-") as directory:
        yield Path(directory) / "calls"
