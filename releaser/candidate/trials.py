"""Runs the project's checks and tests with a venv and the packages that only the tests need."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from releaser.candidate.install import sync, unlink_live_data
from releaser.candidate.output import NONE_RUN, TEST, complaint, count_tests, find_output_flaw
from releaser.checkout.leftovers import mark_tried, other_lock
from releaser.checkout.staging import link_venv
from releaser.core.confinement import confinement
from releaser.errors import BuildError, ReleaserError, SandboxError, TestsFailedError, ToolError
from releaser.locks.lock import InvalidLockError, LockFile
from releaser.releases.release import MADE, is_marked
from releaser.releases.venv import executable_of, versions_in
from releaser.site.conventions import keep_locked
from releaser.site.disk import can_clone
from releaser.site.django_settings import CheckSettings
from releaser.system.environment import find_own_program
from releaser.system.files import clear_name, read_file, remove_tree
from releaser.system.frozen import Frozen, replace
from releaser.system.memory import returned_large_blocks
from releaser.system.process import NO_SANDBOX, describe_status, in_new_sandbox
from releaser.system.temporary import TEST_PACKAGES
from releaser.system.venv_environment import inside
from releaser.system.words import first_few, truncate
from releaser.tools.uv_arguments import only_groups_arguments

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from releaser.releases.release import Release
    from releaser.site.site import Site, SiteFacts
    from releaser.system.process import Finished, Sandbox


_LONGEST_SCRIPT = 1 << 20  # bytes
_TEST_RUN = "_RELEASER_TEST_RUN"  # a variable for `_releaser_pin.py`
_CUT_OFF = "Python ended before the tests did, with status 0, as by `os._exit(0)`; let `test_command` end by sys.exit"


class Trial(Frozen):
    """A test of a candidate: the name of the step, the command, and its name in messages."""

    step: str
    command: tuple[str, ...]
    name: str


class TrialResult(Frozen):
    """The result of a trial."""

    trial: Trial
    #: Why it failed; empty if it passed.
    reason: str
    output: str
    timed_out: bool = False
    #: True if it ran no tests, or not all.
    proves_nothing: bool = False
    #: True if it changed the installed files of its venv.
    touched: bool = False

    @property
    def passed(self) -> bool:
        """True if the trial passed."""
        return not self.reason

    @property
    def failure(self) -> str:
        """The failure, as the beginning of a sentence."""
        says_it = self.timed_out or self.proves_nothing or self.touched
        return self.reason if says_it else f"{self.trial.name} failed"

    @property
    def fault(self) -> str:
        """The failure with the packages of the trial, in a few words."""
        complained = "" if self.timed_out or self.proves_nothing or self.touched else complaint(self.output)
        return f"{self.failure} with it{complained}"


def list_trials(site: Site, facts: SiteFacts) -> tuple[Trial, ...]:
    """List the trials of a site, the quickest first."""
    tests = Trial(step=TEST, command=facts.test_command, name="the tests")
    settings = CheckSettings.of(site)
    due = (tests,) if site.supply.runs_tests else ()
    if settings.django_check == "off":
        return due
    words = ("manage.py", "check", f"--{settings.django_check}")
    level = ("--fail-level", settings.django_check_level.upper())
    return (Trial(step="django check", command=("python", *words, *level), name=f"`{' '.join(words)}`"), *due)


def run_trial(site: Site, trial: Trial, venv: Path, lock: Path, *, scratch: Path | None = None) -> TrialResult:
    """Run a trial with the interpreter of `venv` in the staging tree, within `test_timeout`.

    The packages of `test_groups` are installed meanwhile, in the versions of `lock`, from which the venv was built,
    below `scratch` or the state directory. Raises BuildError if that fails, or if the sandbox cannot be made.
    """
    unlink_live_data(site)
    mark_tried(site)
    if site.tree.is_staged:
        link_venv(site, venv)
    with install_test_packages(site, venv, lock, scratch=scratch) as extra_venv:
        try:
            finished, is_cut_off = in_new_sandbox(lambda: _run_confined(site, venv, trial, extra_venv))
        except SandboxError as error:  # which proves nothing about the tests
            message = f"{trial.name} could not be run: {error.message}"
            raise BuildError(message, error.advice) from error
        except ToolError as error:
            return _not_passed(site, trial, error)
    if trial.step == TEST and is_cut_off:
        return TrialResult(trial=trial, reason=_CUT_OFF, output=truncate(finished.output))
    flaw = find_output_flaw(trial.command, finished.output) if trial.step == TEST else ""
    return TrialResult(trial=trial, reason=flaw, output=truncate(finished.output), proves_nothing=bool(flaw))


def _run_confined(site: Site, venv: Path, trial: Trial, extra_venv: Path | None) -> tuple[Finished, bool]:
    """Run the command of a trial in a new sandbox; also return if the tests were cut off.

    Raises ToolError, and SandboxError if the sandbox cannot be made.
    """
    with (
        returned_large_blocks(),
        confinement().inside(site, venv, *filter(None, [extra_venv])) as sandbox,
        _watching(sandbox, trial.command) as (watched, end),
    ):
        finished = run_inside(site, venv, trial.command, extra_venv=extra_venv, sandbox=watched)
        return finished, end.is_missing


def fail_if_touched(result: TrialResult, find_touched: Callable[[], list[str]]) -> TrialResult:
    """Return the result of a trial, or a failure if the trial changed installed files. Raises OSError."""
    if not result.passed or not (touched := find_touched()):
        return result
    reason = f"{result.trial.name} changed installed files: {first_few(touched, 3)}"
    return replace(result, reason=reason, touched=True)


class _End(Frozen):
    """The directory in which the first interpreter of a test run records its start and end; see `_releaser_pin.py`."""

    place: Path

    @property
    def is_missing(self) -> bool:
        """True if the interpreter started, but did not end normally; False if no Python of the venv started."""
        return os.path.lexists(self.place / "began") and not os.path.lexists(self.place / "ended")


@contextlib.contextmanager
def _watching(sandbox: Sandbox, command: Sequence[str]) -> Iterator[tuple[Sandbox, _End]]:
    """Let a command of the venv's Python record its start and end, with or without a sandbox. Raises SandboxError.

    Other commands are not watched: the first Python of a shell script need not be that of the tests.
    """
    if command[0] != "python":
        yield sandbox, _End(place=Path("/nowhere"))
        return
    with contextlib.ExitStack() as stack:
        try:
            place, seen = stack.enter_context(sandbox.shared_directory())
        except OSError as error:
            message = f"no temporary directory can be made: {error}"
            raise SandboxError(message, "Check free space, and TMPDIR.") from error
        yield replace(sandbox, variables=(*sandbox.variables, (_TEST_RUN, seen))), _End(place=place)


def _not_passed(site: Site, trial: Trial, error: ToolError) -> TrialResult:
    output, timed_out = truncate(error.output), error.timed_out
    if error.returncode is None and not timed_out:
        message = f"{trial.name} could not be run: {error.message}"
        advice = "Correct `test_command`; then this candidate is tried again."
        raise TestsFailedError(message, blame="unknown", advice=advice) from error
    if trial.step == TEST and count_tests(error.output) == 0:  # pytest exits 5 then
        return TrialResult(trial=trial, reason=NONE_RUN, output=output, proves_nothing=True)
    late = f"{trial.name} did not end within {site.settings.test_timeout:g} s"
    reason, status = error.message, error.returncode or 0
    if 128 < status < 128 + signal.SIGRTMIN:  # as bubblewrap and shells report a signal
        reason = reason.replace(describe_status(status), describe_status(128 - status))
    return TrialResult(trial=trial, reason=late if timed_out else reason, output=output, timed_out=timed_out)


def run_inside(
    site: Site, venv: Path, words: Sequence[str], *, extra_venv: Path | None = None, sandbox: Sandbox
) -> Finished:
    """Run a command of the project with a venv, and with the packages of `extra_venv`. Raises ToolError."""
    first, *others = words
    program = str(venv / "bin" / "python") if first == "python" else first
    env = inside(venv, site.runner.site_environ, extra_venv=extra_venv)
    # A program that is missing runs without a sandbox, so that the error names it.
    is_there = shutil.which(os.path.join(site.project.root, program) if "/" in program else program, path=env["PATH"])
    return site.runner.run(
        [program, *others],
        cwd=site.project.root,
        env={**env, **dict(sandbox.variables)},
        timeout=site.settings.test_timeout,
        merge=True,
        in_background=True,
        sandbox=sandbox if is_there else NO_SANDBOX,
    )


# A copy of a release, to test in


@contextlib.contextmanager
def copy_of(site: Site, release: Release, *, place: Path) -> Iterator[Path]:
    """Copy the venv of a release to `place`, with shared blocks if the file system has them; delete it at the end.

    Scripts and activation files of the copy point into the copy. Raises ToolError and OSError.
    """
    venv = place / "venv"
    clear_name(place, of_directory=is_marked(place))
    try:
        place.mkdir(mode=0o700)
        (place / MADE).touch()
        source = os.path.realpath(release.venv)
        cp = find_own_program("cp", site.runner.environ, site.project.root) or "/bin/cp"  # a crontab may set any PATH
        words: list[str | Path] = [cp, "-a", "--reflink=auto", source, venv]
        site.runner.run(words, cwd=place, timeout=site.settings.uv_timeout, in_background=True)
        _repoint_scripts(venv, venv / "bin", (str(release.venv), source, str(site.project.venv)))
        yield venv
    finally:
        clear_name(place, of_directory=True)


def _repoint_scripts(venv: Path, directory: Path, names: tuple[str, ...]) -> None:
    """Replace the paths `names` of a venv by `venv` in the scripts of `directory`. Raises OSError."""
    longest_first = sorted(map(os.fsencode, names), key=len, reverse=True)
    named = re.compile(rb"(?:%b)(?![\w.-])" % b"|".join(map(re.escape, longest_first)))
    for file in directory.iterdir():
        if file.is_symlink() or not file.is_file() or file.stat().st_size > _LONGEST_SCRIPT:
            continue
        before = read_file(file)
        text = named.sub(os.fsencode(venv).replace(b"\\", rb"\\"), before)
        if text != before and b"\0" not in before:
            file.write_bytes(text)


# Packages that only the tests need


@contextlib.contextmanager
def install_test_packages(site: Site, venv: Path, lock: Path, *, scratch: Path | None = None) -> Iterator[Path | None]:
    """Install the packages that only tests need, in the versions of `lock`, for the time of the context.

    Yields a second venv, which is never part of a release and lacks packages that `venv` has; None without such
    packages. Raises BuildError.
    """
    if not site.settings.test_groups:
        yield None
        return
    place = None
    try:
        try:
            place = Path(tempfile.mkdtemp(*TEST_PACKAGES, scratch or site.state_dir))
            (place / MADE).touch()
            found = _sync_test_packages(site, venv, place / "venv", read_file(lock))
        except (ReleaserError, InvalidLockError, OSError) as error:
            named = ", ".join(site.settings.test_groups)
            known = error if isinstance(error, ReleaserError) else ReleaserError(str(error))
            message = (
                f"the packages for the tests alone (`test_groups`: {named}) could not be installed: {known.message}"
            )
            usual = "See uv's message, and correct these groups. No package of the release is the cause."
            raise BuildError(message, known.advice or usual, output=known.output) from error
        yield found
    finally:
        if place is not None:
            remove_tree(place)


def _sync_test_packages(site: Site, venv: Path, extra_venv: Path, text: bytes) -> Path | None:
    lock = LockFile.parse(text)
    groups = keep_locked(site.settings.test_groups, lock)
    if not groups:
        return None
    with other_lock(site.project.lock, text):
        words = only_groups_arguments(
            groups,
            present=versions_in(venv).keys() & lock.names,
            local=lock.local,
            link_mode=site.settings.link_mode or safe_link_mode(extra_venv.parent),
        )
        sync(site, extra_venv, words, python=Path(executable_of(venv / "bin" / "python")))
    _repoint_scripts(venv, extra_venv / "bin", (str(extra_venv), os.path.realpath(extra_venv)))
    return extra_venv


def safe_link_mode(place: Path) -> str:
    """Return a link mode for packages that tests may edit: through links, they would change uv's cache."""
    return "clone" if can_clone(place) else "copy"
