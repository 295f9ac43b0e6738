"""The first lock of a project that pip or apt has installed: with the versions of a venv, or of a requirements file."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from packaging.requirements import Requirement
from packaging.utils import canonicalize_version

from releaser.errors import BuildError, Problem, ToolError, refuse, require
from releaser.packages.lock import read_lock
from releaser.packages.requirements import NO_PACKAGE, Entry, Requirements, Role, check_secrets, loosen, read_package
from releaser.packages.resolve import choose_python, list_synced
from releaser.releases.venv import PYTHON_TIMEOUT, SEEDS, ask_python_version, find_python
from releaser.site.project import get_table, read_pyproject, read_text
from releaser.site.site import Site, site_at
from releaser.system import process
from releaser.system.text import count, join_few, normalize_name, redact

FROM_VENV, FROM_BOTH = "releaser init --from-venv", "releaser init --from-venv --from-requirements FILE"
MOST_ABSENT = 100  # packages that no index has, before uv is asked no more
_SYSTEM_PYTHON = Path("/usr/bin/python3")
_NAME_FILE = f"or list the packages that the site needs in a file, one name per line, and run `{FROM_BOTH}`."
#: Prints all that a Python imports, also packages of apt, which have no RECORD.
_LIST = """
import importlib.metadata as metadata, json, os, sys
for found in metadata.distributions():
    if not found.metadata.get("Name") or found._path.name[0] == "~":  # as pip leaves what it could not remove
        continue
    place, url = os.path.realpath(str(found.locate_file(""))), found.read_text("direct_url.json") or "{}"
    is_own = sys.prefix == sys.base_prefix or place.startswith(os.path.realpath(sys.prefix) + os.sep)
    print(json.dumps([found.metadata["Name"], found.version, place, is_own, json.loads(url)]))
