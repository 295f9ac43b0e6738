"""Adoption: the venv at `.venv` becomes the first release."""

from __future__ import annotations

import contextlib
import errno
import os
import shlex
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from releaser.candidate.results import mark_good
from releaser.core.adoption import Adopter, venv_kind
from releaser.core.run import close_journal
from releaser.errors import BuildError, Finding, PreflightError, ToolError
from releaser.locks.installed import Pin, groups_in, installed_key, list_installed
from releaser.locks.lock import InvalidLockError, LockFile
from releaser.releases import release as links
from releaser.releases import startup
from releaser.releases.contents import measure, seal_files
from releaser.releases.journal import Entry, journal_of, make_entry
from releaser.releases.release import Manifest, Release
from releaser.releases.store import store_of
from releaser.releases.venv import VenvFacts, ask_if_possible, versions_in
from releaser.releases.verify import compare_with_lock
from releaser.site.conventions import choose_dependency_group, default_groups
from releaser.site.ownership import close_to_others, find_open, name_of
from releaser.site.pythons import version_in
from releaser.site.sealed_python import look_at_start, look_at_start_files
from releaser.system.files import read_file, read_text, replace_file, replace_symlink, sync_file_system
from releaser.system.frozen import Frozen, replace
from releaser.system.words import first_few, plural

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from releaser.core.adoption import Found
    from releaser.report import RunLog
    from releaser.site.site import Site, SiteFacts


_MOST_NAMED = 5


class _ToAdopt(Frozen):
    """A venv to adopt, and the packages that are locked for it."""

    #: The installed versions, by name.
    found: Mapping[str, str]
    lock: LockFile
    group: str | None
    pins: tuple[Pin, ...]
    python: str


def _look_at_venv(site: Site) -> _ToAdopt | None:
    """Return the venv to adopt and its lock; None if `.venv` is no venv or a release already, or on a read error.

    Also None if the venv includes the packages of the system, which releaser cannot see here.
    """
    venv = site.project.venv
    try:
        text = read_text(venv / "pyvenv.cfg", errors="replace")
        if os.path.realpath(venv).startswith(os.path.realpath(site.project.releases) + os.sep):
            return None
        if "include-system-site-packages=true" in "".join(text.split()).lower():
            return None
        group, lock = choose_dependency_group(site.settings, site.pyproject), LockFile.read(site.project.lock)
        python = version_in(venv) or ""
        pins = tuple(list_installed(lock, group=group, default_groups=default_groups(site), python=python))
    except (PreflightError, OSError, InvalidLockError):
        return None
    return _ToAdopt(found=versions_in(venv), lock=lock, group=group, pins=pins, python=python)


_UNPINNED = "Later releases have no such limit. Until then, do not run `releaser prune` while old processes run."
_UNSYNCED = "It is adopted as it is. Updates install the versions in uv.lock."


