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

import os
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
_FORMS = {"always": "0s", "hourly": "1h", "daily": "1d", "weekly": "1w", "never": "5200w"}
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_RETRY = 3600.0  # seconds until the look after one that failed
_LONGEST = 7200  # seconds of a look, then it is ended
_SELF = "_RELEASER_STARTED"  # the process that has become the program
# Imports what a release starts: the module of `-m` or of a script, and the modules of each package.
_IMPORT = """
import importlib, re, sys
from importlib import metadata
main, names, modules = sys.argv[1], sys.argv[2:], set()
if main.startswith("-m "): modules.add(main[3:])
for package in metadata.distributions():
    modules |= {point.value.split(":")[0].strip() for point in package.entry_points if point.name == main}
    if re.sub("[-_.]+", "-", package.metadata["Name"] or "").lower() in names:
        paths = [file.with_suffix("").parts for file in package.files or () if file.suffix == ".py"]
        modules |= {path[0] for path in paths if path[1:] in ((), ("__init__",)) and path[0].isidentifier()}
for module in sorted(modules): importlib.import_module(module)
"""
_PROJECT = """[project]
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
format = "{form}"
explicit = true

[tool.uv.sources.{name}]
index = {name}
"""


class _FailedError(Exception):
    """The look for updates failed; the message is for people."""


def _start(place: str, project: str, words: "list[str]", limits: "list[float]") -> None:
    """Look for updates if that is due, and become the program. `limits` are the seconds of REFRESH and WAIT."""
    if os.environ.get(_SELF) == str(os.getpid()):
        _end(70, f"its command leads back to {__file__}, so nothing would start.")
    if not _is_fresh(place, project, limits[0]) or os.path.exists(os.path.join(place, "news")):
        try:
            os.makedirs(place, mode=0o700, exist_ok=True)
            if os.stat(place).st_uid != os.geteuid() or os.stat(place).st_mode & 0o022:
                _end(1, f"{place} is not yours alone, so nothing was started. Look at `ls -ld` of it.")
            _claim(place)
            _look(place, project, limits)
        except OSError as error:
            print(f"{NAME}: it cannot look for updates: {error}", file=sys.stderr)
    venv = _find_live(project)
    if not venv:
        _end(1, "it has no release yet, so it cannot start. The next start tries again.")
    _become(venv, words)


def _claim(place: str) -> None:
    """Let the link `program` lead to this file. Another program of this PLACE, which it would start, is refused."""
    link, new = os.path.join(place, "program"), os.path.join(place, f"program.{os.getpid()}")
    if os.path.exists(link):
        with open(link, encoding="utf-8") as other, open(__file__, encoding="utf-8") as own:
            if PACKAGES and other.read() != own.read():
                _end(1, f"{os.readlink(link)} has the same PLACE, so nothing was started. Delete it, or change PLACE.")
    elif os.path.exists(os.path.join(place, "due")):
        os.unlink(os.path.join(place, "due"))  # of a file that has gone
    os.symlink(os.path.abspath(__file__), new)
    os.replace(new, link)


def _is_fresh(place: str, project: str, refresh: float) -> bool:
    """Return True if a release is live, no look for updates is due, and this file is as it was at the last one."""
    try:
        due, looked, now = os.stat(os.path.join(place, "due")), os.stat(os.path.join(place, "lock")), time.time()
        is_own = due.st_uid == os.geteuid() and os.path.samefile(os.path.join(place, "program"), __file__)
    except OSError:
        return False
    is_due = not now < due.st_mtime <= now + max(refresh, _RETRY)
    return is_own and not is_due and os.stat(__file__).st_mtime < looked.st_mtime <= now and _find_live(project) != ""


def _end(code: int, message: str) -> None:
    print(f"{NAME}: {message}", file=sys.stderr)
    sys.exit(code)


def _find_live(project: str) -> str:
    """Return the path of the live release's venv; empty if its Python cannot start."""
    venv = os.path.join(project, ".venv")
    return venv if os.access(os.path.join(venv, "bin", "python"), os.X_OK) else ""


def _become(venv: str, words: "list[str]") -> None:
    import _signal  # type: ignore[import-not-found]

    for number in (_signal.SIGPIPE, _signal.SIGXFSZ):  # Python ignores them, and so would the program
        _signal.signal(number, _signal.SIG_DFL)
    path = os.path.join(venv, "bin") + os.pathsep + os.environ.get("PATH", os.defpath)
    env = {**os.environ, "VIRTUAL_ENV": venv, "PATH": path, _SELF: str(os.getpid())}
    env.pop("PYTHONHOME", None)
    program = os.path.join(venv, "bin", words[0])
    program = program if os.path.exists(program) else words[0]
    try:
        os.execvpe(program, [program, *words[1:]], env)
    except OSError as error:
        _end(127, f"`{words[0]}` cannot be started: {error.strerror}.")


