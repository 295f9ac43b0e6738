"""The rules of a site, by its settings and by what failed before; and what they withhold, as a report shows it."""

from __future__ import annotations

import functools
import hashlib
import itertools
import os
import re
from dataclasses import dataclass, field, replace
from pathlib import PurePath
from typing import TYPE_CHECKING

from releaser.errors import ToolError
from releaser.locks.rules import Rules, Withheld
from releaser.locks.versions import Age, Upgrade, is_newer
from releaser.system.words import truncate

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import datetime
    from pathlib import Path

    from releaser.locks.lock import LockFile
    from releaser.locks.versions import Level
    from releaser.releases.quarantine import Constraints, Hold, Holds, Quarantine
    from releaser.site.site import Site


_TOLD_LINES = 12  # of what the tests printed with a version that failed
_LONGEST_NAME = 1000  # characters; no path is longer that tests name
_MOST_FILES = 100  # of the project that a failure may name
_WORD = re.compile(r"[\w./@+-]+")  # a path, or the name of a module
_ENDINGS = (".py", ".html", ".txt", ".jinja", ".jinja2", ".toml", ".cfg")
_STAGING = re.compile(r"\.releaser-staging(?=/|$)")
_OF_TESTS = re.compile(r"tests?|conftest|tests?_.*|.*_tests?")


@dataclass(frozen=True, kw_only=True)
class Lower:
    """How packages of which a version has failed are to come in lower, for one resolution."""

    #: The packages that stay, and at which versions.
    stay: Mapping[str, str] = field(default_factory=dict)
    #: Those that come in the series that is live alone.
    patched: frozenset[str] = frozenset()
    #: Those of which what is just older than all that failed is no worse than anything else.
    near: frozenset[str] = frozenset()

    def apply(self, rules: Rules) -> Rules:
        """Return the rules with these in addition."""
        patched: tuple[tuple[str, Level], ...] = tuple((name, "patch") for name in sorted(self.patched))
        upgrade = replace(rules.upgrade, packages=(*patched, *rules.upgrade.packages))
        return replace(rules, upgrade=upgrade, stay=self.stay, near=self.near)


def rules_for(site: Site, lock: LockFile, live: LockFile, constraints: Constraints, *, now: datetime) -> Rules:
    """Put together what keeps versions out. `lock` is the checkout's, `live` that of the live release.

    The holds in `constraints` are those that count, see `select_holds`.
    """
    settings, holds = site.settings, constraints.holds
    backed_out = (
        Withheld(name=one.name, version=one.version, reason=one.reason, since=one.at)
        for one in constraints.quarantine.versions
    )
    failed = (
        Withheld(name=one.name, version=version, reason=one.reason, by="tests", since=one.at)
        for one in holds.entries
        if one.by == "tests"
        for version in _failed_versions(one, live)
    )
    rests = {one.name: holds.rests_until(one.name) for one in holds.entries}
    return Rules(
        locked=lock.versions,
        live=live.versions,
        local=lock.local | live.local,
        held=tuple(
            Withheld(name=one.name, reason=one.reason, by="person", since=one.at)
            for one in holds.entries
            if one.by == "person"
        ),
        ignored=settings.ignore,
        rejected=(*backed_out, *failed),
        next_try={name: rest.isoformat() for name, rest in rests.items() if rest is not None and now < rest},
        upgrade=Upgrade(level=settings.upgrade, packages=settings.upgrade_packages),
        age=Age(least=settings.min_age, packages=settings.min_age_packages, unknown=settings.min_age_unknown, now=now),
    )


def _failed_versions(hold: Hold, live: LockFile) -> Iterator[str]:
    """Yield the versions that the tests hold; of several, not those for other platforms that have been live before."""
    versions, before = hold.version.split(", "), live.versions.get(hold.name, "").split(", ")
    for version in versions:
        if version and (len(versions) == 1 or version not in before):
            yield version


def select_holds(site: Site, holds: Holds, *, python: str, now: datetime) -> Holds:
    """Return the holds that keep something out of a resolution with the code of `site` and this Python.

    A version that failed is worth another try when the code that its failing tests touch has changed, or Python, but
    not twice a week.
    """
    code = Code(site)

    def counts(one: Hold) -> bool:
        if one.by != "tests":
            return one.by == "person"
        rest = holds.rests_until(one.name)
        if rest is not None and now < rest:
            return True
        return _minor(one.python) == _minor(python) and not code.has_changed(one)

    return replace(holds, entries=tuple(one for one in holds.entries if counts(one)))


def _minor(python: str) -> str:
    return ".".join(python.split(".")[:2])


# Which code of a site a failing test touches, and whether that has changed since


