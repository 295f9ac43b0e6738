"""The first lock of a project that pip or apt has installed: with the versions of a venv, or of a requirements file."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tomllib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_version

from releaser.errors import BuildError, Problem, ToolError, refuse, require
from releaser.packages.lock import Package, read_lock
from releaser.packages.requirements import (
    NO_PACKAGE,
    Entry,
    Requirements,
    Role,
    check_url,
    loosen,
    make_local_entry,
    read_requirements,
)
from releaser.packages.resolve import choose_python, list_synced
from releaser.releases.venv import PYTHON_TIMEOUT, SEEDS, ask_python_version, find_python
from releaser.site.project import get_table, read_text
from releaser.site.site import Site, site_at
from releaser.system import process
from releaser.system.text import join_few, normalize_name, redact

FROM_VENV, FROM_BOTH = "releaser init --from-venv", "releaser init --from-venv --from-requirements FILE"
PUBLIC = ""
MOST_ABSENT = 100  # packages that no index has, before uv is asked no more
_SYSTEM_PYTHON = "/usr/bin/python3"
_NAME_FILE = f"or write what the site needs into a file, a name a line, and run `{FROM_BOTH}`."
#: Prints all that a Python imports, also packages of apt, which have no RECORD.
_LIST = """
import importlib.metadata as metadata, json, os, sys
for found in metadata.distributions():
    place, url = os.path.realpath(str(found.locate_file(""))), found.read_text("direct_url.json") or "{}"
    is_own = sys.prefix == sys.base_prefix or place.startswith(os.path.realpath(sys.prefix) + os.sep)
    print(json.dumps([found.metadata["Name"], found.version, place, is_own, json.loads(url)]))
"""
_ABSENT = re.compile(r"no versions? of ([\w.-]+?)(?:\[.*?\])?[=<>~ ]|([\w.-]+) was not found in")

_NEEDS = re.compile(r" depends? on ([\w.-]+)(?:\[.*?\])?([<>=!~][^ ]*\d)")


class Origin(msgspec.Struct, frozen=True):
    """Where the versions come from: the Python of a venv or of the system, a requirements file, or both."""

    python: Path | None = None
    requirements: Path | None = None

    @property
    def label(self) -> str:
        """The names of both."""
        return " and ".join(f"`{path}`" for path in (self.requirements, self.python) if path)


class FirstLock(msgspec.Struct, frozen=True):
    """The two files of a first lock, with the number of packages; `notes` are what a person should know of them."""

    pyproject: str
    lock: str
    count: int
    notes: tuple[str, ...] = ()


def find_origin(site: Site, venv: str | None, requirements: str | None) -> Origin:
    """Return the origin that the options of a command name; the name of the site's own venv is empty.

    Raises PreflightError.
    """
    file = Path(os.path.abspath(requirements)) if requirements else None
    if requirements and file and not file.exists():
        file = site.paths.project / requirements
    return Origin(None if venv is None else _find_python(site, venv), file)


def _find_python(site: Site, name: str) -> Path:
    """Return the Python of a venv with a name, of the site's own, or that of the system. Raises PreflightError."""
    if not name:
        return _find_own_python(site) or Path(_SYSTEM_PYTHON)
    place = Path(os.path.abspath(os.path.expanduser(name)))
    python = find_python(place) if place.is_dir() else place
    if not ask_python_version(site, python):
        raise refuse("no-venv", f"`{place}` is neither a venv nor a Python that starts.", f"Run `{FROM_VENV} PATH`.")
    return python


def _find_own_python(site: Site) -> Path | None:
    places = (site.paths.link, site.paths.project / "venv")
    return next((find_python(place) for place in places if (place / "pyvenv.cfg").is_file()), None)


# What was asked for


def read_origin(site: Site, origin: Origin) -> Requirements:
    """Return what was asked for; of both, the file says which packages, and the venv which versions.

    Raises PreflightError with all that no lock can keep.
    """
    venv = _list_packages(site, origin.python) if origin.python else Requirements()
    if origin.requirements is None:
        asked = venv
    else:
        file = read_requirements(origin.requirements, site.paths.project, {*site.environ, *site.dotenv})
        known = {entry.name for entry in file.entries if not entry.is_from_index}
        bounds = [msgspec.structs.replace(entry, role="bound") for entry in venv.entries if entry.name not in known]
        asked = msgspec.structs.replace(file, entries=(*file.entries, *bounds))
    problems = [*asked.problems, *_find_conflicts(asked.entries)]
    if not problems and all(entry.role == "bound" for entry in asked.entries):
        problems.append(Problem("requirements", f"{origin.label} has no packages.", "Name another venv or file."))
    require(problems)
    return asked


