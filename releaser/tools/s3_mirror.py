"""Updates directories from prefixes in S3. A separate process runs this text.

It reads `{"seconds": LIMIT, "sources": [{"bucket": ..., "prefix": ..., "directory": ...}, ...]}` from standard input,
and prints a list of answers in the same order: the fields of `Mirrored` in `releaser/resolution/sources.py`. boto3 sets
no overall time limit, and a server may answer byte by byte. So a process does this, which ends at the time limit with
the files that it has.

A file is either complete or missing. `.mirror.json`, in the same directory, has the ETags and hashes of the files.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import queue
import re
import shutil
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from packaging.utils import InvalidSdistFilename, InvalidWheelFilename, parse_sdist_filename, parse_wheel_filename

from releaser.system.expression import expression
from releaser.system.files import only_files, read_file
from releaser.tools.s3 import AT_ONCE, connect

INDEX = ".mirror.json"
_PART = ".part-"  # the name of an incomplete file begins with it
_LARGEST = 4 * 1024**3  # bytes of a file
_MOST = 20_000  # files of a source
_SPARE = 64 * 1024**2  # bytes to leave free on the file system
_NAME = expression(r"[A-Za-z0-9_][A-Za-z0-9_.+!-]*", re.ASCII)
Entry = dict[str, Any]


class Mirror:
    """One source and its directory."""

    def __init__(self, client: Any, source: dict[str, str], error: str) -> None:
        self.client, self.bucket = client, source["bucket"]
        self.prefix = f"{source['prefix']}/" if source["prefix"] else ""
        self.place, umask = Path(source["directory"]), os.umask(0o077)
        self.mode = 0o666 & ~umask
        os.umask(umask)
        self.index: dict[str, Any] = {"synced": None, "files": {}}
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):  # after an error all is downloaded again
            found = json.loads(read_file(self.place / INDEX))
            self.index["files"] = {name: one for name, one in dict(found["files"]).items() if _is_entry(name, one)}
            self.index["synced"] = found["synced"] if read_time(found["synced"]) else None
        self.answer: dict[str, Any] = {"fetched": 0, "removed": 0, "failed": {}, "error": error}
        self.answer["synced"] = self.index["synced"]
        self.listed: dict[str, Entry] = {}

    def list(self) -> dict[str, Entry]:
        """Return the files to download. Raises OSError, ValueError and errors of boto3."""
        found = self.listed
        pages = self.client.get_paginator("list_objects_v2")
        for page in pages.paginate(Bucket=self.bucket, Prefix=self.prefix, Delimiter="/"):
            for one in page.get("Contents", ()):
                name = one["Key"][len(self.prefix) :]
                if is_distribution(name) and one["Size"] <= _LARGEST:
                    found[name] = {"etag": one["ETag"], "size": one["Size"]}
            if len(found) > _MOST:
                message = f"there are more than {_MOST} packages"
                raise ValueError(message)
        if not found:
            message = "there are no wheels or source archives"
            raise ValueError(message)
        self.place.mkdir(parents=True, exist_ok=True)
        for part in self.place.glob(f"{_PART}*"):  # left by a killed process
            part.unlink()
        wanted = {name: one for name, one in found.items() if not self._has(name, one)}
        free, needed = shutil.disk_usage(self.place).free, sum(entry["size"] for entry in wanted.values())
        if needed + _SPARE > free:
            message = f"{needed} bytes would have to be downloaded, and {self.place} has room for {free}"
            raise OSError(message)
        return wanted

    def _has(self, name: str, entry: Entry) -> bool:
        """True if a file exists as it was downloaded, and is still the same as in S3."""
        known, path = self.index["files"].get(name), self.place / name
        try:
            seen = os.stat(path)
            if known is None or known["etag"] != entry["etag"] or seen.st_size != entry["size"]:
                return False
            if known["mtime_ns"] != seen.st_mtime_ns:
                with open(path, "rb", opener=only_files) as file:
                    known["mtime_ns"] = seen.st_mtime_ns
                    return bool(known["sha256"] == hashlib.file_digest(file, "sha256").hexdigest())
        except (OSError, KeyError, TypeError):
            return False
        return True

    def fetch(self, name: str, entry: Entry) -> Entry:
        """Download a file. Raises OSError and errors of boto3; then the old file stays."""
        answer = self.client.get_object(Bucket=self.bucket, Key=self.prefix + name, IfMatch=entry["etag"])
        handle, part = tempfile.mkstemp(prefix=_PART, dir=self.place)
        try:
            with open(handle, "wb") as file:
                digest, md5, size = hashlib.sha256(), hashlib.md5(usedforsecurity=False), 0
                for chunk in answer["Body"].iter_chunks(64 * 1024):
                    size += len(chunk)
                    if size > entry["size"]:
                        break
                    digest.update(chunk)
                    md5.update(chunk)
                    file.write(chunk)
                if size != entry["size"]:
                    message = f"it does not have the {entry['size']} bytes of the listing"
                    raise OSError(message)
                if _has_md5(entry["etag"], answer) and entry["etag"].strip('"') != md5.hexdigest():
                    message = "its MD5 is not the ETag in S3"
                    raise OSError(message)
                file.flush()
                os.fchmod(handle, self.mode)
                os.fsync(handle)
            os.replace(part, self.place / name)
        except BaseException:
            Path(part).unlink(missing_ok=True)
            raise
        return {**entry, "sha256": digest.hexdigest(), "mtime_ns": os.stat(self.place / name).st_mtime_ns}

    def save(self) -> None:
        """Write the index; delete files that are no longer in S3, if all downloads succeeded."""
        if self.answer["error"]:
            return
        if not self.answer["failed"]:
            for name in self.index["files"].keys() - self.listed.keys():
                with contextlib.suppress(OSError):  # after an error the file stays in the index, and is tried again
                    (self.place / name).unlink(missing_ok=True)
                    del self.index["files"][name]
                    self.answer["removed"] += 1
            self.index["synced"] = self.answer["synced"] = datetime.now(UTC).isoformat(timespec="seconds")
        handle, part = tempfile.mkstemp(prefix=_PART, dir=self.place)
        with open(handle, "w", encoding="utf-8") as file:
            json.dump(self.index, file, indent=1, sort_keys=True)
            os.fchmod(handle, self.mode)
            file.flush()
            os.fsync(handle)
        os.replace(part, self.place / INDEX)
        directory = os.open(self.place, os.O_RDONLY)
        os.fsync(directory)


def is_distribution(name: str) -> bool:
    """True if this is just the name of a wheel or a source archive, without any path."""
    if not _NAME.fullmatch(name) or len(name) > 200:
        return False
    try:
        parse_wheel_filename(name) if name.endswith(".whl") else parse_sdist_filename(name)
    except (InvalidWheelFilename, InvalidSdistFilename):
        return False
    return True


def _has_md5(etag: str, answer: Any) -> bool:
    """True if an ETag is the MD5 of the file: not after an upload in parts, or with a key other than S3's."""
    is_other = "SSECustomerAlgorithm" in answer or answer.get("ServerSideEncryption", "AES256") != "AES256"
    return bool(re.fullmatch(r'"?[0-9a-f]{32}"?', etag)) and not is_other


