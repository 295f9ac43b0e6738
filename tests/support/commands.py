"""Running programs from tests: in an environment that holds nothing of the developer's, and to their end."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# Coverage measures subprocesses through these.
_PASSING = ("COVERAGE_", "COV_CORE_")
_GIT_CONFIG = """\
[init]
	defaultBranch = main
[gc]
	auto = 0
[maintenance]
	auto = false
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
    with subprocess.Popen(
        words,
        cwd=cwd,
        env=dict(env),
        stdin=subprocess.DEVNULL if input is None else subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
    ) as process:
        try:
            stdout, stderr = process.communicate(input, timeout=timeout)
        except BaseException as error:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            if isinstance(error, subprocess.TimeoutExpired):
                stdout, stderr = process.communicate()
                pytest.fail(f"{words} was still running after {timeout:g} s\n{stdout}\n{stderr}")
            raise
    finished = Finished(returncode=process.returncode, stdout=stdout, stderr=stderr)
    if check is not None and finished.returncode != check:
        pytest.fail(f"{words} should have ended with status {check}\n{finished}")
    return finished


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
