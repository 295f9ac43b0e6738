"""Starts NAME: the first start makes an environment for it; from then on this file becomes NAME at once.

`releaser bootstrap` wrote this file. It needs only Python 3.8 or newer. Edit the functions `starting`, `succeeded`,
`failed` and `main` as you like.
"""

import sys

if __name__ == "__main__" and not (sys.flags.isolated or getattr(sys.flags, "safe_path", False)):
    del sys.path[0]  # other users may have put modules next to this file; they are not imported

import contextlib
import fcntl
import glob
import grp
import json
import os
import pwd
import re
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from typing import Iterator, List, NoReturn

# The options of `releaser bootstrap`
NAME = "app"
REQUIREMENTS = ["app"]
COMMAND = ["app"]
INDEX = ""
FIND_LINKS: List[str] = []
STATE = ""
REFRESH = "daily"
WAIT = "5s"
TEST = ["python", "-c", "pass"]
MIN_AGE = 3.0  # least days since the upload of a version, for the first start; needs uv and an index that gives times
BUILD = False  # whether the first start may run code of packages, to build them
FIRST_LIMIT = 900.0  # seconds for the first start to make the environment
ADOPTION_LIMIT = 30.0  # seconds for releaser to adopt the environment
RELEASER_LIMIT = 5.0  # seconds for releaser to show that it can start programs


# What you may edit


def starting() -> None:
    """Report, before anything is downloaded, that the environment will be made. Called only if it does not exist."""
    print(f"{NAME}: creating its environment; this happens only once.", file=sys.stderr)


def succeeded() -> None:
    """Do something once the environment exists, in the start that made it."""


def failed(reason: str) -> int:
    """Report that the environment could not be made, and return the exit status; the next start tries again."""
    print(f"{NAME}: its environment could not be created.\n{reason}", file=sys.stderr)
    return 1


def main(venv: str, arguments: List[str]) -> int:
    """Become the application, with these arguments; return an exit status if you do something else instead."""
    become(venv, arguments)


# How it is done


class _FailedError(Exception):
    """The environment could not be created."""


