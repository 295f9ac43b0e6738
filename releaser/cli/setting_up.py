"""The commands that set a site up, and leave it again."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from releaser.cli.command import command, refuse_both

if TYPE_CHECKING:
    from releaser.cli.command import CommandContext
    from releaser.pipelines.schedule import Kind


@command(section="Set up", example="releaser schedule cron --install", changes=True, admits=False)
@click.option("--install", is_flag=True, help="Write it into the crontab, or write and enable the units.")
@click.option("--remove", is_flag=True, help="Take it away again.")
@click.option(
    "--at", metavar="TIME", help="When to update, such as 03:12. Default: after 3, each site at another minute."
)
@click.option("--writable", multiple=True, metavar="PATH", help="Let the units write here, too.")
@click.argument("kind", type=click.Choice(["cron", "systemd"]))
def schedule(
    ctx: CommandContext, kind: Kind, install: bool, remove: bool, at: str | None, writable: tuple[str, ...]
) -> None:
    """Print what starts an update each night: a line for the crontab, or the units of systemd."""
    from releaser.answers import Plan
    from releaser.pipelines.schedule import find_scheduler

    if install and remove:
        refuse_both("--install", "--remove")
    found = find_scheduler(ctx.project, kind, os.environ, at=at, writable=writable)
    doing = (found.leftovers() if remove else found.changes()) if install or remove else ()
    if ctx.dry_run:
        would = tuple(f"would {one}" for one in doing)
        ctx.output.answer(Plan(would=would), lambda plan: (f"dry run: {one}" for one in plan.would or ("no change",)))
        return
    if doing:
        (found.remove if remove else found.install)()
    shown = replace(found.show(), changed=bool(doing))
    if ctx.output.json:
        ctx.output.print_json(shown)
    elif install or remove:
        ctx.output.note("; ".join(f"done: {one}" for one in doing) or "nothing to change")
    else:
        texts = [shown.line] if shown.line else [f"# {path}\n{text}" for path, text in shown.units.items()]
        ctx.output.print_lines("\n".join(texts).splitlines())
    for one in shown.advice if not remove and not ctx.output.json else ():
        ctx.output.note(one)
