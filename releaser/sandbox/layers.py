"""Layers over file systems: they receive the writes of a sandbox, and are deleted with it.

A layer is an overlayfs: the place itself is the lower directory, and a directory of releaser takes the changes. The
child that becomes the sandbox mounts the layers in a private mount namespace, so other processes do not see them, and
nothing stays mounted. Changes that the live site makes in the place meanwhile may or may not be visible through a
layer; the kernel promises no more. A plain user can mount layers in a user namespace (from Linux 5.11;
Documentation/filesystems/overlayfs.rst of the kernel).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from releaser.sandbox.landlock import check_result
from releaser.system.frozen import Frozen, replace

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

_NEW_MOUNTS, _NEW_USER = 0x00020000, 0x10000000  # unshare(2)
_BIND, _REMOUNT, _RELATIVE_TIMES = 0x1000, 0x20, 1 << 21  # mount(2)
_SAME_FLAGS = os.ST_NOSUID | os.ST_NODEV | os.ST_NOEXEC | os.ST_NOATIME | os.ST_NODIRATIME  # same values as MS_...
_REC_PRIVATE = 0x4000 | 1 << 18  # mount(2): MS_REC | MS_PRIVATE
# These get no layer: kernel file systems, private directories of a sandbox, and /run, where services have sockets.
_OTHERS = frozenset({"/proc", "/sys", "/dev", "/run", "/tmp", "/boot", "/lost+found"})  # noqa: S108 - a sandbox has its own
# A plain user cannot write there.
_OF_ROOT = frozenset({"/bin", "/etc", "/lib", "/lib32", "/lib64", "/libx32", "/sbin", "/usr"})
_CROWDED = ("/var/lib", "/snap")  # these hold containers and packages, each with several mounts
_DEEPEST = 9  # levels
# Network file systems are missing here because access to them may hang. They get a layer if the site is on one.
_FILE_SYSTEMS = frozenset(
    {
        "btrfs", "ext2", "ext3", "ext4", "f2fs", "jfs", "overlay", "reiserfs", "tmpfs", "xfs", "zfs",
    }
)  # fmt: skip
# A sandbox has private ones of these, even if they hold a home or the checkout.
_EVERYBODYS = frozenset({*_OTHERS, "/dev/shm"})  # noqa: S108 - releaser creates nothing there
# bubblewrap takes 9,000 arguments (MAX_ARGS in its bubblewrap.c), three for each path that it shows.
_MOST_SKELETONS, _MOST_FIXED = 20, 50
_MOST = 2_000  # directories to search for a plain user
_DEEP = 3  # levels to search for directories that the user may write
_SHALLOW = 2  # levels to search for files of another group; deeper only if some are found
_PASSED_OVER = frozenset({".git", "node_modules", "__pycache__"})
_OF_VENV = "pyvenv.cfg"
# Limits for copies of files whose group a plain user cannot give to a copy; files near the top come first.
_MOST_FILES, _MOST_BYTES = 1_000, 100_000_000
_libc = ctypes.CDLL(None, use_errno=True)


class Layer(Frozen):
    """A place, the parts of it that are shown, and the common prefix of the paths of the layer's directories."""

    place: str
    base: str
    shown: tuple[str, ...] = ()
    #: When the layer was made, in ns; newer files were written through it.
    made: int = 0

    @property
    def upper(self) -> str:
        """The directory of the changes; the child mounts the overlayfs over it."""
        return f"{self.base}.upper"

    @property
    def work(self) -> str:
        """The work directory of overlayfs."""
        return f"{self.base}.work"

    @property
    def views(self) -> tuple[tuple[str, str], ...]:
        """For each shown part, its path in the child's mount and its real path."""
        return tuple((f"{self.upper}/{os.path.relpath(path, self.place)}", path) for path in self.shown)


class Skeleton(Frozen):
    """A directory that can have no layer, because something is mounted below it, and its substitute.

    The substitute has copies of small files, and an empty file or directory for each other entry. A layer is mounted
    over some of these; the others, which are `fixed`, are shown as they are.
    """

    place: str
    directory: str
    fixed: tuple[str, ...]
    #: When it was made, in ns; newer files were written in it.
    made: int = 0