def _look(place: str, project: str, limits: "list[float]") -> None:
    """Let another process look for updates, if that is due, and print what it says, until it ends or WAIT is over.

    If one looks already, a start without a live release waits for it, and no other. What is said later stays in the
    file `news`, which the next start prints.
    """
    import fcntl

    lock, other = (os.open(os.path.join(place, "lock"), os.O_RDWR | os.O_CREAT, 0o600) for _ in "12")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return None if _find_live(project) else fcntl.flock(lock, fcntl.LOCK_SH)
    news = open(os.path.join(place, "news"), "a+", encoding="utf-8", errors="replace")  # noqa: SIM115
    news.seek(0)
    if not _is_fresh(place, project, limits[0]):  # another start may have looked meanwhile
        if os.fork() == 0:
            if os.fork() == 0:  # so that the program does not get a child that it has not started
                _run_detached(place, project, limits[0], lock)
            os._exit(0)
        os.wait()
    os.close(lock)
    limit = time.monotonic() + limits[1]
    while True:
        try:
            fcntl.flock(other, fcntl.LOCK_SH | fcntl.LOCK_NB)
            break
        except OSError:
            sys.stderr.write(news.read())
        if time.monotonic() > limit and _find_live(project):
            return None
        time.sleep(0.02)
    sys.stderr.write(news.read())
    return os.unlink(news.name)


def _run_detached(place: str, project: str, refresh: float, lock: int) -> None:
    """Look for updates, and end this process. It keeps no stream of the program open."""
    try:
        import signal

        os.setsid()
        os.utime(lock)
        signal.signal(signal.SIGALRM, _give_up)
        signal.alarm(_LONGEST)
        news = os.open(os.path.join(place, "news"), os.O_WRONLY | os.O_APPEND)
        for old, new in ((os.open(os.devnull, os.O_RDONLY), 0), (news, 1), (news, 2)):
            os.dup2(old, new)
        os.closerange(3, lock)
        os.closerange(lock + 1, 4096)
        _update(place, project, refresh)
    except BaseException:  # noqa: BLE001 - of a hook, too: the next start prints it
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(0)


def _give_up(*_: object) -> None:
    raise _FailedError(f"the look for updates took more than {_LONGEST} seconds.")


def _update(place: str, project: str, refresh: float) -> None:
    before, reason = os.path.realpath(_find_live(project)), ""
    try:
        starting()
        if PACKAGES:
            _make_project(place, project)
        _run_releaser(place, project)
    except Exception as error:  # noqa: BLE001 - of a hook, too
        reason = str(error) if isinstance(error, (_FailedError, OSError)) else repr(error)
    venv = _find_live(project)
    if venv:  # else the next start tries again
        _write_due(place, venv, time.time() + (min(refresh, _RETRY) if reason else refresh))
    if reason:
        failed(reason)
    if venv and os.path.realpath(venv) != before:
        succeeded()


def _write_due(place: str, venv: str, moment: float) -> None:
    """Write the shell's lines that start the program; their time is that of the next look."""
    from shlex import quote

    program, path = os.path.join(venv, "bin", *MAIN[:1]), os.path.join(venv, "bin")
    with open(os.path.join(place, "due.new"), "w", encoding="utf-8") as file:
        if MAIN and os.access(program, os.X_OK):
            file.write(f"if [ -x {quote(path)}/python ] && [ -x {quote(program)} ]; then\nunset PYTHONHOME\n")
            file.write(f'export {_SELF}="$$" VIRTUAL_ENV={quote(venv)} PATH={quote(path)}:"${{PATH:-{os.defpath}}}"\n')
            file.write(f'exec {" ".join(map(quote, [program, *MAIN[1:]]))} "$@"\nfi\n')
    os.utime(file.name, (moment, moment))
    os.replace(file.name, os.path.join(place, "due"))


