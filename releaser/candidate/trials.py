"""Trying a venv: the project's checks and tests, run with what only the tests need; and what tests print."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import shutil
import signal
import tempfile
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from releaser.candidate.install import other_lock, sync
from releaser.candidate.isolated import sandbox_of
from releaser.checkout.leftovers import mark_tried
from releaser.checkout.staging import link_venv
from releaser.errors import BuildError, Finding, ReleaserError, TestsFailedError, ToolError, error_line
from releaser.locks.lock import InvalidLockError, LockFile
from releaser.releases.venv import executable_of, versions_in
from releaser.site.conventions import keep_locked
from releaser.site.disk import can_clone
from releaser.system.environment import inside
from releaser.system.files import clear_name, remove_tree
from releaser.system.process import describe_status
from releaser.system.words import one_line, strip_control, truncate
from releaser.tools.uv import only_groups_arguments

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from releaser.releases.release import Manifest, Release
    from releaser.site.site import Site, SiteFacts
    from releaser.system.isolation import Sandbox
    from releaser.system.process import Finished


TEST = "test"  # the step of the project's own tests
# What lies in the state directory for a while; recovery sweeps there what ends like that.
LIVE_COPY = ".live-copy.new"
TEST_PACKAGES = (".new", ".test-packages-")  # suffix and prefix, as tests may run twice at once
_LONGEST_SCRIPT = 1 << 20  # bytes


@dataclass(frozen=True, kw_only=True)
class Trial:
    """Something that a candidate has to pass: the name of the step, the command, and what messages call it."""

    step: str
    command: tuple[str, ...]
    name: str


@dataclass(frozen=True, kw_only=True)
class TrialResult:
    """How a trial ended."""

    trial: Trial
    #: Why it is not passed; empty if it is.
    reason: str
    output: str
    timed_out: bool = False
    #: Whether it ran no tests, or not all.
    proves_nothing: bool = False

    @property
    def passed(self) -> bool:
        """Whether there is nothing to complain of."""
        return not self.reason

    @property
    def told(self) -> str:
        """That it was not passed, as the beginning of a sentence."""
        return self.reason if self.timed_out or self.proves_nothing else f"{self.trial.name} failed"

    @property
    def fault(self) -> str:
        """What went wrong with the packages that were tried, in a few words."""
        said = "" if self.timed_out or self.proves_nothing else complaint(self.output)
        return f"{self.told} with it{said}"


def list_trials(site: Site, facts: SiteFacts) -> tuple[Trial, ...]:
    """List what has to be passed, the quickest first."""
    tests = Trial(step=TEST, command=facts.test_command, name="the tests")
    settings = site.settings
    if settings.django_check == "off":
        return (tests,)
    words = ("manage.py", "check", f"--{settings.django_check}")
    level = ("--fail-level", settings.django_check_level.upper())
    return (Trial(step="django check", command=("python", *words, *level), name=f"`{' '.join(words)}`"), tests)


def run_trial(site: Site, trial: Trial, venv: Path, lock: Path, *, scratch: Path | None = None) -> TrialResult:
    """Let the interpreter of `venv` try in the staging tree, within `test_timeout`.

    `lock` is what the venv was built from: with the packages of `test_groups` in its versions, which lie in `scratch`
    meanwhile, or in the state directory. Raises BuildError if these cannot be installed.
    """
    mark_tried(site)
    if site.staged is not None:
        link_venv(site, venv)
    with install_test_packages(site, venv, lock, scratch=scratch) as beside:
        try:
            with sandbox_of(site, venv, *([beside] if beside else [])) as sandbox:
                finished = run_inside(site, venv, trial.command, beside=beside, sandbox=sandbox)
        except ToolError as error:
            return _not_passed(site, trial, error)
    flaw = flaw_of(trial.command, finished.output) if trial.step == TEST else ""
    return TrialResult(trial=trial, reason=flaw, output=truncate(finished.output), proves_nothing=bool(flaw))


def _not_passed(site: Site, trial: Trial, error: ToolError) -> TrialResult:
    output, timed_out = truncate(error.output), error.timed_out
    if error.returncode is None and not timed_out:
        message = f"{trial.name} could not be run: {error.message}"
        advice = "Correct `test_command`; then this candidate is tried again."
        raise TestsFailedError(message, blame="unknown", advice=advice) from error
    if trial.step == TEST and count_tests(error.output) == 0:  # of which pytest makes exit status 5
        return TrialResult(trial=trial, reason=NONE_RUN, output=output, proves_nothing=True)
    late = f"{trial.name} did not end within {site.settings.test_timeout:g} s"
    reason, status = error.message, error.returncode or 0
    if 128 < status < 128 + signal.SIGRTMIN:  # as bubblewrap and shells tell of a signal
        reason = reason.replace(describe_status(status), describe_status(128 - status))
    return TrialResult(trial=trial, reason=late if timed_out else reason, output=output, timed_out=timed_out)


def run_inside(
    site: Site, venv: Path, words: Sequence[str], *, beside: Path | None = None, sandbox: Sandbox | None = None
) -> Finished:
    """Run a command of the project with a venv, and with the packages of the venv `beside`. Raises ToolError.

    What has a `sandbox` is a trial, within `test_timeout`.
    """
    first, *others = words
    program = str(venv / "bin" / "python") if first == "python" else first
    env = inside(venv, site.runner.site_environ, beside=beside)
    # else it is this that is told
    is_there = shutil.which(os.path.join(site.project.root, program) if "/" in program else program, path=env["PATH"])
    return site.runner.run(
        [program, *others],
        cwd=site.project.root,
        env={**env, **dict(sandbox.variables if sandbox else ())},
        timeout=site.settings.test_timeout if sandbox else 60.0,
        merge=True,
        prefix=sandbox.prefix if sandbox and is_there else (),
    )


# A copy of a release, to test in


@contextlib.contextmanager
def copy_of(site: Site, release: Release, *, place: Path) -> Iterator[Path]:
    """Copy the venv of a release to `place`, sharing blocks where that can be, and take the copy away at the end.

    Its scripts and activation files lead into the copy. Raises ToolError and OSError.
    """
    venv = place / "venv"
    clear_name(place, of_directory=True)
    try:
        place.mkdir(mode=0o700)
        source = os.path.realpath(release.venv)
        cp = shutil.which("cp", path=site.runner.environ.get("PATH")) or "/bin/cp"  # a crontab may set any PATH
        site.runner.run([cp, "-a", "--reflink=auto", source, venv], cwd=place, timeout=site.settings.uv_timeout)
        _lead_scripts_into(venv, venv / "bin", (str(release.venv), source, str(site.project.venv)))
        yield venv
    finally:
        clear_name(place, of_directory=True)


def _lead_scripts_into(venv: Path, directory: Path, names: tuple[str, ...]) -> None:
    """Let the scripts in `directory`, which are for the venv that has these names, be for `venv`. Raises OSError."""
    longest_first = sorted(map(os.fsencode, names), key=len, reverse=True)
    named = re.compile(rb"(?:%b)(?![\w.-])" % b"|".join(map(re.escape, longest_first)))
    for file in directory.iterdir():
        if file.is_symlink() or not file.is_file() or file.stat().st_size > _LONGEST_SCRIPT:
            continue
        before = file.read_bytes()
        text = named.sub(os.fsencode(venv).replace(b"\\", rb"\\"), before)
        if text != before and b"\0" not in before:
            file.write_bytes(text)


# What only the tests need


@contextlib.contextmanager
def install_test_packages(site: Site, venv: Path, lock: Path, *, scratch: Path | None = None) -> Iterator[Path | None]:
    """Install what only tests need, in the versions of `lock`, for the time that `venv` is tried in the staging tree.

    Yield the venv that holds it, which is never part of a release, or None where there is nothing of the kind. Packages
    that `venv` has are not in it. Raises BuildError.
    """
    if not site.settings.test_groups:
        yield None
        return
    place = None
    try:
        try:
            place = Path(tempfile.mkdtemp(*TEST_PACKAGES, scratch or site.state_dir))
            found = _sync_test_packages(site, venv, place / "venv", lock.read_bytes())
        except (ReleaserError, InvalidLockError, OSError) as error:
            named = ", ".join(site.settings.test_groups)
            known = error if isinstance(error, ReleaserError) else ReleaserError(str(error))
            message = f"what only the tests need (`test_groups`: {named}) could not be installed: {known.message}"
            usual = "See uv's message, and correct these groups. No package of what goes live is to blame."
            raise BuildError(message, advice=known.advice or usual, output=known.output) from error
        yield found
    finally:
        if place is not None:
            remove_tree(place)


def _sync_test_packages(site: Site, venv: Path, beside: Path, text: bytes) -> Path | None:
    lock = LockFile.parse(text)
    groups = keep_locked(site.settings.test_groups, lock)
    if not groups:
        return None
    with other_lock(site.project.lock, text):
        words = only_groups_arguments(
            groups,
            present=versions_in(venv).keys() & lock.names,
            local=lock.local,
            link_mode=site.settings.link_mode or safe_link_mode(beside.parent),
        )
        sync(site, beside, words, python=Path(executable_of(venv)))
    _lead_scripts_into(venv, beside / "bin", (str(beside), os.path.realpath(beside)))
    return beside


def safe_link_mode(place: Path) -> str:
    """Return how to install what tests may edit: links to uv's cache would change whatever is built later."""
    return "clone" if can_clone(place) else "copy"


