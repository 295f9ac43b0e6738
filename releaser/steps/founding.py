"""Making the first lock of a project from what a survey found, and showing that it changes no version."""

from __future__ import annotations

from typing import TYPE_CHECKING

from packaging.utils import canonicalize_name

from releaser.errors import BuildError, ResolutionError, ToolError
from releaser.locking.diff import LockDiff
from releaser.locking.installed import installed
from releaser.locking.inventory import differences
from releaser.locking.lockfile import InvalidLockError, LockFile
from releaser.steps.resolve import Resolution
from releaser.tools import distributions
from releaser.tools.uv import NO_SOLUTION

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from releaser.project.preflight import Fitness
    from releaser.run import Run
    from releaser.steps.build import Candidate
    from releaser.steps.survey import Survey

_TIMEOUT = 60.0  # seconds
_NARROWED = "only for this platform and this Python: in `environments` of [tool.uv], as the versions fit nowhere else"


def founded(run: Run, fitness: Fitness, survey: Survey) -> Resolution:
    """Lock exactly what the survey found, in a staging tree whose pyproject.toml is the one that is to be.

    Raises ResolutionError.
    """
    tree = run.site.project.root
    with run.recorder.step("lock") as step:
        lock, narrowed = _lock(fitness, tree, survey)
        _refuse_other_versions(lock, survey, group=fitness.group)
        step.says(f"{counted(survey.versions)}{f', {_NARROWED}' if narrowed else ''}")
    return Resolution(tree=tree, lock=lock, diff=LockDiff(changes=()), held_back=())


def counted(packages: Mapping[str, str]) -> str:
    """Say how many packages there are."""
    return "1 package" if len(packages) == 1 else f"{len(packages)} packages"


def _lock(fitness: Fitness, tree: Path, survey: Survey) -> tuple[LockFile, bool]:
    """Lock the versions; the pins are given on the command line, so they leave no trace in the lock."""
    failure: ToolError | None = None
    for text in (survey.text, survey.narrowed):
        (tree / "pyproject.toml").write_text(text, encoding="utf-8")
        (tree / "uv.lock").unlink(missing_ok=True)
        try:
            fitness.uv.lock_pinned(tree, python=fitness.python, pins=survey.versions)
            fitness.uv.lock_as_it_is(tree, python=fitness.python)  # as anybody's next `uv lock` will
            return LockFile.read(tree / "uv.lock"), text != survey.text
        except (OSError, InvalidLockError) as error:
            message = f"uv left a lock that cannot be read: {error}"
            raise ResolutionError(message, advice="Check that `uv` is a working uv: `uv lock`.") from error
        except ToolError as error:
            failure = error
            if error.timed_out or error.returncode != NO_SOLUTION:
                break
    assert failure is not None  # noqa: S101 - there are two texts
    message = f"no lock could be made with exactly these versions: {failure.message}"
    advice = failure.advice or "See uv's message; what no index has can be given by --with, or left out by --without."
    raise ResolutionError(message, advice=advice, output=failure.output) from failure


def _refuse_other_versions(lock: LockFile, survey: Survey, *, group: str | None) -> None:
    pins = installed(lock, group=group, default_groups=(), python=survey.python_version)
    others = differences(survey.versions, dict(pins), whole=survey.whole, except_for=survey.given)
    if others:
        message = f"the lock would change versions: {', '.join(others)}"
        raise ResolutionError(message, advice="See `pip check` in the venv: something there does not go together.")


def compare(run: Run, candidate: Candidate, survey: Survey) -> str:
    """See that the same is installed as before, name by name, by asking the new venv itself; return it in words.

    Raises BuildError with all differences.
    """
    with run.recorder.step("compare") as step:
        try:
            after = distributions.ask(run.site.runner, candidate.venv / "bin" / "python", timeout=_TIMEOUT)
        except ToolError as error:
            raise BuildError(error.message, advice="See what it says.", output=error.output) from error
        own = canonicalize_name(run.site.pyproject.table("project").get("name", ""))
        left_out = {*survey.given, own}
        others = differences(survey.versions, after.versions, whole=survey.whole, except_for=left_out)
        if others:
            message = f"the new venv differs: {', '.join(others)}"
            raise BuildError(message, advice="Nothing is changed; see that the packages are those of this platform.")
        same = _in_words(survey, after.versions, own)
        step.says(same)
    return same


def _in_words(survey: Survey, after: Mapping[str, str], own: str) -> str:
    same = f"{counted(survey.versions)}: the same {'name' if len(survey.versions) == 1 else 'names'} and versions"
    new = sorted(after.keys() - survey.versions.keys() - {own})
    if not new:
        return same
    return f"{same}; besides, {', '.join(f'{name} {after[name]}' for name in new)}"
