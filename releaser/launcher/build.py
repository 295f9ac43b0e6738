"""Builds the environment of releaser for the Python that runs this, from its wheels, without a network.

With `--if-needed`, it does so only if the environment does not run, or is for another Python. A lock keeps others out;
a crash leaves the environment as it was, or the new one.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import getpass
import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Iterator
from typing import NoReturn

REFUSED = 3  # the exit code of a failed preflight
GONE = "its Python is gone, so its environment must be rebuilt"
FAILED = "its environment cannot be built"
#: A file of a directory in which releaser is installed: the hashes of its wheels.
REQUIREMENTS = "requirements.txt"
_REINSTALL = "Install releaser again, as its guide says."
_LIMIT = 600  # seconds for each program
_EXCHANGE = 2  # RENAME_EXCHANGE, see renameat2(2)
_HERE = -100  # AT_FDCWD
# Of a plain venv; the marker of one comes last, so that a kill leaves the rest to the next build.
_VENV_FILES = ("include", "lib", "lib64", "share", "pyvenv.cfg")
# As the command line imports it: with compiled requirements.
_CHECK = "import releaser.commands"


class BuildError(Exception):
    """The environment cannot be built, and why; `advice` is the remedy."""

    def __init__(self, message: str, advice: str) -> None:
        super().__init__(message)
        self.advice = advice


def main() -> None:
    """Build the environment in the directory of this file."""
    home = os.path.dirname(os.path.abspath(__file__))
    try:
        rebuild(home, only_if_needed=sys.argv[1:] == ["--if-needed"])
    except BuildError as error:
        refuse(str(error), error.advice)
    except OSError as error:
        refuse(f"{FAILED}: {error}", f"Correct that, run `{_command(home)}`, then the same command again.")


def refuse(message: str, advice: str) -> NoReturn:
    """End with a message, and with the exit code for it."""
    print(f"releaser: {message}. Nothing was changed.\n{advice}", file=sys.stderr)
    sys.exit(REFUSED)


def rebuild(home: str, *, only_if_needed: bool) -> None:
    """Build the environment of an installation again. Raises BuildError and OSError."""
    if only_if_needed and runs(home):
        return
    if not os.access(home, os.W_OK):
        if os.statvfs(home).f_flag & os.ST_RDONLY:
            raise BuildError(
                f"{GONE}, but the file system of {home} is read-only",
                f"Make it writable (`findmnt --target {shlex.quote(home)}` shows it), and run `sudo {_command(home)}`.",
            )
        message = f"{GONE}, but {_user()} may not write to {home}"
        raise BuildError(message, f"Run `sudo {_command(home)}`, then the same command again.")
    with locked(home):
        if only_if_needed and runs(home):  # another process has built it
            return
        make_environment(home, os.path.join(home, REQUIREMENTS), os.path.join(home, "wheels"))
        put_in_place(home)
        clean(home)
    print(f"releaser: its environment was rebuilt for Python {sys.version.split()[0]}.", file=sys.stderr)


def runs(home: str) -> bool:
    """True if the environment of an installation runs releaser, and is for the Python that runs this."""
    venv = os.path.join(home, "venv")
    is_for_this = os.path.isdir(os.path.join(venv, "lib", f"python{sys.version_info[0]}.{sys.version_info[1]}"))
    return is_for_this and os.path.exists(os.path.join(venv, "stdlib")) and _imports(venv)


@contextlib.contextmanager
def locked(home: str) -> Iterator[None]:
    """Lock out other builds, and wait for them first; delete the leftovers of a killed one. Raises OSError."""
    descriptor = os.open(os.path.join(home, "lock"), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        shutil.rmtree(os.path.join(home, "new"), ignore_errors=True)
        try:
            yield
        finally:
            shutil.rmtree(os.path.join(home, "new"), ignore_errors=True)
    finally:
        os.close(descriptor)


def make_environment(home: str, requirements: str, wheels: str) -> None:
    """Make the environment in `new/venv`, and check that releaser starts in it. Raises BuildError and OSError."""
    os.umask(0o022)
    new = os.path.join(home, "new")
    os.makedirs(new, exist_ok=True)
    uv, venv = _unpack_uv(wheels, requirements, new), os.path.join(new, "venv")
    # By its own name: a link such as `python3` may lead to another version one day.
    _run(uv, "venv", "--relocatable", "--python", os.path.realpath(sys.executable), venv, cwd=new)
    words = ("--no-index", "--find-links", wheels, "--require-hashes", "--compile-bytecode", "--link-mode", "copy")
    _run(uv, "pip", "install", "--python", venv, *words, "--requirement", requirements, cwd=new)
    # A file of the package that Debian removes last of a Python.
    os.symlink(os.path.join(sysconfig.get_path("stdlib"), "asyncio", "__init__.py"), os.path.join(venv, "stdlib"))
    os.unlink(os.path.join(venv, ".lock"))  # of uv, and writable for all
    program = os.path.join(venv, "bin", "releaser")
    os.unlink(program)
    os.symlink(os.path.join(home, "bin", "releaser"), program)  # crontabs may name it
    if not _imports(venv):
        raise BuildError(f"{FAILED}: releaser does not start in it", _REINSTALL)
    _sync(new)


def put_in_place(home: str) -> None:
    """Put the new environment in place, in one step where the file system can do that. Raises OSError."""
    new, venv = os.path.join(home, "new", "venv"), os.path.join(home, "venv")
    if not os.path.lexists(venv):
        os.rename(new, venv)
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(_HERE, os.fsencode(new), _HERE, os.fsencode(venv), _EXCHANGE):
        os.rename(venv, os.path.join(home, "new", "old"))
        os.rename(new, venv)


def pins(requirements: str) -> frozenset[str]:
    """Return the hashes in the text of a requirements file."""
    return frozenset(word.partition("sha256:")[2] for word in requirements.split() if word.startswith("--hash=sha256:"))


def hash_of(path: str) -> str:
    """Return the SHA-256 of a file. Raises OSError."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def installed_wheels(home: str) -> list[str]:
    """Return the wheels that an installation was made of; empty without one. Raises OSError."""
    try:
        with open(os.path.join(home, REQUIREMENTS), encoding="utf-8") as file:
            hashes = pins(file.read())
        places = [os.path.join(home, "wheels", name) for name in sorted(os.listdir(os.path.join(home, "wheels")))]
    except FileNotFoundError:
        return []
    return [place for place in places if hash_of(place) in hashes]


