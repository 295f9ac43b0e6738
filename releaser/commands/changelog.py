"""`changelog`: shows what changed in the packages of a release, from their own changelogs."""

from __future__ import annotations

import click

from releaser.commands import completion
from releaser.commands.command import command
from releaser.commands.context import CommandContext
from releaser.releases.release import refuse_without_live
from releaser.releases.store import store_of
from releaser.reporting.changelog import UpstreamChange, lines_of, list_upstream

_SECONDS = 60.0  # for all downloads

#: The types of the answers with `--json`, see answers.py.
ANSWERS = {"changelog": (list[UpstreamChange],)}


@command("changelog", section="Look closer", example="releaser changelog")
@click.argument("release", required=False, shell_complete=completion.releases)
def changelog(ctx: CommandContext, release: str | None) -> None:
    """Show what changed in the packages that the project requires, from their changelogs.

    RELEASE is the live release by default.
    """
    site = ctx.site()
    store = store_of(site)
    found = (store.find(release) if release else store.live()) or refuse_without_live(store)
    changes = list(list_upstream(site, found, found.manifest.changes, seconds=_SECONDS))
    ctx.output.answer(changes, lines_of, empty=f"{found.id} upgraded no package that the project requires")
