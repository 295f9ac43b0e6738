"""Drives uv: locking, building environments, exporting."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from releaser.errors import ToolError
from releaser.system.environment import neutral

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from releaser.system.process import Finished, Runner

    Specifiers = Mapping[str, str | None]
    ExcludeNewer = Mapping[str, datetime]

_NO_SOLUTION = 1  # exit status of `uv lock`; 2 is an index that could not be reached, a broken file, and the like
_VERSION = re.compile(r"uv (\d+(?:\.\d+)+\S*)")
_FAILED_BUILD = re.compile(r"Failed to (?:download and )?build `([^`=\s]+)==([^`\s]+)`")  # as uv 0.13 says it
# What uv says if it is the package's own build that fails, and not the network; a full disk may show as that, too.
_OWN_FAULT = "The build backend returned an error"
_NO_ROOM = "No space left"


def failed_builds(output: str) -> tuple[tuple[str, str], ...]:
    """Return the packages, each with its version, that uv says it cannot build, for whatever reason."""
    return tuple(dict.fromkeys(_FAILED_BUILD.findall(output)))


def unbuildable_packages(output: str) -> tuple[tuple[str, str], ...]:
    """Return the packages, each with its version, that uv could not build for a reason of their own."""
    return failed_builds(output) if _OWN_FAULT in output and _NO_ROOM not in output else ()


@dataclass(frozen=True, kw_only=True)
class Locked:
    """uv has made a lock; `output` says what has changed by it, or would."""

    output: str


@dataclass(frozen=True, kw_only=True)
class NoSolution:
    """No versions go together, or one of them does not build: `output` is what uv says of that."""

    output: str


def find_uv(setting: str | None, *, path: str | None, project: Path) -> Path | None:
    """Find uv: the setting, then PATH, then the uv package beside releaser; None when there is none.

    A setting is a path, relative to the project, or a name to be found on PATH, as for a shell.
    """
    if setting is not None and "/" in setting:
        named = project / Path(setting).expanduser()
        return named if named.is_file() else None
    on_path = shutil.which(setting or "uv", path=path)
    if on_path is not None:
        return Path(on_path).absolute()
    return None if setting else _beside_releaser()


def _beside_releaser() -> Path | None:
    try:
        from uv import find_uv_bin
    except ImportError:
        return None
    try:
        return Path(find_uv_bin())
    except FileNotFoundError:
        return None


def lock_arguments(
    *,
    specifiers: Specifiers,
    packages: Iterable[str],
    exclude_newer: ExcludeNewer | None = None,
    dry_run: bool = False,
) -> list[str]:
    """Arguments of the `uv lock` that upgrades everything.

    `specifiers` maps a package to what its version must satisfy, such as `>=1.0,!=2.0`, which leaves no trace in the
    lock; None leaves a package as it is locked. With any, all of `packages`, those of the lock, are named one by one:
    `--upgrade` beside `--upgrade-package` lets uv 0.10 forget them (seen), and naming them all means the same.

    `exclude_newer` maps a package to the time before which its versions must have been uploaded. uv writes it into the
    lock; a plain `uv lock`, which is one with None for every package, takes it out again and keeps the versions (seen).
    """
    words = ["lock"]
    if not specifiers:
        words.append("--upgrade")
    else:
        for name in sorted({*packages, *specifiers}):
            specifier = specifiers.get(name, "")
            if specifier is not None:
                words += ["--upgrade-package", f"{name}{specifier}"]
    for name, limit in sorted((exclude_newer or {}).items()):
        words += ["--exclude-newer-package", f"{name}={limit.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"]
    if dry_run:
        words.append("--dry-run")
    return words


def newest_arguments(*, answer: str, python: Path, python_version: str) -> list[str]:
    """Arguments of the `uv pip compile` that finds the newest version of each dependency, whatever goes together.

    `python_version` is the Python that they are to be for, `python` the interpreter that builds what has to be built.
    """
    return [
        "pip", "compile", "--no-deps", "--universal", "--no-header", "--no-annotate", "--python", str(python),
        "--python-version", python_version, "--output-file", answer, "pyproject.toml",
    ]  # fmt: skip


def pinned_lock_arguments(pins: Mapping[str, str]) -> list[str]:
    """Arguments of the `uv lock` that moves some packages to exact versions, and others only as far as these need it.

    A pin leaves no trace in the lock. An empty one stands for the newest version, as a commit cannot be asked for.
    Without pins, what is locked stays, as far as pyproject.toml admits it.
    """
    wanted = [f"{name}=={pins[name]}" if pins[name] else name for name in sorted(pins)]
    return ["lock", *(word for one in wanted for word in ("--upgrade-package", one))]


def sync_arguments(
    *, group: str | None, link_mode: str, compiled: bool = True, without: Iterable[str] = ()
) -> list[str]:
    """Arguments of the `uv sync` that installs everything but local packages, exactly as locked.

    `without` are default groups that are left out; uv refuses one that the lock does not have.
    """
    words = ["sync", "--frozen", "--no-install-local", *_compiled(compiled), "--link-mode", link_mode]
    return words + _group(group, without)


def only_groups_arguments(
    groups: Iterable[str], *, present: Iterable[str], local: Iterable[str], link_mode: str
) -> list[str]:
    """Arguments of the `uv sync` that installs what these groups need, but for the packages that are `present`.

    The `local` packages of the lock are built again, for the reason that `local_install_arguments` tells, and none is
    editable: what is found by way of PYTHONPATH may not need `.pth` files.
    """
    return [
        "sync", "--frozen", "--no-editable", "--link-mode", link_mode,
        *(word for name in groups for word in ("--only-group", name)),
        *(word for name in sorted(present) for word in ("--no-install-package", name)),
        *(word for name in sorted(local) for word in ("--reinstall-package", name)),
    ]  # fmt: skip


def local_install_arguments(*, python: Path, requirements: Path, link_mode: str, compiled: bool = True) -> list[str]:
    """Arguments of the `uv pip install` that puts local packages, and nothing else, into an environment.

    `--reinstall` makes uv build them again: its cache does not see that a source file changed.
    """
    return [
        "pip", "install", "--python", str(python), "--no-deps", "--reinstall", *_compiled(compiled),
        "--link-mode", link_mode, "--requirements", str(requirements),
    ]  # fmt: skip


def _compiled(wanted: bool) -> list[str]:
    return ["--compile-bytecode"] if wanted else []


def local_export_arguments(*, group: str | None, without: Iterable[str] = ()) -> list[str]:
    """Arguments of the `uv export` that lists the local packages of the lock that this group needs."""
    return [
        "export", "--frozen", "--only-emit-local", "--no-hashes", "--no-header", "--no-annotate",
        *_group(group, without),
    ]  # fmt: skip


def requirements_arguments(*, group: str | None, hashes: bool = True, without: Iterable[str] = ()) -> list[str]:
    """Arguments of the `uv export` that writes a requirements file for people and tools without uv.

    pip takes one with hashes for a constraints file only where all that is installed has one.
    """
    words = ["export", "--frozen", "--no-emit-local", "--no-annotate", "--no-header", *_group(group, without)]
    return words if hashes else [*words, "--no-hashes"]


def _group(group: str | None, without: Iterable[str]) -> list[str]:
    left_out = [word for name in without if name != group for word in ("--no-group", name)]
    return [*left_out, *(["--group", group] if group else [])]


@dataclass(frozen=True, kw_only=True)
class Installed:
    """An interpreter that is there: its version, and where it lies."""

    version: str
    path: str


def installed_in(text: str) -> tuple[Installed, ...]:
    """Read the interpreters out of what `uv python list --output-format json` prints; ValueError if that is no such.

    Only CPython counts, in its usual build and in a finished version, as that is what locks are tested with.
    """
    from packaging.version import InvalidVersion, Version

    found = []
    try:
        for one in json.loads(text):
            usual = one["implementation"] == "cpython" and one.get("variant", "default") == "default"
            if usual and one["path"] and not Version(one["version"]).is_prerelease:
                found.append(Installed(version=one["version"], path=one["path"]))
    except (KeyError, TypeError, AttributeError, InvalidVersion) as error:
        raise ValueError(str(error)) from error
    return tuple(found)


@dataclass(kw_only=True)
class Spent:
    """How long the calls that share one limit have taken so far."""

    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Uv:
    """One uv executable and how it is to be called; `timeout` bounds each call, in seconds.

    Those that lock share the limit of one: an index that becomes slow must not cost a multiple of it.
    """

    runner: Runner
    executable: Path
    timeout: float
    locking: Spent = field(default_factory=Spent)

    def version(self) -> str:
        """Return uv's version; ToolError when this is not uv or it does not work."""
        finished = self._run(["--version"], cwd=Path("/"))
        found = _VERSION.match(finished.stdout)
        if found is None:
            raise self._nonsense(finished)
        return found.group(1)

    def lock(
        self,
        tree: Path,
        *,
        python: Path,
        specifiers: Specifiers,
        packages: Iterable[str],
        exclude_newer: ExcludeNewer | None = None,
    ) -> Locked | NoSolution:
        """Upgrade the uv.lock of `tree`. See `lock_arguments`. Raises ToolError."""
        words = lock_arguments(specifiers=specifiers, packages=packages, exclude_newer=exclude_newer)
        return self._lock([*words, "--python", str(python)], cwd=tree)

    def lock_pinned(self, tree: Path, *, python: Path, pins: Mapping[str, str]) -> Locked | NoSolution:
        """Move packages in the uv.lock of `tree` to exact versions. Raises ToolError."""
        return self._lock([*pinned_lock_arguments(pins), "--python", str(python)], cwd=tree)

    def lock_as_it_is(self, tree: Path, *, python: Path) -> Locked | NoSolution:
        """Make the uv.lock of `tree` fit its pyproject.toml, and upgrade nothing that need not be. Raises ToolError."""
        return self._lock(["lock", "--python", str(python)], cwd=tree)

    def lock_dry_run(self, tree: Path, *, python: Path) -> Locked | NoSolution:
        """Upgrade everything without writing anything. Raises ToolError."""
        words = lock_arguments(specifiers={}, packages=(), dry_run=True)
        return self._lock([*words, "--python", str(python)], cwd=tree)

    def newest(self, tree: Path, *, answer: str, python: Path, python_version: str) -> Finished | NoSolution:
        """Write the newest version of each dependency of `tree` to the file `answer` in it. Raises ToolError."""
        return self._resolve(newest_arguments(answer=answer, python=python, python_version=python_version), cwd=tree)

    def pip(self, *words: str | Path, tree: Path = Path("/")) -> str:
        """Return what a `uv pip` command prints; the indexes are those of the project in `tree`. Raises ToolError."""
        return self._run(["pip", *map(str, words)], cwd=tree).stdout

    def compile(self, requirements: Path, *words: str | Path, tree: Path = Path("/")) -> Finished | NoSolution:
        """Print what a requirements file comes to, with the indexes of the project in `tree`. Raises ToolError."""
        return self._resolve(["pip", "compile", str(requirements), *map(str, words)], cwd=tree)

    def edit(self, tree: Path, command: Literal["add", "remove"], *words: str | Path, python: Path) -> None:
        """Write the pyproject.toml of `tree` by `uv add` or `uv remove`; nothing is locked. Raises ToolError."""
        self._run([command, "--frozen", "--python", str(python), *map(str, words)], cwd=tree)

    def sync(
        self,
        tree: Path,
        venv: Path,
        *,
        python: Path,
        group: str | None,
        link_mode: str,
        compiled: bool = True,
        without: Iterable[str] = (),
    ) -> Finished:
        """Install the locked third-party packages of `tree` into `venv`, which is made if it is not there."""
        words = sync_arguments(group=group, link_mode=link_mode, compiled=compiled, without=without)
        return self._synced(words, tree, venv, python=python)

    def sync_groups(
        self,
        tree: Path,
        venv: Path,
        groups: Iterable[str],
        *,
        python: Path,
        present: Iterable[str],
        local: Iterable[str],
        link_mode: str,
    ) -> Finished:
        """Install what these groups of the lock of `tree` need into `venv`. See `only_groups_arguments`."""
        words = only_groups_arguments(groups, present=present, local=local, link_mode=link_mode)
        return self._synced(words, tree, venv, python=python)

    def _synced(self, words: Sequence[str], tree: Path, venv: Path, *, python: Path) -> Finished:
        finished = self._run([*words, "--python", str(python)], cwd=tree, venv=venv)
        if not os.path.exists(venv / "bin" / "python"):
            message = f"{self.executable} sync left no environment at {venv}"
            raise ToolError(message, advice="Set `uv` to a working uv.", output=finished.output)
        return finished

    def local_packages(self, tree: Path, *, group: str | None, without: Iterable[str] = ()) -> str:
        """Return the local packages to install as the text of a requirements file, paths relative to `tree`."""
        return self._run(local_export_arguments(group=group, without=without), cwd=tree).stdout

    def install_local(
        self, project: Path, venv: Path, requirements: Path, *, link_mode: str, compiled: bool = True
    ) -> Finished:
        """Install local packages whose paths in `requirements` are relative to `project`."""
        python = venv / "bin" / "python"
        words = local_install_arguments(
            python=python, requirements=requirements, link_mode=link_mode, compiled=compiled
        )
        return self._run(words, cwd=project, venv=venv)

    def requirements(
        self, project: Path, *, group: str | None, hashes: bool = True, without: Iterable[str] = ()
    ) -> str:
        """Return the lock of `project` as a requirements file."""
        words = requirements_arguments(group=group, hashes=hashes, without=without)
        return self._run(words, cwd=project).stdout

    def find_python(self, project: Path, venv: Path | None, *, request: str | None) -> Path:
        """Return the interpreter that uv picks for `project`: that of `venv`, if it is of the kind wanted.

        `request` is what `--python` takes; without it, `.python-version` and requires-python decide. A release thus
        stays on the Python that is live as long as that is right. ToolError when there is none.
        """
        words = ["python", "find", "--no-python-downloads", *([request] if request else [])]
        env = dict(self._environment(None))
        if venv is not None and os.path.exists(venv / "bin" / "python"):
            env["VIRTUAL_ENV"] = str(venv)
        else:
            words.append("--system")  # a venv whose interpreter is gone would be an error
        finished = self._run(words, cwd=project, env=env)
        found = Path(finished.stdout.strip())
        if not found.is_absolute() or not os.path.exists(found):
            raise self._nonsense(finished)
        return found

    def installed_pythons(self) -> tuple[Installed, ...]:
        """Return the interpreters that are there, nothing being downloaded. Raises ToolError.

        uv starts each of them that it has not seen before.
        """
        words = ["python", "list", "--only-installed", "--no-python-downloads", "--output-format", "json"]
        finished = self._run(words, cwd=Path("/"))
        try:
            return installed_in(finished.stdout)
        except ValueError as error:
            raise self._nonsense(finished) from error

    def python_version(self, python: Path) -> str:
        """Return the version of an interpreter. Raises ToolError."""
        finished = self._run(["python", "find", "--show-version", str(python)], cwd=Path("/"))
        version = finished.stdout.strip()
        if not version[:1].isdigit() or len(version.split()) != 1:
            raise self._nonsense(finished)
        return version

    def cache_directory(self) -> Path:
        """Return where uv keeps its cache."""
        return Path(self._run(["cache", "dir"], cwd=Path("/")).stdout.strip())

    def _lock(self, words: Sequence[str], *, cwd: Path) -> Locked | NoSolution:
        """Run uv within what earlier calls have left of the limit that they share."""
        began = time.monotonic()
        try:
            done = self._resolve(words, cwd=cwd, timeout=max(self.timeout - self.locking.seconds, 0.0))
            return done if isinstance(done, NoSolution) else Locked(output=done.stderr)
        except ToolError as error:
            if not error.timed_out:
                raise
            message = f"uv was still running after {self.timeout:g} s in all and was ended"
            raise ToolError(message, timed_out=True, output=error.output) from error
        finally:
            self.locking.seconds += time.monotonic() - began

    def _resolve(self, words: Sequence[str], *, cwd: Path, timeout: float | None = None) -> Finished | NoSolution:
        try:
            return self._run(words, cwd=cwd, timeout=timeout)
        except ToolError as error:
            if error.returncode != _NO_SOLUTION or error.timed_out:
                raise
            return NoSolution(output=error.output)

    def _run(
        self,
        words: Sequence[str],
        *,
        cwd: Path,
        venv: Path | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> Finished:
        return self.runner.run(
            [self.executable, "--no-progress", "--color", "never", *words],
            cwd=cwd,
            env=self._environment(venv) if env is None else env,
            timeout=self.timeout if timeout is None else timeout,
        )

    def _nonsense(self, finished: Finished) -> ToolError:
        asked = " ".join(finished.argv[4:])  # behind --no-progress --color never
        message = f"{self.executable} {asked} printed {finished.stdout.strip()[:60]!r}, which is not uv's answer"
        return ToolError(message, advice="Set `uv` to a working uv, or install it: pip install uv.")

    def _environment(self, venv: Path | None) -> Mapping[str, str]:
        env = neutral(self.runner.environ)
        # Build backends that ask git for a version must not refresh the index of the checkout.
        env["GIT_OPTIONAL_LOCKS"] = "0"
        env.pop("PYTHONIOENCODING", None)  # uv speaks UTF-8 with the Python that it lets compile
        if venv is not None:
            env["UV_PROJECT_ENVIRONMENT"] = str(venv)
        return env
