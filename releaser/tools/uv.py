"""Drives uv: locking, building environments, exporting; and reads its output when it cannot install."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

from releaser.errors import ToolError, how_to_set, is_out_of_space
from releaser.system import common
from releaser.system.environment import find_program, of_uv
from releaser.system.expression import expression
from releaser.system.frozen import Frozen, Mutable, field
from releaser.system.process import NO_SANDBOX, in_new_sandbox
from releaser.system.temporary import temporary_directory
from releaser.tools.uv_credentials import for_uv_alone

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from releaser.system.process import Finished, Runner, Sandbox

_NO_SOLUTION = 1  # exit status of `uv lock`; 2 stands for an unreachable index, a broken file and the like
_NO_SYMLINK = "Permission denied (os error 13)"  # its message if it may make no symlink
_WRAPPED = expression(r"\n[ │]+")  # uv 0.12.0 wraps its messages after 80 columns
_VERSION = expression(r"uv (\d+(?:\.\d+)+\S*)")
_CACHE_ADVICE = "Let uv write its cache: give this user a writable home directory, or set `UV_CACHE_DIR`."
# With this warning, uv 0.12 and 0.13 continue without `[tool.uv]`. Files above the project are named by their whole
# path.
_IGNORED = "Failed to parse `pyproject.toml` during settings discovery"


class Locked(Frozen):
    """uv has made a lock; `output` says what changed in it, or would change."""

    output: str


class NoSolution(Frozen):
    """No versions are compatible, or one of them does not build: `output` is uv's explanation."""

    output: str


def _refuse_ignored_settings(output: str) -> None:
    """Raise ToolError if uv resolved without the project's settings, and so perhaps from another index."""
    if _IGNORED in output:
        message = "uv cannot read its settings in the project, and would ignore them"
        advice = "Correct [tool.uv] as uv's message says; keys that this version of uv does not know are errors, too."
        raise ToolError(message, advice, output=output.replace("warning: ", "error: ", 1))


def _is_about_cache(output: str, env: Mapping[str, str]) -> bool:
    """True if uv failed because it may not write to its cache."""
    above = env.get("XDG_CACHE_HOME") or os.path.join(env.get("HOME") or "/nowhere", ".cache")
    cache = env.get("UV_CACHE_DIR") or os.path.join(above, "uv")
    denied = (line for line in output.splitlines() if "Permission denied" in line)
    return "Failed to initialize cache" in output or any(f"{cache}/" in line for line in denied)


