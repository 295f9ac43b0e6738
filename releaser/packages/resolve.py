"""The upgraded lock of a candidate: uv resolves, uv compares it with the live venv."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from releaser.errors import BuildError, ToolError
from releaser.packages.changes import compare_versions
from releaser.packages.lock import Lock, parse_lock, read_lock
from releaser.packages.rules import (
    Rules,
    Skipped,
    explain_skipped,
    find_between,
    is_pinnable,
    keep,
    lock_arguments,
    make_bounds,
    pin_arguments,
)
from releaser.releases.release import PackageChange, Release
from releaser.releases.venv import ask_python_version, find_python, list_installed
from releaser.site.site import Site
from releaser.system.process import Finished, failure
from releaser.system.text import join_few

_ROUNDS = 4  # attempts to find out which changes fit to a part
_RETRY = "The next run tries again."


class Plan(msgspec.Struct, frozen=True):
    """A resolved candidate: its lock, and what it would change in the live venv. `python` is the interpreter.

    `python_version` is its version; `changes` are None where no live venv can be compared. `skipped` are the newer
    versions that holds keep back.
    """

    lock: Lock
    lock_text: str
    python: str
    python_version: str
    changes: tuple[PackageChange, ...] | None = None
    skipped: tuple[Skipped, ...] = ()
    #: The packages on hold that stay as they are.
    held: frozenset[str] = frozenset()

    @property
    def installs_what_is_live(self) -> bool:
        """True if the live venv has just these packages."""
        return self.changes == ()


class LiveVenv(msgspec.Struct, frozen=True):
    """The live venv as it is compared with a lock, with its own; `python_version` is empty if Python does not start."""

    venv: Path
    lock: Path
    python_version: str
    installed: Mapping[str, str]


def read_live_venv(site: Site, live: Release) -> LiveVenv:
    """Return the facts about the live release that a resolution needs."""
    version = ask_python_version(site, find_python(live.venv))
    return LiveVenv(live.venv, live.lock, version, list_installed(live.venv))


class _SyncChange(msgspec.Struct):
    name: str
    action: str
    version: str | None = None


class _Sync(msgspec.Struct):
    action: str = ""
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


def choose_python(site: Site, tree: Path, live: LiveVenv | None, *, mark: str) -> tuple[str, str]:
    """Return the path and version of the interpreter for a release: that of the live venv while it fits.

    Raises BuildError if uv finds none.
    """
    request = [site.settings.site.python] if site.settings.site.python else []
    words = ["python", "find", "--no-python-downloads", *request]
    variables = {"UV_PROJECT_ENVIRONMENT": str(tree / ".no-venv")}
    if live is not None and live.python_version:
        variables["VIRTUAL_ENV"] = str(live.venv)
    else:
        words.append("--system")
    advice = "Install a Python that `requires-python` allows, or correct the setting `python`."
    try:
        path = site.run_uv(*words, cwd=tree, mark=mark, variables=variables).stdout.strip()
    except ToolError as error:
        raise BuildError(f"No Python fits: {error.message}", advice, output=error.output) from error
    if live is not None and live.python_version and os.path.samefile(path, find_python(live.venv)):
        path = str(find_python(live.venv))  # uv answers with a path that `python` names as it is
    is_live = live is not None and Path(path).is_relative_to(live.venv)
    version = live.python_version if live is not None and is_live else ask_python_version(site, Path(path))
    if not version:
        raise BuildError(f"No Python fits: `{path}` does not start.", advice)
    return path, version


def resolve(site: Site, tree: Path, live: LiveVenv, rules: Rules, *, mark: str) -> Plan:
    """Upgrade uv.lock in a tree, within the rules, and compare it with the live venv.

    Raises BuildError if there is no solution, or the index cannot be reached.
    """
    python, version = choose_python(site, tree, live, mark=mark)
    skipped = _upgrade(site, tree, python, live, rules, mark=mark)
    lock = read_lock(tree / "uv.lock")
    is_same_python = bool(live.python_version) and Path(python).is_relative_to(live.venv)
    changes = compare_with_venv(site, tree, live.venv, lock, mark=mark) if is_same_python else None
    return Plan(
        lock,
        (tree / "uv.lock").read_text(encoding="utf-8"),
        python,
        version,
        changes,
        skipped,
        frozenset(rules.holders) - {change.name for change in changes or ()},
    )


def _upgrade(site: Site, tree: Path, python: str, live: LiveVenv, rules: Rules, *, mark: str) -> tuple[Skipped, ...]:
    """Upgrade uv.lock in a tree; return what holds keep back.

    uv leaves a package from git as the lock has it, so one on hold is taken from the lock of the live release.
    """
    path = tree / "uv.lock"
    committed, words = path.read_bytes(), ["--python", python]
    if rules.choose(read_lock(path).names) == frozenset():
        return ()
    names, bounds = read_lock(path).names, make_bounds(rules, live.installed, read_lock(path))
    may_start_again = any(package.source.commit for name in rules.holders for package in read_lock(path).find(name))
    try:
        bounds, between = _lock_within(site, tree, committed, bounds, live, rules, words, mark=mark)
    except BuildError:
        if not may_start_again:
            raise
        between = sorted(rules.holders)  # the lock of the live release may have a solution
    if between and may_start_again:
        bounds, between = _lock_within(site, tree, live.lock.read_bytes(), bounds, live, rules, words, mark=mark)
    if between:
        message = f"No versions fit together without what is on hold: {join_few(between)}."
        raise BuildError(message, "Free it, as `releaser status` says, or revert the commit that needs it.")
    if not bounds and rules.choose(names) is None:
        return ()
    chosen = path.read_bytes()
    path.write_bytes(committed)
    # Only to explain what is skipped: no code of a package that is on hold runs for that.
    newest = site.run_uv(*lock_arguments(names, {}), "--no-build", *words, cwd=tree, mark=mark, check=False)
    text = path.read_text(encoding="utf-8")
    path.write_bytes(chosen)
    return explain_skipped(rules, read_lock(path), parse_lock(text)) if newest.status == 0 else ()


def _lock_within(  # noqa: PLR0913 - all that a resolution needs
    site: Site,
    tree: Path,
    before: bytes,
    bounds: dict[str, str | None],
    live: LiveVenv,
    rules: Rules,
    words: Sequence[str],
    *,
    mark: str,
) -> tuple[dict[str, str | None], list[str]]:
    """Upgrade a lock within bounds; return the bounds that were needed, and the packages that do not keep to them.

    A package on hold stays as it is until a version newer than those on hold appears. uv first skips those versions; a
    package for which it then chooses one between stays at the live version.
    """
    path, between = tree / "uv.lock", list[str]()
    for _ in range(1 + len(rules.skipped)):
        path.write_bytes(before)
        names = read_lock(path).names
        arguments = lock_arguments(names, bounds, rules.choose(names))
        finished = site.run_uv(*arguments, *words, cwd=tree, mark=mark, check=False)
        if finished.status != 0:
            raise _explain_resolution(finished, rules)
        between = find_between(rules, read_lock(path), live.installed)
        if not between:
            break
        bounds = bounds | {name: keep(live.installed[name]) for name in between}
    return bounds, between


def resolve_part(  # noqa: PLR0913 - all that a resolution needs
    site: Site, tree: Path, live: LiveVenv, whole: Plan, before: Mapping[str, str], part: Collection[str], *, mark: str
) -> Plan:
    """Lock a part of the changes of a plan; the other changed packages stay at the versions `before`.

    What does not fit to these is left out of the part. The tree has the lock to which packages from git go back.
    Raises BuildError.
    """
    path, text = tree / "uv.lock", (tree / "uv.lock").read_text(encoding="utf-8")
    others = {name: version for name, version in before.items() if name not in part}
    if all(is_pinnable(whole.lock, name, version) for name, version in others.items()):
        text = whole.lock_text
    for _ in range(_ROUNDS):
        for may_differ in (False, True):
            path.write_text(text, encoding="utf-8")
            words = pin_arguments(whole.lock, before, part, may_differ=may_differ)
            finished = site.run_uv(*words, "--python", whole.python, cwd=tree, mark=mark, check=False)
            if finished.status == 0:
                break
        if finished.status != 0 or not may_differ:
            break
        chosen = read_lock(path).versions
        part = [name for name in part if chosen.get(name) == whole.lock.versions[name]]
    if finished.status != 0 or may_differ:
        raise _explain_resolution(finished, Rules())
    lock = read_lock(path)
    changes = compare_with_venv(site, tree, live.venv, lock, mark=mark)
    names = {change.name for change in changes}
    return msgspec.structs.replace(
        whole,
        lock=lock,
        lock_text=path.read_text(encoding="utf-8"),
        changes=changes,
        held=(whole.held | before.keys()) - names,
    )


def _explain_resolution(finished: Finished, rules: Rules) -> BuildError:
    error = failure(finished)
    if finished.status == 1:
        message, advice = f"No versions fit together: {error.message}", "Run `uv lock --upgrade` to see why."
        if rules.levels or rules.level in ("minor", "patch"):
            advice += (
                " `upgrade` and `upgrade_packages` limit how far packages move from uv.lock: commit a lock that fits."
            )
    else:
        message, advice = f"The lock could not be upgraded: {error.message}", f"Check the index. {_RETRY}"
    return BuildError(message, advice, output=error.output)


def compare_with_venv(
    site: Site, tree: Path, venv: Path, lock: Lock, *, mark: str, more: Sequence[str] = ()
) -> tuple[PackageChange, ...]:
    """Return what the lock of a tree would change in a venv, by `uv sync --dry-run`, but for changes of local packages.

    `more` are arguments that say what else is installed. Raises BuildError.
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
    changes, installed = report.sync.changes, list_installed(venv)
    gone = {change.name: change.version or "" for change in changes if change.action == "uninstalled"}
    before = {name: installed.get(name, version) for name, version in gone.items()}
    if report.sync.action == "replace":  # the Python was upgraded in place: uv would install everything again
        before = installed
    after = {change.name: _label(lock, change) for change in changes if change.action == "installed"}
    return compare_versions(before, after, lock.local & after.keys())  # installed again each time: no news


def _label(lock: Lock, change: _SyncChange) -> str:
    """Return what the lock calls a package that uv would install: uv names no version of one to be built."""
    packages = lock.find(change.name)
    labels = [package.label for package in packages if change.version in (None, package.version)]
    return labels[0] if labels else change.version or ""
