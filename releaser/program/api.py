"""The functions of releaser for programs: each runs releaser itself, and may be called from any directory and thread.

    from releaser.api import require, update
    require(["hello"], sources=["s3://bucket/apps", "https://packages.example.org/simple"])
    update()
    import hello  # the newest version that passes

A site is named by `project`, or by `RELEASER_PROJECT`; a program that calls `require` has a project of its own, below
`~/.local/share/releaser`. Each function raises `ReleaserError`.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import msgspec
from uv import find_uv_bin

__all__ = [
    *("Answer", "Change", "Problem", "Release", "ReleaserError", "Status"),
    *("releases", "require", "rollback", "status", "update"),
]
T = TypeVar("T")
_WAIT = "600"  # seconds for another run, as of the same program
# What each release of a program must pass: its packages can be imported.
_VERIFY = """
import importlib, re, sys
from importlib import metadata
for module, owners in metadata.packages_distributions().items():
    if module.isidentifier() and {re.sub("[-_.]+", "-", owner).lower() for owner in owners} & {*sys.argv[1:]}:
        importlib.import_module(module)
"""
_SERIES = f"{sys.version_info.major}.{sys.version_info.minor}"
_PROJECT = """\
[project]
name = "program"
version = "0"
requires-python = "=={series}.*"
dependencies = {dependencies}

[tool.uv]
package = false
no-build = true
no-index = {no_index}

