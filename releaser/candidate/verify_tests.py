"""What `verify` runs in a copy of a release and its code, in a temporary directory."""

from __future__ import annotations

import contextlib
import tempfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from releaser.candidate.trials import TEST, Trial, copy_of, run_trial
from releaser.checkout.staging import stage_aside
from releaser.errors import BuildError, TestsFailedError, ToolError, UsageError
from releaser.locks.lock import InvalidLockError, LockFile
from releaser.releases.metadata import repoint_editables
from releaser.releases.verify import Finding
from releaser.report import RunLog, Silence
from releaser.run import new_run_id
from releaser.site.conventions import choose_test_command
from releaser.tools.django import is_django

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from releaser.releases.release import Release
    from releaser.site.site import Site
    from releaser.tools.git import Git


def check_trial(site: Site) -> Trial:
    """Return the trial that runs Django's checks. Raises UsageError when the project has none."""
    if not is_django(site.project.root):
        message = f"--check: there is no manage.py in {site.project.root}"
        raise UsageError(message, advice="Omit --check; --tests runs the tests of the project.")
    return Trial(step="check", command=("python", "manage.py", "check"), name="`python manage.py check`")


def tests_trial(site: Site) -> Trial:
    """Return the trial that runs the project's tests. Raises PreflightError when it has none."""
    try:
        locked = LockFile.read(site.project.lock).names
    except (OSError, InvalidLockError):
        locked = frozenset()
    command = choose_test_command(site.settings, site.project.root, locked=locked)
    return Trial(step=TEST, command=command, name=f"`{' '.join(command)}`")


@contextlib.contextmanager
def prepare_trials(site: Site, trials: Sequence[Trial]) -> Iterator[Callable[[Release], Iterable[Finding]]]:
    """Yield what runs all these in a copy of a release, as tests may write into their venv. Raises BuildError."""
    if not trials:
        yield lambda _: ()
        return
    now, top = datetime.now(UTC), site.git.layout.top
    log = RunLog(Silence(), command="verify", run_id=new_run_id(now), started_at=now)
    with tempfile.TemporaryDirectory(prefix="releaser-", ignore_cleanup_errors=True) as name:
        base = Path(name).resolve()
        tree = base.joinpath("tree", *top.parts[1:])
        tree.mkdir(parents=True)
        staged = stage_aside(site, log, shadow_of(site.git, tree, {}), tree, site.git.commit("HEAD"))
        # What of the site is linked into the tree is not to be written to.
        variables = {**staged.runner.site_variables, "PYTHONDONTWRITEBYTECODE": "1"}
        staged = replace(staged, runner=replace(staged.runner, site_variables=variables))
        yield lambda release: _run_trials(staged, release, trials, base, tree)


def _run_trials(site: Site, release: Release, trials: Sequence[Trial], base: Path, tree: Path) -> list[Finding]:
    kinds: dict[str, Literal["check", "tests"]] = {one.step: "tests" if one.step == TEST else "check" for one in trials}
    findings = []
    try:
        with copy_of(site, release, place=base / "copy") as venv:
            repoint_editables(venv, site.outside.git.layout.top, tree)
            for trial in trials:
                try:
                    result = run_trial(site, trial, venv, release.lock, scratch=base)
                    message, output = f"{trial.name} does not pass: {result.reason}", result.output
                    passed = result.passed
                except (BuildError, TestsFailedError) as error:
                    passed, message, output = False, error.message, error.output
                if not passed:
                    findings.append(Finding.of_failure(kinds[trial.step], message, output))
    except (ToolError, OSError, ValueError) as error:
        message = f"it cannot be copied for testing: {getattr(error, 'message', error)}"
        findings = [Finding.of_failure(kind, message, getattr(error, "output", "")) for kind in kinds.values()]
    return findings


def shadow_of(git: Git, place: Path, references: Mapping[str, str | None]) -> Git:
    """Make a shadow of the repository at `place`, with these references of ours. Raises BuildError."""
    try:
        shadow = git.shadow(place)
        for name, commit in references.items():
            if commit is not None:
                shadow.set_reference(name, commit)
    except (ToolError, OSError) as error:
        message = f"the commit cannot be checked out in {place}: {getattr(error, 'message', error)}"
        advice = "Make room in the temporary directory, or set TMPDIR to another one."
        raise BuildError(message, advice=advice, output=getattr(error, "output", "")) from error
    return shadow
