"""Runs releaser under strace: to record the calls that change something, and to let a fault hit one of them.

strace counts the calls of each name, and of each process, by itself; a call is therefore known by its name and number.
"""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.commands import Finished, run
from tests.support.guards import require
from tests.support.sites import SampleSite

# What changes a file system; of these, opening and writing count only where a file is opened for writing, or written.
CHANGING = (
    "open", "openat", "creat", "write", "pwrite64", "writev", "pwritev", "sendfile", "copy_file_range", "ftruncate",
    "truncate", "fallocate", "rename", "renameat", "renameat2", "link", "linkat", "symlink", "symlinkat", "unlink",
    "unlinkat", "mkdir", "mkdirat", "rmdir", "mknod", "mknodat", "fsync", "fdatasync", "syncfs", "chmod", "fchmod",
    "fchmodat", "chown", "fchown", "lchown", "fchownat", "utimensat", "setxattr", "fsetxattr",
)  # fmt: skip
SECONDS = 120.0  # how long a run may take
_TRACE = ",".join(f"?{name}" for name in CHANGING)  # the question mark: not every machine has every call
_LINE = re.compile(r"(?:(?P<process>\d+) +)?(?P<name>\w+)\((?P<rest>.*)")
_FAILED = re.compile(r"\) += -1 E\w+ \([^)]*\)$")
_DESCRIPTOR = re.compile(r"\d+</[^>]*>")
_DEVICE = re.compile(r"(?:\d+<|[^\"]*\")/(?:dev/(?:null|tty|pts|fd|urandom)|proc)\b")
_OF_ONE_RUN = re.compile(r"\d{8}T\d{6}Z")  # in names of releases, logs and mails
_OPENED_TO_CHANGE = re.compile(r"O_(?:CREAT|TRUNC|WRONLY|RDWR)")
_OPENING = frozenset({"open", "openat"})
_WRITING = frozenset({"write", "pwrite64", "writev", "pwritev", "sendfile"})


@dataclass(frozen=True, kw_only=True)
class Call:
    """The `number`th call of that name in its process; `text` is what strace printed of it.

    `position` is its place among the calls that change something; of a call that opens a file, `nth` is its number
    among those of the same file.
    """

    name: str
    number: int
    text: str
    process: int = 0
    position: int = 0
    nth: int = 0

    @property
    def path(self) -> str:
        """The path that the call names first."""
        return _path(self.text)

    def __str__(self) -> str:
        return f"{self.name}#{self.number} {self.text[:100]}"

    @property
    def concerns_a_log(self) -> bool:
        """Whether the call is about the log file of a run: there are many of these, and all are alike."""
        return "/logs/" in self.text

    @property
    def is_found_again(self) -> bool:
        """Whether another run has it where this one had it, whatever else goes on; see `hit`."""
        return self.name not in _OPENING or _is_counted_by_path(self)

    @property
    def is_one_of_many(self) -> bool:
        """Whether it is about the log, or one of the many by which a whole tree is deleted or shared."""
        return self.concerns_a_log or self.name in ("unlinkat", "chmod")

    def concerns(self, path: str) -> bool:
        """Whether an argument of the call ends with this path."""
        return re.search(re.escape(path) + r'["<>]', self.text) is not None


def require_strace() -> None:
    """Skip the test where strace is missing, or may not trace."""
    program = shutil.which("strace")
    require(program, "strace is needed to make faults at system calls")
    tried = subprocess.run([str(program), "-qq", "-o", os.devnull, "true"], capture_output=True, check=False)
    require(tried.returncode == 0, "strace may not trace here (ptrace is forbidden)")


def changes(name: str, text: str) -> bool:
    """Tell whether a call, as strace prints it, changed something on a file system."""
    if name in _OPENING and (not _OPENED_TO_CHANGE.search(text) or _DEVICE.search(text)):
        return False
    if name in _WRITING and (not _DESCRIPTOR.match(text) or _DEVICE.match(text)):
        return False
    return not _FAILED.search(text)


def parsed(lines: Iterable[str]) -> Iterator[Call]:
    """Give every call of a record that changes something, numbered by its name in its process."""
    counts: Counter[tuple[int, str]] = Counter()
    opened: Counter[tuple[int, str]] = Counter()
    position = 0
    for line in lines:
        found = _LINE.match(line)
        if found is None or found["name"] not in CHANGING:
            continue
        process, name = int(found["process"] or 0), found["name"]
        counts[process, name] += 1
        text = found["rest"].strip()
        if name in _OPENING:
            opened[process, _path(text)] += 1
        if changes(name, text):
            number, nth = counts[process, name], opened[process, _path(text)]
            yield Call(name=name, number=number, text=text, process=process, position=position, nth=nth)
            position += 1


def releaser_words(site: SampleSite, command: str, *args: str) -> list[str | Path]:
    """Return the words that start releaser in this very interpreter: a shim would be traced in its place."""
    words = command.format(outer=site.outer).split(" ")
    return [Path(sys.executable), "-m", "releaser", *words, "--project", site.path, *args]


def recorded(site: SampleSite, command: str, *args: str, codes: Iterable[int] = (0,)) -> list[Call]:
    """Run releaser, which must end with one of `codes`, and return its own calls that change something, in order."""
    with _note() as note:
        words: list[str | Path] = ["strace", "-qq", "-y", "-s", "64", "-o", note, "-e", f"trace={_TRACE}"]
        finished = _run(site, [*words, *releaser_words(site, command, *args)])
        assert finished.returncode in codes, str(finished)
        return list(parsed(note.read_text(encoding="utf-8", errors="replace").splitlines()))