_GUARD = "_RELEASER_STARTER"  # the id of the process that became the application
_MADE = ".releaser-starter"  # a file in each directory that a start makes
_SECRET = re.compile("PASSWORD|PASSPHRASE|SECRET|TOKEN|KEY|SSH_AUTH_SOCK")  # in names of variables
_CONTROL = re.compile("\x1b(?:\\][^\x07\x1b]*(?:\x07|\x1b\\\\)?|\\[[0-?]*[ -/]*[@-~]|.)?|[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_ENDING = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


def state() -> str:
    """Return the directory for all files that this file makes."""
    return os.path.realpath(_state_as_written())


def _state_as_written() -> str:
    data = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return os.path.abspath(_from_here(STATE or os.path.join(data, "releaser-environments", NAME)))


def _from_here(path: str) -> str:
    """Return a path, relative to the directory of this file, as an absolute path."""
    return os.path.join(os.path.dirname(os.path.realpath(__file__)), os.path.expanduser(path))


def project() -> str:
    """Return the directory of the project that describes the environment, which releaser can keep up to date."""
    return os.path.join(state(), NAME)


def become(venv: str, arguments: List[str]) -> NoReturn:
    """Replace this process by the application; if releaser is installed, through releaser, which looks for updates."""
    words = [*(["python"] if COMMAND[0] == "-m" else []), *COMMAND, *arguments]
    env = {name: value for name, value in os.environ.items() if name not in ("PYTHONHOME", "VIRTUAL_ENV")}
    env.update({_GUARD: str(os.getpid())})
    releaser = _find_releaser(venv)
    if releaser and _is_adopted() and _works(releaser, env):
        where = ["--project", project(), "--refresh", REFRESH, "--wait", WAIT]
        with contextlib.suppress(OSError):
            os.execve(releaser, [releaser, "exec", *where, "--", *words], env)
    path = [word for word in env.get("PATH", os.defpath).split(os.pathsep) if os.path.isabs(word)]
    env.update({"VIRTUAL_ENV": venv, "PATH": os.pathsep.join([f"{venv}/bin", *path])})
    program = os.path.join(venv, "bin", words[0])
    if not os.path.exists(program):
        sys.exit(f"{NAME}: {program} does not exist; correct COMMAND in {os.path.abspath(__file__)}.")
    os.execve(program, [program, *words[1:]], env)


def _find_releaser(venv: str) -> "str | None":
    path = [word for word in os.environ.get("PATH", os.defpath).split(os.pathsep) if os.path.isabs(word)]
    return shutil.which("releaser", path=os.pathsep.join([*path, os.path.join(venv, "bin")]))


def _works(releaser: str, env: "dict[str, str]") -> bool:
    """True if releaser starts programs here, or has reasons to refuse that, which it will report."""
    words = [releaser, "exec", "--project", project(), "--", "/bin/sh", "-c", ":"]
    none = subprocess.DEVNULL
    try:
        status = subprocess.call(words, env=env, stdin=none, stdout=none, stderr=none, timeout=RELEASER_LIMIT)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return status == 0 or 2 < status < 64  # 1: an import failed; 2: an older releaser without `exec`


def _is_adopted() -> bool:
    """True if the environment is a release, which releaser keeps up to date."""
    try:
        link = os.path.normpath(os.path.join(project(), os.readlink(os.path.join(project(), ".venv"))))
    except OSError:
        return False
    return os.path.dirname(os.path.dirname(link)) == os.path.join(state(), ".releaser", NAME, "releases")


def _adopt(venv: str) -> None:
    """Let releaser, if it is installed, adopt the environment; after a failure, the next try is a day later."""
    releaser, tried = _find_releaser(venv), os.path.join(state(), ".adopted")
    with contextlib.suppress(OSError):
        if not releaser or _is_adopted() or time.time() - os.stat(tried).st_mtime < 86400:
            return
    if releaser and os.path.exists(os.path.join(project(), "uv.lock")):
        with contextlib.suppress(OSError, _FailedError):
            with open(tried, "w", encoding="utf-8"):
                os.utime(tried)
            _run([releaser, "init", "--quiet", "--project", project()], state(), time.monotonic() + ADOPTION_LIMIT, {})


def find_venv() -> str:
    """Return the environment, without symlinks, so that it stays the same for this process; empty without one."""
    venv = os.path.realpath(os.path.join(project(), ".venv"))
    return venv if os.path.exists(os.path.join(venv, "bin", "python")) else ""


@contextlib.contextmanager
def _locked(deadline: float) -> Iterator[None]:
    """Let one process at a time make the environment; the kernel unlocks it when that process ends in any way."""
    with open(os.path.join(state(), ".starting"), "w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise _FailedError(f"Another start has been creating it for {FIRST_LIMIT:g} s.") from None
                time.sleep(0.1)
        yield


def _make_first(deadline: float) -> None:
    """Make the environment; it exists only once the symlink points to it."""
    top = state()
    releases = glob.escape(os.path.join(top, ".releaser", NAME, "releases"))
    links = [os.path.join(project(), ".venv"), *glob.glob(os.path.join(releases, "*", "venv"))]
    kept = {os.path.dirname(os.path.realpath(link)) for link in links}
    for name in os.listdir(top):
        if name.startswith("first-") and os.path.join(top, name) not in kept:
            _delete_own(os.path.join(top, name))  # left by a killed start
    place = tempfile.mkdtemp(prefix="first-", dir=top)
    try:
        os.mknod(os.path.join(place, _MADE), 0o600)
        for name in ("pyproject.toml", "uv.lock"):  # left by an environment that no longer works
            with contextlib.suppress(FileNotFoundError):
                shutil.copyfile(os.path.join(project(), name), os.path.join(place, name))
        if not os.path.exists(os.path.join(place, "pyproject.toml")):
            with open(os.path.join(place, "pyproject.toml"), "w", encoding="utf-8") as file:
                file.write(_pyproject())
        uv = shutil.which("uv")
        if uv:
            _install_by_uv(uv, place, deadline)
        else:
            _install_by_pip(place, deadline)
        os.sync()
        os.makedirs(project(), exist_ok=True)
        for name in ("pyproject.toml", "uv.lock"):
            if os.path.exists(os.path.join(place, name)):
                os.replace(os.path.join(place, name), os.path.join(project(), name))
        os.symlink(os.path.join(place, "venv"), os.path.join(place, "link"))
        os.replace(os.path.join(place, "link"), os.path.join(project(), ".venv"))
    except BaseException:
        if os.path.realpath(links[0]) != os.path.realpath(os.path.join(place, "venv")):  # a signal may arrive this late
            shutil.rmtree(place, ignore_errors=True)
        raise


def _delete_own(directory: str) -> None:
    """Delete a directory that a start has made, and report the deletion; other directories stay."""
    if os.path.islink(directory) or os.lstat(directory).st_uid != os.geteuid():
        return
    with contextlib.suppress(OSError):
        if os.path.lexists(os.path.join(directory, _MADE)):
            print(f"{NAME}: deleting {directory}, which an earlier start left behind.", file=sys.stderr)
            shutil.rmtree(directory, ignore_errors=True)
        else:
            os.rmdir(directory)  # left empty by a failed start; any other directory is not empty


def _pyproject() -> str:
    """Return the environment as a project that uv locks, and that releaser can keep up to date."""
    return "\n".join([
        "[project]",
        f"name = {json.dumps(re.sub('[^A-Za-z0-9]+', '-', NAME).strip('-') + '-environment')}",
        'version = "0"',
        f'requires-python = ">={sys.version_info[0]}.{sys.version_info[1]}"',
        f"dependencies = {json.dumps(REQUIREMENTS)}",
        "[tool.uv]",
        "package = false",
        f"find-links = {json.dumps([os.path.normpath(_from_here(link)) for link in FIND_LINKS])}",
        *(["no-index = true"] if INDEX == "none" else [f"index-url = {json.dumps(INDEX)}"] if INDEX else []),
        "[tool.releaser]",
        f"test_command = {json.dumps(TEST)}", ""
    ])  # fmt: skip


def _install_by_uv(uv: str, place: str, deadline: float) -> None:
    env = {"UV_PROJECT_ENVIRONMENT": os.path.join(place, "venv"), "UV_LINK_MODE": "copy"}
    words = ["--no-progress", "--color", "never", "--project", place, "--python", sys.executable]
    words += [] if BUILD else ["--no-build"]
    if not os.path.exists(os.path.join(place, "uv.lock")):
        limit = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - MIN_AGE * 86400))
        try:
            _run([uv, "lock", *words, "--exclude-newer", limit], place, deadline, env)
        except _FailedError as error:
            if "upload date" not in str(error):  # the index does not give it
                rules = f"MIN_AGE = {MIN_AGE:g} (days) and BUILD = {BUILD} in {os.path.abspath(__file__)}"
                raise _FailedError(f"{error}\n{rules} limit the versions that it may install.") from None
        _run([uv, "lock", *words], place, deadline, env)  # the lock loses the limit and keeps the versions
    _run([uv, "sync", "--frozen", *words], place, deadline, env)