def _list_packages(site: Site, python: Path) -> Requirements:
    """Return the packages that a Python imports. Raises PreflightError if it does not say it."""
    try:
        env = site.tool_environment()
        finished = process.run([python, "-c", _LIST], cwd=Path("/"), env=env, timeout=PYTHON_TIMEOUT, is_answer=True)
    except ToolError as error:
        message = f"`{python}` does not say what is installed: {error.message}"
        raise refuse("no-venv", message, f"Name a venv, or a Python from 3.8 on: `{FROM_VENV} PATH`.") from error
    entries, problems = dict[str, Entry](), list[Problem]()
    for name, version, place, is_own, url in map(json.loads, finished.stdout.splitlines()):
        key = normalize_name(str(name))
        role: Role = "listed" if is_own and key not in {*SEEDS, NO_PACKAGE} else "bound"
        try:
            entry = _read_installed(Requirement(f"{name}=={version}"), Path(place), url, role, site, str(python))
            entries.setdefault(key, entry)  # the first one on its path is imported
        except (ValueError, InvalidRequirement) as error:
            message = f"{name} {version} of `{python}` cannot be locked: {str(error).rstrip('.')}."
            problems.append(Problem("requirements", redact(message), f"Install it from an index, {_NAME_FILE}"))
    return Requirements(tuple(entries.values()), problems=tuple(problems))


def _read_installed(
    requirement: Requirement, place: Path, url: Mapping[str, Any], role: Role, site: Site, label: str
) -> Entry:
    """Return an installed package, by PEP 610 or its place from elsewhere than an index. Raises ValueError."""
    project = site.paths.project
    is_linked = place.name not in ("site-packages", "dist-packages")  # by `setup.py develop`
    if (is_linked or "dir_info" in url) and role != "bound":
        path = Path(urlsplit(url["url"]).path if "dir_info" in url else place)
        path = project if path == project / "src" else path
        is_editable = is_linked or url["dir_info"].get("editable", False)
        return make_local_entry(path, project, label, is_editable=is_editable)
    if "url" in url and role != "bound":
        vcs = url.get("vcs_info", {})
        source = f"{vcs['vcs']}+{url['url']}@{vcs['commit_id']}" if vcs else str(url["url"])
        source += f"#subdirectory={url['subdirectory']}" if "subdirectory" in url else ""
        check_url(source)
        return Entry(Requirement(f"{requirement.name} @ {source}"), label)
    return Entry(requirement, label, role)


def group_pins(entries: Iterable[Entry]) -> dict[str, dict[str, str]]:
    """Return for each package the versions that are asked for, by the condition under which each one is."""
    pins: dict[str, dict[str, str]] = {}
    for entry in entries:
        if entry.version:
            pins.setdefault(entry.name, {}).setdefault(entry.marker, entry.version)
    return pins


def _find_conflicts(entries: Sequence[Entry]) -> list[Problem]:
    """Return a problem for each package of which two versions are asked for at once, or none."""
    pins, problems = group_pins(entries), list[Problem]()
    for entry in entries:
        versions, marker = pins.get(entry.name, {}), entry.requirement.marker
        other = versions.get("", versions.get(entry.marker, ""))
        if entry.version and canonicalize_version(other or entry.version) != canonicalize_version(entry.version):
            message = f"{entry.place}: {entry.name} is asked for as {entry.version}, and as {other}."
            problems.append(Problem("requirements", message, "Remove one of the two."))
        if not versions and entry.is_from_index and entry.role != "bound" and (marker is None or marker.evaluate()):
            message = f"{entry.place}: `{entry.requirement}` names no version."
            advice = f"Write `{entry.name}==VERSION`, or take the installed versions: `{FROM_BOTH}`."
            problems.append(Problem("requirements", message, advice))
    return problems


