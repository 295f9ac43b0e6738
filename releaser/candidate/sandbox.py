"""The sandbox of the tests and builds of a candidate: its writable and hidden paths, and the files it restores."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from releaser.checkout.leftovers import mark_tried
from releaser.checkout.untracked import weigh
from releaser.errors import Finding, ToolError, how_to_set
from releaser.releases.journal import note, read_notes
from releaser.sandbox.bubblewrap import Bounds, Bubblewrap, passwords_of_user, secrets_of_user
from releaser.sandbox.choice import bubblewrap_of, find_sandbox
from releaser.sandbox.settings import INSTALL, SandboxSettings
from releaser.sandbox.sockets import find_named, list_listening
from releaser.site.addresses import MailSettings
from releaser.system.environment import package_places
from releaser.system.files import clear_name, only_files, open_up, read_if_there
from releaser.system.frozen import replace
from releaser.system.process import NO_SANDBOX, Sandbox
from releaser.system.words import first_few
from releaser.tools.code_files import SMALL

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from releaser.candidate.git_sources import Fetched
    from releaser.core.confinement import Purpose
    from releaser.report import RunLog
    from releaser.site.site import Site


logger = logging.getLogger(__name__)

OF_UV = ("pyproject.toml", "uv.lock", "uv.toml", ".python-version", ".python-versions")  # files that control uv
THROWN_AWAY = "thrown away"  # a key in the memory of a run
_LARGE = 500_000_000  # bytes, of a file
_FEW = 500  # files
#: Directories in which writes are not reported.
_IGNORED_DIRECTORIES = frozenset({".cache", ".git", "__pycache__", ".pytest_cache"})
_REFUSED = "Read-only file system|Permission denied|Operation not permitted"


def describe_sandbox(site: Site) -> str:
    """Say for `releaser check` which sandbox tests and builds have; empty if they have none."""
    found = find_sandbox(site)
    return f"{found.name} ({found.description})" if isinstance(found, Bubblewrap) else ""


def describe_access(site: Site) -> str:
    """Say, before the tests of a site first run, which files and services of this host they can change."""
    found = find_sandbox(site)
    if isinstance(found, str):
        return (
            f"The tests run without a sandbox ({found}): they can write to every file that this user can write to. "
            f"{INSTALL} to prevent that."
        )
    network = "can" if SandboxSettings.of(site).test_network else "cannot"
    return (
        "The tests run on this host, in a sandbox: files that they write outside the staging tree are discarded. "
        f"They {network} use the network, and can use this host's databases."
    )


def sandbox_warnings(site: Site) -> tuple[Finding, ...]:
    """Warn, for `releaser check`, if tests and builds have no sandbox, unless `sandbox` is "off"."""
    found = find_sandbox(site) if SandboxSettings.of(site).sandbox == "auto" else None
    return (_describe_missing_sandbox(found),) if isinstance(found, str) else ()


def report_missing_sandbox(site: Site, log: RunLog) -> None:
    """Log that tests and builds have no sandbox on this host, unless `sandbox` is "off", and report it once."""
    warnings, is_known = sandbox_warnings(site), read_notes(site.state_dir).no_sandbox
    for warning in warnings:
        logger.warning("%s", warning.message)
        if not is_known:
            log.note(replace(warning, advice=f"{warning.advice} This is reported once."))
    if bool(warnings) != is_known:
        note(site.state_dir, no_sandbox=bool(warnings))


def _describe_missing_sandbox(reason: str) -> Finding:
    message = f"tests and builds run without a sandbox: {reason}"
    return Finding("no-sandbox", message, f'{INSTALL}, or set `sandbox = "off"`.')


def runs_without_sandbox(site: Site) -> bool:
    """True if the last tests ran without a sandbox, because none works on this host."""
    return SandboxSettings.of(site).sandbox == "auto" and read_notes(site.state_dir).no_sandbox


@contextlib.contextmanager
def sandbox_of(
    site: Site, venv: Path, *others: Path, what: Purpose = "tests", fetched: Fetched | None = None
) -> Iterator[Sandbox]:
    """Yield a sandbox that may write to `venv`, `others` and the staging tree; an empty one if none works.

    Builds of third-party packages may not write to the staging tree; git finds the `fetched` repositories in them.

    At the end, files that later programs of releaser rely on are restored: the venv's Python and `pyvenv.cfg`, `.git`
    of the staging tree, and the files that control uv. Raises ToolError if that is impossible.
    """
    bubblewrap = bubblewrap_of(site)
    if what != "builds":
        mark_tried(site)
    if bubblewrap is None or not site.tree.is_staged:
        yield NO_SANDBOX
        return
    tree, project, python = site.git.layout.top, site.project, venv / "bin" / "python"
    writable = (*(() if what == "builds" else (tree,)), venv, *others)
    kept = (tree.parent, *package_places(project.root, site.runner.environ), *(fetched.places if fetched else ()))
    bounds = replace(
        bounds_of(site, python, writable, kept),
        copied=tuple(_copied_paths(site)),
        network=what != "tests" or SandboxSettings.of(site).test_network,
    )
    steering = [python, venv / "pyvenv.cfg", tree / ".git", *(project.root / name for name in OF_UV)]
    before = {path: look_at(path) for path in steering}
    links = {place for place in _ways(venv, project.root, tree) if place.is_symlink()}
    try:
        with bubblewrap.sandbox(bounds, partial(_note_discarded_files, site) if what == "tests" else list) as sandbox:
            yield with_variables(sandbox, fetched)
    finally:
        flaws = [
            *_open_ways(_ways(venv, project.root, tree), links),  # first: files must not be restored through symlinks
            *restore_watched_files(before),
        ]
        if flaws:
            raise ToolError(flaws[0], returncode=1)


def bounds_of(site: Site, python: Path, writable: Iterable[Path] = (), kept: Iterable[Path] = ()) -> Bounds:
    """Return the bounds of code that this Python runs for a site; it may also write `writable`, and read `kept`."""
    project = site.outside.project
    return Bounds(
        writable=(*writable, *SandboxSettings.of(site).writable_places(site.project.checkout)),
        hidden=hidden_from(site),
        kept=(project.outer, project.checkout, project.state_dir, *kept),
        needed=programs_of(site, python),
        fixed=(*_too_large(site), *_libraries_of(python)),
        sockets=tuple(named_sockets(site)),
    )


def bounds_of_probe(site: Site) -> Bounds:
    """Return the bounds of tests without a staging tree: no written file stays, except in `test_writable`."""
    bounds = bounds_of(site, Path(sys.executable))
    return replace(bounds, copied=tuple(_copied_paths(site)), network=SandboxSettings.of(site).test_network)


def _too_large(site: Site) -> Iterator[Path]:
    """Yield the large files linked into the staging tree; opening one to write would copy it."""
    for name in site.tree.carried.linked:
        path = site.outside.git.layout.top / name
        if path.is_file() and path.stat().st_size > _LARGE:
            yield path


def _copied_paths(site: Site) -> Iterator[Path]:
    """Yield the writable files and directories around the checkout, such as logs, that are small enough to copy."""
    project, tree = site.outside.project, site.git.layout.top
    own = (site.outside.git.layout.top, project.state_dir, tree)
    with contextlib.suppress(OSError), os.scandir(project.outer) as entries:
        for entry in entries:
            path = Path(entry.path)
            if entry.is_symlink() or any(place.is_relative_to(path) for place in own) or not os.access(path, os.W_OK):
                continue
            with contextlib.suppress(OSError):
                if weigh(path, most_files=_FEW, most_bytes=SMALL * 10)[2]:
                    yield path


def _note_discarded_files(site: Site, paths: list[str]) -> None:
    """Remember the discarded files of the tests for the report."""
    project, top = site.outside.project, site.git.layout.top
    own = (str(project.state_dir), str(top))
    for path in paths:
        parts = path.split("/")
        if any(
            path == own_path or path.startswith(f"{own_path}/") for own_path in own
        ) or not _IGNORED_DIRECTORIES.isdisjoint(parts):
            continue
        site.runner.remembered[THROWN_AWAY, path] = ""


def list_discarded_files(site: Site) -> dict[str, str]:
    """Map each directory outside of the staging tree in which this run's tests wrote to one path in it.

    Both are relative to the project.
    """
    paths = sorted(str(question[1]) for question in site.runner.remembered if question[0] == THROWN_AWAY)
    base = site.outside.project.checkout
    return {os.path.relpath(os.path.dirname(path), base): os.path.relpath(path, base) for path in paths}


def describe_discarded_files(paths: Iterable[str]) -> str:
    """Report that the tests write to these paths, and that the sandbox discards the files."""
    return (
        f"The tests write outside the staging tree ({first_few(sorted(paths))}). The sandbox discards these files:"
        " the site's own files are safe. To keep a file, name it in `test_writable`."
    )


def report_discarded_files(site: Site, log: RunLog) -> None:
    """Report each directory outside of the staging tree in which tests wrote once."""
    found, known = list_discarded_files(site), read_notes(site.state_dir).thrown_away
    new = [path for place, path in found.items() if place not in known]
    if new:
        log.say(f"{describe_discarded_files(new)} This is reported once.")
        note(site.state_dir, thrown_away=known | frozenset(found))


def with_variables(sandbox: Sandbox, fetched: Fetched | None) -> Sandbox:
    """Return a sandbox in which git finds the fetched repositories."""
    return replace(sandbox, variables=(*sandbox.variables, *fetched.variables)) if fetched is not None else sandbox


def hidden_from(site: Site) -> tuple[Path, ...]:
    """Return the paths that code in the sandbox cannot read: mail, logs, secrets of the user, the SMTP password."""
    environ, named = site.runner.environ, MailSettings.of(site).smtp_password_file
    found = secrets_of_user(environ) + passwords_of_user(environ)
    found += (site.project.checkout / Path(named).expanduser(),) if named else ()
    return (site.project.outbox, site.project.logs, *found)


def programs_of(site: Site, python: Path) -> tuple[Path, ...]:
    """Return the programs that run in the sandbox: releaser, uv, and an interpreter with its library."""
    return (Path(sys.prefix), site.uv.executable, python, Path(os.path.realpath(python)).parent.parent)


def _libraries_of(python: Path) -> tuple[Path, ...]:
    """Return the standard library of an interpreter; through a layer, Django takes 10 ms longer to start."""
    return tuple(Path(os.path.realpath(python)).parent.parent.glob("lib*/python3.*"))


def _ways(venv: Path, root: Path, top: Path) -> Iterator[Path]:
    """Yield the directories from `top` to the project, and the directories of a venv; each after its parent."""
    yield from (directory for directory in (*reversed(root.parents), root) if directory.is_relative_to(top))
    yield venv
    for part in ("bin", "lib", "lib/*", "lib/*/site-packages"):
        yield from venv.glob(part)


def _open_ways(places: Iterable[Path], links: Collection[Path]) -> Iterator[str]:
    """Give the owner access to directories again; delete symlinks other than `links`. Yield a message for each flaw."""
    for place in places:
        try:
            if not place.is_symlink():
                open_up(place)
            elif place not in links:
                place.unlink()
                yield f"{place} was replaced by a symlink"
        except OSError as error:
            yield f"{place} cannot be examined: {error.strerror}"


def restore_watched_files(before: Mapping[Path, tuple[str, bytes] | None]) -> Iterator[str]:
    """Restore changed files; yield a message for each that cannot be restored."""
    for path, seen in before.items():
        if seen == ("", b"") or look_at(path, most=len(seen[1]) + 1 if seen else 1) == seen:
            continue
        logger.warning("%s was changed by code in the sandbox; restored", path)
        try:
            _put_back(path, seen)
        except OSError as error:
            yield f"{path} was changed, and cannot be restored: {error.strerror}"


def named_sockets(site: Site) -> Iterator[Path]:
    """Yield the sockets, or their directories, that tests and builds may reach.

    `test_sockets` names them, or the site's `.env`, which no commit changes.
    """
    project = site.outside.project
    for socket in SandboxSettings.of(site).test_sockets:
        yield Path(os.path.normpath(project.checkout / Path(socket).expanduser()))
    found = (read_if_there(place / ".env") for place in (project.outer, project.root))
    if texts := [one.decode(errors="replace") for one in found if one]:
        yield from map(Path, find_named(texts, list_listening()))


def look_at(path: Path, *, most: int = -1) -> tuple[str, bytes] | None:
    """Return the kind and content of a symlink or a file, `most` bytes of a file; None if the path does not exist.

    Both are empty for other kinds, and for files that cannot be read.
    """
    try:
        if path.is_symlink():
            return "link", os.fsencode(os.readlink(path))
        if path.is_file():
            with open(path, "rb", opener=only_files) as file:
                return "file", file.read(most)
        return ("", b"") if os.path.lexists(path) else None
    except OSError:
        return "", b""


def _put_back(path: Path, seen: tuple[str, bytes] | None) -> None:
    for of_directory in (True, False):
        with contextlib.suppress(NotADirectoryError, FileNotFoundError):
            clear_name(path, of_directory=of_directory)
    if seen is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    kind, content = seen
    if kind == "link":
        path.symlink_to(os.fsdecode(content))
    else:
        path.write_bytes(content)


def advice_on(site: Site, output: str) -> str:
    """Report that failed tests ran in a sandbox, if their output has an error about permissions; else empty."""
    if not re.search(_REFUSED, output) or (bubblewrap := bubblewrap_of(site)) is None:
        return ""
    elsewhere = how_to_set("test_writable", "PATH")
    return f"The tests run in a sandbox ({bubblewrap.name}). If they need to write elsewhere, {elsewhere}. "
