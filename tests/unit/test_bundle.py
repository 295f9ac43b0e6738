"""The file of a bundle: what is written is read again, and whatever was done to it since is refused."""

import hashlib
import io
import os
import stat
import subprocess
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest

from releaser.bundles.bundle import (
    CODE,
    LOCK,
    MANIFEST,
    PATCH,
    REQUIREMENTS,
    SIGNATURE,
    BundledPackage,
    Manifest,
    apply_patch,
    hash_member,
    make_patch,
    open_bundle,
    write_bundle,
)
from releaser.errors import PreflightError

WHEEL = "wheels/alpha-1.0.0-py3-none-any.whl"
CONTENTS = {LOCK: b"version = 1\n", REQUIREMENTS: b"alpha==1.0.0\n", CODE: b"code", WHEEL: b"wheel", "built/a.so": b"a"}


@dataclass
class Signers:
    """Keys of people, and the file of those who may sign."""

    place: Path

    @property
    def file(self) -> Path:
        return self.place / "signers"

    def key(self, name: str) -> Path:
        key = self.place / name
        if not key.exists():
            words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(key)]
            subprocess.run(words, check=True, stdin=subprocess.DEVNULL)
        return key

    def allow(self, name: str, options: str = "") -> None:
        self.file.write_text(f"{name}@example.org {options} {self.key(name).with_suffix('.pub').read_text()}")


@pytest.fixture(scope="module")
def signers(tmp_path_factory: pytest.TempPathFactory) -> Signers:
    """Ada may sign."""
    signers = Signers(tmp_path_factory.mktemp("keys"))
    signers.allow("ada")
    return signers


@dataclass
class Draft:
    """A bundle that can be made wrong: its parts before they are written. Its signature is made at the end."""

    place: Path
    signers: Signers
    contents: dict[str, bytes] = field(default_factory=lambda: dict(CONTENTS))
    manifest: dict[str, Any] = field(default_factory=dict)
    #: The text of the manifest, if it is not to fit the contents.
    text: bytes = b""
    signature: bytes | None = None
    key: str = "ada"
    namespace: str = "releaser-bundle"
    #: Members by hand: their facts and contents.
    more: list[tuple[zipfile.ZipInfo, bytes]] = field(default_factory=list)
    #: Changes the bytes of the whole.
    change: Callable[[bytes], bytes] = bytes

    def write(self, name: str = "x.bundle") -> Path:
        text = self.text or msgspec.json.encode(describe(CONTENTS) | self.manifest)
        words = ["ssh-keygen", "-Y", "sign", "-n", self.namespace, "-f", str(self.signers.key(self.key))]
        made = subprocess.run(words, input=text, capture_output=True, check=True).stdout
        buffer, parts = io.BytesIO(), [*self.contents.items(), (MANIFEST, text)]
        parts += [(SIGNATURE, made if self.signature is None else self.signature)] if self.signature != b"" else []
        with zipfile.ZipFile(buffer, "w") as archive:
            for entry, data in [*((plain(name), data) for name, data in parts), *self.more]:
                archive.writestr(entry, data)
        path = self.place / name
        path.write_bytes(self.change(buffer.getvalue()))
        return path


def plain(name: str, mode: int = stat.S_IFREG | 0o644, **facts: Any) -> zipfile.ZipInfo:
    """Return the facts about a member as releaser writes them, and `facts` beside."""
    entry = zipfile.ZipInfo(name)
    entry.external_attr, entry.compress_type, entry.create_system = mode << 16, zipfile.ZIP_DEFLATED, 3
    for key, value in facts.items():
        setattr(entry, key, value)
    return entry


def describe(contents: dict[str, bytes]) -> dict[str, Any]:
    """Return a manifest that is right."""
    members = {name: {"sha256": sha256(data), "size": len(data)} for name, data in contents.items()}
    return {
        "format": 1,
        "project": "shop",
        "release": "20261130T044838Z",
        "commit": "1" * 40,
        "branch": "main",
        "python": "3.11.7",
        "tags": ["cp311", "linux_x86_64", "glibc-2.36"],
        "lock_sha256": sha256(contents[LOCK]),
        "members": members,
        "packages": [],
    }


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def named(name: str, data: bytes = b"evil") -> Callable[[Draft], None]:
    """Return what adds a member with a name, of which the manifest knows."""

    def tamper(draft: Draft) -> None:
        draft.contents[name] = data
        draft.manifest["members"] = describe(draft.contents)["members"]

    return tamper


def unnamed(name: str, data: bytes = b"evil", **facts: Any) -> Callable[[Draft], None]:
    """Return what adds a member with a name, of which the manifest does not know."""
    return lambda draft: draft.more.append((plain(name, **facts), data))


