"""A venv: its packages, its Python, and the files that no package has brought."""

from __future__ import annotations

import binascii
import contextlib
import csv
import itertools
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Set
from pathlib import Path
from typing import TypeAlias
from urllib.parse import unquote, urlsplit

import msgspec

from releaser.errors import ToolError
from releaser.site.site import Site
from releaser.system import process
from releaser.system.files import BrokenFileError, is_temporary, read_regular_file
from releaser.system.text import normalize_name

PYTHON_TIMEOUT = 60.0  # seconds
SEEDS = {"pip", "setuptools", "wheel"}  # venv and virtualenv put them into each venv
#: Labels of PyPI for the page about changes, in their plain form, the best first; and a URL that is safe to show.
_CHANGES = ("changelog", "changes", "releasenotes", "whatsnew", "history", "news", "releases")
_PROJECT_URL = re.compile(
    r"^Project-URL: *([^,\n]{1,32}?) *, *(https://[\w.-]+(?::\d+)?(?:/[\w./~%+:@?&=#!,()-]{0,300})?)\s*$",
    re.MULTILINE | re.ASCII,
)
_SHORT = 7  # characters of a commit
#: Of the directory that describes a package; an `.egg-info` is of `setup.py install`, which pip before 23.1 runs for a
#: source without pyproject.toml in a venv without `wheel`.
_INFO = re.compile(r"(.*)-((?!py\d)[^-]*)(?:-py[\d.]+)?\.(?:dist|egg)-info")
_LISTS = ("*.dist-info/RECORD", "*.egg-info/installed-files.txt")
#: For each RECORD, or list of `setup.py install`, the files that it names, with their hashes; paths are relative to the
#: venv.
Records: TypeAlias = dict[str, dict[str, str | None]]
# Of Python, uv, virtualenv, setuptools and releaser; the paths are those that `shorten` returns.
_STANDARD = re.compile(
    r"pyvenv\.cfg|\.gitignore|CACHEDIR\.TAG|lib64|bin/(python[\d.]*|\N{MATHEMATICAL ITALIC SMALL PI}thon|pydoc\.bat|"
    r"(de)?activate(\.\w+)?|Activate\.ps1|activate_this\.py)|_virtualenv\.(py|pth)|distutils-precedence\.pth|"
    r"_releaser\.\w+"
)


def read_config(venv: Path) -> str:
    """Return the text of `pyvenv.cfg`; empty if it cannot be read."""
    with contextlib.suppress(OSError):
        return (venv / "pyvenv.cfg").read_text(encoding="utf-8", errors="replace")
    return ""


def is_relocatable(venv: Path) -> bool:
    """Return True if the console scripts of a venv find their Python beside them: a copy runs its own packages."""
    return re.search(r"^relocatable *= *true", read_config(venv), re.MULTILINE | re.IGNORECASE) is not None


def find_site_packages(venv: Path) -> Path:
    """Return the directory of the installed packages; the venv itself if there is none."""
    places = sorted(venv.glob("lib/python*/site-packages"))
    config = read_config(venv) if places[1:] else ""
    version = re.search(r"^version(?:_info)? *= *(\d+\.\d+)", config, re.MULTILINE)
    own = [place for place in places if version and place.parent.name == f"python{version[1]}"]
    return next(iter(own or places), venv)


def label_version(version: str, commit: str = "") -> str:
    """Return a version for people and comparisons; one from git is told by its commit: `1.0 (3f2a9c1)`."""
    return f"{version} ({commit[:_SHORT]})" if commit else version


def list_installed(venv: Path) -> dict[str, str]:
    """Return the version of each package in a venv, by its normalized name; with its commit if it came from git."""
    versions = {}
    for name, info in _list_infos(venv):
        _, version = split_info(info)
        versions[name] = label_version(version, _read_direct_url(info).vcs_info.commit_id)
    return versions


class _Revision(msgspec.Struct, frozen=True):
    commit_id: str = ""


class _Directory(msgspec.Struct, frozen=True):
    editable: bool = False


class _DirectUrl(msgspec.Struct, frozen=True):
    url: str = ""
    vcs_info: _Revision = _Revision()
    dir_info: _Directory | None = None


