"""Reading requirements files, in the format that pip describes in "Requirements File Format"."""

from __future__ import annotations

import os
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from releaser.redaction import Redactor

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_COMMENT = re.compile(r"(^|\s+)#.*$")
_VARIABLE = re.compile(r"\$\{([A-Z0-9_]+)\}")
_PER_LINE = re.compile(r"\s--(?:hash|config-settings?|global-option|install-option)(?:[ =]\S+)")
_HASH = re.compile(r"\s--hash[ =](\S+)")
_EGG = re.compile(r"#(?:.*&)?egg=([A-Za-z0-9._-]+)")
_OPTION = re.compile(r"(--?[A-Za-z][A-Za-z-]*)(?:[ =]\s*(.*))?$")
_VIA = re.compile(r"#\s*(?:via\b(?P<via>.*)|\s{2}(?P<more>\S.*))$")
_FILES = {"-r": "-r", "--requirement": "-r", "-c": "-c", "--constraint": "-c"}
_EDITABLE = ("-e", "--editable")
_INDEXES = {
    "-i": "index", "--index-url": "index", "--pypi-url": "index", "--extra-index-url": "extra",
    "-f": "links", "--find-links": "links", "--no-index": "none",
}  # fmt: skip
# They say how pip works, and nothing of what it takes.
_IDLE = frozenset({"--require-hashes", "--use-feature", "--trusted-host", "--prefer-binary", "--only-binary", "--pre"})


@dataclass(frozen=True, kw_only=True)
class Line:
    """What one line asks for, and where it stands, such as `requirements.txt, line 3`.

    `came_along` says that the tool which wrote the file has noted that other packages need it, and nobody asked for it.
    """

    requirement: Requirement
    where: str
    hashes: frozenset[str] = frozenset()
    came_along: bool = False

    @property
    def name(self) -> str:
        """The name of the package."""
        return canonicalize_name(self.requirement.name)

    @property
    def pin(self) -> str | None:
        """The one version that it admits, None if that is not one."""
        specifiers = list(self.requirement.specifier)
        if len(specifiers) != 1 or specifiers[0].operator not in ("==", "===") or "*" in specifiers[0].version:
            return None
        return specifiers[0].version


@dataclass(frozen=True, kw_only=True)
class Elsewhere:
    """A line that names a place in the stead of an index; the name is empty if the line does not tell it."""

    text: str
    where: str
    name: str = ""
    place: str = ""


@dataclass(kw_only=True)
class RequirementsFile:
    """What a requirements file asks for, with all files that it includes.

    `problems` are lines that make no sense, each with its place. The options that name indexes are in `index`, `extra`
    (more of them) and `links` (directories and pages of files); `no_index` says that no index is to be asked.
    """

    path: Path
    lines: list[Line] = field(default_factory=list)
    constraints: list[Line] = field(default_factory=list)
    elsewhere: list[Elsewhere] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    index: str = ""
    extra: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    no_index: bool = False

    def applying(self, markers: Mapping[str, str]) -> list[Line]:
        """Return the lines that count where environment markers have these values."""
        return [one for one in self.lines if _applies(one.requirement, markers)]

    def pins(self, markers: Mapping[str, str]) -> dict[str, str]:
        """Return the exact versions that are asked for here, by name, those of constraints too."""
        applying = [one for one in (*self.constraints, *self.lines) if _applies(one.requirement, markers)]
        return {one.name: one.pin for one in applying if one.pin is not None}


def _applies(requirement: Requirement, markers: Mapping[str, str]) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({**markers, "extra": ""})


def read_requirements(path: Path, environ: Mapping[str, str]) -> RequirementsFile:
    """Read a requirements file and all that it includes; variables in it are those of `environ`. Raises OSError.

    A file that another one includes and that cannot be read is one of the problems.
    """
    found = RequirementsFile(path=path)
    _Reader(found, environ).read(path, constraints=False)
    return found


