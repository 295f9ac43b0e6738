#!/bin/sh
""":"
# Starts a program on its live release, and keeps that up to date: below, in Python 3.8 or newer, if a look is due.
place="$HOME"/.local/share/releaser/app
if [ -O "$place/due" ] && [ "$place/due" -nt /proc/self/stat ] && [ /proc/self/stat -nt "$place/lock" ] &&
    [ "$place/lock" -nt "$0" ] && [ "$place/program" -ef "$0" ] && [ ! -e "$place/news" ] &&
    [ "$_RELEASER_STARTED" != "$$" ] && [ "$1" != --releaser ]; then
    . "$place/due"
fi
command -v python3 >/dev/null || PATH="$PATH:$place/project/.venv/bin"
exec python3 -I -S "$0" "$@"
"""

import contextlib
import fcntl
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
SOURCES: "dict[str, str]" = {}  # by package, the only place that may offer it: an index, a directory, s3://BUCKET/PREFIX
MAIN: "list[str]" = []  # the command; its program is one of the release
VERIFY: "list[str]" = []  # a command that each release must pass before it is live; if empty, MAIN is imported
REFRESH = "daily"  # least time between two looks for updates: hourly, daily, weekly, always, never, or such as 12h
WAIT = "5s"  # how long a start waits for an update, which then goes on in the background
RELEASER: "list[str]" = []  # the command of releaser; if empty, it is found on PATH, or installed below PLACE


def starting() -> None:
    """Run before a look for updates."""


def succeeded() -> None:
    """Run when a new release is live."""


def failed(reason: str) -> None:
    """Run when a look for updates failed. The program starts on its live release."""
    print(f"{NAME}: {reason}", file=sys.stderr)


# The end of these lines. Nothing below is specific to the program.
PLACE = os.path.abspath(os.path.expanduser(PLACE))
PROJECT = f"{PLACE}/project"
_TIMES = {"always": "0s", "hourly": "1h", "daily": "1d", "weekly": "1w", "never": "5200w"}
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_RETRY = 3600.0  # seconds until the look after one that failed
_LONGEST = 7200  # seconds of a look, then it is ended
_SELF = "_RELEASER_STARTED"  # the process that has become the program
_GIT = "git -c user.name=releaser -c user.email=releaser@localhost -c commit.gpgSign=false -c core.hooksPath=/dev/null"
_MISLEADING_VARIABLES = re.compile("GIT_(?!SSH)|PYTHON|VIRTUAL_ENV|UV_(PROJECT|FROZEN|LOCKED|NO_SOURCES)|" + _SELF)
_IMPORT = "import {0} as m, importlib.util as u; assert not hasattr(m, '__path__') or u.find_spec('{0}.__main__'), m"
_LOAD = """import importlib.metadata as m, os, sys
assert os.path.exists(os.path.join(sys.prefix, "bin", sys.argv[1])), f"the release has no program {sys.argv[1]}"
[p.load() for d in m.distributions() for p in d.entry_points if (p.group, p.name) == ("console_scripts", sys.argv[1])]
"""
_PYPROJECT = """project = {{name = "program", version = "0", requires-python = {}, dependencies = {}}}
[tool.uv]
package = false
no-build = true
[tool.releaser]
python = {}
environment = "local"
git_pull = false
git_push = false
restart = "none"
audit = "off"
sources = {}
test_command = {}
"""
_INDEX = """[[tool.uv.index]]
name = {name}
url = {url}
format = "{form}"
explicit = true
[tool.uv.sources.{name}]
index = {name}
"""


def start(words: "list[str]") -> None:
    """Look for updates if that is due, and become the program in the live release."""
    if os.environ.get(_SELF) == str(os.getpid()):
        _end(70, f"its command leads back to {__file__}, so nothing would start.")
    if not _is_fresh() or os.path.exists(f"{PLACE}/news"):
        try:
            _look(time.monotonic() + read_seconds("--wait", WAIT))
        except OSError as error:
            with contextlib.suppress(OSError):  # of a standard error that takes nothing
                print(f"{NAME}: it cannot look for updates: {error}", file=sys.stderr)
    if not _is_live():
        _end(1, "it has no release yet, so it cannot start. The next start tries again.")
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it, and so would the program
    os.execv("/bin/sh", ["sh", "-c", _write_shell(), NAME, *words])


def _write_shell() -> str:
    """Return the shell's lines that become a program in the live release."""
    venv = shlex.quote(f"{PROJECT}/.venv")
    names = f'{_SELF}="$$" VIRTUAL_ENV={venv} PATH={venv}/bin:"${{PATH:-{os.defpath}}}"'
    return f'unset PYTHONHOME\nexport {names}\nexec "$@"\n'


def read_seconds(option: str, text: str) -> float:
    """Return the seconds of a time such as 12h. Ends this process if it is none."""
    text = _TIMES.get(text, text)
    if not text[:-1].isdecimal() or text[-1] not in _UNITS:
        _end(2, f"{option} must be hourly, daily, weekly, always, never or such as 12h, not `{text}`.")
    return float(text[:-1]) * _UNITS[text[-1]]


