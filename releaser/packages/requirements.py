"""Requirements files, as pip reads them: the packages, the indexes, and what no lock can keep."""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shlex
from pathlib import Path
from typing import Literal
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from releaser.errors import Problem
from releaser.site.project import get_table, read_pyproject, read_text
from releaser.system.text import normalize_name, redact

#: `direct` is what the project itself needs, `needed` what others do; of a `listed` one, only the lock can say it.
#: A `bound` one is not installed for its own sake.
Role = Literal["direct", "needed", "listed", "bound"]
#: What `venv` of older Debians puts into each venv, and `pip freeze` lists; no index has it.
NO_PACKAGE = "pkg-resources"
_LINE = re.compile(r"[ \t]*#.*|(?:\\\n|.)+")  # one that ends with a backslash goes on in the next
_COMMENT = re.compile(r"(?:^|(?<=\s))#")
_OPTION = re.compile(r"(?:^|\s)(?=--?[a-z])")
_VIA = re.compile(r"\s*via\b")  # of pip-tools and uv, before the names of those that need a package
_OF_PROJECT = re.compile(r"-r\s|\((?:pyproject\.toml|setup\.(?:py|cfg))\)")
_DIRECTORY = re.compile(r"file:|\.+(?:\[|$)|[\w.-]*/")
_VERSION = re.compile(r"\d\.\d|^[0-9a-f]{7,40}$")  # in a tag or the name of a file; or a commit
_SECRET = re.compile(r"https?://[^/\s]*@|\$\{")


class Entry(msgspec.Struct, frozen=True):
    """A package as a file or a venv names it, at `place`; `directory` is relative to the project."""

    requirement: Requirement
    place: str = ""
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
    def constraint(self) -> str:
        """Its bounds, but for an exact version, as a line of `constraint-dependencies`; empty if it has none."""
        bounds, marker = _list_bounds(self.requirement), self.requirement.marker
        return f"{self.name}{bounds}{f' ; {marker}' if marker else ''}" if bounds else ""

    @property
    def is_from_index(self) -> bool:
        """True unless it comes from a URL, a repository or a directory."""
        return not (self.requirement.url or self.directory)


def find_pin(requirement: Requirement) -> str:
    """Return the one version that a requirement allows; empty if it allows several."""
    exact = [bound.version for bound in requirement.specifier if bound.operator in ("==", "===")]
    return max((version for version in exact if not version.endswith(".*")), default="")


def _list_bounds(requirement: Requirement) -> SpecifierSet:
    """Return the bounds of a requirement, but for an exact version."""
    pins = ("==" + find_pin(requirement), "===" + find_pin(requirement))
    return SpecifierSet(",".join(text for text in map(str, requirement.specifier) if text not in pins))


def loosen(requirement: Requirement) -> str:
    """Return a requirement whose exact version lets patch releases in: `~=5.2.0` for `==5.2`."""
    loose, pin, bounds = Requirement(str(requirement)), find_pin(requirement), _list_bounds(requirement)
    if pin and "===" not in str(requirement.specifier) and "==" not in str(bounds):
        version = Version(pin)
        missing = 3 - len(version.release)
        is_exact = version.is_prerelease or version.local or (version.is_postrelease and missing > 0)
        exact = SpecifierSet(f"=={pin}" if is_exact else f"~={version}{'.0' * missing}")
        loose.specifier = exact & bounds
    return str(loose)