class Venvs(Adopter):
    """Adopts a venv, or what a person's symlink leads to."""

    def find_open(self, site: Site) -> Iterator[Finding]:
        """Yield a finding if others can write a venv to adopt, and releaser may not change that."""
        kind, venv = venv_kind(site), os.path.realpath(site.project.venv)
        owner = os.stat(site.project.root).st_uid
        found = _find_open_files(site) if kind in ("directory", "symlink") else {}
        foreign = [path for path in found if os.path.lexists(path) and os.lstat(path).st_uid != owner]
        if not found or (kind == "directory" and not foreign):
            return
        place = shlex.quote(venv)
        take = f"sudo chown -R {name_of(owner) or owner} {place} && " if foreign else ""
        advice = "Code in the venv runs as the owner of the site. Create a new venv; or check the files, then run"
        yield Finding("venv-open", _describe_open(site, found), f"{advice} `{take}chmod -R go-w {place}`.")

    def find_unsynced(self, site: Site) -> Iterator[Finding]:
        """Yield a finding if the venv lacks locked packages, or has other versions of them."""
        seen = _look_at_venv(site)
        if seen is None:
            return
        compared = compare_with_lock(seen.pins, seen.found, {}, locked=seen.found)
        if differences := [f"{one.package}: {one.message}" for one in compared]:
            more = f"; and {len(differences) - _MOST_NAMED} more" if len(differences) > _MOST_NAMED else ""
            sync = f"uv sync --frozen{f' --group {seen.group}' if seen.group else ''}"
            message = f"{site.project.venv} does not match uv.lock: {'; '.join(differences[:_MOST_NAMED])}{more}"
            adopt_it = "To adopt the venv as it is, run `releaser init --force`."
            yield Finding("venv-unsynced", message, f"To install the locked versions, run `{sync}`. {adopt_it}")

    def find_dropped_packages(self, site: Site) -> Iterator[Finding]:
        """Yield a finding for packages of the venv that the next release will lack.

        They are locked only for groups that do not go live.
        """
        seen = _look_at_venv(site)
        if seen is None:
            return
        live, leading = {pin.name for pin in seen.pins}, dict[str, list[str]]()
        for group in sorted(groups_in(seen.lock)):
            pins = list_installed(seen.lock, group=group, default_groups=(), python=seen.python)
            for name in {pin.name for pin in pins} - live:
                leading.setdefault(name, []).append(f"`{group}`")
        named: dict[str, list[str]] = {}
        for name, version in sorted(seen.found.items()):
            if name in leading:
                named.setdefault(" and ".join(leading[name]), []).append(f"{name} {version}")
        if named:
            listed = "; ".join(f"{', '.join(packages)} (only in {groups})" for groups, packages in named.items())
            message = f"these packages in {site.project.venv.name} will not be in the next release: {listed}"
            yield Finding(
                "packages-left-out",
                message,
                "Add the packages that the site needs to its dependencies, or to a group that goes live.",
            )

    def adopt(self, site: Site, log: RunLog, facts: SiteFacts) -> bool:
        """Turn a venv, or the target of a person's symlink, into the first release; true if there was one.

        The release gets the lock of the checkout. The venv only gets the start-up module, and other users can no longer
        write it. Raises BuildError.
        """
        what = venv_kind(site)
        if what not in ("directory", "symlink", "unsealed"):
            return False
        if what != "unsealed":
            _close_to_others(site, log)
            log.note(*(replace(one, advice=_UNSYNCED) for one in self.find_unsynced(site)))
            log.note(*self.find_dropped_packages(site))
        with log.step("adopt") as step:
            try:
                release = adopt_as_release(site, log, facts.group, what)
            except OSError as error:
                message = f"{site.project.venv} could not be adopted: {error}"
                advice = _advise_copy(site) if error.errno == errno.EXDEV else "Check permissions and free space."
                raise BuildError(message, f"Nothing was changed. {advice}") from error
            step.says(f"{site.project.venv.name} is now {release.id}")
        return True

    def put_away(self, site: Site, log: RunLog) -> None:
        adopt_as_release(site, log, None, "directory")

    def plan(self, site: Site, log: RunLog, facts: SiteFacts, base: Path) -> Release | None:
        """Return the release that an update would adopt first, with the facts for the plan; None without one."""
        if venv_kind(site) not in ("directory", "symlink", "unsealed"):
            return None
        directory = base / "adopted"
        directory.mkdir()
        (directory / "uv.lock").write_bytes(facts.lock.data)
        (directory / "venv").symlink_to(site.project.venv)
        manifest = Manifest(
            id="adopted",
            sequence=0,
            created_at=log.started_at,
            origin="adopted",
            python=version_in(directory / "venv") or "unknown",
            group=facts.group,
            lock_sha256=facts.lock.sha256,
            dependencies_key=site.pyproject.dependencies_key(),
            code_key="",
            commit=None,
            previous=None,
            tests="not run",
            changes=(),
        ).with_facts(VenvFacts(interpreter=ask_if_possible(site.runner, site.project.venv)))
        return Release(place=str(directory), manifest=manifest, state="live")

    def complete(self, site: Site, log: RunLog, entry: Entry) -> None:
        """Finish an adoption that was cut off, or forget it if the venv was not moved yet."""
        name = entry.release or ""
        link, venv = site.project.venv, store_of(site).path(name) / "venv"
        if not os.path.lexists(link) and venv.is_dir() and not venv.is_symlink():
            link.symlink_to(os.path.relpath(venv, link.parent))  # the crash hit the fallback between its two steps
        if store_of(site).live_id() == name:
            release = store_of(site).get(name)
            if release is None:
                _complete(site, log, name, group=None)
            else:
                _mark(site, release)  # the crash hit between the manifest and the record


