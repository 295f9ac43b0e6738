"""The sandbox of programs that are not trusted yet: it discards their writes and shuts them off from other processes.

bubblewrap gives these programs a private view of the file system. Their writes land in layers that are deleted with the
sandbox, except in a few writable places. The documentation of the setting `sandbox` says what the sandbox protects.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import stat
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from releaser.errors import SandboxError, ToolError
from releaser.sandbox.landlock import can_forbid_abstract_sockets, forbid_abstract_sockets
from releaser.sandbox.layers import (
    Layer,
    Skeleton,
    list_places,
    make_layers,
    make_skeletons,
    mounting,
    written,
    written_next_to,
)
from releaser.sandbox.sockets import OF_DATABASES, READ_IN_RUN, list_covered, list_listening, list_reached
from releaser.system.environment import find_own_program
from releaser.system.files import only_files
from releaser.system.frozen import Frozen, field
from releaser.system.process import Sandbox
from releaser.system.signals import MOMENT
from releaser.system.temporary import LAYERS, ROOMY, temporary_directory

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from releaser.system.process import Runner

#: How writes are discarded: in layers mounted by the child or by bubblewrap; without layers, most places are read-only.
Way = Literal["layers", "layers of bubblewrap", "read-only"]
_OWN_LAYERS = (0, 11)  # bubblewrap has `--overlay` since this version
_CAPABILITIES = ("chown", "dac_override", "fowner", "fsetid", "kill", "setgid", "setuid", "net_bind_service")
_KERNEL = ("sys", "sysrq-trigger")  # of /proc, writable for root without any capability; bubblewrap protects more
_TEMPORARY, _MEMORY = "/tmp", "/dev/shm"  # noqa: S108 - every user may write there
_RUN = "/run"
_HIDE_FILE = ["--ro-bind", "/dev/null"]
_MANAGERS = ("/var/lib/lxd", "/var/snap/lxd", "/var/lib/incus")  # directories with sockets of container managers
_SECONDS = 60.0  # for trying bubblewrap, even on a busy machine
_LEFT = ".left-running"  # a file in the private directory; at most `_LONGEST_LEFT` bytes of it are read
_LONGEST_LEFT = 64 * 1024
_LONGEST_NAME = 120  # characters
# The kernel ends a process namespace at once when its first process ends. So this script starts the command, and notes
# the processes that are left when the command has ended: pairs of the command and the process, each ended by a NUL.
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
    """The paths, sockets and network that a program in the sandbox may use."""

    writable: tuple[Path, ...]
    hidden: tuple[Path, ...] = ()
    #: Paths that it reads even in directories such as `/tmp`, of which the sandbox has a private one.
    kept: tuple[Path, ...] = ()
    #: Programs that it reads in the same way, but that need no layer.
    needed: tuple[Path, ...] = ()
    #: Paths that are read-only, because a copy would be too large.
    fixed: tuple[Path, ...] = ()
    #: Paths that it gets a copy of where no layer discards its writes.
    copied: tuple[Path, ...] = ()
    #: Sockets that it reaches in addition to those of databases, or directories with such sockets.
    sockets: tuple[Path, ...] = ()
    #: True if it reaches the network; otherwise it has only a private loopback interface.
    network: bool = True


class _Paths(Frozen):
    """The existing paths of bounds without symlinks, each list as `_real` returns it."""

    writable: list[str]
    hidden: list[str]
    kept: list[str]
    needed: list[str]
    fixed: list[str]
    sockets: list[str]

    @classmethod
    def of(cls, bounds: Bounds, homes: Iterable[Path]) -> _Paths:
        """Resolve the paths of bounds; `homes` are kept, too."""
        return cls(
            writable=_real(bounds.writable),
            hidden=_real(bounds.hidden),
            kept=_real((*bounds.kept, *homes)),
            needed=_real(bounds.needed),
            fixed=_real(bounds.fixed),
            sockets=_real(bounds.sockets),
        )


class Bubblewrap(Frozen):
    """The sandbox that works on this host: bubblewrap, and how it discards writes."""

    program: str
    way: Way
    #: Layers are made next to this path; None for the default temporary directory.
    scratch: Path | None = None
    #: Places that can have no layer, as a trial showed.
    without: frozenset[str] = frozenset()
    #: The home directories of this user.
    homes: tuple[Path, ...] = ()
    #: Called with a command and the name of a process that it left running, which ended with the process namespace.
    tell: Callable[[str, str], None] = field(default=lambda *_: None, repr=False, compare=False)

    @property
    def name(self) -> str:
        """The name of the sandbox in messages."""
        return "bubblewrap"

    @property
    def description(self) -> str:
        """A description, for people, of how the sandbox treats writes."""
        if self.way == "read-only":
            return "read-only outside the project, as this kernel has no overlay file system"
        return "files that it writes outside the staging tree are discarded"

    @contextlib.contextmanager
    def sandbox(self, bounds: Bounds, hear: Callable[[list[str]], object] = lambda _: None) -> Iterator[Sandbox]:
        """Yield a sandbox with a private temporary directory, for commands that run one after the other.

        At the end, `hear` gets the paths that were written outside the writable places; those writes are discarded.
        Raises SandboxError.
        """
        with contextlib.ExitStack() as stack:
            try:
                private = str(stack.enter_context(temporary_directory()))
                paths = _Paths.of(bounds, self.homes)
                own, layers, skeletons = self._make_layers(paths, stack)
                copies = self._copy(bounds.copied, layers, paths.hidden, stack)
            except OSError as error:
                message = f"no temporary directory can be made: {error}"
                raise SandboxError(message, "Check free space, and TMPDIR.") from error
            begin = _beginning(mounting(layers) if layers and self.way == "layers" else None, self.program)
            hidden = [*paths.hidden, *own]
            views = self._views(paths, bounds.needed, skeletons, layers, copies)
            words = _bubblewrap(private, views, hidden, paths.writable, network=bounds.network)
            has_layer = [place for layer in layers for place in layer.shown]
            sandbox = Sandbox(
                prefix=(self.program, *words),
                view=partial(_view_sockets, paths, has_layer, hidden),
                suffix=("--", "/bin/sh", "-c", _NOTING, "sh"),
                variables=(("TMPDIR", _TEMPORARY),),
                outside=private,
                begin=begin,
            )
            try:
                yield sandbox
            finally:
                for command, name in _left_running(os.path.join(private, _LEFT)):
                    self.tell(command, name)
                hear([*written(layers), *written_next_to(skeletons)])

    def _make_layers(
        self, paths: _Paths, stack: contextlib.ExitStack
    ) -> tuple[list[str], tuple[Layer, ...], tuple[Skeleton, ...]]:
        """Make the layers, and skeletons for directories that can have no layer.

        Also return the directory that holds the layers, which must be hidden: hidden files could be read in the layers.
        """
        if self.way == "read-only":
            return [], (), ()
        kept, hidden = paths.kept, paths.hidden
        places = [place for place in list_places(kept) if place not in self.without]
        scratch = str(stack.enter_context(temporary_directory(next_to=self.scratch)))
        ways = [*kept, "/var/tmp"]  # noqa: S108 - it gets a layer
        own = [scratch] if os.path.dirname(scratch) not in (_TEMPORARY, _MEMORY) else []  # else it has its own of these
        layers = make_layers(scratch, places, ways, hidden=hidden, joins=self.way == "layers")
        return own, layers, make_skeletons(scratch, ways, layers, hidden)

    def _copy(
        self, copied: Iterable[Path], layers: Iterable[Layer], hidden: Collection[str], stack: contextlib.ExitStack
    ) -> list[tuple[str, str]]:
        """Copy the `copied` paths that have no layer, without `hidden` ones; return each with its copy. Raises OSError.

        Sockets are not copied, so that services stay reachable. Of a directory, only the readable files are copied.
        """
        has_layer = [place for layer in layers for place in layer.shown]
        sources = [path for path in _real(copied) if path not in (*has_layer, *hidden)]
        sources = [path for path in sources if not _is_shared(path, *has_layer)]
        if not sources:
            return []

        def ignore(place: str, names: Iterable[str]) -> list[str]:
            return [name for name in names if os.path.join(place, name) in hidden]

        base, found = stack.enter_context(temporary_directory()), []
        for number, source in enumerate(sources):
            target = base / str(number)
            with contextlib.suppress(OSError):
                if os.path.isdir(source):
                    shutil.copytree(source, target, symlinks=True, ignore=ignore, ignore_dangling_symlinks=True)
                elif Path(source).is_file():
                    shutil.copy2(source, target)
            if target.exists():
                found.append((source, str(target)))
        return found

    def _views(
        self,
        paths: _Paths,
        needed: Iterable[Path],
        skeletons: tuple[Skeleton, ...],
        layers: tuple[Layer, ...],
        copies: list[tuple[str, str]],
    ) -> list[str]:
        """Return the arguments of bubblewrap that add paths to the system's own directories."""
        links = {link for path in needed if path.exists() for link in _links_to(path)}
        has_layer = [place for layer in layers for place in layer.shown]
        binds = {path for path in (*paths.kept, *paths.needed) if _is_shared(path, _TEMPORARY, _MEMORY)}
        seen = (*binds, *paths.writable)
        binds |= {link for link in links if _is_shared(link, _TEMPORARY, _MEMORY) and not _is_shared(link, *seen)}
        binds -= {path for path in binds if path in has_layer or _is_shared(path, *has_layer)}
        words = _each("--ro-bind", sorted(binds), twice=True)
        for skeleton in skeletons:
            words += ["--bind", skeleton.directory, skeleton.place, *_each("--ro-bind-try", skeleton.fixed, twice=True)]
        words += _laid(layers, self.way)
        words += [word for source, copy in copies for word in ("--bind", copy, source)]
        return [*words, *_each("--ro-bind", paths.fixed, twice=True)]


