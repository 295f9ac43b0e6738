"""The file of a bundle: a plain zip with a manifest. Nothing of it is unpacked before all of it is verified."""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import io
import os
import platform
import shutil
import stat
import struct
import sysconfig
import tempfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Annotated, BinaryIO, Literal

import msgspec
from msgspec import Meta

from releaser.bundles.signature import sign, verify_signature
from releaser.errors import PreflightError, Problem
from releaser.system.files import name_temporary, sync_directory
from releaser.system.signals import check_signals
from releaser.system.text import format_bytes, join_few

MANIFEST, SIGNATURE, MAIN = "manifest.json", "manifest.json.sig", "__main__.py"
LOCK, PATCH, REQUIREMENTS, CODE = "uv.lock", "uv.lock.patch", "requirements.txt", "code.bundle"
WHEELS, TOOLS, BUILT = "wheels/", "tools/", "built/"
#: Bytes of the whole, also once it is unpacked, as a zip without extensions has them; and of its list and manifest.
LARGEST, LARGEST_TEXT = (4 << 30) - 1, 16 << 20
_LONGEST_NAME, _CHUNK = 500, 1 << 20
MAKE_FULL = "Make a full bundle, without `--base`, and install that."
_MODE = stat.S_IFREG | 0o644
_END, _HEADER = struct.Struct("<4s4H2LH"), 30  # the end of a zip; bytes before the name of a member
_UTF8 = 0x800  # the flag of a name that is not ASCII
_BROKEN = (zipfile.BadZipFile, zlib.error, RuntimeError, EOFError, ValueError, struct.error, OverflowError)

Digest = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
Commit = Annotated[str, Meta(pattern=r"^([0-9a-f]{40}|[0-9a-f]{64})\Z")]
#: Returns a file with this SHA-256 that the host has already; None without one. It is hashed again.
Find = Callable[[str], Path | None]


class Member(msgspec.Struct, frozen=True, omit_defaults=True):
    """A file of a release: its SHA-256, its size in bytes, and whether it is executable."""

    sha256: Digest
    size: Annotated[int, Meta(ge=0, le=LARGEST)]
    executable: bool = False


class BundledPackage(msgspec.Struct, frozen=True):
    """A package of a bundle; `source` is its index, repository with commit, URL or path, without passwords."""

    name: str
    version: str
    source: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """The facts about a bundle.

    `members` are all files that an installation needs, also those `omitted` ones that the base has; of a full bundle,
    `__main__.py` and `tools/` are members, too. `tags` are implementation, platform and C library: `cp312`,
    `linux_x86_64`, `glibc-2.36`. `base` is the SHA-256 of the manifest of the base. `packed` are wheels that were made
    from installed files, since the index has lost them. A delta whose commit is `base_commit` has no `code.bundle`.
    With `base_lock`, `uv.lock` is made from the lock that has this SHA-256, by `uv.lock.patch`.
    """

    format: Literal[1] = 1
    project: str
    #: The directory of the project in its repository.
    directory: str = "."
    release: str
    commit: Commit
    branch: str
    python: Annotated[str, Meta(pattern=r"^\d+\.\d+\.\d+\w*\Z")]
    tags: tuple[str, str, str]
    lock_sha256: Digest
    #: The group, extras and members of the release, as arguments of uv.
    selection: str = ""
    members: dict[str, Member]
    packages: tuple[BundledPackage, ...]
    base: Digest | None = None
    base_commit: Commit | None = None
    base_lock: Digest | None = None
    omitted: tuple[str, ...] = ()
    packed: tuple[str, ...] = ()
    override: tuple[str, ...] = ()


class BundleError(PreflightError):
    """A file is no bundle, or not one to trust; nothing of it was unpacked or run."""

    def __init__(self, path: Path, reason: str, advice: str = "Get it again from whoever made it.") -> None:
        super().__init__(Problem("bundle", f"`{path}` {reason}. Nothing of it was unpacked.", advice))