def pin_arguments(versions: Mapping[str, str], name: str) -> Iterator[str]:
    """Yield the arguments of `uv lock` that let it choose versions of a package, and that leave no trace."""
    is_forked = len({*map(canonicalize_version, versions.values())}) > 1
    for marker, version in [*versions.items()][: None if is_forked else 1]:
        yield "-P"
        yield f"{name}=={version}" + (f" ; {marker}" if is_forked and marker else "")


def merge(entries: Iterable[Entry]) -> list[str]:
    """Return the dependencies of a project that needs these packages; lines about the same one are joined."""
    merged: dict[tuple[str, str], Requirement] = {}
    for entry in (entry for entry in entries if not entry.directory):
        requirement = merged.setdefault((entry.name, entry.marker), Requirement(str(entry.requirement)))
        requirement.extras |= entry.requirement.extras
        requirement.specifier &= entry.requirement.specifier
    return [str(each) if each.url else loosen(each) for each in merged.values()]


def add_lines(text: str, table: str, lines: Sequence[str]) -> str:
    """Return the text of a TOML file with lines in a table, which is made at its end if it has none."""
    if not lines:
        return text
    header, block = re.search(rf"^\[{re.escape(table)}\][ \t]*(?:#.*)?$", text, re.MULTILINE), "\n".join(lines)
    if header:
        return f"{text[: header.end()]}\n{block}{text[header.end() :]}"
    return f"{text.rstrip()}\n\n[{table}]\n{block}\n".lstrip()


