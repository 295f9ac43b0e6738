"""Starts programs in the live release, after a check for updates if one is due. It imports little: many starts wait."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import time

from releaser.releases import lease
from releaser.site.location import DEFAULT_VENV, LOOKED, default_state_dir, find_project
from releaser.site.sealed_python import distrust
from releaser.system.durations import how_often, seconds_of
from releaser.system.files import read_file
from releaser.system.venv_environment import inside

TYPE_CHECKING = False  # importing `typing` would take a while
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import NoReturn

    from releaser.site.site import Site

#: Variable with the id of the process that has looked for updates: the program that it becomes does not look again.
GUARD = "_RELEASER_LOOKED"
WAIT = "5s"
_OPTIONS = ("--", "--project", "--json", "--verbose", "--quiet", "--help")
_RETRY = 3600.0  # seconds until a failed look, for example without a network, is repeated
_AT_ONCE = 1  # seconds between two updates, if each is wanted
_SOON = 600.0  # seconds, at least, until a look that found a pause without an end, or another update, is repeated
_COUNTED = (0, 5, 6, 7)  # exit codes of an update that reached its tests, or found nothing
_UNMAPPED = 65534  # the kernel's id for users that a user namespace does not know


class Place:
    """The absolute paths of a site, and the variables for its programs."""

    def __init__(self, root: str, state_dir: str, link: str, variables: Mapping[str, str]) -> None:
        self.root = root
        self.state_dir = state_dir
        self.link = link
        self.variables = variables

    @classmethod
    def of(cls, site: Site) -> Place:
        """Return the place of a site, by its settings."""
        project = site.project
        return cls(str(project.root), str(project.state_dir), str(project.venv), site.runner.site_variables)

    @property
    def live(self) -> str | None:
        """The directory of the release that the symlink leads to; None without one."""
        try:
            target = os.path.normpath(os.path.join(os.path.dirname(self.link), os.readlink(self.link)))
        except OSError:
            return None
        release = os.path.dirname(target)
        is_one = target == f"{self.state_dir}/releases/{os.path.basename(release)}/venv" and os.path.isdir(target)
        return release if is_one else None

    def distrust(self, release: str) -> str:
        """Explain why no program of a release is started; empty if nothing is wrong."""
        return distrust(f"{self.state_dir}/releases", f"{release}/venv")


def quickly(words: Sequence[str]) -> bool:
    """Become the program of `run` or `exec`; return False if the whole command line is needed."""
    place = None
    if read := _read(words):
        options, command = read
        place = place_at(options.get("--project", ""))
    if place is None:
        return False
    try:
        if "--refresh" in options:
            look(place, how_often(options["--refresh"]), seconds_of(options.get("--wait", WAIT)))
        release = place.live
        if release and not place.distrust(release):
            become(place, release, command)
    except (OSError, ValueError):
        pass
    except KeyboardInterrupt:
        sys.exit(128 + 2)
    return False


def _read(words: Sequence[str]) -> tuple[dict[str, str], list[str]] | None:
    """Return the options and the command; None if they are not plain."""
    known = ("--project", "--refresh", "--wait") if words[0] == "exec" else ("--project",)
    rest, options = list(words[1:]), dict[str, str]()
    while rest and rest[0] in known and any(rest[1:2]):
        options[rest[0]] = rest[1]
        del rest[:2]
    if rest[:1] == ["--"]:
        del rest[0]
    elif (rest[:1] and rest[0].startswith("-")) or (words[0] == "run" and any(map(_may_be_an_option, rest))):
        return None
    return (options, rest) if rest and ("--refresh" in options or "--wait" not in options) else None


def _may_be_an_option(word: str) -> bool:
    """True if the command line may take a word as one of its options: `run` does so at any position."""
    name = word.partition("=")[0]
    return name in _OPTIONS or (word.startswith("-") and not word.startswith("--") and bool({*word} & {*"hqv"}))


def place_at(project: str) -> Place | None:
    """Find the site of a command; None if it is not clearly this user's, or if settings change its paths."""
    start = os.path.abspath(project or os.environ.get("RELEASER_PROJECT") or ".")
    root = os.path.realpath(start)
    found = find_project(root) if os.path.isdir(root) and "~" not in start else None
    if found is None:
        return None
    state_dir, link = default_state_dir(found), os.path.join(found, DEFAULT_VENV)
    place = Place(found, state_dir, link, {})
    read = [f"{found}/{name}" for name in ("", "..", "../.env", "pyproject.toml", "uv.lock", "uv.toml", ".git")]
    read += [f"{state_dir}/{name}" for name in ("..", "", "releases", "run", LOOKED)]
    if release := place.live:
        read += [release, f"{release}/manifest.json"]
    if not os.geteuid():  # no other user may lead root elsewhere
        read += [start[:end] for end, letter in enumerate(start) if letter == "/" and end]
    try:
        is_own = os.stat(found).st_uid == os.geteuid() != _UNMAPPED and (os.geteuid() or start == root)
        if is_own and all(map(_is_own, read)) and is_plain(found, "state_dir", "venv", "environment_file"):
            return place
    except OSError:
        pass
    return None