# Where layers can be


def list_places(also: Collection[str] = ()) -> list[str]:
    """List the directories that get a layer: all except those of the system, and in any case `also`.

    A layer does not show file systems mounted below its place. Such a place gets no layer; the directories in it get
    one each.
    """
    mounts = _read_mounts()
    above = _above(mounts)
    excluded = _OTHERS if os.geteuid() == 0 else _OTHERS | _OF_ROOT
    passed = excluded | mounts.keys()
    found = list[str]()
    for place, fits in mounts.items():
        if fits and not _is_within(place, *excluded, *_CROWDED):
            found += _uncovered(place, above, passed, deep=2)
    for path in also:
        if path not in _EVERYBODYS and not _is_within(path, *found):
            found += _uncovered(path, above, passed, deep=_DEEPEST)
    kept = {
        mount for mount in found if _may_enter(mount) and (not _is_within(mount, *_CROWDED) or _writes_in(mount, also))
    }
    return sorted(mount for mount in kept if not _is_within(mount, *kept - {mount}))


def _read_mounts() -> dict[str, bool]:
    """Map each mount point to whether its file system can lie below a layer (proc(5))."""
    found = dict[str, bool]()
    with contextlib.suppress(OSError), open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            words, _, others = line.partition(" - ")
            fields = words.split(" ")
            place = re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), fields[4])
            found[place] = others.split(" ")[0] in _FILE_SYSTEMS and "ro" not in fields[5].split(",")
    return found


def _above(mounts: Iterable[str]) -> frozenset[str]:
    """Return the directories that have a mount point below them."""
    return frozenset(
        mount[:at] or "/" for mount in mounts if mount != "/" for at, letter in enumerate(mount) if letter == "/"
    )


def _uncovered(place: str, above: Collection[str], passed: Collection[str], *, deep: int) -> Iterator[str]:
    """Yield a place; if a mount point is below it, the directories in the place instead, down to `deep` levels."""
    if place not in above:
        yield place
    elif deep:
        for entry in _list(place):
            if entry.path not in passed and entry.is_dir(follow_symlinks=False):
                yield from _uncovered(entry.path, above, passed, deep=deep - 1)


def _is_within(path: str, *places: str) -> bool:
    return any(path == place or path.startswith(place.rstrip("/") + "/") for place in places)


def _may_enter(place: str) -> bool:
    return os.path.isdir(place) and os.access(place, os.R_OK | os.X_OK)


def _writes_in(place: str, also: Iterable[str]) -> bool:
    """True if this user may write to a place, to a directory in it, or has one of `also` in it."""
    if os.geteuid() == 0 or any(_is_within(path, place) for path in also) or os.access(place, os.W_OK):
        return True
    return any(entry.is_dir(follow_symlinks=False) and os.access(entry.path, os.W_OK) for entry in _list(place))


# Making and mounting them


