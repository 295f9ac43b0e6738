"""Runs programs from tests, in an environment that holds nothing of the developer's, and to their end."""

import contextlib
import grp
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path

import pytest
from filelock import FileLock
from packaging.requirements import Requirement

HOUSE = Path(__file__).parents[2]
GIT_CONFIG = (
    "[init]\n\tdefaultBranch = main\n[user]\n\tname = Grace\n\temail = grace@example.org\n"
    "[gc]\n\tauto = 0\n[maintenance]\n\tauto = false\n[receive]\n\tautogc = false\n[advice]\n\tdetachedHead = false\n"
)


@dataclass(frozen=True, kw_only=True)
class Finished:
    """The exit code and the output of a program that ended."""

    returncode: int
    stdout: str
    stderr: str

    def __str__(self) -> str:
        return f"exit code {self.returncode}\n--- stdout\n{self.stdout}\n--- stderr\n{self.stderr}"


def run(
    words: Sequence[str | Path],
    *,
    cwd: Path,
    env: Mapping[str, str],
    timeout: float = 120,
    check: int | None = None,
    input: str | None = None,
) -> Finished:
    """Run a program to its end; fail the test if its exit code is not `check`.

    The program gets a session of its own. After `timeout` seconds its process group is killed, and the test fails.
    """
    shown = " ".join(str(word) for word in words if "\n" not in str(word))
    with started(words, cwd=cwd, env=env, stdin=subprocess.DEVNULL if input is None else subprocess.PIPE) as process:
        try:
            stdout, stderr = process.communicate(input, timeout=timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            stdout, stderr = process.communicate()
            pytest.fail(f"{shown} was still running after {timeout:g} s\n{stdout}\n{stderr}")
    finished = Finished(returncode=process.returncode, stdout=stdout, stderr=stderr)
    if check is not None and finished.returncode != check:
        pytest.fail(f"{shown} should have ended with {check}\n{finished}")
    return finished


def require(condition: object, reason: str) -> None:
    """Skip the test, with the reason, unless the condition holds; under CI, where it has to hold, fail."""
    if condition:
        return
    if os.environ.get("CI"):
        pytest.fail(f"CI has to run this test: {reason}")
    pytest.skip(reason)


def find_python(series: str) -> Path:
    """Return an interpreter of a series such as `3.8`; without one the test is skipped, under CI it fails."""
    python = next(Path.home().glob(f".pyenv/versions/{series}.*/bin/python3"), None) or shutil.which(f"python{series}")
    require(python, f"there is no Python {series}")
    return Path(str(python))


@contextlib.contextmanager
def started(
    words: Sequence[str | Path], *, cwd: Path, env: Mapping[str, str], stdin: int = subprocess.DEVNULL
) -> Iterator[subprocess.Popen[str]]:
    """Start a program in a session of its own; its process group is killed at the end of the block if it still runs."""
    process = subprocess.Popen(
        [os.fspath(word) for word in words],
        cwd=cwd,
        env=dict(env),
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
    )
    with process:
        try:
            yield process
        finally:
            if process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)


@cache
def uv_executable() -> Path:
    """Return uv beside the tests' interpreter, else on PATH."""
    return _executable("uv", os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]))


@cache
def git_executable() -> Path:
    """Return git on PATH."""
    return _executable("git", os.environ.get("PATH", os.defpath))


def _executable(program: str, path: str) -> Path:
    executable = shutil.which(program, path=path)
    if executable is None:
        pytest.fail(f"{program} is needed to run this test and is not on PATH")
    return Path(executable)


@cache
def releaser_command() -> tuple[str, ...]:
    """Return the installed `releaser` of the tests' venv, or, if there is none, its module in this directory."""
    script = Path(sys.executable).with_name("releaser")
    if script.exists():
        return (str(script),)
    return (sys.executable, "-P", "-c", f"import sys\nsys.path[:0] = [{str(HOUSE)!r}]\n{_START}")


_START = "sys.argv[0] = 'releaser'\nfrom releaser.cli import main\nsys.exit(main())\n"


