"""Mirrors packages from S3 into a directory of the project, which uv uses like any other directory of packages."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from releaser.errors import Finding, ResolutionError, ToolError, error_line, refuse_any
from releaser.resolution.version_settings import S3Settings
from releaser.site.project import local_sources
from releaser.site.values import S3
from releaser.system.environment import all_settings_of_uv, how_to_add, without
from releaser.system.files import clear_name, read_file, write_new_file
from releaser.system.frozen import Frozen, field
from releaser.system.venv_environment import neutral
from releaser.system.words import duration, first_few, plural

if TYPE_CHECKING:
    from releaser.report import RunLog
    from releaser.site.site import Site

MIRRORS = ".s3"  # in the project
_OLD = 3 * 86400.0  # seconds after which an outdated mirror is reported
_GRACE = 15.0  # seconds in which the process may end by itself after its time limit
_INSTALL = f"To install it, {how_to_add('s3')}; or remove `sources`."


class Mirrored(Frozen):
    """The result of mirroring one source."""

    #: The numbers of new and of deleted files.
    fetched: int = 0
    removed: int = 0
    #: Why files could not be downloaded, by name.
    failed: Mapping[str, str] = field(default_factory=dict)
    #: Why the source could not be listed; empty if it could.
    error: str = ""
    #: When the mirror was last complete, as ISO 8601; None if it never was.
    synced: datetime | None = None

    @property
    def problem(self) -> str:
        """The reason the mirror may differ from S3, in a line; empty if it is complete."""
        files = plural(len(self.failed), "file") + " could not be downloaded"
        reasons = first_few((f"{name}: {reason}" for name, reason in self.failed.items()), most=2)
        return self.error or (f"{files} ({reasons})" if self.failed else "")


def source_findings(site: Site) -> Iterator[Finding]:
    """Yield the problems that prevent packages from S3."""
    sources, root = S3Settings.of(site).sources, site.project.root
    if sources and importlib.util.find_spec("boto3") is None:
        yield Finding("boto3-missing", "`sources` names S3, but boto3 is not installed with releaser", _INSTALL)
    known = {*local_sources(site.pyproject)}
    for settings in all_settings_of_uv(root, site.runner.environ) if sources else ():
        links = settings.get("find-links")
        known.update(os.path.normpath(link) for link in (links if isinstance(links, list) else ()))
    for source in sources:
        if (place := f"{MIRRORS}/{source.removeprefix(S3)}") not in known:
            message = (
                f"`sources`: {source} is mirrored in {place}, but pyproject.toml does not name that directory for uv"
            )
            yield Finding("mirror-unused", message, f'Add to [tool.uv] in pyproject.toml: find-links = ["{place}"]')


def mirror_sources(site: Site, log: RunLog, *, aside: bool = False) -> None:
    """Update the mirrors of all sources, and link them into the staging tree.

    If S3 does not answer, the earlier mirrors are used. With `aside`, the mirrors of the checkout do not change, and
    the tree gets separate ones. Raises PreflightError, and ResolutionError if a source was never mirrored completely.
    """
    sources, place, tree = S3Settings.of(site).sources, site.project.checkout / MIRRORS, site.project.root / MIRRORS
    if not sources or not site.supply.asks_others:
        return
    refuse_any(*source_findings(site))
    with log.step("sources") as step:
        try:
            if place != tree:  # a copy in a staging tree would not be updated
                clear_name(tree, of_directory=True)
            if aside and place.is_dir():
                shutil.copytree(place, tree, copy_function=os.symlink)
            place = tree if aside else place
            place.mkdir(mode=0o770 if site.settings.group_writable else 0o700, exist_ok=True)
            if not os.path.lexists(place / ".gitignore"):
                write_new_file(place / ".gitignore", b"*\n")
            if not os.path.lexists(tree):
                tree.symlink_to(place)
        except OSError as error:
            message = f"{place} cannot be used: {error}"
            raise ResolutionError(message, f"Give this user write access to {place}.") from error
        messages, problems = list[str](), list[str]()
        for source, one in zip(sources, _ask(site, place), strict=True):
            messages.append(f"{source}: {_say(source, one, log)}")
            problems += [one.problem] if one.problem else []
        (step.warns if problems else step.says)("; ".join(messages))


def _say(source: str, mirrored: Mirrored, log: RunLog) -> str:
    """Return how a source was mirrored, and report an old mirror. Raises ResolutionError without a complete mirror."""
    if not mirrored.problem:
        changes = [
            f"{mirrored.fetched} new" if mirrored.fetched else "",
            f"{mirrored.removed} gone" if mirrored.removed else "",
        ]
        return ", ".join(filter(None, changes)) or "nothing new"
    advice = f"Check the network, AWS_ENDPOINT_URL and the credentials: `aws s3 ls {source}/`."
    if mirrored.synced is None:
        message = f"{source} has not been mirrored completely yet: {mirrored.problem}"
        raise ResolutionError(message, f"{advice} The next run downloads the missing files.")
    age = (datetime.now(UTC) - mirrored.synced).total_seconds()
    line = f"{mirrored.problem}; its mirror from {duration(age)} ago is used"
    if age > _OLD:
        log.note(Finding("mirror-failed", f"{source}: {line}", advice))
    return line


def _ask(site: Site, place: Path) -> tuple[Mirrored, ...]:
    """Mirror all sources in a separate process, within `sources_timeout`."""
    from msgspec import ValidationError, convert

    from releaser.tools import s3_mirror

    settings = S3Settings.of(site)
    names = [source.removeprefix(S3) for source in settings.sources]
    asked = [
        {"bucket": name.partition("/")[0], "prefix": name.partition("/")[2], "directory": str(place / name)}
        for name in names
    ]
    try:
        found = site.runner.run(
            [sys.executable, "-P", s3_mirror.__file__],
            cwd=Path("/"),
            timeout=settings.sources_timeout + _GRACE,
            env=neutral(without(site.runner.environ, "own", "index", "agent")),
            input=json.dumps({"seconds": settings.sources_timeout, "sources": asked}).encode(),
            whole=True,
            umask=0o007 if site.settings.group_writable else 0o077,
        )
        return convert(json.loads(found.stdout), tuple[Mirrored, ...])
    except (ToolError, ValueError, ValidationError) as error:
        reason = error_line(error.output) if isinstance(error, ToolError) else ""
        known = [_read_completion(Path(question["directory"], s3_mirror.INDEX)) for question in asked]
        reason = reason or getattr(error, "message", str(error))
        return tuple(Mirrored(error=reason, synced=completion) for completion in known)


def _read_completion(index: Path) -> datetime | None:
    """Return when a mirror was last complete; None if unknown."""
    from releaser.tools import s3_mirror

    try:
        return s3_mirror.read_time(json.loads(read_file(index))["synced"])
    except (OSError, ValueError, TypeError, KeyError):
        return None