def _left_running(noted: str) -> set[tuple[str, str]]:
    """Return the recorded processes. The programs in the sandbox may have written to that file, too."""
    try:
        with open(noted, "rb", opener=lambda path, flags: only_files(path, flags | os.O_NOFOLLOW)) as file:
            words = file.read(_LONGEST_LEFT).decode(errors="replace").split("\0")
    except OSError:  # usually there is no such file
        return set()
    return {(command, name.strip()[:_LONGEST_NAME]) for command, name in zip(words[::2], words[1::2], strict=False)}


def find_bubblewrap(runner: Runner, around: tuple[Path, ...] = ()) -> Bubblewrap | str:
    """Return the sandbox that works on this host, or the reason why none does.

    `around` are the directories of a site that need the sandbox most; the last holds the layers if no other place can.
    bubblewrap is tried once in a run, because a kernel or a container may forbid it.
    """
    question = ("bwrap", *around)
    if question not in runner.remembered:
        program = find_own_program("bwrap", runner.environ, *around)
        missing = "bubblewrap is not installed (Debian's package `bubblewrap`)"
        found = _try(program, runner, around) if program else missing
        runner.remembered[question] = json.dumps(found, default=str)
    found = json.loads(runner.remembered[question])
    if isinstance(found, str):
        return found
    program, way, scratch, without = found
    return Bubblewrap(
        program=program,
        way=way,
        scratch=Path(scratch) if scratch else None,
        without=frozenset(without),
        homes=tuple(Path(home) for home in dict.fromkeys(_homes(runner.environ)) if os.path.realpath(home) != "/"),
        tell=runner.note_ended,
    )


