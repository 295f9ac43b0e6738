"""Coming from no lock: a venv that pip has filled, or a requirements file, becomes a project with exactly that lock.

Everything is made away from the checkout. pyproject.toml and uv.lock come into it behind the flip, as the lock of an
update does, and are taken back with it.
"""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.utils import canonicalize_name

from releaser.conduct import Ending, Request, conduct
from releaser.errors import TestsFailedError, UsageError
from releaser.golive import go_live
from releaser.locking.overrides import parse_overrides
from releaser.project.chosen import chosen
from releaser.project.preflight import check
from releaser.project.room import for_release
from releaser.project.telling import warnings
from releaser.recovery import undone_on_failure
from releaser.redaction import secrets_in_urls
from releaser.releases.cost import measure
from releaser.run import problem_of
from releaser.steps.adopt import Founded, adopt
from releaser.steps.asking import Wanted
from releaser.steps.build import build, seal
from releaser.steps.capacity import look_for_room
from releaser.steps.founding import compare, founded
from releaser.steps.gate import gate
from releaser.steps.guard import read_basis
from releaser.steps.live_health import check_live_site
from releaser.steps.migrations import look_at_migrations
from releaser.steps.pull import as_checked_out
from releaser.steps.resolve import candidate_key
from releaser.steps.settle import look_before
from releaser.steps.staging import staging_tree
from releaser.steps.survey import survey, surveyed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from releaser.project.preflight import Fitness
    from releaser.project.site import Site
    from releaser.report.outcome import RunReport
    from releaser.run import Run
    from releaser.steps.build import Candidate
    from releaser.steps.survey import Survey


def cross(request: Request, wanted: Wanted) -> RunReport:
    """Give the project its first lock, with exactly the versions that it runs on, and adopt it with that."""
    return conduct(replace(request, founds=True), lambda run: _cross(run, wanted))


def read_wanted(venv: Path | None, requirements: Path | None, without: Sequence[str], given: Sequence[str]) -> Wanted:
    """Read what the command line asks for; relative paths start at the current directory. Raises UsageError."""
    names = frozenset(canonicalize_name(name) for name in without)
    sources = parse_overrides(given, Path.cwd(), option="--with")
    for one in sources:
        if one.name in names:
            message = f"--with and --without both name {one.name}"
            raise UsageError(message, advice="Leave one of them out.")
        if secrets_in_urls(one.url):
            message = f"--with {one.name} @ ... names a password or a token, which git would keep"
            raise UsageError(
                message, advice="Let git ask for it, by a credential helper, or use ssh: git+ssh://git@..."
            )
        if not one.url and not re.fullmatch(r"===?[^*,]+", one.specifier):
            message = f"--with {one} does not say which version"
            raise UsageError(message, advice=f"Write '{one.name}==VERSION', '{one.name} @ URL' or '{one.name} @ PATH'.")
    return Wanted(venv=_absolute(venv), requirements=_absolute(requirements), without=names, given=sources)


def _absolute(path: Path | None) -> Path | None:
    return None if path is None else Path(os.path.abspath(path.expanduser()))


def _cross(run: Run, wanted: Wanted) -> Ending:
    fitness, found = _preflight(run, wanted)
    if venv := runs_on(run.site, wanted, found):
        check_live_site(run, adopting=venv)
    basis, target = read_basis(run.site), as_checked_out(fitness)
    with undone_on_failure(run), staging_tree(run, target.commit) as staged:
        resolution = founded(staged, fitness, found)
        text = staged.site.project.pyproject.read_bytes()
        look_for_room(staged, fitness, resolution, None)
        candidate = build(staged, fitness, resolution, candidate_key(staged, fitness, resolution.lock))
        (candidate.directory / "pyproject.toml").write_bytes(text)
        run.draft.release = candidate.id
        same = compare(staged, candidate, found)
        _test(staged, fitness, candidate, wanted)
        look_at_migrations(staged, candidate)
        look_before(staged, candidate.venv)
        candidate = _behind_what_is_there(run, fitness, candidate, Founded(lock=resolution.lock.data, pyproject=text))
        release = seal(staged, candidate, tests="passed")
    go_live(run, release, target, replace(basis, link=read_basis(run.site).link), founds=True)
    link, before = run.site.project.venv, found.python.parent.parent
    return Ending(
        result="activated",
        headline=f"the project is adopted: {link.name} leads to release {release.id}; {same}",
        advice=f"Let the site run from {link} now, if it runs from {before}." if before != link else "",
    )


def runs_on(site: Site, wanted: Wanted, found: Survey) -> Path | None:
    """Return the venv, or the place of the Python, that the site runs on before it is adopted; None if nobody knows."""
    is_known = wanted.venv is not None or (site.project.venv / "pyvenv.cfg").is_file()
    return found.python.parent.parent if is_known else None


def _test(run: Run, fitness: Fitness, candidate: Candidate, wanted: Wanted) -> None:
    try:
        gate(run, fitness, candidate, before=fitness)
    except TestsFailedError as error:
        error.advice = f"See the end of the test output, and whether they pass with {wanted}; then run it again."
        raise


def _preflight(run: Run, wanted: Wanted) -> tuple[Fitness, Survey]:
    """Look at what is there and check everything, as if it were locked already. Raises PreflightError."""
    with run.recorder.step("survey") as step:
        found = survey(run.site, wanted)
        step.says(str(wanted))
        run.draft.problems += found.notes
    with run.recorder.step("preflight"):
        fitness = check_surveyed(run.site, found)
        run.site = surveyed(run.site, found)[0]
    run.draft.chosen = chosen(run.site, lock=fitness.lock)
    run.draft.problems += map(problem_of, warnings(run.site))
    project, top = run.site.project, fitness.layout.top
    ours = {str(path.relative_to(top)) for path in (project.pyproject, project.lock)}
    run.untracked_before = frozenset(fitness.state.untracked) | ours
    return fitness, found


def check_surveyed(site: Site, found: Survey, *, ask_remote: bool = False) -> Fitness:
    """Run every check on the project as it is to be. Raises PreflightError with all the problems."""
    changed, lock = surveyed(site, found)
    venv = found.python.parent.parent
    needed = measure(venv).size_bytes if (venv / "pyvenv.cfg").is_file() else 0
    room = for_release(site.project.state_dir, needed_bytes=needed)
    fitness = check(changed, lock=lock, needs=(room,), ask_remote=ask_remote)
    return replace(fitness, python=found.base)


def _behind_what_is_there(run: Run, fitness: Fitness, candidate: Candidate, lock: Founded) -> Candidate:
    """Make the venv that the site runs on the first release, the way back, and number the candidate behind it.

    Until the candidate is known to be good, nothing happens to that venv. The journal goes back to the candidate then.
    """
    adopt(run, fitness, founded=lock)
    run.journal.write(run.entry("building", target=candidate.id))
    return replace(candidate, sequence=run.store.next_sequence())
