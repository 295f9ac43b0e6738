"""A copy of a release and its code in a temporary directory, and what `verify` runs there."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from releaser.candidate.copies import copied
from releaser.candidate.test_packages import test_packages_outside
from releaser.checkout.staging import link_venv, stage_aside
from releaser.errors import BuildError, ToolError, UsageError
from releaser.locks.lock import InvalidLockError, LockFile
from releaser.releases.metadata import lead_elsewhere
from releaser.releases.verify import Finding
from releaser.report import RunLog, Silence
from releaser.run import new_run_id
from releaser.site.conventions import choose_test_command
from releaser.system.environment import inside
from releaser.tools.django import is_django

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from releaser.releases.release import Release
    from releaser.site.site import Site
    from releaser.tools.git import Git


_ROOM = "Make room in the temporary directory, or set TMPDIR to another one."


@dataclass(frozen=True, kw_only=True)
class Aside:
    """The commit that is checked out, in a tree of its own in the directory `base`."""

    #: The site as it is in the tree.
    site: Site
    base: Path
    tree: Path

    @contextlib.contextmanager
    def copy_of(self, release: Release) -> Iterator[Path]:
        """Copy the venv of a release, and let it belong to the tree. Raises BuildError where it cannot be copied."""
        with contextlib.ExitStack() as stack:
            try:
                venv = stack.enter_context(copied(self.site, release, place=self.base / "copy"))
                lead_elsewhere(venv, self.site.outside.git.layout.top, self.tree)
            except (ToolError, OSError, ValueError) as error:
                message = f"it cannot be copied to be tried: {getattr(error, 'message', error)}"
                raise BuildError(message, advice=_ROOM, output=getattr(error, "output", "")) from error
            link_venv(self.site, venv)
            yield venv


@dataclass(frozen=True, kw_only=True)
class Trial:
    """Something of the project to run in a release: its name as an option of `verify`, and its words."""

    kind: Literal["check", "tests"]
    words: tuple[str, ...]


def check_trial(site: Site) -> Trial:
    """Return the trial that runs Django's checks. Raises UsageError when the project has none."""
    if not is_django(site.project.root):
        message = f"--check: there is no manage.py in {site.project.root}"
        raise UsageError(message, advice="Leave out --check; --tests runs the tests of the project.")
    return Trial(kind="check", words=("python", "manage.py", "check"))


def tests_trial(site: Site) -> Trial:
    """Return the trial that runs the project's tests. Raises PreflightError when it has none."""
    try:
        locked = LockFile.read(site.project.lock).names
    except (OSError, InvalidLockError):
        locked = frozenset()
    return Trial(kind="tests", words=choose_test_command(site.settings, site.project.root, locked=locked))


@contextlib.contextmanager
def prepare_trials(site: Site, trials: Sequence[Trial]) -> Iterator[Callable[[Release], Iterable[Finding]]]:
    """Yield what runs all these in a copy of a release, as tests may write into their venv. Raises BuildError."""
    if not trials:
        yield lambda _: ()
        return
    with tree_aside(site, "verify") as aside:
        yield lambda release: _run_trials(release, trials, aside)


def _run_trials(release: Release, trials: Sequence[Trial], aside: Aside) -> list[Finding]:
    try:
        with (
            aside.copy_of(release) as venv,
            test_packages_outside(aside.site, venv, release.lock) as beside,
        ):
            return [finding for one in trials for finding in _run_trial(aside.site, one, venv, beside)]
    except BuildError as error:
        return [Finding.of_failure(one.kind, error.message, error.output) for one in trials]


def _run_trial(site: Site, trial: Trial, venv: Path, beside: Path | None) -> Iterator[Finding]:
    first, *others = trial.words
    try:
        site.runner.run(
            [venv / "bin" / "python" if first == "python" else first, *others],
            cwd=site.project.root,
            env={**inside(venv, site.runner.site_environ, beside=beside), "PYTHONDONTWRITEBYTECODE": "1"},
            timeout=site.settings.test_timeout,
            merge=True,
        )
    except ToolError as error:
        what = f"`{' '.join(trial.words)}` does not pass: {error.message}"
        yield Finding.of_failure(trial.kind, what, error.output)


@contextlib.contextmanager
def tree_aside(site: Site, command: str) -> Iterator[Aside]:
    """Check out the commit of the checkout in a temporary directory, for a command. Raises BuildError."""
    now, top = datetime.now(UTC), site.git.layout.top
    log = RunLog(Silence(), command=command, run_id=new_run_id(now), started_at=now)
    with tempfile.TemporaryDirectory(prefix="releaser-", ignore_cleanup_errors=True) as name:
        base = Path(name).resolve()
        tree = base.joinpath("tree", *top.parts[1:])
        tree.mkdir(parents=True)
        shadow = shadow_of(site.git, tree, {})
        staged = stage_aside(site, log, shadow, tree, site.git.commit("HEAD"))
        yield Aside(site=staged, base=base, tree=tree)


def shadow_of(git: Git, place: Path, references: Mapping[str, str | None]) -> Git:
    """Make a shadow of the repository at `place`, with these references of ours. Raises BuildError."""
    try:
        shadow = git.shadow(place)
        for name, commit in references.items():
            if commit is not None:
                shadow.set_reference(name, commit)
    except (ToolError, OSError) as error:
        message = f"the commit cannot be looked at in {place}: {getattr(error, 'message', error)}"
        raise BuildError(message, advice=_ROOM, output=getattr(error, "output", "")) from error
    return shadow
