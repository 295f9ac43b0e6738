"""The commands that say which releases are kept and which packages are held."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from releaser.commands.common import common, dry_run, say_plan, wait
from releaser.console import Manner

if TYPE_CHECKING:
    from releaser.commands.common import Call


@click.command()
@common
@dry_run
@wait
def prune(call: Call, dry_run: bool, wait: float) -> None:
    """Delete the releases that the policy no longer keeps, with the reason for each."""
    from releaser.rehearsal import rehearse_prune
    from releaser.upkeep import prune_releases

    if dry_run:
        report, verdicts = None, rehearse_prune(call.site())
    else:
        report, verdicts = prune_releases(call.request("prune", wait=wait))
    if call.manner.json:
        call.manner.data([one.as_json() for one in verdicts])
    elif verdicts and not call.manner.quiet:
        call.manner.table(("", "RELEASE", "WHY"), [[one.action, one.id, one.reason] for one in verdicts])
    if report is not None and (report.exit_code or report.tells_of_before):
        Manner(quiet=call.manner.quiet).say_report(report)
    sys.exit(report.exit_code if report else 0)


def _pin(call: Call, release: str, *, on: bool, dry_run: bool) -> None:
    if dry_run:
        from releaser.rehearsal import rehearse_pin

        say_plan(call, rehearse_pin(call.site(), release, on=on))
        return
    from releaser.upkeep import set_pin

    call.end(set_pin(call.request("pin" if on else "unpin"), release, on=on))


@click.command()
@common
@dry_run
@click.argument("release")
def pin(call: Call, release: str, dry_run: bool) -> None:
    """Never prune RELEASE."""
    _pin(call, release, on=True, dry_run=dry_run)


@click.command()
@common
@dry_run
@click.argument("release")
def unpin(call: Call, release: str, dry_run: bool) -> None:
    """Let RELEASE be pruned again."""
    _pin(call, release, on=False, dry_run=dry_run)


@click.command()
@common
@dry_run
@click.argument("name")
@click.argument("reason", required=False, default="")
def hold(call: Call, name: str, reason: str, dry_run: bool) -> None:
    """Leave the package NAME at the version that it has, until `releaser unhold`. REASON is for those who get mail."""
    if dry_run:
        from releaser.rehearsal import rehearse_hold

        say_plan(call, rehearse_hold(call.site(), name, reason))
        return
    from releaser.upkeep import hold as hold_package

    call.end(hold_package(call.request("hold"), name, reason))


@click.command()
@common
@dry_run
@click.argument("name")
def unhold(call: Call, name: str, dry_run: bool) -> None:
    """Let in again what is held back, by the NAME that `status` shows: a package, a commit, a candidate, a Python."""
    if dry_run:
        from releaser.rehearsal import rehearse_unhold

        say_plan(call, rehearse_unhold(call.site(), name))
        return
    from releaser.upkeep import unhold as unhold_package

    call.end(unhold_package(call.request("unhold"), name))