def clean(home: str) -> None:
    """Delete wheels of earlier versions, and the venv of an earlier way of installing. Raises OSError.

    A kill may have kept an installation from this, so each build does it.
    """
    kept = {*map(os.path.basename, installed_wheels(home))}
    for name in set(os.listdir(os.path.join(home, "wheels"))) - kept:
        os.unlink(os.path.join(home, "wheels", name))
    share = os.path.join(home, "share")
    if os.path.lexists(os.path.join(home, "pyvenv.cfg")):
        for name in set(os.listdir(os.path.join(home, "bin"))) - {"releaser"}:
            os.unlink(os.path.join(home, "bin", name))
        for path in (os.path.join(home, name) for name in _VENV_FILES):
            if os.path.isdir(path) and not os.path.islink(path):
                shutil.rmtree(path)
            elif os.path.lexists(path):
                os.unlink(path)
    if not os.path.lexists(share):
        os.symlink(os.path.join("venv", "share"), share)


def _unpack_uv(wheels: str, requirements: str, place: str) -> str:
    """Unpack the program of uv from its wheel, and return its path. Raises BuildError and OSError."""
    with open(requirements, encoding="utf-8") as file:
        hashes = pins(file.read())
    for name in sorted(os.listdir(wheels)):
        wheel = os.path.join(wheels, name)
        if name.startswith("uv-") and hash_of(wheel) in hashes:
            break
    else:
        raise BuildError(f"{FAILED}: the wheel of uv in {wheels} is missing or damaged", _REINSTALL)
    uv = os.path.join(place, "uv")
    with zipfile.ZipFile(wheel) as archive:
        (inside,) = (one for one in archive.namelist() if one.endswith(".data/scripts/uv"))
        with archive.open(inside) as source, open(uv, "wb") as target:
            shutil.copyfileobj(source, target)
    os.chmod(uv, 0o755)
    return uv


def _run(uv: str, *words: str, cwd: str) -> None:
    """Run uv, without the settings of an administrator, such as an index. Raises BuildError."""
    environ = {"PATH": os.defpath, "UV_NO_CONFIG": "1", "UV_OFFLINE": "1", "UV_PYTHON_DOWNLOADS": "never"}
    environ["UV_CACHE_DIR"] = os.path.join(cwd, "cache")
    try:
        done = subprocess.run(
            [uv, "--quiet", *words], cwd=cwd, env=environ, check=False, timeout=_LIMIT, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", errors="replace",
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise BuildError(f"{FAILED}: uv took more than {_LIMIT} s", "Run the same command again.") from None
    if done.returncode:
        last = " ".join(done.stdout.split())[-600:]
        if any(os.strerror(number) in last for number in (errno.ENOSPC, errno.EDQUOT)):
            raise BuildError(f"{FAILED}: uv reports: {last}", "Free some space, then run the same command again.")
        raise BuildError(f"{FAILED}: uv reports: {last or done.returncode}", _REINSTALL)


def _imports(venv: str) -> bool:
    python = os.path.join(venv, "bin", "python")
    try:
        done = subprocess.run(
            [python, "-I", "-c", _CHECK], cwd="/", check=False, timeout=_LIMIT, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _sync(place: str) -> None:
    """Write the file system of a directory to disk: after a power cut, the new environment has its files."""
    descriptor = os.open(place, os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        ctypes.CDLL(None).syncfs(descriptor)
    finally:
        os.close(descriptor)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # it has no name
        return f"user {os.geteuid()}"


def _command(home: str) -> str:
    return shlex.quote(os.path.join(home, "build"))


if __name__ == "__main__":
    main()