class _Reader:
    def __init__(self, found: RequirementsFile, environ: Mapping[str, str]) -> None:
        self._found = found
        self._environ = environ
        self._read: set[tuple[Path, bool]] = set()

    def read(self, path: Path, *, constraints: bool) -> None:
        place = Path(os.path.abspath(path))
        if (place, constraints) in self._read:
            return
        self._read.add((place, constraints))
        for number, text, came_along in _logical_lines(_decoded(place.read_bytes())):
            where = f"{place}, line {number}"
            expanded = _VARIABLE.sub(lambda found: self._environ.get(found[1]) or found[0], text)
            if expanded.startswith("-"):
                self._option(place, where, expanded, constraints=constraints)
            else:
                self._requirement(place, where, expanded, constraints=constraints, came_along=came_along)

    def _option(self, place: Path, where: str, text: str, *, constraints: bool) -> None:
        option = _OPTION.match(text) or _OPTION.match(re.sub(r"^(-[a-zA-Z])(?=[^\s=-])", r"\1 ", text))
        name, value = (option[1], _unquoted(option[2] or "")) if option else (text, "")
        if name in _FILES and value:
            self._include(place, where, value, constraints=constraints or _FILES[name] == "-c")
        elif name in _EDITABLE and value:
            self._elsewhere(place, where, text, value)
        elif name in _INDEXES:
            self._index(place, _INDEXES[name], value)
        elif name not in _IDLE and not name.startswith("--no-binary"):
            self._found.problems.append(f"{where}: {Redactor().clean(text)!r} is no option that is known here")

    def _include(self, place: Path, where: str, value: str, *, constraints: bool) -> None:
        if "://" in value:
            self._found.problems.append(
                f"{where}: {Redactor().clean(value)} is not read, as it is not on this computer"
            )
            return
        try:
            self.read(place.parent / value, constraints=constraints)
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or error
            self._found.problems.append(f"{where}: {place.parent / value} cannot be read: {reason}")

    def _index(self, place: Path, kind: str, value: str) -> None:
        if kind == "none":
            self._found.no_index = True
        elif kind == "index":
            self._found.index = value
        elif kind == "extra":
            self._found.extra.append(value)
        else:
            self._found.links.append(value if "://" in value else str(place.parent / value))

    def _requirement(self, place: Path, where: str, text: str, *, constraints: bool, came_along: bool) -> None:
        hashes = frozenset(_HASH.findall(text))
        bare = _PER_LINE.sub("", text).strip()
        try:
            requirement = Requirement(bare)
        except InvalidRequirement as error:
            if _is_place(place, bare):
                self._elsewhere(place, where, bare, bare)
            else:
                reason = str(error).splitlines()[0]
                self._found.problems.append(f"{where}: {Redactor().clean(bare)!r} is no requirement ({reason})")
            return
        if requirement.url:
            name = canonicalize_name(requirement.name)
            self._found.elsewhere.append(Elsewhere(text=bare, where=where, name=name, place=requirement.url))
            return
        line = Line(requirement=requirement, where=where, hashes=hashes, came_along=came_along)
        (self._found.constraints if constraints else self._found.lines).append(line)

    def _elsewhere(self, place: Path, where: str, text: str, value: str) -> None:
        bare = value.partition(";")[0].strip()
        egg = _EGG.search(bare)
        at = bare.partition("#")[0].rstrip()
        if "://" not in at:
            at = os.path.normpath(place.parent / re.sub(r"\[[^\]]*\]$", "", at))
        name = canonicalize_name(egg[1]) if egg else _name_of_wheel(at)
        self._found.elsewhere.append(Elsewhere(text=Redactor().clean(text), where=where, name=name, place=at))


def _name_of_wheel(place: str) -> str:
    file = place.rpartition("/")[2]
    return canonicalize_name(file.partition("-")[0]) if file.endswith(".whl") else ""


def _is_place(file: Path, text: str) -> bool:
    """Whether this is a URL or a path, as pip tells them from requirements."""
    word = re.sub(r"\[[^\]]*\]$", "", text.partition(";")[0].strip())
    return "://" in word or word.startswith((".", "/")) or (os.sep in word and (file.parent / word).exists())


def _unquoted(value: str) -> str:
    try:
        words = shlex.split(value)
    except ValueError:
        return value
    return words[0] if words else ""


def _decoded(data: bytes) -> str:
    for mark, encoding in ((b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16")):
        if data.startswith(mark):  # as Windows writes what a shell there sends to a file
            return data.decode(encoding)
    return data.decode("utf-8-sig")


def _logical_lines(text: str) -> Iterator[tuple[int, str, bool]]:
    """Yield each line with its number, continuations joined, without comments; and whether `via` names packages alone.

    `pip-compile` and `uv pip compile` note behind or below each line who asks for it.
    """
    waiting: tuple[int, str] | None = None
    via: list[str] | None = None
    joined, began = "", 0
    for number, raw in enumerate(text.splitlines(), start=1):
        if not joined and raw.lstrip().startswith("#"):  # one behind a continuation ends that
            via = _noted(raw, via)
            continue
        began = began or number
        if raw.endswith("\\"):
            joined += raw[:-1] + " "
            continue
        whole = _COMMENT.sub("", joined + raw).strip()
        if whole:
            if waiting:
                yield (*waiting, _only_packages(via))
            waiting, via = (began, whole), _noted(raw, None)
        joined, began = "", 0
    if waiting:
        yield (*waiting, _only_packages(via))
    if rest := _COMMENT.sub("", joined).strip():
        yield began, rest, False


def _noted(line: str, via: list[str] | None) -> list[str] | None:
    """Add to the names that were noted so far those of a comment that begins with `via`, or goes on from there."""
    found = _VIA.search(line)
    if found is None:
        return via
    if found["via"] is not None:
        return [found["via"]]
    return via if via is None else [*via, found["more"]]


def _only_packages(via: list[str] | None) -> bool:
    names = [name.strip() for one in via or () for name in one.split(",") if name.strip()]
    return bool(names) and all(re.fullmatch(r"[A-Za-z0-9._-]+", name) and not name.startswith("-") for name in names)


def is_prerelease(version: str) -> bool:
    """Whether a version is a pre-release; what is no version is none."""
    try:
        return Version(version).is_prerelease
    except InvalidVersion:
        return False