# What tests print: how many there were, which packages a failing one names, and which code it touches


NONE_RUN = "not a single test was run"
CUT_SHORT = "the tests ended with exit status 0, but without the last line of their runner"
ADVICE = "See that `test_command` runs the tests, and that nothing stops it before they finish."
# Django's runner is that of unittest. Tests that were skipped are in its number.
_UNITTEST = re.compile(r"^Ran (\d+) tests? in [\d.]+s$(?:\s+^[A-Z ]+ \((?:.*?, )?skipped=(\d+))?", re.MULTILINE)
_PYTEST = re.compile(r"^=*[ ]?((?:\d+ [a-z ]+(?:, )?)+) in [\d.]+s\b", re.MULTILINE)
_SUGAR = re.compile(r"^Results \([\d.]+m?s\):\n((?:[ \t]+\d+ \w+\n?)+)", re.MULTILINE)  # of the plugin pytest-sugar
_NOTHING = re.compile(r"^(?:=+ )?(?:no tests ran\b|collected 0 items)", re.MULTILINE)
_FAILED = re.compile(
    r"^(?:FAIL|ERROR): (\S+ \(.*?|(?:test|setUp|tearDown)\w*)\s*$|^(?:FAILED|ERROR) (\S+?::.+?|\S+\.py)(?= - |\s*$)",
    re.MULTILINE,
)
_LONGEST = 200  # characters of the name of a test
_MOST = 200  # names
_RAN = re.compile(r"(\d+) (?:passed|failed|errors?|xfailed|xpassed)\b")  # others were skipped, or not chosen