def sets(**values: Any) -> Callable[[Draft], None]:
    """Return what changes fields of the draft."""

    def tamper(draft: Draft) -> None:
        for name, value in values.items():
            setattr(draft, name, value)

    return tamper


def claims(**values: Any) -> Callable[[Draft], None]:
    """Return what lets the manifest say something else, signed by Ada."""
    return lambda draft: draft.manifest.update(values)


def replaced(name: str, **facts: Any) -> Callable[[Draft], None]:
    """Return what writes a member with other facts."""

    def tamper(draft: Draft) -> None:
        draft.more.append((plain(name, **facts), draft.contents.pop(name)))

    return tamper


def content(name: str, data: bytes) -> Callable[[Draft], None]:
    """Return what gives a member other bytes."""
    return lambda draft: draft.contents.update({name: data})


def flag(data: bytes) -> bytes:
    """Mark the first member as encrypted, in both places where a zip says so."""
    first, listed = data.index(b"PK\3\4") + 6, data.index(b"PK\1\2") + 8
    return bytes(byte | 1 if place in (first, listed) else byte for place, byte in enumerate(data))


def older_signature(draft: Draft) -> None:
    """A signature that Ada has made of an earlier manifest."""
    with zipfile.ZipFile(Draft(draft.place, draft.signers, manifest={"branch": "old"}).write("old.bundle")) as archive:
        draft.signature = archive.read(SIGNATURE)


