"""What stands at `.venv` becomes the first release."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from releaser.candidate.mark import mark_good
from releaser.errors import BuildError, Finding, PreflightError, ToolError
from releaser.locks.installed import groups_in, list_installed
from releaser.locks.lock import InvalidLockError, LockFile
from releaser.releases import link as links
from releaser.releases import startup
from releaser.releases.contents import measure
from releaser.releases.fingerprint import seal_files
from releaser.releases.interpreter import ask_if_possible
from releaser.releases.journal import journal_of, make_entry
from releaser.releases.metadata import versions_in
from releaser.releases.release import Manifest, Release
from releaser.releases.store import store_of
from releaser.releases.verify import compare_with_lock
from releaser.run import close_journal
from releaser.site.conventions import choose_dependency_group, default_groups
from releaser.site.project import PYPROJECT, Pyproject, read_pyproject
from releaser.site.pythons import version_in
from releaser.system.files import replace_file, replace_symlink, sync_directory, sync_file_system

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from releaser.releases.journal import Entry
    from releaser.report import RunLog
    from releaser.site.site import Site, SiteFacts


_MOST_NAMED = 5


def unsynced(site: Site) -> Iterator[Finding]:
    """Find that packages are locked for the site and are not in its venv, or in another version.

    Of a venv that is a release already, or that is none, nothing is said, nor where something else is wrong.
    """
    venv, group = site.project.venv, None
    if not _is_to_be_adopted(site):
        return
    try:
        group = choose_dependency_group(site.settings, site.pyproject)
        lock = LockFile.read(site.project.lock)
        pins = list_installed(lock, group=group, default_groups=default_groups(site), python=version_in(venv) or "")
    except (PreflightError, OSError, InvalidLockError):
        return
    found = versions_in(venv)
    differences = [f"{one.package}: {one.message}" for one in compare_with_lock(pins, found, {}, locked=found)]
    if not differences:
        return
    more = f"; and {len(differences) - _MOST_NAMED} more" if len(differences) > _MOST_NAMED else ""
    sync = f"uv sync --frozen{f' --group {group}' if group else ''}"
    yield Finding(
        f"{venv} does not match uv.lock: {'; '.join(differences[:_MOST_NAMED])}{more}",
        advice=f"`{sync}` installs what is locked; `releaser init --force` adopts it as it is.",
    )


def left_out(site: Site) -> Iterator[Finding]:
    """Find packages of a venv that is to be adopted which the next release will not have.

    They are locked, for groups that do not go live. Nothing is said where `unsynced` says nothing.
    """
    venv = site.project.venv
    if not _is_to_be_adopted(site):
        return
    try:
        lock, python = LockFile.read(site.project.lock), version_in(venv) or ""
        group = choose_dependency_group(site.settings, site.pyproject)
        live = list_installed(lock, group=group, default_groups=default_groups(site), python=python)
        leading = _groups_leading_to(lock, {pin.name for pin in live}, python)
    except (PreflightError, OSError, InvalidLockError):
        return
    named: dict[str, list[str]] = {}
    for name, version in sorted(versions_in(venv).items()):
        if name in leading:
            named.setdefault(leading[name], []).append(f"{name} {version}")
    if named:
        listed = "; ".join(f"{', '.join(packages)} (only in {groups})" for groups, packages in named.items())
        message = f"these packages in {venv.name} will not be in the next release: {listed}"
        yield Finding(message, advice="Add what the site needs to its dependencies, or to a group that goes live.")


def _groups_leading_to(lock: LockFile, live: set[str], python: str) -> dict[str, str]:
    """Name for each package that does not go live the groups that lead to it."""
    leading: dict[str, list[str]] = {}
    for group in sorted(groups_in(lock)):
        for name in {pin.name for pin in list_installed(lock, group=group, default_groups=(), python=python)} - live:
            leading.setdefault(name, []).append(f"`{group}`")
    return {name: " and ".join(groups) for name, groups in leading.items()}


def _is_to_be_adopted(site: Site) -> bool:
    """Whether there is a venv, which is no release, and of which all can be seen."""
    is_venv = (site.project.venv / "pyvenv.cfg").is_file()
    return is_venv and not _is_release(site) and not _takes_more_from_elsewhere(site)


def _is_release(site: Site) -> bool:
    return os.path.realpath(site.project.venv).startswith(os.path.realpath(site.project.releases) + os.sep)


def _takes_more_from_elsewhere(site: Site) -> bool:
    """Whether packages of the system count, too, which cannot be seen here."""
    try:
        text = (site.project.venv / "pyvenv.cfg").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return True
    words = "".join(text.split()).lower()
    return "include-system-site-packages=true" in words


_UNPINNED = "Releases that releaser builds are; see that nothing is pruned that old processes still use."
_UNSYNCED = "It is adopted as it is; updates build from the lock."
Found = Literal["adopted", "unsealed", "directory", "symlink", "dangling", "nothing"]


def venv_kind(site: Site) -> Found:
    """Tell what stands at the place of the symlink; `unsealed` is a live release that has lost its manifest."""
    link = site.project.venv
    if store_of(site).live() is not None:
        return "adopted"
    if store_of(site).live_id() is not None and (link / "pyvenv.cfg").is_file():
        return "unsealed"
    if not os.path.lexists(link):
        return "nothing"
    if not link.is_symlink():
        return "directory"
    return "symlink" if (link / "pyvenv.cfg").is_file() else "dangling"


@dataclass(frozen=True, kw_only=True)
class FirstLock:
    """The first lock of a project, and the pyproject.toml that goes with it, before they are in the checkout."""

    lock: bytes
    pyproject: bytes


def adopt(site: Site, log: RunLog, facts: SiteFacts, *, first_lock: FirstLock | None = None) -> Release | None:
    """Make a real venv, or one that somebody's own symlink leads to, the first release; None when there is none.

    It gets the lock of the checkout, or `first_lock`. The venv itself is not changed, but
    for the start-up module that it gets. Raises BuildError.
    """
    exclude(site, facts)
    what = venv_kind(site)
    if what not in ("directory", "symlink", "unsealed"):
        return store_of(site).live()
    if what != "unsealed" and first_lock is None:
        log.note(*[Finding(message=one.message, advice=_UNSYNCED) for one in unsynced(site)])
        log.note(*[Finding(message=one.message, advice=one.advice) for one in left_out(site)])
    with log.step("adopt") as step:
        try:
            release = _adopt(site, log, facts.group, what, first_lock=first_lock)
        except OSError as error:
            message = f"{site.project.venv} could not be adopted: {error}"
            raise BuildError(message, advice="Check permissions and file systems; nothing was changed.") from error
        step.says(f"{site.project.venv.name} is now {release.id}")
    return release


def adopt_replaced_venv(site: Site, log: RunLog) -> Release:
    """Make a real venv that somebody has put in the place of the symlink a release. Raises OSError."""
    return _adopt(site, log, None, "directory")


def _adopt(site: Site, log: RunLog, group: str | None, what: Found, *, first_lock: FirstLock | None = None) -> Release:
    link = site.project.venv
    live = store_of(site).live_id()
    if what == "unsealed" and live is not None:
        return _complete(site, log, live, group=group, trusted=True)
    name, _ = store_of(site).begin(datetime.now(UTC))
    venv = store_of(site).path(name) / "venv"
    if first_lock is not None:  # before the venv is moved: recovery finds them nowhere else
        (store_of(site).path(name) / "uv.lock").write_bytes(first_lock.lock)
        (store_of(site).path(name) / PYPROJECT).write_bytes(first_lock.pyproject)
    journal_of(site).write(make_entry(log, "adopting", target=name))
    if what == "directory":
        links.adopt_directory(link, venv)
    else:
        venv.symlink_to(os.path.realpath(link))
        replace_symlink(link, os.path.relpath(venv, link.parent), staging=site.state_dir)
    release = _complete(site, log, name, group=group)
    close_journal(site, log, f"had adopted the project: {link.name} leads to release {name}")
    return release


def _complete(site: Site, log: RunLog, name: str, *, group: str | None, trusted: bool = False) -> Release:
    """Write the manifest of an adopted release, and record it; a `trusted` one has been live before."""
    directory = store_of(site).path(name)
    try:
        if site.settings.pin:
            startup.install(directory / "venv", site.runner)
    except OSError as error:
        message = f"release {name} was adopted, but its processes are neither pinned nor counted: {error}"
        log.note(Finding(message=message, advice=_UNPINNED))
    lock = directory / "uv.lock"
    if not lock.exists():
        replace_file(lock, site.project.lock.read_bytes())
    usage = measure(directory)
    commit = _head(site)
    manifest = Manifest(
        id=name,
        sequence=store_of(site).next_sequence(),
        created_at=datetime.now(UTC),
        origin="adopted",
        python=python_of(directory / "venv"),
        group=group,
        lock_sha256=LockFile.read(lock).sha256,
        dependencies_key=_pyproject(site, directory).dependencies_key(),
        code_key=site.code_key(commit) if commit else "",
        commit=commit,
        subject=site.git.subject(commit) if commit else "",
        previous=next(reversed(store_of(site).ledger().activations), None),
        tests="not run",
        changes=(),
        size_bytes=usage.size_bytes,
        own_bytes=usage.own_bytes,
        inodes=usage.inodes,
        fingerprint=seal_files(str(directory)),
        interpreter=ask_if_possible(site.runner, directory / "venv"),
    )
    sync_file_system(directory)
    release = store_of(site).complete(manifest)
    if trusted:
        mark_good(site, release)
    else:
        _mark(site, release)
    return release


def _head(site: Site) -> str | None:
    try:
        return site.git.commit("HEAD")
    except ToolError:
        return None


def _pyproject(site: Site, directory: Path) -> Pyproject:
    """Return the pyproject.toml that belongs to the lock of a release: the checkout's, or the one that came with it."""
    brought = directory / PYPROJECT
    return read_pyproject(brought) if brought.is_file() else site.pyproject


