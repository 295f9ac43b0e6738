"""Resolving with packages from elsewhere, as `--override` asks: everything else stays as it is live."""

from __future__ import annotations

from typing import TYPE_CHECKING

from releaser.errors import BuildError, ResolutionError, ToolError
from releaser.locking.diff import LockDiff
from releaser.locking.lockfile import InvalidLockError, LockFile
from releaser.locking.overrides import not_taken, overridden, with_extras, without_passwords
from releaser.steps.resolve import Resolution, lock_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from releaser.locking.overrides import Override
    from releaser.project.preflight import Fitness
    from releaser.releases.release import Release
    from releaser.run import Run
    from releaser.steps.build import Candidate


def resolved_with(run: Run, fitness: Fitness, live: Release, overrides: Sequence[Override]) -> Resolution:
    """Lock in the staging tree what is live, with these packages instead.

    What is kept of the lock has no passwords: uv 0.13 writes those of a URL into it, and needs them there to install.
    Raises ResolutionError.
    """
    tree, before = run.site.project.root, lock_of(live)
    with run.recorder.step("resolve") as step:
        if before.data:
            (tree / "uv.lock").write_bytes(before.data)
        lock = _lock(fitness, tree, overrides)
        diff = LockDiff.between(before, lock) if before.data else LockDiff(changes=())
        step.says(", ".join(map(str, overrides)))
    return Resolution(tree=tree, lock=lock, diff=diff, held_back=())


def _lock(fitness: Fitness, tree: Path, overrides: Sequence[Override]) -> LockFile:
    pyproject, wanted = tree / "pyproject.toml", ", ".join(map(str, overrides))
    completed = with_extras(overrides, (tree / "uv.lock").read_bytes())
    pyproject.write_text(overridden(pyproject.read_text(encoding="utf-8"), completed), encoding="utf-8")
    try:
        fitness.uv.lock_as_it_is(tree, python=fitness.python)
        lock = LockFile.parse(without_passwords((tree / "uv.lock").read_bytes()))
    except ToolError as error:
        message = f"no lock could be made with {wanted}"
        advice = error.advice or "See what uv says; the package must fit what the others ask for."
        raise ResolutionError(message, advice=advice, output=error.output) from error
    except (OSError, InvalidLockError) as error:
        message = f"uv left a lock that cannot be read: {error}"
        raise ResolutionError(message, advice="Check that `uv` is a working uv: `uv lock`.") from error
    ignored = not_taken(overrides, lock.data)
    if ignored:
        message = f"uv does not take {', '.join(map(str, ignored))}, so nothing would be tested"
        raise ResolutionError(message, advice="See where pyproject.toml says that this package comes from.")
    return lock


def refuse_untested(candidate: Candidate, overrides: Sequence[Override]) -> None:
    """See that the packages are in the venv: this platform or group may not need them. Raises BuildError."""
    from importlib.metadata import distributions

    places = [str(place) for place in candidate.venv.glob("lib/*/site-packages")]
    names = {_normal(one.metadata["Name"]) for one in distributions(path=places)}
    missing = [one.name for one in overrides if one.name not in names]
    if missing:
        group = f" for the group {candidate.key.group}" if candidate.key.group else ""
        message = f"{', '.join(missing)} is in uv.lock, but not installed{group} here, so nothing would be tested"
        raise BuildError(message, advice="Override a package that this site uses.")


def _normal(name: str) -> str:
    from packaging.utils import canonicalize_name

    return canonicalize_name(name or "")
