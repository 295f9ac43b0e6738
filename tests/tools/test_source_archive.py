"""Source releases from outside: their text is read in memory, and none of their files is written."""

import gzip
import io
import os
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from releaser.errors import ToolError
from releaser.tools import source_archive
from releaser.tools.source_archive import read_texts


def tar(members: dict[str, bytes | str]) -> bytes:
    """Make a .tar.gz of files; a text is where a symlink leads."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            if isinstance(content, str):
                entry.type, entry.linkname = tarfile.SYMTYPE, content
                archive.addfile(entry)
            else:
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
    return stream.getvalue()


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


FILES = {"shop-1.0/CHANGES.rst": b"1.0 \xff", "shop-1.0/docs/news.md": b"news", "shop-1.0/setup.py": b"raise"}
WANTED = ("CHANGES.rst", "docs/news.md")


@pytest.mark.parametrize(
    "data", [tar(dict(FILES)), zipped(FILES), tar({f"./{name}": one for name, one in FILES.items()})]
)
def test_the_wanted_files_are_read(data: bytes) -> None:
    assert read_texts(data, WANTED.__contains__) == {"CHANGES.rst": "1.0 \ufffd", "docs/news.md": "news"}


def test_of_a_long_file_the_beginning_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_archive, "_LONGEST", 4)
    for data in (tar({"a/CHANGES": b"1234567"}), zipped({"a/CHANGES": b"1234567"})):
        assert read_texts(data, lambda _: True) == {"CHANGES": "1234"}


@pytest.mark.attack
def test_links_and_paths_of_a_hostile_archive_reach_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    secret = tmp_path / "secret"
    secret.write_text("secret", encoding="utf-8")
    members: dict[str, bytes | str] = {"a/CHANGES": str(secret), "../../a/NEWS": b"news", f"{tmp_path}/planted": b"new"}
    assert "secret" not in str(read_texts(tar(members), lambda _: True))
    assert os.listdir(tmp_path) == ["secret"]


@pytest.mark.attack
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no archive",
        b"PK\x03\x04 cut",
        gzip.compress(b"\0" * 100 + b"no tar"),
        tar({"a/CHANGES": b"x" * 5000})[:-30],
        tar({f"a/{number}": b"" for number in range(60)}),
        zipped({f"a/{number}": b"" for number in range(60)}),
    ],
    ids=["nothing", "text", "cut zip", "gzip of text", "cut tar", "many files", "many in a zip"],
)
def test_a_hostile_archive_is_refused(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_archive, "_MEMBERS", 50)
    with pytest.raises(ToolError, match="the source release cannot be read"):
        read_texts(data, lambda _: True)


@pytest.mark.attack
def test_an_archive_that_unpacks_to_far_more_is_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_archive, "_UNPACKED", 1 << 20)
    with pytest.raises(ToolError, match="it unpacks to more than 1 MiB"):
        read_texts(tar({"a/big": bytes(3 << 20), "a/CHANGES": b"1"}), lambda _: True)


def with_attributes(*members: tarfile.TarInfo, **all_files: str) -> bytes:
    """Make a .tar.gz of empty files with attributes of their own, and of all files."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz", format=tarfile.PAX_FORMAT, pax_headers=all_files) as archive:
        for member in members:
            archive.addfile(member)
    return stream.getvalue()


def attributed(name: str, **attributes: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.pax_headers = attributes
    return member


def bombs() -> Iterator[tuple[bytes, str]]:
    """Yield archives of which little is read, and much would be kept in memory."""
    yield with_attributes(attributed("a/CHANGES", comment="x" * 100_000)), "a header has more than 64 KiB"
    yield with_attributes(attributed("a/" + "x" * 100_000)), "a header has more than 64 KiB"
    many = {f"key{number}": "" for number in range(60)}
    yield with_attributes(attributed("a/CHANGES"), **many), "it has more than 50 attributes for all files"
    files = {f"a/CHANGES{number}": bytes(512 << 10) for number in range(9)}
    yield zipped(files), "its changelogs have more than 4 MiB"
    yield tar(dict(files)), "its changelogs have more than 4 MiB"


@pytest.mark.attack
@pytest.mark.parametrize(("data", "why"), [*bombs()])
def test_an_archive_that_fills_the_memory_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(ToolError, match=why):
        read_texts(data, lambda _: True)


@pytest.mark.attack
@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_is_read_only_by_methods_that_unpack_no_more_than_asked(method: int) -> None:
    assert read_texts(zipped({"a/CHANGES": b"1", "a/NEWS": bytes(1 << 20)}, method), lambda _: True) == {}
    assert read_texts(zipped({"a/NEWS": b"1"}, zipfile.ZIP_DEFLATED), lambda _: True) == {"NEWS": "1"}


def test_what_a_tar_says_of_a_file_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    archives: list[Any] = []
    opened = tarfile.open

    def note(**given: Any) -> Any:
        archives.append(opened(**given))
        return archives[-1]

    monkeypatch.setattr(tarfile, "open", note)
    members = {f"a/{number}": b"1" for number in range(9)}
    assert len(read_texts(tar(dict(members)), lambda _: True)) == 9
    assert len(archives[-1].members) <= 1