def _is_entry(name: str, one: Any) -> bool:
    """True if an entry of the index, which people may have edited, describes a file of this mirror."""
    kinds = {"etag": str, "size": int, "sha256": str, "mtime_ns": int}
    return is_distribution(name) and isinstance(one, dict) and all(type(one.get(key)) is kinds[key] for key in kinds)


def read_time(text: Any) -> datetime | None:
    """Return the time when a mirror was complete; None if the text is no time with a time zone."""
    found = datetime.fromisoformat(text) if isinstance(text, str) else None
    return found if found and found.tzinfo else None


def _reason(error: BaseException) -> str:
    return str(error).partition("\n")[0] or type(error).__name__


def _work(mirrors: list[Mirror], done: queue.Queue[Any]) -> None:
    """List the files, then download some at a time; results go to `done`, whose reader alone changes the answers."""
    jobs: queue.SimpleQueue[tuple[Mirror, str, Entry] | None] = queue.SimpleQueue()

    def download() -> None:
        while (job := jobs.get()) is not None:
            mirror, name, one = job
            for is_last in (False, True):  # boto3 repeats a request, but not once an answer has begun
                try:
                    done.put((mirror, name, mirror.fetch(name, one)))
                    break
                except Exception as error:  # noqa: BLE001 - any error is reported
                    if is_last:
                        done.put((mirror, name, error))
        done.put(None)

    for mirror in mirrors:
        try:
            for name, one in sorted(mirror.list().items()):
                jobs.put((mirror, name, one))
                mirror.answer["failed"][name] = "no time was left for it"
            mirror.answer["error"] = ""
        except Exception as error:  # noqa: BLE001 - as above
            mirror.answer["error"] = _reason(error)
    for _ in range(AT_ONCE):
        jobs.put(None)
        threading.Thread(target=download, daemon=True).start()


def main() -> None:
    """Answer for all sources; end with a message and exit status 1 if boto3 does not work here."""
    question, done = json.load(sys.stdin), queue.Queue[Any]()
    deadline, client = time.monotonic() + question["seconds"], connect()
    mirrors = [Mirror(client, source, f"no answer within {question['seconds']:g} s") for source in question["sources"]]
    threading.Thread(target=_work, args=(mirrors, done), daemon=True).start()
    ended = 0
    while ended < AT_ONCE:
        try:
            found = done.get(timeout=max(deadline - time.monotonic(), 0.01))
        except queue.Empty:
            break
        if found is None:
            ended += 1
        elif isinstance(found[2], Exception):
            found[0].answer["failed"][found[1]] = _reason(found[2])
        else:
            mirror, name, entry = found
            mirror.index["files"][name] = entry
            del mirror.answer["failed"][name]
            mirror.answer["fetched"] += 1
    for one in mirrors:
        one.save()
    print(json.dumps([one.answer for one in mirrors]), flush=True)  # noqa: T201 - the answer
    os._exit(0)  # without waiting for unfinished downloads


if __name__ == "__main__":
    main()
