"""Isolation of what a candidate brings: its tests and its builds; and whether a site's tests can run so at all."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from releaser.checkout.isolating import WORKS, What, is_in_question, isolation_of, way_of
from releaser.checkout.leftovers import mark_tried, renew_tree
from releaser.errors import BuildError, Finding, ToolError
from releaser.releases.journal import note, read_notes
from releaser.system.environment import package_places
from releaser.system.files import clear_name, only_files, open_up, read_file
from releaser.system.isolation import Bounds, Isolation, Sandbox, find_isolation, passwords_of_user, secrets_of_user
from releaser.system.words import first_few

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from releaser.report import RunLog
    from releaser.site.site import Site


logger = logging.getLogger(__name__)

GIT_BY_HTTP = re.compile(rb'git = "http|git\+http')
OF_UV = ("pyproject.toml", "uv.lock", "uv.toml", ".python-version", ".python-versions")  # it goes by these
_ANYTHING = "anything"  # in what is noted as not isolated, where nothing on this host isolates
_NUMBER = re.compile(r"0x[0-9a-f]+|[0-9.]+")
_REFUSED = "Read-only file system|Permission denied|Operation not permitted"
_DENIED = rf"(?:{_REFUSED})[^\n'\"/]{{0,20}}['\"]([^'\"\n]+)|(/[^'\"\n:]+)['\"]?: (?:{_REFUSED})"


def isolation_findings(site: Site) -> tuple[Finding, ...]:
    """Say what is wrong with how a site is to be isolated."""
    findings = [
        Finding(f"`test_writable`: {place} does not exist", advice="Make it, or remove it from `test_writable`.")
        for place in writable_places(site)
        if not place.exists()
    ]
    if site.settings.isolate != "auto":  # which takes what there is, once something is to be isolated
        try:
            isolation_of(site)
        except BuildError as error:
            findings.append(error.finding)
    return tuple(findings)


def isolation_warnings(site: Site) -> tuple[Finding, ...]:
    """Say for `releaser check` that tests and builds are not isolated, where that is not what is set."""
    if site.settings.isolate != "auto":
        return ()
    open_ones: list[What] = [one for one in get_args(What) if isolation_of(site, one) is None]
    if not open_ones:
        return ()
    found = find_isolation("auto", site.runner)
    if isinstance(found, str):
        return (Finding(f"tests and builds are not isolated: {found}", advice="Install bubblewrap."),)
    message = f"the {' and '.join(open_ones)} are not isolated: for what is live that did not work ({found.name})"
    return (Finding(message, advice="Name what they may write to in `test_writable`; then it is tried again."),)


def tell_open(site: Site, log: RunLog) -> None:
    """Log that nothing on this host isolates tests and builds, where that is not what is set, and tell it once."""
    found = find_isolation("auto", site.runner) if site.settings.isolate == "auto" else None
    known = read_notes(site.state_dir).not_isolated
    if is_open := isinstance(found, str):
        message = f"tests and builds are not isolated: {found}"
        logger.warning("%s", message)
        if _ANYTHING not in known:
            log.note(Finding(message, advice="Install bubblewrap, or set `isolate`. This is told once."))
    if is_open != (_ANYTHING in known):
        note(site.state_dir, not_isolated=known ^ {_ANYTHING})


def runs_open(site: Site) -> bool:
    """Whether the last tests ran without isolation, as there is nothing on this host to isolate by."""
    return site.settings.isolate == "auto" and _ANYTHING in read_notes(site.state_dir).not_isolated


@contextlib.contextmanager
def sandbox_of(
    site: Site, venv: Path, *others: Path, what: What = "tests", needs_keys: bool = False
) -> Iterator[Sandbox]:
    """Yield what isolates a program that may write in `venv`, in `others`, and in the staging tree; nothing if none is.

    What builds packages of others may not write in the staging tree.

    What programs of releaser go by afterwards is put back if it has been changed: where the venv's Python lies, and of
    which repository the staging tree is. Raises ToolError.
    """
    isolation = isolation_of(site, what)
    if what != "builds":
        mark_tried(site)
    if isolation is None or site.staged is None:
        yield Sandbox()
        return
    tree, project = site.git.layout.top, site.project
    hides_passwords = what == "tests" or not GIT_BY_HTTP.search(read_file(project.lock))  # else builds fetch with these
    hidden = hidden_from(site, isolation, needs_keys=needs_keys, passwords=hides_passwords)
    bounds = Bounds(
        writable=(*(() if what == "builds" else (tree,)), venv, *others, *writable_places(site)),
        hidden=hidden,
        kept=(project.outer, project.state_dir, tree.parent, *package_places(project.root, site.runner.environ)),
        needed=programs_of(site, venv / "bin" / "python"),
    )
    steering = [venv / "bin" / "python", venv / "pyvenv.cfg", tree / ".git", *(project.root / one for one in OF_UV)]
    before = {path: look_at(path) for path in steering}
    links = {place for place in _ways(venv, project.root, tree) if place.is_symlink()}
    try:
        with isolation.sandbox(bounds) as sandbox:
            yield sandbox
    finally:
        flaws = [
            *_open_ways(_ways(venv, project.root, tree), links),  # first, as else it is put where they lead
            *put_all_back(before),
        ]
        if flaws:
            raise ToolError(flaws[0], returncode=1)


def hidden_from(site: Site, by: Isolation, *, needs_keys: bool, passwords: bool) -> tuple[Path, ...]:
    """Return what is not read in isolation."""
    environ, named = site.runner.environ, site.settings.smtp_password_file
    found = by.unfit_for_ssh if needs_keys else secrets_of_user(environ)
    found += passwords_of_user(environ) if passwords else ()
    found += (site.project.checkout / Path(named).expanduser(),) if named else ()
    return (site.project.outbox, site.project.logs, *found)


def programs_of(site: Site, python: Path) -> tuple[Path, ...]:
    """Return what is started in isolation: releaser, uv, and an interpreter with its library."""
    return (Path(sys.prefix), site.uv.executable, python, Path(os.path.realpath(python)).parent.parent)


def _ways(venv: Path, root: Path, top: Path) -> Iterator[Path]:
    """Yield the directories of a venv, and those on the way to a project below `top`, each after what it lies in."""
    yield from (one for one in (*reversed(root.parents), root) if one.is_relative_to(top))
    yield venv
    for part in ("bin", "lib", "lib/*", "lib/*/site-packages"):
        yield from venv.glob(part)


def _open_ways(places: Iterable[Path], links: Collection[Path]) -> Iterator[str]:
    """Let the owner in again; delete, and name, what leads elsewhere and is none of these `links`."""
    for place in places:
        try:
            if not place.is_symlink():
                open_up(place)
            elif place not in links:
                place.unlink()
                yield f"{place} was replaced by a symlink"
        except OSError as error:
            yield f"{place} cannot be looked at: {error.strerror}"


def put_all_back(before: Mapping[Path, tuple[str, bytes] | None]) -> Iterator[str]:
    """Put back what has been changed; name what cannot be."""
    for path, seen in before.items():
        if seen == ("", b"") or look_at(path, most=len(seen[1]) + 1 if seen else 1) == seen:
            continue
        logger.warning("%s was changed by isolated code; restored", path)
        try:
            _put_back(path, seen)
        except OSError as error:
            yield f"{path} was changed, and cannot be restored: {error.strerror}"


def writable_places(site: Site) -> list[Path]:
    return [
        Path(os.path.normpath(site.project.checkout / Path(one).expanduser())) for one in site.settings.test_writable
    ]


def look_at(path: Path, *, most: int = -1) -> tuple[str, bytes] | None:
    """Return what a symlink or a file holds, of that at `most` so many bytes; no kind of whatever else is there.

    None if there is nothing.
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


