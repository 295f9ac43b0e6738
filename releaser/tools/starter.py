"""Starts NAME: the first start makes an environment for it; from then on this file becomes NAME at once.

`releaser bootstrap` wrote this file. It needs only Python 3.8 or newer. Edit the functions `starting`, `succeeded`,
`failed` and `main` as you like.
"""

import sys

if __name__ == "__main__" and not (sys.flags.isolated or getattr(sys.flags, "safe_path", False)):
    del sys.path[0]  # other users may have put modules next to this file; they are not imported

import _signal  # type: ignore[import-not-found]  # quicker to import than `signal`, which wraps it
import fcntl
import os
import stat
import time

TYPE_CHECKING = False  # each start waits for imports, so functions that few starts call import the rest
if TYPE_CHECKING:
    from typing import Callable, Iterator, NoReturn, TextIO

# The options of `releaser bootstrap`
NAME = "app"
REQUIREMENTS = ["app"]
COMMAND = ["app"]
INDEX = ""
FIND_LINKS: "list[str]" = []
SOURCES: "list[str]" = []  # places in S3, with credentials as boto3 finds them
STATE = ""
REFRESH = "daily"
WAIT = "5s"
TEST = ["python", "-c", "pass"]
MIN_AGE = 3.0  # least days since the upload of a version, for the first start; needs uv and an index that gives times
BUILD = False  # whether the first start may run code of packages, to build them
FIRST_LIMIT = 900.0  # seconds for the first start to make the environment
ADOPTION_LIMIT = 30.0  # seconds for releaser to adopt the environment
RELEASER_LIMIT = 5.0  # seconds for releaser to answer, in addition to WAIT


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


def main(venv: str, arguments: "list[str]") -> int:
    """Become the application, with these arguments; return an exit status if you do something else instead."""
    become(venv, arguments)


# How it is done


class _FailedError(Exception):
    """The environment could not be created."""


_GUARD = "_RELEASER_STARTER"  # the id of the process that became the application
_MADE = ".releaser-starter"  # a file in each directory that a start makes
_SECRET = "PASSWORD|PASSPHRASE|SECRET|TOKEN|KEY|SSH_AUTH_SOCK"  # noqa: S105 - in names of variables
_CONTROL = "\x1b(?:\\][^\x07\x1b]*(?:\x07|\x1b\\\\)?|\\[[0-?]*[ -/]*[@-~]|.)?|[\x00-\x08\x0b-\x1f\x7f-\x9f]"
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_RETRY = 3600.0  # seconds until a releaser that did not answer is asked again for updates
# Variables that lead a program to another environment or repository
_PYTHON_VARIABLES = ["PYTHONHOME", "PYTHONSTARTUP", "VIRTUAL_ENV", "VIRTUAL_ENV_PROMPT", "CONDA_PREFIX"]
_GIT_VARIABLES = ["DIR", "WORK_TREE", "INDEX_FILE", "OBJECT_DIRECTORY", "COMMON_DIR", "NAMESPACE", "PREFIX"]
_LOOKER = "_RELEASER_LOOKED"  # the id of the process with which releaser has looked for updates
_MISLEADING = {_LOOKER, *_PYTHON_VARIABLES, *("GIT_" + name for name in _GIT_VARIABLES)}
_SHELL_VARIABLES = ("_", "PWD", "OLDPWD", "SHLVL")  # which releaser changes where a shell starts it
# Variables of uv that only say how to reach and store things
_UV_VARIABLES = [
    "CACHE_DIR", "CREDENTIALS_DIR", "PYTHON_DOWNLOADS", "PYTHON_INSTALL_DIR", "PYTHON_CACHE_DIR", "NATIVE_TLS",
    "SYSTEM_CERTS", "KEYRING_PROVIDER", "GITHUB_TOKEN", "OFFLINE", "LOCK_TIMEOUT", "REQUEST_TIMEOUT",
]  # fmt: skip
_PASSING = {"UV_" + name for name in _UV_VARIABLES}


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


