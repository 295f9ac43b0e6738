"""Compares a release with its seal: its venv, its interpreter, its lock and its files.

The quick comparison reads only files that differ in nothing but mtime or mode; the full one, for `releaser verify`,
reads all files with a hash. Differences are reported as packages where whole packages were added, removed or changed.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from releaser.capabilities import gather
from releaser.errors import Finding, PreflightError, ToolError, error_line, os_reason
from releaser.locks.changes import Change, changes_between
from releaser.locks.versions import normalize_name
from releaser.releases.contents import (
    FILES,
    INFO,
    digest,
    is_checkable,
    list_installed,
    look,
    look_at,
    matches,
    observe,
    read_records,
)
from releaser.releases.venv import Interpreter, VenvFacts, ask, change, executable_of
from releaser.site.ownership import name_of
from releaser.site.sealed_python import changed_by_others, look_at_start, started_by_others
from releaser.system.digests import hex_digest
from releaser.system.expression import expression
from releaser.system.files import UnreadableStateError, decode_state, link_text, only_files, read_file, read_text
from releaser.system.frozen import Frozen, field, replace
from releaser.system.words import first_few, time_of_file

if TYPE_CHECKING:
    from collections.abc import Callable

    from releaser.releases.release import Release
    from releaser.site.site import Site

_FILES_SHOWN = 3
_PACKAGES_SHOWN = 8
_SITE = "/site-packages/"
# The start of a program, as uv and pip write it: its Python, or the shell that starts it for a long path.
_STARTS = expression(rb"#!(?:/bin/sh\n'''exec' ')?(/[^\n']*)/bin/python")
_MOST = 1_024  # bytes of a program that are read
_INSTALLERS = ("uv", "pip")  # the texts of INSTALLER, which is specified with RECORD


# In the order in which they are reported.
Kind = Literal[
    "interpreter", "start", "lock", "package", "changed", "missing", "unexpected", "shared", "permissions", "check",
    "tests", "health",
]  # fmt: skip


class Defect(Frozen):
    """A difference between a release and its seal."""

    kind: Kind
    #: Relative to the venv, if it is about a file.
    path: str | None = None
    package: str | None = None
    message: str

    @classmethod
    def of_failure(cls, kind: Kind, message: str, output: str) -> Defect:
        """Return the defect of a failed check, with the reason from its output."""
        reason = error_line(output)
        return cls(kind=kind, message=f"{message}: {reason}" if reason and reason not in message else message)

    @property
    def verb(self) -> str:
        """The kind of difference, in one word."""
        return {"missing": "missing", "unexpected": "added"}.get(self.kind, "changed")

    def __str__(self) -> str:
        name = (self.path or "").rpartition(_SITE)[2]
        return f"{''.join(character if character.isprintable() else '?' for character in name)} is {self.verb}"


class Drift(Frozen):
    """The differences between a release and its seal."""

    #: Whole packages that were added, removed or changed.
    packages: tuple[Change, ...] = ()
    #: Files that differ for another reason.
    files: tuple[Defect, ...] = ()
    #: The program that last installed packages after the seal, with its user and the time; empty if unknown.
    by: str = ""

    def __bool__(self) -> bool:
        return bool(self.packages or self.files)

    def __str__(self) -> str:
        parts = (
            first_few(map(_describe_change, self.packages), _PACKAGES_SHOWN),
            first_few(map(str, self.files), _FILES_SHOWN),
            self.by and f"by {self.by}",
        )
        return "; ".join(filter(None, parts))


NO_DRIFT = Drift()


class Damage(Frozen):
    """A difference of a release from its seal."""

    #: `gone`: the venv or the interpreter is missing, or does not start; `interpreter`: the interpreter has changed;
    #: `replaced`: the venv was pointed at another interpreter, which releaser does not start; `moved`: its programs
    #: start that of an earlier path.
    kind: Literal["gone", "replaced", "interpreter", "lock", "files", "moved"]
    reason: str
    drift: Drift = NO_DRIFT
    #: Nothing can run on the release.
    fatal: bool = False
    #: How a person makes the release usable again; empty if unknown.
    remedy: str = ""

    def __str__(self) -> str:
        return self.reason


class Sealed(Frozen):
    """The state of a venv at the seal; all empty if that file is gone, or was changed."""

    #: The state of each file that counts, by the .dist-info of its package; empty if it has none.
    files: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    #: The hashes of files that have none in a RECORD.
    hashes: Mapping[str, str] = field(default_factory=dict)
    #: Files in site-packages that no package had installed.
    others: frozenset[str] = frozenset()

    @functools.cached_property
    def seen(self) -> dict[str, str]:
        """The state of each file."""
        return {path: seen for found in self.files.values() for path, seen in found.items()}

    @functools.cached_property
    def owners(self) -> dict[str, str]:
        """The .dist-info of each file."""
        return {path: info for info, found in self.files.items() for path in found}


def read_sealed(release: Release) -> Sealed:
    """Return the recorded state of a release at its seal."""
    try:
        sealed = decode_state(release.directory / FILES, Sealed)  # not kept in memory: it is large
    except (UnreadableStateError, OSError):
        sealed = None
    fingerprint = VenvFacts.of(release.manifest).fingerprint
    return sealed if sealed is not None and digest(sealed.seen) == fingerprint else Sealed()


# A release


def find_damage(release: Release) -> Damage | None:
    """Return the damage that a quick comparison with the seal finds; None without any."""
    found = find_interpreter_damage(release)
    if found and found.kind == "gone" and not os.path.isdir(release.venv):
        return replace(found, reason=f"its venv is gone ({release.venv})")
    if found and found.kind == "replaced" and (files := _find_file_damage(release)):
        return replace(found, reason=f"{found.reason}; {files.reason}", drift=files.drift)
    return found or find_lock_damage(release) or _find_file_damage(release) or _find_lost_programs(release)


def find_live_damage(release: Release) -> Damage | None:
    """Return the damage of a live release; starts an interpreter that could not be asked at the seal."""
    found = find_damage(release)
    if found is not None or VenvFacts.of(release.manifest).interpreter is not None:
        return found
    return find_interpreter_damage(release, asks=True)


def find_rollback_damage(release: Release, *, with_programs: bool = True) -> Damage | None:
    """Return the damage that prevents a rollback to a release; None without any.

    Another patch version or build of its Python does not prevent it: the packages run on that, and after an upgrade of
    the operating system all earlier releases have it. A rollback starts the Python before the flip. Not
    `with_programs`, it may have been moved.
    """
    found = find_damage(release)
    if found is None or found.kind not in ("interpreter", "moved") or found.fatal:
        return found
    found = find_lock_damage(release) or _find_file_damage(release)
    return found or (_find_lost_programs(release) if with_programs else None)


def usable(release: Release | None) -> Release | None:
    """Return a release if programs can run on it; None if its venv or interpreter is gone, replaced or incompatible."""
    found = find_live_damage(release) if release is not None else None
    return None if found is not None and found.fatal else release


def explain_need_to_rebuild(live: Release, found: Damage | None) -> str:
    """Explain why a live release with the damage `found` must be rebuilt; empty if it need not."""
    if live.manifest.origin == "adopted" and live.manifest.previous == live.id:
        return "its manifest was lost, and no tests have passed on it"
    return str(found or "")


def advise(release: Release, found: Damage | None) -> str:
    """Return what to do by hand about a damage, and how capabilities prevent it; empty without any."""
    return (
        " ".join(filter(None, (found.remedy, *(say(release, found) for say in gather("damage_advice")))))
        if found
        else ""
    )


def has_lost_python(release: Release, found: Damage | None) -> bool:
    """True if only the interpreter is damaged, and not the release itself."""
    is_about_it = found is not None and found.kind in ("gone", "interpreter")
    return is_about_it and os.path.islink(release.venv / "bin" / "python")


def without_python(site: Site, live: Release | None) -> Finding | None:
    """Return the finding for a live release that has lost its interpreter; None if the next update repairs that."""
    found = find_interpreter_damage(live) if live is not None else None
    if live is None or found is None or not found.fatal or not has_lost_python(live, found):
        return None
    from releaser.site.pythons import choose  # slow to import, and rarely needed

    try:
        choose(site, site.uv)
    except PreflightError as error:
        return error.finding
    return None


def is_unchanged(python: str, executable: str, seen: tuple[tuple[str, str], ...]) -> bool:
    """True if a path still leads to `executable`, and its files look as they did. `releaser list` caches the answer."""
    noted = dict(seen)
    return bool(noted.get(executable)) and executable_of(python) == executable and look_at(noted) == noted


def find_interpreter_damage(
    release: Release, *, asks: bool = False, unchanged: Callable[..., bool] = is_unchanged
) -> Damage | None:
    """Return the damage of the interpreter of a release; starts it if `asks`, or if it has changed."""
    sealed, python = VenvFacts.of(release.manifest).interpreter, f"{release.place}/venv/bin/python"
    text = link_text(python) or ""
    is_same = sealed is not None and unchanged(
        text if text[:1] == "/" else python, sealed.executable, (*sealed.seen.items(),)
    )
    executable = sealed.executable if sealed is not None and is_same else executable_of(python)
    if not is_same and not release.works():
        place = f"{sealed} at {sealed.executable}" if sealed and not os.path.exists(sealed.executable) else python
        return Damage(kind="gone", reason=f"its interpreter is gone ({place})", fatal=True)
    if why := _distrust(release, executable, is_same=is_same):
        return Damage(kind="replaced", reason=f"{why}, so it is not started ({executable})", fatal=True)
    may_ask = release.asks and not release.has_failed  # its tests may have replaced its Python
    if sealed is None and (not may_ask or executable.startswith(f"{os.path.realpath(release.venv)}/")):
        return None  # a copy of an interpreter that could not be asked when it was sealed
    if not asks and (
        sealed is None or is_same or (executable == sealed.executable and look_at(sealed.seen) == sealed.seen)
    ):
        return None
    if not may_ask:
        more = "it failed its tests, so nothing is started" if release.has_failed else "`releaser verify` checks it"
        return Damage(kind="interpreter", reason=f"its interpreter has changed ({executable}); {more}")
    try:
        now = _ask(executable, tuple(look_at((executable, *(sealed.seen if sealed else ()))).items()))
    except ToolError as error:
        reason = f"its interpreter no longer starts ({executable}): {error.message}"
        return Damage(kind="gone", reason=reason, fatal=True)
    if sealed is None:  # it could not be asked at the seal: the manifest has only the version
        sealed = replace(now, version=release.manifest.python)
        if not sealed.version[:1].isdigit():  # an adopted venv of unknown version
            return None
        return None if sealed.minor == now.minor else Damage(kind="interpreter", reason=change(sealed, now), fatal=True)
    reason = change(sealed, now)
    return Damage(kind="interpreter", reason=reason, fatal=not now.is_compatible_with(sealed)) if reason else None


def _distrust(release: Release, executable: str, *, is_same: bool) -> str:
    """Say why the Python of a release must not be started: it was replaced, or may have been; empty if it may start.

    `executable` is that Python, and `is_same` says whether it is unchanged since the seal.
    """
    sealed, venv, store = VenvFacts.of(release.manifest), f"{release.place}/venv", os.path.dirname(release.place)
    was = sealed.interpreter
    if sealed.start and look_at_start(venv) != sealed.start:
        return "its bin/python or pyvenv.cfg was replaced"
    try:
        if why := started_by_others(venv, sealed.start_files, store):
            return why
    except OSError as error:
        return f"it cannot be examined: {error}"
    if was and not is_same and (path := changed_by_others(executable, was.seen, store)):
        return f"{path} was changed, and users other than root and the owner of the site can write to it"
    return ""


@functools.cache
def _ask(executable: str, seen: tuple[tuple[str, str], ...]) -> Interpreter:  # noqa: ARG001 - it is part of the key
    """Ask an interpreter once, for all releases, while it looks the same."""
    from releaser.system.process import Runner  # slow to import, for `releaser list`

    return ask(Runner(environ=os.environ), executable)


def find_lock_damage(release: Release) -> Damage | None:
    """Return the damage of the lock of a release; None without any."""
    try:
        data = read_file(release.lock)
    except OSError as error:
        return Damage(kind="lock", reason=f"its uv.lock cannot be read ({error.strerror})")
    if hex_digest(data) != release.manifest.lock_sha256:
        return Damage(kind="lock", reason="its uv.lock has been changed")
    return None


def _find_file_damage(release: Release) -> Damage | None:
    fingerprint = VenvFacts.of(release.manifest).fingerprint
    if not fingerprint or digest(observe(str(release.venv))) == fingerprint:
        return None
    sealed = read_sealed(release)
    if not sealed.files:
        return Damage(kind="files", reason="its files have been changed")
    drift = compare(release, sealed)
    return Damage(kind="files", reason=str(drift), drift=drift) if drift else None


def _find_lost_programs(release: Release) -> Damage | None:
    """Return the damage of a release whose site was moved: its programs start the Python at the earlier path.

    Those of an adopted venv start it through the symlink.
    """
    is_adopted, lost = release.manifest.origin == "adopted", ""
    with contextlib.suppress(OSError), os.scandir(f"{release.place}/venv/bin") as entries:
        for entry in entries:
            if not entry.is_file(follow_symlinks=False):
                continue
            with open(entry.path, "rb", opener=only_files) as file:
                start = _STARTS.match(file.read(_MOST))
            venv = os.fsdecode(start[1]) if start else ""
            # Written by an installer, and not by the package's author.
            if venv and (is_adopted or venv.endswith(f"/{release.id}/venv")):
                if os.path.exists(venv):
                    return None
                lost = venv
    reason = f"it was moved, and its programs start {lost}/bin/python, which does not exist"
    return Damage(kind="moved", reason=reason, remedy=_advise_moved(release, lost)) if lost else None


def _advise_moved(release: Release, before: str) -> str:
    """Describe how the programs of a moved venv start again: by a symlink at its earlier path.

    Empty if another file has that path, such as the site from which this one was copied.
    """
    now = f"{release.place}/venv"
    while os.path.basename(before) == os.path.basename(now) and not os.path.lexists(os.path.dirname(before)):
        before, now = os.path.dirname(before), os.path.dirname(now)
    if os.path.lexists(before) or not os.path.lexists(os.path.dirname(before)) or release.id in before:
        return ""
    return f"To let the programs of earlier releases start again, run `{shlex.join(('ln', '-s', now, before))}`."


# Its files


def compare(
    release: Release,
    sealed: Sealed,
    *,
    to_read: Mapping[str, str] | None = None,
    track: Callable[[list[str]], Iterable[str]] = iter,
) -> Drift:
    """Compare the files of a release with its seal, and the contents of those in `to_read` with the hashes there.

    `track` yields the files, and may show the progress. A package that was added, removed or changed is reported
    instead of its files, except those in `to_read`.
    """
    venv, reading = str(release.venv), to_read or {}
    owners = list_installed(venv)
    found = look(venv, owners.keys() | sealed.seen.keys() | reading.keys())
    hashes = {**read_records(venv), **sealed.hashes}
    packages = changes_between(packages_in(sealed.seen), packages_in(name for name in found if found[name]))
    changed = {package.name for package in packages}
    files = []
    for path in track(sorted(found)):
        before, now = sealed.seen.get(path), found[path]
        difference = None
        if path in reading:
            difference = _compare_file(venv, path, (before, now), reading[path], reads=True)
            if release.manifest.origin == "adopted" and before == now:
                difference = None  # it was so when it was adopted, whatever RECORD says
        elif sealed.files and (before or "") != now:
            owner = (owners if now else sealed.owners).get(path, "")
            if not owner or name_and_version(owner)[0] not in changed:
                difference = _compare_file(venv, path, (before, now), hashes.get(path, ""), reads=False)
        if difference:
            files.append(difference)
    if not sealed.files:
        return Drift(files=tuple(files))
    written = [path for path in found if path.endswith(f"{INFO}/RECORD") and found[path] != sealed.seen.get(path, "")]
    by = _name_installer(venv, written) if packages or files else ""
    return Drift(packages=packages, files=tuple(files), by=by)


def _name_installer(venv: str, records: Iterable[str]) -> str:
    """Name the program that wrote the newest of these RECORD files, with its user and the time; empty if unknown."""
    found = []
    for record in records:
        with contextlib.suppress(OSError, UnicodeDecodeError):
            text = read_text(Path(venv, record).with_name("INSTALLER")).strip()
            status = os.lstat(f"{venv}/{record}")
            if text in _INSTALLERS:
                found.append((status.st_mtime, text, status.st_uid))
    if not found:
        return ""
    written, name, user = max(found)
    return f"{name} as {name_of(user) or user} on {time_of_file(written):%Y-%m-%d at %H:%M UTC}"


def _compare_file(venv: str, path: str, looks: tuple[str | None, str], hashed: str, *, reads: bool) -> Defect | None:
    """Compare a file by its state before and now; reads it if `reads`, or if only its mtime or mode may differ."""
    before, now = looks
    if not now:
        return Defect(path=path, kind="missing", message="it is gone")
    if not before and not reads:
        return Defect(path=path, kind="unexpected", message="it did not exist when the release was sealed")
    is_file = now[:1].isdigit()
    message = "its contents differ from RECORD" if reads else "it differs from the sealed file"
    # A pipe must not be read: it would never end.
    if reads and not is_file and (not now.startswith("->") or before not in (None, now)):
        message = "something else is in its place"
    elif reads or (is_file and is_checkable(hashed) and before and before.split(" ")[0] == now.split(" ")[0]):
        try:
            if matches(f"{venv}/{path}", hashed):
                (mode_before, *owner_before), (mode, *owner) = (
                    seen.split(" ")[2:] if seen[:1].isdigit() else [""] for seen in (before or "", now)
                )
                message = f"its read and execute permissions were {mode_before} and are {mode} now"
                if mode == mode_before:
                    was, is_now = (first_few(one) or "those of the venv" for one in (owner_before, owner))
                    message = f"its owner and group were {was}, and are {is_now} now"
                return (
                    Defect(path=path, kind="permissions", message=message)
                    if mode_before and mode and (mode_before, owner_before) != (mode, owner)
                    else None
                )
        except OSError as error:
            message = f"it cannot be read: {os_reason(error)}"
    return Defect(path=path, kind="changed", message=message)


def packages_in(names: Iterable[str]) -> dict[str, str]:
    """Return the versions of the packages whose metadata is among these files; several are comma-separated."""
    versions: dict[str, set[str]] = {}
    for info in {name.partition(_SITE)[2].partition("/")[0] for name in names if f"{INFO}/" in name}:
        if info.endswith(INFO):
            package, version = name_and_version(info)
            versions.setdefault(package, set()).add(version)
    return {package: ", ".join(sorted(found)) for package, found in versions.items()}


def name_and_version(info: str) -> tuple[str, str]:
    """Split the name of a .dist-info directory: `Alpha_x-1.0.dist-info` is `alpha-x` in version `1.0`."""
    name, _, version = info.removesuffix(INFO).partition("-")
    return normalize_name(name), version


def _describe_change(change: Change) -> str:
    if change.old is None:
        return f"{change.name} {change.new} added"
    if change.new is None:
        return f"{change.name} {change.old} removed"
    return f"{change.name} {change.old} → {change.new}"
