"""Copies unchanged packages from the live release, and links equal files of both.

A package is taken if it was installed from the same wheel as it would be now, and if each of its files has the size,
mtime, permissions and hash of the seal. While the code of a candidate may still run, its files are copies, as code in
the sandbox may write to its own venv, and a hard link would let it change the live release. The copies are read-only,
so that tests find what fails in a live release. Only right before the seal are they replaced by hard links.

CPython replaces the path in byte code by that of the source when it imports a module, so byte code can be taken, too.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import logging
import os
import stat
from binascii import b2a_base64
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from releaser.candidate.build_limits import packages_built_from_source
from releaser.core.reuse import NOTHING, Reuse, Taken
from releaser.locks.installed import FromWheel, list_wheels
from releaser.locks.lock import InvalidLockError, LockFile
from releaser.locks.origins import OriginFacts
from releaser.releases.acceptance import hash_files
from releaser.releases.contents import (
    hash_of,
    is_byte_code,
    is_checkable,
    list_site_packages,
    look_at,
    read_each_record,
    read_records,
)
from releaser.releases.integrity import Defect, name_and_version, read_sealed
from releaser.releases.venv import VenvFacts, executable_of, relocate_scripts
from releaser.site.conventions import default_groups
from releaser.site.disk import FICLONE, can_clone
from releaser.site.sharing_settings import SharingSettings
from releaser.system.files import UnreadableStateError, decode_state, only_files, read_text, write_state
from releaser.system.frozen import Frozen, Mutable, field

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from releaser.releases.integrity import Sealed
    from releaser.releases.release import Release
    from releaser.site.site import Site, SiteFacts

    Row = tuple[str, str, str]


logger = logging.getLogger(__name__)

RECORD = "reuse.json"  # in a release
_CHUNK = 1 << 20  # bytes
_WRITE = 0o222
#: Why one file cannot be linked or cloned: too many links, another owner, no such call, and the like. Its copy stays.
_NO_LINK = (
    errno.EMLINK, errno.EXDEV, errno.EPERM, errno.EACCES, errno.ENOENT, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL,
)  # fmt: skip
_TEMPORARY = ".releaser-shared"
_HEADER = 16  # bytes: magic number, flags, and mtime and size of the source (PEP 552)


class Reusable(Frozen):
    """The facts about a release that a later candidate needs to take packages from it."""

    #: The packages that uv's settings let it build, though they have wheels.
    built: frozenset[str] = frozenset()
    #: The hashes of byte code, by path.
    byte_code: Mapping[str, str] = field(default_factory=dict)


class Package(Frozen):
    """An installed package of the live release."""

    info: str
    #: The state of each of its files at the seal, by path.
    files: Mapping[str, str]


class Installed(Frozen):
    """The files of a release."""

    sealed: Sealed
    #: The entries of every RECORD: the .dist-info, the file, and the hash.
    rows: Sequence[Row]


class FromLive(Reuse):
    """Takes packages from the live release, as the setting `share_files` says."""

    def take(self, site: Site, facts: SiteFacts, live: Release, venv: Path) -> Taken:
        if not SharingSettings.of(site).takes or not _has_same_python(facts, live):
            return NOTHING
        reusable, sealed = read_reusable(live.directory), read_sealed(live)
        if reusable is None or not sealed.files:
            return NOTHING
        rows = [*read_each_record(str(live.venv))]
        packages = list(find_packages(site, facts, live, reusable, Installed(sealed=sealed, rows=rows)))
        if not packages:
            return NOTHING
        _make_venv(site, facts, venv)
        taking = Taking(
            live=live, venv=venv, sealed=sealed, byte_code=reusable.byte_code, clones=can_clone(venv),
            recorded=_hashes(rows),
        )  # fmt: skip
        with _pool() as pool:  # most of the time passes in the kernel
            count = sum(pool.map(taking.take, packages))
        logger.info("%d of %d packages come from %s", count, len(packages), live.id)
        return Taken(looks=taking.looks, byte_code=taking.hashes, compiled=frozenset(taking.compiled))

    def protect(self, site: Site, venv: Path) -> None:
        if _links(site):
            protect(venv, list_sharable([*read_each_record(str(venv))]))

    def share(self, site: Site, live: Release | None, directory: Path, taken: Taken) -> None:
        if not SharingSettings.of(site).takes:
            return
        venv = directory / "venv"
        rows, known, links = [*read_each_record(str(venv))], dict(taken.byte_code), _links(site)
        if live is not None and live.manifest.origin == "built":
            reusable = read_reusable(live.directory) or Reusable()
            if links or can_clone(venv):
                sharing = Sharing(live=live, venv=venv, rows=rows, taken=taken, reusable=reusable, links=links)
                known |= sharing.share()
        lock = LockFile.read(directory / "uv.lock")
        built = frozenset(packages_built_from_source(site, lock))
        byte_code = dict(hash_byte_code(str(venv), rows, known))
        if links:
            protect(venv, [*list_sharable(rows), *byte_code])
        write_state(directory / RECORD, Reusable(built=built, byte_code=byte_code))


def _links(site: Site) -> bool:
    """True if equal files of the releases of a site are hard links, and so read-only."""
    return SharingSettings.of(site).links(user=os.geteuid(), group_writable=site.settings.group_writable)


def _pool() -> ThreadPoolExecutor:
    """Return threads that work on files."""
    return ThreadPoolExecutor(min(4, os.cpu_count() or 1))


def read_reusable(directory: Path) -> Reusable | None:
    """Return the facts that the seal of a release recorded; None if it recorded none, or they are unreadable."""
    try:
        return decode_state(directory / RECORD, Reusable)  # not cached: it is large
    except (OSError, UnreadableStateError):
        return None


def _has_same_python(facts: SiteFacts, live: Release) -> bool:
    """True if a candidate runs on the interpreter of a release that releaser built, and this is unchanged."""
    manifest = live.manifest
    sealed = VenvFacts.of(manifest).interpreter
    return (
        sealed is not None
        and (manifest.origin, manifest.tests, manifest.group) == ("built", "passed", facts.group)
        and sealed.implementation == "cpython"
        and facts.choice.version == sealed.version
        and executable_of(facts.python) == sealed.executable
        and look_at(sealed.seen) == sealed.seen
    )


def find_packages(
    site: Site, facts: SiteFacts, live: Release, reusable: Reusable, installed: Installed
) -> Iterator[Package]:
    """Yield the packages of a release that a candidate would install from the same wheel."""
    root, python = site.project.root, live.manifest.python
    try:
        lock = LockFile.read(site.project.lock)
    except InvalidLockError:
        return
    groups, known = default_groups(site), OriginFacts.of(live.manifest).files
    wanted = list_wheels(lock, python=python, group=facts.group, default_groups=groups)
    before = list_wheels(live.locked, python=python, group=facts.group, default_groups=groups)
    files = hash_files(lock, root, known)
    others = {key.partition(" ")[0] for key, one in files.items() if known.get(key, "").split()[:1] != one.split()[:1]}
    others |= {*reusable.built, *packages_built_from_source(site, lock)}
    infos: dict[str, list[str]] = {}
    for info in installed.sealed.files:
        if info:
            infos.setdefault(name_and_version(info)[0], []).append(info)
    owners = Counter(path for _, path, _ in installed.rows)
    listed: dict[str, list[str]] = {}
    for info, path, _ in installed.rows:
        listed.setdefault(info, []).append(path)
    for name, wheel in wanted.items():
        found = infos.get(name, [])
        if name in others or before.get(name) != wheel or len(found) != 1:
            continue
        paths = listed.get(found[0], [])
        is_whole = all(owners[path] == 1 and not is_byte_code(path) for path in paths)
        if is_whole and paths and _is_from(live.venv, found[0], wheel):
            yield Package(info=found[0], files=installed.sealed.files[found[0]])


def _hashes(rows: Iterable[Row]) -> dict[str, str]:
    """Return the hashes of files, by path."""
    return {path: hashed for _, path, hashed in rows}


def _is_from(venv: Path, info: str, wheel: FromWheel) -> bool:
    """True if a package was installed from one of these wheels, by its tags: a build has those of this machine."""
    from packaging.tags import parse_tag
    from packaging.utils import InvalidWheelFilename, parse_wheel_filename

    for place in list_site_packages(str(venv)):
        with contextlib.suppress(OSError, ValueError, InvalidWheelFilename):
            text = read_text(venv / place / info / "WHEEL")
            tags = {tag for line in text.splitlines() if line.startswith("Tag:") for tag in parse_tag(line[4:].strip())}
            return bool(tags) and any(tags <= parse_wheel_filename(name)[3] for name in wheel.wheels)
    return False


def _make_venv(site: Site, facts: SiteFacts, venv: Path) -> None:
    """Make an empty venv, as `uv sync` does. Raises ToolError."""
    named = site.pyproject.table("project").get("name")
    prompt = named if isinstance(named, str) else site.project.root.name
    site.uv.run(["venv", "--quiet", "--python", facts.python, "--prompt", prompt, venv], tree=site.project.root)


# Copies, for a candidate whose code will run


class _Doubt(Exception):  # noqa: N818 - it is no error: uv installs the package
    """A file is not as at the seal."""


class Taking(Mutable):
    """Takes packages from a release into a new venv."""

    live: Release
    venv: Path
    sealed: Sealed
    #: The hashes of files in the RECORDs of the release, and of byte code at its seal.
    recorded: Mapping[str, str]
    byte_code: Mapping[str, str]
    clones: bool
    looks: dict[str, tuple[int, ...]] = field(default_factory=dict)
    hashes: dict[str, str] = field(default_factory=dict)
    compiled: set[str] = field(default_factory=set)
    _directories: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        interpreter = VenvFacts.of(self.live.manifest).interpreter
        self.tag = cache_tag(interpreter.version) if interpreter is not None else ""

    def take(self, package: Package) -> bool:
        """Take a package; or nothing of it, and return False, if a file is not as at the seal."""
        made = list[str]()
        looks, hashes, compiled = dict[str, tuple[int, ...]](), dict[str, str](), set[str]()
        inside = f"{package.info}/"
        try:
            # Its metadata last: without it, uv installs the package.
            for path in sorted(package.files, key=lambda one: inside in one):
                looks[path] = self._copy(path, self._hash_of(path), made, seen=package.files[path])
                if path.endswith(".py") and (compiled_path := byte_code_of(path, self.tag)) in self.byte_code:
                    hashed = self.byte_code[compiled_path]
                    if found := self._copy_if_fit(compiled_path, hashed, made, source=looks[path]):
                        looks[compiled_path], hashes[compiled_path] = found, hashed
                        compiled.add(path)
            rewritten = [path for path in package.files if not _is_module_path(path)]
            if rewritten:
                self._relocate(package, rewritten)
                for path in [*rewritten, *(one for one in package.files if one.endswith(f"{inside}RECORD"))]:
                    looks.pop(path, None)
        except (_Doubt, OSError) as error:
            logger.info("uv installs %s again: %s", package.info, error)
            self._remove(package, made)
            return False
        self.looks.update(looks)
        self.hashes.update(hashes)
        self.compiled.update(compiled)
        return True

    def _copy_if_fit(
        self, path: str, hashed: str, made: list[str], *, source: tuple[int, ...]
    ) -> tuple[int, ...] | None:
        """Copy byte code, if it is as at the seal and fits its source; else leave none, so that it is compiled."""
        known = len(made)
        try:
            return self._copy(path, hashed, made, source=source)
        except (_Doubt, OSError):
            for created in made[known:]:
                os.unlink(f"{self.venv}/{created}")
            del made[known:]
            return None

    def _remove(self, package: Package, made: list[str]) -> None:
        """Remove the files of a package and their directories: uv takes an empty .dist-info for an installed package.

        Raises OSError.
        """
        for path in made:
            os.unlink(f"{self.venv}/{path}")
        for directory in dict.fromkeys(Path(path).parent for path in (*made, *package.files)):
            for place in (directory, *directory.parents[:-1]):
                with contextlib.suppress(OSError):  # it has files of other packages
                    (self.venv / place).rmdir()
                self._directories.discard(f"{self.venv}/{place}")

    def _hash_of(self, path: str) -> str:
        hashed = self.recorded.get(path, "")
        found = hashed if is_checkable(hashed) else self.sealed.hashes.get(path, "")
        if not is_checkable(found):
            message = f"{path} has no hash"
            raise _Doubt(message)
        return found

    def _copy(
        self, path: str, hashed: str, made: list[str], *, seen: str = "", source: tuple[int, ...] = ()
    ) -> tuple[int, ...]:
        """Copy a file, if it has a hash and looks as at the seal; byte code, if it fits its source.

        Return how it looks. After an error, the caller deletes `made`. Raises _Doubt and OSError.
        """
        old = os.open(f"{self.live.place}/venv/{path}", _READ)
        try:
            status = os.fstat(old)
            mode, target = status.st_mode, f"{self.venv}/{path}"
            if not stat.S_ISREG(mode) or (seen and seen != f"{status.st_size} {status.st_mtime_ns} {mode & 0o555:o}"):
                raise _Doubt(path)
            self._make_directory(os.path.dirname(target))
            new = os.open(target, _NEW, mode & 0o777 | stat.S_IWUSR)  # the umask does not matter: `contents.share`
            made.append(path)
            try:
                algorithm, _, expected = hashed.partition("=")
                found, left = hashlib.new(algorithm), status.st_size
                while left > 0 and (chunk := os.read(old, _CHUNK)):
                    if source and not _fits(chunk, source):
                        raise _Doubt(path)
                    source = ()
                    left -= len(chunk)
                    found.update(chunk)
                    if not self.clones:
                        _write(new, chunk)
                if left or b2a_base64(found.digest(), newline=False).translate(_URL_SAFE, b"=") != expected.encode():
                    raise _Doubt(path)
                if self.clones:
                    fcntl.ioctl(new, FICLONE, old)
                os.utime(new, ns=(status.st_atime_ns, status.st_mtime_ns))
            finally:
                os.close(new)
        finally:
            os.close(old)
        return _look(status)

    def _make_directory(self, directory: str) -> None:
        if directory not in self._directories:
            Path(directory).mkdir(parents=True, exist_ok=True)
            self._directories.add(directory)

    def _relocate(self, package: Package, scripts: list[str]) -> None:
        """Point the scripts of a package to the new venv. Raises _Doubt and OSError."""
        places = (f"{self.venv}/{place}/{package.info}" for place in list_site_packages(str(self.venv)))
        for place in filter(os.path.isdir, places):
            relocate_scripts(Path(place), self.live.venv, self.venv)
        for script in scripts:
            with open(f"{self.venv}/{script}", "rb", opener=only_files) as file:
                if self.live.id.encode() in file.read():
                    message = f"{script} names the live release"
                    raise _Doubt(message)


_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
_URL_SAFE = bytes.maketrans(b"+/", b"-_")


def _write(descriptor: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]


def _look(status: os.stat_result) -> tuple[int, ...]:
    return status.st_size, status.st_ino, status.st_mtime_ns, status.st_ctime_ns


def _fits(header: bytes, source: tuple[int, ...]) -> bool:
    """True if byte code is of the source with this look, as Python checks it by mtime and size."""
    size, _, mtime, _ = source
    fields = (0, mtime // 1_000_000_000, size)
    return header[4:_HEADER] == b"".join((number & 0xFFFFFFFF).to_bytes(4, "little") for number in fields)


def _is_module_path(path: str) -> bool:
    """True if a path lies in site-packages, where no file names the release."""
    return "/site-packages/" in path


def cache_tag(version: str) -> str:
    """Return the tag in the names of byte code of a version of CPython."""
    return f"cpython-{''.join(version.split('.')[:2])}"


def byte_code_of(path: str, tag: str) -> str:
    """Return the path of the byte code of a module."""
    directory, _, name = path.rpartition("/")
    return f"{directory}/__pycache__/{name.removesuffix('.py')}.{tag}.pyc"


# One file for both, once no code of the candidate runs any more


class Sharing(Mutable):
    """Replaces files of a venv by those of the live release with the same contents."""

    live: Release
    venv: Path
    #: The entries of every RECORD of the venv.
    rows: Sequence[Row]
    taken: Taken
    reusable: Reusable
    #: True for hard links, else for copies that share blocks.
    links: bool
    #: The hashes of byte code that came from the release.
    _found: dict[str, str] = field(default_factory=dict)

    def share(self) -> dict[str, str]:
        """Replace all equal files below site-packages; return the hashes of byte code that came from the release."""
        now = _hashes(self.rows)
        interpreter = VenvFacts.of(self.live.manifest).interpreter
        tag = cache_tag(interpreter.version) if interpreter is not None else ""
        paths, jobs = self._list_equal(now), os.cpu_count() or 1

        def place(number: int) -> None:
            for path in paths[number::jobs]:
                self._place_if_possible(path, now.get(path, ""), byte_code_of(path, tag))

        with _pool() as pool:
            for _ in pool.map(place, range(jobs)):
                pass
        return self._found

    def _place_if_possible(self, path: str, hashed: str, compiled: str) -> None:
        try:
            self._place_with_byte_code(path, hashed, compiled)
        except _Doubt as error:
            logger.debug("not shared: %s", error)
        except OSError as error:
            if error.errno not in _NO_LINK:
                raise

    def _list_equal(self, now: Mapping[str, str]) -> list[str]:
        """Return the files that both have, by the hashes `now`; without hard links, those that were not taken."""
        before, taken = read_records(str(self.live.venv)), self.taken.looks.keys()
        equal = {path for path, hashed in now.items() if is_checkable(hashed) and before.get(path) == hashed}
        return sorted((equal | taken if self.links else equal - taken) & {*list_sharable(self.rows)})

    def _place_with_byte_code(self, path: str, hashed: str, compiled: str) -> None:
        """Replace a file, and its byte code if it has any: byte code has the mtime of its source."""
        has_code = path in self.taken.compiled or (path.endswith(".py") and os.path.exists(f"{self.venv}/{compiled}"))
        if not has_code:
            self._place(path, self._check(path, hashed))
        elif code_hash := self.reusable.byte_code.get(compiled, ""):
            source, code = self._check(path, hashed), self._check(compiled, code_hash)
            is_known = path in self.taken.compiled
            if is_known or _fits(_read_header(f"{self.live.place}/venv/{compiled}"), _look(source)):
                self._place(path, source)
                self._place(compiled, code)
                self._found[compiled] = code_hash

    def _check(self, path: str, hashed: str) -> os.stat_result:
        """Return the status of a file of the release, whose contents have the hash. Raises _Doubt and OSError."""
        file = f"{self.live.place}/venv/{path}"
        old, new = os.lstat(file), os.lstat(f"{self.venv}/{path}")
        is_same_kind = stat.S_ISREG(old.st_mode) and stat.S_ISREG(new.st_mode) and (old.st_gid, old.st_uid) == (
            new.st_gid, new.st_uid,
        )  # fmt: skip
        if not is_same_kind or (old.st_mode | _WRITE) != (new.st_mode | _WRITE):
            message = f"{path} has a different owner or different permissions"
            raise _Doubt(message)
        if self.links and old.st_nlink > 1 and old.st_mode & _WRITE:  # as `uv sync --link-mode hardlink` leaves it
            message = f"{path} has a name elsewhere, such as in uv's cache"
            raise _Doubt(message)
        # A copy has the size and mtime of the original, unless another package replaced it.
        is_taken = self.taken.looks.get(path) == _look(old) and _look(old)[::2] == _look(new)[::2]
        files = [file] if is_byte_code(path) else [file, f"{self.venv}/{path}"]  # it may be compiled otherwise
        if not is_taken and not (is_checkable(hashed) and all(hash_of(one) == hashed for one in files)):
            message = f"{path} is not as it was sealed"
            raise _Doubt(message)
        return old

    def _place(self, path: str, status: os.stat_result) -> None:
        """Put a file of the release, or a copy that shares its blocks, in the place of one of the venv."""
        old, new = f"{self.live.place}/venv/{path}", f"{self.venv}/{path}"
        temporary = os.path.join(os.path.dirname(new), f"{_TEMPORARY}.{status.st_ino}")
        try:
            if self.links:
                os.link(old, temporary, follow_symlinks=False)
                now = os.lstat(temporary)
            else:
                now = _clone(old, temporary, status, mode=os.lstat(new).st_mode)
            if _look(now)[:3] != _look(status)[:3]:
                message = f"{path} was replaced during the check"
                raise _Doubt(message)
            if self.links and status.st_mode & _WRITE:
                os.chmod(temporary, stat.S_IMODE(status.st_mode) & ~_WRITE)
            os.replace(temporary, new)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise


def list_sharable(rows: Sequence[Row]) -> list[str]:
    """Return the files that releases may share, without byte code: not local packages, to which releaser writes."""
    local = {info for info, path, _ in rows if path.endswith("/direct_url.json")}
    return [path for info, path, _ in rows if info not in local and _is_module_path(path) and not is_byte_code(path)]


def protect(venv: Path, paths: Iterable[str]) -> None:
    """Make files read-only that a later release may share; after the seal, nothing changes them. Raises OSError."""
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            status = os.lstat(f"{venv}/{path}")
            if stat.S_ISREG(status.st_mode) and status.st_mode & _WRITE:
                os.chmod(f"{venv}/{path}", stat.S_IMODE(status.st_mode) & ~_WRITE)


def _clone(old: str, new: str, status: os.stat_result, *, mode: int) -> os.stat_result:
    """Make a copy that shares blocks, with the group and times of `status`; return how the original looks."""
    with open(old, "rb", opener=only_files) as source, open(new, "xb") as target:
        fcntl.ioctl(target.fileno(), FICLONE, source.fileno())
        os.fchmod(target.fileno(), stat.S_IMODE(mode))  # the original may be read-only, as it was linked
        os.fchown(target.fileno(), -1, status.st_gid)
        os.utime(target.fileno(), ns=(status.st_atime_ns, status.st_mtime_ns))
        return os.fstat(source.fileno())


def _read_header(file: str) -> bytes:
    with open(file, "rb", opener=only_files) as found:
        return found.read(_HEADER)


def hash_byte_code(venv: str, rows: Iterable[Row], known: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the byte code of the packages of a venv, with hashes: those `known`, else of its contents."""
    tags: dict[str, str] = {}
    for _, path, _ in rows:
        place = path.partition("/site-packages/")[0]
        if not path.endswith(".py") or not place.startswith("lib/python"):
            continue
        tag = tags.setdefault(place, cache_tag(place.removeprefix("lib/python")))
        compiled = byte_code_of(path, tag)
        hashed = known.get(compiled)
        with contextlib.suppress(OSError):
            yield compiled, hashed or hash_of(f"{venv}/{compiled}")