def _try(program: str, runner: Runner, around: tuple[Path, ...]) -> tuple[str, Way, Path | None, Sequence[str]] | str:
    """Return the program, the best way, the path for layers, and places without layers; or the reason for a failure."""
    places = list_places(_real(around))
    named = (
        ROOMY,
        None,
        *(directory / LAYERS for directory in around[-1:]),
    )  # the temporary directory (None) may be in memory
    scratches = [path for path in named if path is None or os.access(path.parent, os.W_OK | os.X_OK)]
    for scratch in scratches:
        with contextlib.suppress(OSError, ToolError), temporary_directory(next_to=scratch) as scratch_directory:
            layers = make_layers(str(scratch_directory), places)
            output = _ask(_trial(program), runner, begin=mounting(layers, reports=True))
            numbers = {int(number) for number in re.findall(r"^layer (\d+)$", output, re.M)}
            if numbers:
                without = [place for number, one in enumerate(layers) if number not in numbers for place in one.shown]
                return program, "layers", scratch, without
    try:
        _ask(_trial(program), runner)
        version = re.search(r"(\d+)\.(\d+)", _ask([program, "--version"], runner))
    except ToolError as error:
        reason = (error.output.strip().splitlines() or [error.message])[0]
        return f"bubblewrap does not work here ({reason})"
    if version is not None and (int(version[1]), int(version[2])) >= _OWN_LAYERS:
        for scratch in scratches:
            with contextlib.suppress(OSError, ToolError), temporary_directory(next_to=scratch) as scratch_directory:
                layers = make_layers(str(scratch_directory), places, joins=False)
                _ask(_trial(program, _laid(layers, "layers of bubblewrap")), runner)
                return program, "layers of bubblewrap", scratch, ()
    return program, "read-only", None, ()