def _is_own(path: str) -> bool:
    """True if only this user and root can have made or can change a file, or if it does not exist."""
    for ask in (os.lstat, os.stat):
        try:
            status = ask(path)
        except FileNotFoundError:
            return True
        is_open = (
            status.st_mode & stat.S_IWOTH and not stat.S_ISLNK(status.st_mode) and not status.st_mode & stat.S_ISVTX
        )
        if status.st_uid not in (0, os.geteuid()) or is_open:
            return False
    return True


def is_plain(root: str, *names: str) -> bool:
    """True if none of these settings is set for a project; pyproject.toml is parsed only if it names one.

    Raises OSError.
    """
    variables = [f"RELEASER_{name.upper()}" for name in names]
    env_file = f"{os.path.dirname(root)}/.env"
    lines = read_file(env_file).splitlines() if os.path.exists(env_file) else []
    given = b"\n".join(line.partition(b"=")[0].partition(b"#")[0] for line in lines)  # it has no escapes
    if any(variable in os.environ or variable.encode() in given for variable in variables):
        return False
    text = read_file(f"{root}/pyproject.toml")
    is_named = b"releaser" in text and any(name.encode() in text for name in names)
    if not is_named and not any(escape in text for escape in (b"\\u", b"\\U", b"\\x")):  # TOML escapes of letters
        return True
    import tomli

    try:
        table = tomli.loads(text.decode()).get("tool", {}).get("releaser", {})
        return not any(name in table for name in names)
    except (ValueError, AttributeError, TypeError, RecursionError):
        return False  # the whole command line reports the problem


def become(place: Place, release: str, words: Sequence[str]) -> NoReturn:
    """Become a program in a release, and keep it even if another one goes live meanwhile. Raises OSError."""
    import signal

    _fill_standard()
    with contextlib.suppress(OSError):  # a user who may not write here can still use the release
        os.set_inheritable(lease.take(release), True)  # noqa: FBT003 - it takes no keyword
    environ = inside(f"{release}/venv", {**os.environ, **place.variables})
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, and so would the program
        signal.signal(number, signal.SIG_DFL)
    os.execvpe(words[0], list(words), environ)  # noqa: S606 - this process becomes the program


