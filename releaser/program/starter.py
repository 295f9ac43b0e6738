#!/bin/sh
""":"
# Starts a program on its live release, and keeps that up to date. Needs Python 3.8 or newer. While no look for
# updates is due, this shell becomes the program at once; everything else is below, in Python.
place="$HOME"/.local/share/releaser/app
if [ -O "$place/due" ] && [ "$place/due" -nt /proc/self/stat ] && [ /proc/self/stat -nt "$place/lock" ] &&
    [ "$place/lock" -nt "$0" ] && [ "$place/program" -ef "$0" ] && [ ! -e "$place/news" ] &&
    [ "$_RELEASER_STARTED" != "$$" ] && [ "$1" != --releaser ]; then
    . "$place/due"
fi
command -v python3 >/dev/null || PATH="$PATH:$place/project/.venv/bin"
exec python3 -I -S "$0" "$@"
"""

import fcntl
import glob
import json
import os
import re
import select
import shlex
import shutil
import signal
import subprocess
import sys
import time

# What the program is: change these lines as you like. `releaser bootstrap` wrote the values.
NAME = "releaser exec"
PLACE = "~/.local/share/releaser/app"
PACKAGES: "list[str]" = []
# By package, the only place that may offer it: an index, a directory, or s3://BUCKET/PREFIX.
SOURCES: "dict[str, str]" = {}
# The command; its program is one of the release.
MAIN: "list[str]" = []
# A command that each release must pass before it is live. If empty, what is started is imported.
VERIFY: "list[str]" = []
# The least time between two looks for updates: hourly, daily, weekly, always, never, or such as 12h.
REFRESH = "daily"
# How long a start waits for an update, which then goes on in the background.
WAIT = "5s"
# The command of releaser. If empty, it is found on PATH, or installed below PLACE.
RELEASER: "list[str]" = []


def starting() -> None:
    """Run before a look for updates."""


def succeeded() -> None:
    """Run when a new release is live."""


def failed(reason: str) -> None:
    """Run when a look for updates failed. The program starts on its live release."""
    print(f"{NAME}: {reason}", file=sys.stderr)


# The end of these lines. Nothing below is specific to the program.
PROJECT = ""  # a project that exists, as of `releaser exec`; else the starter makes one below PLACE
_TIMES = {"always": "0s", "hourly": "1h", "daily": "1d", "weekly": "1w", "never": "5200w"}
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_RETRY = 3600.0  # seconds until the look after one that failed
_LONGEST = 7200  # seconds of a look, then it is ended
_SELF = "_RELEASER_STARTED"  # the process that has become the program
_GIT = "git -c user.name=releaser -c user.email=releaser@localhost -c commit.gpgSign=false -c core.hooksPath=/dev/null"
# Variables of other projects and Pythons.
_MISLEADING = re.compile("GIT_(?!SSH)|PYTHON|VIRTUAL_ENV|RELEASER_PROJECT|UV_(PROJECT|FROZEN|LOCKED)|" + _SELF)
_HAS_S3 = any(source.startswith("s3://") for source in SOURCES.values())
# Imports what a script runs.
_LOAD = """
import importlib.metadata, sys
for point in [point for package in importlib.metadata.distributions() for point in package.entry_points]:
    if point.group == "console_scripts" and point.name == sys.argv[1]: point.load()
"""
_PYPROJECT = """[project]
name = "program"
version = "0"
requires-python = {}
dependencies = {}

[tool.uv]
package = false
no-build = true

[tool.releaser]
python = {}
environment = "local"
environment_file = ""
git_pull = false
git_push = false
restart = "none"
audit = "off"
sources = {}
test_command = {}
"""
_INDEX = """
[[tool.uv.index]]
name = {name}
url = {url}
format = {form}
explicit = true
[tool.uv.sources.{name}]
index = {name}
"""


