"""Running programs from tests: in an environment that holds nothing of the developer's, and to their end."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from tests.support.forks import Fork, can_fork

# Coverage measures subprocesses through these.
_PASSING = ("COVERAGE_", "COV_CORE_")
_GIT_CONFIG = """\
[init]
	defaultBranch = main
[gc]
	auto = 0
[maintenance]
	auto = false
[receive]
	autogc = false
[advice]
	detachedHead = false
"""


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A program that ended."""

    returncode: int
    stdout: str
    stderr: str

    def __str__(self) -> str:
        return f"exit status {self.returncode}\n--- stdout\n{self.stdout}\n--- stderr\n{self.stderr}"


def run(
    argv: Sequence[str | Path],
    *,
    cwd: Path,
    env: Mapping[str, str],
    timeout: float = 120,
    input: str | None = None,  # noqa: A002 - the name that subprocess gives it
    check: int | None = None,
) -> Finished:
    """Run a program to its end; the test fails when it ends with another status than `check`.

    It gets a session of its own, hence no terminal to ask for a password on. After `timeout` seconds its
    whole process group is ended and the test fails.
    """
    words = [os.fspath(word) for word in argv]
    if input is None and can_fork(words, Path(sys.executable).with_name("releaser"), env):
        finished = _run_forked(words, cwd=cwd, env=env, timeout=timeout)
    else:
        finished = _run_started(words, cwd=cwd, env=env, timeout=timeout, text=input)
    if check is not None and finished.returncode != check:
        pytest.fail(f"{words} should have ended with status {check}\n{finished}")
    return finished


def _run_started(
    words: Sequence[str], *, cwd: Path, env: Mapping[str, str], timeout: float, text: str | None
) -> Finished:
    with subprocess.Popen(
        words,
        cwd=cwd,
        env=dict(env),
        stdin=subprocess.DEVNULL if text is None else subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
    ) as process:
        try:
            stdout, stderr = process.communicate(text, timeout=timeout)
        except BaseException as error:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            if isinstance(error, subprocess.TimeoutExpired):
                stdout, stderr = process.communicate()
                pytest.fail(f"{words} was still running after {timeout:g} s\n{stdout}\n{stderr}")
            raise
    return Finished(returncode=process.returncode, stdout=stdout, stderr=stderr)


@contextlib.contextmanager
def beside(
    words: Sequence[str | Path], *, cwd: Path, env: Mapping[str, str], stdin: int = subprocess.DEVNULL,
    output: int = subprocess.PIPE,
) -> Iterator[subprocess.Popen[str]]:  # fmt: skip
    """Start a program and go on at once; it is ended, if need be, at the end of the block."""
    with subprocess.Popen(
        words, cwd=cwd, env=env, stdin=stdin, stdout=output, stderr=output, text=True, start_new_session=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _run_forked(words: Sequence[str], *, cwd: Path, env: Mapping[str, str], timeout: float) -> Finished:
    ends_at = time.monotonic() + timeout
    stdout, stderr = _Pipe(), _Pipe()
    with open(os.devnull, "rb") as nothing, stdout.into, stderr.into:
        fork = Fork(words, cwd=cwd, env=env, files=[nothing.fileno(), stdout.into.fileno(), stderr.into.fileno()])
        try:
            printed = [pipe.read(ends_at) for pipe in (stdout, stderr)]
            status = fork.wait(max(ends_at - time.monotonic(), 0.01))
        except BaseException as error:
            fork.close()
            with contextlib.suppress(ProcessLookupError):
                os.killpg(fork.pid, signal.SIGKILL)
            if isinstance(error, TimeoutError):
                pytest.fail(f"{words} was still running after {timeout:g} s\n{stdout.text}\n{stderr.text}")
            raise
    return Finished(returncode=status, stdout=printed[0], stderr=printed[1])


class _Pipe:
    """A pipe that a thread reads to its end."""

    def __init__(self) -> None:
        self._out, into = os.pipe()
        self.into = open(into, "wb", buffering=0)  # noqa: SIM115 - closed by `read`
        self._parts: list[bytes] = []
        self._thread = threading.Thread(target=self._read_all, daemon=True)
        self._thread.start()

    def _read_all(self) -> None:
        with open(self._out, "rb", buffering=0) as file:
            self._parts.extend(iter(lambda: file.read(65536), b""))

    @property
    def text(self) -> str:
        """What was read so far."""
        return b"".join(self._parts).decode("utf-8", "replace").replace("\r\n", "\n")

    def read(self, ends_at: float) -> str:
        """Wait for the end, and return all; TimeoutError if it does not come in time."""
        self.into.close()
        self._thread.join(max(ends_at - time.monotonic(), 0.01))
        if self._thread.is_alive():
            raise TimeoutError
        return self.text


def clean_environment(home: Path, uv_cache: Path) -> dict[str, str]:
    """Return an environment made from nothing for a test's programs; `home` holds git's configuration."""
    home.mkdir(parents=True, exist_ok=True)
    git_config = home / "gitconfig"
    git_config.write_text(_GIT_CONFIG, encoding="utf-8")
    passing = {name: value for name, value in os.environ.items() if name.startswith(_PASSING)}
    return {
        **passing,
        "PATH": program_path(),
        "HOME": str(home),
        "LC_ALL": "C.UTF-8",
        "TMPDIR": os.environ.get("TMPDIR", "/tmp"),
        "UV_CACHE_DIR": str(uv_cache),
        "UV_PYTHON_DOWNLOADS": "never",
        "GIT_CONFIG_GLOBAL": str(git_config),
        "GIT_CONFIG_NOSYSTEM": "1",
    }


@cache
def program_path() -> str:
    """Return a PATH on which uv comes first, then the tests' interpreter, then git and the system.

    uv passes over interpreters of venvs, so the one that the tests' own venv was made from is named.
    """
    interpreter = Path(sys.executable).resolve().parent
    places = [uv_executable().parent, interpreter, git_executable().parent, Path("/usr/bin"), Path("/bin")]
    return os.pathsep.join(dict.fromkeys(str(place) for place in places))


@cache
def uv_executable() -> Path:
    """Find uv: beside the tests' interpreter, else on PATH."""
    beside = str(Path(sys.executable).parent)
    return _find("uv", os.pathsep.join([beside, os.environ.get("PATH", os.defpath)]))


@cache
def git_executable() -> Path:
    """Find git on PATH."""
    return _find("git", os.environ.get("PATH", os.defpath))


def console_script() -> Path:
    """Return the installed `releaser` command."""
    script = Path(sys.executable).with_name("releaser")
    if not script.exists():
        pytest.fail(f"{script} is missing: install releaser into the environment of the tests (pip install .)")
    return script


def _find(program: str, path: str) -> Path:
    found = shutil.which(program, path=path)
    if found is None:
        pytest.fail(f"{program} is needed to run this test and is not on PATH")
    return Path(found)