def count_tests(output: str) -> int | None:
    """Count the tests that were run, by the last lines of unittest, Django and pytest; None if there is none."""
    text = strip_control(output)
    counts = [int(ran) - int(skipped or 0) for ran, skipped in _UNITTEST.findall(text)]
    ends = [*_PYTEST.findall(text), *_SUGAR.findall(text)]
    counts += [sum(map(int, _RAN.findall(end))) for end in ends]
    if not counts:
        return 0 if _NOTHING.search(text) else None
    return sum(counts)


def failing_tests(output: str) -> tuple[str, ...]:
    """Name the tests that failed, in alphabetical order, as unittest, Django and pytest name them."""
    text = strip_control(output)
    found = {one_line(first or second, limit=_LONGEST) for first, second in _FAILED.findall(text)}
    return tuple(sorted(found)[:_MOST])


def names_runner(command: Sequence[str]) -> bool:
    """Whether a command starts a runner that is known, whose last line must therefore be there."""
    names = [PurePath(word).name for word in command]
    arguments = [word for word in names if not word.startswith("-")]
    if any(words in (("-m", "pytest"), ("-m", "unittest")) for words in itertools.pairwise(names)):
        return True
    if names[0] in ("pytest", "py.test") or ("pytest" in arguments[:3] and "run" in names[:2]):  # `uv run pytest`
        return True
    found = {"manage.py", "django-admin", "django"}.intersection(arguments)
    return any(arguments[arguments.index(name) + 1 :][:1] == ["test"] for name in found)


