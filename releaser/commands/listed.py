"""The command `list`: plain.py reads its plain options without click."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from releaser.commands.context import Beginning
from releaser.commands.plain import PlainCommand
from releaser.releases import listing
from releaser.releases.store import store_of
from releaser.site.state_dir import dispute
from releaser.system.frozen import replace

if TYPE_CHECKING:
    from releaser.commands.context import CommandContext


def list_releases(ctx: CommandContext) -> None:
    """List the kept releases, newest first."""
    site = replace(ctx.site(), asks=False)
    store = store_of(site)
    rows = listing.rows(store)
    is_watched = ctx.output.verbose or sys.stderr.isatty()
    if is_watched or dispute(site.project) or store.live_by_record() != store.live_id():
        from releaser.pipelines.status import list_damage  # takes longer than the list

        ctx.warn(list_damage(site))
    if ctx.output.json:
        ctx.output.print_json(list(rows))
    elif rows:
        ctx.output.print_table(listing.COLUMNS, [row.cells(time.time()) for row in rows])
        ctx.output.print_lines(listing.notes(rows))
    else:
        ctx.output.note("there are no releases yet. Run `releaser init` to adopt the project.")


COMMAND = PlainCommand(beginning=Beginning(name="list"), function=list_releases)
