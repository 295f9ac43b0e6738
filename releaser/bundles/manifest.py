"""The manifest of a bundle: its release, and the size and hash of each file; and the answers of commands about it."""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, NoReturn

from releaser.errors import refuse
from releaser.locks.changes import Change
from releaser.system.expression import expression
from releaser.system.frozen import Frozen
from releaser.system.later import Later

if TYPE_CHECKING:
    import hashlib
    from collections.abc import Iterator
else:
    hashlib = Later("hashlib")

FORMAT = 1
MANIFEST, SIGNATURE, INSTALLER = "manifest.json", "manifest.json.sig", "__main__.py"
LOCK, PYPROJECT, REQUIREMENTS, CODE = "uv.lock", "pyproject.toml", "requirements.txt", "code.bundle"
PYTHON_VERSION = ".python-version"
WHEELS, TOOLS, INCLUDED = "wheels/", "tools/", "include/"
_SINGLE = (LOCK, PYPROJECT, PYTHON_VERSION, REQUIREMENTS, CODE, INSTALLER)
LARGEST_MANIFEST = 16 << 20  # bytes
_MOST_FILES = 20_000
_PART = r"[A-Za-z0-9_+@=,!~ -][A-Za-z0-9._+@=,!~ -]*|\.[A-Za-z0-9_+@=,!~-][A-Za-z0-9._+@=,!~ -]*"
_PATH = rf"(?a)(?:{_PART})(?:/(?:{_PART}))*"
SHA256 = expression(r"[0-9a-f]{64}", re.ASCII)
_COMMIT = expression(r"[0-9a-f]{40}|[0-9a-f]{64}", re.ASCII)
RELEASE_ID = expression(r"\d{8}T\d{6}Z(-\d+)?", re.ASCII)
_PYTHON = r"(?a)3\.\d{1,3}\.\d{1,3}((a|b|rc)\d{1,3})?\+?"


class BundledFile(Frozen):
    """A file of a bundle; a file that is `in_base` is not in the delta, but in the bundle on which the delta builds."""

    path: str
    sha256: str
    size: int
    in_base: bool = False


class Base(Frozen):
    """The bundle on which a delta builds."""

    release: str
    #: The digest of its manifest.
    sha256: str
    commit: str | None


class Target(Frozen):
    """A target of the wheels in a bundle: a Python such as `3.12`, and a platform as in names of wheels."""

    python: str
    platform: str

    def __str__(self) -> str:
        return f"{self.python}-{self.platform}"

    @property
    def abi(self) -> str:
        """The tag of CPython's own ABI."""
        return f"cp{self.python.replace('.', '')}"


class BundleManifest(Frozen):
    """The content of `manifest.json`, which is the signed text."""

    format: int
    project: str
    release: str
    #: When the release was begun, in milliseconds since 1970: a later bundle of a project has a larger one.
    sequence: int
    #: As ISO 8601 in UTC; `expires` is None if the bundle never expires.
    created: str
    expires: str | None
    #: The tested commit, and its branch.
    commit: str
    branch: str
    lock_sha256: str
    group: str | None
    #: The version of the Python that tested it, and the platform that built it.
    python: str
    abi: str
    platform: str
    libc: str
    targets: tuple[Target, ...]
    files: tuple[BundledFile, ...]
    base: Base | None = None
    #: The packages of `update --override` that the release tries; such a bundle is only for test hosts.
    overrides: tuple[str, ...] = ()

    @property
    def data(self) -> bytes:
        """The text of the manifest, the same for the same facts."""
        from dataclasses import asdict  # slow to import

        found = asdict(self)
        if not self.overrides:  # then earlier versions of releaser can read it
            del found["overrides"]
        return json.dumps(found, indent=1).encode("ascii") + b"\n"

    @property
    def sha256(self) -> str:
        """The digest of the text."""
        return hashlib.sha256(self.data).hexdigest()

    def find(self, path: str) -> BundledFile | None:
        """Return the file at a path; None without one."""
        return next((file for file in self.files if file.path == path), None)

    def below(self, directory: str) -> tuple[BundledFile, ...]:
        """Return the files below a directory, whose name must end with a slash."""
        return tuple(file for file in self.files if file.path.startswith(directory))

    @property
    def unpacked(self) -> tuple[BundledFile, ...]:
        """The files that a host with releaser unpacks: all but releaser itself."""
        return tuple(file for file in self.files if file.path != INSTALLER and not file.path.startswith(TOOLS))

    @property
    def included_sha256(self) -> str:
        """The digest of the additional files; empty without any."""
        lines = "".join(f"{file.sha256} {file.path}\n" for file in self.below(INCLUDED))
        return hashlib.sha256(lines.encode()).hexdigest() if lines else ""

    def has_expired(self, now: datetime) -> bool:
        """True if the bundle may no longer be installed."""
        return self.expires is not None and datetime.fromisoformat(self.expires) <= now


