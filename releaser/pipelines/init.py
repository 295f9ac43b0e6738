"""The command `init`: the first lock, and the first release, built from it or adopted from the `.venv` that exists."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

import msgspec

from releaser.candidate.build import LockInstaller
from releaser.candidate.identity import make_key
from releaser.candidate.shadow import make_shadow
from releaser.candidate.trial import Attempt, seal, try_candidate
from releaser.checkout.problems import read_checkout
from releaser.checkout.repository import open_repository
from releaser.checkout.snapshot import require_unchanged
from releaser.checkout.target import Target
from releaser.errors import BuildError, explain_error, refuse, require
from releaser.live.change import make_entry, make_live
from releaser.live.hooks import run_before_live
from releaser.packages.complaints import require_fitting_lock
from releaser.packages.first_lock import FirstLock, Origin, make_first_lock
from releaser.packages.lock import read_lock
from releaser.packages.resolve import Plan, choose_python
from releaser.pipelines.adopt import adopt, ignore_link
from releaser.pipelines.check import find_stale_lock
from releaser.pipelines.checks import Look, list_hints, look
from releaser.pipelines.conclude import conclude
from releaser.releases.journal import Entry, write_entry
from releaser.releases.store import SiteRun, Store
from releaser.report.outcomes import (
    Outcome,
    explain_failure,
    make_done,
    make_failed,
    make_rolled_back,
    make_unchanged,
    make_updated,
)
from releaser.site.site import Site
from releaser.system.files import remove_path, replace_file
from releaser.system.text import count, word


def init(site: Site, run: SiteRun) -> Outcome:
    """Called by session.run_command(): the lock is held, recovery is done, `run.store` is read."""
    view, store = look(site, run.store, mark=run.id, is_first=True), run.store
    view.require_fit()
    for hint in list_hints(site):
        run.note(hint)
    if store.live is not None:
        return make_unchanged(f"Release {store.live.id} is live already.", store.live.id)
    if store.link.kind == "foreign":
        if store.link.is_symlink:
            message = f"`{site.paths.link}` is a link to `{store.link.text}`, which cannot be adopted."
            advice = f"Run `rm {site.paths.link}`, then `releaser init` to build a release from uv.lock."
            raise refuse("foreign-link", message, advice)
        return adopt(site, run)
    return _build_first(site, run, view)


def _build_first(site: Site, run: SiteRun, view: Look) -> Outcome:
    """Build, test and take live the committed lock."""
    write_entry(site.paths, Entry("building", run.command.name, run.id))
    repository, snapshot = view.repository, view.require_fit()
    head = snapshot.checkout.head
    target = Target(head, head, repository.code_key(head, *site.committed_paths), publishes=False)
    with make_shadow(site, repository, site.paths.shadow(f"{run.id}-lock"), head, mark=run.id) as shadow:
        lock = read_lock(shadow.project / "uv.lock")
        text = (shadow.project / "uv.lock").read_text(encoding="utf-8")
        plan = Plan(lock, text, *choose_python(site, shadow.project, None, mark=run.id))
        require_fitting_lock(site, shadow.project, plan.python, mark=run.id)
    attempt = Attempt(target, site, plan, make_key(site, plan, target.code_key))
    trial = try_candidate(run, repository, attempt, None, LockInstaller(plan))
    release = seal(trial, run, None)
    run.store = run.store.having(release)
    if trial.failed_gate:
        return make_failed(explain_failure(release, trial.tests.output, trial.advice), release, (), is_known=False)
    run_before_live(site, run, release.id, None)
    require_unchanged(site, repository, snapshot)
    ignore_link(site, repository)
    result = make_live(site, run, repository, make_entry(run, release, head, head))
    conclude(site, run, repository, result)
    return make_rolled_back(release, result) if result.rolled_back else make_updated(release, result, "")


def preview_init(site: Site) -> Outcome:
    """Say what `init` would do. Writes nothing."""
    store = Store(site.paths)
    view = look(site, store, is_first=True)
    view.require_fit()
    require(find_stale_lock(site, store, view))
    if store.live is not None:
        return make_unchanged(f"Release {store.live.id} is live already.", store.live.id)
    if store.link.kind == "foreign" and not store.link.is_symlink:
        return make_unchanged(f"Would adopt `{site.paths.link}` as the first release.")
    return make_unchanged("Would build, test and take live a first release from uv.lock.")


def init_lock(site: Site, run: SiteRun, origin: Origin) -> Outcome:
    """Write the first pyproject.toml and uv.lock, with the versions of an origin; a person commits them.

    Called by session.run_command(). Raises PreflightError and BuildError: nothing is written then.
    """
    path, before = site.paths.pyproject, _read_project(site)
    with run.step("resolve") as detail:
        first = _make_lock(site, origin, site.paths.shadow(f"{run.id}-lock"), mark=run.id)
        detail.append(count(first.count, "package"))
    if _read_project(site) != before:
        message = f"`{path}` was changed during this run. Nothing was written."
        raise refuse("changed-meanwhile", message, "Run the command again when the work is done.")
    mode = 0o664 if site.is_shared else 0o644
    try:  # uv.lock comes last: until it exists, the command can be repeated
        replace_file(path, first.pyproject.encode(), mode=mode)
        replace_file(site.paths.lockfile, first.lock.encode(), mode=mode)
    except OSError as error:
        with contextlib.suppress(OSError):
            replace_file(path, before, mode=mode) if before is not None else remove_path(path)
        raise BuildError(
            f"The first lock cannot be written: {explain_error(error)}", f"See `ls -ld {path}`."
        ) from error
    run.notes += first.notes
    git = f"git -C {word(site.paths.project)}"
    commands = f"`{git} add pyproject.toml uv.lock && {git} commit -m 'Lock the packages' && {git} push`"
    run.note(f"Look at both files, and commit them: {commands}. Then run `releaser init`.")
    return make_done(_describe(first, origin, "have"))


def _describe(first: FirstLock, origin: Origin, verb: str) -> str:
    return f"pyproject.toml and uv.lock {verb} {count(first.count, 'package')}, as {origin.label} has them."


def _read_project(site: Site) -> bytes | None:
    """Return pyproject.toml as it is; None without one. Raises PreflightError if a lock exists."""
    if os.path.lexists(site.paths.lockfile):
        message = f"`{site.paths.lockfile}` exists: the project has a lock."
        raise refuse("lock-exists", message, "Run `releaser init`, which takes the versions of that lock.")
    return site.paths.pyproject.read_bytes() if site.paths.pyproject.is_file() else None


def _make_lock(site: Site, origin: Origin, directory: Path, *, mark: str) -> FirstLock:
    """Return the first lock, made in a copy of the project at `directory`. Raises PreflightError and BuildError."""
    repository = open_repository(site, mark)
    state, problems = read_checkout(site, repository)
    require(problems)
    if state is None or not state.head:
        raise refuse("no-commit", "The checkout has no commit.", "Commit the project first.")
    name = site.paths.pyproject.relative_to(site.paths.top).as_posix()
    if name in state.changed:
        message, advice = f"`{name}` has changes that are not committed.", "Commit or stash them first."
        raise refuse("changed-files", message, advice)
    with make_shadow(site, repository, directory, state.head, mark=mark) as shadow:
        shadow.project.mkdir(parents=True, exist_ok=True)
        return make_first_lock(site, shadow.project, origin, mark=mark)


def preview_lock(site: Site, origin: Origin) -> Outcome:
    """Say what `init_lock` would write. Writes nothing."""
    _read_project(site)
    with tempfile.TemporaryDirectory(prefix="releaser-") as place:
        aside = msgspec.structs.replace(site, uv_cache=Path(place, "cache"))
        first = _make_lock(aside, origin, Path(place, "shadow"), mark="")
    return msgspec.structs.replace(make_unchanged(_describe(first, origin, "would have")), notes=first.notes)