def _run(words: "list[str]", env: "dict[str, str] | None" = None, codes: "tuple[int, ...]" = (0,)) -> str:
    """Return the output of a program. Raises _FailedError if it ends with another code; none: all will do."""
    import subprocess

    misleading = ("GIT_", "PYTHON", "VIRTUAL_ENV", "RELEASER_PROJECT", "UV_PROJECT", "UV_FROZEN", "UV_LOCKED", _SELF)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(misleading) or "SSH" in name}
    # From the root, where nobody else has modules; both outputs in one pipe.
    done = subprocess.run(words, cwd="/", env={**kept, **(env or {})}, stdout=-1, stderr=-2, check=False)
    output = done.stdout.decode("utf-8", "replace").strip()
    if codes and done.returncode not in codes:
        raise _FailedError(output or f"`{' '.join(words[:2])}` ended with {done.returncode}.")
    return output


def _find_uv(place: str) -> str:
    """Return uv: beside releaser or this file, on PATH, or installed below PLACE. Raises _FailedError."""
    from shutil import which

    own = os.path.join(place, "uv", "bin")
    beside = [os.path.dirname(path) for path in (*RELEASER[:1], os.path.abspath(__file__))]
    uv = which("uv", path=os.pathsep.join([*beside, os.environ.get("PATH", os.defpath), own]))
    if uv is None:
        _run([sys.executable, "-m", "pip", "install", "--quiet", "--target", os.path.dirname(own), "uv>=0.13"])
    return uv or os.path.join(own, "uv")


def _find_releaser(place: str) -> "list[str]":
    """Return the command of releaser; below PLACE it is installed, and again if its Python has gone."""
    from shutil import which

    if not PACKAGES:  # this file is a part of releaser
        return [sys.executable, "-I", "-m", "releaser"]
    found, own = which("releaser"), os.path.join(place, "bin")
    if RELEASER or found:
        return RELEASER or [os.path.abspath(found or "")]
    env = {"UV_TOOL_DIR": os.path.join(place, "tools"), "UV_TOOL_BIN_DIR": own}
    package = f"venv-releaser{'[s3]' * bool(_list_s3())}"
    _run([_find_uv(place), "tool", "install", "--quiet", "--python", ">=3.11", package], env)
    return [os.path.join(own, "releaser")]


def _run_releaser(place: str, project: str) -> None:
    """Update the project; without releaser, make a plain venv if there is none. Raises _FailedError."""
    try:
        releaser = _find_releaser(place)
    except _FailedError as error:
        if not _find_live(project):
            with open(os.path.join(project, "pyproject.toml"), encoding="utf-8") as file:
                python = _name_python(file.read())
            _run([_find_uv(place), "sync", "--quiet", "--frozen", "--directory", project], python)
        needs = "it is not kept up to date: releaser, which needs Python 3.11 or newer, cannot be installed."
        raise _FailedError(f"{needs}\n{error}") from None
    command = "update" if os.path.lexists(os.path.join(project, ".venv")) else "init"
    _run([*releaser, command, "--project", project], codes=(0, 8))


def _make_project(place: str, project: str) -> None:
    """Make the project, or change it as the program's lines have changed: the next update tests the change."""
    import glob
    import shutil

    git = ["git", "-C", project]
    for options in (
        "user.name=releaser",
        "user.email=releaser@localhost",
        "commit.gpgSign=false",
        "core.hooksPath=/dev/null",
    ):
        git += ["-c", options]
    os.makedirs(project, exist_ok=True)
    for path in glob.glob(os.path.join(glob.escape(project), ".git", "**", "*.lock"), recursive=True):
        os.unlink(path)  # of a look that was killed
    before = _run([*git, "show", "HEAD:pyproject.toml"], codes=(0, 128))
    text, draft, is_live = _write_pyproject(place, before), os.path.join(place, "draft"), _find_live(project)
    if before == text.strip() and is_live:
        return
    shutil.rmtree(draft, ignore_errors=True)
    os.mkdir(draft)
    if os.path.exists(os.path.join(project, "uv.lock")):
        shutil.copy(os.path.join(project, "uv.lock"), draft)
    _run([*git, "init", "--quiet", "--initial-branch=main"])
    for directory in (draft,) if os.path.exists(os.path.join(project, "pyproject.toml")) else (draft, project):
        with open(os.path.join(directory, "pyproject.toml"), "w", encoding="utf-8") as file:
            file.write(text)
    if _list_s3():  # before anything else, `init` copies the wheels
        _run([*_find_releaser(place), "init", "--project", project], {"RELEASER_SOURCES": " ".join(_list_s3())}, ())
    upgrade = [] if is_live else ["--upgrade"]
    _run([_find_uv(place), "lock", "--quiet", *upgrade, "--directory", draft], _name_python(text))
    for name in ("pyproject.toml", "uv.lock"):
        os.replace(os.path.join(draft, name), os.path.join(project, name))
    _run([*git, "add", "pyproject.toml", "uv.lock"])
    _run([*git, "commit", "--quiet", "--message", f"What {NAME} needs"], codes=(0, 1))


