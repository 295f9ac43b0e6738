"""Whether releases still work and are what was sealed, looked at as a whole.

Nothing of the site is written, and no lock is needed.
"""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from releaser.errors import BuildError, NoSuchReleaseError, ToolError, Unfit, UnsoundError, UsageError, gist
from releaser.locking.installed import installed
from releaser.locking.lockfile import InvalidLockError, LockFile
from releaser.project.group import test_command, unix_group
from releaser.releases.agreement import adopted_findings, package_findings, permission_findings
from releaser.releases.contents import Contents
from releaser.releases.drift import packages_in
from releaser.releases.finding import Finding
from releaser.releases.permissions import others_may_read
from releaser.releases.soundness import interpreter_damage, lock_damage
from releaser.releases.store import ReleaseStore
from releaser.steps.aside import tree_aside
from releaser.steps.security import default_groups
from releaser.steps.test_packages import test_packages_outside
from releaser.tools.django import is_django
from releaser.tools.environment import inside

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from releaser.errors import ReleaserError
    from releaser.project.site import Site
    from releaser.releases.release import Release
    from releaser.report.progress import Progress
    from releaser.steps.aside import Aside

_PREFIX = "import os, sys; print(os.path.realpath(sys.prefix))"
TrialKind = Literal["check", "tests"]
_START_TIMEOUT = 60.0  # seconds


@dataclass(frozen=True, kw_only=True)
class Verified:
    """What is not right with one release; `files` were read."""

    release: str
    live: bool
    findings: tuple[Finding, ...]
    files: int
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings

    def as_json(self) -> dict[str, Any]:
        """Return what `verify --json` prints."""
        return {
            "release": self.release,
            "live": self.live,
            "ok": self.ok,
            "problems": [one.as_json() for one in self.findings],
            "files": self.files,
            "seconds": self.seconds,
        }


def failure(verified: tuple[Verified, ...]) -> ReleaserError | None:
    """Return what the exit code is to tell; None when nothing is wrong."""
    bad = [one for one in verified if not one.ok]
    if not bad:
        return None
    count = sum(len(one.findings) for one in bad)
    named = ", ".join(one.release for one in bad)
    message = f"{named} {'does' if len(bad) == 1 else 'do'} not verify: {_problems(count)}"
    advice = "Find out who changed that. `releaser update` replaces what is live, `releaser rebuild` any other release."
    return UnsoundError(message, advice=advice)


def _problems(count: int) -> str:
    return "1 problem" if count == 1 else f"{count} problems"


def verify(
    site: Site, release: str | None, *, every: bool = False, trials: Sequence[Trial] = (), progress: Progress
) -> tuple[Verified, ...]:
    """Look at a release as a whole, at the live one, or at `every` one. Raises NoSuchReleaseError, or Unfit.

    With `trials`, BuildError as well, where the code cannot be checked out for them.
    """
    store = ReleaseStore(state_dir=site.project.state_dir, link=site.project.venv)
    census = store.census()
    chosen = census.releases if every else (store.find(release) if release else census.live,)
    found = [one for one in chosen if one is not None]
    unknown = [_unknown(name, census.damaged[name], live=name == census.live_id) for name in census.damaged if every]
    if not found and not unknown:
        if census.live_id is not None and not every:
            message = f"the manifest of the live release {census.live_id} is gone, or cannot be read"
            raise NoSuchReleaseError(message, advice="The next `releaser update` rebuilds it.")
        message = "no release is live" if not every else "there are no releases"
        raise NoSuchReleaseError(message, advice="Adopt the project first: `releaser init`.")
    with tree_aside(site, "verify") if trials and found else contextlib.nullcontext() as aside:
        return (*[_verified(site, one, trials, aside, progress) for one in found], *unknown)


def _unknown(release: str, reason: str, *, live: bool) -> Verified:
    """Return what there is to say of a release whose manifest does not tell what it was."""
    finding = Finding(kind="changed", path="../manifest.json", message=f"it {reason}")
    return Verified(release=release, live=live, findings=(finding,), files=0, seconds=0.0)


def _verified(
    site: Site, release: Release, trials: Sequence[Trial], aside: Aside | None, progress: Progress
) -> Verified:
    began = time.monotonic()
    findings, files = list(_start(site, release)), 0
    if os.path.isdir(release.venv):
        contents = Contents(release)
        progress.begins(release.id, contents.to_read)
        permissions = list(_permissions(site, release, contents))
        told = {one.path for one in permissions}  # whose mode is not what it was, either
        files_found = contents.findings(progress.advances)
        findings += _lock(site, release, contents)
        findings += (one for one in files_found if one.kind != "permissions" or one.path not in told)
        findings += permissions
        findings += _tried(release, trials, aside) if aside is not None else ()
        files = contents.to_read
    if not os.path.isdir(release.directory):
        message = f"release {release.id} was deleted while it was looked at"
        raise NoSuchReleaseError(message, advice="See `releaser list`.")
    return Verified(
        release=release.id,
        live=release.live,
        findings=tuple(findings),
        files=files,
        seconds=round(time.monotonic() - began, 3),
    )