class Bundle(msgspec.Struct, frozen=True):
    """A verified bundle. `signer` is who signed it, as `bundle_signers` names them; empty with `--unsigned`."""

    path: Path
    manifest: Manifest
    sha256: str  # of its manifest.json
    signer: str = ""
    base: Bundle | None = None

    @property
    def headline(self) -> str:
        """The bundle, in a sentence."""
        kind = "a delta to" if self.manifest.base else "all of"
        size = format_bytes(self.path.stat().st_size)
        return f"`{self.path.name}` is whole, and has {kind} release {self.manifest.release}: {size}."

    def unpack(self, directory: Path, find: Find = lambda digest: None, *, only: Collection[str] | None = None) -> None:
        """Write all members, or those `only`, into a directory that exists; omitted ones from the base, or `find`.

        Each is hashed again as it is written. Raises BundleError for one that is nowhere, and OSError.
        """
        with _open_zip(self.path) as archive:
            for name, member in self.manifest.members.items():
                if only is not None and name not in only:
                    continue
                before = self.manifest.base_lock if name == LOCK else None
                target, mode = directory / name, 0o755 if member.executable else 0o644
                target.parent.mkdir(parents=True, exist_ok=True)
                descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
                with open(descriptor, "wb") as file, self._open(archive, name, before or member.sha256, find) as source:
                    made = self._patch(source.read(), archive.read(PATCH), member.size) if before else None
                    _compare(self.path, name, member, source if made is None else io.BytesIO(made), file)

    @contextlib.contextmanager
    def _open(self, archive: zipfile.ZipFile, name: str, digest: str, find: Find) -> Iterator[IO[bytes]]:
        """Open a member, or the file with this hash in the base or that `find` returns."""
        base = self.base
        if name not in self.manifest.omitted:
            with archive.open(name) as file:
                yield file
        elif base and name not in base.manifest.omitted and base.manifest.members[name].sha256 == digest:
            with _open_zip(base.path) as there, there.open(name) as file:
                yield file
        elif path := find(digest):
            with path.open("rb") as file:
                yield file
        else:
            advice = f"Name the bundle that it was made from: `--base BUNDLE`. Or: {MAKE_FULL}"
            raise BundleError(self.path, f"is a delta, and `{name}` of its base is not here", advice)

    def _patch(self, before: bytes, patch: bytes, most: int) -> bytes:
        try:
            return apply_patch(before, patch, most)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise BundleError(self.path, f"has a `{PATCH}` that cannot be read: {error}") from error


def open_bundle(path: Path, signers: Path | None, base: Path | None = None) -> Bundle:
    """Return a bundle once all of it is verified: signature, manifest, names, sizes and hashes, in this order.

    `signers` is a file of allowed signers as ssh-keygen(1) has it; None passes the signature over. `base` is the bundle
    that a delta was made from, verified in the same way. Raises BundleError, and PreflightError if others could write
    `signers`.
    """
    path = Path(os.path.abspath(path))
    with _open_zip(path) as archive:
        data, signature = _read(archive, MANIFEST), _read(archive, SIGNATURE)
        if signers is not None and not signature:
            raise BundleError(path, "is not signed", "If you know where it comes from, add `--unsigned`.")
        signer = verify_signature(data, signature, signers) if signers else ""
        if signers is not None and not signer:
            advice = f"Get it from somebody who may sign: they stand in `{signers}`."
            raise BundleError(path, "has no valid signature of somebody who may sign bundles", advice)
        manifest = _decode(path, data)
        _check_manifest(path, manifest)
        expected = [*_order({*manifest.members} - {*manifest.omitted}), MANIFEST, *([SIGNATURE] if signature else [])]
        names = sorted(entry.orig_filename for entry in archive.infolist())
        if names != sorted(expected):
            odd = {*names} ^ {*expected} or {name for name in names if names.count(name) > 1}
            raise BundleError(path, f"has other members than its manifest: {join_few(sorted(odd))}")
        for name in {*manifest.members} - {*manifest.omitted}:
            with archive.open(name) as source:
                _compare(path, name, manifest.members[name], source)
    bundle = Bundle(path, manifest, hashlib.sha256(data).hexdigest(), signer)
    return bundle if base is None else _join_base(bundle, open_bundle(base, signers))


def _join_base(bundle: Bundle, base: Bundle) -> Bundle:
    """Return a delta with its base. Raises BundleError if it was made from another one, or lies about it."""
    manifest, there = bundle.manifest, base.manifest.members
    if manifest.base != base.sha256:
        reason = f"was made from another bundle than `{base.path}`" if manifest.base else "is no delta"
        raise BundleError(bundle.path, reason, "Name the bundle that it was made from, or none.")
    wrong = [name for name in manifest.omitted if there.get(name) != manifest.members[name] and name != LOCK]
    if wrong or base.manifest.lock_sha256 != (manifest.base_lock or base.manifest.lock_sha256):
        raise BundleError(bundle.path, f"says that its base has {join_few(wrong or [LOCK])}, which it has not")
    return msgspec.structs.replace(bundle, base=base)