def make_layers(
    scratch: str,
    places: Iterable[str],
    ways: Collection[str] = (),
    *,
    hidden: Collection[str] = (),
    joins: bool = True,
) -> tuple[Layer, ...]:
    """Make, in `scratch`, the directories of layers over these places. Raises OSError.

    With `joins`, root gets a single layer for all places on the root file system. A user namespace forbids such a
    layer, as it would show files that other mounts cover. Without `joins`, bubblewrap mounts the layers.

    A plain user's overlayfs cannot copy a file with another owner or group (EOVERFLOW). So the layers get, in advance,
    the directories that lead to `ways` and to other places where this user writes, and copies of the writable files
    with another owner or group. `hidden` files are not copied, as the copies could be read.
    """
    mounts = _read_mounts().keys() - {"/"}
    joined = [path for path in places if not _is_within(path, *mounts)] if joins and _is_root_of_host() else []
    parts = [("/", tuple(joined))] if joined else []
    parts += [(path, (path,)) for path in places if path not in joined]
    found = list[Layer]()
    of_site, elsewhere = [_MOST_FILES, _MOST_BYTES], [_MOST_FILES // 10, _MOST_BYTES // 10]
    for number, (place, shown) in enumerate(parts):
        one = Layer(place=place, base=f"{scratch}/{number}", shown=shown)
        Path(one.upper).mkdir()
        if not joins:
            Path(one.work).mkdir()
        if os.geteuid() != 0:
            for way in ways:
                if _is_within(way, place):
                    _make_way(one, way, hidden, of_site)
            for way in _writable_in(place):
                if way not in ways:
                    _make_way(one, way, hidden, elsewhere)
        _copy_mode(place, one.upper)  # last, because this sets its change time
        found.append(replace(one, made=os.stat(one.upper).st_ctime_ns))
    return tuple(found)


def make_skeletons(
    scratch: str, places: Iterable[str], layers: Iterable[Layer], hidden: Collection[str] = ()
) -> tuple[Skeleton, ...]:
    """Make skeletons of those `places` that have something mounted below, the outermost first. Raises OSError.

    A directory that cannot be listed, or has too many entries, gets none and stays read-only.
    """
    mounts, has_layer = _read_mounts(), {path for layer in layers for path in layer.shown}
    above = _above(mounts)
    found, room = list[Skeleton](), [_MOST_FILES, _MOST_BYTES]
    left, number = sorted(above.intersection(places) - _EVERYBODYS), 0
    while left and len(found) < _MOST_SKELETONS:
        place = left.pop(0)
        entries = _list(place)
        inside = {listed.path for listed in entries if listed.is_dir(follow_symlinks=False)}
        left = sorted({*left, *(inside & above - mounts.keys())})  # a place after the one that it lies in
        if not entries:
            continue
        number += 1
        directory = Path(scratch, f"in place of {number}")
        directory.mkdir()
        fixed = list[str]()
        for entry in entries:
            # An entry with a skeleton or a layer is mounted over this later, and is read-only until then.
            if not _stand_in(entry, directory / entry.name, hidden, room) and entry.path not in has_layer:
                fixed.append(entry.path)
        _copy_mode(place, str(directory))  # last: root of a container may not write in what belongs to others
        if len(fixed) <= _MOST_FIXED:
            made = directory.stat().st_ctime_ns
            found.append(Skeleton(place=place, directory=str(directory), fixed=tuple(fixed), made=made))
    return tuple(found)


def _list(place: str) -> list[os.DirEntry[str]]:
    with contextlib.suppress(OSError), os.scandir(place) as entries:
        return sorted(entries, key=lambda entry: entry.name)
    return []


def _stand_in(entry: os.DirEntry[str], target: Path, hidden: Collection[str], room: list[int]) -> bool:
    """Make the substitute for an entry of a directory; return whether the substitute is enough.

    `room` holds the number of files and bytes that may still be copied, and is reduced. Raises OSError if the disk is
    full.
    """
    try:
        if entry.is_symlink():
            target.symlink_to(os.readlink(entry.path))
            return True
        is_directory, is_file, size = entry.is_dir(), entry.is_file(), entry.stat().st_size
    except FileNotFoundError:  # it has just gone
        return True
    if is_directory:
        target.mkdir()
        return False
    if is_file and entry.path not in hidden and room[0] > 0 and size <= room[1]:
        room[:] = room[0] - 1, room[1] - size
        _copy_file(entry.path, str(target))
    if target.exists():
        return True
    target.touch()
    return entry.path in hidden


def _writable_in(top: str) -> Iterator[str]:
    """Yield the directories where this user may write, such as one for logs in `/var/log`; none inside another."""
    left = [(top, 0)]
    for _ in range(_MOST):
        if not left:
            return
        place, depth = left.pop(0)
        if os.access(place, os.W_OK) and place != top:
            yield place
        elif depth < _DEEP:
            with contextlib.suppress(OSError), os.scandir(place) as entries:
                found = [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
                left += [(path, depth + 1) for path in sorted(found)]


def _make_way(layer: Layer, way: str, hidden: Collection[str], room: list[int]) -> None:
    """Make, in a layer, the directories that lead to `way`, and the entries below it that have another group.

    Virtual environments are skipped, as no tests write there, and so are `hidden` files. `room` holds the number of
    files and bytes that may still be copied, and is reduced. Raises OSError.
    """
    parts = [part for part in os.path.relpath(way, layer.place).split("/") if part != "."]
    below = ""
    for part in parts:
        below += f"/{part}"
        _make_directory(layer, below)
    left, has_others = [(below, 0)], False
    for _ in range(_MOST):
        if not left:
            return
        place, depth = left.pop(0)
        for name, status in _entries(layer.place, place, hidden):
            is_directory = stat.S_ISDIR(status.st_mode)
            is_other = not _is_own(status) and os.access(f"{layer.place}{name}", os.W_OK)
            has_others = has_others or is_other
            if is_directory and os.path.basename(name) not in _PASSED_OVER and (depth < _SHALLOW or has_others):
                left.append((name, depth + 1))
            if is_other and is_directory:
                _make_parents(layer, name)
            elif is_other and stat.S_ISREG(status.st_mode) and room[0] > 0 and status.st_size <= room[1]:
                room[:] = room[0] - 1, room[1] - status.st_size
                if not os.path.lexists(f"{layer.upper}{place}"):
                    _make_parents(layer, place)
                _copy_file(f"{layer.place}{name}", f"{layer.upper}{name}")


def _entries(base: str, place: str, hidden: Collection[str]) -> Iterator[tuple[str, os.stat_result]]:
    """Yield the path of each entry of a directory, relative to `base`, and its status; nothing for a venv."""
    with contextlib.suppress(OSError), os.scandir(f"{base}{place}") as entries:
        found = list(entries)
        for one in found if not any(mount.name == _OF_VENV for mount in found) else ():
            with contextlib.suppress(FileNotFoundError):  # it has just gone
                if one.path not in hidden:
                    yield f"{place}/{one.name}", one.stat(follow_symlinks=False)


def _is_root_of_host() -> bool:
    """True if this is root outside a user namespace; most containers have one (user_namespaces(7))."""
    if os.geteuid() != 0:
        return False
    with contextlib.suppress(OSError), open("/proc/self/uid_map", encoding="ascii") as file:
        return file.read().split() == ["0", "0", "4294967295"]
    return True  # a kernel without user namespaces


def _make_parents(layer: Layer, name: str) -> None:
    for at, letter in enumerate(f"{name}/"):
        if letter == "/" and at:
            _make_directory(layer, name[:at])


def _make_directory(layer: Layer, name: str) -> None:
    with contextlib.suppress(FileExistsError):
        Path(f"{layer.upper}{name}").mkdir()
        _copy_mode(f"{layer.place}{name}", f"{layer.upper}{name}")


def _copy_file(source: str, target: str) -> None:
    import shutil  # few hosts need it here

    try:
        shutil.copy2(source, target)
    except OSError:  # unreadable, or no space: half a copy is worse than none
        Path(target).unlink(missing_ok=True)


def _copy_mode(source: str, target: str) -> None:
    with contextlib.suppress(OSError):
        status = os.stat(source)
        if os.geteuid() == 0:
            os.chown(target, status.st_uid, status.st_gid)
        os.chmod(target, stat.S_IMODE(status.st_mode) & 0o1777 | stat.S_IRWXU)


def _is_own(status: os.stat_result) -> bool:
    return status.st_uid == os.geteuid() and status.st_gid == os.getegid()


def mounting(layers: Sequence[Layer], *, reports: bool = False) -> Callable[[], None]:
    """Return a function for the child that becomes the sandbox: it mounts these layers in a private mount namespace.

    With `reports`, it prints the number of each layer that it mounted, and ignores failures. Otherwise, a place that
    can no longer have a layer, because something has just been mounted there, is mounted read-only; one that no longer
    exists gets nothing. If that fails, too, the child prints the error and ends: it could write where it must not.
    """

    def mount() -> None:
        report = ""
        try:
            _have_own_mounts()
            for number, one in enumerate(layers):
                try:
                    _mount(one)
                    report += f"layer {number}\n"
                except OSError:
                    if not reports and not _skip_vanished(one):
                        _show_read_only(one)
        except OSError as error:
            if not reports:
                os.write(2, f"The sandbox cannot be made: {error}\n".encode())
                os._exit(1)
        if reports:
            os.write(1, report.encode())

    return mount


def _have_own_mounts() -> None:
    user, group = os.geteuid(), os.getegid()
    check_result(_libc.unshare(_NEW_MOUNTS if user == 0 else _NEW_MOUNTS | _NEW_USER))
    if user != 0:
        for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
            file = os.open(f"/proc/self/{name}", os.O_WRONLY)
            os.write(file, text.encode())
            os.close(file)
    check_result(_libc.mount(b"none", b"/", None, _REC_PRIVATE, None))


def _mount(layer: Layer) -> None:
    place, name = os.path.split(layer.base)
    work = f"{name}.work-{os.getpid()}"  # new for each mount, as overlayfs marks the work directory of a volatile mount
    # `volatile` saves flushing the discarded writes to disk at the unmount (from Linux 5.10).
    options = f"volatile,lowerdir={_escape(layer.place)},upperdir={name}.upper,workdir={work}"
    # Directories of the place cannot be renamed (EXDEV). Otherwise one command could rename the directory of a hidden
    # file, and the next command could read the file under its new name.
    options += ",redirect_dir=nofollow" if _is_root_of_host() else ",userxattr"
    with contextlib.chdir(place):  # short names, because bubblewrap reads the options of all mounts for each mount
        Path(work).mkdir()
        check_result(_libc.mount(b"overlay", os.fsencode(layer.upper), b"overlay", 0, os.fsencode(options)))


def _skip_vanished(layer: Layer) -> bool:
    """True for a place that no longer exists. Its layer is renamed: bubblewrap shows no part that it does not find.

    If the place exists again for the next command, that has no layer for it, and does not start.
    """
    if os.path.lexists(layer.place):
        return False
    with contextlib.suppress(FileNotFoundError):  # an earlier command did it
        Path(layer.upper).rename(f"{layer.base}.gone")
    return True


def _show_read_only(layer: Layer) -> None:
    """Mount a place read-only. In a user namespace, the flags of the mount outside must be given again (mount(2))."""
    given = os.statvfs(layer.place).f_flag
    flags = given & _SAME_FLAGS | (_RELATIVE_TIMES if given & os.ST_RELATIME else 0)
    place, target = os.fsencode(layer.place), os.fsencode(layer.upper)
    check_result(_libc.mount(place, target, None, _BIND, None))
    check_result(_libc.mount(None, target, None, _BIND | _REMOUNT | os.ST_RDONLY | flags, None))


def _escape(path: str) -> str:
    """Return a path, escaped for the options of overlayfs."""
    return re.sub(r"([\\,:])", r"\\\1", path)


# Finding the writes


def written_next_to(skeletons: Iterable[Skeleton]) -> Iterator[str]:
    """Yield the files that were written in skeletons, by their real paths."""
    for skeleton in skeletons:
        with contextlib.suppress(OSError), os.scandir(skeleton.directory) as entries:
            for entry in entries:
                path = f"{skeleton.place}/{entry.name}"
                has_text = entry.is_file(follow_symlinks=False) and entry.stat().st_size
                if path not in skeleton.fixed and has_text and _is_written(entry.stat(), path, skeleton.made):
                    yield path


def written(layers: Iterable[Layer], most: int = 1_000) -> Iterator[str]:
    """Yield at most `most` files that were written or deleted through layers, by their real paths.

    Directories are skipped, because overlayfs copies those that lead to a file. So are files made with the layer.
    """
    for layer in layers:
        left = [""]
        while left and most > 0:
            place = left.pop()
            with contextlib.suppress(OSError), os.scandir(f"{layer.upper}{place}") as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        left.append(f"{place}/{entry.name}")
                    elif most > 0:
                        path = f"{layer.place.rstrip('/')}{place}/{entry.name}"
                        if _is_written(entry.stat(follow_symlinks=False), path, layer.made):
                            most -= 1
                            yield path


def _is_written(status: os.stat_result, path: str, made: int) -> bool:
    """True if a file of a layer or skeleton was written, deleted or created since that was `made`.

    `path` is that of the real file. overlayfs copies a file, with its time, if a program only opens it to write, or
    changes its mode. The time of the real file does not count: a person, or the live site, may write that meanwhile.
    """
    if status.st_ctime_ns <= made:
        return False
    return status.st_mtime_ns > made or not stat.S_ISREG(status.st_mode) or not os.path.lexists(path)
