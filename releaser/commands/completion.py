"""Shell completion of arguments: releases, packages, settings, and names for `unhold` and `accept`.

It starts no program of the site, and prints no errors.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from releaser.errors import ReleaserError

if TYPE_CHECKING:
    from collections.abc import Iterable

    import click

    from releaser.site.site import Site


def releases(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Complete the id of a release, newest first, or its name once a letter of it is written."""
    from releaser.releases.store import store_of

    site = own_site(ctx)
    names = ("live", "previous") if incomplete else ()
    return matching((*(one.id for one in store_of(site).all()), *names) if site else (), incomplete)


def settings(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Complete the name of a setting."""
    from releaser.site.settings import SPECS

    return matching(SPECS, incomplete)


def packages(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Complete the name of a locked package."""
    from releaser.locks.lock import LockFile

    site = own_site(ctx)
    try:
        return matching(sorted(LockFile.read(site.project.lock).names) if site else (), incomplete)
    except ReleaserError:
        return []


def complete_held(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Complete the name of something on hold, for `unhold`."""
    from releaser.releases.blocks import read_blocks

    site = own_site(ctx)
    return matching(read_blocks(site.state_dir).names if site else (), incomplete)


def complete_asked(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Complete the name of a package that waits for `accept`."""
    from releaser.releases.blocks import read_blocks

    site = own_site(ctx)
    return matching((one.name for one in read_blocks(site.state_dir).asked) if site else (), incomplete)


def matching(words: Iterable[str], incomplete: str) -> list[str]:
    """Return the words with this beginning."""
    return [word for word in words if word.startswith(incomplete)]


def own_site(ctx: click.Context) -> Site | None:
    """Return the site that the command line names; None if it does not exist, or belongs to another user."""
    from releaser.site.site import find_site

    given = Path(ctx.params.get("project") or os.environ.get("RELEASER_PROJECT") or ".")
    try:
        path = given.expanduser()
        site = find_site(path, os.environ) if path.stat().st_uid == os.geteuid() else None
        return site if site and site.project.root.stat().st_uid == os.geteuid() else None
    except (ReleaserError, OSError, RuntimeError):  # RuntimeError: the home of an unknown user
        return None