def find_uv(setting: str | None, *, environ: Mapping[str, str], project: Path) -> Path | None:
    """Find uv: by the setting, then on PATH, then the uv package installed with releaser; None if it is not found.

    A setting is a path, relative to the project, or a name on PATH. An activated venv and the project come last.
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


class Installed(Frozen):
    """An installed interpreter: its version and its path."""

    version: str
    path: str


class Spent(Mutable):
    """The time that the calls with one common limit have taken so far, in seconds."""

    seconds: float = 0.0


class LockBuilds(Frozen):
    """The way uv builds packages whose dependencies are unknown until they are built.

    `nothing` makes uv build none; None if that is impossible. `sandbox` returns, for a tree and an interpreter, the
    sandbox for builds, which keeps the lock that uv writes.
    """

    nothing: Sandbox | None
    sandbox: Callable[[Path, Path], AbstractContextManager[Sandbox]]


class Uv(Frozen):
    """A uv executable, and how to call it; `timeout` limits each call, in seconds.

    All calls that lock share the limit of one call: a slow index must not cost a multiple of it.
    """

    runner: Runner
    executable: Path
    timeout: float
    #: Additional environment variables of each call.
    variables: Mapping[str, str] = field(default_factory=dict)
    locking: Spent = field(default_factory=Spent)
    #: None if builds have no sandbox.
    lock_builds: LockBuilds | None = None

    def version(self) -> str:
        """Return uv's version; ToolError if this is not uv, or does not work."""

        def ask() -> str:
            finished = self._run(["--version"], cwd=Path("/"))
            found = _VERSION.match(finished.stdout)
            if found is None:
                raise self._nonsense(finished)
            return found.group(1)

        return common.ask_once(ask, *_about_version(self.executable))

    def lock(self, tree: Path, words: Sequence[str], *, python: Path) -> Locked | NoSolution:
        """Lock in `tree` with the arguments of `lock_arguments` or `pinned_lock_arguments`. Raises ToolError."""
        began = time.monotonic()
        left = max(self.timeout - self.locking.seconds, 0.0)
        try:
            locked = self._lock([*words, "--python", str(python)], tree, timeout=left)
            return locked if isinstance(locked, NoSolution) else Locked(output=locked.stderr)
        except ToolError as error:
            if not error.timed_out:
                raise
            message = f"uv was still running after {self.timeout:g} s in all and was ended"
            raise ToolError(message, timed_out=True, output=error.output) from error
        finally:
            self.locking.seconds += time.monotonic() - began

    def _lock(self, words: Sequence[str], tree: Path, *, timeout: float) -> Finished | NoSolution:
        """Lock without building anything; if that fails, in a sandbox, without uv's usual cache."""
        builds = self.lock_builds
        if builds is None:
            return self._resolve(words, cwd=tree, timeout=timeout)
        if builds.nothing is not None:
            try:
                resolved = self._resolve(words, cwd=tree, timeout=timeout, sandbox=builds.nothing)
            except ToolError as error:
                if _NO_SYMLINK not in _unwrapped(error.output):
                    raise
            else:
                if not isinstance(resolved, NoSolution) or _NO_SYMLINK not in _unwrapped(resolved.output):
                    return resolved
        python = Path(words[words.index("--python") + 1])  # each resolution has this option

        def resolve() -> Finished | NoSolution:
            with builds.sandbox(tree, python) as sandbox:
                return self._resolve(words, cwd=tree, timeout=timeout, sandbox=sandbox)

        return in_new_sandbox(resolve)

    def compile(self, tree: Path, *words: str | Path) -> Finished | NoSolution:
        """Run `uv pip compile` with the indexes of the project in `tree`. Raises ToolError."""
        return self._lock(["pip", "compile", *map(str, words)], tree, timeout=self.timeout)

    def sync(
        self, tree: Path, venv: Path, words: Sequence[str], *, python: Path, sandbox: Sandbox = NO_SANDBOX
    ) -> None:
        """Install from the lock of `tree` into `venv`, which is made if missing, with the arguments `words`.

        See `sync_arguments` and `only_groups_arguments`. Raises ToolError.
        """
        where = {"UV_PROJECT_ENVIRONMENT": str(venv)}
        finished = self._run([*words, "--python", str(python)], cwd=tree, variables=where, sandbox=sandbox)
        if not os.path.exists(venv / "bin" / "python"):
            message = f"{self.executable} sync left no environment at {venv}"
            raise ToolError(message, f"Install uv again, or {how_to_set('uv', '/path/to/uv')}.", output=finished.output)

    def run(self, words: Sequence[str | Path], *, tree: Path = Path("/"), sandbox: Sandbox = NO_SANDBOX) -> str:
        """Return the output of any other command, for the project in `tree`. Raises ToolError."""
        return self._run(words, cwd=tree, sandbox=sandbox).stdout

    def find_python(self, project: Path, venv: Path | None, *, request: str | None) -> Path:
        """Return the interpreter that uv picks for `project`: that of `venv`, if it fits.

        `request` is a value of `--python`; without it, `.python-version` and requires-python decide. So a release stays
        on the Python of the live release as long as that fits. ToolError if none is found.
        """
        words = ["python", "find", "--no-python-downloads", *([request] if request else [])]
        variables = {"UV_NO_CONFIG": "0"}  # with `UV_NO_CONFIG`, as for a bundle, uv would ignore `.python-version`
        if venv is not None and os.path.exists(venv / "bin" / "python"):
            variables["VIRTUAL_ENV"] = str(venv)
        else:
            words.append("--system")  # uv fails for a venv whose interpreter is gone
        finished = self._run(words, cwd=project, variables=variables)
        found = Path(finished.stdout.strip())
        if not found.is_absolute() or not os.path.exists(found):
            raise self._nonsense(finished)
        return found

    def installed_pythons(self) -> tuple[Installed, ...]:
        """Return the installed interpreters, without downloading any. Raises ToolError.

        uv starts each one that it has not seen before. Only the usual build of CPython in a final version counts, as
        locks are tested with that.
        """
        from packaging.version import InvalidVersion, Version

        words = ["python", "list", "--only-installed", "--no-python-downloads", "--output-format", "json"]
        finished = self._run(words, cwd=Path("/"))
        found = []
        try:
            for python in json.loads(finished.stdout):
                usual = python["implementation"] == "cpython" and python.get("variant", "default") == "default"
                if usual and python["path"] and not Version(python["version"]).is_prerelease:
                    found.append(Installed(version=python["version"], path=python["path"]))
        except (ValueError, KeyError, TypeError, AttributeError, InvalidVersion) as error:
            raise self._nonsense(finished) from error
        return tuple(found)

    def python_version(self, python: Path) -> str:
        """Return the version of an interpreter, asking once in a run unless the file changes. Raises ToolError."""
        remembered, question = self.runner.remembered, _about_version(python)

        def ask() -> str:
            finished = self._run(["python", "find", "--show-version", str(python)], cwd=Path("/"))
            version = finished.stdout.strip()
            if not version[:1].isdigit() or len(version.split()) != 1:
                raise self._nonsense(finished)
            return version

        if question not in remembered:
            remembered[question] = common.ask_once(ask, *question)
        return remembered[question]

    def remember_version(self, python: Path, version: str) -> None:
        """Use the version of an interpreter from an earlier run, if its file has not changed since."""
        self.runner.remembered.setdefault(_about_version(python), version)

    def _resolve(
        self, words: Sequence[str], *, cwd: Path, timeout: float | None = None, sandbox: Sandbox = NO_SANDBOX
    ) -> Finished | NoSolution:
        try:
            finished = self._run(words, cwd=cwd, timeout=timeout, sandbox=sandbox)
        except ToolError as error:
            _refuse_ignored_settings(error.output)
            if error.returncode != _NO_SOLUTION or error.timed_out:
                raise
            return NoSolution(output=error.output)
        _refuse_ignored_settings(finished.output)
        return finished

    def _run(
        self,
        words: Sequence[str | Path],
        *,
        cwd: Path,
        variables: Mapping[str, str] | None = None,
        timeout: float | None = None,
        sandbox: Sandbox = NO_SANDBOX,
    ) -> Finished:
        apart = bool(sandbox.outside)  # builds have their own temporary directory
        env = of_uv(self.runner.environ, cwd, passes=self.runner.passes, builds=apart)
        if words[0] == "python":  # uv starts the interpreters on PATH, and an activated venv may be that of the site
            outside = (word for word in env.get("PATH", "").split(":") if not os.path.lexists(f"{word}/../pyvenv.cfg"))
            env["PATH"] = ":".join(name for name in outside if not self.runner.distrust(os.path.dirname(name)))
        env |= {**self.variables, **(variables or {})}
        if apart:  # no build may write to the cache that others install from
            env |= {**dict(sandbox.variables), "UV_CACHE_DIR": os.path.join(dict(sandbox.variables)["TMPDIR"], "uv")}
        argv = [self.executable, "--no-progress", "--color", "never", *words]
        limit = self.timeout if timeout is None else timeout
        is_question = words[0] == "--version" or "find" in words[1:2]
        try:
            with contextlib.ExitStack() as stack:
                if not (is_question or apart):
                    env["TMPDIR"] = _make_temporary(stack)
                env, asked = stack.enter_context(for_uv_alone(env, cwd, sandbox))
                whole = words[0] == "export"  # other output is short, or may come from a build
                death_signal = None if is_question else signal.SIGKILL
                return self.runner.run(
                    argv, cwd=cwd, env=env, timeout=limit, sandbox=sandbox, input=asked, whole=whole,
                    death_signal=death_signal, in_background=True,
                )  # fmt: skip
        except ToolError as error:
            from releaser.tools.certificates import certificate_advice

            advice = _CACHE_ADVICE if _is_about_cache(error.output, env) else certificate_advice(error.output)
            if not advice:
                raise
            raise ToolError(
                error.message,
                returncode=error.returncode,
                timed_out=error.timed_out,
                advice=advice,
                output=error.output,
            ) from error

    def _nonsense(self, finished: Finished) -> ToolError:
        asked = " ".join(finished.argv[4:])  # after --no-progress --color never
        message = f"{self.executable} {asked} printed {finished.stdout.strip()[:60]!r}, which is not uv's answer"
        return ToolError(message, f"Run `pip install uv`, or {how_to_set('uv', '/path/to/uv')}.")