def _read_direct_url(info: Path) -> _DirectUrl:
    """Return where a package was installed from, by PEP 610; empty if an index has brought it."""
    with contextlib.suppress(OSError, msgspec.MsgspecError):
        return msgspec.json.decode((info / "direct_url.json").read_bytes(), type=_DirectUrl)
    return _DirectUrl()


class About(msgspec.Struct, frozen=True):
    """A package as its authors present it: its name, and the page about its changes; empty if they name none."""

    name: str
    changes_url: str = ""


def read_about(venv: Path, name: str) -> About:
    """Return how the metadata of an installed package presents it; by its plain name alone if it is not installed."""
    data, info = b"", find_info(venv, name)
    with contextlib.suppress(BrokenFileError):
        data = (info and read_regular_file(info / "METADATA")) or b""
    head = data.partition(b"\n\n")[0].decode(errors="replace")
    written = re.search(r"^Name: *([\w.-]+)\s*$", head, re.MULTILINE)
    urls = {re.sub(r"[\W_]", "", label).lower(): url for label, url in _PROJECT_URL.findall(head)}
    url = next((urls[label] for label in _CHANGES if label in urls), "")
    return About(written[1] if written and normalize_name(written[1]) == name else name, url)


def list_sources(venv: Path) -> dict[str, str]:
    """Return the URL of each package that no index has brought, by its normalized name."""
    urls = {name: _read_direct_url(info).url for name, info in _list_infos(venv)}
    return {name: url for name, url in urls.items() if url}


def list_local(venv: Path) -> set[str]:
    """Return the normalized name of each package that a directory has brought, which is the project's own."""
    return {name for name, info in _list_infos(venv) if _read_direct_url(info).dir_info is not None}


def list_editable(venv: Path) -> dict[str, Path]:
    """Return the directory of each editable package, by its normalized name."""
    read = ((name, _read_direct_url(info)) for name, info in _list_infos(venv))
    urls = {name: each.url for name, each in read if each.dir_info and each.dir_info.editable}
    return {name: Path(unquote(urlsplit(url).path)) for name, url in urls.items()}


def _list_infos(venv: Path) -> list[tuple[str, Path]]:
    """Return the normalized name and the `.dist-info` directory of each package, or its `.egg-info` one."""
    place = find_site_packages(venv)
    infos = [*sorted(path.parent for path in place.glob(_LISTS[1])), *sorted(place.glob("*.dist-info"))]
    return [(split_info(info)[0], info) for info in infos]


def split_info(info: Path) -> tuple[str, str]:
    """Return the normalized name and the version of a package, by the name of the directory that describes it."""
    match = _INFO.fullmatch(info.name)
    return (normalize_name(match[1]), match[2]) if match else ("", info.stem)


def find_info(venv: Path, name: str) -> Path | None:
    """Return the `.dist-info` or `.egg-info` directory of a package; None if it is not installed."""
    return dict(_list_infos(venv)).get(name)


def read_records(venv: Path) -> Records:
    """Return what each RECORD says, by its path in the venv: paths of files with their SHA-256, None if it has none.

    Byte code does not count, nor does what lies outside of the venv, nor a RECORD that cannot be read.
    """
    records: Records = {}
    for record in itertools.chain.from_iterable(map(find_site_packages(venv).glob, _LISTS)):
        with contextlib.suppress(OSError, csv.Error):
            lines = record.read_text(encoding="utf-8", errors="replace").splitlines()
            is_wheel = record.name == "RECORD"  # else its lines are paths, relative to its directory
            rows = list(csv.reader(lines)) if is_wheel else [[f"{record.parent.name}/{line}"] for line in lines]
            place = os.path.relpath(record.parent.parent, venv)
            files = {os.path.normpath(f"{place}/{row[0]}"): row for row in rows if row and "__pycache__/" not in row[0]}
            records[f"{place}/{record.parent.name}/{record.name}"] = {
                path: _decode_hash(row) for path, row in files.items() if not path.startswith("../")
            }
    return records


def list_unrecorded(venv: Path) -> list[str]:
    """Return each package of a venv, as `name==version`, whose RECORD is missing, is empty, or cannot be read."""
    # A power cut leaves zeros.
    whole = {path for path, record in read_records(venv).items() if record and "\0" not in "".join(record)}
    records = set(map(os.path.dirname, whole))
    lost = [info for _, info in _list_infos(venv) if os.path.relpath(info, venv) not in records]
    return ["==".join(split_info(info)) for info in lost]


