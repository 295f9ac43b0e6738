"""The rules of a site, from its settings, its file of constraints and earlier failures, and the blocked versions."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from releaser.errors import Finding, ToolError, refuse, refuse_any
from releaser.locks.blocks import Block
from releaser.locks.rules import Limit, Packages, Policy, Rules
from releaser.locks.versions import Upgrade, normalize_name
from releaser.resolution.version_settings import VersionSettings
from releaser.site.ownership import Ownership
from releaser.system.files import read_text
from releaser.system.frozen import replace
from releaser.system.words import truncate

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import datetime

    from packaging.requirements import Requirement

    from releaser.core.source import FailedVersions
    from releaser.locks.lock import LockFile
    from releaser.releases.blocks import Blocks, StoredBlock
    from releaser.site.site import Site

_OUTPUT_LINES = 12  # last lines of the tests' output with a failed version
_CODE = (".py", ".html", ".jinja", ".jinja2")


def rules_for(  # noqa: PLR0913 - all inputs of the rules
    site: Site, lock: LockFile, live: LockFile, blocks: Blocks, *, python: str, now: datetime
) -> Rules:
    """Return the rules of a site. `lock` is that of the checkout, `live` that of the live release.

    The `blocks` are those of `select_blocks`. Raises PreflightError.
    """
    settings, level = VersionSettings.of(site), site.settings.upgrade
    running = {**live.versions, **_versions_to_leave(lock, live, blocks)}
    sources = {
        package["name"] for package in lock.packages if "registry" in package["source"] and not package.get("wheels")
    }
    return Rules(
        packages=Packages(
            locked=lock.versions, live=running, local=lock.local | live.local, sources=frozenset(sources)
        ),
        policy=Policy(
            upgrade=Upgrade(level="all" if level == "none" else level, packages=settings.upgrade_packages),
            age=settings.age(now),
            ignored=settings.ignore,
            limits=read_limits(site, python=python),
        ),
        held=blocks.held,
        failed=tuple(
            replace(hold, version=version) for hold in blocks.failed for version in _failed_versions(hold, live)
        ),
    )


def only_fixes(site: Site) -> bool:
    """True if the settings ask for fixes of known vulnerabilities alone."""
    return site.settings.upgrade == "security"


def _versions_to_leave(lock: LockFile, live: LockFile, blocks: Blocks) -> Mapping[str, str]:
    """Return the locked versions of packages whose live version a commit of another host or developer lowered."""
    names = {hold.name for hold in blocks.by("rollback") if hold.commit and hold.is_in(live.versions)}
    return {name: lock.versions[name] for name in names if name in lock.versions}


def _failed_versions(hold: StoredBlock, live: LockFile) -> Iterator[str]:
    """Yield the versions of a hold; of several, which are for different platforms, only those that are not live."""
    versions, before = hold.version.split(", "), live.versions.get(hold.name, "").split(", ")
    for version in versions:
        if version and (len(versions) == 1 or version not in before):
            yield version


def select_blocks(site: Site, blocks: Blocks, failed: FailedVersions = "rest", *, python: str, now: datetime) -> Blocks:
    """Return the blocks that count in a resolution with the code of `site` and this Python.

    A failed version gets another try when the code or the Python has changed, at most once a week.
    """
    from releaser.site.pythons import minor  # slow to import

    by_tests = blocks.by("tests")
    code = code_digest(site) if by_tests and failed == "rest" else ""

    def rests(block: StoredBlock) -> bool:
        is_same = minor(block.python) == minor(python) and (not block.code_key or code in ("", block.code_key))
        return is_same or (block.until is not None and now < block.until)

    tried = [hold for hold in by_tests if failed == "in" or (failed == "rest" and not rests(hold))]
    return blocks.without(tried.__contains__)


def code_digest(site: Site) -> str:
    """Return a digest of the Python files and templates in the commit of the checkout; empty if git does not work."""
    try:
        return site.git.code_key((), ends=_CODE)
    except ToolError:
        return ""


# The blocked versions, for a report


def all_holds(holds: Iterable[Block], blocks: Blocks, lock: LockFile) -> tuple[Block, ...]:
    """List the versions that an update skips on purpose; upgrades that need such a version are part of its entry.

    `holds` are the blocks of the resolution that made `lock`.
    """
    known = list_failed(blocks.failed, lock)
    failed = {(hold.name, hold.version) for hold in known if hold.by != "rollback"}
    part = {name for hold in known for name in hold.together}
    rolled_back = {hold.name for hold in blocks.by("rollback")}
    others = tuple(
        hold
        for hold in holds
        if (hold.by != "rollback" or hold.name not in rolled_back)
        and (hold.name, hold.version) not in failed
        and f"{hold.name} {hold.version}" not in part
        and hold.version != lock.versions.get(hold.name)
    )
    return known + others


def list_failed(failed: Iterable[StoredBlock], lock: LockFile) -> tuple[Block, ...]:
    """List the failed versions that are newer than the locked ones."""
    ahead = (hold for hold in failed if hold.is_ahead_of(lock.versions))
    return tuple(describe_holds(ahead, lock.versions))


def describe_holds(holds: Iterable[StoredBlock], live: Mapping[str, str]) -> Iterator[Block]:
    """Yield blocks as a report shows them; `live` are the versions of the live release."""
    for hold in holds:
        known = {name: getattr(hold, name) for name in ("name", "reason", "by", "since", "tests", "together")}
        yield Block(
            version=hold.version or live.get(hold.name, ""),
            release=hold.release if hold.by == "tests" else "",
            output=truncate(hold.output, head_lines=0, tail_lines=_OUTPUT_LINES),
            **known,
        )


_HOW = "Write a name and a specifier, such as django<6. Options, URLs and extras are not allowed."


def read_limits(site: Site, *, python: str | None = None) -> dict[str, Limit]:
    """Return the limits in the file of constraints for a `python`; without it, whatever the markers are.

    Empty without a file. Raises PreflightError, with all problems of the file.
    """
    named = VersionSettings.of(site).constraints
    if not named or site.supply.made_elsewhere:
        return {}
    root, given = site.project.root, Path(named).expanduser()
    place = Path(os.path.normpath(root / given))
    if not given.is_absolute() and not place.is_relative_to(root):
        refuse(
            "constraints-outside",
            f"`constraints` is {given}, which is outside the project",
            "Name a file in the project, or an absolute path.",
        )
    refuse_any(Ownership.of(root).unsafe(place))
    try:
        lines = read_text(place).splitlines()
    except (OSError, ValueError) as error:
        refuse(
            "constraints-unreadable",
            f"constraints {place} cannot be read: {error}",
            "Correct `constraints`, or unset it.",
        )
    from releaser.locks.installed import environment_of

    found, findings = dict[str, Limit](), list[Finding]()
    for number, line in enumerate(lines, start=1):
        words, where = re.sub(r"(^|\s)#.*", "", line).strip(), f"{given}:{number}"
        if not words:
            continue
        one = _parse(words)
        if one is None:
            findings.append(Finding("constraint-invalid", f"{where}: {words!r} is not a version constraint", _HOW))
        elif one.marker is None or python is None or one.marker.evaluate(environment_of(python)):
            name, limit = normalize_name(one.name), Limit(specifier=str(one.specifier), source=where)
            found[name] = found[name].also(limit) if name in found else limit
    refuse_any(*findings)
    return found


def _parse(words: str) -> Requirement | None:
    from packaging.requirements import InvalidRequirement, Requirement  # slow to import

    try:
        one = Requirement(words)
    except InvalidRequirement:
        return None
    return one if one.specifier and not one.extras and not one.url else None