def _install_by_pip(place: str, deadline: float) -> None:
    _run([sys.executable, "-m", "venv", os.path.join(place, "venv")], place, deadline, {})
    words = ["--no-input", "--disable-pip-version-check", "--quiet", *([] if BUILD else ["--only-binary=:all:"])]
    words += ["--no-index"] if INDEX == "none" else ["--index-url", INDEX] if INDEX else []
    words += [f"--find-links={os.path.normpath(_from_here(link))}" for link in FIND_LINKS]
    _run([os.path.join(place, "venv/bin/python"), "-m", "pip", "install", *words, *REQUIREMENTS], place, deadline, {})


def _run(words: List[str], place: str, deadline: float, more: "dict[str, str]") -> None:
    """Run a program until it ends or the time is up; then all processes that it started are ended, too."""
    own = ("UV_", "PIP_", "RELEASER_") if os.path.basename(words[0]) == "releaser" else ("UV_", "PIP_")
    keys = any("git+ssh" in requirement for requirement in REQUIREMENTS)
    env = {
        name: value
        for name, value in os.environ.items()
        if name not in ("PYTHONHOME", "VIRTUAL_ENV", "PYTHONPATH")
        and (name.startswith(own) or (keys and name == "SSH_AUTH_SOCK") or not _SECRET.search(name))
    }
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)  # until the process to end is known
    try:
        process = subprocess.Popen(
            words, cwd=place, env={**env, **more}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, start_new_session=True,
            preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_SETMASK, before),
        )  # fmt: skip
        try:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            output = process.communicate(timeout=max(deadline - time.monotonic(), 0.1))[0]
        except BaseException as error:
            with contextlib.suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
            raise _FailedError(f"{words[0]} was stopped: it ran for longer than {FIRST_LIMIT:g} s in all.") from None
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    if process.returncode:
        output_text = _CONTROL.sub("", output.decode("utf-8", "replace"))
        raise _FailedError(output_text[-4000:].strip() or f"{words[0]} failed.")


