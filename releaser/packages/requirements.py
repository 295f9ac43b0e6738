"""Requirements files, as pip reads them: the packages, the indexes, and what no lock can keep."""

from __future__ import annotations

import argparse
import os
import re
import shlex
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Literal, NoReturn
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_version, parse_sdist_filename, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from releaser.errors import Problem
from releaser.site.project import get_table, read_pyproject, read_text
from releaser.system.text import find_secrets, normalize_name, redact

#: `direct` is what the project itself needs, `needed` what others do; of a `listed` one, only the lock can say it.
#: A `bound` one is not installed for its own sake.
Role = Literal["direct", "needed", "listed", "bound"]
_VIA = re.compile(r"^\s*via\b[: ]?")
_OF_PROJECT = re.compile(r"-r\s|\((?:pyproject\.toml|setup\.(?:py|cfg))\)|\.in\b")
_VERSION = re.compile(r"\d\.\d|^[0-9a-f]{7,40}$")  # in a tag or the name of a file; or a commit
#: What `venv` of older Debians puts into each venv, and `pip freeze` lists; no index has it.
NO_PACKAGE = "pkg-resources"
_KEPT = "A commit, a tag with a version, or a file with one in its name can be locked."


class Entry(msgspec.Struct, frozen=True):
    """A package as a file or a venv names it; `place` says where.

    `directory` is that of a package beside the project, relative to it.
    """

    requirement: Requirement
    place: str
    role: Role = "listed"
    hashes: frozenset[str] = frozenset()
    directory: str = ""
    is_editable: bool = False

    @property
    def name(self) -> str:
        """The name as uv.lock has it."""
        return normalize_name(self.requirement.name)

    @property
    def version(self) -> str:
        """The one version that it allows; empty if it allows several, or is from elsewhere than an index."""
        return find_pin(self.requirement)

    @property
    def marker(self) -> str:
        """The condition under which it is installed; empty if it always is."""
        return str(self.requirement.marker or "")

    @property
    def is_from_index(self) -> bool:
        """True unless it comes from a URL, a repository or a directory."""
        return not (self.requirement.url or self.directory)


class Index(msgspec.Struct, frozen=True):
    """An index of a file; `is_default` if it takes the place of the public one."""

    url: str
    is_default: bool

    @property
    def name(self) -> str:
        """Its name, by which uv finds user and password in the environment."""
        return re.sub(r"[^a-z0-9]+", "-", self.url.partition("://")[2].lower()).strip("-")


class Requirements(msgspec.Struct, frozen=True):
    """The content of a requirements file, and of those that it names; `problems` are what no lock can keep."""

    entries: tuple[Entry, ...] = ()
    indexes: tuple[Index, ...] = ()
    #: URLs, and directories relative to the project.
    find_links: tuple[str, ...] = ()
    has_no_index: bool = False
    problems: tuple[Problem, ...] = ()


def find_pin(requirement: Requirement) -> str:
    """Return the one version that a requirement allows; empty if it allows several."""
    exact = (bound for bound in requirement.specifier if bound.operator in ("==", "==="))
    pins = {canonicalize_version(bound.version): bound.version for bound in exact if not bound.version.endswith(".*")}
    return next(iter(pins.values())) if len(pins) == 1 else ""


def loosen(requirement: Requirement) -> str:
    """Return a requirement whose exact version lets patch releases in: `==5.2` becomes `~=5.2.0`.

    A pre-release and a local version stay.
    """
    bound, pin = str(requirement.specifier), find_pin(requirement)
    if pin and "===" not in bound:
        version = Version(pin)
        parts = (*version.release, 0, 0)[: max(3, len(version.release))]
        epoch = f"{version.epoch}!" if version.epoch else ""
        post = "" if version.post is None else f".post{version.post}"
        is_final = not version.is_prerelease and version.local is None
        bound = f"~={epoch}{'.'.join(map(str, parts))}{post}" if is_final else f"=={pin}"
    extras = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
    marker = f" ; {requirement.marker}" if requirement.marker else ""
    return f"{requirement.name}{extras}{bound}{marker}"


def read_requirements(path: Path, project: Path, environ: Collection[str] = ()) -> Requirements:
    """Return the content of a requirements file for a project; `environ` are the names of variables that uv gets."""
    reader = _Reader(project, environ)
    reader.read(path, is_bound=False)
    entries, is_annotated = reader.entries, any(entry.role == "needed" for entry in reader.entries)
    is_list = all(entry.version or not entry.is_from_index for entry in entries if entry.role != "bound")
    if is_annotated or not is_list:  # else every line has a version, as `pip freeze` and exports write them
        entries = [_change(entry, role="direct") if entry.role == "listed" else entry for entry in entries]
    if not any(entry.role != "bound" for entry in entries) and not reader.problems:
        reader.refuse(str(path), "no package is in it")
    indexes, links = dict.fromkeys(reader.indexes), dict.fromkeys(reader.find_links)
    return Requirements(tuple(entries), tuple(indexes), tuple(links), reader.has_no_index, tuple(reader.problems))


