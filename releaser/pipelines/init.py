"""The command `init`: the first lock, and the first release, built from it or adopted from the `.venv` that exists."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from pathlib import Path

import msgspec

from releaser.candidate.build import LockInstaller
from releaser.candidate.identity import find_failed, hash_libraries, is_same_failure, make_key, may_try_again
from releaser.candidate.shadow import make_shadow
from releaser.candidate.trial import Attempt, seal, try_candidate
from releaser.checkout.problems import read_checkout
from releaser.checkout.repository import Repository, open_repository
from releaser.checkout.target import Target
from releaser.errors import explain_error, refuse, require
from releaser.live.change import make_entry
from releaser.live.hooks import run_before_live
from releaser.packages.complaints import require_fitting_lock
from releaser.packages.first_lock import FirstLock
from releaser.packages.hand_made import describe_new_packages, describe_patches
from releaser.packages.lock import read_lock
from releaser.packages.resolve import Plan, choose_python, group_arguments
from releaser.packages.sources import copy_sources
from releaser.pipelines.check import find_stale_lock
from releaser.pipelines.checks import list_hints, look
from releaser.pipelines.conclude import go_live
from releaser.pipelines.decide import UpdateOptions, choose_first
from releaser.releases.journal import Entry, write_entry
from releaser.releases.lease import install_startup_module, remove_startup_module
from releaser.releases.link import exchange_for_directory, exchange_for_link, read_link
from releaser.releases.release import BUILT, Key, Manifest, State, list_files
from releaser.releases.reserve import fill_reserve
from releaser.releases.sealed import take_seal
from releaser.releases.store import SiteRun, Store, begin_release, seal_release
from releaser.releases.venv import ask_python_version, find_python, join_records, read_records
from releaser.report import outcomes
from releaser.report.outcomes import Outcome
from releaser.site.site import Site
from releaser.system.files import replace_file, replace_files, replace_symlink
from releaser.system.run import now
from releaser.system.text import word


def init(site: Site, run: SiteRun) -> Outcome:
    """Called by session.run_command(): the lock is held, recovery is done, `run.store` is read."""
    copy_sources(site, run)  # a person who has no lock yet makes it with these wheels
    view, store = look(site, run.store, mark=run.id, is_first=True), run.store
    view.require_fit()
    for hint in list_hints(site):
        run.note(hint)
    if store.live is not None:
        return outcomes.make_unchanged(f"Release {store.live.id} is live already.", store.live.id)
    if store.link.kind == "foreign":
        if store.link.is_symlink:
            message = f"`{site.paths.link}` is a link to `{store.link.text}`, which cannot be adopted."
            advice = f"Run `rm {site.paths.link}`, then `releaser init` to build a release from uv.lock."
            raise refuse("foreign-link", message, advice)
        return adopt(site, run)
    return build_first(site, run, is_tried_again=True)


def build_first(site: Site, run: SiteRun, *, is_tried_again: bool, pulls: UpdateOptions | None = None) -> Outcome:
    """Build, test and take live the committed lock; `is_tried_again` says that also if it failed before.

    With `pulls`, it takes the commit of the remote, as that update does: a correction which is pushed arrives.

    Raises PreflightError and BuildError.
    """
    view = look(site, run.store, mark=run.id, is_first=True)
    write_entry(site.paths, Entry("building", run.command.name, run.id))
    repository, snapshot = view.repository, view.require_fit()
    head = snapshot.checkout.head
    target = Target(head, head, repository.code_key(head, *site.committed_paths), publishes=False)
    if pulls is not None:
        site, target = choose_first(site, run, repository, head, pulls, repository)
    with make_shadow(site, repository, site.paths.shadow(f"{run.id}-lock"), target.commit, mark=run.id) as shadow:
        lock = read_lock(shadow.project / "uv.lock")
        plan = Plan(lock, *choose_python(site, shadow.project, None, mark=run.id))
        require_fitting_lock(site, shadow.project, plan.python, mark=run.id)
    attempt = Attempt(target, site, plan, make_key(site, plan, target.code_key))
    failed = find_failed(run.store, attempt.key)
    if failed is not None and not may_try_again(failed) and not is_tried_again:
        return outcomes.make_failed(outcomes.explain_failure(failed, "", ""), failed, (), is_known=True)
    trial = try_candidate(run, repository, attempt, None, LockInstaller(plan))
    release = seal(trial, run, None)
    if trial.failed_gate:
        is_known = not is_tried_again and is_same_failure(failed.manifest if failed else None, release.manifest)
        error = outcomes.explain_failure(release, trial.tests.output, trial.advice)
        return outcomes.make_failed(error, release, (), is_known=is_known)
    entry = make_entry(site, run, repository, release, snapshot.checkout, target.commit)
    run_before_live(site, run, repository, release, entry)
    ignore_link(site, repository)
    result, _ = go_live(site, run, repository, snapshot, entry)
    return (
        outcomes.make_rolled_back(release, result) if result.rolled_back else outcomes.make_updated(release, result, "")
    )


def preview_init(site: Site) -> Outcome:
    """Say what `init` would do. Writes nothing."""
    store = Store(site.paths)
    view = look(site, store, is_first=True)
    view.require_fit()
    if store.live is not None:
        return outcomes.make_unchanged(f"Release {store.live.id} is live already.", store.live.id)
    if store.link.kind == "foreign" and not store.link.is_symlink:
        return outcomes.make_unchanged(f"Would adopt `{site.paths.link}` as the first release.")
    require(find_stale_lock(site, store, view))
    return outcomes.make_unchanged("Would build, test and take live a first release from uv.lock.")


def init_lock(site: Site, run: SiteRun, venv: str | None, requirements: str | None) -> Outcome:
    """Write the first pyproject.toml and uv.lock, as FirstLock makes them; a person commits them.

    Called by session.run_command(). Raises PreflightError and BuildError: nothing is written then.
    """
    copy_sources(site, run)
    with run.step("resolve"):
        first = _make_lock(site, site.paths.shadow(f"{run.id}-lock"), venv, requirements, mark=run.id)
    mode = 0o664 if site.is_shared else 0o644
    contents = {site.paths.pyproject: first.pyproject.encode(), site.paths.lockfile: first.text.encode()}
    replace_files(contents, mode=mode)
    git = f"git -C {word(site.paths.project)}"
    commands = f"`{git} add pyproject.toml uv.lock && {git} commit -m 'Lock the packages' && {git} push`"
    run.notes += [*first.notes, f"Look at both files, and commit them: {commands}. Then run `releaser init`."]
    return outcomes.make_done(f"Wrote pyproject.toml and uv.lock with {first.label}.")


def preview_lock(site: Site, venv: str | None, requirements: str | None) -> Outcome:
    """Say what `init_lock` would write. Writes nothing."""
    with tempfile.TemporaryDirectory(prefix="releaser-") as place:
        aside = msgspec.structs.replace(site, uv_cache=Path(place, "cache"))
        first = _make_lock(aside, Path(place, "shadow"), venv, requirements, mark="")
    outcome = outcomes.make_unchanged(f"Would write pyproject.toml and uv.lock with {first.label}.")
    return msgspec.structs.replace(outcome, notes=first.notes)


def _make_lock(site: Site, directory: Path, venv: str | None, requirements: str | None, *, mark: str) -> FirstLock:
    """Return the first lock, made in a copy of the project at `directory`. Raises PreflightError and BuildError."""
    repository, path, lock = open_repository(site, mark), site.paths.pyproject, site.paths.lockfile
    if path.is_symlink():
        raise refuse("linked-file", f"`{path}` is a link.", "Put a copy of the file in its place, and commit it.")
    state, problems = read_checkout(site, repository)
    require(problems)
    if os.path.lexists(lock):
        raise refuse("lock-exists", f"`{lock}` exists.", "Run `releaser init`, which takes the versions of that lock.")
    if state is None or not state.head:
        raise refuse("no-commit", "The checkout has no commit.", "Commit the project first.")
    if path.relative_to(site.paths.top).as_posix() in state.changed:
        raise refuse("changed-files", f"`{path}` has changes that are not committed.", "Commit or stash them first.")
    with make_shadow(site, repository, directory, state.head, mark=mark) as shadow:
        shadow.project.mkdir(parents=True, exist_ok=True)
        first = FirstLock(site, shadow.project, venv, requirements, mark=mark)
    if os.path.lexists(lock) or first.before != (path.read_text("utf-8") if path.exists() else ""):
        message = f"`{path}` was changed during this run. Nothing was written."
        raise refuse("changed-meanwhile", message, "Run the command again when the work is done.")
    return first


def adopt(site: Site, run: SiteRun) -> Outcome:
    """Make the venv in the link's place the first release, without a moment in which no venv exists.

    Its scripts name their path through `.venv`, which stays right. It was live already, so it counts as good. Called
    after `find_problems` has found that no update would take packages away. Raises PreflightError.
    """
    link, repository = site.paths.link, open_repository(site, run.id)
    if os.stat(link).st_dev != os.stat(site.paths.releases).st_dev:
        message = f"`{link}` and the state directory `{site.paths.state}` are on different file systems."
        raise refuse("other-file-system", message, "Set `state_dir` to a directory on the file system of the project.")
    ignore_link(site, repository)
    directory = begin_release(site.paths)
    write_entry(site.paths, Entry("building", run.command.name, run.id))
    head = repository.head()
    replace_file(directory / "uv.lock", site.paths.lockfile.read_bytes())
    code = repository.code_key(head, *site.committed_paths)
    version = ask_python_version(site, find_python(link))
    lock, selection = read_lock(directory / "uv.lock"), " ".join(group_arguments(site))
    key = Key(code, lock.sha256, version, selection, libraries=hash_libraries(site, lock))
    for hint in filter(None, [describe_patches(link), describe_new_packages(site, mark=run.id)]):
        run.note(hint)
    manifest = Manifest(directory.name, now(), "adopted", key, head, project=str(site.paths.project))
    state = State("good", order=run.store.next_order, live_at=(now(),), commit=head)
    with run.step("flip") as detail:
        try:
            _copy_linked_files(link)
            _lengthen_links(link)
            install_startup_module(link)
            manifest = msgspec.structs.replace(manifest, sealed=take_seal(link, directory / BUILT, version))
            release = seal_release(directory, manifest, state)
            exchange_for_link(site.paths, release.id, directory / "venv")
            if not ask_python_version(site, find_python(link)):
                exchange_for_directory(site.paths, directory / "venv", before=read_link(site.paths).text)
                message = f"`{link}` cannot be adopted: its Python would not start."
                raise refuse("not-adopted", message, f"See `ls -l {word(link)}/bin`.")
        except OSError as error:
            message = f"`{link}` cannot be adopted: {explain_error(error)}"
            raise refuse("not-adopted", message, f"See `ls -ld {word(link)}`.") from error
        finally:
            if read_link(site.paths).release != directory.name:  # refused or interrupted: the venv stays without it
                with contextlib.suppress(OSError):
                    remove_startup_module(link)
        detail.append(release.id)
    run.store = run.store.having(release).linked(read_link(site.paths))
    fill_reserve(site.paths.reserve)
    headline = f"Release {release.id} is live: `{link}` was adopted as it is. Nothing was restarted."
    return Outcome("updated", 0, headline, release.id, news="new")


def _copy_linked_files(venv: Path) -> None:
    """Replace each link of a package by the file it leads to: with `link-mode = "symlink"`, that is in uv's cache.

    Raises OSError.
    """
    for path in (venv / path for path in join_records(read_records(venv).values())):
        if path.is_symlink():
            replace_file(path, path.read_bytes(), mode=stat.S_IMODE(path.stat().st_mode))


def _lengthen_links(venv: Path) -> None:
    """Let each link that leads out of a venv by a relative path do so by its whole path, as the venv moves.

    Raises OSError.
    """
    for path in (venv / path for path in list_files(venv)):
        if path.is_symlink() and not (text := os.readlink(path)).startswith("/"):
            place, name = os.path.split(os.path.join(path.parent, text))
            target = os.path.normpath(os.path.join(os.path.realpath(place), name))
            if not Path(target).is_relative_to(os.path.realpath(venv)):
                replace_symlink(path, target)


def ignore_link(site: Site, repository: Repository) -> None:
    """Let git ignore the link: a pattern such as `.venv/` matches a directory alone. The state directory, too."""
    repository.exclude(*list_patterns(site))


def list_patterns(site: Site) -> list[str]:
    """Return the lines that `ignore_link` writes."""
    top = site.paths.top
    inside = [path for path in (site.paths.link, site.paths.state) if path.is_relative_to(top) and path != top]
    return [f"/{path.relative_to(top).as_posix()}" for path in inside]