#: What was done to a bundle, and a part of the refusal.
TAMPERINGS: dict[str, tuple[Callable[[Draft], object], str]] = {
    "a byte": (sets(change=lambda data: data.replace(b"wheel", b"wheeL", 1)), "wheel"),
    "another content": (content(WHEEL, b"wheeL"), "another `wheels/alpha"),
    "more content": (content(CODE, b"code and more"), "another `code.bundle`"),
    "another name": (lambda draft: content("wheels/b.whl", draft.contents.pop(WHEEL))(draft), "other members"),
    "a path that leads out": (named("wheels/../../evil.whl"), "names a member"),
    "a path that leads out of built": (named("built/../evil"), "names a member"),
    "an absolute path": (named("/etc/cron.d/evil"), "names a member"),
    "a place that bundles do not have": (named("evil.py"), "names a member"),
    "a control character": (named("built/a\x1b[2J"), "names a member"),
    "a file below a file": (named("built/a.so/b"), "names a member"),
    "two members of one name": (unnamed(WHEEL), "other members"),
    "two manifests": (unnamed(MANIFEST, b"{}"), "no valid signature"),
    "two signatures": (unnamed(SIGNATURE, b"evil"), "no valid signature"),
    "an extra member": (unnamed("wheels/evil.whl"), "other members"),
    "an extra path that leads out": (unnamed("../evil"), "other members"),
    "a name that ends at a zero": (unnamed("wheels/e.whl", orig_filename="wheels/e.whl\0.py"), "other members"),
    "a missing member": (lambda draft: draft.contents.pop("built/a.so"), "other members"),
    "no code": (lambda draft: (draft.contents.pop(CODE), named(WHEEL, b"wheel")(draft)), "without code.bundle"),
    "no signature": (sets(signature=b""), "is not signed"),
    "an older signature": (older_signature, "no valid signature"),
    "a signature that is none": (sets(signature=b"evil"), "no valid signature"),
    "a huge signature": (sets(signature=b"0" * (17 << 20)), "is larger than"),
    "another person": (sets(key="eve"), "no valid signature"),
    "another use": (sets(namespace="file"), "no valid signature"),
    "a manifest that is no JSON": (sets(text=b"\xff{"), "cannot read"),
    "a manifest that is too deep": (sets(text=b"[" * 100_000), "cannot read"),
    "a huge manifest": (sets(text=b" " * (17 << 20)), "is larger than"),
    "another format": (claims(format=2), "cannot read"),
    "a hash that is none": (claims(lock_sha256="0" * 63), "cannot read"),
    "another lock": (claims(lock_sha256="0" * 64), "another uv.lock"),
    "a commit that is an option": (claims(commit="--upload-pack=evil"), "cannot read"),
    "a negative size": (claims(members={LOCK: {"sha256": "0" * 64, "size": -1}}), "cannot read"),
    "a size beyond all": (claims(members={LOCK: {"sha256": "0" * 64, "size": 1 << 40}}), "cannot read"),
    "sizes beyond all": (
        claims(
            members=describe(CONTENTS)["members"] | {f"built/{n}": {"sha256": "0" * 64, "size": 3 << 30} for n in "ab"}
        ),
        "once it is unpacked",
    ),
    "a bomb": (content("built/a.so", bytes(64 << 20)), "another `built/a.so`"),
    "members left out": (claims(omitted=[WHEEL]), "names no base"),
    "a link": (replaced(WHEEL, external_attr=(stat.S_IFLNK | 0o777) << 16), "no plain file"),
    "a directory": (unnamed("built/", b"", external_attr=(stat.S_IFDIR | 0o755) << 16), "no plain file"),
    "another compression": (replaced(WHEEL, compress_type=zipfile.ZIP_LZMA), "no plain file"),
    "an extra field": (replaced(WHEEL, extra=b"\x99\x99\x02\x00ab"), "no plain file"),
    "a comment": (replaced(WHEEL, comment=b"evil"), "no plain file"),
    "an encrypted member": (sets(change=flag), "no plain file"),
    "a comment on all": (sets(change=lambda data: data[:-2] + b"\4\0evil"), "does not end"),
    "data behind": (sets(change=lambda data: data + b"evil"), "does not end"),
    "data before": (sets(change=lambda data: b"#!/bin/sh\n" + data), "does not end"),
    "half of it": (sets(change=lambda data: data[: len(data) // 2]), "does not end"),
    "nothing": (sets(change=lambda data: b""), "too short"),
}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("tampering", TAMPERINGS)
def test_law_32_a_bundle_that_was_tampered_with_is_refused(tampering: str, signers: Signers, tmp_path: Path) -> None:
    tamper, words = TAMPERINGS[tampering]
    draft = Draft(tmp_path, signers)
    assert open_bundle(draft.write(), signers.file).signer == "ada@example.org", "before"
    tamper(draft)
    path = draft.write()
    with pytest.raises(PreflightError) as refusal:
        open_bundle(path, signers.file)
    assert words in refusal.value.message, refusal.value.message
    assert {*os.listdir(tmp_path)} <= {"x.bundle", "old.bundle"}, "nothing is unpacked"


@pytest.mark.parametrize(
    ("options", "is_allowed"),
    [
        ("", True),
        ('namespaces="releaser-bundle"', True),
        ('namespaces="git,file"', False),
        ('valid-before="20200101Z"', False),
        ('valid-after="20990101Z"', False),
        ("cert-authority", False),
    ],
)
def test_law_32_a_key_may_sign_what_and_when_its_line_says(options: str, is_allowed: bool, tmp_path: Path) -> None:
    own = Signers(tmp_path)
    own.allow("ada", options)
    path = Draft(tmp_path, own).write()
    if is_allowed:
        assert open_bundle(path, own.file).signer == "ada@example.org"
        return
    with pytest.raises(PreflightError, match="no valid signature"):
        open_bundle(path, own.file)


def test_law_30_signers_that_others_could_write_are_refused(signers: Signers, tmp_path: Path) -> None:
    path, own = Draft(tmp_path, signers).write(), tmp_path / "open" / "signers"
    own.parent.mkdir()
    own.write_bytes(signers.file.read_bytes())
    assert open_bundle(path, own).signer
    for place, mode in ((own, 0o646), (own.parent, 0o757)):
        place.chmod(mode)
        with pytest.raises(PreflightError, match="Other users of this host may write"):
            open_bundle(path, own)
        place.chmod(0o700)
    own.unlink()
    with pytest.raises(PreflightError, match="is no file"):
        open_bundle(path, own)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_law_32_what_is_no_file_is_no_bundle(make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path / "x")
    with pytest.raises((PreflightError, OSError)):
        open_bundle(tmp_path / "x", None)


def manifest(members: dict[str, Path], **facts: Any) -> Manifest:
    """Return the manifest of files."""
    return Manifest(
        **{
            "project": "shop",
            "release": "1",
            "commit": "1" * 40,
            "branch": "main",
            "python": "3.11.7",
            "tags": ("cp311", "linux_x86_64", "glibc-2.36"),
            "lock_sha256": hash_member(members[LOCK]).sha256,
            "members": {name: hash_member(path) for name, path in members.items()},
            "packages": (BundledPackage("alpha", "1.0.0", "https://example.org/simple"),),
            **facts,
        }
    )


def put(place: Path, contents: dict[str, bytes]) -> dict[str, Path]:
    """Write files, and return their paths by their names in a bundle."""
    for name, data in contents.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(data)
    return {name: place / name for name in contents}


def test_law_32_a_delta_is_unpacked_with_what_the_host_has(signers: Signers, tmp_path: Path) -> None:
    key = signers.key("ada")
    files = put(tmp_path / "1", CONTENTS | {"built/run": b"#!/bin/sh\n", "built/ä/ö": b"1"})
    files["built/run"].chmod(0o755)
    full = manifest(files)
    for name in ("full", "again"):
        write_bundle(tmp_path / name, full, files, key)
    assert (tmp_path / "full").read_bytes() == (tmp_path / "again").read_bytes(), "the same bytes"
    base = open_bundle(tmp_path / "full", signers.file)
    assert base.manifest == full

    lock = b"version = 1\nrevision = 3\n"
    patch = make_patch(CONTENTS[LOCK].decode(), lock.decode())
    newer = files | put(tmp_path / "2", {LOCK: lock, PATCH: patch, CODE: b"2"})
    facts = {"base": base.sha256, "base_commit": "1" * 40, "omitted": tuple(name for name in files if name != CODE)}
    made, sent = manifest(newer, commit="2" * 40, base_lock=full.lock_sha256, **facts), (PATCH, CODE)
    write_bundle(tmp_path / "delta", made, {name: newer[name] for name in sent}, key)
    delta, place = open_bundle(tmp_path / "delta", signers.file), tmp_path / "out"
    (tmp_path / "joined").mkdir()
    open_bundle(tmp_path / "delta", signers.file, tmp_path / "full").unpack(tmp_path / "joined")
    assert all((tmp_path / "joined" / name).read_bytes() == path.read_bytes() for name, path in newer.items())
    here = {hash_member(path).sha256: path for path in files.values()}
    place.mkdir()
    delta.unpack(place, here.get)
    for name, path in newer.items():
        assert (place / name).read_bytes() == path.read_bytes(), name
    assert os.access(place / "built/run", os.X_OK)
    assert not os.access(place / WHEEL, os.X_OK)

    place = tmp_path / "some"
    place.mkdir()
    delta.unpack(place, here.get, only={LOCK, WHEEL})
    assert sorted(os.listdir(place)) == [LOCK, "wheels"]
    with pytest.raises(PreflightError, match="of its base is not here"):
        delta.unpack(place, only={"built/run"})
    (place / WHEEL).unlink()
    (place / "other").write_bytes(b"other")
    with pytest.raises(PreflightError, match="another `wheels/alpha"):
        delta.unpack(place, lambda digest: place / "other", only={WHEEL})


@pytest.mark.parametrize(
    ("before", "after"),
    [("", ""), ("", "a\n"), ("a\n", ""), ("a\nb\nc\n", "a\nB\nc\nd"), ("a\n" * 300, "b\n" + "a\n" * 200)],
)
def test_a_patch_makes_the_text_and_no_more_than_it_may(before: str, after: str) -> None:
    patch = make_patch(before, after)
    assert apply_patch(before.encode(), patch, 1000).decode() == after
    assert len(apply_patch(b"a\n" * 1000, b"[[0,1000],[0,1000]]", 100)) == 2000


def test_law_28_32_a_patch_of_a_lock_that_is_none_is_refused(signers: Signers, tmp_path: Path) -> None:
    key, files = signers.key("ada"), put(tmp_path / "1", CONTENTS | {PATCH: b"[[0,", CODE: b"2"})
    kept = tuple(name for name in CONTENTS if name != CODE)
    sent = {PATCH: files[PATCH], CODE: files[CODE]}
    facts = {"base": "0" * 64, "base_commit": "1" * 40, "base_lock": "0" * 64, "omitted": kept}
    write_bundle(tmp_path / "delta", manifest(files, commit="2" * 40, **facts), sent, key)
    with pytest.raises(PreflightError, match=r"uv.lock.patch` that cannot be read"):
        open_bundle(tmp_path / "delta", signers.file).unpack(tmp_path, lambda digest: files[LOCK], only={LOCK})
    lost = manifest(files, commit="2" * 40, **facts | {"base_lock": None})
    write_bundle(tmp_path / "delta", lost, sent, key)
    with pytest.raises(PreflightError, match="without its base"):
        open_bundle(tmp_path / "delta", signers.file)


def test_law_32_a_base_that_lies_is_refused(signers: Signers, tmp_path: Path) -> None:
    key, files = signers.key("ada"), put(tmp_path / "1", CONTENTS | {CODE: b"2"})
    full = manifest(files)
    for name, each in (("full", full), ("other", msgspec.structs.replace(full, branch="other"))):
        write_bundle(tmp_path / name, each, files, key)
    base = open_bundle(tmp_path / "full", signers.file)
    kept = tuple(name for name in files if name != CODE)
    delta = manifest(files, commit="2" * 40, base=base.sha256, base_commit="1" * 40, omitted=kept)
    lie = msgspec.structs.replace(delta, members=delta.members | {WHEEL: hash_member(files[CODE])})
    for name, each in (("delta", delta), ("lie", lie)):
        write_bundle(tmp_path / name, each, {CODE: files[CODE]}, key)
    cases = [("delta", "other", "from another bundle"), ("other", "full", "is no delta"), ("lie", "full", "has not")]
    for name, other, words in cases:
        with pytest.raises(PreflightError, match=words):
            open_bundle(tmp_path / name, signers.file, tmp_path / other)