def _parse(text: str) -> dict[str, Any]:
    """Return the content of a pyproject.toml. Raises PreflightError."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise refuse("wrong-pyproject", f"pyproject.toml: {error}.", "Correct pyproject.toml.") from error


def _list_urls(uv: Mapping[str, Any]) -> list[str]:
    """Return the URLs of the indexes in a table of uv."""
    urls = [uv.get("index-url"), *uv.get("extra-index-url", ()), *(index.get("url") for index in uv.get("index", ()))]
    return [str(url) for url in urls if url]


# The two files


def make_first_lock(site: Site, tree: Path, origin: Origin, *, mark: str) -> FirstLock:
    """Return pyproject.toml and uv.lock with the versions of an origin; `tree` is a copy of the project.

    Raises PreflightError with everything that would be another version or source than was asked for, and BuildError.
    """
    asked, python = read_origin(site, origin), origin.python or _find_own_python(site)
    if python is None or not ask_python_version(site, python):
        python = Path(choose_python(site, tree, None, mark=mark)[0])
    draft = _Draft(site, tree, asked, python, mark=mark)
    try:
        draft.lock_asked()
    except ToolError as error:
        message = f"The first lock cannot be made: {error.message}"
        raise BuildError(message, "Nothing was written. See uv's message.", output=error.output) from error
    require(draft.find_differences())
    lock = (tree / "uv.lock").read_text("utf-8")
    return FirstLock(draft.path.read_text("utf-8"), lock, len(draft.installed), tuple(draft.make_notes()))


class _Draft:
    """The two files while they are made."""

    def __init__(self, site: Site, tree: Path, asked: Requirements, python: Path, *, mark: str) -> None:
        self.tree, self.path, self.asked, self.python, self.mark = tree, tree / "pyproject.toml", asked, python, mark
        text, problems = read_text(site.paths.pyproject) if site.paths.pyproject.exists() else ("", [])
        require(problems)
        self.content, self.version = _parse(text), ask_python_version(site, python)
        major, minor = self.version.split(".")[:2]
        self.series, self.next_series = f"{major}.{minor}", f"{major}.{int(minor) + 1}"
        self.uv: Mapping[str, Any] = get_table(self.content, "tool", "uv")
        self.text = self._add_indexes(self._add_project(site, text))
        self.site = site_at(site, self.text, "")
        dependencies = get_table(self.content, "project").get("dependencies", ())
        self.declared = {normalize_name(Requirement(line).name) for line in dependencies}
        self.wanted = [entry for entry in asked.entries if entry.role != "bound" and not self._is_project(entry)]
        self.pins = group_pins(asked.entries)
        self.direct, self.installed = set[str](), dict[str, str]()

    def _is_project(self, entry: Entry) -> bool:
        """Return True for the project itself, which `pip freeze` names by its repository."""
        name = normalize_name(str(get_table(self.content, "project").get("name", "")))
        return entry.directory == "." or (bool(entry.requirement.url) and entry.name == name)

    def _add_project(self, site: Site, text: str) -> str:
        """Return a pyproject.toml to which uv can add packages. Raises PreflightError."""
        project, is_package = get_table(self.content, "project"), "build-system" in self.content
        if "dependencies" in (dynamic := project.get("dynamic", ())):
            message = "pyproject.toml takes its dependencies from another file (`dynamic`)."
            raise refuse("dynamic-dependencies", message, "Remove `dependencies` from `dynamic`, and commit.")
        if any(map(self._is_project, self.asked.entries)) and not (is_package and project):
            message = "The project itself is installed as a package, without `[project]` and `[build-system]`."
            raise refuse("no-build-system", message, "Write both into pyproject.toml, or take that package out.")
        name = re.sub(r"[^a-z0-9]+", "-", site.paths.project.name.lower()).strip("-") or "site"
        name += "-site" if name in {entry.name for entry in self.asked.entries} else ""
        newer = {"python_version": self.next_series, "python_full_version": f"{self.next_series}.0"}
        markers = [entry.requirement.marker for entry in self.asked.entries if entry.role != "bound"]
        is_narrow = all(marker is not None and not marker.evaluate(dict(newer)) for marker in markers)
        self.pythons = f">={self.series},<{self.next_series}" if is_narrow else f">={self.series}"
        values = {"name": name, "version": "0.1.0", "requires-python": self.pythons}
        lines = [f'{key} = "{value}"' for key, value in values.items() if key not in (*project, *dynamic)]
        text = add_lines(text, "project", lines)
        return add_lines(text, "tool.uv", ["package = false"] if is_package and not project else [])

    def _add_indexes(self, text: str) -> str:
        """Return a pyproject.toml with the indexes of a requirements file. Raises PreflightError."""
        links = [link for link in self.asked.find_links if link not in self.uv.get("find-links", ())]
        indexes = [index for index in self.asked.indexes if index.url not in {*_list_urls(self.uv), PUBLIC}]
        has_indexes = bool(_list_urls(self.uv))
        other = [*(links if "find-links" in self.uv else ()), *(index.url for index in indexes if has_indexes)]
        if other:
            message = f"`[tool.uv]` in pyproject.toml has other indexes, without {join_few(other)}."
            raise refuse("other-index", message, "Add that there, and commit.")
        lines = [f"find-links = {json.dumps(links)}"] if links else []
        lines += ["no-index = true"] if self.asked.has_no_index and not self.uv.get("no-index") else []
        text = add_lines(text, "tool.uv", lines)
        for index in indexes:
            default = "default = true\n" if index.is_default else ""
            text += f'\n[[tool.uv.index]]\nname = "{index.name}"\nurl = {json.dumps(index.url)}\n{default}'
        return text

    def lock_asked(self) -> None:
        """Lock all packages as the project's own, then without those that others need.

        Raises PreflightError and ToolError.
        """
        names = {entry.name for entry in self.wanted} - self.declared
        self.direct = names
        self._lock()
        asked = {*self.pins, *names}
        needed = {need for package in self.lock.packages if package.name in asked for need in package.needs}
        own = {entry.name for entry in self.wanted if entry.role == "direct" or not entry.is_from_index}
        own |= {normalize_name(name) for name in get_table(self.content, "tool", "poetry", "dependencies")}
        if self._list_added():  # written by hand: it has not all that is installed
            own |= {entry.name for entry in self.wanted if entry.role == "listed"}
        chosen = names & (own | names - needed)
        while chosen != self.direct:
            self.direct = chosen
            self._lock()
            chosen = chosen | names.intersection(entry.name for entry in self._list_missing())

    def _lock(self) -> None:
        """Write both files, and ask uv what they install. Raises PreflightError and ToolError."""
        finished = self._try_lock()
        if _is_unsolved(finished) and "requires-python" not in get_table(self.content, "project"):
            narrow = f">={self.version},<{self.next_series}"  # newer Pythons may need other versions
            self.text = self.text.replace(f'python = "{self.pythons}"', f'python = "{narrow}"', 1)
            finished = self._try_lock()
        absent, forced = list[str](), dict[str, str]()
        while _is_unsolved(finished) and len(absent) < MOST_ABSENT:
            if found := _ABSENT.search(finished.output):
                absent.append(normalize_name(found[1] or found[2]))
            elif (conflict := self._find_conflict(finished.output)) and conflict not in forced:
                forced[conflict] = next(iter(self.pins[conflict].values()))
            else:
                break
            is_later = "on a subsequent index" in finished.output
            finished = self._try_lock(absent, forced)
        problems = list[Problem]()
        if absent:
            labels = [" ".join([name, *self.pins.get(name, {}).values()]) for name in sorted({*absent})]
            message = f"No index that uv asks has {join_few(labels, MOST_ABSENT)}."
            advice = f"Add the index to `[tool.uv]` in pyproject.toml, {_NAME_FILE}"
            if is_later:
                advice = "uv asks the first index alone that has a package: see its `index-strategy` and `explicit`."
            problems.append(Problem("not-on-index", message, advice))
        if forced:
            pins = [f"{name}=={version}" for name, version in forced.items()]
            message = f"Others do not allow the versions of {join_few(pins, MOST_ABSENT)}, by what they say they need."
            advice = f"If they work together, add `override-dependencies = {json.dumps(pins)}` to `[tool.uv]` in"
            problems.append(Problem("no-first-lock", message, f"{advice} pyproject.toml, commit, and begin again."))
        require(problems)
        if _is_unsolved(finished):
            reason = " ".join(finished.output.partition("cause: ")[2].split())
            message, advice = f"No lock can have these versions: {reason}", "Correct the file, or pyproject.toml."
            raise refuse("no-first-lock", message, advice)
        if finished.status:
            raise process.failure(finished)
        self._run_uv("lock", "--check", "--python", self.python)  # the two files are all that it needs
        self.lock = read_lock(self.tree / "uv.lock")
        self.installed = list_synced(self.site, self.tree, str(self.python), mark=self.mark)

    def _find_conflict(self, output: str) -> str:
        """Return the name of a package whose version another one does not allow; empty if uv names none."""
        for name, bounds in _NEEDS.findall(output) if "override-dependencies" not in self.uv else ():
            versions = self.pins.get(name, {}).values()
            if any(not SpecifierSet(bounds).contains(version, prereleases=True) for version in versions):
                return str(name)
        return ""

    def _try_lock(self, absent: Collection[str] = (), forced: Mapping[str, str] = {}) -> process.Finished:
        """Write pyproject.toml with the direct packages, and lock the versions, but for absent ones.

        Those that are forced are so against what others need. Raises ToolError.
        """
        pins = [f"{name}=={version}" for name, version in forced.items()]
        lines = [f"override-dependencies = {json.dumps(pins)}"] if pins else []
        self.path.write_text(add_lines(self.text, "tool.uv", lines), "utf-8")
        chosen = [entry for entry in self.wanted if entry.name in self.direct.difference(absent)]
        if lines := merge(chosen):
            self._run_uv("add", "--frozen", "--python", self.python, *lines)
        for entry in (entry for entry in chosen if entry.directory):
            options = ["--editable"] if entry.is_editable else []
            extras = f"[{','.join(sorted(entry.requirement.extras))}]" if entry.requirement.extras else ""
            place = entry.directory + extras
            self._run_uv("add", "--frozen", "--no-workspace", "--python", self.python, *options, place)
        kept = [name for name in self.pins if name not in absent]
        words = [argument for name in kept for argument in pin_arguments(self.pins[name], name)]
        return self._run_uv("lock", "--python", self.python, *words, check=False)

    def _run_uv(self, *words: str | Path, check: bool = True) -> process.Finished:
        return self.site.run_uv(*words, cwd=self.tree, mark=self.mark, check=check)

    def _list_missing(self) -> list[Entry]:
        """Return the packages that were asked for on this host, and would not be installed."""
        python = {"python_version": self.series, "python_full_version": self.version}
        markers = [(entry, entry.requirement.marker) for entry in self.wanted if entry.name not in self.installed]
        return [entry for entry, marker in markers if marker is None or marker.evaluate(dict(python))]

    def _list_added(self) -> list[str]:
        """Return the packages that would be installed, with versions that nobody has asked for."""
        names = self.installed.keys() - self.pins.keys() - {entry.name for entry in self.wanted}
        return sorted(f"{name} {self.installed[name]}" for name in names - self.declared - self.lock.local)

    def find_differences(self) -> list[Problem]:
        """Return a problem for each package that would not be the one that was asked for."""
        sentences = [f"{entry.place}: {entry.name} would not be installed" for entry in self._list_missing()]
        if self.wanted and not self.installed:
            sentences.append(f"No package is for Python {self.version}: name the site's own, as `uv python pin` does")
        for name, version in sorted(self.installed.items()):
            asked = [*self.pins.get(name, {}).values()]
            if version and asked and canonicalize_version(version) not in map(canonicalize_version, asked):
                sentences.append(f"{name} would be {version}, not {' or '.join(asked)}")
        for entry in (entry for entry in self.wanted if not entry.is_from_index):
            if any(package.source.kind == "registry" for package in self.lock.find(entry.name)):
                sentences.append(f"{entry.place}: {entry.name} would come from an index")
        for package in (package for package in self.lock.packages if package.source.kind == "registry"):
            sentences += self._compare_source(package)
        advice = "Nothing was written. Correct the file, the venv or pyproject.toml."
        return [Problem("differs", f"{redact(sentence)}.", advice) for sentence in sentences]

    def _compare_source(self, package: Package) -> list[str]:
        """Return a sentence if another index would bring a package, or files without a hash that was asked for."""
        asked, label, sentences = self.asked, f"{package.name} {package.version}", list[str]()
        urls = [*asked.find_links, *(index.url for index in asked.indexes)]
        if not (asked.has_no_index or any(index.is_default for index in asked.indexes)):
            urls.append(PUBLIC)
        known = {url.removeprefix("file://").rstrip("/") for url in urls}
        if (asked.indexes or asked.find_links or asked.has_no_index) and package.source.location.rstrip(
            "/"
        ) not in known:
            sentences.append(f"{label} would come from {package.source.location}, which the file does not name")
        hashes = {digest for entry in self.wanted if entry.name == package.name for digest in entry.hashes}
        if hashes and hashes.isdisjoint(package.hashes or _hash_files(self.tree, package)):
            sentences.append(f"{label} would be another file: none has a hash that was asked for")
        return sentences

    def make_notes(self) -> list[str]:
        """Return what a person should know of the two files, a sentence each."""
        loose = [line for line in merge(entry for entry in self.wanted if entry.name in self.direct) if "~=" in line]
        notes = [f"Exact versions let patch releases in from now on: {join_few(sorted(loose))}."] if loose else []
        if added := self._list_added():
            notes.append(f"uv chose the version of {join_few(added, 20)}: nobody has asked for one.")
        if narrow := re.search(r'^requires-python = (">=.*,<.*")$', self.text, re.MULTILINE):
            notes.append(f"These versions fit no newer Python: `requires-python` is {narrow[1]}.")
        if any(entry.hashes for entry in self.wanted) and not all(package.hashes for package in self.lock.packages):
            bare = [each.name for each in self.lock.packages if not each.hashes and each.source.kind == "registry"]
            notes += [f"uv.lock has no hashes of packages from a directory: {join_few(bare)}."] if bare else []
        left = {entry.name: entry.version for entry in self.asked.entries if entry.role == "bound"}
        names = sorted(left.keys() - self.installed.keys() - SEEDS)
        if names and not any(entry.role == "direct" for entry in self.wanted):
            notes.append(f"Not locked, as nothing in the venv needs it: {join_few(names, 20)} of the system's Python.")
        return notes


def _is_unsolved(finished: process.Finished) -> bool:
    """Return True if uv has found no versions that fit together."""
    return finished.status == 1 and "No solution found" in finished.output


def _hash_files(tree: Path, package: Package) -> set[str]:
    """Return the hashes of the files of a package in a directory, of which a lock has none."""
    stem = re.compile(re.escape(package.name).replace(r"\-", "[-_.]+") + f"-{re.escape(package.version)}[-.]", re.I)
    files = [path for path in (tree / package.source.location).glob("*") if stem.match(path.name)]
    return {f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}" for path in files}
