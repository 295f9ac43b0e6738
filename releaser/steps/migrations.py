"""Migrations that a release brings and nobody has applied: told, or a reason not to go live. None is applied here."""

from __future__ import annotations

import logging
import os
import shlex
from typing import TYPE_CHECKING

from releaser.errors import MigrationsError, ToolError
from releaser.project.static import manage
from releaser.releases.editables import sources_below
from releaser.releases.quarantine import FailedCandidate
from releaser.report.outcome import Problem
from releaser.steps.build import seal
from releaser.tools.django import is_django

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from releaser.releases.release import Release
    from releaser.report.recorder import Step
    from releaser.run import Run
    from releaser.steps.build import Candidate

log = logging.getLogger(__name__)

_SHOWN = 5
_PATIENCE = 20.0  # seconds


def look_at_migrations(run: Run, candidate: Candidate) -> None:
    """Find out which migrations the candidate brings that are not applied. A database that is away stops nothing.

    Raises MigrationsError where `migrations` is `refuse`; the candidate is kept then, so that they can be applied with
    it, and waits for that.
    """
    setting = run.site.settings.migrations
    if not _is_asked(run):
        return
    with run.recorder.step("migrations") as step:
        unapplied = _unapplied(run, candidate.venv, step)
        if not unapplied:
            return
        before = _unapplied_before(run)
        brought = tuple(name for name in unapplied if name not in (before or ()))
        told = _told(brought, unapplied, known=before is not None)
        step.detail = "; ".join(filter(None, (told, step.detail)))
        run.draft.migrations = brought
        if not brought:
            return
        step.status = "failed" if setting == "refuse" and before is not None else "warning"
        if step.status == "warning":
            return
    _refuse(run, candidate, brought)


def _unapplied(run: Run, venv: Path, step: Step) -> tuple[str, ...]:
    try:
        answer = manage(run.site, venv).migrations()
    except ToolError as error:
        step.warns(f"not known: {error.message}")
        return ()
    if answer.failed:
        step.warns(f"not known, as a database cannot be asked: {'; '.join(answer.failed)}")
    elif not answer.databases:
        step.skipped("no database is set")
    elif not answer.unapplied:
        step.says("all are applied")
    return answer.unapplied


def _unapplied_before(run: Run) -> frozenset[str] | None:
    """Return what is not applied of the live release, with the code that is live; None if that is not known."""
    live = run.store.live()
    if live is None or not live.works():
        return None
    try:
        return frozenset(manage(run.outside.site, live.venv).migrations().unapplied)
    except ToolError:
        return None


def _told(brought: Collection[str], unapplied: Collection[str], *, known: bool) -> str:
    if not known:
        return f"not applied, and perhaps new: {listed(brought)}"
    old = [name for name in unapplied if name not in brought]
    parts = [f"new and not applied: {listed(brought)}"] if brought else []
    parts += [f"not applied before this update either: {listed(old)}"] if old else []
    return "; ".join(parts)


