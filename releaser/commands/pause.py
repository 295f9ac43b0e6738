"""`pause` and `resume`."""

from __future__ import annotations

import click

from releaser.commands.command import command
from releaser.commands.context import CommandContext, refuse_both


@command(
    section="Keep and hold", example='releaser pause --until monday "the sale"', changes=True, waits=True, many="all"
)
@click.option("--for", "length", metavar="TIME", help="The length of the pause, such as 48h or 7d.")
@click.option("--until", "day", metavar="DAY", help='A weekday, a date, or a date and time: "2026-12-24 08:00".')
@click.option("--except-security", is_flag=True, help="Still install fixes of known vulnerabilities.")
@click.argument("reason", required=False, default="")
def pause(ctx: CommandContext, length: str | None, day: str | None, except_security: bool, reason: str) -> None:
    """Stop updates until `releaser resume` or the given end. Mails quote REASON."""
    from releaser.pipelines import pause as pipeline

    if length is not None and day is not None:
        refuse_both("--for", "--until")
    wanted = pipeline.new_pause(length, day, reason, except_security=except_security)
    ctx.end(ctx.run(pipeline.plan_pause, pipeline.pause, wanted))


@command(section="Keep and hold", example="releaser resume", changes=True, waits=True, many="all")
def resume(ctx: CommandContext) -> None:
    """Let updates start again after `releaser pause`."""
    from releaser.pipelines import pause as pipeline

    ctx.end(ctx.run(pipeline.plan_resume, pipeline.resume))
