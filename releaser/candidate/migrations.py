"""New migrations of a release that are not applied: reported, or a reason to wait. releaser applies none of them."""

from __future__ import annotations

import contextlib
import logging
import os
import shlex
from typing import TYPE_CHECKING

from releaser.checkout.pull import has_other_code
from releaser.errors import Finding, ToolError
from releaser.releases.store import store_of
from releaser.releases.venv import sources_below
from releaser.reporting.hook_settings import HookSettings
from releaser.serving.manage import manage
from releaser.site.django_settings import MigrationFacts, MigrationSettings, MigrationsSection, is_django
from releaser.system.files import UnreadableStateError, read_state, write_state
from releaser.system.frozen import Frozen, replace
from releaser.system.words import first_few

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from releaser.core.run import Workspace
    from releaser.releases.release import Release
    from releaser.report import RunLog, Step
    from releaser.site.site import Site


logger = logging.getLogger(__name__)

_PATIENCE = 20.0  # seconds
_ON_DISK = "migrations.json"  # in the directory of a release


class _OnDisk(Frozen):
    """The ids of the migrations that a release has, with the code that it was built for."""

    ids: tuple[str, ...]


def find_new(work: Workspace, venv: Path) -> tuple[str, ...]:
    """Return the new migrations of a candidate that are not applied; none if a database does not answer."""
    site = work.site
    if not _is_asked(site):
        return ()
    with work.log.step("migrations") as step:
        unapplied = _find_unapplied(site, venv, step)
        if not unapplied:
            return ()
        before = _find_unapplied_before(site)
        introduced = tuple(name for name in unapplied if name not in (before or ()))
        summary = _summarize(introduced, unapplied, known=before is not None)
        step.detail = "; ".join(filter(None, (summary, step.detail)))
        work.log.add(MigrationsSection(migrations=introduced))
        step.status = "warning" if introduced else step.status
    return introduced


def find_missing(site: Site, log: RunLog, release: Release) -> tuple[str, ...]:
    """Return the new migrations of a release that are still not applied.

    If a database does not answer, all of them count as not applied. None are returned if nothing can run on the live
    release, as the site is down; nor if its Django does not answer, except for a release that already waits.
    """
    names, live = MigrationFacts.of(release.manifest).migrations, store_of(site).live()
    waits = release.lifecycle is not None and release.lifecycle.waits
    if not names or live is None or not live.works() or (not waits and _find_unapplied_before(site) is None):
        return ()
    with log.step("migrations") as step:
        unapplied = _find_unapplied(site, release.venv, step)
        missing = tuple(name for name in names if name in unapplied or step.status == "warning")
        step.status = "failed" if missing else step.status
    return missing


def _find_unapplied(site: Site, venv: Path, step: Step) -> tuple[str, ...]:
    """Return the unapplied migrations, with the code of the site's tree even if the venv points to the checkout."""
    top = site.git.layout.top
    sources = tuple(top / path for path in sources_below(venv, site.project.of_checkout(top)))
    try:
        answer = replace(manage(site, venv), sources=sources).migrations()
    except ToolError as error:
        step.warns(f"not known: {error.message}")
        return ()
    if answer.on_disk is not None:
        with contextlib.suppress(OSError):  # without the file, Django is asked again
            write_state(venv.parent / _ON_DISK, _OnDisk(ids=answer.on_disk))
    if answer.failed:
        step.warns(f"unknown, because a database does not answer: {'; '.join(answer.failed)}")
    elif not answer.databases:
        step.skip("no database is set")
    elif not answer.unapplied:
        step.says("all are applied")
    return answer.unapplied


def _find_unapplied_before(site: Site) -> frozenset[str] | None:
    """Return the migrations of the live release and the live code that are not applied; None if unknown."""
    live = store_of(site).live()
    if live is None or not live.works():
        return None
    try:
        return frozenset(manage(site.outside, live.venv).migrations().unapplied)
    except ToolError:
        return None


def _summarize(introduced: Collection[str], unapplied: Collection[str], *, known: bool) -> str:
    if not known:
        return f"not applied, and perhaps new: {first_few(introduced)}"
    old = [name for name in unapplied if name not in introduced]
    parts = [f"new and not applied: {first_few(introduced)}"] if introduced else []
    parts += [f"not applied before this update either: {first_few(old)}"] if old else []
    return "; ".join(parts)


def _databases(names: Collection[str]) -> str:
    """Return the hint that `migrate` needs `--database` for other databases than the default; empty without any."""
    return " (with `--database` for each database named)" if any(name.endswith(")") for name in names) else ""


def report_migrations_of(site: Site, log: RunLog, release: Release) -> None:
    """Report all migrations of a release that are not applied, for a run that was killed before its report."""
    if not _is_asked(site):
        return
    with log.step("migrations") as step:
        names = _find_unapplied(site, release.venv, step)
        if names:
            step.warns(f"not applied: {first_few(names)}")
    report_migrations(site, log, names)