def _list_s3() -> "list[str]":
    return [f"{_normalize(name)}={source}" for name, source in SOURCES.items() if source.startswith("s3://")]


def _name_python(text: str) -> "dict[str, str]":
    return {"UV_PYTHON": text.split('\npython = "')[1].split('"')[0]}


def _normalize(name: str) -> str:
    import re

    return re.sub(r"[-_.]+", "-", re.split(r"[^A-Za-z0-9._-]", name)[0]).lower()


def _write_pyproject(place: str, before: str) -> str:
    """Return the project for uv and releaser. Its Python stays the same while that exists."""
    import json
    import re

    version, python = ".".join(map(str, sys.version_info[:2])), os.path.realpath(sys.executable)
    found = re.search(r'\nrequires-python = ">=(.+)"\n(?s:.*)\npython = "(.+)"\n', before)
    if found and os.access(found[2], os.X_OK):
        version, python = found[1], found[2]
    needed = [*PACKAGES, *(name for name in SOURCES if _normalize(name) not in map(_normalize, PACKAGES))]
    main = "-m " + MAIN[2] if MAIN[1:2] == ["-m"] else MAIN[0]
    verify = VERIFY or ["python", "-c", _IMPORT, main, *map(_normalize, needed)]
    values = (json.dumps(value, ensure_ascii=False) for value in (f">={version}", needed, python, _list_s3(), verify))
    text = _PROJECT.format(*values)
    for name, source in SOURCES.items():
        is_s3 = source.startswith("s3://")
        is_index = "://" in source and not is_s3
        copies = os.path.join(place, ".releaser", "project", "sources")
        url = source if is_index else copies if is_s3 else _find_directory(source, name)
        form = "simple" if is_index else "flat"
        text += _INDEX.format(name=json.dumps(_normalize(name)), url=json.dumps(url), form=form)
    return text


def _find_directory(source: str, name: str) -> str:
    """Return the path of a directory. Files of the package that are no wheels are said."""
    path = os.path.abspath(os.path.expanduser(source))
    for file in sorted(os.listdir(path)):
        is_other = file.endswith((".egg", ".tar.gz", ".zip"))
        if is_other and _normalize(file).startswith(_normalize(name) + "-"):
            print(f"{NAME}: only wheels are installed, so not {os.path.join(path, file)}.", file=sys.stderr)
    return path


def _read_seconds(option: str, text: str) -> float:
    form = _FORMS.get(text, text)
    if not form[:-1].isdigit() or form[-1] not in _UNITS:
        _end(2, f"{option} must be hourly, daily, weekly, always, never or such as 12h, not `{text}`.")
    return float(form[:-1]) * _UNITS[form[-1]]


def _main(arguments: "list[str]") -> None:
    """Start the program of this file; without PACKAGES, a command in a project that exists: `releaser exec`."""
    place, words = os.path.abspath(os.path.expanduser(PLACE)), [*MAIN, *arguments]
    project = os.path.join(place, "project")
    options = {"--refresh": REFRESH, "--wait": WAIT}
    if PACKAGES and arguments[:1] == ["--releaser"]:  # such as `--releaser rollback`
        os.environ["RELEASER_PROJECT"] = project
        words = [*_find_releaser(place), *arguments[1:]]
        os.execvp(words[0], words)
    if not PACKAGES:
        end = arguments.index("--") if "--" in arguments else 0
        options = {
            **options,
            "--project": os.environ.get("RELEASER_PROJECT", "."),
            **dict(zip(arguments[:end:2], arguments[1:end:2])),
        }
        words = arguments[end + 1 :]
        if not words or not end or end % 2 or len(options) > 3:
            _end(2, "run `releaser exec [--refresh TIME] [--wait TIME] [--project PATH] -- COMMAND…`.")
        project = os.path.realpath(options["--project"])
        while not os.path.exists(os.path.join(project, "pyproject.toml")) and project != "/":
            project = os.path.dirname(project)
        cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
        place = os.path.join(cache, "releaser", project.strip("/").replace("/", "%"))
    limits = [_read_seconds(option, options[option]) for option in ("--refresh", "--wait")]
    _start(place, project, words, limits)


if __name__ == "__main__":
    try:
        _main(sys.argv[1:])
    except KeyboardInterrupt:
        sys.exit(130)
    except (_FailedError, OSError) as error:
        _end(1, str(error))