def _make_temporary(stack: contextlib.ExitStack) -> str:
    """Make a temporary directory for one call of uv. Raises ToolError.

    In a shared one, uv locks files with predictable names: another user who makes and locks them first makes uv wait
    for five minutes (uv 0.13.8, measured).
    """
    try:
        return str(stack.enter_context(temporary_directory()))
    except OSError as error:
        message = f"no temporary directory can be made: {error}"
        raise ToolError(message, "Check free space, and TMPDIR.") from error


def _about_version(python: Path) -> tuple[str, str, int | None]:
    return "version", str(python), os.stat(python).st_mtime_ns if os.path.exists(python) else None


_FAILED_BUILD = expression(r"Failed to (?:download and )?build `([^`=\s]+)==([^`\s]+)`")  # message of uv 0.13
_NOTHING_TO_INSTALL = expression(r"Distribution `([^`=\s]+)==([^`\s@]+)[^`]*` can't be installed")
_TO_BUILD = expression(r"Distribution `([^`=\s]+)[^`]*` can't be installed because it is marked as `--no-build`")
# uv's message if the package's own build fails, and not the network; a full disk may cause it, too.
_OWN_FAULT = "The build backend returned an error"


def _unwrapped(output: str) -> str:
    return _WRAPPED.sub(" ", output)


def failed_builds(output: str) -> tuple[tuple[str, str], ...]:
    """Return the packages, each with its version, that uv reports it cannot build, for any reason."""
    return tuple(dict.fromkeys(_FAILED_BUILD.findall(_unwrapped(output))))


def unbuildable_packages(output: str) -> tuple[tuple[str, str], ...]:
    """Return the packages, each with its version, whose own build failed."""
    return failed_builds(output) if backend_failed(output) else ()


def backend_failed(output: str) -> bool:
    """True if the code that builds a package failed."""
    return _OWN_FAULT in _unwrapped(output) and not is_out_of_space(_unwrapped(output))


def uninstallable_packages(output: str) -> tuple[str, ...]:
    """Return the packages, each with its version, that uv can neither build nor find a wheel for."""
    found = (*failed_builds(output), *_NOTHING_TO_INSTALL.findall(_unwrapped(output)))
    return tuple(dict.fromkeys(f"{name} {version}" for name, version in found))


def packages_to_build(output: str) -> tuple[str, ...]:
    """Return the packages that uv cannot install without a build, if it must not build any."""
    return tuple(dict.fromkeys(_TO_BUILD.findall(_unwrapped(output))))