def _decode(path: Path, data: bytes) -> Manifest:
    try:
        return msgspec.json.decode(data, type=Manifest)
    except (msgspec.MsgspecError, RecursionError) as error:
        advice = "If a newer releaser has made it, install that here: `pipx upgrade venv-releaser`."
        raise BundleError(path, f"has a `{MANIFEST}` that this releaser cannot read: {error}", advice) from error


@contextlib.contextmanager
def _open_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open a bundle whose members are plain files that follow each other without a gap. Raises BundleError."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            _check_end(file)
            with zipfile.ZipFile(file) as archive:
                _check_layout(archive)
                yield archive
    except _BROKEN as error:
        raise BundleError(path, f"is no bundle, or a damaged one: {str(error).rstrip('.')}") from error


def _check_end(file: BinaryIO) -> None:
    """Raise ValueError unless a file ends with the list of a zip, which is not huge, and nothing after it."""
    status = os.fstat(file.fileno())
    if not stat.S_ISREG(status.st_mode) or not _END.size <= status.st_size <= LARGEST:
        raise ValueError("it is no regular file, too short or too large")
    file.seek(-_END.size, os.SEEK_END)
    mark, disk, first, *_, size, start, comment = _END.unpack(file.read())
    if mark != b"PK\5\6" or disk or first or comment or start + size + _END.size != status.st_size:
        raise ValueError("it does not end as a bundle does")
    if size > LARGEST_TEXT:
        raise ValueError("its list of members is too large")


def _check_layout(archive: zipfile.ZipFile) -> None:
    """Raise ValueError if something is between the members, or beside their content. Their names are not looked at."""
    at = 0
    for entry in archive.infolist():
        facts = (entry.external_attr >> 16, entry.flag_bits & ~_UTF8, entry.extra, entry.comment, entry.header_offset)
        if facts != (_MODE, 0, b"", b"", at) or entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"`{entry.filename}` is no plain file of a bundle")
        at += _HEADER + len(entry.orig_filename.encode()) + entry.compress_size
    if at != archive.start_dir:
        raise ValueError("something lies behind its members")


def _read(archive: zipfile.ZipFile, name: str) -> bytes:
    """Return the bytes of a small member; empty without it. Raises ValueError for a large one."""
    if name not in archive.NameToInfo:
        return b""
    with archive.open(name) as file:
        data = file.read(LARGEST_TEXT + 1)
    if len(data) > LARGEST_TEXT:
        raise ValueError(f"its `{name}` is larger than {format_bytes(LARGEST_TEXT)}")
    return data


def _check_manifest(path: Path, manifest: Manifest) -> None:
    """Raise BundleError for a manifest with odd names, without what is needed, or of something huge."""
    members, omitted = manifest.members, {*manifest.omitted}
    needed = {LOCK, REQUIREMENTS, *([] if manifest.commit == manifest.base_commit else [CODE])}
    if odd := [
        name for name in members if not _is_plain(name) or not members.keys().isdisjoint(map(str, Path(name).parents))
    ]:
        raise BundleError(path, f"names a member {odd[0][:_LONGEST_NAME]!r}")
    if missing := (needed | omitted) - members.keys():
        raise BundleError(path, f"has a manifest without {join_few(sorted(missing))}")
    if (manifest.base is None) != (manifest.base_commit is None) or (omitted and manifest.base is None):
        raise BundleError(path, "leaves members out, and names no base")
    has_patch = PATCH in {*members} - omitted
    if (manifest.base_lock is not None) != has_patch or (has_patch and LOCK not in omitted) or PATCH in omitted:
        raise BundleError(path, f"has a `{PATCH}` without its base, or none where it needs one")
    if members[LOCK].sha256 != manifest.lock_sha256:
        raise BundleError(path, f"has another {LOCK} than its manifest says")
    if (total := sum(member.size for member in members.values())) > LARGEST:
        raise BundleError(path, f"would have {format_bytes(total)} once it is unpacked")


def _is_plain(name: str) -> bool:
    """Return True for a relative path without odd parts or characters, at a place where a bundle has files."""
    top, *rest = name.split("/")
    is_odd = any(unicodedata.category(character) in ("Cc", "Cs") for character in name) or len(name) > _LONGEST_NAME
    if is_odd or not {"", ".", ".."}.isdisjoint(rest):
        return False
    if f"{top}/" in (WHEELS, TOOLS):
        return len(rest) == 1 and name.endswith(".whl")
    return name in (MAIN, LOCK, PATCH, REQUIREMENTS, CODE) or (f"{top}/" == BUILT and bool(rest))


