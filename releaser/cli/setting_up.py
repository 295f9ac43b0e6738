"""The commands that set a site up, and leave it again."""

from __future__ import annotations

import os
import sys
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


@command(section="Set up", example="releaser uninstall --dry-run", changes=True, waits=True)
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--keep-state", is_flag=True, help="Keep the state directory, with all releases.")
def uninstall(ctx: CommandContext, yes: bool, keep_state: bool) -> None:
    """Leave the site with a plain .venv directory as it is live, and take away what is releaser's."""
    from releaser.errors import UsageError
    from releaser.pipelines import uninstall as pipeline

    if not (yes or ctx.dry_run):
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            message = "uninstall asks first, and there is no terminal"
            raise UsageError(message, advice="Give --yes, or see what it would do: --dry-run.")
        ctx.output.print_lines(pipeline.plan_uninstall(ctx.site(), keep_state=keep_state).would)
        if not confirmed("Do all that?"):
            ctx.output.note("nothing was changed")
            return
    ctx.end(ctx.run(pipeline.plan_uninstall, pipeline.uninstall, keep_state=keep_state))


def confirmed(question: str, *, default: bool = False) -> bool:
    """Ask on the terminal. Raises KeyboardInterrupt."""
    try:
        return click.confirm(question, default=default, err=True)
    except click.Abort as error:
        raise KeyboardInterrupt from error