[tool.releaser]
environment = "local"
environment_file = ""
python = {python}
sources = {sources}
git_pull = false
git_push = false
restart = "none"
audit = "off"
test_command = {test_command}
"""
_lock = threading.RLock()
_own: list[Path] = []  # the project that `require` has made, as the only entry
_used: list[str] = []  # the site-packages that `update` has put onto `sys.path`, as the only entry


class ReleaserError(Exception):
    """releaser could not do what was asked: `message`, `advice`, and the exit code of its command."""

    def __init__(self, message: str, advice: str = "", exit_code: int = 1) -> None:
        super().__init__(" ".join(filter(None, [message, advice])))
        self.message, self.advice, self.exit_code = message, advice, exit_code


class Problem(msgspec.Struct, frozen=True):
    """A problem: its name, what is wrong, and what to do."""

    code: str
    message: str
    advice: str = ""


class Change(msgspec.Struct, frozen=True):
    """A package that changed; `bump` is major, minor, patch, other, added or removed."""

    name: str
    old: str | None
    new: str | None
    bump: str


class Answer(msgspec.Struct, frozen=True):
    """How an update or a rollback ended; `release` is the live one, `previous` the one before it."""

    result: str
    exit_code: int
    headline: str
    release: str | None = None
    previous: str | None = None
    changes: tuple[Change, ...] = ()
    notes: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()


class Release(msgspec.Struct, frozen=True):
    """A release; `path` is its venv."""

    id: str
    state: str
    live: bool
    pinned: bool
    created_at: str
    python: str
    commit: str
    path: str
    changes: tuple[Change, ...] = ()


class Status(msgspec.Struct, frozen=True):
    """The state of a site: `attention` says why it is not well."""

    live: str | None
    previous: str | None
    well: bool
    attention: tuple[Problem, ...] = ()
    last_updated: str | None = None
    updates_due: int | None = None


def require(requirements: Sequence[str], sources: Sequence[str] = ()) -> None:
    """Say which packages this program needs, such as `hello>=2`. The next `update` gets them.

    `sources` are directories and `s3://BUCKET/PREFIX` with wheels, and addresses of indexes. If any are given, no other
    place is asked: name the public index, too, for what comes from there. A project in `RELEASER_PROJECT` is taken
    as it is. Nothing is asked of the network but for the first lock.
    """
    named = os.environ.get("RELEASER_PROJECT")
    with _lock:
        try:
            _own[:] = [Path(named).absolute() if named else _make_project([*requirements], [*sources])]
        except OSError as error:
            raise ReleaserError(f"The project of this program cannot be made: {error}", "", 3) from error


def update(*names: str, project: str | os.PathLike[str] | None = None) -> Answer:
    """Update, or only the packages of these names and what they need, and return how that ended.

    After `require`, the live release is put onto `sys.path`: what is imported from now on comes from it. An update that
    fails is told on standard error, and the program goes on with the release that is live; without one, this raises.
    """
    with _lock:
        place = _find_project(project)
        is_own = project is None and bool(_own)
        is_first = is_own and not os.path.lexists(place / ".venv")
        answer = _ask(Answer, "init" if is_first else "update", *names, "--wait", _WAIT, project=place)
        if is_own:
            _use_live(place, answer)
        elif answer.exit_code not in (0, 7):
            raise _make_error(answer)
    return answer


def rollback(release: str = "", *, keep_code: bool = False, project: str | os.PathLike[str] | None = None) -> Answer:
    """Go back to a release, or to the previous good one; with `keep_code`, the packages alone.

    What this program has imported stays as it is until it starts again.
    """
    words = [*(["--keep-code"] if keep_code else []), *([release] if release else [])]
    answer = _ask(Answer, "rollback", *words, "--wait", _WAIT, project=_find_project(project))
    if answer.exit_code not in (0, 7):
        raise _make_error(answer)
    return answer


def status(project: str | os.PathLike[str] | None = None) -> Status:
    """Return the state of the site."""
    return _ask(Status, "status", project=_find_project(project))


def releases(project: str | os.PathLike[str] | None = None) -> tuple[Release, ...]:
    """Return the releases, newest first."""
    return _ask(tuple[Release, ...], "list", project=_find_project(project))


def _find_project(project: str | os.PathLike[str] | None) -> Path:
    named = _own[0] if project is None and _own else project or os.environ.get("RELEASER_PROJECT", ".")
    return Path(named).absolute()


def _ask(kind: type[T], command: str, *words: str, project: Path) -> T:
    """Return the answer of a command. Raises ReleaserError without one."""
    program = Path(sys.prefix, "bin", "releaser")
    start = [program] if program.exists() else [sys.executable, "-P", "-m", "releaser"]
    finished = _run([*start, command, "--json", "--project", project, *words], check=False)
    for answer in (kind, Answer):  # a refusal is an Answer
        with contextlib.suppress(msgspec.MsgspecError):
            decoded = msgspec.json.decode(finished.stdout, type=answer, strict=False)
            if isinstance(decoded, Answer) and kind is not Answer:
                raise _make_error(decoded)
            return cast("T", decoded)
    raise ReleaserError(f"`releaser {command}` gave no answer: {finished.stderr.strip()}", "", finished.returncode)


def _make_error(answer: Answer) -> ReleaserError:
    advice = next((problem.advice for problem in answer.problems if problem.advice), "")
    return ReleaserError(answer.headline, advice, answer.exit_code)


def _run(
    words: Sequence[str | Path], *, check: bool = True, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "PYTHON", "VIRTUAL_ENV"))}
    options: dict[str, Any] = {"stdin": subprocess.DEVNULL, "capture_output": True, "check": False}
    try:
        finished = subprocess.run(words, cwd=cwd or "/", env=env, encoding="utf-8", errors="replace", **options)
    except OSError as error:
        raise ReleaserError(f"`{Path(words[0]).name}` cannot be started: {error.strerror}.", "", 4) from error
    if check and finished.returncode:
        raise ReleaserError(f"`{Path(words[0]).name}` failed: {finished.stderr.strip()}", "", 4)
    return finished


def _use_live(project: Path, answer: Answer) -> None:
    """Put the live release onto `sys.path`, and keep it from being pruned. Raises ReleaserError if it does not fit."""
    venv = Path(os.path.realpath(project / ".venv"))
    packages = str(venv / "lib" / f"python{_SERIES}" / "site-packages")
    if not os.path.isdir(packages):
        if answer.exit_code not in (0, 7):
            raise _make_error(answer)
        advice = f"Start the program by it: `releaser run --project {project} -- python {sys.argv[0]}`."
        raise ReleaserError(f"The live release has another Python than this program, {_SERIES}.", advice, 3)
    if answer.exit_code not in (0, 7):
        print(f"{_make_error(answer)} This program goes on with the live release.", file=sys.stderr)  # noqa: T201
    if packages not in sys.path:
        lease = os.open(venv.parent / "lease", os.O_RDONLY | os.O_CLOEXEC)  # open as long as this process lives
        fcntl.flock(lease, fcntl.LOCK_SH)
        sys.path[:] = [path for path in sys.path if path not in _used]
        sys.path.insert(min(1, len(sys.path)), packages)
        _used[:] = [packages]
        importlib.invalidate_caches()


def _make_project(requirements: Sequence[str], sources: Sequence[str]) -> Path:
    """Return the project of this program; it is made, or changed as the program has changed."""
    program = os.path.realpath(sys.argv[0] or sys.executable)
    name = f"{Path(program).stem}-{hashlib.sha256(os.fsencode(program)).hexdigest()[:8]}"
    project = Path(os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share"), "releaser", name, "project")
    project.mkdir(mode=0o700, parents=True, exist_ok=True)
    git = ["git", "-C", str(project), "-c", "core.hooksPath=/dev/null", "-c", "commit.gpgSign=false"]
    git += ["-c", "user.name=releaser", "-c", "user.email=releaser@localhost"]
    lock, text = project / "uv.lock", _write_pyproject(requirements, sources)
    with open(project.parent / "making", "w") as guard:  # against another start of the program
        fcntl.flock(guard, fcntl.LOCK_EX)
        committed = _run([*git, "show", "HEAD:pyproject.toml"], check=False)
        if committed.returncode or committed.stdout != text:
            for path in (project / ".git").glob("**/*.lock"):  # of a start that was killed
                path.unlink(missing_ok=True)
            _run([*git, "init", "--quiet", "--initial-branch=main"])
            (project / "pyproject.toml").write_text(text, encoding="utf-8")
            if not lock.exists():
                _make_lock(project)
            _run([*git, "add", "pyproject.toml", "uv.lock"])
            _run([*git, "commit", "--quiet", "--message", f"What {Path(program).name} needs"])
    return project


def _make_lock(project: Path) -> None:
    """Make the first lock; `init` copies the wheels of `sources`, and then misses the lock."""
    answer = _ask(Answer, "init", project=project)
    if all(problem.code != "no-lock" for problem in answer.problems):  # it did not come so far
        raise _make_error(answer)
    link, copies = project / ".releaser-sources", project.parent / ".releaser" / "project" / "sources"
    words = ["--find-links", link.name] if copies.is_dir() else []
    try:
        link.symlink_to(copies)
        _run([find_uv_bin(), "lock", "--quiet", *words], cwd=project)
    finally:
        link.unlink()


def _write_pyproject(requirements: Sequence[str], sources: Sequence[str]) -> str:
    """Return the project as uv and releaser take it: without a remote, a service and mails."""
    indexes = [source for source in sources if source.startswith(("https://", "http://"))]
    others = [source for source in sources if source not in indexes]
    wheels = [each if each.startswith("s3://") else os.path.abspath(os.path.expanduser(each)) for each in others]
    if any(re.search("://[^/]*@", source) for source in sources):
        raise ReleaserError("An address in `sources` has a user or a password.", "uv reads them from `~/.netrc`.", 3)
    names = [re.sub(r"[-_.]+", "-", re.split(r"[^\w.-]", each)[0]).lower() for each in requirements]
    text = _PROJECT.format(
        series=_SERIES,
        dependencies=json.dumps([*requirements]),
        no_index=json.dumps(bool(sources) and not indexes),
        python=json.dumps(os.path.realpath(sys.executable)),
        sources=json.dumps(wheels),
        test_command=json.dumps(["python", "-c", _VERIFY, *names]),
    )
    return text + "".join(
        f"\n[[tool.uv.index]]\nurl = {json.dumps(url)}\ndefault = {json.dumps(number == 0)}\n"
        for number, url in enumerate(indexes)
    )
