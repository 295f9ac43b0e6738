"""Isolation of programs that are not trusted yet: they write in some places alone, and reach no other process.

bubblewrap makes them a view of the file system of their own, where it is installed and works; else the kernel's
Landlock refuses what is not allowed. What each keeps in stands in the documentation of the setting `isolate`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from releaser.errors import ToolError
from releaser.system import landlock
from releaser.system.files import only_files
from releaser.system.frozen import Frozen
from releaser.system.signals import MOMENT
from releaser.system.temporary import temporary_directory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from releaser.system.process import Runner

Kind = Literal["bwrap", "landlock"]
_CAPABILITIES = ("chown", "dac_override", "fowner", "fsetid", "kill", "setgid", "setuid", "net_bind_service")
_KERNEL = ("sys", "sysrq-trigger", "irq", "bus")  # of /proc, where root could write without any capability
_TEMPORARY, _MEMORY = "/tmp", "/dev/shm"  # noqa: S108 - where everybody writes
# Below /run: who reaches these can have programs run outside, as root, in a container, or in a person's terminal.
_MANAGERS = (
    "dbus", "systemd/private", "docker.sock", "containerd", "podman", "crio", "libvirt", "screen",
    "/var/lib/lxd", "/var/snap/lxd", "/var/lib/incus",
)  # fmt: skip
_SECONDS = 10.0  # to try whether bubblewrap works
_LEFT = ".left-running"  # in the private directory, and what is read of it at most, in bytes
_LONGEST_LEFT = 64 * 1024
_LONGEST_NAME = 120  # characters
# The kernel ends a process namespace with its first process, at once. So this starts a command in it, and notes who is
# there when the command has ended: what was started and what is left, each ended by a NUL.
_NOTING = f"""\
"$@"
status=$?
look() {{
    left=
    for one in /proc/[0-9]*; do
        case ${{one#/proc/}} in 1 | $$) continue ;; esac
        words=$(tr '\\0' ' ' <$one/cmdline 2>/dev/null) || continue
        [ -z "$words" ] || left=yes
        [ -z "$words" ] || [ -z "$1" ] || printf '%s\\0%s\\0' "$1" "$words"
    done
}}
look ""
[ -z "$left" ] || {{
    sleep {MOMENT}
    look "$*" >>{_TEMPORARY}/{_LEFT}
}}
exit $status
"""


class Bounds(Frozen):
    """The places where a program may write, and those that it may not read."""

    writable: tuple[Path, ...]
    hidden: tuple[Path, ...] = ()
    #: What it reads, also where it lies in a directory in which everybody writes.
    kept: tuple[Path, ...] = ()
    #: The same of programs, which are not worth protecting there.
    needed: tuple[Path, ...] = ()


class Sandbox(Frozen):
    """What to put in front of a command, and the variables that it is to have."""

    prefix: tuple[str, ...] = ()
    variables: tuple[tuple[str, str], ...] = ()
    #: Where the private temporary directory of what is isolated is for others, where there is one.
    outside: str = ""


class Isolation(Frozen):
    """A way to isolate programs that works here; `program` is what it begins with, if it is one."""

    kind: Kind
    program: tuple[str, ...] = ()
    #: Hears what a command has left running in a process namespace, which has ended it: the command, and its name.
    tell: Callable[[str, str], None] = field(default=lambda *_: None, repr=False, compare=False)

    @property
    def name(self) -> str:
        """What messages call it."""
        return {"bwrap": "bubblewrap", "landlock": f"Landlock {landlock.abi()}"}[self.kind]

    @property
    def unfit_for_ssh(self) -> tuple[Path, ...]:
        """What ssh must not find: in a user namespace, files of root look like nobody's, and ssh ends at such a one."""
        return (Path("/etc/ssh/ssh_config.d"),) if self.kind == "bwrap" and os.geteuid() else ()

    @contextlib.contextmanager
    def sandbox(self, bounds: Bounds) -> Iterator[Sandbox]:
        """Yield what isolates a command; it also has a private temporary directory, which goes at the end.

        Raises ToolError.
        """
        with contextlib.ExitStack() as stack:
            try:
                private = str(stack.enter_context(temporary_directory()))
            except OSError as error:
                message = f"no temporary directory can be made: {error}"
                raise ToolError(message, advice="Check free space, and TMPDIR.") from error
            writable, hidden, kept = (_real(some) for some in (bounds.writable, bounds.hidden, bounds.kept))
            if self.kind == "landlock":
                shared = [] if any(_is_shared(path, _MEMORY) for path in kept) else [_MEMORY]
                prefix = landlock.prefix_of([*writable, private, *shared], hidden)
                yield Sandbox(prefix=prefix, variables=(("TMPDIR", private),), outside=private)
            else:
                binds = {path for path in (*kept, *_real(bounds.needed)) if _is_shared(path, _TEMPORARY, _MEMORY)}
                links = {link for path in bounds.needed if path.exists() for link in _links_to(path)}
                seen = (*binds, *writable)
                binds |= {one for one in links if _is_shared(one, _TEMPORARY, _MEMORY) and not _is_shared(one, *seen)}
                words = _bubblewrap(private, sorted(binds), hidden, writable)
                prefix = (*self.program, *words, "/bin/sh", "-c", _NOTING, "sh")
                try:
                    yield Sandbox(prefix=prefix, variables=(("TMPDIR", _TEMPORARY),), outside=private)
                finally:
                    for command, name in _left_running(os.path.join(private, _LEFT)):
                        self.tell(command, name)


def _left_running(noted: str) -> set[tuple[str, str]]:
    """Return what was noted; what is isolated could have written there, too."""
    try:
        with open(noted, "rb", opener=lambda path, flags: only_files(path, flags | os.O_NOFOLLOW)) as file:
            words = file.read(_LONGEST_LEFT).decode(errors="replace").split("\0")
    except OSError:  # as mostly
        return set()
    return {(command, name.strip()[:_LONGEST_NAME]) for command, name in zip(words[::2], words[1::2], strict=False)}


def without_symlinks() -> Sandbox | None:
    """Return what lets a program make no symlink, so that uv builds nothing; None where the kernel cannot do that.

    uv makes an environment for each build, whose `bin/python` is a symlink (seen with uv 0.12 and 0.13).
    """
    if landlock.abi() < landlock.SINCE_REFER:
        return None
    return Sandbox(prefix=(landlock.WITHOUT_SYMLINKS,))


def find_isolation(wanted: str, runner: Runner) -> Isolation | str:
    """Return what isolates here, of the kind that is `wanted` (`auto` takes any), or why there is none.

    bubblewrap is tried once in a run, as a kernel or a container may forbid it.
    """
    reasons = []
    if wanted in ("auto", "bwrap"):
        program = shutil.which("bwrap", path=runner.environ.get("PATH"))
        reason = "bubblewrap is not installed (Debian's package `bubblewrap`)"
        if program is not None:
            reason = _flaw_of(program, runner)
            if not reason:
                return Isolation(kind="bwrap", program=(program,), tell=runner.note_ended)
        reasons.append(reason)
    if wanted in ("auto", "landlock"):
        if landlock.abi() >= landlock.OLDEST:
            return Isolation(kind="landlock")
        reasons.append("the kernel has no Landlock, or one that is too old (Linux 6.2 or newer is needed)")
    return ", and ".join(reasons)


def _flaw_of(program: str, runner: Runner) -> str:
    """Say why bubblewrap does not work; empty if it does."""
    question = ("bwrap", program)
    if question not in runner.remembered:
        words = [program, *_bubblewrap(), program, "--version"]
        try:
            runner.run(words, cwd=Path("/"), timeout=_SECONDS, death_signal=None)  # it dies with us by itself
            runner.remembered[question] = ""
        except ToolError as error:
            said = (error.output.strip().splitlines() or [error.message])[0]
            runner.remembered[question] = f"bubblewrap does not work here ({said})"
    return runner.remembered[question]


def _bubblewrap(
    private: str | None = None, kept: Sequence[str] = (), hidden: Sequence[str] = (), writable: Sequence[str] = ()
) -> list[str]:
    """Return the arguments of bubblewrap: all is as it is, for reading alone, with a `private` /tmp."""
    words = ["--unshare-pid", "--die-with-parent", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc"]
    words += ["--bind-try", "/dev/log", "/dev/log"]
    if os.geteuid() == 0:  # no user namespace: what is mounted must stay mounted
        words += ["--cap-drop", "ALL", *_each("--cap-add", (f"CAP_{name.upper()}" for name in _CAPABILITIES))]
        words += [word for name in _KERNEL for word in ("--ro-bind-try", f"/proc/{name}", f"/proc/{name}")]
    if private is not None:
        words += ["--bind", private, _TEMPORARY, *_each("--bind-try", _sockets(_TEMPORARY), twice=True)]
    words += _each("--ro-bind", kept, twice=True)
    for path in hidden:
        words += ["--tmpfs", path, "--remount-ro", path] if os.path.isdir(path) else ["--ro-bind", "/dev/null", path]
    return [*words, *_each("--bind", writable, twice=True), "--"]


def _each(option: str, values: Iterable[str], *, twice: bool = False) -> list[str]:
    return [word for value in values for word in ((option, value, value) if twice else (option, value))]


def _sockets(place: str) -> list[str]:
    """List the sockets in a directory: those of databases stay where their clients look for them."""
    found = []
    with contextlib.suppress(OSError), os.scandir(place) as entries:
        for one in entries:
            if one.is_file(follow_symlinks=False) or one.is_dir(follow_symlinks=False):
                continue  # which most file systems tell without a look at it, and /tmp may hold thousands
            with contextlib.suppress(OSError):  # it has just gone
                found += [one.path] if stat.S_ISSOCK(one.stat(follow_symlinks=False).st_mode) else []
    return found


def _real(paths: Iterable[Path]) -> list[str]:
    """Return what is there, without symlinks; what holds another comes before it, so that both can be mounted."""
    return sorted({os.path.realpath(path) for path in paths if os.path.exists(path)})


def _links_to(path: Path) -> Iterator[str]:
    """Yield the symlinks on the way to what is there: programs are started by these."""
    for place in (*reversed(path.parents), path):
        if place.is_symlink():
            yield str(place)
            target = place.parent / os.readlink(place) / path.relative_to(place)
            yield from _links_to(Path(os.path.normpath(target)))
            return


def _is_shared(path: str, *places: str) -> bool:
    return any(path.startswith(place + "/") for place in places)


def secrets_of_user(environ: Mapping[str, str]) -> tuple[Path, ...]:
    """Return what is not reached in isolation: keys, mail, and the sockets of what runs programs for this user."""
    own = _in_homes(environ, ".ssh", ".gnupg", ".screen", "Maildir")
    passed = [Path(place) for place in (environ.get("CREDENTIALS_DIRECTORY"),) if place]  # by systemd
    run = (Path("/run", one) for one in (*_MANAGERS, f"user/{os.geteuid()}"))
    return (*own, *passed, Path("/var/mail"), Path("/var/spool/mail"), *run)


def passwords_of_user(environ: Mapping[str, str]) -> tuple[Path, ...]:
    """Return where passwords of git and of uv are."""
    names = (".git-credentials", ".config/git/credentials", ".netrc", ".local/share/uv/credentials")
    given = environ.get("UV_CREDENTIALS_DIR") or Path(environ.get("XDG_DATA_HOME", ""), "uv/credentials")
    named = environ.get("NETRC")
    return (*_in_homes(environ, *names), Path("/", given), *([Path(named)] if named else []))


def _in_homes(environ: Mapping[str, str], *names: str) -> tuple[Path, ...]:
    return tuple(Path(home, name) for home in filter(None, (environ.get("HOME"), _home())) for name in names)


def _home() -> str:
    import pwd  # which few commands need

    try:
        return pwd.getpwuid(os.geteuid()).pw_dir
    except KeyError:  # as in a container
        return ""
