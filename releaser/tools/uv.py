"""Drives uv: locking, building environments, exporting."""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from releaser.errors import ToolError
from releaser.system.environment import find_program, of_uv

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from releaser.system.isolation import Sandbox
    from releaser.system.process import Finished, Runner

    Specifiers = Mapping[str, str | None]
    #: By package, `*` for those that are not named; None is no limit.
    ExcludeNewer = Mapping[str, datetime | None]

_NO_SOLUTION = 1  # exit status of `uv lock`; 2 is an index that could not be reached, a broken file, and the like
_VERSION = re.compile(r"uv (\d+(?:\.\d+)+\S*)")
# With this, uv 0.12 and 0.13 but warn that they go on without `[tool.uv]`. Files above it they name by the whole path.
_IGNORED = "Failed to parse `pyproject.toml` during settings discovery"


@dataclass(frozen=True, kw_only=True)
class Locked:
    """uv has made a lock; `output` says what has changed by it, or would."""

    output: str


@dataclass(frozen=True, kw_only=True)
class NoSolution:
    """No versions go together, or one of them does not build: `output` is what uv says of that."""

    output: str


def _refuse_ignored_settings(output: str) -> None:
    """Refuse what uv has resolved without the project's settings, and so perhaps from another index."""
    if _IGNORED in output:
        message = "uv cannot read its settings in the project, and would do without them"
        advice = "Correct [tool.uv] as uv's message says; a key that this uv does not know counts as well."
        raise ToolError(message, advice=advice, output=output.replace("warning: ", "error: ", 1))


def find_uv(setting: str | None, *, environ: Mapping[str, str], project: Path) -> Path | None:
    """Find uv: the setting, then PATH, then the uv package beside releaser; None when there is none.

    A setting is a path, relative to the project, or a name to be found on PATH. What an activated venv or the project
    has comes last.
    """
    if setting is not None and "/" in setting:
        named = project / Path(setting).expanduser()
        return named if named.is_file() else None
    found, is_last = find_program(setting or "uv", environ, project)
    if setting is None and (found is None or is_last):
        with contextlib.suppress(ImportError, FileNotFoundError):
            from uv import find_uv_bin

            return Path(find_uv_bin())
    return Path(found).absolute() if found else None


def lock_arguments(
    *, specifiers: Specifiers, packages: Iterable[str], exclude_newer: ExcludeNewer, no_build: Iterable[str] = ()
) -> list[str]:
    """Arguments of the `uv lock` that upgrades everything, and takes no source releases of the packages in `no_build`.

    `specifiers` maps a package to what its version must satisfy, such as `>=1.0,!=2.0`, which leaves no trace in the
    lock; None leaves a package as it is locked. With any, all of `packages`, those of the lock, are named one by one:
    `--upgrade` beside `--upgrade-package` lets uv 0.10 forget them (seen), and naming them all means the same.

    `exclude_newer` maps a package to the time before which its versions must have been uploaded. uv writes it into the
    lock; a plain `uv lock`, which is one with None for every package, takes it out again and keeps the versions (seen).
    Directories pass it, and what comes from an index that tells no times does not (seen).
    """
    words = ["lock"]
    if not specifiers:
        words.append("--upgrade")
    else:
        for name in sorted({*packages, *specifiers}):
            specifier = specifiers.get(name, "")
            if specifier is not None:
                words += ["--upgrade-package", f"{name}{specifier}"]
    for name, limit in sorted(exclude_newer.items()):
        time = f"{limit.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}" if limit is not None else "false"
        words += ["--exclude-newer", time] if name == "*" else ["--exclude-newer-package", f"{name}={time}"]
    return [*words, *(word for name in sorted(no_build) for word in ("--no-build-package", name))]


def newest_arguments(*, answer: str, python: Path, python_version: str) -> list[str]:
    """Arguments of the `uv pip compile` that finds the newest versions for a Python, whatever goes together."""
    return [
        "--no-deps", "--universal", "--no-header", "--no-annotate", "--python", str(python), "--python-version",
        python_version, "--output-file", answer, "pyproject.toml",
    ]  # fmt: skip