def _laid(layers: Iterable[Layer], way: Way) -> list[str]:
    """Return the arguments that mount the layers over their places; the child mounts none that has vanished."""
    words = []
    for layer in layers:
        if way == "layers":
            words += [word for view in layer.views for word in ("--bind-try", *view)]
        else:
            words += ["--overlay-src", layer.place, "--overlay", layer.upper, layer.work, layer.place]
    return words


def _trial(program: str, views: Sequence[str] = ()) -> list[str]:
    """Return a command that does nothing in the sandbox."""
    return [program, *_bubblewrap(views=views), "--", "/bin/sh", "-c", ":"]


def _ask(words: Sequence[str], runner: Runner, begin: Callable[[], None] | None = None) -> str:
    """Run a command and return its standard output. Raises ToolError."""
    # bubblewrap itself ends with releaser (`--die-with-parent`).
    return runner.run(words, cwd=Path("/"), timeout=_SECONDS, death_signal=None, sandbox=Sandbox(begin=begin)).stdout


def _bubblewrap(
    private: str | None = None,
    views: Sequence[str] = (),
    hidden: Sequence[str] = (),
    writable: Sequence[str] = (),
    *,
    network: bool = True,
) -> list[str]:
    """Return the arguments of bubblewrap: all is read-only except `views` and `writable`, with `private` as /tmp."""
    words = ["--unshare-pid", "--unshare-ipc", "--new-session", "--die-with-parent"]
    words += [] if network else ["--unshare-net"]
    words += ["--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--bind-try", "/dev/log", "/dev/log"]
    words += _view_run()
    if os.geteuid() == 0:  # no user namespace: root must not unmount anything
        words += ["--cap-drop", "ALL", *_each("--cap-add", (f"CAP_{name.upper()}" for name in _CAPABILITIES))]
        words += [word for name in _KERNEL for word in ("--ro-bind-try", f"/proc/{name}", f"/proc/{name}")]
    if private is not None:
        words += ["--bind", private, _TEMPORARY]
    holding = [path for path in hidden if any(_is_shared(one, path) for one in writable)]
    hiding = [path for path in hidden if path not in holding]  # also inside writable directories
    return [*words, *views, *_hide(holding), *_each("--bind", writable, twice=True), *_hide(hiding)]


def _hide(paths: Iterable[str]) -> Iterator[str]:
    for path in paths:
        yield from ("--tmpfs", path, "--remount-ro", path) if os.path.isdir(path) else (*_HIDE_FILE, path)


def _view_run() -> list[str]:
    """Return the arguments that empty /run, except for the directories of databases and a few that programs read.

    A socket in such a directory stays reachable when its database restarts.
    """
    if not _has_own_run():
        return []
    names = os.path.realpath("/etc/resolv.conf")
    resolver = [names] if _is_shared(names, _RUN) else []
    seen = _each(
        "--ro-bind-try", [f"{_RUN}/{pattern}" for pattern in (*OF_DATABASES, *READ_IN_RUN)] + resolver, twice=True
    )
    return ["--tmpfs", _RUN, *seen]


