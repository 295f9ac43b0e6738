"""The guard before a release goes live: what was tested is what is there, whatever a person did meanwhile."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from releaser.checkout.staging import matches
from releaser.errors import Finding, PreflightError, ToolError
from releaser.system.files import link_text, read_if_there
from releaser.system.words import first_few

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from releaser.site.site import Site
    from releaser.tools.git_reader import CheckoutState


_CONFIGURES = (".py", ".env", ".toml", ".ini", ".cfg", ".yaml", ".yml")
_NEXT = "Nothing went live; the next run starts from what is there now."


@dataclass(frozen=True, kw_only=True)
class CheckoutSnapshot:
    """What a run is based on, as it was when it began to build; None for a file that is not there."""

    #: What `git status` said; None where git does not work.
    state: CheckoutState | None
    lock: bytes | None
    pyproject: bytes | None
    #: The `.env` beside the checkout, with settings.
    settings: bytes | None
    #: What `environment_file` names, with variables for the programs of the site.
    environment: bytes | None
    #: Configuration that git does not track: files of the checkout by name, relative to the top.
    untracked: Mapping[str, bytes | None]
    #: The text of the symlink `.venv`.
    link: str | None

    @property
    def head(self) -> str | None:
        """The commit that is checked out."""
        return self.state.head if self.state is not None else None

    @property
    def branch(self) -> str | None:
        """The branch that is checked out."""
        return self.state.branch if self.state is not None else None

    @property
    def dirty(self) -> frozenset[str]:
        """The tracked files that are not as committed, relative to the top of the work tree."""
        return frozenset(self.state.dirty if self.state is not None else ())


def take_snapshot(site: Site) -> CheckoutSnapshot:
    """Read what the release to be is based on. Where git does not work, preflight says so."""
    project, environment = site.project, site.settings.environment_file
    return CheckoutSnapshot(
        state=site.checkout_state(),
        lock=read_if_there(project.lock),
        pyproject=read_if_there(project.pyproject),
        settings=read_if_there(project.outer / ".env"),
        environment=read_if_there(project.root / Path(environment).expanduser()) if environment else None,
        untracked=_untracked(site),
        link=link_text(project.venv),
    )


def with_own_changes(
    site: Site, snapshot: CheckoutSnapshot, *, adopted: bool, committed: str | None
) -> CheckoutSnapshot:
    """Return the snapshot after releaser itself has adopted the venv, or `committed` what was due. Raises ToolError."""
    if adopted:
        snapshot = replace(snapshot, link=link_text(site.project.venv))
    if committed and snapshot.state is not None and site.git.commit(f"{committed}^") == snapshot.head:
        snapshot = replace(snapshot, state=replace(snapshot.state, head=committed))
    return snapshot


def refuse_changes(site: Site, before: CheckoutSnapshot) -> None:
    """See that nobody has changed what a release is based on. Raises PreflightError, which names what they did."""
    if findings := find_changes(site, before):
        raise PreflightError(*findings)


def find_changes(site: Site, before: CheckoutSnapshot) -> tuple[Finding, ...]:
    """Name what somebody has changed of what a release is based on."""
    try:
        return tuple(_changes(site, before, take_snapshot(site)))
    except ToolError as error:
        return (error.finding,)


def _changes(site: Site, before: CheckoutSnapshot, now: CheckoutSnapshot) -> Iterator[Finding]:
    if now.branch != before.branch:
        yield Finding(f"somebody checked out {now.branch or 'a commit'} instead of {before.branch}", advice=_NEXT)
    elif now.head != before.head and now.head is not None:
        yield Finding(
            f"somebody committed {now.head[:12]} ({site.git.subject(now.head)}), which was not tested", advice=_NEXT
        )
    project = site.project
    files = (
        (project.lock, before.lock, now.lock),
        (project.pyproject, before.pyproject, now.pyproject),
        (project.outer / ".env", before.settings, now.settings),
    )
    for path, old, new in files:
        if old != new:
            yield Finding(f"somebody changed {path}, so what was tested is no longer what is there", advice=_NEXT)
    if now.environment != before.environment:
        yield Finding(f"somebody changed environment_file {site.settings.environment_file}", advice=_NEXT)
    told = {os.path.relpath(path, site.git.layout.top) for path, *_ in files}
    if edited := sorted(now.dirty - before.dirty - told):
        shown = first_few(edited)
        yield Finding(f"somebody edited {shown}, which was not tested", advice=_NEXT)
    names = sorted({*now.untracked, *before.untracked})
    if changed := [name for name in names if now.untracked.get(name) != before.untracked.get(name)]:
        message = f"somebody changed {changed[0]}, which git does not track, and which was not tested"
        yield Finding(message, advice=f"{_NEXT} If the site itself writes it, name it in `staging_omit`.")
    if now.link != before.link:
        where = f"leads to {now.link}" if now.link else "is not a symlink"
        yield Finding(f"somebody changed {project.venv}, which {where} now", advice=_NEXT)


def _untracked(site: Site) -> dict[str, bytes | None]:
    """Read what git does not track and may configure the site; a site writes other files, such as its database.

    What `staging_omit` names is no part of what is tested, so it does not count.
    """
    try:
        names = [name for name in site.git.unknown_files() if _configures(site, name)]
        return {name: read_if_there(site.git.layout.top / name) for name in names}
    except ToolError:
        return {}


def _configures(site: Site, name: str) -> bool:
    """Whether a file may configure the site, and `staging_omit` names neither it nor a directory that it lies in."""
    places = [name, *map(str, PurePosixPath(name).parents[:-1])]
    return name.endswith(_CONFIGURES) and not any(matches(place, site.settings.staging_omit) for place in places)