@dataclass(frozen=True, kw_only=True)
class Hit:
    """How a run ended in which a fault was made; `made` tells whether it hit the call that it was meant for."""

    finished: Finished
    made: bool


def hit(
    site: SampleSite, command: str, *args: str, at: Call, fault: str, lasting: bool = False, also: Call | None = None
) -> Hit:
    """Run releaser with a fault at one call: `signal=KILL` (the call is not executed), `error=EIO`, and so on.

    `lasting` makes the same fault at all later calls of that name too. How many files a run opens depends on how many
    processes there are, so that, where possible, only the opening of that very file is counted (strace's -P). The call
    behind `also`, of another name, meets the same fault.
    """
    number = at.nth if _is_counted_by_path(at) else at.number
    when = f"{number}+" if lasting else str(number)
    with _note() as note:
        words: list[str | Path] = ["strace", "-qq", "-o", note, "-e", f"trace={at.name}"]
        words += ["-P", at.path] if _is_counted_by_path(at) else []
        if also is not None:
            words += ["-e", f"trace={at.name},{also.name}", "-e", f"inject={also.name}:{fault}:when={also.number + 1}"]
        words += ["-e", f"inject={at.name}:{fault}:when={when}", *releaser_words(site, command, *args)]
        finished = _run(site, words)
        seen = note.read_text(encoding="utf-8", errors="replace")
    calls = [line for line in seen.splitlines() if line.startswith(f"{at.name}(")]
    made = len(calls) >= number
    if at.name in _OPENING:  # of which there are not always as many
        made = made and _shape(calls[number - 1]) == _shape(at.text)
    return Hit(finished=finished, made=made)


def _is_counted_by_path(call: Call) -> bool:
    """Whether the call opens a file that has the same name in every run."""
    return call.name in _OPENING and call.nth > 0 and _OF_ONE_RUN.search(call.path) is None


def _shape(text: str) -> str:
    """Return the end of the path that a call opens, without what differs from run to run."""
    return re.sub(r"[0-9a-f]*\d[0-9a-f]*", "#", "/".join(_path(text).split("/")[-2:]))


def _path(text: str) -> str:
    return text.partition('"')[2].partition('"')[0]


@dataclass(frozen=True, kw_only=True)
class Struck:
    """How a run ended in which releaser or a child was killed; `counted` changing calls of children were seen."""

    finished: Finished
    counted: int
    victim: str = ""


def followed(
    site: SampleSite, command: str, *args: str, at: int = 0, victim: Callable[[int, Call], int] | None = None
) -> Struck:
    """Run releaser, count what its children change, and kill with SIGKILL when call number `at` is reached.

    `victim` chooses whom, of releaser's process id and the call of the child; without it nobody is killed.
    """
    reading, writing = os.pipe()
    words: list[str | Path] = ["strace", "-f", "-qq", "-y", "-s", "64", "-o", f"/dev/fd/{writing}"]
    words += ["--seccomp-bpf", "-e", f"trace={_TRACE},execve", *releaser_words(site, command, *args)]
    with contextlib.ExitStack() as stack:
        out, err = (stack.enter_context(tempfile.TemporaryFile()) for _ in range(2))
        env = site.environment({"PYTHONHASHSEED": "0"})
        process = subprocess.Popen(
            words,
            cwd=site.outer.parent,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            pass_fds=(writing,),
            start_new_session=True,
        )
        stack.callback(_end, process)
        os.close(writing)
        lines = stack.enter_context(os.fdopen(reading, encoding="utf-8", errors="replace"))
        counted, whom = _follow(lines, at, victim)
        process.wait(SECONDS)
        out.seek(0)
        err.seek(0)
        texts = [file.read().decode(errors="replace") for file in (out, err)]
    finished = Finished(returncode=process.returncode, stdout=texts[0], stderr=texts[1])
    return Struck(finished=finished, counted=counted, victim=whom)


def _follow(lines: Iterable[str], at: int, victim: Callable[[int, Call], int] | None) -> tuple[int, str]:
    main, counted, whom = 0, 0, ""
    programs: dict[int, str] = {}
    for line in lines:
        found = _LINE.match(line)
        if found is None or not found["process"]:
            continue
        process = int(found["process"])
        main = main or process  # the first that is heard of is releaser itself
        if found["name"] == "execve":
            programs[process] = found["rest"].partition(",")[0].strip('"').rpartition("/")[2]
        elif process != main and changes(found["name"], found["rest"]):
            counted += 1
            if counted == at and victim is not None:
                call = Call(name=found["name"], number=counted, text=found["rest"].strip(), process=process)
                whom = f"{programs.get(process, 'a thread')} in {call}"
                with contextlib.suppress(ProcessLookupError):
                    os.kill(victim(main, call), signal.SIGKILL)
    return counted, whom


def _end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _run(site: SampleSite, words: list[str | Path]) -> Finished:
    # The same order of everything at every run, so that a call has the same number.
    env = site.environment({"PYTHONHASHSEED": "0"})
    return run(words, cwd=site.outer.parent, env=env, timeout=SECONDS)


@contextlib.contextmanager
def _note() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="trace-") as directory:
        yield Path(directory) / "calls"


def spread(calls: list[Call], count: int, *, names: bool = False) -> list[Call]:
    """Choose `count` calls evenly over the run, and, with `names`, of each name the first as well."""
    if count >= len(calls):
        return calls
    step = len(calls) / count
    chosen = {int(number * step) for number in range(count)}
    if names:
        chosen |= set({call.name: number for number, call in reversed(list(enumerate(calls)))}.values())
    return [calls[number] for number in sorted(chosen)]