def start(words: "list[str]") -> None:
    """Look for updates if that is due, and become the program in the live release."""
    if os.environ.get(_SELF) == str(os.getpid()):
        _end(70, f"its command leads back to {__file__}, so nothing would start.")
    if not _is_fresh() or os.path.exists(_path("news")):
        try:
            _look(time.monotonic() + read_seconds("--wait", WAIT))
        except OSError as error:
            print(f"{NAME}: it cannot look for updates: {error}", file=sys.stderr)
    if not _is_live():
        _end(1, "it has no release yet, so it cannot start. The next start tries again.")
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, and so would the program
        signal.signal(number, signal.SIG_DFL)
    venv, path = _project(".venv"), os.environ.get("PATH", os.defpath)
    env = {**os.environ, "VIRTUAL_ENV": venv, "PATH": f"{venv}/bin{os.pathsep}{path}", _SELF: str(os.getpid())}
    env.pop("PYTHONHOME", None)
    try:
        os.execvpe(words[0], words, env)
    except OSError as error:
        _end(127, f"`{words[0]}` cannot be started: {error.strerror}.")


def read_seconds(option: str, text: str) -> float:
    """Return the seconds of a time such as 12h. Ends this process if it is none."""
    text = _TIMES.get(text, text)
    if not text[:-1].isdigit() or text[-1] not in _UNITS:
        _end(2, f"{option} must be hourly, daily, weekly, always, never or such as 12h, not `{text}`.")
    return float(text[:-1]) * _UNITS[text[-1]]


def _end(code: int, message: str) -> None:
    print(f"{NAME}: {message}", file=sys.stderr)
    sys.exit(code)


def _path(*names: str) -> str:
    return os.path.join(os.path.abspath(os.path.expanduser(PLACE)), *names)


def _project(*names: str) -> str:
    return os.path.join(PROJECT or _path("project"), *names)


def _is_live() -> bool:
    return os.access(_project(".venv/bin/python"), os.X_OK)


def _is_own() -> bool:
    """Return True if the last look was one of this file, or of a copy."""
    with open(_path("program"), encoding="utf-8") as program, open(__file__, encoding="utf-8") as own:
        return program.read() == own.read()


def _is_fresh() -> bool:
    """Return True if a release is live, no look for updates is due, and this file is as it was at the last one."""
    longest, now = max(read_seconds("--refresh", REFRESH), _RETRY), time.time()
    try:
        due, looked = os.stat(_path("due")), os.stat(_path("lock")).st_mtime
        is_due = not now < due.st_mtime <= now + longest or not os.stat(__file__).st_mtime < looked <= now
        return not is_due and due.st_uid == os.geteuid() and _is_own() and _is_live()
    except OSError:
        return False