def become(venv: str, arguments: "list[str]") -> "NoReturn":
    """Replace this process by the application. If releaser is installed, it first looks for updates when they are due.

    releaser never becomes this process, so that no fault of it keeps the application from starting. It also says
    whether a release may start. Its answer holds until a file that it depends on changes.
    """
    words = [*(["python"] if COMMAND[0] == "-m" else []), *COMMAND, *arguments]
    env = _environment(venv)
    if _is_adopted() and not (_needs_no_look() and _read(_VOUCHED) == (_fingerprint(venv) or "unknown")):
        before, answer = _fingerprint(venv), _ask_releaser(venv)
        place = answer.get("VIRTUAL_ENV", "")
        venv = os.path.realpath(place) if place else find_venv() or venv
        env = _environment(venv)
        if place and answer != _environment(place):
            env = answer  # the settings of the project add variables, which only releaser reads
        elif place and before and before == _fingerprint(venv):
            _write(_VOUCHED, before)
    env[_GUARD] = str(os.getpid())
    program = os.path.join(venv, "bin", words[0])
    if not os.path.exists(program):
        sys.exit(f"{NAME}: {program} does not exist; correct COMMAND in {os.path.abspath(__file__)}.")
    _hold(venv)
    for number in (_signal.SIGPIPE, _signal.SIGXFSZ):  # Python ignores them, and so would the application
        _signal.signal(number, _signal.SIG_DFL)
    os.execve(program, [program, *words[1:]], env)


def _environment(venv: str) -> "dict[str, str]":
    """Return the environment for the application, as releaser makes it for a program."""
    env = {name: value for name, value in os.environ.items() if name not in _MISLEADING and _passes(name)}
    env["PATH"] = os.pathsep.join([os.path.join(venv, "bin"), *_path()])
    return {**env, "VIRTUAL_ENV": venv, "UV_PROJECT_ENVIRONMENT": venv, "UV_NO_SYNC": "1"}


def _path() -> "list[str]":
    return [word for word in os.environ.get("PATH", os.defpath).split(os.pathsep) if os.path.isabs(word)]


def _passes(name: str) -> bool:
    is_login = name.startswith("UV_INDEX_") and name.endswith(("_USERNAME", "_PASSWORD"))
    return not name.startswith("UV_") or is_login or name.startswith(("UV_HTTP_", "UV_CONCURRENT_")) or name in _PASSING