def _fill_standard() -> None:
    """Occupy closed standard streams, so that later files do not get their numbers; the program gets them closed."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)


def look(place: Place, every: float, wait: float, *, say: bool = True, anyway: bool = False) -> str:
    """Check for updates, if the last check is at least `every` seconds ago, and wait at most `wait` seconds for it.

    Any error is only a line on stderr, as the program has to start. Returns that line. Without `say`, nothing is
    printed, and a look by another program is waited for. With `anyway`, only a look that ends during this call counts.
    """
    if os.environ.get(GUARD) == str(os.getpid()):
        return "this start has already checked for updates"
    try:
        _fill_standard()
        problem = _look(place, every, wait, is_patient=not say, anyway=anyway)
    except Exception as error:  # noqa: BLE001 - no error keeps a program from starting
        problem = f"could not check for updates: {error}"
    if problem and say and sys.stderr is not None:
        sys.stderr.write(
            f"releaser: {''.join(character if character.isprintable() else '?' for character in problem)}\n"
        )
    return problem


def _look(place: Place, every: float, wait: float, *, is_patient: bool, anyway: bool) -> str:
    path, deadline, begun = f"{place.state_dir}/{LOOKED}", time.monotonic() + wait, time.time()
    try:
        if not anyway and not _is_due(read_file(path), every):
            return ""
    except FileNotFoundError:
        pass
    import select

    from releaser.system.file_lock import try_to_lock

    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o660)
    if os.fstat(descriptor).st_uid == os.geteuid():  # others in a site's group look, too, whatever the umask
        with contextlib.suppress(OSError):
            os.fchmod(descriptor, 0o600 | (os.stat(place.state_dir).st_mode & 0o060))
    while not try_to_lock(descriptor):  # another program looks
        if not is_patient or time.monotonic() > deadline:
            os.close(descriptor)
            return f"another program is still checking for updates after {wait:g} s" if is_patient else ""
        time.sleep(0.1)
    stamp = os.pread(descriptor, 100, 0)
    has_just_looked = stamp and os.fstat(descriptor).st_mtime > begun
    if has_just_looked if anyway else not _is_due(stamp, every):
        os.close(descriptor)
        return ""
    _note(descriptor, min(every, _RETRY))  # so that a killed look is repeated, but not at once
    os.environ[GUARD] = str(os.getpid())
    reading = _start_update(place, every, descriptor, anyway=anyway)
    os.close(descriptor)
    with open(reading, "rb") as pipe:
        if not select.select([pipe], [], [], max(deadline - time.monotonic(), 0))[0]:
            is_shown = sys.stderr is not None and sys.stderr.isatty()
            return "the update continues in the background, for the next start" if is_shown else ""
        return pipe.read().decode(errors="replace")


def _is_due(stamp: bytes, every: float) -> bool:
    """Return whether to look again, by the note of the last look; unreadable and future notes do not count."""
    try:
        at, next_at = map(float, stamp.split())
    except ValueError:
        return True
    return not at <= time.time() < min(next_at, at + every)


def _note(descriptor: int, seconds: float, due_at: str | None = None) -> None:
    """Record a look now, and the next one after so many seconds or at `due_at`. Raises OSError."""
    now = time.time()
    next_at = now + seconds
    if due_at:
        from datetime import datetime

        next_at = max(datetime.fromisoformat(due_at).timestamp(), now + min(seconds, _SOON))
    stamp = f"{int(now)} {int(next_at)}\n".encode()  # rounded up, it would be in the future
    os.pwrite(descriptor, stamp, 0)
    os.ftruncate(descriptor, len(stamp))


def _start_update(place: Place, every: float, lock: int, *, anyway: bool) -> int:
    """Start an update in a new session, not as a child of this process, so that it may outlive the process.

    Returns the reading end of a pipe, which gets the error of the update, if any, and is closed at its end.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.setsid()
            if not os.fork():
                _update(place, every, lock, writing, anyway=anyway)
        finally:
            os._exit(0)
    os.close(writing)
    with contextlib.suppress(ChildProcessError):  # the parent of this process made it ignore its children
        os.waitpid(child, 0)
    return reading


def _update(place: Place, every: float, lock: int, pipe: int, *, anyway: bool) -> None:
    """Update the site, record when to look again, and write an error to the pipe; keeps the lock until then."""
    import json
    import signal

    from releaser.system.users import close_all_but

    nothing = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nothing, number)
    os.chdir("/")
    close_all_but(lock, pipe)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    environ = {**os.environ, "RELEASER_EVERY": f"{_AT_ONCE if anyway else every}s", "RELEASER_JITTER": "0"}
    status, output, _ = run_releaser(["update", "--if-due", "--json", "--project", place.root], environ)
    answer = json.loads(output) if output else {}
    _note(lock, every if status in _COUNTED else min(every, _RETRY), answer.get("due_at"))
    if status:
        headline = answer.get("headline") or f"the update ended with status {status}"
        os.write(pipe, f"{headline}; see `releaser history`".encode(errors="replace"))


def run_releaser(words: Sequence[str], environ: Mapping[str, str]) -> tuple[int, str, str]:
    """Run a command of this releaser to its end; return its exit status, stdout and stderr."""
    import signal

    python = sys.executable or ""
    if not os.path.basename(python).startswith("python"):  # a server that embeds Python
        python = f"{sys.prefix}/bin/python"
    streams = [os.memfd_create(name) for name in ("stdout", "stderr")]
    try:
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            *((os.POSIX_SPAWN_DUP2, one, number) for number, one in enumerate(streams, 1)),
        ]
        argv = [python, "-P", "-m", "releaser", *words]
        environ = {name: value for name, value in environ.items() if name != GUARD}
        child = os.posix_spawn(python, argv, environ, file_actions=actions, setsigdef=[signal.SIGCHLD])
        try:
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        except ChildProcessError:  # this program ignores the status of children; their output must do
            status = 0
        output, complaint = (
            os.pread(stream, os.fstat(stream).st_size, 0).decode(errors="replace") for stream in streams
        )
    finally:
        for one in streams:
            os.close(one)
    return status, output, complaint