def _look(limit: float) -> None:
    """Let another process look for updates if that is due, and print what it says, until it ends or time is over."""
    os.makedirs(_path(), mode=0o700, exist_ok=True)
    if os.stat(_path()).st_uid != os.geteuid() or os.stat(_path()).st_mode & 0o022:
        _end(1, f"{_path()} is not yours alone, so nothing was started. Look at `ls -ld` of it.")
    if PACKAGES and os.path.exists(_path("program")) and not _is_own():
        other = os.readlink(_path("program"))
        _end(1, f"{other} has the same PLACE, so nothing was started. Delete it, or change PLACE.")
    lock = os.open(_path("lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # another start looks: only one without a release waits for it
        return None if _is_live() else fcntl.flock(lock, fcntl.LOCK_SH)
    news = open(_path("news"), "a+", encoding="utf-8", errors="replace")  # noqa: SIM115 - the next start has the rest
    news.seek(0)
    ended, end = os.pipe()
    if not _is_fresh():  # another start may have looked meanwhile
        if os.fork() == 0:
            if os.fork() == 0:  # so that the program does not get a child that it has not started
                _update(lock, end)
            os._exit(0)
        os.wait()
    os.close(end)
    while time.monotonic() < limit or not _is_live():
        has_ended = select.select([ended], [], [], 0.02)[0]
        sys.stderr.write(news.read())
        if has_ended:
            return os.unlink(news.name)
    return None


def _update(lock: int, end: int) -> None:
    """Look for updates, and end this process. It keeps no file of the program open but these."""

    def give_up(*_: object) -> None:
        raise ChildProcessError(f"the look for updates took more than {_LONGEST} seconds.")

    try:
        before, reason, pause = os.path.realpath(_project(".venv")), "", read_seconds("--refresh", REFRESH)
        os.setsid()
        news = os.open(_path("news"), os.O_WRONLY | os.O_APPEND)
        for new, old in enumerate((os.open(os.devnull, os.O_RDONLY), news, news)):
            os.dup2(old, new)
        for low, high in ((3, lock), (lock + 1, end), (end + 1, 4096)):
            os.closerange(low, high)
        os.utime(_path("lock"))
        signal.signal(signal.SIGALRM, give_up)
        signal.alarm(_LONGEST)
        try:
            starting()
            if not PROJECT:
                _make_project()
            _run_releaser()
        except Exception as error:  # noqa: BLE001 - of a hook, too
            reason = str(error) if isinstance(error, OSError) else repr(error)
        if _is_live():  # else the next start tries again
            _write_due(time.time() + (min(pause, _RETRY) if reason else pause))
        if reason:
            failed(reason)
        if _is_live() and os.path.realpath(_project(".venv")) != before:
            succeeded()
    except BaseException:  # noqa: BLE001 - of a hook, too: the next start prints it
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        os._exit(0)


def _write_due(moment: float) -> None:
    """Write the shell's lines that start this file's program; their time is that of the next look."""
    venv, main = _project(".venv"), _project(".venv/bin", *MAIN[:1])
    with open(_path("due.new"), "w", encoding="utf-8") as file:
        if MAIN and os.access(main, os.X_OK):
            path, words = shlex.quote(f"{venv}/bin"), " ".join(map(shlex.quote, [main, *MAIN[1:]]))
            file.write(f"if [ -x {path}/python ] && [ -x {shlex.quote(main)} ]; then\nunset PYTHONHOME\n")
            file.write(f'export {_SELF}="$$" VIRTUAL_ENV={shlex.quote(venv)} PATH={path}:"${{PATH:-{os.defpath}}}"\n')
            file.write(f'exec {words} "$@"\nfi\n')
    os.utime(file.name, (moment, moment))
    os.symlink(os.path.abspath(__file__), _path(f"program.{os.getpid()}"))
    os.replace(_path(f"program.{os.getpid()}"), _path("program"))
    os.replace(file.name, _path("due"))


def _run(words: "list[str]", codes: "tuple[int, ...]" = (0,), **variables: str) -> None:
    """Run a program. Raises ChildProcessError with its output if it ends with another code; none: all will do."""
    env = {name: value for name, value in os.environ.items() if not _MISLEADING.match(name)}
    # From the root, where nobody else has modules; both outputs in one pipe.
    done = subprocess.run(words, cwd="/", env={**env, **variables}, stdout=-1, stderr=-2, check=False)
    if codes and done.returncode not in codes:
        output = done.stdout.decode("utf-8", "replace").strip()
        raise ChildProcessError(output or f"`{' '.join(words[:2])}` ended with {done.returncode}.")


def _find_uv() -> str:
    """Return uv: on PATH, beside releaser, or installed below PLACE."""
    places = [os.environ.get("PATH", os.defpath), *map(os.path.dirname, RELEASER[:1]), _path("uv/bin")]
    found = shutil.which("uv", path=os.pathsep.join(places))
    if not found:
        _run([sys.executable, "-m", "pip", "install", "--quiet", "--target", _path("uv"), "uv>=0.13"])
    return found or _path("uv/bin/uv")


def _find_releaser() -> "list[str]":
    """Return the command of releaser; below PLACE it is installed, and again if its Python has gone."""
    found = shutil.which("releaser")
    if RELEASER or found:
        return RELEASER or [os.path.abspath(found or "")]
    words = [_find_uv(), "tool", "install", "--quiet", "--python", ">=3.11", "venv-releaser" + "[s3]" * _HAS_S3]
    _run(words, UV_TOOL_DIR=_path("tools"), UV_TOOL_BIN_DIR=_path("bin"))
    return [_path("bin/releaser")]


def _run_releaser() -> None:
    """Update the project; without releaser, make a plain venv if there is none."""
    try:
        releaser = _find_releaser()
    except ChildProcessError as error:
        if not _is_live():
            _run([_find_uv(), "sync", "--quiet", "--frozen", "--directory", _project()], UV_PYTHON=sys.executable)
        needs = "it is not kept up to date: releaser, which needs Python 3.11 or newer, cannot be installed."
        raise ChildProcessError(f"{needs}\n{error}") from None
    command = "update" if os.path.lexists(_project(".venv")) else "init"
    _run([*releaser, command, "--project", _project()], codes=(0, 8))


def _make_project() -> None:
    """Make the project, or change it as the program's lines have changed: the next update tests the change."""
    git = [*_GIT.split(), "-C", _project()]
    os.makedirs(_project(), exist_ok=True)
    for path in glob.glob(os.path.join(glob.escape(_project(".git")), "**/*.lock"), recursive=True):
        os.unlink(path)  # of a look that was killed
    with open(_project("pyproject.toml"), "w", encoding="utf-8") as file:
        file.write(_write_pyproject())
    _run([*git, "init", "--quiet", "--initial-branch=main"])
    if not _is_live():  # releaser makes all later locks
        if _HAS_S3:  # before anything else, `init` copies the wheels
            _run([*_find_releaser(), "init", "--project", _project()], codes=())
        _run([_find_uv(), "lock", "--quiet", "--upgrade", "--directory", _project()], UV_PYTHON=sys.executable)
    _run([*git, "add", "pyproject.toml", "uv.lock"])
    _run([*git, "commit", "--quiet", "--message", f"What {NAME} needs"], codes=(0, 1))


def _write_pyproject() -> str:
    """Return the project for uv and releaser, with the Python of the live release. Prints which files are no wheels."""
    version, python = ".".join(map(str, sys.version_info[:2])), sys.executable
    if _is_live():
        version, python = os.listdir(_project(".venv/lib"))[0][len("python") :], _project(".venv/bin/python")
    sources = {_normalize(name): source for name, source in SOURCES.items()}
    needed = [*PACKAGES, *(name for name in sources if name not in map(_normalize, PACKAGES))]
    copied = [f"{name}={source}" for name, source in sources.items() if source.startswith("s3://")]
    verify = VERIFY or ["python", "-c", f"import {MAIN[2]}" if MAIN[1:2] == ["-m"] else _LOAD, MAIN[0]]
    settings = (f">={version}", needed, os.path.realpath(python), copied, verify)
    text = _PYPROJECT.format(*(json.dumps(value, ensure_ascii=False) for value in settings))
    for name, source in sources.items():
        is_index = re.match("https?://", source)
        is_s3 = source.startswith("s3://")
        directory = _path(".releaser/project/sources") if is_s3 else os.path.abspath(os.path.expanduser(source))
        values = (name, source if is_index else directory, "simple" if is_index else "flat")
        text += _INDEX.format(**dict(zip(("name", "url", "form"), map(json.dumps, values))))
        for file in [] if is_index or is_s3 else sorted(os.listdir(directory)):
            if file.endswith((".egg", ".tar.gz", ".zip")) and _normalize(file).startswith(f"{name}-"):
                print(f"{NAME}: only wheels are installed, so not {directory}/{file}.", file=sys.stderr)
    return text


def _normalize(name: str) -> str:
    return re.sub(r"[-_.]+", "-", re.split(r"[^A-Za-z0-9._-]", name)[0]).lower()


if __name__ == "__main__":
    try:
        if sys.argv[1:2] == ["--releaser"]:  # such as `--releaser rollback`
            releaser = _find_releaser()
            os.execvpe(releaser[0], [*releaser, *sys.argv[2:]], {**os.environ, "RELEASER_PROJECT": _project()})
        start([*MAIN, *sys.argv[1:]])
    except KeyboardInterrupt:
        sys.exit(130)
    except OSError as error:
        _end(1, str(error))