def _hold(venv: str) -> None:
    """Show that a release is in use, so that releaser does not delete it, for as long as the application runs."""
    try:
        lease = os.open(os.path.join(venv, "releaser.lease"), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        fcntl.flock(lease, fcntl.LOCK_SH | fcntl.LOCK_NB)
        os.set_inheritable(lease, lease > 2)  # else it would be a standard stream, which was closed
    except OSError:  # it is no release
        pass


_VOUCHED = ".vouched"  # the files on which the last answer of releaser depends
_UNANSWERED = ".unanswered"  # when releaser did not answer in time
_LOOKED = os.path.join("run", "looked")  # releaser's note of its last look and of the next one


def _read(name: str) -> str:
    """Return the text of a file in the state; empty if it cannot be read."""
    try:
        file = os.open(os.path.join(state(), name), os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        return os.read(file, 1 << 20).decode("utf-8", "replace")
    except OSError:
        return ""
    finally:
        os.close(file)


def _write(name: str, text: str) -> None:
    try:
        with open(os.path.join(state(), name), "w", encoding="utf-8") as file:
            file.write(text)
    except OSError:  # then the next start asks again
        pass


def _seconds(text: str) -> float:
    text = {"daily": "1d", "weekly": "1w"}.get(text, text)
    return float(text[:-1]) * _UNITS[text[-1]]


def _needs_no_look() -> bool:
    """True if no look for updates is due, or if releaser has just been asked without an answer."""
    try:
        now, looked = time.time(), _read(os.path.join(".releaser", NAME, _LOOKED)).split()
        if looked and float(looked[0]) <= now < min(float(looked[1]), float(looked[0]) + _seconds(REFRESH)):
            return True
        unanswered = _read(_UNANSWERED)
        return bool(unanswered) and float(unanswered) <= now < float(unanswered) + _RETRY
    except (ValueError, LookupError):
        return False


def _fingerprint(venv: str) -> str:
    """Return a line for each file that decides which Python starts and which code it runs before the application.

    It has the time of the last change of its content or its inode, which only the kernel sets.
    """
    seen = [venv]
    python, libraries = os.path.realpath(os.path.join(venv, "bin", "python")), []
    paths = [venv, os.path.join(venv, "pyvenv.cfg"), os.path.join(venv, "bin"), python]
    paths += [os.path.join(venv, "bin", name) for name in ("python", "python3")]
    try:
        for lib in ("lib", "lib64"):
            names = os.listdir(os.path.join(venv, lib)) if os.path.isdir(os.path.join(venv, lib)) else []
            libraries += [os.path.join(venv, lib, name, "site-packages") for name in sorted(names)]
            paths += [os.path.join(os.path.dirname(os.path.dirname(python)), lib, name, "os.py") for name in names]
        for library in libraries:
            for name in sorted(os.listdir(library)):
                if name.endswith((".pth", ".start")) or name.partition(".")[0] in _START_MODULES:
                    paths.append(os.path.join(library, name))
                    if os.path.isdir(paths[-1]):
                        return ""  # releaser looks into it
        for path in paths:
            found = os.lstat(path) if os.path.lexists(path) else None
            seen.append(f"{path} {found and (found.st_ino, found.st_ctime_ns)}")
    except OSError:
        return ""
    return "\n".join(seen)


_START_MODULES = ("sitecustomize", "usercustomize", "_releaser_pin", "_releaser_pin_rare")  # imported at the start


def _ask_releaser(venv: str) -> "dict[str, str]":
    """Let releaser look for updates; return the environment in which it starts programs, empty if it does not work.

    Ends with the exit status of releaser if it has reasons to refuse, which it reports.
    """
    import subprocess

    releaser = _find_releaser(venv)
    if not releaser:
        return {}
    is_shown = sys.stderr is not None and sys.stderr.isatty()
    options = ["--project", project(), "--refresh", REFRESH, "--wait", WAIT]
    env = {name: value for name, value in os.environ.items() if name not in ("PYTHONHOME", "VIRTUAL_ENV")}
    env["PATH"] = os.pathsep.join(_path())
    try:
        answer = subprocess.run(
            [releaser, "exec", *options, "--", "cat", "/proc/self/environ"], env=env, check=False,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=None if is_shown else subprocess.PIPE,
            timeout=_seconds(WAIT) + RELEASER_LIMIT,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        _write(_UNANSWERED, str(time.time()))
        return {}
    except (OSError, ValueError, LookupError):
        return {}
    found = dict(line.split("=", 1) for line in os.fsdecode(answer.stdout).split("\0") if "=" in line)
    found = {name: value for name, value in found.items() if name not in (_LOOKER, *_SHELL_VARIABLES)}
    found.update({name: os.environ[name] for name in _SHELL_VARIABLES if name in os.environ})
    has_answered = answer.returncode == 0 and "VIRTUAL_ENV" in found
    refuses = 2 < answer.returncode < 64  # 1: an import failed; 2: an older releaser without `exec`
    if (has_answered or refuses) and answer.stderr:
        sys.stderr.write(os.fsdecode(answer.stderr))
    if refuses:
        sys.exit(answer.returncode)
    return found if has_answered else {}


def _find_releaser(venv: str) -> "str | None":
    import shutil

    return shutil.which("releaser", path=os.pathsep.join([*_path(), os.path.join(venv, "bin")]))


def _is_adopted() -> bool:
    """True if the environment is a release, which releaser keeps up to date."""
    try:
        link = os.path.normpath(os.path.join(project(), os.readlink(os.path.join(project(), ".venv"))))
    except OSError:
        return False
    return os.path.dirname(os.path.dirname(link)) == os.path.join(state(), ".releaser", NAME, "releases")


def _adopt(venv: str) -> None:
    """Let releaser, if it is installed, adopt the environment; after a failure, the next try is a day later.

    If pip made the environment, releaser first locks the installed versions.
    """
    tried = os.path.join(state(), ".adopted")
    if _is_adopted() or (os.path.exists(tried) and time.time() - os.stat(tried).st_mtime < 86400):
        return
    releaser = _find_releaser(venv)
    if releaser:
        first = [] if os.path.exists(os.path.join(project(), "uv.lock")) else ["--from-pyproject"]
        words = [releaser, "init", "--quiet", *first, "--project", project()]
        try:
            with open(tried, "w", encoding="utf-8"):
                os.utime(tried)
            _run(words, state(), time.monotonic() + ADOPTION_LIMIT, {})
        except (OSError, _FailedError):
            pass


def find_venv() -> str:
    """Return the environment, without symlinks, so that it stays the same for this process; empty without one."""
    venv = os.path.realpath(os.path.join(project(), ".venv"))
    return venv if os.path.exists(os.path.join(venv, "bin", "python")) else ""


def _lock(deadline: float) -> "TextIO":
    """Let one process at a time make the environment, until the returned file is closed or the process has ended."""
    file = open(os.path.join(state(), ".starting"), "w", encoding="utf-8")  # noqa: SIM115 - the caller closes it
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if time.monotonic() > deadline:
                raise _FailedError(f"Another start has been creating it for {FIRST_LIMIT:g} s.") from None
            time.sleep(0.1)
        else:
            return file


def _make_first(deadline: float) -> None:
    """Make the environment; it exists only once the symlink points to it."""
    import contextlib
    import glob
    import shutil
    import tempfile

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
        if SOURCES:
            _mirror(uv, place, deadline)
        if uv:
            _install_by_uv(uv, place, deadline)
        else:
            _install_by_pip(os.path.join(place, "venv"), REQUIREMENTS, _find_links(), deadline)
        os.sync()
        os.makedirs(project(), exist_ok=True)
        _put_in_place(place)
    except BaseException:
        if os.path.realpath(links[0]) != os.path.realpath(os.path.join(place, "venv")):  # a signal may arrive this late
            shutil.rmtree(place, ignore_errors=True)
        raise


def _put_in_place(place: str) -> None:
    for name in ("pyproject.toml", "uv.lock"):
        if os.path.exists(os.path.join(place, name)):
            os.replace(os.path.join(place, name), os.path.join(project(), name))
    os.symlink(os.path.join(place, "venv"), os.path.join(place, "link"))
    os.replace(os.path.join(place, "link"), os.path.join(project(), ".venv"))


def _delete_own(directory: str) -> None:
    """Delete a directory that a start has made, and report the deletion; other directories stay."""
    import contextlib
    import shutil

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
    import json
    import re

    return "\n".join([
        "[project]",
        f"name = {json.dumps(re.sub('[^A-Za-z0-9]+', '-', NAME).strip('-') + '-environment')}",
        'version = "0"',
        f'requires-python = ">={sys.version_info[0]}.{sys.version_info[1]}"',
        f"dependencies = {json.dumps(REQUIREMENTS)}",
        "[tool.uv]",
        "package = false",
        f"find-links = {json.dumps([*_find_links(), *map(_mirror_of, SOURCES)])}",
        *(["no-index = true"] if INDEX == "none" else [f"index-url = {json.dumps(INDEX)}"] if INDEX else []),
        "[tool.releaser]",
        f"test_command = {json.dumps(TEST)}",
        *([f"sources = {json.dumps(SOURCES)}"] if SOURCES else []), ""
    ])  # fmt: skip


def _find_links() -> "list[str]":
    return [os.path.normpath(_from_here(link)) for link in FIND_LINKS]


def _mirror_of(source: str) -> str:
    """Return the directory for the packages of a place in S3, in the project, where releaser keeps them, too."""
    return os.path.join(_MIRRORS, source[len("s3://") :])


_MIRRORS = ".s3"
_DOWNLOAD = ""  # a program in Python that downloads packages from S3; `releaser bootstrap` writes it here


def _mirror(uv: "str | None", place: str, deadline: float) -> None:
    """Download the packages in S3 into the project, by boto3; it is installed for that if this Python lacks it."""
    import shutil
    from importlib import util

    top, venv = os.path.join(project(), _MIRRORS), os.path.join(place, "boto3")
    os.makedirs(top, mode=0o700, exist_ok=True)
    with open(os.path.join(top, ".gitignore"), "w", encoding="utf-8") as file:
        file.write("*\n")
    os.symlink(top, os.path.join(place, _MIRRORS))
    python = sys.executable if util.find_spec("boto3") else _install_boto3(uv, venv, deadline)
    output = _run([python, "-c", _DOWNLOAD, top, *SOURCES], place, deadline, {}, own=("AWS_", "EC2_", "BOTO_"))
    for line in output.splitlines():
        if line.startswith("s3://"):  # a place that failed, whose earlier packages are used; boto3 warns, too
            print(line, file=sys.stderr)
    shutil.rmtree(venv, ignore_errors=True)


def _install_boto3(uv: "str | None", venv: str, deadline: float) -> str:
    """Install boto3 into a new venv, and return its Python."""
    python = os.path.join(venv, "bin", "python")
    try:
        if uv:  # in a directory without the settings of the project, which name a mirror that does not exist yet
            _run([uv, "venv", "--quiet", "--python", sys.executable, venv], state(), deadline, {})
            install = [uv, "pip", "install", "--quiet", "--python", python, *_where(_find_links()), "boto3"]
            _with_age(lambda limit: _run([*install, *limit], state(), deadline, {}))
        else:
            _install_by_pip(venv, ["boto3"], _find_links(), deadline)
    except _FailedError as error:
        message = f"{sys.executable} has no boto3, which downloads from S3, and it could not be installed."
        raise _FailedError(f"{error}\n{message}") from None
    return python


def _where(links: "list[str]") -> "list[str]":
    """Return the options for the places of packages, which uv and pip spell alike."""
    index = ["--no-index"] if INDEX == "none" else ["--index-url", INDEX] if INDEX else []
    return [*index, *(f"--find-links={link}" for link in links), *([] if BUILD else ["--only-binary=:all:"])]


def _with_age(run: "Callable[[list[str]], object]") -> None:
    """Let uv take no version that is younger than MIN_AGE, unless the index does not say how old they are."""
    limit = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - MIN_AGE * 86400))
    try:
        run(["--exclude-newer", limit])
    except _FailedError as error:
        if "upload date" not in str(error):
            rules = f"MIN_AGE = {MIN_AGE:g} (days) and BUILD = {BUILD} in {os.path.abspath(__file__)}"
            raise _FailedError(f"{error}\n{rules} limit the versions that it may install.") from None
        run([])


def _install_by_uv(uv: str, place: str, deadline: float) -> None:
    env = {"UV_PROJECT_ENVIRONMENT": os.path.join(place, "venv"), "UV_LINK_MODE": "copy"}
    words = ["--no-progress", "--color", "never", "--project", place, "--python", sys.executable]
    words += [] if BUILD else ["--no-build"]
    if not os.path.exists(os.path.join(place, "uv.lock")):
        _with_age(lambda limit: _run([uv, "lock", *words, *limit], place, deadline, env))
        _run([uv, "lock", *words], place, deadline, env)  # the lock loses the limit and keeps the versions
    _run([uv, "sync", "--frozen", *words], place, deadline, env)


def _install_by_pip(venv: str, packages: "list[str]", links: "list[str]", deadline: float) -> None:
    place, python = os.path.dirname(venv), os.path.join(venv, "bin", "python")
    _run([sys.executable, "-m", "venv", venv], place, deadline, {})
    links = [*links, *(os.path.join(place, link) for link in map(_mirror_of, SOURCES) if packages is REQUIREMENTS)]
    words = ["--no-input", "--disable-pip-version-check", "--quiet", *_where(links)]
    _run([python, "-m", "pip", "install", *words, *packages], place, deadline, {})


def _run(
    words: "list[str]", place: str, deadline: float, more: "dict[str, str]", *, own: "tuple[str, ...]" = ()
) -> str:
    """Return the output of a program that ends in time; all processes that it started are ended after that time."""
    import contextlib
    import re
    import signal
    import subprocess

    own += ("UV_", "PIP_", *(("RELEASER_",) if os.path.basename(words[0]) == "releaser" else ()))
    keys = any("git+ssh" in requirement for requirement in REQUIREMENTS)
    env = {
        name: value
        for name, value in os.environ.items()
        if name not in ("PYTHONHOME", "VIRTUAL_ENV", "PYTHONPATH")
        and (name.startswith(own) or (keys and name == "SSH_AUTH_SOCK") or not re.search(_SECRET, name))
    }
    ending = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ending)  # until the process to end is known
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
    output_text = re.sub(_CONTROL, "", output.decode("utf-8", "replace"))
    if process.returncode:
        raise _FailedError(output_text[-4000:].strip() or f"{words[0]} failed.")
    return output_text