def _view_sockets(paths: _Paths, has_layer: Collection[str], hidden: Collection[str]) -> list[str]:
    """Return the arguments that let in the sockets that may be reached, and cover all others.

    No socket can be reached through a layer (proc(5)), and the sandbox has a private /run, /tmp and /dev/shm. The list
    is made for each command, because a service may end, with its socket, while the sandbox exists.
    """
    listening = [path for path in list_listening() if not _is_shared(path, *hidden)]
    reached = [socket for socket in list_reached(listening, paths.sockets) if not _is_shared(socket, *hidden)]
    apart = [_RUN, _TEMPORARY, _MEMORY, "/dev", "/proc"]
    covered = list_covered(listening, reached, [*apart, *has_layer])
    written = [path for path in listening if _is_shared(path, *paths.writable, *paths.fixed)]
    covered += [path for path in list_covered(written, reached, ()) if path not in covered]
    words = [*_each("--bind-try", reached, twice=True), *(word for path in covered for word in (*_HIDE_FILE, path))]
    return [*words, *(["--remount-ro", _RUN] if _has_own_run() else [])]


def _has_own_run() -> bool:
    return os.path.realpath(_RUN) == _RUN


def _beginning(mount: Callable[[], None] | None, program: str) -> Callable[[], None] | None:
    """Return what the child does before it becomes bubblewrap: it mounts layers, and gives up abstract sockets.

    It keeps abstract sockets if bubblewrap is setuid: giving them up would keep bubblewrap from becoming root.
    """
    if not can_forbid_abstract_sockets() or os.stat(program).st_mode & stat.S_ISUID:
        return mount

    def begin() -> None:
        if mount is not None:
            mount()
        forbid_abstract_sockets()

    return begin


def _each(option: str, values: Iterable[str], *, twice: bool = False) -> list[str]:
    return [word for value in values for word in ((option, value, value) if twice else (option, value))]


def _real(paths: Iterable[Path]) -> list[str]:
    """Return the existing paths without symlinks, each directory before its contents, so that all can be mounted."""
    return sorted({os.path.realpath(path) for path in paths if os.path.exists(path)})


def _links_to(path: Path) -> Iterator[str]:
    """Yield the symlinks on the way to an existing path: programs are started through them."""
    for place in (*reversed(path.parents), path):
        if place.is_symlink():
            yield str(place)
            target = place.parent / os.readlink(place) / path.relative_to(place)
            yield from _links_to(Path(os.path.normpath(target)))
            return


def _is_shared(path: str, *places: str) -> bool:
    return any(path.startswith(place + "/") for place in places)


def secrets_of_user(environ: Mapping[str, str]) -> tuple[Path, ...]:
    """Return paths to hide: keys, mail, credentials, and the sockets of programs that run commands for this user."""
    own = _in_homes(environ, ".ssh", ".gnupg", ".screen", "Maildir")
    passed = [Path(place) for place in (environ.get("CREDENTIALS_DIRECTORY"),) if place]  # set by systemd
    return (*own, *passed, Path("/var/mail"), Path("/var/spool/mail"), *map(Path, _MANAGERS))


def passwords_of_user(environ: Mapping[str, str]) -> tuple[Path, ...]:
    """Return the files and directories with the passwords of git and uv."""
    names = (".git-credentials", ".config/git/credentials", ".netrc", ".local/share/uv/credentials")
    given = environ.get("UV_CREDENTIALS_DIR") or Path(environ.get("XDG_DATA_HOME", ""), "uv/credentials")
    named = environ.get("NETRC")
    return (*_in_homes(environ, *names), Path("/", given), *([Path(named)] if named else []))


def _in_homes(environ: Mapping[str, str], *names: str) -> tuple[Path, ...]:
    return tuple(Path(home, name) for home in _homes(environ) for name in names)


def _homes(environ: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(filter(None, (environ.get("HOME"), _home())))


def _home() -> str:
    import pwd  # few commands need it

    try:
        return pwd.getpwuid(os.geteuid()).pw_dir
    except KeyError:  # no such user, as in a container
        return ""
