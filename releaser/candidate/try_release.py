"""The trials that `verify` and `check --tests` run in a copy of a sealed release and of its code."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Literal

from releaser.candidate.output import TEST
from releaser.candidate.trials import Trial, copy_of, run_trial
from releaser.checkout.staging import see_aside, stage_aside
from releaser.core.run import new_log
from releaser.core.target import Target
from releaser.errors import BuildError, TestsFailedError, ToolError, UsageError
from releaser.locks.lock import InvalidLockError, LockFile
from releaser.releases import integrity
from releaser.releases.store import store_of
from releaser.releases.venv import repoint_editables
from releaser.site.conventions import choose_test_command
from releaser.site.django_settings import is_django
from releaser.system.frozen import replace
from releaser.system.temporary import temporary_tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from releaser.releases.release import Release
    from releaser.site.site import Site


def check_trial(site: Site) -> Trial:
    """Return the trial that runs Django's checks. Raises UsageError without a `manage.py`."""
    if not is_django(site.project.root):
        message = f"--check: there is no manage.py in {site.project.root}"
        raise UsageError(message, "Omit --check; --tests runs the tests of the project.")
    return Trial(step="check", command=("python", "manage.py", "check"), name="`python manage.py check`")


def tests_trial(site: Site) -> Trial:
    """Return the trial that runs the project's tests. Raises PreflightError if it has none."""
    try:
        locked = LockFile.read(site.project.lock).names
    except (OSError, InvalidLockError):
        locked = frozenset()
    command = choose_test_command(site.settings, site.project.root, locked=locked)
    return Trial(step=TEST, command=command, name=f"`{' '.join(command)}`")


@contextlib.contextmanager
def prepare_trials(site: Site, trials: Sequence[Trial]) -> Iterator[Callable[[Release], Iterable[integrity.Defect]]]:
    """Yield a function that runs trials in a copy of a release, as tests may write there.

    Both raise BuildError if a trial could not be run, which says nothing about the release.
    """
    if not trials:
        yield lambda _: ()
        return
    with temporary_tree() as base:
        seen = see_aside(site, base / "tree")
        tree, head = seen.git.layout.git_directory.parent, seen.git.commit("HEAD")
        staged = stage_aside(seen, new_log("verify"), Target(head=head, commit=head))
        # Files of the site are linked into the tree, and must not be written.
        variables = {**staged.runner.site_variables, "PYTHONDONTWRITEBYTECODE": "1"}
        staged = replace(staged, runner=replace(staged.runner, site_variables=variables))
        yield lambda release: _run_trials(staged, release, trials, base, tree)


def _run_trials(
    site: Site, release: Release, trials: Sequence[Trial], base: Path, tree: Path
) -> list[integrity.Defect]:
    kinds: dict[str, Literal["check", "tests"]] = {
        listed.step: "tests" if listed.step == TEST else "check" for listed in trials
    }
    if release.has_failed:
        message = "releaser starts nothing from a release that failed its tests"
        return [integrity.Defect(kind=kind, message=message) for kind in kinds.values()]
    findings = []
    try:
        with copy_of(site, release, place=base / "copy") as venv:
            repoint_editables(venv, site.outside.git.layout.top, tree)
            for trial in trials:
                try:
                    result = run_trial(site, trial, venv, release.lock, scratch=base)
                    message = f"{trial.name} does not pass: {result.reason}"
                    passed, output = result.passed, "" if result.proves_nothing else result.output
                except TestsFailedError as error:
                    passed, message, output = False, error.message, error.output
                if not passed:
                    findings.append(integrity.Defect.of_failure(kinds[trial.step], message, output))
    except (ToolError, OSError, ValueError) as error:
        message = f"release {release.id} cannot be copied for testing: {getattr(error, 'message', error)}"
        advice = "Check free space and permissions, also of the directory for temporary files (`TMPDIR`)."
        raise BuildError(message, advice, output=getattr(error, "output", "")) from error
    return findings


def try_live(site: Site) -> tuple[integrity.Defect, ...]:
    """Run the tests of the live release in a copy of it and of its code, for `releaser check --tests`.

    Raises UsageError without a live release, and PreflightError without tests.
    """
    live = store_of(site).live()
    if live is None:
        message = "--tests: no release exists yet to test"
        raise UsageError(message, "`releaser init` runs them in the same sandbox before it builds the first one.")
    with prepare_trials(site, [tests_trial(site)]) as run_trials:
        return tuple(run_trials(live))