def _parse_options(words: list[str]) -> argparse.Namespace:
    """Return the options of a line, as pip reads them. Raises ValueError and ArgumentError."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    names = ("-r --requirement", "-c --constraint", "-e --editable", "-i --index-url", "--extra-index-url", "--hash")
    for name in names:
        parser.add_argument(*name.split(), action="append", default=[])
    parser.add_argument("--require-hashes", action="store_true")  # as uv does anyway
    options, unknown = parser.parse_known_args(words)
    if unknown:
        raise ValueError(f"no lock can keep {' '.join(unknown)}")
    return options


class Requirements:
    """The content of requirements files for a project; `problems` are lines that no lock can keep."""

    def __init__(self, project: Path) -> None:
        self.project = project
        self.entries: list[Entry] = []
        #: The URL of each index; True for one in the place of the public one.
        self.indexes: dict[str, bool] = {}
        self.problems: list[Problem] = []
        self._files: set[tuple[Path, Role]] = set()

    def read(self, path: Path, role: Role = "listed") -> None:
        """Read a file, and those that it names; its packages get a role."""
        path = Path(os.path.normpath(path))
        if (path, role) in self._files:
            return
        self._files.add((path, role))
        text, problems = read_text(path)
        self.problems += problems
        text = text.removeprefix("\ufeff")  # of Windows
        for match in _LINE.finditer(text):
            content, *comment = _COMMENT.split(match[0].replace("\\\n", " "), maxsplit=1)
            number = text.count("\n", 0, match.start()) + 1
            place = f"{path.name}, line {number}"
            try:
                self._read_line(content.strip(), place, path.parent, role)
            except (ValueError, argparse.ArgumentError) as error:
                message = f"{place}: `{content.strip()}`: {str(error).splitlines()[0].rstrip('.')}."
                advice = "Correct or remove it; indexes and directories with packages can stand in `[tool.uv]`, too."
                self.problems.append(Problem("requirements", redact(message), advice))
            if comment and self.entries:
                self._read_comment(comment[0])

    def _read_comment(self, comment: str) -> None:
        """Let the last entry be what a comment of pip-tools or uv says: of the project, or needed by others."""
        entry = self.entries[-1]
        if entry.role == "needed" or (entry.role == "listed" and _VIA.match(comment)):
            role: Role = "direct" if _OF_PROJECT.search(comment) else "needed"
            self.entries[-1] = msgspec.structs.replace(entry, role=role)

    def _read_line(self, line: str, place: str, directory: Path, role: Role) -> None:
        """Read what a line says. Raises ValueError and ArgumentError if it cannot be kept."""
        check_secrets(line)
        text, *rest = _OPTION.split(line, maxsplit=1)
        options = _parse_options(shlex.split("".join(rest)))
        if any("://" in name for name in (*options.requirement, *options.constraint)):
            raise ValueError("a file must lie on this host: download it, and name that one")
        for name in options.requirement:
            self.read(directory / name, role)
        for name in options.constraint:
            self.read(directory / name, "bound")
        self.indexes |= dict.fromkeys(options.extra_index_url, False)
        self.indexes |= dict.fromkeys(options.index_url, True)
        for package in filter(None, [*options.editable, text.strip()]):
            is_editable = package in options.editable
            entry = read_package(package, self.project, is_editable=is_editable)
            if role == "bound" and not entry.is_from_index:
                raise ValueError("a constraint can be no URL or directory: write it into the requirements")
            if entry.name != NO_PACKAGE:
                hashes = entry.hashes.union(options.hash)
                changes = {"place": place, "role": role, "hashes": hashes, "is_editable": is_editable}
                self.entries.append(msgspec.structs.replace(entry, **changes))


def read_package(text: str, project: Path, *, is_editable: bool = False) -> Entry:
    """Return the package that a line names. Raises ValueError if no lock can keep it."""
    url, _, fragment = text.partition("#")
    named = parse_qs(fragment)
    if "egg" in named:  # as `pip freeze` has an editable one from a repository
        below = f"#subdirectory={named['subdirectory'][0]}" if "subdirectory" in named else ""
        text = f"{named['egg'][0]} @ {url}{below}"
    elif _DIRECTORY.match(text) or (is_editable and "://" not in text):
        return _read_directory(text, project)
    elif re.match(r"[\w+]+://", text):
        raise ValueError("it does not say which package that is: write `NAME @ URL`")
    requirement = Requirement(text)
    if requirement.url and requirement.url.startswith("file:"):
        return _read_directory(requirement.url, project)
    if requirement.url:
        path, is_git = urlsplit(requirement.url).path, requirement.url.startswith("git")
        _, mark, name = path.rpartition("@" if is_git else "/")
        if not mark or not _VERSION.search(name):
            raise ValueError("that URL names no version: a commit, or a tag or a file with a version in its name")
    hashes = frozenset(f"{name}:{named[name][0]}" for name in hashlib.algorithms_available & named.keys())
    return Entry(requirement, hashes=hashes)


def _read_directory(url: str, project: Path) -> Entry:
    """Return the package in a directory. Raises ValueError if other hosts would not find it."""
    directory = Path(os.path.normpath(project / unquote(urlsplit(url).path)))
    if url.endswith("]"):
        raise ValueError("extras of a directory: those of the project are the setting `extras`")
    if not directory.is_dir() or not directory.is_relative_to(project.parent):
        raise ValueError(f"`{directory}` is no directory next to the project. Build a wheel of it for an index")
    content, _ = read_pyproject(read_text(directory / "pyproject.toml")[0], "")
    name = get_table(content, "project").get("name", "project" if directory == project else "")
    if not name:
        raise ValueError(f"`{directory}/pyproject.toml` names no package")
    return Entry(Requirement(name), directory=os.path.relpath(directory, project))


def check_secrets(text: str) -> None:
    """Raise ValueError if a URL in a text has a user or a password, or a variable that stands for one."""
    if _SECRET.search(text):
        advice = "Put it into `~/.netrc`, where git and uv find it; for an index, into `UV_INDEX_NAME_PASSWORD`"
        raise ValueError(f"that password, or variable, would be committed. {advice}")