def find_still_unapplied(site: Site, log: RunLog, release: Release) -> tuple[str, ...]:
    """Return the new migrations of a release that are not applied now; a hook may have applied some."""
    names = MigrationFacts.of(release.manifest).migrations
    if names and (HookSettings.of(site).before_live or HookSettings.of(site).after_live):
        with log.step("migrations again") as step:
            unapplied = _find_unapplied(site, release.venv, step)
            names = tuple(name for name in names if name in unapplied or step.status != "ok")
        log.add(MigrationsSection(migrations=names))
    return names


def migrations_of_live(site: Site) -> frozenset[str] | None:
    """Return the ids of the migrations of the live release and the live code; None if unknown.

    They are recorded for the code that the release was built for. With other code, a rollback waits up to 20 s for
    Django's answer.
    """
    live = store_of(site).live()
    if not _is_asked(site) or live is None:
        return None
    if (known := _noted(site, live)) is not None or not live.works():
        return known
    try:
        return manage(site, live.venv, timeout=_PATIENCE).migrations_on_disk()
    except ToolError as error:
        logger.warning("the migrations of %s are not known: %s", live.id, error)
        return None


def _noted(site: Site, release: Release) -> frozenset[str] | None:
    """Return the recorded ids of a release; None without any, or if the release has other code now."""
    with contextlib.suppress(UnreadableStateError, OSError, ToolError):
        known = read_state(release.directory / _ON_DISK, _OnDisk)
        if known is not None and not has_other_code(site, release):
            return frozenset(known.ids)
    return None


def report_applied_migrations(site: Site, log: RunLog, release: Release, left: frozenset[str] | None) -> None:
    """Report the applied migrations that this release does not have; they are not undone.

    For apps that this release does not have, only those in `left`, the migrations of the release before, count. If both
    releases have the same migrations, Django is not asked.
    """
    if not _is_asked(site):
        return
    with log.step("migrations") as step:
        if left is not None and left == _noted(site, release):
            step.says("this release has the same migrations as the previous one")
            return
        try:
            found = manage(site, release.venv).migrations_not_on_disk(left or ())
        except ToolError as error:
            step.warns(f"not known: {error.message}")
            return
        parts = [f"applied, but not in this release: {first_few(found.names)}"] if found.names else []
        parts += [f"unknown, because a database does not answer: {'; '.join(found.failed)}"] if found.failed else []
        if not parts:
            step.says("this release has all applied migrations")
            return
        step.warns("; ".join(parts))
    if found.names:
        message = (
            f"migrations are applied that {release.id} does not have; they were not undone: {first_few(found.names)}"
        )
        advice = "Check that the site works with them, or undo them yourself with the code that has them."
        log.note(Finding("migrations-left", message=message, advice=advice))


def _is_asked(site: Site) -> bool:
    return MigrationSettings.of(site).migrations != "off" and is_django(site.project.root)


def report_migrations(site: Site, log: RunLog, names: Collection[str]) -> None:
    """Report the migrations that a person has to apply to the live release."""
    if names:
        message = f"migrations of this release are not applied: {first_few(names)}"
        command = f"`releaser run -- python manage.py migrate`{_databases(names)}"
        advice = f"Apply them: {command} in {site.project.root}."
        log.note(Finding("migrations-pending", message=message, advice=advice))


def describe_migrate_commands(site: Site, venv: Path, names: Collection[str]) -> str:
    """Return the commands that apply the migrations: in the checkout, or with new commits in a separate work tree.

    In the checkout, the new commits would be live before their release.
    """
    checkout, databases = site.project.checkout, _databases(names)
    migrate = f"{shlex.quote(str(venv / 'bin' / 'python'))} manage.py migrate"
    if site.pulled is None:
        return f"Run `{migrate}`{databases} in {checkout}. The next update then continues."
    top = site.outside.git.layout.top
    place = top.parent / f"{top.name}-migrate"
    tree, root = (shlex.quote(os.path.relpath(path, checkout)) for path in (place, place / checkout.relative_to(top)))
    # With these, Python finds packages of the project in the work tree, not in the checkout.
    sources = [str(place / path) for path in sources_below(venv, top)]
    variable = f"PYTHONPATH={shlex.quote(os.pathsep.join(sources))} " if sources else ""
    migration = f"(cd {root} && {variable}{migrate})"
    add = f"git worktree add --detach {tree} {site.tree.commit[:12]}"
    untracked = [*site.tree.copied, *site.tree.linked]
    lacks = (
        f" That tree lacks what git does not track ({first_few(untracked)}): link what the settings need into it first."
    )
    return (
        f"Run `{add}`, `{migration}`{databases} and `git worktree remove --force {tree}` in {checkout}. The next update"
        f" then continues.{lacks if untracked else ''}"
    )