# Whether a site can be tested and built in isolation: with `auto`, what is live decides


def note_that_it_works(site: Site, what: What = "tests") -> None:
    """Note that the tests, or the builds, work in isolation, if that is in question: it is not to blame then."""
    isolation = isolation_of(site, what)
    if isolation is not None and is_in_question(site, what):
        site.runner.remembered[WORKS, what] = "yes"
        note(site.state_dir, isolated=read_notes(site.state_dir).isolated | {way_of(site, isolation, what)})


@contextlib.contextmanager
def without_isolation(site: Site, what: What = "tests") -> Iterator[None]:
    """Let the tests, or the builds, run without isolation meanwhile."""
    site.runner.remembered[WORKS, what] = "no"
    try:
        yield
    finally:
        site.runner.remembered.pop((WORKS, what), None)


def keep_from_live_data(site: Site, what: What = "tests") -> None:
    """Make the staging tree anew without links to the live checkout, if something is about to run there unsandboxed.

    Raises BuildError where that cannot be done.
    """
    if site.staged is not None and site.staged.brought.needs_sandbox and isolation_of(site, what) is None:
        mark_tried(site)
        renew_tree(site)


def fails_alike(site: Site, release: str, output: str) -> bool:
    """Whether the tests of a release have failed just so without isolation as well, except for numbers."""
    return read_notes(site.state_dir).fails_alike == _digest(site, release, output)


def note_fails_alike(site: Site, release: str, output: str) -> None:
    """Note that, so that a site that stays red is not asked twice each night."""
    note(site.state_dir, fails_alike=_digest(site, release, output))


def _digest(site: Site, release: str, output: str) -> str:
    isolation = isolation_of(site)
    way = way_of(site, isolation, "tests") if isolation is not None else ""
    text = "\n".join((release, way, _NUMBER.sub("", output)))
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()


def give_up(site: Site, log: RunLog, output: str, what: What = "tests") -> None:
    """Do without isolation from now on, and tell that once; `output` is what was printed in isolation."""
    isolation = isolation_of(site, what)
    if isolation is None:
        return
    note(site.state_dir, not_isolated=read_notes(site.state_dir).not_isolated | {way_of(site, isolation, what)})
    site.runner.remembered[WORKS, what] = site.runner.remembered[WORKS, way_of(site, isolation, what)] = "no"
    denied = dict.fromkeys(filter(None, (one.group(1) or one.group(2) for one in re.finditer(_DENIED, output))))
    wanted = f"; they need {first_few(denied, 5)}" if denied else ""
    subject = "the tests of the live release do not pass in isolation ({}), so the tests run"
    if what != "tests":
        subject = "the site's own packages cannot be built in isolation ({}), so they are built"
    message = f"{subject.format(isolation.name)} without it{wanted}"
    advice = "Name what they may write to in `test_writable`, or set `isolate`. This is told once."
    log.note(Finding(message, advice=advice))


def advice_on(site: Site, output: str) -> str:
    """Say that tests that failed have run in isolation, if they complain of something that was not permitted."""
    if not re.search(_REFUSED, output) or (isolation := isolation_of(site)) is None:
        return ""
    if is_in_question(site):
        return f"The tests run in isolation ({isolation.name}), and may need more: name that in `test_writable`. "
    return f"The tests run in isolation ({isolation.name}), as those of the live release do; see `test_writable`. "