@dataclass(frozen=True, kw_only=True)
class Identity:
    """A user for programs, by numbers that need no name in /etc/passwd, and the directory of programs for the user."""

    user: int
    group: int
    programs: Path
    #: Another group that the user is in.
    shared_group: int | None = None

    @property
    def prefix(self) -> tuple[str, ...]:
        """The words before a command that is to run as this user."""
        groups = "--clear-groups" if self.shared_group is None else f"--groups={self.shared_group}"
        return ("setpriv", f"--reuid={self.user}", f"--regid={self.group}", groups, "--")

    def own(self, *directories: Path) -> None:
        """Give directories, with everything in them, to this user."""
        for directory in directories:
            subprocess.run(["chown", "-hR", f"{self.user}:{self.group}", directory], check=True)


def reachable_python() -> Path:
    """Return an interpreter that every user may start: the base of the tests' venv if possible, else the system's."""
    interpreter = Path(sys.executable).resolve()
    if all(place.stat().st_mode & stat.S_IXOTH for place in (interpreter, *interpreter.parents)):
        return interpreter
    return Path(f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}")


def copy_for_every_user(place: Path) -> None:
    """Copy releaser, its dependencies and uv below `place`, where users can start what the tests' venv may hide."""
    library, programs = place / "lib", place / "bin"
    shutil.copytree(HOUSE / "releaser", library / "releaser", ignore=shutil.ignore_patterns("__pycache__"))
    project = tomllib.loads((HOUSE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for name in _all_needed(project["dependencies"]):
        for file in metadata.files(name) or ():
            if ".." not in file.parts and "__pycache__" not in file.parts:
                target = library / file
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(str(file.locate()), target)
    programs.mkdir()
    shutil.copy(uv_executable(), programs / "uv")
    script = programs / "releaser"
    script.write_text(f"#!{reachable_python()} -P\nimport sys\nsys.path[:0] = [{str(library)!r}]\n{_START}", "utf-8")
    script.chmod(0o755)
    # Else each start of a user, who may not write here, compiles all of it.
    subprocess.run([reachable_python(), "-m", "compileall", "-q", library], check=True)
    subprocess.run(["chmod", "-R", "go+rX", place], check=True)


def _all_needed(requirements: Sequence[str]) -> set[str]:
    needed = [Requirement(line) for line in requirements]
    names = {entry.name for entry in needed if entry.marker is None or entry.marker.evaluate({"extra": ""})}
    return names.union(*(_all_needed(metadata.requires(name) or ()) for name in names))


def clean_environment(home: Path, uv_cache: Path, programs: Path | None = None) -> dict[str, str]:
    """Return an environment for a test's programs; `home` gets git's configuration, `programs` come first on PATH."""
    home.mkdir(parents=True, exist_ok=True)
    git_config = home / ".gitconfig"
    git_config.write_text(GIT_CONFIG, encoding="utf-8")
    # uv passes over interpreters of venvs, so the interpreter below the tests' venv is named.
    own_places = [uv_executable().parent, Path(sys.executable).resolve().parent]
    places = [*([programs] if programs else own_places), git_executable().parent, "/usr/bin", "/bin"]
    return {
        "PATH": os.pathsep.join(dict.fromkeys(map(str, places))),
        "HOME": str(home),
        "LC_ALL": "C.UTF-8",
        "TMPDIR": os.environ.get("TMPDIR", "/tmp"),
        "UV_CACHE_DIR": str(uv_cache),
        "UV_PYTHON_DOWNLOADS": "never",
        "GIT_CONFIG_GLOBAL": str(git_config),
        "GIT_CONFIG_NOSYSTEM": "1",
    }


@contextlib.contextmanager
def named_users(programs: Path, *names: str) -> Iterator[list[Identity]]:
    """Make users with a group of their own each, and one group that they share; root alone can."""
    prefix = f"t{os.getpid()}"
    made: list[str] = []
    with FileLock(Path(tempfile.gettempdir(), "releaser-test-users.lock")):
        subprocess.run(["groupadd", f"{prefix}site"], check=True)
        for name in names:
            made.append(f"{prefix}{name}")
            words = ["useradd", "--no-create-home", "--user-group", "--groups", f"{prefix}site", made[-1]]
            subprocess.run(words, check=True, capture_output=True)
    shared = grp.getgrnam(f"{prefix}site").gr_gid
    try:
        users = [pwd.getpwnam(name) for name in made]
        yield [Identity(user=user.pw_uid, group=user.pw_gid, programs=programs, shared_group=shared) for user in users]
    finally:
        with FileLock(Path(tempfile.gettempdir(), "releaser-test-users.lock")):
            for name in made:
                subprocess.run(["userdel", name], check=False, capture_output=True)
            subprocess.run(["groupdel", f"{prefix}site"], check=False, capture_output=True)