def _decode_hash(row: list[str]) -> str | None:
    algorithm, _, value = row[1].partition("=") if row[1:] else ("", "", "")
    value = value.replace("-", "+").replace("_", "/") + "=" * (-len(value) % 4)
    with contextlib.suppress(ValueError):
        return binascii.a2b_base64(value).hex() if algorithm == "sha256" else None
    return None


def join_records(records: Iterable[Mapping[str, str | None]]) -> dict[str, str | None]:
    """Return the files of several RECORDs; None is the hash of one of which they say different things."""
    files: dict[str, str | None] = {}
    for record in records:
        files |= {path: digest if files.get(path, digest) == digest else None for path, digest in record.items()}
    return files


def list_files(top: Path) -> Iterator[str]:
    """Yield the path of each file and link below a directory, relative to it, without byte code and uv's lock.

    A name that is no UTF-8 has `?` in it, as no JSON takes it.
    """
    for place, directories, names in os.walk(top):
        directories[:] = [name for name in directories if name != "__pycache__"]
        links = [name for name in directories if os.path.islink(os.path.join(place, name))]
        inside = f"{place[len(os.fspath(top)) + 1 :]}/".removeprefix("/")
        for name in itertools.filterfalse(is_temporary, (*names, *links)):
            path = f"{inside}{name}".encode(errors="replace").decode()
            if path != ".lock":
                yield path


def find_unknown(venv: Path, known: Set[str]) -> list[str]:
    """Return the files of a venv that are not known, sorted; for a directory without any that is, its path."""
    places = {""}
    for place in map(os.path.dirname, known):
        while place not in places:
            places.add(place)
            place = os.path.dirname(place)
    tops = set()
    for path in list_files(venv):
        if path not in known:
            parts = path.split("/")
            heads = ("/".join(parts[:number]) for number in range(1, len(parts) + 1))
            tops.add(next((head for head in heads if head not in places), path))  # a link in place of a package
    return sorted(tops)


def list_stray_files(venv: Path) -> list[str]:
    """Return the files of a venv that neither a package nor uv, venv or virtualenv has brought, as `find_unknown`."""
    records = read_records(venv)
    standard = {path for path in list_files(venv) if _STANDARD.fullmatch(shorten(path))}
    return find_unknown(venv, {*records, *join_records(records.values()), *standard})


def shorten(path: str) -> str:
    """Return the path of a file in a venv for people: without the directory of the packages."""
    return re.sub(r"^lib/python[^/]+/site-packages/", "", path)


def is_in_package(path: str) -> bool:
    """Return True for a file in the directory of a package, where the package itself may write data."""
    return "/" in shorten(path) != path and ".dist-info/" not in path


def ask_python_version(site: Site, python: Path) -> str:
    """Return the version of an interpreter, such as `VENV/bin/python`; empty if it does not start."""
    return _ask_python(site, python, "import sys; print('.'.join(map(str, sys.version_info[:3])))")


def is_same_installation(site: Site, *pythons: Path) -> bool:
    """Return True if interpreters belong to one installation of Python, also through venvs, copies and wrappers."""
    facts = "sys.implementation.name, sys.version, sys.abiflags, os.path.realpath(sys.base_prefix)"
    code = f"import os, sys; print({facts})"
    answers = {_ask_python(site, python, code) for python in pythons}
    return len(answers) == 1 and "" not in answers


def _ask_python(site: Site, python: Path, code: str) -> str:
    """Return what an interpreter prints; empty if it does not start."""
    if not os.access(python, os.X_OK):
        return ""
    try:
        words: list[str | Path] = [python, "-I", "-S", "-c", code]
        env = site.tool_environment()
        finished = process.run(words, cwd=Path("/"), env=env, timeout=PYTHON_TIMEOUT, is_question=True)
    except ToolError:
        return ""
    return finished.stdout.strip()


def find_python(venv: Path) -> Path:
    """Return the path of the interpreter of a venv."""
    return venv / "bin" / "python"