def flaw_of(command: Sequence[str], output: str) -> str:
    """Say why tests that ended with exit status 0 prove nothing; empty if they do prove something."""
    count = count_tests(output)
    if count == 0:
        return NONE_RUN
    return CUT_SHORT if count is None and names_runner(command) else ""


def fewer_tests(now: Manifest, before: Manifest | None) -> Finding | None:
    """Say that fewer tests were run than with the release before; None if it is not so, or not known."""
    if before is None or now.tests_run is None or before.tests_run is None or now.tests_run >= before.tests_run:
        return None
    count = f"{now.tests_run} {'test was' if now.tests_run == 1 else 'tests were'} run with {now.id}"
    message = f"{count}, where {before.tests_run} were with {before.id}, the release before"
    return Finding(message, advice="Check that no tests got lost: tests that are skipped or not found do not fail.")


_IN_A_RELEASE = re.compile(r"/(?:site|dist)-packages/([^/\\\s\"']+)")
_ERROR = re.compile(r"(?:E\s+)?((?:\w+\.)*\w*(?:Error|Exception|Failed|Failure|Warning)\b(?:: .*)?)\s*$")
_RAISED = re.compile(r"((?:\w+\.)*\w+(?:: .*)?)\s*$")  # below the indented lines of a traceback
_LONGEST_SUSPECTS = 200  # characters
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def suspects(output: str, venv: Path, names: Collection[str]) -> tuple[str, ...]:
    """Return those of `names` that the output of a failed test names, none if that is more than half of them.

    A framework is in every traceback, so that a crowd of suspects is no hint.
    """
    words = {word.rstrip(".").lower() for word in _WORD.findall(output)}
    modules = {module.lower() for module in _IN_A_RELEASE.findall(output)}
    known = _modules(venv, names)
    found = [name for name in names if name in words or known.get(name, frozenset()) & (modules | words)]
    return tuple(found) if len(found) * 2 <= len(names) else ()


def _modules(venv: Path, names: Collection[str]) -> dict[str, frozenset[str]]:
    """Map packages to what stands of them in site-packages, in small letters; nothing of a damaged one."""
    from importlib.metadata import distributions  # which a night without anything new need not import

    places = [str(place) for place in venv.glob("lib/python*/site-packages")]
    found: dict[str, frozenset[str]] = {}
    for distribution in distributions(path=places):
        try:
            name = re.sub(r"[-_.]+", "-", distribution.name).lower()
            if name in names:
                tops = {file.parts[0].lower() for file in distribution.files or ()} - {"..", "__pycache__"}
                named = {top for top in tops if not top.endswith((".dist-info", ".data", ".pth"))}
                found[name] = frozenset(named | {top.removesuffix(".py") for top in named})
        except Exception:  # noqa: BLE001, S112 - it is a hint, and metadata may be garbage of any kind
            continue
    return found


def complaint(output: str) -> str:
    """Return what a failed test says went wrong, in a few words after a colon; empty if it says nothing."""
    lines = ["", *output.splitlines()]
    errors = [
        found
        for above, line in itertools.pairwise(lines)
        if (found := _ERROR.match(line) or (above.startswith("    ") and _RAISED.match(line)))
    ]
    said = errors[-1].group(1) if errors else error_line(output)
    return f": {one_line(said, limit=_LONGEST_SUSPECTS)}" if said else ""