def _advise_copy(site: Site) -> str:
    """Describe how a venv can be moved that overlayfs has in a lower layer, such as the image of a container."""
    venv = shlex.quote(str(site.project.venv))
    words = f"`cp -a {venv} {venv}.new && rm -r {venv} && mv {venv}.new {venv}`"
    return f"overlayfs does not move a directory of a lower layer. Stop the site, run {words}, and try again."


def _close_to_others(site: Site, log: RunLog) -> None:
    """Remove other users' write access to a venv to adopt."""
    found = _find_open_files(site)
    for path in found:
        close_to_others(path, os.stat(site.project.root).st_uid)
    if found:
        advice = (
            "releaser removed that access. To let the group of the project write to releases, set "
            "`group_writable = true`."
        )
        log.note(Finding("venv-closed", _describe_open(site, found), advice))


def _find_open_files(site: Site) -> dict[str, str]:
    venv, owner = os.path.realpath(site.project.venv), os.stat(site.project.root).st_uid
    found = find_open(venv, owner, group_writable=site.settings.group_writable)
    return {path: who for path, who in found if path != f"{venv}/.lock"}  # uv makes it so, and nothing runs it


def _describe_open(site: Site, found: Mapping[str, str]) -> str:
    files = plural(len(found), "file")
    return (
        f"others can write to {site.project.venv} ({first_few(sorted({*found.values()}))}): {files}, such as "
        f"{min(found)}"
    )


def adopt_as_release(site: Site, log: RunLog, group: str | None, what: Found) -> Release:
    """Turn the venv in place of the symlink into a release. Raises OSError."""
    link = site.project.venv
    live = store_of(site).live_id()
    if what == "unsealed" and live is not None:
        return _complete(site, log, live, group=group, trusted=True)
    name, _ = store_of(site).begin(datetime.now(UTC))
    venv = store_of(site).path(name) / "venv"
    journal_of(site).write(make_entry(log, "adopting", release=name))
    if what == "directory":
        links.adopt_directory(link, venv)
    else:
        venv.symlink_to(os.path.realpath(link))
        replace_symlink(link, os.path.relpath(venv, link.parent), staging=site.state_dir)
    release = _complete(site, log, name, group=group)
    close_journal(site, log, f"had adopted the project: {link.name} leads to release {name}")
    return release


def _complete(site: Site, log: RunLog, name: str, *, group: str | None, trusted: bool = False) -> Release:
    """Write and record the manifest of an adopted release; a `trusted` one was live before."""
    directory = store_of(site).path(name)
    try:
        if site.settings.pin_processes:
            startup.install(directory / "venv", site.runner)
    except OSError as error:
        message = f"release {name} was adopted, but its processes are neither pinned nor counted: {error}"
        log.note(Finding("adopted-not-pinned", message=message, advice=_UNPINNED))
    lock = directory / "uv.lock"
    if not lock.exists():
        replace_file(lock, read_file(site.project.lock), private=True)
    usage, commit = measure(directory), None
    with contextlib.suppress(ToolError):
        commit = site.git.commit("HEAD")
    known = site.git.name_of(commit)
    python, locked = version_in(directory / "venv") or "unknown", LockFile.read(lock)
    manifest = Manifest(
        id=name,
        sequence=store_of(site).next_sequence(),
        created_at=datetime.now(UTC),
        origin="adopted",
        python=python,
        group=group,
        lock_sha256=locked.sha256,
        dependencies_key=site.pyproject.dependencies_key(),
        code_key=site.code_key(commit) if commit is not None else "",
        commit=known,
        subject=site.git.subject(known) if known else "",
        previous=next(reversed(store_of(site).ledger().activations), None),
        tests="not run",
        changes=(),
        installed_sha256=installed_key(locked, python=python),
    ).with_facts(
        usage,
        VenvFacts(
            fingerprint=seal_files(str(directory)),
            interpreter=ask_if_possible(site.runner, directory / "venv"),
            start=look_at_start(directory / "venv"),
            start_files=look_at_start_files(directory / "venv"),
        ),
    )
    sync_file_system(directory)
    release = store_of(site).complete(manifest)
    if trusted:
        mark_good(site, release)
    else:
        _mark(site, release)
    return release


def _mark(site: Site, release: Release) -> None:
    """Record the first adopted venv of a project as good, and a later, untested one as withdrawn."""
    others = frozenset(store_of(site).ledger().activations) - {release.id}
    if others:
        store_of(site).record_withdrawn(release)
    else:
        mark_good(site, release)
