"""Reads what `uv add` does not take from a requirements file into pyproject.toml: options, constraints and hashes.

uv checks the syntax of the file, so this module does not.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name, canonicalize_version

from releaser.errors import Finding, ResolutionError
from releaser.locks.versions import files_of
from releaser.system.expression import expression
from releaser.system.files import read_text
from releaser.system.frozen import Frozen
from releaser.system.words import secrets_in_urls

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from releaser.locks.lock import LockFile

_LOGICAL_LINE = expression(r"(?:\\\r?\n|[^\n])+")  # with its continuations after backslashes
_COMMENT = expression(r"(?:^|(?<=\s))#.*$", re.MULTILINE)
_OPTION = expression(r"(--?[a-z-]+)(?:\s*=\s*|\s+|$)(.*)")
_HASH = expression(r"\s--hash[= ]\s*(\S+)")
_INCLUDED = {"-r": False, "--requirement": False, "-c": True, "--constraint": True}
_TAKEN = {*_INCLUDED, "-e", "--editable", "--require-hashes"}  # the hashes of a lock always count
# `uv add` ignores all of these (uv 0.13.8, measured); uv has other settings for indexes.
_INDEXES = {"-i", "--index-url", "--extra-index-url", "-f", "--find-links", "--no-index"}
_TO_HIDE = (
    "Remove the line, and add the index without the password to [[tool.uv.index]] in pyproject.toml. Give "
    "the"
    " password to uv by environment variables, and to git by a credential helper or ssh."
)
_TO_NAME = (
    "Add the index to [[tool.uv.index]] in pyproject.toml (or `find-links` and `no-index` to [tool.uv]), and "
    "commit;"
    " then the line may stay."
)


class Line(Frozen):
    """One line of a requirements file, or of one that it includes."""

    #: Such as `/srv/shop/requirements.txt, line 3`.
    where: str
    text: str
    #: True if it only limits versions of packages that other lines ask for (`-c`).
    is_constraint: bool = False

    @property
    def requirement(self) -> Requirement | None:
        """The requirement; None if the line is an option, a path or a URL."""
        try:
            return Requirement(_HASH.sub("", self.text))
        except InvalidRequirement:
            return None

    @property
    def hashes(self) -> frozenset[str]:
        """The hashes that files of the package may have; empty if the line has none."""
        return frozenset(_HASH.findall(self.text))


def read_lines(file: Path, *, is_constraint: bool = False, within: tuple[str, ...] = ()) -> Iterator[Line]:
    """Yield the lines of a requirements file and of the files that it includes. Raises OSError and UnicodeDecodeError.

    Included URLs are left to uv. Like uv, it skips a file that includes itself; `within` are the files on the way.
    """
    if (place := os.path.realpath(file)) in within:
        return
    content = read_text(file, encoding="utf-8-sig")
    for found in _LOGICAL_LINE.finditer(content):
        text = re.sub(r"\\\r?\n", " ", _COMMENT.sub("", found[0])).strip()
        name, value = _option_of(text)
        if name in _INCLUDED and "://" not in value:
            bounds_only = is_constraint or _INCLUDED[name]
            yield from read_lines(file.parent / value, is_constraint=bounds_only, within=(*within, place))
        elif text:
            number = content.count("\n", 0, found.start()) + 1
            yield Line(where=f"{file}, line {number}", text=text, is_constraint=is_constraint)


def _option_of(text: str) -> tuple[str, str]:
    """Return the option of a line and its value; both are empty for other lines."""
    found = _OPTION.fullmatch(text)
    return (found[1], found[2].strip("\"' ")) if found else ("", "")


def refusals(lines: Iterable[Line], *, names_indexes: bool) -> Iterator[Finding]:
    """Yield findings for lines that `uv add` would ignore, and for those with a password, which git would keep."""
    for line in lines:
        name, _ = _option_of(line.text)
        if secrets_in_urls(line.text):
            yield Finding(
                "requirements-secret",
                f"{line.where} contains a password or a token, which git would keep",
                _TO_HIDE,
            )
        elif name in _INDEXES and not names_indexes:
            yield Finding("requirements-unfit", f"{line.where}: `uv add` does not accept `{line.text}`", _TO_NAME)
        elif name and name not in _TAKEN | _INDEXES:
            advice = "Remove the line; [tool.uv] in pyproject.toml has settings for most of these options."
            yield Finding("requirements-unfit", f"{line.where}: `uv add` does not accept `{name}`", advice)


def exact_version(requirement: Requirement) -> str | None:
    """Return the only version that a requirement admits; None if it may admit others."""
    specifiers = list(requirement.specifier)
    is_exact = len(specifiers) == 1 and specifiers[0].operator in ("==", "===") and "*" not in specifiers[0].version
    return specifiers[0].version if is_exact else None


def refuse_other_files(lock: LockFile, lines: Iterable[Line]) -> None:
    """Raise ResolutionError if the index has no file with the hashes of the requirements file."""
    known: dict[tuple[str, str], set[str]] = {}
    for package in lock.packages:
        key = package["name"], canonicalize_version(package.get("version", ""))
        known.setdefault(key, set()).update(file["hash"] for file in files_of(package) if "hash" in file)
    for line in lines:
        requirement, hashes = line.requirement, line.hashes
        if requirement is None or not hashes:
            continue
        name, version = canonicalize_name(requirement.name), canonicalize_version(exact_version(requirement) or "")
        # A line for other platforms may name a version that is not locked.
        if (locked := known.get((name, version))) and not hashes & locked:
            message = f"{line.where}: the index has no file of {name} with one of those hashes"
            advice = "Check which hash is right: a wrong file may come from an attacker."
            raise ResolutionError(message, advice)