@contextlib.contextmanager
def _clearing_up() -> Iterator[None]:
    """Make SIGTERM and SIGHUP clean up as SIGINT does, unless they are ignored, as by nohup."""
    own = [number for number in _ENDING if signal.getsignal(number) is signal.SIG_DFL]
    try:
        for package in own:
            signal.signal(package, lambda number, _: sys.exit(128 + number))
        yield
    finally:
        for one in own:
            signal.signal(one, signal.SIG_DFL)


def _refuse_others() -> None:
    """Refuse to start if users other than this one and root could change or replace the started files."""
    link = os.path.join(project(), ".venv")
    venv = os.path.realpath(link)
    for path in (_state_as_written(), state(), project(), link, venv, os.path.join(venv, "bin")):
        for place in _way_to(path):
            with contextlib.suppress(FileNotFoundError):
                if _is_open(os.lstat(place)):
                    message = (
                        f"{place} belongs to another user, or others can write to it: run `chmod go-w {place}`, or"
                    )
                    where = f"STATE in {os.path.abspath(__file__)} to a directory in which only you can write"
                    raise _FailedError(f"{message} set {where}.")


def _way_to(path: str, links: int = 40) -> Iterator[str]:
    """Yield each directory and symlink on the way of a path, and the path."""
    above = os.path.dirname(path)
    if above != path:
        yield from _way_to(above, links)
    yield path
    if links and os.path.islink(path):
        yield from _way_to(os.path.normpath(os.path.join(os.path.realpath(above), os.readlink(path))), links - 1)


def _is_open(found: os.stat_result) -> bool:
    """True if users other than this one and root could change a place, or replace files in it."""
    if found.st_uid not in (0, os.geteuid()):
        return True
    if stat.S_ISLNK(found.st_mode) or (stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_ISVTX):
        return False  # in a directory with the sticky bit, such as /tmp, other users cannot replace these files
    if found.st_mode & stat.S_IWOTH:
        return True
    return bool(found.st_mode & stat.S_IWGRP) and found.st_gid != 0 and not _is_own_group(found.st_gid)


def _is_own_group(number: int) -> bool:
    """True if a group is the one that useradd makes for this user alone, who lets it write by default."""
    try:
        name, group = pwd.getpwuid(os.geteuid()).pw_name, grp.getgrgid(number)
    except KeyError:
        return False
    return group.gr_name == name and not set(group.gr_mem) - {name}


def start(arguments: List[str]) -> int:
    """Make the environment if it does not exist, and become the application."""
    if os.environ.get(_GUARD) == str(os.getpid()):
        print(f"{NAME}: COMMAND leads back to {os.path.abspath(__file__)}, so nothing would start.", file=sys.stderr)
        return 70
    try:
        _refuse_others()
        venv = find_venv()
        if not venv:
            deadline = time.monotonic() + FIRST_LIMIT
            os.makedirs(state(), mode=0o700, exist_ok=True)
            _refuse_others()  # another user may have made it meanwhile
            with _locked(deadline):
                if not find_venv():
                    starting()
                    with _clearing_up():
                        _make_first(deadline)
                    succeeded()
            venv = find_venv()
            _refuse_others()
    except (_FailedError, OSError) as error:
        return failed(str(error))
    if not venv:
        return failed(f"The environment in {state()} does not work; delete it, and start again.")
    _adopt(venv)
    return main(find_venv() or venv, arguments)


if __name__ == "__main__":
    try:
        sys.exit(start(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