def pinned_lock_arguments(pins: Mapping[str, str]) -> list[str]:
    """Arguments of the `uv lock` that moves some packages to exact versions, and others only as far as these need it.

    A pin leaves no trace in the lock. An empty one stands for the newest version, as a commit cannot be asked for.
    Without pins, what is locked stays, as far as pyproject.toml admits it.
    """
    wanted = [f"{name}=={pins[name]}" if pins[name] else name for name in sorted(pins)]
    return ["lock", *(word for one in wanted for word in ("--upgrade-package", one))]


COMPILED, NOT_LOCAL = "--compile-bytecode", "--no-install-local"


def sync_arguments(
    *, group: str | None, link_mode: str, compiled: bool = True, without: Iterable[str] = ()
) -> list[str]:
    """Arguments of the `uv sync` that installs everything but local packages, exactly as locked.

    `without` are default groups that are left out; uv refuses one that the lock does not have.
    """
    more = [COMPILED] if compiled else []
    return ["sync", "--frozen", NOT_LOCAL, *more, "--link-mode", link_mode, *_group(group, without)]


def anew_arguments(names: Collection[str]) -> list[str]:
    """Arguments with which a `uv sync` installs packages again, without anything of uv's cache."""
    return ["--no-cache", *reinstall_arguments(names)] if names else []


def reinstall_arguments(names: Iterable[str]) -> list[str]:
    """Arguments with which a `uv sync` installs packages again; it builds those that are local again."""
    return [word for name in sorted(names) for word in ("--reinstall-package", name)]


def left_out_arguments(names: Iterable[str]) -> list[str]:
    """Arguments with which a `uv sync` leaves out packages; uv takes names that the lock does not have."""
    return [word for name in sorted(names) for word in ("--no-install-package", name)]


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
        *left_out_arguments(present),
        *reinstall_arguments(local),
    ]  # fmt: skip


