"""Wheels of directories and of `s3://` prefixes, copied into one directory, which uv gets beside its indexes.

uv finds it by a link in each tree, so that a lock names no path of this host, and other hosts can use it. A wheel that
is there already is not fetched again, and never replaced by another one of the same name: a lock that was made from a
directory has no hashes. So a lock stays usable while a source does not answer.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os
import re
import shutil
import zipfile
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from releaser.errors import Problem, explain_error, require
from releaser.releases.store import Store
from releaser.site.owners import find_strangers
from releaser.site.site import Site
from releaser.system.files import read_json, remove_path, sync_directory, write_json
from releaser.system.process import call_in_child
from releaser.system.run import Run
from releaser.system.text import count, join_few, normalize_name, redact, word

S3 = "s3://"
INDEX = "index.json"
LIMIT = 120.0  # seconds for a source; the next run goes on with what is left
_SILENCE = 10.0  # seconds without a byte
_MOST = 10_000  # wheels of a source
_LARGEST = 4 << 30  # bytes of one
_NOT_WHEELS = (".egg", ".tar.gz", ".zip", ".tar.bz2")


class _Wheel(msgspec.Struct, frozen=True):
    """A copied wheel: its source, and by what it is known there; `refused` is another file of the same name."""

    source: str
    tag: str
    sha256: str
    refused: str = ""


class _Index(msgspec.Struct):
    """The copied wheels by name, and what has been said of the sources."""

    wheels: dict[str, _Wheel] = {}
    said: list[str] = []


class _Answer(msgspec.Struct):
    """What came of a source: `strange` is no whole wheel; `error` says why not all was copied."""

    offered: list[str] = []
    copied: list[str] = []
    others: list[str] = []
    strange: list[str] = []
    error: str = ""


#: The files of a source: each name with its tag, which another content changes, and what writes it to a path.
Listing = Iterator[tuple[str, str, Callable[[Path], object]]]


def find_source_problems(site: Site) -> list[Problem]:
    """Return a problem for each source that cannot be used, or that others could have written."""
    problems, sources = list[Problem](), site.settings.versions.sources
    for source in sources:
        place = _split(source)[1]
        path, is_s3 = _find_directory(site, place), place.startswith(S3)
        advice = "Correct `sources`: directories, and `s3://BUCKET/PREFIX`."
        if is_s3 and not place.removeprefix(S3).partition("/")[0]:
            problems.append(Problem("wrong-source", f"`sources` has `{source}`, without a bucket.", advice))
        elif not is_s3 and ("://" in place or not path.is_dir()):
            problems.append(Problem("wrong-source", f"`sources` has `{source}`, which is no directory.", advice))
        elif not is_s3:
            problems += find_strangers(site.trust, [path, *path.glob("*.whl")])
    if any(_split(source)[1].startswith(S3) for source in sources) and importlib.util.find_spec("boto3") is None:
        message = "`sources` names S3, but boto3 is not installed with releaser."
        problems.append(Problem("no-boto3", message, "Run `uv pip install 'venv-releaser[s3]'` where releaser is."))
    return problems


def _split(source: str) -> tuple[str, str]:
    """Return the only package that a source offers, or nothing, and its place: that of `hello=s3://BUCKET/PREFIX`."""
    name, place = re.fullmatch(r"(?:([\w.-]+)=)?(.*)", source, re.DOTALL).groups("")  # type: ignore[union-attr]
    return normalize_name(name), place


def _find_directory(site: Site, source: str) -> Path:
    return Path(os.path.normpath(site.paths.project / os.path.expanduser(source)))


def copy_sources(site: Site, run: Run) -> None:
    """Copy the new wheels of all sources; what a source does not give, or offers wrongly, is a note of the run.

    Wheels that no source has any more stay while the lock or a release that may be live needs them. Raises
    PreflightError and OSError.
    """
    place, sources = site.sources, site.settings.versions.sources
    if not sources:
        return
    require(find_source_problems(site))
    with run.step("fetch") as detail:
        _make_place(site)
        answers = [_copy(site, source) for source in sources]
        index = _read_index(place)
        for source, answer in zip(sources, answers, strict=True):
            if answer.error:
                run.note(f"`{source}` was not copied: {answer.error}. The wheels that were copied earlier are used.")
            for name in answer.others:
                path = word(site.paths.sources / name)
                run.note(f"{name} of `{source}` is another file than before, which stays. To take it: `rm {path}`.")
        said = [f"{source}/{name}" for source, answer in zip(sources, answers, strict=True) for name in answer.strange]
        if unsaid := [name for name in said if name not in index.said]:
            run.note(f"`sources` takes whole wheels alone, so not {join_few(unsaid)}.")
        if not any(answer.error for answer in answers):
            _drop_vanished(site, index, {name for answer in answers for name in answer.offered})
        index.said = said
        write_json(place / INDEX, index)
        copied = sum(len(answer.copied) for answer in answers)
        detail.append(f"{count(copied, 'wheel')} from {join_few(sources)}")


def _make_place(site: Site) -> None:
    """Make the directory; that of a dry run has links to what is there."""
    place, known = site.sources, site.paths.sources
    if place != known and known.is_dir():
        shutil.copytree(known, place, copy_function=_link)
    elif not place.is_dir():
        place.mkdir()
        place.chmod(0o2770 if site.is_shared else 0o700)
    for name in os.listdir(place):
        if not name.endswith((".whl", INDEX)):
            remove_path(place / name)  # of a run that was killed


def _link(source: str, target: str) -> None:
    shutil.copyfile(source, target) if source.endswith(INDEX) else os.symlink(source, target)  # the index is written


def _read_index(place: Path) -> _Index:
    index = read_json(place / INDEX, _Index) or _Index()
    index.wheels = {name: wheel for name, wheel in index.wheels.items() if (place / name).is_file()}
    return index


def _copy(site: Site, source: str) -> _Answer:
    """Copy a source in a process of its own, as neither S3 nor a file system of the network has to answer."""
    env = {**site.dotenv, **site.environ}
    place = _split(source)[1]
    if place.startswith(S3):
        listing: Callable[[], Listing] = functools.partial(_list_bucket, place, env)
    else:
        listing = functools.partial(_list_directory, _find_directory(site, place))
    answer = call_in_child(functools.partial(_copy_new, source, listing, site.sources), LIMIT)
    return answer or _Answer(error=f"it took more than {LIMIT:g} s")


def _copy_new(source: str, listing: Callable[[], Listing], place: Path) -> _Answer:
    index, answer, only = _read_index(place), _Answer(), _split(source)[0]
    try:
        for number, (name, tag, write) in enumerate(listing()):
            if number >= _MOST:
                raise OSError(f"it has more than {_MOST} files")
            package, wheel = _read_package(name), index.wheels.get(name)
            if only and package not in ("", only):
                continue
            answer.offered.append(name)
            answer.strange += [name] if name.endswith(_NOT_WHEELS) else []
            if package and (wheel is None or (wheel.source == source and tag not in (wheel.tag, wheel.refused))):
                write(part := place / f".part-{name}")
                if not zipfile.is_zipfile(part):  # such as one that is being uploaded: the next run looks again
                    part.unlink()
                    answer.strange.append(name)
                    continue
                wheel = index.wheels[name] = _keep(part, place / name, _Wheel(source, tag, ""), wheel)
                answer.copied += [name] if wheel.tag == tag else []
                write_json(place / INDEX, index)
            answer.others += [name] if wheel is not None and tag == wheel.refused else []
    except Exception as error:  # noqa: BLE001 - boto3 raises errors of many kinds, and none of them ends an update
        answer.error = redact(explain_error(error) if isinstance(error, OSError) else str(error)).rstrip(".")
    return answer


def _read_package(name: str) -> str:
    """Return the package of a wheel; empty if the file is none."""
    try:
        return "" if "/" in name else parse_wheel_filename(name)[0]
    except InvalidWheelFilename:
        return ""


def _keep(part: Path, path: Path, wheel: _Wheel, before: _Wheel | None) -> _Wheel:
    """Put a wheel in its place, and return what is known of it; one that is there already, and differs, stays."""
    with part.open("rb") as file:
        os.fsync(file.fileno())
        wheel = msgspec.structs.replace(wheel, sha256=hashlib.file_digest(file, "sha256").hexdigest())
    if before is not None:
        part.unlink()
        is_same = before.sha256 == wheel.sha256
        return wheel if is_same else msgspec.structs.replace(before, refused=wheel.tag)
    part.chmod(0o644)
    os.rename(part, path)
    sync_directory(path.parent)
    return wheel


def _list_directory(path: Path) -> Listing:
    """List the files of a directory. Raises OSError."""
    for entry in sorted(os.scandir(path), key=lambda entry: entry.name):
        if entry.is_file() and (status := entry.stat()).st_size <= _LARGEST:
            tag = f"{status.st_size}-{status.st_mtime_ns}"
            yield entry.name, tag, functools.partial(shutil.copyfile, entry.path)


def _list_bucket(source: str, env: Mapping[str, str]) -> Listing:
    """List the files at a prefix, which is a directory. Raises errors of boto3."""
    os.environ.update({name: value for name, value in env.items() if name.startswith("AWS_")})
    import boto3  # the extra `s3`
    from botocore.config import Config

    regions = filter(None, map(env.get, ("AWS_REGION", "AWS_DEFAULT_REGION", "EC2_REGION")))
    words: dict[str, Any] = {"region_name": next(regions, None)}
    if "AWS_ACCESS_KEY_ID" not in env and env.get("AWS_ACCESS_KEY"):
        words |= {"aws_access_key_id": env["AWS_ACCESS_KEY"], "aws_secret_access_key": env.get("AWS_SECRET_KEY")}
    config = Config(connect_timeout=_SILENCE, read_timeout=_SILENCE, retries={"total_max_attempts": 1})
    client = boto3.client("s3", config=config, **words)
    bucket, _, prefix = source.removeprefix(S3).partition("/")
    prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix, Delimiter="/")
    for entry in (entry for page in pages for entry in page.get("Contents", ())):
        if entry["Size"] <= _LARGEST:
            fetch = functools.partial(client.download_file, bucket, entry["Key"])
            yield entry["Key"].removeprefix(prefix), f"{entry['Size']}-{entry['ETag']}", fetch


def _drop_vanished(site: Site, index: _Index, offered: Collection[str]) -> None:
    """Delete the wheels that no source has any more, but for those that a lock in use names."""
    vanished = index.wheels.keys() - {*offered}
    releases = Store(site.paths).releases if vanished else ()
    good = [each.lock for each in releases if each.state.state in ("good", "ready")]
    texts = [path.read_text(encoding="utf-8") for path in (site.paths.lockfile, *good) if path.is_file()]
    for name in vanished:
        if not any(f'{name}"' in text for text in texts):
            (site.sources / name).unlink()
            del index.wheels[name]