def _compare(path: Path, name: str, member: Member, source: IO[bytes], target: BinaryIO | None = None) -> None:
    """Copy a member to a target, if there is one. Raises BundleError unless size and hash are those of the manifest."""
    digest, size = hashlib.sha256(), 0
    while size <= member.size and (chunk := source.read(_CHUNK)):
        check_signals()
        digest.update(chunk)
        size += len(chunk)
        if target is not None:
            target.write(chunk)
    if (size, digest.hexdigest()) != (member.size, member.sha256):
        raise BundleError(path, f"has another `{name}` than its manifest says")


def hash_member(path: Path) -> Member:
    """Return the facts about a file that becomes a member. Raises OSError."""
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Member(digest, status.st_size, bool(status.st_mode & stat.S_IXUSR))


def write_bundle(path: Path, manifest: Manifest, members: Mapping[str, Path], key: Path | None) -> Bundle:
    """Write a bundle by a rename, and return it: the same bytes for the same members; signed with a key, if any.

    Raises PreflightError and OSError.
    """
    data = msgspec.json.format(msgspec.json.encode(manifest), indent=1)
    temporary = name_temporary(path)
    temporary.unlink(missing_ok=True)
    try:
        with temporary.open("xb") as file, zipfile.ZipFile(file, "w", allowZip64=False) as archive:
            for name in _order(members):
                _add(archive, name, members[name].open("rb"))
            _add(archive, MANIFEST, io.BytesIO(data))
            if key is not None:
                with tempfile.TemporaryFile() as source:
                    source.write(data)
                    _add(archive, SIGNATURE, io.BytesIO(sign(source, key)))
            archive.close()
            file.flush()
            os.fsync(file.fileno())
        os.rename(temporary, path)
    except zipfile.LargeZipFile as error:
        raise BundleError(path, f"cannot be made: {error}", "A bundle has at most 4 GiB.") from error
    finally:
        temporary.unlink(missing_ok=True)
    sync_directory(path.parent)
    return Bundle(path, manifest, hashlib.sha256(data).hexdigest())


def _order(names: Iterable[str]) -> list[str]:
    return sorted(names, key=lambda name: (name != MAIN, name))


def _add(archive: zipfile.ZipFile, name: str, source: BinaryIO) -> None:
    entry = zipfile.ZipInfo(name)  # of 1980
    entry.external_attr, entry.create_system = _MODE << 16, 3
    entry.compress_type = zipfile.ZIP_STORED if name.endswith(".whl") else zipfile.ZIP_DEFLATED
    with source, archive.open(entry, "w") as target:
        shutil.copyfileobj(source, target, _CHUNK)


def make_patch(before: str, after: str) -> bytes:
    """Return what makes a text from another one: ranges of its lines, and new lines, as JSON."""
    old, new = before.splitlines(keepends=True), after.splitlines(keepends=True)
    parts: list[tuple[int, int] | str] = []
    for kind, first, last, start, end in difflib.SequenceMatcher(None, old, new).get_opcodes():
        parts += [(first, last)] if kind == "equal" else ["".join(new[start:end])]
    return msgspec.json.encode(parts)


def apply_patch(before: bytes, patch: bytes, most: int) -> bytes:
    """Return the text that a patch makes; no more than `most` bytes and a part of it."""
    old, new = before.decode().splitlines(keepends=True), b""
    for part in msgspec.json.decode(patch, type=list[tuple[int, int] | str]):
        new += ("".join(old[slice(*part)]) if isinstance(part, tuple) else part).encode()
        if len(new) > most:
            break
    return new


def is_bundle(path: Path) -> bool:
    """Return True for a file that looks like a bundle, so that another one may replace it. Raises OSError."""
    try:
        with _open_zip(path) as archive:
            return MANIFEST in archive.NameToInfo
    except BundleError:
        return False


def name_platform(python: str) -> tuple[str, str, str]:
    """Return the tags of this host for a version of CPython such as `3.12.4`."""
    series = "".join(python.split(".")[:2])
    place = sysconfig.get_platform().replace("-", "_").replace(".", "_")
    return f"cp{series}", place, "-".join(platform.libc_ver()).strip("-") or "musl"