def local_install_arguments(*, python: Path, requirements: Path, link_mode: str, compiled: bool = True) -> list[str]:
    """Arguments of the `uv pip install` that puts local packages, and nothing else, into an environment.

    `--reinstall` makes uv build them again: its cache does not see that a source file changed.
    """
    return [
        "pip", "install", "--python", str(python), "--no-deps", "--reinstall",
        *([COMPILED] if compiled else []), "--link-mode", link_mode, "--requirements", str(requirements),
    ]  # fmt: skip


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

    def lock(self, tree: Path, words: Sequence[str], *, python: Path) -> Locked | NoSolution:
        """Lock in `tree`, as `words` say: see `lock_arguments` and `pinned_lock_arguments`. Raises ToolError."""
        began = time.monotonic()
        left = max(self.timeout - self.locking.seconds, 0.0)
        try:
            done = self._resolve([*words, "--python", str(python)], cwd=tree, timeout=left)
            return done if isinstance(done, NoSolution) else Locked(output=done.stderr)
        except ToolError as error:
            if not error.timed_out:
                raise
            message = f"uv was still running after {self.timeout:g} s in all and was ended"
            raise ToolError(message, timed_out=True, output=error.output) from error
        finally:
            self.locking.seconds += time.monotonic() - began

    def compile(self, tree: Path, *words: str | Path) -> Finished | NoSolution:
        """Run a `uv pip compile` with the indexes of the project in `tree`. Raises ToolError."""
        return self._resolve(["pip", "compile", *map(str, words)], cwd=tree)

    def sync(
        self, tree: Path, venv: Path, words: Sequence[str], *, python: Path, sandbox: Sandbox | None = None
    ) -> None:
        """Install from the lock of `tree` into `venv`, which is made if it is not there, as `words` say.

        See `sync_arguments` and `only_groups_arguments`. Raises ToolError.
        """
        where = {"UV_PROJECT_ENVIRONMENT": str(venv)}
        finished = self._run([*words, "--python", str(python)], cwd=tree, variables=where, sandbox=sandbox)
        if not os.path.exists(venv / "bin" / "python"):
            message = f"{self.executable} sync left no environment at {venv}"
            raise ToolError(message, advice="Set `uv` to a working uv.", output=finished.output)

    def run(self, words: Sequence[str | Path], *, tree: Path = Path("/"), sandbox: Sandbox | None = None) -> str:
        """Return what any other command prints, for the project in `tree`. Raises ToolError."""
        return self._run(words, cwd=tree, sandbox=sandbox).stdout

    def find_python(self, project: Path, venv: Path | None, *, request: str | None) -> Path:
        """Return the interpreter that uv picks for `project`: that of `venv`, if it is of the kind wanted.

        `request` is what `--python` takes; without it, `.python-version` and requires-python decide. A release thus
        stays on the Python that is live as long as that is right. ToolError when there is none.
        """
        words = ["python", "find", "--no-python-downloads", *([request] if request else [])]
        if venv is not None and os.path.exists(venv / "bin" / "python"):
            finished = self._run(words, cwd=project, variables={"VIRTUAL_ENV": str(venv)})
        else:
            finished = self._run([*words, "--system"], cwd=project)  # one whose interpreter is gone would be an error
        found = Path(finished.stdout.strip())
        if not found.is_absolute() or not os.path.exists(found):
            raise self._nonsense(finished)
        return found

    def installed_pythons(self) -> tuple[Installed, ...]:
        """Return the interpreters that are there, nothing being downloaded. Raises ToolError.

        uv starts each of them that it has not seen before. Only CPython counts, in its usual build and in a finished
        version, as that is what locks are tested with.
        """
        from packaging.version import InvalidVersion, Version

        words = ["python", "list", "--only-installed", "--no-python-downloads", "--output-format", "json"]
        finished = self._run(words, cwd=Path("/"))
        found = []
        try:
            for one in json.loads(finished.stdout):
                usual = one["implementation"] == "cpython" and one.get("variant", "default") == "default"
                if usual and one["path"] and not Version(one["version"]).is_prerelease:
                    found.append(Installed(version=one["version"], path=one["path"]))
        except (ValueError, KeyError, TypeError, AttributeError, InvalidVersion) as error:
            raise self._nonsense(finished) from error
        return tuple(found)

    def python_version(self, python: Path) -> str:
        """Return the version of an interpreter; one that stays as it is is asked once in a run. Raises ToolError."""
        remembered = self.runner.remembered
        question = ("version", str(python), os.stat(python).st_mtime_ns if os.path.exists(python) else None)
        if question not in remembered:
            finished = self._run(["python", "find", "--show-version", str(python)], cwd=Path("/"))
            version = finished.stdout.strip()
            if not version[:1].isdigit() or len(version.split()) != 1:
                raise self._nonsense(finished)
            remembered[question] = version
        return remembered[question]

    def _resolve(self, words: Sequence[str], *, cwd: Path, timeout: float | None = None) -> Finished | NoSolution:
        try:
            done = self._run(words, cwd=cwd, timeout=timeout)
        except ToolError as error:
            _refuse_ignored_settings(error.output)
            if error.returncode != _NO_SOLUTION or error.timed_out:
                raise
            return NoSolution(output=error.output)
        _refuse_ignored_settings(done.output)
        return done

    def _run(
        self,
        words: Sequence[str | Path],
        *,
        cwd: Path,
        variables: Mapping[str, str] | None = None,
        timeout: float | None = None,
        sandbox: Sandbox | None = None,
    ) -> Finished:
        env = of_uv(self.runner.environ, cwd, passes=self.runner.passes)
        if words[0] == "python":  # uv starts what it finds there, and an activated venv may be that of the site
            outside = (one for one in env.get("PATH", "").split(":") if not os.path.lexists(f"{one}/../pyvenv.cfg"))
            env["PATH"] = ":".join(one for one in outside if not self.runner.distrust(os.path.dirname(one)))
        env |= variables or {}
        if sandbox is not None and sandbox.prefix:  # no build may write what others install from
            env |= {**dict(sandbox.variables), "UV_CACHE_DIR": os.path.join(dict(sandbox.variables)["TMPDIR"], "uv")}
        argv = [self.executable, "--no-progress", "--color", "never", *words]
        limit, prefix = self.timeout if timeout is None else timeout, sandbox.prefix if sandbox is not None else ()
        return self.runner.run(argv, cwd=cwd, env=env, timeout=limit, prefix=prefix)

    def _nonsense(self, finished: Finished) -> ToolError:
        asked = " ".join(finished.argv[4:])  # after --no-progress --color never
        message = f"{self.executable} {asked} printed {finished.stdout.strip()[:60]!r}, which is not uv's answer"
        return ToolError(message, advice="Set `uv` to a working uv, or install it: pip install uv.")