def _end(code: int, message: str) -> None:
    print(f"{NAME}: {message}", file=sys.stderr)
    sys.exit(code)


def _is_live() -> bool:
    return os.access(f"{PROJECT}/.venv/bin/python", os.X_OK)


def _is_fresh() -> bool:
    """Return True if a release is live, no look for updates is due, and this file is as it was at the last one."""
    longest, now = max(read_seconds("--refresh", REFRESH), _RETRY), time.time()
    try:
        due, looked = (os.stat(f"{PLACE}/{name}").st_mtime for name in ("due", "lock"))
        is_due = not now < due <= now + longest or not os.stat(__file__).st_mtime < looked <= now
        return not is_due and os.path.samefile(f"{PLACE}/program", __file__) and _is_live()
    except OSError:
        return False


def _look(limit: float) -> None:
    """Let another process look for updates if that is due, and print what it says, until it ends or time is over."""
    os.makedirs(PLACE, mode=0o700, exist_ok=True)
    if os.stat(PLACE).st_uid != os.geteuid() or os.stat(PLACE).st_mode & 0o022:
        _end(1, f"{PLACE} is not yours alone, so nothing was started. Look at `ls -ld` of it.")
    link = f"{PLACE}/program"
    if PACKAGES and os.path.exists(link) and not os.path.samefile(link, __file__):
        _end(1, f"{os.readlink(link)} has the same PLACE, so nothing was started. Delete it, or change PLACE.")
    lock = os.open(f"{PLACE}/lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # another start looks: only one without a release waits for it
        return None if _is_live() else fcntl.flock(lock, fcntl.LOCK_SH)
    os.write(2, os.read(os.open(f"{PLACE}/news", os.O_RDONLY | os.O_CREAT, 0o600), 1 << 20))
    news = os.open(f"{PLACE}/news", os.O_RDWR | os.O_TRUNC)  # what was said is not said again
    ended, end = os.pipe()
    if not _is_fresh():  # another start may have looked meanwhile
        if os.fork() == 0:
            if os.fork() == 0:  # so that the program does not get a child that it has not started
                _update(lock, end)
            os._exit(0)
        os.wait()
    os.close(end)
    while not select.select([ended], [], [], 0.02)[0]:
        os.write(2, os.read(news, 1 << 20))
        if time.monotonic() > limit and _is_live():
            return None
    os.write(2, os.read(news, 1 << 20))
    return os.unlink(f"{PLACE}/news")


def _update(lock: int, end: int) -> None:
    """Look for updates, and end this process. It keeps no file of the program open but these."""
    try:
        before, reason, pause = os.path.realpath(f"{PROJECT}/.venv"), "", read_seconds("--refresh", REFRESH)
        os.setsid()
        news = os.open(f"{PLACE}/news", os.O_WRONLY | os.O_APPEND)
        for new, old in enumerate((os.open(os.devnull, os.O_RDONLY), news, news)):
            os.dup2(old, new)
        for low, high in ((3, lock), (lock + 1, end), (end + 1, 4096)):
            os.closerange(low, high)
        os.utime(f"{PLACE}/lock")
        signal.signal(signal.SIGALRM, signal.default_int_handler)
        signal.alarm(_LONGEST)
        try:
            starting()
            if PACKAGES:
                _make_project()
            command = "update" if os.path.lexists(f"{PROJECT}/.venv") else "init"
            _run([*_find_releaser(), command, "--project", PROJECT], codes=(0, 8))
        except KeyboardInterrupt:
            reason = f"the look for updates took more than {_LONGEST} seconds."
        except Exception as error:  # noqa: BLE001 - of a hook, too
            reason = str(error) if isinstance(error, OSError) else repr(error)
        if _is_live():  # else the next start tries again
            _write_due(time.time() + (min(pause, _RETRY) if reason else pause))
        if reason:
            failed(reason)
        if _is_live() and os.path.realpath(f"{PROJECT}/.venv") != before:
            succeeded()
    except BaseException:  # noqa: BLE001 - of a hook, too: the next start prints it
        sys.excepthook(*sys.exc_info())
    finally:
        sys.exit()


def _write_due(moment: float) -> None:
    """Write the file that the shell above reads; its time is that of the next look."""
    with open(f"{PLACE}/due.new", "w", encoding="utf-8") as file:
        file.write(f"if [ -x {shlex.quote(PROJECT)}/.venv/bin/python ]; then\n")
        file.write(f'set -- {" ".join(map(shlex.quote, MAIN))} "$@"\n{_write_shell()}fi\n')
    os.utime(file.name, (moment, moment))
    os.symlink(os.path.abspath(__file__), f"{PLACE}/program.{os.getpid()}")
    os.replace(f"{PLACE}/program.{os.getpid()}", f"{PLACE}/program")
    os.replace(file.name, f"{PLACE}/due")


def _run(words: "list[str]", codes: "tuple[int, ...]" = (0,), **variables: str) -> None:
    """Run a program in the root. Raises ChildProcessError with its output if it ends with none of the codes, if any."""
    env = {name: value for name, value in os.environ.items() if not _MISLEADING_VARIABLES.match(name)}
    done = subprocess.run(words, cwd="/", env={**env, **variables}, stdout=-1, stderr=-2, check=False)
    if codes and done.returncode not in codes:
        output = done.stdout.decode("utf-8", "replace").strip()
        raise ChildProcessError(output or f"`{' '.join(words[:2])}` ended with {done.returncode}.")


def _find_uv() -> str:
    """Return uv: on PATH, beside releaser, or installed below PLACE."""
    places = [os.environ.get("PATH", os.defpath), *map(os.path.dirname, RELEASER[:1]), f"{PLACE}/uv/bin"]
    found = shutil.which("uv", path=os.pathsep.join(places))
    if not found:
        _run([sys.executable, "-m", "pip", "install", "--quiet", "--target", f"{PLACE}/uv", "uv>=0.13"])
    return found or f"{PLACE}/uv/bin/uv"


def _find_releaser() -> "list[str]":
    """Return the command of releaser, which is installed below PLACE. If that fails, the locked venv is made alone."""
    found = shutil.which("releaser")
    if RELEASER or found:
        return RELEASER or [os.path.abspath(found or "")]
    words = [_find_uv(), "tool", "install", "-q", "-p", ">=3.11", "venv-releaser" + "[s3]" * ("s3://" in str(SOURCES))]
    try:
        _run(words, UV_TOOL_DIR=f"{PLACE}/tools", UV_TOOL_BIN_DIR=f"{PLACE}/bin")
    except ChildProcessError as error:
        if os.path.exists(f"{PROJECT}/uv.lock") and not _is_live():
            _run([_find_uv(), "sync", "--quiet", "--frozen", "--directory", PROJECT], UV_PYTHON=sys.executable)
        needs = "it is not kept up to date: releaser, which needs Python 3.11 or newer, cannot be installed."
        raise ChildProcessError(f"{needs}\n{error}") from None
    return [f"{PLACE}/bin/releaser"]


def _make_project() -> None:
    """Make the project, or change it as the program's lines have changed: the next update tests the change."""
    version, python = ".".join(map(str, sys.version_info[:2])), sys.executable
    if _is_live():
        python = f"{PROJECT}/.venv/bin/python"
        version = re.findall(r"'python(3\.\d+)'", str(os.listdir(f"{PROJECT}/.venv/lib")))[0]  # wheels add to it
    copied = [f"{name}={source}" for name, source in SOURCES.items() if source.startswith("s3://")]
    verify = VERIFY or ["python", "-c", _IMPORT.format(MAIN[2]) if MAIN[1:2] == ["-m"] else _LOAD, MAIN[0]]
    settings = (f">={version}", [*PACKAGES, *SOURCES], os.path.realpath(python), copied, verify)
    values = [json.dumps(value, ensure_ascii=False) for value in settings]
    text = _PYPROJECT.format(*values) + "".join(map(_write_index, SOURCES))
    _run(["find", PROJECT, "-path", "*/.git/*.lock", "-mmin", "+1", "-delete"], codes=())  # of a look that was killed
    _run(["git", "init", "--quiet", "--initial-branch=main", PROJECT])
    with open(f"{PROJECT}/pyproject.toml", "w", encoding="utf-8") as file:
        file.write(text)
    git = [*_GIT.split(), "-C", PROJECT]
    if copied:  # before anything else, `init` copies the wheels
        _run([*_find_releaser(), "init", "--project", PROJECT], codes=())
    upgrade, codes = ([], ()) if os.path.lexists(f"{PROJECT}/.venv") else (["--upgrade"], (0,))  # or `update` says it
    _run([_find_uv(), "lock", "--quiet", *upgrade, "--directory", PROJECT], codes, UV_PYTHON=python)
    _run([*git, "add", "--force", "pyproject.toml", "uv.lock"])
    _run([*git, "commit", "--quiet", "--message", f"What {NAME} needs"], codes=(0, 1))


def _write_index(name: str) -> str:
    """Return the only source of a package. Prints which files are no wheels."""
    source, start = SOURCES[name], f"{name}-".replace("_", "-").lower()
    url, form = source, "simple" if re.match("https?://", source) else "flat"
    if source.startswith("s3://"):
        url = f"{PLACE}/.releaser/project/sources"
    elif form == "flat":
        url = os.path.abspath(os.path.expanduser(source))
        for file in sorted(os.listdir(url)):
            if file.endswith((".egg", ".tar.gz", ".zip")) and file.replace("_", "-").lower().startswith(start):
                print(f"{NAME}: only wheels are installed, so not {url}/{file}.", file=sys.stderr)
    return _INDEX.format(name=json.dumps(name), url=json.dumps(url, ensure_ascii=False), form=form)


if __name__ == "__main__":
    try:
        if sys.argv[1:2] == ["--releaser"]:  # such as `--releaser rollback`
            os.execvp("env", ["env", f"RELEASER_PROJECT={PROJECT}", *_find_releaser(), *sys.argv[2:]])
        start([*MAIN, *sys.argv[1:]])
    except KeyboardInterrupt:
        sys.exit(130)
    except OSError as error:
        _end(1, str(error))