def parse_manifest(data: bytes) -> BundleManifest:
    """Parse a manifest. Raises PreflightError if releaser would not have written exactly this text."""
    from msgspec import ValidationError, convert

    try:
        content = json.loads(data)
        if isinstance(content, dict) and content.get("format") not in (None, FORMAT):
            _refuse(
                f"it has format {content['format']!r}, but this version of releaser reads format {FORMAT}",
                "Upgrade releaser.",
            )
        found = convert(content, BundleManifest)
    except (ValidationError, ValueError, RecursionError) as error:
        _refuse(str(error))
    for flaw in _flaws(found):
        _refuse(flaw)
    if found.data != data:
        _refuse("it is not in the form that releaser writes")
    return found


def _refuse(flaw: str, advice: str = "Copy the bundle again from the host that created it.") -> NoReturn:
    refuse("bundle-manifest-invalid", f"the manifest of the bundle is not valid: {flaw}", advice)


def _flaws(found: BundleManifest) -> Iterator[str]:
    paths = [bundled.path for bundled in found.files]
    if len(paths) > _MOST_FILES or paths != sorted(set(paths)):
        yield f"its {len(paths)} files are not sorted, not unique, or more than {_MOST_FILES}"
    for file in found.files:
        yield from _flaws_of(file)
        if file.in_base and found.base is None:
            yield f"{file.path} is marked as a file of the base, but the bundle has no base"
    lock = found.find(LOCK)
    if lock is None or lock.sha256 != found.lock_sha256:
        yield f"{LOCK} is missing, or does not match lock_sha256"
    if both := {*paths} & {str(parent) for path in paths for parent in PurePosixPath(path).parents}:
        yield f"{min(both)} is both a file and a directory"
    if not re.fullmatch(_PYTHON, found.python):
        yield f"{found.python!r} is not a Python version"
    if found.sequence < 0 or not RELEASE_ID.fullmatch(found.release):
        yield "its release or sequence is not valid"
    if not _COMMIT.fullmatch(found.commit) or not found.branch:
        yield f"{found.commit!r} is not a commit, or its branch is missing"
    yield from (
        f"{time!r} is not a time in UTC" for time in (found.created, found.expires) if time and not is_time(time)
    )


def _flaws_of(one: BundledFile) -> Iterator[str]:
    if not is_path(one.path) or not (one.path in _SINGLE or one.path.startswith((WHEELS, TOOLS, INCLUDED))):
        yield f"{one.path!r} is not a valid path in a bundle"
    if one.path.startswith((WHEELS, TOOLS)) and not _is_wheel(one.path):
        yield f"{one.path} is not a wheel"
    if one.path.startswith(INCLUDED) and ".git" in one.path.lower().split("/"):
        yield f"{one.path} would be one of git's own files"
    if not SHA256.fullmatch(one.sha256) or one.size < 0:
        yield f"the hash or size of {one.path} is not valid"


def is_time(text: str) -> bool:
    """True if this is a time in UTC, as ISO 8601."""
    try:
        return datetime.fromisoformat(text).utcoffset() == timedelta()
    except ValueError:
        return False


def _is_wheel(path: str) -> bool:
    from packaging.utils import parse_wheel_filename

    try:
        parse_wheel_filename(path.partition("/")[2])
    except ValueError:  # also for a file in a subdirectory
        return False
    return True


def is_path(path: str) -> bool:
    """True if a file of a bundle may have this path: relative, plain, and without `..`."""
    return re.fullmatch(_PATH, path) is not None and len(path) <= 255


class BundleDetails(Frozen):
    """A bundle; `signer` is who has signed it, if that was verified."""

    path: str
    size_bytes: int
    project: str
    release: str
    sequence: int
    #: As ISO 8601; `expires` is None if it never does.
    created: str
    expires: str | None
    commit: str | None
    lock_sha256: str
    group: str | None
    python: str
    platform: str
    libc: str
    targets: tuple[str, ...]
    #: The release whose bundle a delta builds on.
    base: str | None
    signer: str | None
    #: The packages of `update --override` that the release tries, for test hosts only.
    overrides: tuple[str, ...]
    #: The wheels of the site, and how many files there are in all.
    wheels: tuple[str, ...]
    files: int

    @classmethod
    def of(cls, manifest: BundleManifest, *, signer: str | None, path: str, size: int) -> BundleDetails:
        """Return the details of a manifest."""
        return cls(
            path=path,
            size_bytes=size,
            project=manifest.project,
            release=manifest.release,
            sequence=manifest.sequence,
            created=manifest.created,
            expires=manifest.expires,
            commit=manifest.commit,
            lock_sha256=manifest.lock_sha256,
            group=manifest.group,
            python=manifest.python,
            platform=manifest.platform,
            libc=manifest.libc,
            targets=tuple(map(str, manifest.targets)),
            base=manifest.base.release if manifest.base is not None else None,
            signer=signer,
            overrides=manifest.overrides,
            wheels=tuple(file.path.removeprefix(WHEELS) for file in manifest.below(WHEELS)),
            files=len(manifest.files),
        )


class BundleDifference(Frozen):
    """The changes from one bundle to another; each is named by its release."""

    before: str
    after: str
    commits: tuple[str | None, str | None]
    changes: tuple[Change, ...]
    #: The size of the files that only the second one has.
    new_bytes: int