def _mark(site: Site, release: Release) -> None:
    """What a project is adopted with counts as good; what somebody puts in its place later, untested, does not."""
    others = frozenset(store_of(site).ledger().activations) - {release.id}
    if others:
        store_of(site).record(lambda ledger: ledger.marked(release.id, "bad"))
    else:
        mark_good(site, release)


def complete_adoption(site: Site, log: RunLog, entry: Entry) -> None:
    """Finish an adoption that a crash cut short, or forget it if the venv had not been moved yet."""
    name = entry.target or ""
    link, venv = site.project.venv, store_of(site).path(name) / "venv"
    if not os.path.lexists(link) and venv.is_dir() and not venv.is_symlink():
        link.symlink_to(os.path.relpath(venv, link.parent))  # the crash hit the fallback between its two steps
    if store_of(site).live_id() == name:
        release = store_of(site).get(name)
        if release is None:
            _complete(site, log, name, group=None)
        else:
            _mark(site, release)  # the crash hit between the manifest and the record


def python_of(venv: Path) -> str:
    """Return the Python version that pyvenv.cfg names; `unknown` when it names none."""
    return version_in(venv) or "unknown"


def exclude(site: Site, facts: SiteFacts) -> None:
    """Keep what releaser puts into the work tree out of `git status`, for this clone alone.

    `.venv/` in .gitignore does not match a symlink. Raises BuildError.
    """
    wanted = [_pattern(path) for path in _to_exclude(site, facts)]
    path = facts.layout.common_directory / "info" / "exclude"
    try:
        present = path.read_text(encoding="utf-8", errors="surrogateescape") if path.exists() else ""
        missing = [line for line in wanted if line not in present.splitlines()]
        if missing:
            path.parent.mkdir(exist_ok=True)
            separator = "" if not present or present.endswith("\n") else "\n"
            with path.open("a", encoding="utf-8", errors="surrogateescape") as file:
                file.write(separator + "\n".join(missing) + "\n")
                file.flush()
                os.fsync(file.fileno())  # an adoption that is finished after a power cut does not look here again
            sync_directory(path.parent)
    except OSError as error:
        message = f"{path} cannot be written: {error.strerror}"
        raise BuildError(message, advice="Let this user write the repository.") from error


def _pattern(path: str) -> str:
    """Write a path as a pattern of gitignore(5) that matches this path alone."""
    literal = re.sub(r"([\\*?\[])", r"\\\1", path)
    text = literal.rstrip(" ")
    return f"/{text}" + "\\ " * (len(literal) - len(text))


def _to_exclude(site: Site, facts: SiteFacts) -> list[str]:
    project, top = site.project, facts.layout.top
    ours = (project.venv, project.state_dir)
    names = [str(place.relative_to(top)) for place in ours if place.is_relative_to(top)]
    restart_file = facts.restart_file
    if restart_file is not None and restart_file.is_relative_to(top) and not _known_to_git(site, restart_file):
        names.append(str(restart_file.relative_to(top)))
    return names


def _known_to_git(site: Site, path: Path) -> bool:
    name = os.path.relpath(path, site.project.root)
    try:
        return site.git.ignores(name) or name in site.git.tracked_files()
    except ToolError:
        return True
