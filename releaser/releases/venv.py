"""The parts of a venv: its interpreter, the metadata of its packages, and its editable packages.

A venv has only a link to an interpreter, which an upgrade of the operating system may replace or remove.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from releaser.errors import ToolError
from releaser.locks.versions import normalize_name
from releaser.releases.contents import hash_of, look_at
from releaser.system.files import read_file, read_text, write_new_file
from releaser.system.frozen import Frozen
from releaser.system.later import Later
from releaser.system.sections import Facts
from releaser.system.words import web_link

if TYPE_CHECKING:
    import csv
    import json
    from collections.abc import Iterator

    from releaser.system.process import Runner
else:
    csv, json = Later("csv"), Later("json")

_TIMEOUT = 60.0  # seconds to start, also on a busy server
_IDENTITY_FIELDS = ("version", "implementation", "abi", "build")
# Runs under the Pythons of sites. An executable of a few kilobytes may have all its code in a shared library.
_IDENTITY = """\
import json, os, sys, sysconfig
with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as file:
    mapped = {line.split(None, 5)[5].strip() for line in file if "/libpython" in line}
print(json.dumps({
    "version": ".".join(map(str, sys.version_info[:3])),
    "implementation": sys.implementation.name,
    "abi": sysconfig.get_config_var("SOABI") or "",
    "build": " ".join(sys.version.split()[1:]),
    "landmarks": [*sorted(mapped), getattr(os, "__file__", "")],
}))
"""
# In hexadecimal, as the locale may be unable to print a path, or print other bytes than those on disk.
_PREFIX = "import os, sys; print(os.fsencode(os.path.realpath(sys.prefix)).hex())"
# Errors of the machine, not of a release.
_SHORT_OF = (errno.ENOMEM, errno.EAGAIN, errno.EMFILE, errno.ENFILE)


class Interpreter(Frozen):
    """One interpreter: its place, and its answers about itself."""

    #: Its path, without symlinks.
    executable: str
    version: str
    implementation: str
    #: The ABI of its extension modules, as `SOABI`.
    abi: str
    #: Distinguishes two builds of one version: the time and the compiler.
    build: str
    #: The looks of its files, by path; while these are the same, it need not be asked again.
    seen: Mapping[str, str]

    def __str__(self) -> str:
        name = "Python" if self.implementation == "cpython" else self.implementation
        return f"{name} {self.version}"

    @property
    def minor(self) -> str:
        """The version without its patch, such as `3.11`."""
        return ".".join(self.version.split(".")[:2])

    def is_compatible_with(self, other: Interpreter) -> bool:
        """True if packages for the other interpreter work with this one; another patch version does not matter."""
        return (self.implementation, self.minor, self.abi) == (other.implementation, other.minor, other.abi)


class VenvFacts(Facts):
    """The installed files of a release and what starts as its Python, when it was sealed."""

    #: The digest of its files; empty if none was noted.
    fingerprint: str = ""
    #: The interpreter of its venv; None if it could not be asked.
    interpreter: Interpreter | None = None
    #: The digest of the files of its venv that decide which Python starts; empty if none was noted.
    start: str = ""
    #: The digests of start-up files (`.pth`, `sitecustomize`), by path relative to the venv; None in older manifests.
    start_files: Mapping[str, str] | None = None
    #: uv's link mode for its files (copy, hardlink, ...); empty if unknown.
    link_mode: str = ""


def executable_of(python: Path | str) -> str:
    """Return the path of an interpreter with all symlinks followed; it need not exist."""
    try:  # faster than realpath, which looks at each directory on the way
        descriptor = os.open(python, os.O_PATH | os.O_CLOEXEC)
        try:
            return os.readlink(f"/proc/self/fd/{descriptor}")
        finally:
            os.close(descriptor)
    except OSError:
        return os.path.realpath(python)


def ask(runner: Runner, executable: str) -> Interpreter:
    """Ask an interpreter for its version and build. Raises ToolError if it does not start or gives no such answer.

    Runs no code from the venv of a site, and writes nothing.
    """
    words = [executable, "-I", "-S", "-B", "-c", _IDENTITY]
    finished = runner.run(words, cwd=Path("/"), env=runner.neutral, timeout=_TIMEOUT)
    try:
        answer = json.loads(finished.stdout)
        texts = {name: str(answer[name]) for name in _IDENTITY_FIELDS}
        landmarks = [str(landmark) for landmark in answer["landmarks"] if landmark]
    except (ValueError, KeyError, TypeError) as error:
        message = f"{executable} printed {finished.stdout.strip()[:60]!r}, which is not Python's answer"
        raise ToolError(message, output=finished.output) from error
    return Interpreter(executable=executable, **texts, seen=look_at(dict.fromkeys((executable, *landmarks))))


def ask_if_possible(runner: Runner, venv: Path, known: Interpreter | None = None) -> Interpreter | None:
    """Ask the interpreter of a venv, for the manifest of a release; return `known` if its files look the same.

    None if it does not start: other checks report that.
    """
    executable = executable_of(venv / "bin" / "python")
    if known is not None and known.executable == executable and look_at((executable, *known.seen)) == known.seen:
        return known
    try:
        return ask(runner, executable)
    except ToolError as error:
        import logging  # slow to import, for `releaser list`

        logging.getLogger(__name__).warning("the interpreter of %s cannot be asked: %s", venv, error)
        return None


def change(sealed: Interpreter, now: Interpreter) -> str:
    """Describe the change from one interpreter to another; empty if version and build are equal, wherever they are."""
    if now.is_compatible_with(sealed) and (now.version, now.build) == (sealed.version, sealed.build):
        return ""
    before, after = str(sealed), str(now)
    if not now.is_compatible_with(sealed):
        before, after = (f"{name} ({abi})" if abi else name for name, abi in ((before, sealed.abi), (after, now.abi)))
    elif before == after:
        before, after = f"{before} {sealed.build}", f"{after} {now.build}"
    moved = f", and now {now.executable}" if now.executable != sealed.executable else ""
    return f"{before} became {after} under it ({sealed.executable}{moved})"


def start_through(runner: Runner, link: Path, venv: Path, *, cwd: Path) -> None:
    """Check that the Python of `venv` starts through the symlink, as the web server starts it. Raises ToolError.

    Before the flip it was started only by its path in the release.
    """
    python = link / "bin" / "python"
    advice = f"Start {venv / 'bin' / 'python'} to see its message."
    try:
        words: list[str | Path] = [python, "-I", "-B", "-c", _PREFIX]
        finished = runner.run(words, cwd=cwd, env=runner.neutral, timeout=_TIMEOUT, death_signal=None)
    except ToolError as error:
        if isinstance(error.__cause__, OSError) and error.__cause__.errno in _SHORT_OF:
            raise
        raise ToolError(error.message, advice, output=error.output) from error
    try:  # the answer is the last word, as start-up code of a site may print before
        prefix = os.fsdecode(bytes.fromhex(finished.stdout.split()[-1]))
    except (IndexError, ValueError):
        prefix = ""
    if prefix != os.path.realpath(venv):
        reported = f"{prefix} as its venv" if prefix else "no venv"
        message = f"{python} reports {reported} instead of {venv}"
        raise ToolError(message, advice, output=finished.output)


# Labels of well-known project URLs from the packaging specification, with their aliases.
ABOUT_CHANGES = ("changelog", "changes", "whatsnew", "history", "releasenotes")
# The most useful first.
_LABELS = (
    *ABOUT_CHANGES,
    "homepage",
    "source", "repository", "sourcecode", "github",
    "documentation", "docs",
)  # fmt: skip


class Installed(Frozen):
    """An installed package and its requirements, from its metadata."""

    name: str
    version: str
    requires: tuple[str, ...]


def _read_metadata(venv: Path, name: str | None = None) -> Iterator[dict[str, list[str]]]:
    """Yield the metadata of the packages of a venv, or of the one called `name`; unreadable metadata is skipped."""
    wanted = normalize_name(name or "")
    for info in sorted(venv.glob("lib/*/site-packages/*.*-info")):  # .dist-info, and the older .egg-info
        if wanted and not normalize_name(info.name).startswith(wanted):
            continue
        for file in (info / "METADATA", info / "PKG-INFO", info):
            with contextlib.suppress(OSError, ValueError):  # ValueError: not UTF-8
                if text := read_text(file):
                    fields = _read_fields(text)
                    if not wanted or normalize_name(_one_of(fields, "name")) == wanted:
                        yield fields
                    break


def _read_fields(text: str) -> dict[str, list[str]]:
    """Return the fields of metadata by name. The parser of mails takes ten times as long."""
    head, _, description = text.partition("\n\n")
    found: dict[str, list[str]] = {"description": [description]}
    values = [""]  # of the field that goes on in the next line
    for line in head.split("\n"):
        if line.startswith((" ", "\t")):
            values[-1] += f"\n{line.rstrip()}"
            continue
        field, colon, value = line.partition(":")
        if not colon:  # the description follows
            break
        values = found.setdefault(field.lower(), [])
        values.append(value.strip())
    return found


def _one_of(fields: Mapping[str, list[str]], field: str) -> str:
    """Return the value of a field that may occur once; empty without any, or with several."""
    values = fields.get(field, [])
    return values[0] if len(values) == 1 else ""


def versions_in(venv: Path, name: str | None = None) -> dict[str, str]:
    """Return the versions of the installed packages, or of the one called `name`, by normalized name."""
    found = ((_one_of(fields, "name"), _one_of(fields, "version")) for fields in _read_metadata(venv, name))
    return {normalize_name(one): version for one, version in found if one and version}


def python_of(venv: Path, name: str, version: str) -> str:
    """Return `Requires-Python` of a package if `version` is installed; empty if it has none."""
    fields = next(_read_metadata(venv, name), {})
    return _one_of(fields, "requires-python") if _one_of(fields, "version") == version else ""


class About(Frozen):
    """The links and the description of an installed package, from its metadata."""

    #: By their labels, in lowercase without blanks and punctuation.
    urls: Mapping[str, str]
    #: Its description, which may have its changelog; empty without one.
    description: str


def read_about(venv: Path, name: str) -> About:
    """Return the links and the description of a package; none if it is not installed."""
    import string  # slow to import, for `releaser list`

    dropped = str.maketrans("", "", string.punctuation + string.whitespace)
    fields = next(_read_metadata(venv, name), {})
    labelled = (url.partition(",")[::2] for url in fields.get("project-url", ()))
    urls = {label.translate(dropped).lower(): url.strip() for label, url in labelled}
    urls.setdefault("homepage", _one_of(fields, "home-page"))
    return About(urls=urls, description="\n".join(fields.get("description", [])))


def link_of(venv: Path, name: str) -> str | None:
    """Return a link about a package: its changelog, else home page, source or documentation; None without any."""
    urls = read_about(venv, name).urls
    return next(filter(None, (web_link(urls[label]) for label in _LABELS if urls.get(label))), None)


def requirements_in(venv: Path) -> Iterator[Installed]:
    """Yield the packages of a venv that require others."""
    for fields in _read_metadata(venv):
        if (name := _one_of(fields, "name")) and (requires := fields.get("requires-dist")):
            yield Installed(name=normalize_name(name), version=_one_of(fields, "version"), requires=tuple(requires))


_LONGEST_SHEBANG = 127  # bytes that the kernel reads of a first line (execve(2))
_LARGEST = 1024 * 1024  # bytes; the files of build backends for editable packages are far smaller


def repoint_editables(venv: Path, old: Path, new: Path) -> None:
    """Point packages that were installed from below `old` to the same place below `new`. Raises OSError.

    Changes only files that the RECORD of these packages lists, and their lines there
    (https://packaging.python.org/en/latest/specifications/recording-installed-packages/).
    """
    if old == new:
        return
    for note, content, source in _installed_from(venv, old):
        url = (new / source.relative_to(old)).as_uri()
        changed = {note: json.dumps({**content, "url": url}).encode()}
        _rewrite(note.parent, changed, old, new)


def relocate(venv: Path, old: Path, new: Path) -> None:
    """Point the scripts of a venv that was made at `old` to its Python at `new`, and update their lines in RECORD.

    Raises OSError.
    """
    for record in venv.glob("lib/python*/site-packages/*.dist-info/RECORD"):
        relocate_scripts(record.parent, old, new)
    for file in (venv / "pyvenv.cfg", *(venv / "bin").iterdir()):  # which are in no RECORD
        if file.is_symlink():
            target = os.readlink(file)
            if Path(target).is_relative_to(old):
                file.unlink()
                file.symlink_to(new / Path(target).relative_to(old))
        elif file.is_file() and file.stat().st_size <= _LARGEST:
            before = read_file(file)
            if (after := _replace(before, old, new)) != before:
                file.write_bytes(_started_by_shell(after))


def relocate_scripts(dist_info: Path, old: Path, new: Path) -> None:
    """Do as `relocate`, for the scripts of one package of a venv. Raises OSError."""
    _rewrite(dist_info, {}, old, new, outside=True)


def _started_by_shell(script: bytes) -> bytes:
    """Return the script, started by a shell if the kernel cannot read its first line, as uv and pip do."""
    first, _, rest = script.partition(b"\n")
    if not first.startswith(b"#!/") or not first.rpartition(b"/")[2].startswith(b"python"):
        return script
    if len(first) <= _LONGEST_SHEBANG and b" " not in first:
        return script
    program = first[2:].replace(b"'", b"'\"'\"'")
    return b"#!/bin/sh\n'''exec' '%b' \"$0\" \"$@\"\n' '''\n%b" % (program, rest)


def leads_into(venv: Path, place: Path) -> bool:
    """True if any editable package of the venv lies below `place`. Raises OSError."""
    return any(content.get("dir_info", {}).get("editable") for _, content, _ in _installed_from(venv, place))


def sources_below(venv: Path, place: Path) -> list[Path]:
    """Return the directories below `place` that `.pth` files add to the module path, relative to it. Raises OSError."""
    files = venv.glob("lib/python*/site-packages/*.pth")
    lines = (Path(line) for file in files for line in read_text(file, errors="replace").splitlines())
    return sorted({path.relative_to(place) for path in lines if path.is_relative_to(place)})


def count_installed(venv: Path) -> int:
    """Return how many packages are installed so far, in a venv that need not exist yet."""
    return sum(1 for _ in venv.glob("lib/python*/site-packages/*.dist-info"))


def _installed_from(venv: Path, place: Path) -> Iterator[tuple[Path, dict[str, Any], Path]]:
    """Yield the direct_url.json, its content and the source of each package installed from below `place`."""
    from urllib.parse import unquote, urlsplit  # slow to import, for `releaser list`

    for note in venv.glob("lib/python*/site-packages/*.dist-info/direct_url.json"):
        content = json.loads(read_file(note))
        source = Path(unquote(urlsplit(content.get("url", "")).path))  # quoted unlike by `as_uri`
        if source.is_relative_to(place):
            yield note, content, source


def _rewrite(dist_info: Path, changed: dict[Path, bytes], old: Path, new: Path, *, outside: bool = False) -> None:
    """Replace a path in the text files of a package, write the contents in `changed`, and update RECORD.

    With `outside`, only in files outside site-packages. Compiled files stay: their paths are notes for debuggers, which
    must keep their length.
    """
    record, venv = dist_info / "RECORD", os.path.realpath(dist_info.parents[3])
    rows = list(csv.reader(read_text(record).splitlines()))
    rows_before = [row[:] for row in rows]
    for row in rows:
        file = dist_info.parent / row[0]
        is_due = file != record and (not outside or row[0].startswith("../"))
        if not is_due or not file.is_file() or file.stat().st_size > _LARGEST:
            continue
        if file.is_symlink() or not os.path.realpath(file).startswith(f"{venv}/"):  # the tests may have created it
            continue
        before = read_file(file)
        after = changed.get(file) or _replace(before, old, new)
        if after != before:
            after = _started_by_shell(after) if outside else after
            file.write_bytes(after)
            row[1:3] = [hash_of(str(file)), str(len(after))]
            for compiled in (file.parent / "__pycache__").glob(f"{file.stem}.*.pyc"):
                compiled.unlink()
    if rows == rows_before:
        return
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    write_new_file(record, text.getvalue().encode())


def _replace(data: bytes, old: Path, new: Path) -> bytes:
    if b"\0" in data:
        return data
    return os.fsencode(new).join(re.split(re.escape(os.fsencode(old)) + rb"(?![\w.-])", data))
