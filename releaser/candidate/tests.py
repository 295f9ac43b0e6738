"""The project's own tests: which command, with which environment, and what its end means."""

from __future__ import annotations

import os
import re
import signal
import tempfile
from pathlib import Path

import msgspec

from releaser.candidate.namespace import run_in_shadow
from releaser.candidate.shadow import Shadow
from releaser.checkout.repository import open_repository
from releaser.errors import Problem
from releaser.packages.lock import Lock
from releaser.releases.lease import has_startup_module
from releaser.site.django import find_django
from releaser.site.site import Site
from releaser.system import process
from releaser.system.text import LONGEST_LINE, clip, find_error_line, format_seconds

_RAN_NONE = re.compile(r"^(Ran 0 tests in |=+ no tests ran|collected 0 items\s*$|no tests ran in )", re.MULTILINE)
_RAN_SOME = re.compile(r"^Ran [1-9]\d* tests? in |\b[1-9]\d* passed\b", re.MULTILINE)
#: A lack of memory or disk, and what pytest-xdist and a pool of processes say of a process that was killed.
_RAN_OUT = re.compile(
    r"^(?:E +)?(?:MemoryError\b|(?:\w+\.)*BrokenProcessPool\b|OSError: \[Errno (?:12|28)\])|Not properly terminated$",
    re.MULTILINE,
)
_ERROR = re.compile(r"^(?:E +)?((?:\w+\.)*\w*(?:Error|Exception)\b(?:: .+)?)$", re.MULTILINE)
#: The exception below a traceback, whose class may have any name; and what unittest and pytest say of a failed test.
_RAISED = re.compile(r"^Traceback \(most recent call last\):\n(?:[ \t|+].*\n|\n)*([A-Za-z_].*)$", re.MULTILINE)
_FAILED_TEST = re.compile(r"^(?:FAILED (?!\()|(?:FAIL|ERROR): )(.+)$", re.MULTILINE)
_CHECK = re.compile(r"^SystemCheckError: .*\n+(?:[A-Z]+:\n)?(.+)$", re.MULTILINE)
#: Lines after the end of the tests.
_NOISE = re.compile(
    r"^(?:Destroying|Preserving|Creating|Found \d|System check identified no|Ran \d|-+$|OK).*\n?", re.MULTILINE
)
_FROM_OUTSIDE = (signal.SIGHUP, signal.SIGINT, signal.SIGKILL, signal.SIGTERM, signal.SIGXCPU)
_PYTEST_NONE = 5  # exit status of pytest and of unittest (Python 3.12) if no test ran


class TestResult(msgspec.Struct, frozen=True):
    """The end of a test run; `reason` says in a line why it is no pass."""

    __test__ = False

    passed: bool
    reason: str
    output: str
    #: True if something outside of the tests may have ended them, such as a lack of memory: once is no verdict.
    is_killed: bool = False


def choose_command(site: Site, project: Path, lock: Lock) -> tuple[str, ...]:
    """Return the test command of a project: `python` is that of the release. Empty if there is none."""
    if site.settings.tests.test_command:
        return site.settings.tests.test_command
    for script, arguments in (("run_tests.py", ()), ("manage.py", ("test", "--noinput"))):
        if (project / script).is_file():
            return ("python", script, *arguments)
    if "pytest" in lock.versions:
        return ("python", "-m", "pytest")
    manage = find_django(site, project).manage if "django" in lock.versions else None
    return ("python", str(manage), "test", "--noinput", str(manage.parent)) if manage else ()


def find_problems(site: Site, lock: Lock) -> list[Problem]:
    """Return a problem if the project has no tests, or tests other packages: nothing untested goes live."""
    command = choose_command(site, site.paths.project, lock)
    if runners := {os.path.basename(part) for part in command} & {"tox", "nox"}:
        message = f"`test_command` calls {runners.pop()}, whose environments have other packages than the release."
        return [Problem("other-packages", message, "Set it to what runs the tests there, such as `python -m pytest`.")]
    if command:
        return []
    message = "The project has no tests: no run_tests.py, no manage.py, and pytest is not in its lock."
    return [Problem("no-tests", message, "Set `test_command` in `[tool.releaser]`.")]