def _change(entry: Entry, *, role: Role) -> Entry:
    return msgspec.structs.replace(entry, role=role)


class _Options(argparse.ArgumentParser):
    """The options of a line, as pip reads them."""

    def __init__(self) -> None:
        super().__init__(add_help=False, allow_abbrev=False)
        for names in ("-r --requirement", "-c --constraint", "-e --editable", "-f --find-links", "--extra-index-url"):
            self.add_argument(*names.split(), action="append", default=[])
        self.add_argument("-i", "--index-url", "--pypi-url")
        self.add_argument("--hash", action="append", default=[])
        for name in ("--no-index", "--require-hashes", "--prefer-binary"):  # the last two say nothing about a lock
            self.add_argument(name, action="store_true")

    def error(self, message: str) -> NoReturn:
        """Raise ValueError."""
        raise ValueError(message.replace("unrecognized arguments:", "no lock can keep"))


class _Reader:
    """Reads a requirements file, and those that it names."""

    def __init__(self, project: Path, environ: Collection[str]) -> None:
        self.project, self.environ = project, environ
        self.entries: list[Entry] = []
        self.indexes: list[Index] = []
        self.find_links: list[str] = []
        self.has_no_index = False
        self.problems: list[Problem] = []
        self._files: set[tuple[Path, bool]] = set()

    def refuse(self, place: str, reason: str, advice: str = "Correct or remove it.") -> None:
        """Note why something cannot be kept."""
        self.problems.append(Problem("requirements", redact(f"{place}: {reason}."), redact(advice)))

    def read(self, path: Path, *, is_bound: bool) -> None:
        """Read a file; `is_bound` for one of constraints."""
        path = Path(os.path.normpath(path))
        if (path, is_bound) in self._files:
            return
        self._files.add((path, is_bound))
        text, problems = read_text(path)
        self.problems += problems
        for place, line in _join_lines(text, path.name):
            content, *comment = re.split(r"(?:^|(?<=\s))#", line, maxsplit=1)
            before = len(self.entries)
            if content := content.strip():
                try:
                    self._read_line(content, place, path.parent, is_bound=is_bound)
                except (ValueError, InvalidRequirement, InvalidVersion) as error:
                    self.refuse(place, f"`{content}`: {str(error).splitlines()[0].rstrip('.')}")
            if comment and self.entries and (len(self.entries) > before or (not content and line[0].isspace())):
                self._read_via(comment[0])

    def _read_via(self, comment: str) -> None:
        """Let the last entry be what a comment of pip-tools or uv says: of the project, or needed by others."""
        entry = self.entries[-1]
        is_known = entry.role in ("direct", "needed")
        if entry.role == "bound" or not (is_known or _VIA.match(comment)):
            return
        needers = [word for word in _VIA.sub("", comment).split(",") if word.strip()]
        is_direct = entry.role == "direct" or any(map(_OF_PROJECT.search, needers))
        self.entries[-1] = _change(entry, role="direct" if is_direct else "needed")

    def _read_line(self, line: str, place: str, directory: Path, *, is_bound: bool) -> None:
        """Read what a line says. Raises ValueError if it cannot be kept."""
        match = re.search(r"(?:^|\s)--?[a-z]", line)
        text, rest = (line[: match.start()].strip(), line[match.start() :]) if match else (line, "")
        options = _Options().parse_args(shlex.split(rest))
        for name in options.requirement:
            self.read(directory / name, is_bound=is_bound)
        for name in options.constraint:
            self.read(directory / name, is_bound=True)
        for url in filter(None, [options.index_url, *options.extra_index_url]):
            self.indexes.append(self._read_index(url, is_default=url == options.index_url))
        self.find_links += [self._find_links(link, directory) for link in options.find_links]
        self.has_no_index |= options.no_index
        role: Role = "bound" if is_bound else "listed"
        for name in options.editable:
            self.entries.append(self._read_package(name, place, role, is_editable=True))
        if text:
            entry = self._read_package(text, place, role, is_editable=False)
            entry = msgspec.structs.replace(entry, hashes=frozenset(options.hash))
            self.entries += [entry] if entry.name != NO_PACKAGE else []

    def _read_index(self, url: str, *, is_default: bool) -> Index:
        """Return an index without user and password, which uv takes from the environment. Raises ValueError."""
        parts = urlsplit(url)
        _, mark, host = parts.netloc.rpartition("@")
        index = Index(parts._replace(netloc=host).geturl(), is_default)
        variables = [f"UV_INDEX_{index.name.upper().replace('-', '_')}_{word}" for word in ("USERNAME", "PASSWORD")]
        if mark and not all(name in self.environ for name in variables):
            raise ValueError(f"git would keep that password. Set {' and '.join(variables)} in `../.env`")
        if "${" in index.url or parts.scheme not in ("http", "https", "file"):
            raise ValueError("no lock can keep a variable, or an index without a scheme")
        return index

    def _find_links(self, link: str, directory: Path) -> str:
        if find_secrets(link):
            raise ValueError("git would keep that password. Give it to uv by `~/.netrc`")
        if urlsplit(link).scheme not in ("", "file"):
            return link
        path = unquote(urlsplit(link).path)
        place = next((place for place in (self.project, directory) if (place / path).is_dir()), None)
        if place is None:
            raise ValueError("that directory does not exist")
        return path if os.path.isabs(path) else os.path.relpath(place / path, self.project)

    def _read_package(self, text: str, place: str, role: Role, *, is_editable: bool) -> Entry:
        """Return the package of a line. Raises ValueError if it cannot be kept."""
        if "${" in text:
            raise ValueError("no lock can keep a variable")
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            if not is_editable and "://" not in text and not re.match(r"[./]|[\w.-]+/", text):
                raise
            return self._read_place(text, place, role, is_editable=is_editable)
        if requirement.url and requirement.url.startswith("file:"):
            return self._read_place(requirement.url, place, role, is_editable=is_editable)
        if requirement.url:
            check_url(requirement.url)
        return Entry(requirement, place, role)

    def _read_place(self, text: str, place: str, role: Role, *, is_editable: bool) -> Entry:
        """Return the package of a URL, or of a directory. Raises ValueError."""
        url, _, fragment = text.partition("#")
        parts = parse_qs(fragment)
        if "://" in url and not url.startswith("file:"):
            check_url(url)
            name = parts["egg"][0] if "egg" in parts else find_file_name(url)
            below = f"#subdirectory={parts['subdirectory'][0]}" if "subdirectory" in parts else ""
            return Entry(Requirement(f"{name} @ {url}{below}"), place, role)
        match = re.fullmatch(r"(?:file://)?(.*?)(\[[^\]]*\])?", url)
        path, extras = (match[1], match[2] or "") if match else (url, "")
        return make_local_entry(Path(unquote(path)), self.project, place, extras=extras, is_editable=is_editable)