def _make_or_clear_up(deadline: float) -> None:
    """Make the environment; SIGTERM and SIGHUP clean up as SIGINT does, unless they are ignored, as by nohup."""
    import signal

    ending = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
    own = [number for number in ending if signal.getsignal(number) is signal.SIG_DFL]
    try:
        for number in own:
            signal.signal(number, lambda received, _: sys.exit(128 + received))
        _make_first(deadline)
    finally:
        for number in own:
            signal.signal(number, signal.SIG_DFL)


def _refuse_others() -> None:
    """Refuse to start if users other than this one and root could change or replace the started files."""
    link = os.path.join(project(), ".venv")
    venv = os.path.realpath(link)
    for path in (_state_as_written(), state(), project(), link, venv, os.path.join(venv, "bin")):
        for place in _way_to(path):
            if os.path.lexists(place) and _is_open(os.lstat(place)):
                message = f"{place} belongs to another user, or others can write to it: run `chmod go-w {place}`, or"
                where = f"STATE in {os.path.abspath(__file__)} to a directory in which only you can write"
                raise _FailedError(f"{message} set {where}.")


def _way_to(path: str, links: int = 40) -> "Iterator[str]":
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
    import grp
    import pwd

    try:
        name, group = pwd.getpwuid(os.geteuid()).pw_name, grp.getgrgid(number)
    except KeyError:
        return False
    return group.gr_name == name and not set(group.gr_mem) - {name}


def start(arguments: "list[str]") -> int:
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
            with _lock(deadline):
                if not find_venv():
                    starting()
                    _make_or_clear_up(deadline)
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