def run_tests(site: Site, shadow: Shadow, venv: Path, lock: Lock, *, mark: str, is_candidate: bool) -> TestResult:
    """Run the project's tests in a shadow with the packages of a venv, which they see read-only where it is mounted.

    They get the site's indexes, and a cache of uv of their own, as releases share the other one. A run that was killed,
    timed out, did not come to its end, ran no test, another Python than that of the venv or an environment of tox, or
    loaded files of the live checkout is no pass. Raises ToolError if the command cannot be started.
    """
    command = choose_command(site, shadow.project, lock)
    env = site.tool_environment(venv, mark) | site.public_uv_variables
    if site.settings.tests.tests_get_environment_file:
        env |= shadow.map_values(site.service)
    if not command:
        return TestResult(False, "the project has no tests", "")
    program = venv / "bin" / command[0]
    words = [program if "/" not in command[0] and program.exists() else command[0], *command[1:]]
    with tempfile.TemporaryDirectory(prefix=site.paths.temporary_prefix, ignore_cleanup_errors=True) as place:
        is_inside = shadow.is_mounted and Path(place).is_relative_to(shadow.original)
        record = shadow.map_path(Path(place)) if is_inside else Path(place)
        (record / "tmp").mkdir(parents=True, mode=0o700)
        env |= {"UV_CACHE_DIR": os.path.join(place, "uv-cache"), **site.settings.tests.test_environment}
        env |= {"TMPDIR": os.path.join(place, "tmp"), "_RELEASER_TEST": place}
        if is_candidate and not shadow.is_mounted:
            env["_RELEASER_LIVE"] = os.path.realpath(site.paths.top)
        try:
            timeout = site.settings.tests.test_timeout
            finished = run_in_shadow(site, shadow, words, env=env, timeout=timeout, check=False)
        finally:
            process.end_marked(env[process.MARK])  # daemons of the tests, too
        reason = explain_ending(finished) or _explain_record(site, record, venv)
    return TestResult(not reason, reason, finished.output, bool(reason) and was_killed(finished))


def _explain_record(site: Site, record: Path, venv: Path) -> str:
    """Return what the start-up module has seen of a test run that makes it no pass; empty if nothing does."""
    if (record / "first").is_symlink() and not (record / "ended").is_symlink():
        return "the tests did not come to their end: something called `os._exit`, or replaced the process"
    top, own = Path(os.path.realpath(site.paths.top)), os.path.realpath(venv)
    started = [path for path in _read_lines(record / "started-venvs") if path != own]
    if others := [path for path in started if Path(path).is_relative_to(os.path.realpath(site.paths.releases))]:
        return f"the tests started the Python of another release, {Path(others[0]).parent.name}, by its path"
    if programs := _read_lines(record / "elsewhere"):
        return f"the tests started `{programs[0]}`, not of the release: `test_command` must be what tox or nox starts"
    if has_startup_module(venv) and own not in _read_lines(record / "ended-venvs"):
        return "no Python of the release came to its end: `test_command` must start `python` as it is in PATH"
    names = {str(Path(os.path.realpath(path)).relative_to(top)) for path in _read_lines(record / "loaded")}
    live = sorted(names & open_repository(site).tracked_files()) if names else []
    return f"the tests loaded `{live[0]}` of the live checkout, not of the candidate" if live else ""


def _read_lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8", errors="surrogateescape").splitlines() if path.exists() else []


def was_killed(finished: process.Finished) -> bool:
    """Return True if a time limit, a signal from outside, or a lack of memory or disk has ended a test run.

    A shell reports a program that a signal ended by the sum of its number and 128.
    """
    status = finished.status - 128 if finished.status > 128 else -finished.status
    return finished.timed_out or status in _FROM_OUTSIDE or _RAN_OUT.search(finished.output) is not None


def explain_ending(finished: process.Finished) -> str:
    """Return why the end of a test run is no pass; empty if it is one."""
    if finished.timed_out:
        return f"the tests were still running after {format_seconds(finished.seconds)}; see `test_timeout`"
    if finished.status < 0:
        return f"the tests were {finished.ending}"
    ran_none = _RAN_NONE.search(finished.output) and not _RAN_SOME.search(finished.output)
    if ran_none or (finished.status == _PYTEST_NONE and not _RAN_SOME.search(finished.output)):
        return "no tests ran"
    if finished.status:
        line = find_telling_line(finished.output)
        return f"the tests failed ({finished.ending})" + (f": {line}" if line else "")
    return ""


def find_telling_line(output: str) -> str:
    """Return why tests failed, in one line of their output: the last line says at most how many there were."""
    if check := _CHECK.search(output):
        return clip(check[1].strip(), LONGEST_LINE)
    errors = [*_ERROR.finditer(output), *_RAISED.finditer(output)]
    errors = errors or [*_FAILED_TEST.finditer(output)][-1:]
    last = max(errors, key=lambda match: match.start(1), default=None)
    return clip(last[1].strip(), LONGEST_LINE) if last else find_error_line(_NOISE.sub("", output) or output)