def find_changed_byte_code(release: Release) -> Iterator[Defect]:
    """Yield byte code that releases share, and that a program changed in place; Python itself replaces the file."""
    reusable = read_reusable(release.directory)
    for path, hashed in (reusable or Reusable()).byte_code.items():
        with contextlib.suppress(OSError):
            file = f"{release.place}/venv/{path}"
            if os.lstat(file).st_nlink > 1 and hash_of(file) != hashed:
                message = "this byte code, which releases share, is not as it was sealed; delete it"
                yield Defect(kind="changed", path=path, message=message)


# When a venv stays without releaser


def make_independent(venv: Path) -> None:
    """Make the files of a venv writable copies, which no other venv shares. Raises OSError."""
    import shutil

    for top, _, names in os.walk(venv):
        for name in names:
            file = os.path.join(top, name)
            status = os.lstat(file)
            if not stat.S_ISREG(status.st_mode) or status.st_mode & stat.S_IWUSR:
                continue
            with contextlib.suppress(PermissionError):  # it belongs to another user, so no release shares it
                if status.st_nlink > 1:
                    shutil.copy2(file, f"{file}{_TEMPORARY}")
                    os.replace(f"{file}{_TEMPORARY}", file)
                os.chmod(file, stat.S_IMODE(status.st_mode) | stat.S_IWUSR)