def listed(names: Collection[str]) -> str:
    """Name the first few, and say how many more there are."""
    more = len(names) - _SHOWN
    return ", ".join([*names][:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _databases(names: Collection[str]) -> str:
    """Say what else the command takes, which is for the default database alone."""
    return " (with `--database` for each that is named)" if any(name.endswith(")") for name in names) else ""


def tell_migrations(run: Run) -> None:
    """Report what is to be applied, now that the release is live."""
    _tell(run, run.draft.migrations)


def tell_migrations_of(run: Run, release: Release) -> None:
    """Report what a release lacks that was made live by a run which cannot tell any more, new or not."""
    if not _is_asked(run):
        return
    with run.recorder.step("migrations") as step:
        names = _unapplied(run, release.venv, step)
        if names:
            step.warns(f"not applied: {listed(names)}")
    _tell(run, names)


def migrations_of_live(run: Run) -> frozenset[str]:
    """Return the ids of the migrations that the live release has, with the code that is live; none if it cannot tell.

    A rollback waits for the answer, so not for long.
    """
    live = run.store.live()
    if not _is_asked(run) or live is None or not live.works():
        return frozenset()
    try:
        return manage(run.site, live.venv, timeout=_PATIENCE).migrations_on_disk()
    except ToolError as error:
        log.warning("the migrations of %s are not known: %s", live.id, error)
        return frozenset()


def tell_applied_migrations(run: Run, release: Release, left: Collection[str]) -> None:
    """Report the migrations that are applied and that this release does not have: they are not undone.

    Where it does not have the app either, only those that were `left` with the release before.
    """
    if not _is_asked(run):
        return
    with run.recorder.step("migrations") as step:
        try:
            found = manage(run.site, release.venv).migrations_not_on_disk(left)
        except ToolError as error:
            step.warns(f"not known: {error.message}")
            return
        parts = [f"applied, and not in this release: {listed(found.names)}"] if found.names else []
        parts += [f"not known, as a database cannot be asked: {'; '.join(found.failed)}"] if found.failed else []
        if not parts:
            step.says("none applied that this release does not have")
            return
        step.warns("; ".join(parts))
    if found.names:
        message = f"migrations that {release.id} does not have are applied, and were not undone: {listed(found.names)}"
        advice = "See that the site works with them, or undo them by hand with the code that has them."
        run.draft.problems.append(Problem(message=message, advice=advice))


def _is_asked(run: Run) -> bool:
    return run.site.settings.migrations != "off" and is_django(run.site.project.root)


def _tell(run: Run, names: Collection[str]) -> None:
    if names:
        message = f"migrations of this release are not applied: {listed(names)}"
        command = f"`releaser run -- python manage.py migrate`{_databases(names)}"
        advice = f"Apply them: {command} in {run.site.project.root}."
        run.draft.problems.append(Problem(message=message, advice=advice))


def _refuse(run: Run, candidate: Candidate, names: tuple[str, ...]) -> None:
    reason = f"migrations are not applied: {listed(names)}"
    entry = FailedCandidate(key=candidate.key, release=candidate.id, reason=reason, at=run.now_iso(), migrations=names)
    run.change_quarantine(lambda quarantine: quarantine.with_candidate(entry))
    seal(run, candidate, tests="refused")
    message = f"{reason}; `migrations` is refuse, so {candidate.id} does not go live"
    raise MigrationsError(message, advice=_how_to_apply(run, candidate, names))


def _how_to_apply(run: Run, candidate: Candidate, names: Collection[str]) -> str:
    """Say what applies the migrations: in the checkout, or in a work tree beside it if new commits bring them.

    Pulled into the checkout, these would be live although they wait.
    """
    checkout, databases = run.site.project.checkout, _databases(names)
    migrate = f"{shlex.quote(str(candidate.venv / 'bin' / 'python'))} manage.py migrate"
    if run.draft.pulled is None or run.staged is None:
        return f"Do `{migrate}`{databases} in {checkout}; the next update then goes on by itself."
    top = run.outside.site.git.layout.top
    place = top.parent / f"{top.name}-migrate"
    tree, root = (shlex.quote(os.path.relpath(one, checkout)) for one in (place, place / checkout.relative_to(top)))
    there = f"(cd {root} && {_found_in(place, run.site.git.layout.top, candidate.venv)}{migrate})"
    add = f"git worktree add --detach {tree} {run.staged.commit[:12]}"
    untracked = [*run.staged.copied, *run.staged.linked]
    lacks = f" That tree lacks what git does not track ({listed(untracked)}): link what the settings need to it first."
    return (
        f"Do `{add}`, `{there}`{databases} and `git worktree remove --force {tree}` in {checkout}; the next update then"
        f" goes on by itself.{lacks if untracked else ''}"
    )


def _found_in(place: Path, staging: Path, venv: Path) -> str:
    """Return what lets packages that are part of the project be found in a work tree, and not in the staging tree."""
    sources = [str(place / one) for one in sources_below(venv, staging)]
    return f"PYTHONPATH={shlex.quote(os.pathsep.join(sources))} " if sources else ""


def still_wait(run: Run, failed: FailedCandidate) -> bool:
    """Whether the migrations that a candidate waits for are not applied yet, as far as can be told."""
    release = run.store.get(failed.release)
    if run.site.settings.migrations != "refuse" or release is None or not release.works():
        return False
    with run.recorder.step("migrations") as step:
        try:
            answer = manage(run.site, release.venv).migrations()
        except ToolError as error:
            step.warns(f"not known: {error.message}")
            return True
        missing = [name for name in failed.migrations if name in answer.unapplied]
        if answer.failed:
            step.warns(f"not known, as a database cannot be asked: {'; '.join(answer.failed)}")
        elif missing:
            step.says(f"not applied yet: {listed(missing)}")
    return bool(missing or answer.failed)
