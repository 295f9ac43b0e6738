"""`logs`: prints the log of a run."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from releaser.commands.command import command
from releaser.commands.completion import matching, own_site
from releaser.commands.context import CommandContext, refuse_both
from releaser.pipelines.logs import RunLogText, find_log, lines_of, list_logs
from releaser.system.files import plain

if TYPE_CHECKING:
    from click import Context, Parameter

#: The types of the answers with `--json`, see answers.py.
ANSWERS = {"logs": (RunLogText,)}


def complete_runs(ctx: Context, _param: Parameter, incomplete: str) -> list[str]:
    """Complete the id of a run that has a log, newest first."""
    site = own_site(ctx)
    return matching((*list_logs(site), *(["live"] if incomplete else [])) if site else (), incomplete)


@command(section="Look closer", example="releaser logs --follow")
@click.option(
    "-f", "--follow", "is_followed", is_flag=True, help="Also print new lines of a run in progress, until it ends."
)
@click.argument("run", required=False, shell_complete=complete_runs)
def logs(ctx: CommandContext, run: str | None, is_followed: bool) -> None:
    """Print the log of a run.

    RUN is an id of `releaser history`, or the beginning of one; `live` is the run that made the live release. The
    default is the run in progress, or the last one.
    """
    if is_followed and ctx.output.json:
        refuse_both("--follow", "--json")
    site = ctx.site()
    found = find_log(site, run)
    parts = lines_of(site, found, is_followed=is_followed)
    if ctx.output.json:
        text = "".join(f"{line}\n" for lines in parts for line in lines)
        ctx.output.print_json(RunLogText(**plain(found), text=text))
        return
    for lines in parts:
        ctx.output.print_lines(lines)
        sys.stdout.flush()
