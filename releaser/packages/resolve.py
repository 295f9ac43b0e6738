"""The upgraded lock of a candidate: uv resolves, uv compares it with the live venv."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from releaser.errors import BuildError, ToolError
from releaser.packages.changes import compare_versions, name_bump
from releaser.packages.holds import EVERY
from releaser.packages.lock import Lock, read_lock
from releaser.releases.release import Change
from releaser.site.site import Site
from releaser.system.process import Finished, failure

_RETRY = "The next run tries again."


class Plan(msgspec.Struct, frozen=True):
    """A resolved candidate: its lock, and what it would change in the live venv. `python` is the interpreter.

    `python_version` is its version; `changes` are None where no live venv can be compared.
    """

    lock: Lock
    lock_text: str
    python: str
    python_version: str
    changes: tuple[Change, ...] | None

    @property
    def installs_what_is_live(self) -> bool:
        """True if the live venv has just these packages."""
        return self.changes == ()


class Held(msgspec.Struct, frozen=True):
    """A package on hold: the versions to skip, and the live one, None if it has none."""

    versions: tuple[str, ...]
    live: str | None

    @property
    def bound(self) -> str:
        """The bounds given to uv at first: without these versions, or the live one alone."""
        return f"=={self.live}" if EVERY in self.versions else ",".join(f"!={version}" for version in self.versions)


class _SyncChange(msgspec.Struct):
    name: str
    action: str
    version: str | None = None


class _Sync(msgspec.Struct):
    changes: list[_SyncChange] = []


class _SyncReport(msgspec.Struct):
    sync: _Sync


def group_arguments(site: Site) -> list[str]:
    """Return the arguments of uv that say what is installed beside the project's own dependencies."""
    settings, words = site.settings.site, list[str]()
    if site.group:
        words += ["--group", site.group]
    for extra in settings.extras:
        words += ["--all-extras"] if extra == "all" else ["--extra", extra]
    for member in settings.members:
        words += ["--all-packages"] if member == "all" else ["--package", member]
    return words


def lock_arguments(names: Sequence[str], bounds: Mapping[str, str]) -> list[str]:
    """Return the arguments of `uv lock` that upgrade all packages within bounds, such as `!=1.1`.

    With bounds each package is named, since `--upgrade` forgets those of `-P` (seen with uv 0.10). Bounds leave no
    trace in the lock.
    """
    if not bounds:
        return ["lock", "--upgrade"]
    words = ["lock"]
    for name in sorted({*names, *bounds}):
        words += ["-P", f"{name}{bounds.get(name, '')}"]
    return words


def find_python(site: Site, tree: Path, live: Path | None, *, mark: str) -> tuple[str, str]:
    """Return the path and version of the interpreter for a release: that of the live venv while it fits.

    Raises BuildError if uv finds none.
    """
    request = [site.settings.site.python] if site.settings.site.python else []
    words = ["python", "find", "--no-python-downloads", *request]
    variables = {"UV_PROJECT_ENVIRONMENT": str(tree / ".no-venv")}
    if live is not None:
        variables["VIRTUAL_ENV"] = str(live)
    else:
        words.append("--system")
    try:
        path = site.run_uv(*words, cwd=tree, mark=mark, variables=variables).stdout.strip()
        show = site.run_uv("python", "find", "--no-python-downloads", "--show-version", path, cwd=tree, mark=mark)
    except ToolError as error:
        advice = "Install a Python that `requires-python` allows, or correct the setting `python`."
        raise BuildError(f"No Python fits: {error.message}", advice, output=error.output) from error
    return path, show.stdout.strip()


def resolve(site: Site, tree: Path, *, live: Path | None, held: Mapping[str, Held], mark: str) -> Plan:
    """Upgrade uv.lock in a tree, but for packages on hold, and compare it with the live venv.

    `live` is None where no live venv works. Raises BuildError if there is no solution, or the index cannot be reached.
    """
    python, version = find_python(site, tree, live, mark=mark)
    if site.settings.versions.upgrade == "all":
        _upgrade(site, tree, python, held, mark=mark)
    lock = read_lock(tree / "uv.lock")
    is_same_python = live is not None and Path(python).is_relative_to(live)
    changes = compare_with_venv(site, tree, live, lock, mark=mark) if live is not None and is_same_python else None
    return Plan(lock, (tree / "uv.lock").read_text(encoding="utf-8"), python, version, changes)


def _upgrade(site: Site, tree: Path, python: str, held: Mapping[str, Held], *, mark: str) -> None:
    """Upgrade uv.lock in a tree; a package on hold stays as it is until a version newer than those on hold appears.

    uv first skips those versions; a package for which it then chooses one between stays at the live version.
    """
    before = (tree / "uv.lock").read_bytes()
    names = read_lock(tree / "uv.lock").names
    bounds = {name: package.bound for name, package in held.items()}
    for _ in range(1 + len(held)):
        (tree / "uv.lock").write_bytes(before)
        finished = site.run_uv(*lock_arguments(names, bounds), "--python", python, cwd=tree, mark=mark, check=False)
        if finished.status != 0:
            raise _explain_resolution(finished)
        lock = read_lock(tree / "uv.lock")
        between = [name for name, package in held.items() if package.live and _is_between(lock, name, package)]
        if not between:
            return
        bounds |= {name: f"=={held[name].live}" for name in between}


def _is_between(lock: Lock, name: str, held: Held) -> bool:
    """Return True if a lock has a version of a package that is neither the live one nor newer than those on hold."""
    versions = lock.versions.get(name, frozenset()) - {held.live or ""}
    return any(name_bump(highest, version) == "other" for version in versions for highest in held.versions)


def _explain_resolution(finished: Finished) -> BuildError:
    error = failure(finished)
    if finished.status == 1:
        message, advice = f"No versions fit together: {error.message}", "Run `uv lock --upgrade` to see why."
    else:
        message, advice = f"The lock could not be upgraded: {error.message}", f"Check the index. {_RETRY}"
    return BuildError(message, advice, output=error.output)


def compare_with_venv(
    site: Site, tree: Path, venv: Path, lock: Lock, *, mark: str, more: Sequence[str] = ()
) -> tuple[Change, ...]:
    """Return what the lock of a tree would change in a venv, by `uv sync --dry-run`, but for changes of local packages.

    `more` are arguments that say what else is installed.

    Raises BuildError.
    """
    words = ["sync", "--frozen", "--dry-run", "--output-format", "json", *group_arguments(site), *more]
    words += ["--python", str(venv)]  # else a `.python-version` would be compared with a new venv
    try:
        finished = site.run_uv(*words, cwd=tree, mark=mark, variables={"UV_PROJECT_ENVIRONMENT": str(venv)})
        report: Any = msgspec.json.decode(finished.stdout, type=_SyncReport)
    except ToolError as error:
        raise BuildError(f"The lock cannot be installed here: {error.message}", _RETRY, output=error.output) from error
    except msgspec.MsgspecError as error:
        message = f"uv did not say what the lock changes ({error})."
        raise BuildError(message, f"Check `{site.uv} --version`: releaser needs 0.13 or newer.") from error
    before = {change.name: change.version or "" for change in report.sync.changes if change.action == "uninstalled"}
    after = {change.name: change.version or "" for change in report.sync.changes if change.action == "installed"}
    return compare_versions(before, after, lock.local & after.keys())  # installed again each time: no news
