"""Packages from elsewhere instead of the locked ones: the values of `--override`, and the settings for uv."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import tomli
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from releaser.errors import UsageError, os_reason
from releaser.locks.lock import Graph, LockFile, Package
from releaser.locks.versions import parse_version
from releaser.system.expression import expression
from releaser.system.frozen import Frozen, replace
from releaser.system.words import Redactor

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_DIRECT = expression(r"\s*(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*\s*(?:\[[^\]]*\])?)\s*@\s*(?P<place>\S.*?)\s*", re.DOTALL)
_HOW = "Write 'NAME @ URL', 'NAME @ PATH' or 'NAME==VERSION'."
# The schemes of uv 0.13, in lower case; it takes anything else for a path.
_SCHEMES = ("https", "http", "file", "git+https", "git+http", "git+ssh", "git+file")
_BUILDABLE = ("pyproject.toml", "setup.py")


class Override(Frozen):
    """One package to install from `url`, or, if that is empty, in a version that fits `specifier`."""

    name: str
    extras: frozenset[str] = frozenset()
    url: str = ""
    specifier: str = ""

    def __str__(self) -> str:
        """Describe it for people, without a password or token that is part of the URL."""
        return Redactor().clean(self.requirement)

    @property
    def requirement(self) -> str:
        """The requirement that replaces all other requirements of the package for uv."""
        extras = f"[{','.join(sorted(self.extras))}]" if self.extras else ""
        return f"{self.name}{extras} @ {self.url}" if self.url else f"{self.name}{extras}{self.specifier}"


def parse_overrides(values: Sequence[str], directory: Path, *, option: str = "--override") -> tuple[Override, ...]:
    """Parse the values of a command-line option; a relative path starts at `directory`. Raises UsageError."""
    found = tuple(_parse(value, directory, option) for value in values)
    for number, one in enumerate(found):
        if any(other.name == one.name for other in found[:number]):
            message = f"{option} names {one.name} twice"
            raise UsageError(message, "Use only one of them.")
    return found


def _parse(value: str, directory: Path, option: str) -> Override:
    from packaging.requirements import InvalidRequirement, Requirement  # slow to import

    direct = _DIRECT.fullmatch(value)
    asked = f"{option} {Redactor().clean(value)!r}"
    url = _url(asked, direct["place"], directory) if direct else ""
    try:
        wanted = Requirement(f"{direct['name']} @ {url}" if direct else value)
    except InvalidRequirement as error:
        reason = str(error).splitlines()[0]
        raise _wrong(asked, f"is not a requirement ({reason})") from error
    if wanted.marker is not None:
        raise _wrong(asked, "has a condition after the semicolon", "Remove it; the override applies anyway.")
    if not url and not wanted.specifier:
        raise _wrong(asked, "names neither a source nor a version")
    return Override(
        name=canonicalize_name(wanted.name),
        extras=frozenset(canonicalize_name(extra) for extra in wanted.extras),
        url=wanted.url or "",
        specifier=str(wanted.specifier),
    )


def _url(asked: str, place: str, directory: Path) -> str:
    """Return the URL of a place, which is a URL or a path."""
    scheme, is_url, _ = place.partition("://")
    if is_url and scheme not in _SCHEMES:
        raise _wrong(asked, f"uses {scheme}://, which uv does not support", f"Use one of {', '.join(_SCHEMES)}.")
    try:
        parts = urlsplit(place)
        if is_url and scheme != "file":
            return place
        path = os.path.abspath(unquote(parts.path) if is_url else directory / Path(place).expanduser())
        os.stat(path)
        is_other = os.path.isdir(path) and not {*_BUILDABLE} & {*os.listdir(path)}
    except FileNotFoundError as error:
        advice = "A repository is named as git+https://… or git+file:///…."
        raise _wrong(asked, f"names {error.filename}, which does not exist", advice) from error
    except (OSError, ValueError, RuntimeError) as error:  # no such home directory
        reason = os_reason(error) if isinstance(error, OSError) else error
        raise _wrong(asked, f"names a place that cannot be read: {reason}") from error
    if is_other:
        flaw = f"names {path}, a directory without {' and '.join(_BUILDABLE)}"
        raise _wrong(asked, flaw, "Name the directory from which the package can be built.")
    return place if is_url else Path(path).as_uri()


def _wrong(asked: str, what: str, advice: str = _HOW) -> UsageError:
    return UsageError(f"{asked} {what}", advice)


def check_locked(overrides: Iterable[Override], lock: LockFile) -> None:
    """Check that each package is in this uv.lock, and is not part of the project. Raises UsageError."""
    own = Graph.of(lock).own
    for override in overrides:
        if override.name not in lock.names:
            message = f"--override {override}: {override.name} is not in uv.lock, so nothing would be tested"
            raise UsageError(message, "Name a package that the project uses; `uv tree` lists them.")
        if override.name in own:
            message = f"--override {override}: {override.name} is a part of the project"
            advice = "Change it in the checkout: a workspace member is always taken from there."
            raise UsageError(message, advice)


def with_extras(overrides: Iterable[Override], lock: LockFile) -> tuple[Override, ...]:
    """Add the extras in this uv.lock to overrides that name none: otherwise uv would drop the extras."""
    extras = Graph.of(lock).extras
    return tuple(
        replace(override, extras=override.extras or extras.get(override.name, frozenset())) for override in overrides
    )


def apply_overrides(text: str, overrides: Sequence[Override]) -> str:
    """Return the text of pyproject.toml with these overrides, without other settings for the same packages.

    uv 0.13 silently applies `[tool.uv.sources]` to an override too, and constraints in addition to it.
    """
    import tomlkit  # slow to import, and needed only here

    names = {override.name for override in overrides}
    content = tomli.loads(text)
    uv = content.setdefault("tool", {}).setdefault("uv", {})
    uv["sources"] = {
        name: source for name, source in uv.get("sources", {}).items() if canonicalize_name(name) not in names
    }
    for key in ("constraint-dependencies", "override-dependencies"):
        uv[key] = [entry for entry in uv.get(key, []) if _name_in(entry) not in names]
    uv["override-dependencies"] += [override.requirement for override in overrides]
    return tomlkit.dumps(content)


def not_taken(overrides: Iterable[Override], lock: LockFile) -> tuple[Override, ...]:
    """Return the overrides that are not in effect in a uv.lock."""
    return tuple(
        override
        for override in overrides
        if not any(_is_it(package, override) for package in lock.packages if package["name"] == override.name)
    )


def without_passwords(data: bytes) -> bytes:
    """Return a uv.lock without the credentials in its URLs."""
    return Redactor().clean(data.decode("utf-8")).encode("utf-8")


def _is_it(package: Package, override: Override) -> bool:
    source = package.get("source", {})
    if override.url:
        return bool(source.keys() & {"directory", "path", "git", "url"})
    version = parse_version(package.get("version", ""))
    fits = version is not None and SpecifierSet(override.specifier).contains(version, prereleases=True)
    return fits and "registry" in source


def _name_in(entry: object) -> str:
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        return canonicalize_name(Requirement(str(entry)).name)
    except InvalidRequirement:
        return ""