def _start(site: Site, release: Release) -> Iterator[Finding]:
    """See that the interpreter is the one that it was built with, and that the venv starts."""
    if not os.path.isdir(release.venv):
        yield Finding(kind="interpreter", message=f"its venv is gone ({release.venv})")
        return
    damaged = interpreter_damage(release, asks=True)
    if damaged is not None:
        yield Finding(kind="interpreter", message=damaged.reason)
    if damaged is None or not damaged.fatal:
        yield from _started(site, release)


def _started(site: Site, release: Release) -> Iterator[Finding]:
    try:
        finished = site.runner.run(
            [release.venv / "bin" / "python", "-I", "-B", "-c", _PREFIX],
            cwd=site.project.root,
            env=inside(release.venv, site.runner.site_environ),
            timeout=_START_TIMEOUT,
        )
    except ToolError as error:
        yield Finding(kind="start", message=_in_one_line(f"it does not start: {error.message}", error.output))
        return
    prefix = finished.stdout.strip()
    if prefix != os.path.realpath(release.venv):
        yield Finding(kind="start", message=f"its Python takes {prefix} for its venv")


def _lock(site: Site, release: Release, contents: Contents) -> Iterator[Finding]:
    """Compare what is installed with the lock."""
    damaged = lock_damage(release)
    if damaged is not None:
        yield Finding(kind="lock", path="../uv.lock", message=damaged.reason)
    manifest, there, sealed = release.manifest, packages_in(contents.there), packages_in(contents.sealed)
    if manifest.origin == "adopted" and contents.sealed:
        yield from adopted_findings(there, sealed)
        return
    try:
        lock = LockFile.read(release.lock)
        pins = installed(lock, group=manifest.group, default_groups=default_groups(site), python=manifest.python)
    except (OSError, InvalidLockError, KeyError, TypeError, AttributeError) as error:
        if damaged is None:
            yield Finding(kind="lock", path="../uv.lock", message=f"its uv.lock cannot be read ({error})")
        return
    yield from package_findings(pins, there, sealed, locked=lock.names)


def _permissions(site: Site, release: Release, contents: Contents) -> Iterator[Finding]:
    """See that group and mode are those that a release gets when it is built; one that was adopted keeps its own."""
    if release.manifest.origin == "adopted":
        return
    try:
        group = unix_group(site.settings, site.project.root)
        others = others_may_read(site.project.root)
    except (Unfit, OSError) as error:
        yield Finding(kind="permissions", message=f"what group it should have cannot be told: {error}")
        return
    there = {path: status for path, status in contents.there.items() if contents.is_installed(path)}
    yield from permission_findings(there, group=group, others=others)


@dataclass(frozen=True, kw_only=True)
class Trial:
    """Something of the project to run in a release: its name as an option, and its words."""

    kind: TrialKind
    words: tuple[str, ...]


def trial(site: Site, kind: TrialKind) -> Trial:
    """Return what there is to run. Raises Unfit when the project has no such thing."""
    if kind == "tests":
        return Trial(kind=kind, words=test_command(site.settings, site.project.root, locked=_locked(site)))
    if not is_django(site.project.root):
        message = f"--check: there is no manage.py in {site.project.root}"
        raise UsageError(message, advice="Leave out --check; --tests runs the tests of the project.")
    return Trial(kind=kind, words=("python", "manage.py", "check"))


def _locked(site: Site) -> frozenset[str]:
    try:
        return LockFile.read(site.project.lock).names
    except (OSError, InvalidLockError):
        return frozenset()


def _tried(release: Release, trials: Sequence[Trial], aside: Aside) -> list[Finding]:
    """Run all of it in a copy, as tests may write into their venv, whose files uv's cache may share."""
    try:
        with (
            aside.copy_of(release) as venv,
            test_packages_outside(aside.site, venv, release.lock) as beside,
        ):
            return [finding for trial in trials for finding in _tried_in(aside.site, trial, venv, beside)]
    except BuildError as error:
        return [Finding(kind=one.kind, message=_in_one_line(error.message, error.output)) for one in trials]


def _tried_in(site: Site, trial: Trial, venv: Path, beside: Path | None) -> Iterator[Finding]:
    first, *others = trial.words
    try:
        site.runner.run(
            [venv / "bin" / "python" if first == "python" else first, *others],
            cwd=site.project.root,
            env={**inside(venv, site.runner.site_environ, beside=beside), "PYTHONDONTWRITEBYTECODE": "1"},
            timeout=site.settings.test_timeout,
            merge=True,
        )
    except ToolError as error:
        what = f"`{' '.join(trial.words)}` does not pass: {error.message}"
        yield Finding(kind=trial.kind, message=_in_one_line(what, error.output))


def _in_one_line(message: str, output: str) -> str:
    reason = gist(output)
    return f"{message}: {reason}" if reason and reason not in message else message