def make_local_entry(
    path: Path, project: Path, place: str, *, extras: str = "", role: Role = "listed", is_editable: bool
) -> Entry:
    """Return the package in a directory. Raises ValueError if other hosts would not find it."""
    directory = Path(os.path.normpath(project / path))
    content, _ = read_pyproject(read_text(directory / "pyproject.toml")[0], "")
    name = get_table(content, "project", "name")
    if not directory.is_dir() or not directory.is_relative_to(project.parent):
        raise ValueError(f"`{directory}` is no directory beside the project. Build a wheel of it for an index")
    if directory != project and not isinstance(name, str):
        raise ValueError(f"`{directory}/pyproject.toml` names no package")
    name = name if isinstance(name, str) else "project"
    requirement = Requirement(f"{name}{extras}")
    return Entry(requirement, place, role, directory=os.path.relpath(directory, project), is_editable=is_editable)


def check_url(url: str) -> None:
    """Raise ValueError if a URL names no version, or has a password."""
    if find_secrets(url):
        raise ValueError("git would keep the password of that URL. Give it to git and uv by `~/.netrc`")
    scheme, path = urlsplit(url).scheme, urlsplit(url).path
    if not re.fullmatch(r"git(\+\w+)?|https?", scheme):
        raise ValueError(f"uv knows no URL of `{scheme}`")
    _, mark, name = path.rpartition("@" if scheme.startswith("git") else "/")
    if not mark or not _VERSION.search(name):
        raise ValueError(f"that URL names no version. {_KEPT}")


def find_file_name(url: str) -> str:
    """Return the name of the package that a file of an index has. Raises ValueError if it has no version."""
    name = unquote(urlsplit(url).path).rpartition("/")[2]
    try:
        return parse_wheel_filename(name)[0] if name.endswith(".whl") else parse_sdist_filename(name)[0]
    except ValueError as error:
        raise ValueError(f"that URL names no version. {_KEPT}") from error


def _join_lines(text: str, name: str) -> Iterator[tuple[str, str]]:
    """Yield each line with its place; one that ends with a backslash goes on in the next."""
    before, first = "", 0
    for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), 1):
        first = first or number
        if line.endswith("\\") and not line.lstrip().startswith("#"):
            before += f"{line[:-1]} "
        else:
            if before + line:
                yield f"{name}, line {first}", before + line
            before, first = "", 0
    if before:
        yield f"{name}, line {first}", before