"""
_UV_TABLE = re.compile(r"^\[tool\.uv\].*$", re.MULTILINE)
_ABSENT = re.compile(r"no versions? of ([\w.-]+?)(?:\[.*?\])?[=<>~ ]|([\w.-]+) was not found in")


def _list_packages(site: Site, python: Path, problems: list[Problem]) -> Iterable[Entry]:
    """Return the packages that a Python imports, and note what cannot be locked. Raises PreflightError."""
    try:
        env = site.tool_environment()
        finished = process.run([python, "-c", _LIST], cwd=Path("/"), env=env, timeout=PYTHON_TIMEOUT, is_answer=True)
    except ToolError as error:
        message = f"`{python}` cannot list its packages: {error.message}"
        raise refuse("no-venv", message, f"Name a venv, or a Python from 3.8 on: `{FROM_VENV} PATH`.") from error
    entries = dict[str, Entry]()
    for name, version, place, is_own, url in map(json.loads, finished.stdout.splitlines()):
        role: Role = "listed" if is_own and normalize_name(name) not in {*SEEDS, NO_PACKAGE} else "bound"
        try:
            text = f"{name}=={version}" if role == "bound" else _describe_installed(name, version, Path(place), url)
            entry = read_package(text, site.paths.project)
            is_editable = url.get("dir_info", {}).get("editable", False)
            entry = msgspec.structs.replace(entry, place=str(python), role=role, is_editable=is_editable)
            entries.setdefault(entry.name, entry)  # the first one on its path is imported
        except ValueError as error:
            message = f"{name} {version} of `{python}` cannot be locked: {str(error).rstrip('.')}."
            if role == "listed":  # Ubuntu has versions such as `1.1build1`
                problems.append(Problem("requirements", redact(message), f"Install it from an index, {_NAME_FILE}"))
    return entries.values()


def _describe_installed(name: str, version: str, place: Path, url: Mapping[str, Any]) -> str:
    """Return an installed package as a requirement; PEP 610 says where it is from. Raises ValueError."""
    if place.name not in ("site-packages", "dist-packages"):
        raise ValueError(f"it lies in `{place}`, as `setup.py develop` links it")
    if "url" not in url:
        return f"{name}=={version}"
    vcs = url.get("vcs_info")
    source = f"{vcs['vcs']}+{url['url']}@{vcs['commit_id']}" if vcs else url["url"]
    check_secrets(source)
    fragment = [f"subdirectory={url['subdirectory']}"] if "subdirectory" in url else []
    fragment += filter(None, [url.get("archive_info", {}).get("hash")])
    return f"{name} @ {source}" + (f"#{'&'.join(fragment)}" if fragment else "")


def pin_arguments(entries: Sequence[Entry]) -> list[str]:
    """Return the arguments of `uv lock` that let it choose versions, and that leave no trace."""
    pins: dict[str, dict[str, str]] = {}
    for entry in (entry for entry in entries if entry.version):
        pins.setdefault(entry.name, {})[entry.version] = str(entry.requirement.marker or "")
    words = []
    for name, versions in pins.items():
        for version, marker in versions.items():
            words += ["-P", f"{name}=={version}" + (f" ; {marker}" if marker and len(versions) > 1 else "")]
    return words


def merge(entries: Iterable[Entry]) -> list[str]:
    """Return the dependencies of a project that needs these packages; lines about the same one are joined."""
    merged: dict[tuple[str, str], Requirement] = {}
    for entry in (entry for entry in entries if not entry.directory):
        key = (entry.name, str(entry.requirement.marker))
        requirement = merged.setdefault(key, Requirement(str(entry.requirement)))
        requirement.extras |= entry.requirement.extras
        requirement.specifier &= entry.requirement.specifier
    return [str(each) if each.url else loosen(each) for each in merged.values()]


class FirstLock:
    """The first pyproject.toml and uv.lock, made in a copy of the project, which is `tree`.

    `venv` is the path of a venv or a Python, empty for the site's own; of a venv and a requirements file, the file says
    which packages, and the venv which versions. Raises PreflightError with everything that no lock can keep, and with
    what would be another version or source than was asked for; and BuildError.
    """

    def __init__(self, site: Site, tree: Path, venv: str | None, file: str | None, *, mark: str) -> None:
        self.tree, self.path, self.mark, self.is_file = tree, tree / "pyproject.toml", mark, file is not None
        pythons = map(find_python, (site.paths.link, site.paths.project / "venv"))
        own = next((python for python in pythons if ask_python_version(site, python)), None)
        place = Path(os.path.abspath(venv or ""))
        named = (find_python(place) if place.is_dir() else place) if venv else own or _SYSTEM_PYTHON
        self.asked = Requirements(site.paths.project)
        if file is not None:
            self.asked.read(site.paths.project / file)
        elsewhere = {entry.name for entry in self.asked.entries if not entry.is_from_index}
        problems = [] if self.is_file else self.asked.problems  # what the file does not list is not needed
        installed = _list_packages(site, named, problems) if venv is not None else ()
        for entry in (entry for entry in installed if entry.name not in elsewhere):
            role: Role = "bound" if self.is_file else entry.role
            self.asked.entries.append(msgspec.structs.replace(entry, role=role))
        require(self.asked.problems)
        self.python = named if venv is not None else own or Path(choose_python(site, tree, None, mark=mark)[0])
        self.version = ask_python_version(site, self.python)
        self.series = self.version.rpartition(".")[0]
        text, problems = read_text(site.paths.pyproject) if site.paths.pyproject.exists() else ("", [])
        require(problems)
        self.before, content = text, read_pyproject(text, "")[0]
        ours = _list_poetry(content)
        for number, entry in enumerate(self.asked.entries):
            if entry.name in ours and entry.role != "bound":  # also if others need it: else no bound is left of it
                self.asked.entries[number] = msgspec.structs.replace(entry, role="direct")
        self.project: Mapping[str, Any] = get_table(content, "project")
        self.start = self._complete(text, content, site.paths.project.name)
        self.site = site_at(site, self.start, "HEAD")
        self.wanted = [entry for entry in self.asked.entries if entry.role != "bound" and not self._is_project(entry)]
        self.declared: dict[str, set[str]] = {}
        for requirement in map(Requirement, self.project.get("dependencies", ())):
            self.declared.setdefault(normalize_name(requirement.name), set()).update(requirement.extras)
        self.constraints = get_table(content, "tool", "uv").get("constraint-dependencies", [])
        self.direct, self.installed = set[str](), dict[str, str]()
        try:
            self._lock_asked()
        except ToolError as error:
            message = f"The first lock cannot be made: {error.message}"
            raise BuildError(message, "Nothing was written. See uv's message.", output=error.output) from error
        require(self._find_differences())
        self.label = f"{count(len(self.installed), 'package')}, as `{file or named}` has them"
        self.notes = tuple(self._list_notes())
        self.pyproject, self.text = self.path.read_text("utf-8"), (tree / "uv.lock").read_text("utf-8")

    def _is_project(self, entry: Entry) -> bool:
        """Return True for the project itself, which `pip freeze` names by its repository."""
        name = normalize_name(str(self.project.get("name", "")))
        return entry.directory == "." or (bool(entry.requirement.url) and entry.name == name)

    def _complete(self, text: str, content: Mapping[str, Any], directory: str) -> str:
        """Return a pyproject.toml to which uv can add packages. Raises PreflightError."""
        is_package, own = "build-system" in content, get_table(content, "tool", "uv")
        if "dependencies" in self.project.get("dynamic", ()):
            message = "pyproject.toml takes its dependencies from another file (`dynamic`)."
            raise refuse("dynamic-dependencies", message, "Remove `dependencies` from `dynamic`, and commit.")
        if any(map(self._is_project, self.asked.entries)) and not (is_package and self.project):
            message = "The project itself is installed as a package, without `[project]` and `[build-system]`."
            raise refuse("no-build-system", message, "Write both into pyproject.toml, or take that package out.")
        is_site = get_table(content, "tool", "poetry").get("package-mode") is False
        if is_package and (is_site or not self.project):  # of Poetry, for a site that is none
            text = _add_to_uv(text, "package = false")
        if not self.project:
            name = _make_name(f"{directory}-site")
            text += f'\n[project]\nname = "{name}"\nversion = "0.1.0"\nrequires-python = ">={self.series}"\n'
        for url, is_default in self.asked.indexes.items():
            if repr(url) not in repr(own):
                default = "default = true\n" if is_default else ""
                text += f'\n[[tool.uv.index]]\nname = "{_make_name(url)}"\nurl = "{url}"\n{default}'
        return text.lstrip()

    def _lock_asked(self) -> None:
        """Lock all packages as direct ones, then without what others need. Raises PreflightError and ToolError."""
        names = {entry.name for entry in self.wanted} - self.declared.keys()
        self.direct = names
        self._lock()
        others = (package for package in self.lock.packages if package.source.location != ".")
        needed = {need for package in others for need in package.needs}
        known = {entry.name for entry in (self.wanted if self.is_file else self.asked.entries)}
        is_whole = self.installed.keys() <= known.union(self.declared, self.lock.local, SEEDS)  # else written by hand
        roles = ("direct",) if is_whole else ("direct", "listed")
        own = {entry.name for entry in self.wanted if entry.role in roles or not entry.is_from_index}
        chosen = names & (own | names - needed)
        while chosen != self.direct:
            self.direct = chosen
            self._lock()
            chosen = chosen | names.intersection(entry.name for entry in self._list_missing())

    def _lock(self) -> None:
        """Write both files, and ask uv what they install. Raises PreflightError and ToolError."""
        finished, absent = self._try_lock(), set[str]()
        if _is_unsolved(finished) and not self.project:  # newer Pythons may need other versions
            self.start = self.start.replace(f'python = ">={self.series}"', f'python = "=={self.series}.*"')
            finished = self._try_lock()
        while _is_unsolved(finished) and (found := _ABSENT.search(finished.output)) and len(absent) < MOST_ABSENT:
            absent.add(normalize_name(found[1] or found[2]))
            finished = self._try_lock(absent)
        problems = list[Problem]()
        if absent:
            pins = {entry.name: f"{entry.name} {entry.version}" for entry in self.asked.entries}
            message = f"No index that uv asks has {join_few([pins.get(name, name) for name in sorted(absent)], 99)}."
            advice = f"Add the index to `[tool.uv]` in pyproject.toml (see `index-strategy`), {_NAME_FILE}"
            problems.append(Problem("not-on-index", message, advice))
        if _is_unsolved(finished):
            reason = " ".join(finished.output.partition("cause: ")[2].split())
            advice = "If they work together, add `override-dependencies` to `[tool.uv]` in pyproject.toml, and commit."
            if "requested Python version" in reason:
                advice = "Set `requires-python`, or `RELEASER_PYTHON`, to a Python that they support."
            problems.append(Problem("no-first-lock", f"These versions do not fit together: {reason}", advice))
        require(problems)
        if finished.status:
            raise process.failure(finished)
        self._run_uv("lock", "--check", "--python", self.python)  # the two files are all that it needs
        self.lock = read_lock(self.tree / "uv.lock")
        self.installed = list_synced(self.site, self.tree, str(self.python), mark=self.mark)

    def _try_lock(self, absent: Collection[str] = ()) -> process.Finished:
        """Write both files, with all versions but those of absent packages. Raises PreflightError and ToolError."""
        self.path.unlink(missing_ok=True)  # a commit may have a link there
        self.path.write_text(self._add_constraints(), "utf-8")
        chosen = [entry for entry in self.wanted if entry.name in self.direct.difference(absent)]
        add: list[str | Path] = ["add", "--frozen", "--no-workspace", "--python", self.python]
        if lines := merge(chosen):
            self._run_uv(*add, *lines)
        for entry in (entry for entry in chosen if entry.directory):
            self._run_uv(*add, *(["--editable"] if entry.is_editable else []), entry.directory)
        pins = pin_arguments([entry for entry in self.asked.entries if entry.name not in absent])
        return self._run_uv("lock", "--python", self.python, *pins, check=False)

    def _add_constraints(self) -> str:
        """Return the first pyproject.toml, with the bounds of packages that it does not list. Raises PreflightError."""
        indirect = (entry for entry in self.asked.entries if entry.role == "bound" or entry.name not in self.direct)
        declared = {"", *(Entry(Requirement(line)).constraint for line in self.constraints)}
        missing = [line for line in dict.fromkeys(entry.constraint for entry in indirect) if line not in declared]
        if missing and self.constraints:
            message = f"`constraint-dependencies` of pyproject.toml has no {join_few(missing, 20)}."
            raise refuse("other-constraints", message, "Write the missing lines into it, and commit.")
        return _add_to_uv(self.start, f"constraint-dependencies = {json.dumps(missing)}") if missing else self.start

    def _run_uv(self, *words: str | Path, check: bool = True) -> process.Finished:
        return self.site.run_uv(*words, cwd=self.tree, mark=self.mark, check=check)

    def _is_here(self, entry: Entry) -> bool:
        """Return True if an entry is for this host and its Python."""
        python = {"python_version": self.series, "python_full_version": self.version}
        return entry.requirement.marker is None or entry.requirement.marker.evaluate(dict(python))

    def _list_missing(self) -> list[Entry]:
        """Return the packages that were asked for on this host, and would not be installed."""
        return [entry for entry in self.wanted if entry.name not in self.installed and self._is_here(entry)]

    def _find_differences(self) -> list[Problem]:
        """Return a problem for each package that would not be the one that was asked for."""
        sentences = [f"{entry.place}: {entry.name} would not be installed" for entry in self._list_missing()]
        if not self.installed:
            sentences.append(f"No package would be installed for Python {self.version}")
        for entry in (entry for entry in self.wanted if entry.role != "needed" and entry.name in self.declared):
            if extras := sorted(entry.requirement.extras - self.declared[entry.name]):
                sentences.append(f"{entry.place}: pyproject.toml declares {entry.name} without [{','.join(extras)}]")
        pinned = {entry.name for entry in self.asked.entries if entry.version}
        for entry in filter(self._is_here, self.asked.entries):
            version = self.installed.get(entry.name, "")
            if entry.role != "bound" and entry.is_from_index and entry.name not in pinned:
                sentences.append(f"{entry.place}: `{entry.requirement}` names no version: it would be {version}")
            if version and entry.version and canonicalize_version(version) != canonicalize_version(entry.version):
                sentences.append(f"{entry.place}: {entry.name} would be {version}, not {entry.version}")
        indexes = self.asked.indexes
        known = {url.rstrip("/") for url in indexes} if any(indexes.values()) else set()  # else uv's own comes along
        for package in self.lock.packages:
            label, place = f"{package.name} {package.version}", package.source.location
            is_from_index = package.source.kind == "registry"
            if known and is_from_index and place.rstrip("/") not in known:
                sentences.append(f"{label} would come from {place}, which the file does not name")
            hashes = {digest for entry in self.asked.entries if entry.name == package.name for digest in entry.hashes}
            if hashes and (package.hashes or not is_from_index) and hashes.isdisjoint(package.hashes):
                sentences.append(f"{label} would be another file: it has none of the hashes that were given")
        advice = f"Nothing was written. Correct the file or pyproject.toml; for installed versions, `{FROM_BOTH}`."
        return [Problem("differs", f"{redact(sentence)}.", advice) for sentence in sentences]

    def _list_notes(self) -> list[str]:
        """Return what a person should know of the two files, a sentence each."""
        loose = [line for line in merge(entry for entry in self.wanted if entry.name in self.direct) if "~=" in line]
        notes = [f"Exact versions now allow patch releases: {join_few(sorted(loose))}."] if loose else []
        known = {entry.name for entry in self.asked.entries}.union(self.declared, self.lock.local)
        if added := [f"{name} {version}" for name, version in sorted(self.installed.items()) if name not in known]:
            notes.append(f"uv chose the version of {join_few(added, 20)}: none was given.")
        bare = [each.name for each in self.lock.packages if not each.hashes and each.source.kind == "registry"]
        if bare and any(entry.hashes for entry in self.wanted):
            notes.append(f"uv.lock has no hashes of packages from a directory: {join_few(bare)}.")
        left = {entry.name for entry in self.asked.entries if entry.role == "bound"} - self.installed.keys() - SEEDS
        if left:
            notes.append(f"Not locked, since no package needs it: {join_few(sorted(left), 20)}.")
        return notes


def _list_poetry(content: Mapping[str, Any]) -> set[str]:
    """Return the packages that a project lists for Poetry."""
    poetry = get_table(content, "tool", "poetry")
    groups = get_table(poetry, "group")
    tables = [get_table(poetry, "dependencies"), get_table(poetry, "dev-dependencies")]
    tables += [get_table(groups, group, "dependencies") for group in (groups if isinstance(groups, dict) else ())]
    return {normalize_name(name) for table in tables if isinstance(table, dict) for name in table}


def _make_name(text: str) -> str:
    """Return a name that a project or an index may have; uv finds the password of an index by it."""
    return re.sub(r"[^a-z0-9]+", "-", text.rpartition("://")[2].lower()).strip("-")


def _add_to_uv(text: str, line: str) -> str:
    """Return a pyproject.toml with one more line in `[tool.uv]`."""
    text = text if _UV_TABLE.search(text) else f"{text}\n[tool.uv]\n"
    return _UV_TABLE.sub(lambda match: f"{match[0]}\n{line}", text, count=1)


def _is_unsolved(finished: process.Finished) -> bool:
    """Return True if uv has found no versions that fit together."""
    return finished.status == 1 and "No solution found" in finished.output
