"""The command `update`, which cron starts: plain.py reads its plain options without click."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Any

from releaser.commands.context import Beginning, CommandContext, refuse_both
from releaser.commands.plain import PlainCommand, flag
from releaser.errors import UsageError
from releaser.pipelines import due
from releaser.system.frozen import replace

if TYPE_CHECKING:
    from collections.abc import Mapping

    from releaser.report import Plan


def update(
    ctx: CommandContext,
    *,
    force: bool = False,
    follow_remote: bool = False,
    if_due: bool = False,
    now: bool = False,
    if_locked: bool = False,
    names: tuple[str, ...] = (),
    **given: Any,
) -> None:
    """Update the site to the newest packages that pass its tests. This is the command for cron.

    With NAME, update only these packages and their dependencies.
    """
    from releaser.pipelines.update import update_site

    if if_due and (now or names):
        refuse_both("--if-due", "--now" if now else "NAME")
    if if_locked and not names:
        message = "--if-locked needs the names of packages"
        raise UsageError(message, "Name the packages, or omit --if-locked.")
    timing = due.Timing(if_due=if_due, now=now, by_rules=not names, named=bool(names))
    if given:  # click reads the options that capabilities add
        own = {"--force": force, "--follow-remote": follow_remote, "--if-due": if_due, "--now": now, "NAME": names}
        ctx, timing = _with_given(ctx, given, own, timing, force=force)
    asked = tuple(one.section(value) for one, value in ctx.asked)
    only = due.find_selected(ctx.project, os.environ, names, if_locked=if_locked)
    if names and not only:
        ctx.end(ctx.run(due.plan_unaffected, due.report_unaffected, names))

    def plan_update(*asked_of: Any, **how: Any) -> Plan:
        from releaser.pipelines import dry_run  # slow to import, and no run needs it

        return dry_run.plan_update(*asked_of, **how)

    how: dict[str, Any] = {"force": force, "follow": follow_remote, "only": only}
    plan = partial(due.plan_when_due, plan=partial(plan_update, **how), asked=asked)
    ctx.end(ctx.run(plan, partial(due.update_when_due, pipeline=partial(update_site, **how)), timing))


def _with_given(
    ctx: CommandContext, given: dict[str, Any], own: Mapping[str, Any], timing: due.Timing, *, force: bool
) -> tuple[CommandContext, due.Timing]:
    """Run the update from another source and exit, or return the context and timing for the kind of run, if any."""
    from releaser.commands.elsewhere import update_from_elsewhere
    from releaser.commands.run_options import asked_in

    ctx = replace(ctx, asked=asked_in("update", given))
    if asked := tuple(one.section(value) for one, value in ctx.asked):
        timing = replace(timing, limits=due.limits_of(asked))
    others = {**own, **{one.option: value for one, value in ctx.asked}}
    update_from_elsewhere(ctx, given, others, timing=replace(timing, by_rules=False), force=force)
    return ctx, timing


COMMAND = PlainCommand(
    beginning=Beginning(name="update", has_dry_run=True, waits=True, mails=True, changes_live=True),
    function=update,
    options=(
        flag(
            "--force",
            about="Retry versions and commits that failed before, "
            "and continue even if the live site fails its health check.",
        ),
        flag("--follow-remote", about="Follow the remote branch even if it was moved back or rewritten."),
        flag(
            "--if-due",
            about="Update only if `every` has passed since the last update began. Otherwise, only finish earlier runs.",
        ),
        flag("--now", about="Start even outside the maintenance window."),
        flag("--if-locked", about="Skip each NAME that this site does not have."),
    ),
)