@dataclass(frozen=True)
class Code:
    """The code of a site, read when somebody asks."""

    site: Site

    def has_changed(self, hold: Hold) -> bool:
        """Whether the code is another one than that with which a version failed, as far as its tests touch it.

        Where a failure names no file but those of tests, which may have asked for a page, all Python counts.
        """
        root = self.site.project.root
        if any(_digest_of(root / name) != digest for name, digest in hold.files.items()):
            return True
        if not hold.code or not all(map(_is_of_tests, hold.files)):
            return False
        return self._digest not in ("", hold.code)

    @functools.cached_property
    def _digest(self) -> str:
        return code_digest(self.site)


def code_digest(site: Site) -> str:
    """Return a digest of all Python that git tracks in the commit that is checked out; empty if nobody can tell."""
    try:
        return site.git.code_key((), ends=".py")
    except ToolError:
        return ""


def named_files(output: str, root: Path) -> dict[str, str]:
    """Map the files of the project that the output of a failed test names to digests of them."""
    found = ((name, _digest_of(root / name)) for name in dict.fromkeys(_names_in(output, root)))
    return dict(itertools.islice(((name, digest) for name, digest in found if digest), _MOST_FILES))


def _names_in(output: str, root: Path) -> Iterator[str]:
    """Yield paths below the project that the output may mean, as paths and as names of modules."""
    tops = {str(root), os.path.realpath(root)}
    tops |= {_STAGING.sub(".releaser-staging-beside", top) for top in tops}  # where tests may run at the same time
    for word in dict.fromkeys(_WORD.findall(output)):
        text = word.rstrip(".")
        if len(text) > _LONGEST_NAME:
            continue
        text = next((os.path.relpath(text, top) for top in tops if text.startswith(f"{top}/")), text)
        if text.endswith(_ENDINGS):
            if not text.startswith(("/", "..")) and "site-packages" not in text:
                yield os.path.normpath(text)
            continue
        parts = text.split(".")
        for end in range(
            len(parts) if len(parts) > 1 else 0, 0, -1
        ):  # `shop.tests.Shop.test_price` is in shop/tests.py
            path = "/".join(parts[:end])
            if (root / f"{path}.py").is_file():
                yield f"{path}.py"
                break


def _is_of_tests(name: str) -> bool:
    """Whether a file only starts the tests or holds them, by its name."""
    path = PurePath(name)
    return path.name == "manage.py" or any(_OF_TESTS.fullmatch(part) for part in (*path.parts[:-1], path.stem))


def _digest_of(path: Path) -> str:
    """Return the digest of a file; empty where there is none."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()[:32]
    except OSError:
        return ""


# What is withheld, for a report


def all_withheld(
    withheld: Iterable[Withheld], quarantine: Quarantine, holds: Holds, lock: LockFile
) -> tuple[Withheld, ...]:
    """List the versions that were left out on purpose; what comes only together with one is part of that entry.

    `withheld` is what the rules have kept out of the resolution that gave `lock`.
    """
    held = list_failed(holds, lock)
    failed = {(one.name, one.version) for one in held}
    part = {name for one in held for name in one.together}
    backed_out = {entry.name for entry in quarantine.versions}
    others = tuple(
        one
        for one in withheld
        if (one.by != "activation" or one.name not in backed_out)
        and (one.name, one.version) not in failed
        and f"{one.name} {one.version}" not in part
    )
    return list_rejected(quarantine, lock) + held + others


def list_failed(holds: Holds, lock: LockFile) -> tuple[Withheld, ...]:
    """List the versions that failed, and those that are undecided, as far as they are newer than what is locked."""
    still = holds.without_older(lock.versions).entries
    return tuple(describe_holds((one for one in still if one.by != "person"), lock.versions))


def describe_holds(holds: Iterable[Hold], live: Mapping[str, str]) -> Iterator[Withheld]:
    """Yield holds as a report shows them; `live` are the versions of the live release."""
    for one in holds:
        yield Withheld(
            name=one.name,
            version=one.version or live.get(one.name, ""),
            reason=one.reason,
            by=one.by,
            since=one.at,
            release=one.release,
            tests=one.tests,
            together=one.together,
            output=truncate(one.output, head_lines=0, tail_lines=_TOLD_LINES),
        )


def list_rejected(quarantine: Quarantine, lock: LockFile) -> tuple[Withheld, ...]:
    """List the quarantined versions that are newer than what was resolved."""
    return tuple(
        Withheld(name=entry.name, version=entry.version, reason=entry.reason, since=entry.at)
        for entry in quarantine.versions
        if entry.name in lock.versions and is_newer(entry.version, lock.versions[entry.name])
    )
