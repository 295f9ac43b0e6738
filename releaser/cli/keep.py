"""The commands that keep or let go: prune, pin, unpin, hold, unhold, pause and resume."""

from __future__ import annotations

import functools

import click

from releaser.cli.common import (
    TIME,
    Common,
    common_options,
    complete_hold,
    complete_release,
    preview_and_exit,
    run_and_exit,
)
from releaser.pipelines.marks import hold, pause, resume, set_pinned, unhold, unhold_all
from releaser.pipelines.prune import preview_prune, prune
from releaser.system.run import Command


@click.command("prune")
@click.option("--dry-run", is_flag=True, help="Only say what would be deleted.")
@common_options(takes_lock=True)
def prune_command(common: Common, dry_run: bool) -> None:
    """Delete the releases that `keep` and `keep_within` do not protect."""
    if dry_run:
        preview_and_exit(common, preview_prune)
    run_and_exit(common, Command("prune"), lambda site, run, recovery: prune(site, run))


@click.command("pin")
@click.argument("release", shell_complete=complete_release)
@common_options(takes_lock=True)
def pin_command(common: Common, release: str) -> None:
    """Keep RELEASE from pruning."""
    run_and_exit(common, Command("pin"), lambda site, run, recovery: set_pinned(run, release, pinned=True))


@click.command("unpin")
@click.argument("release", shell_complete=complete_release)
@common_options(takes_lock=True)
def unpin_command(common: Common, release: str) -> None:
    """Let pruning delete RELEASE again."""
    run_and_exit(common, Command("unpin"), lambda site, run, recovery: set_pinned(run, release, pinned=False))


@click.command("hold")
@click.argument("name")
@click.option("--for", "seconds", type=TIME, metavar="TIME", help="How long. Default: until `releaser unhold`.")
@common_options(takes_lock=True)
def hold_command(common: Common, name: str, seconds: float | None) -> None:
    """Let updates leave package NAME at its live version."""
    run_and_exit(common, Command("hold"), lambda site, run, recovery: hold(site, run, name, seconds))


@click.command("unhold")
@click.argument("names", nargs=-1, metavar="NAME…|COMMIT", shell_complete=complete_hold)
@click.option("--all", "is_all", is_flag=True, help="Free everything on hold; a pause and the setting `ignore` stay.")
@common_options(takes_lock=True)
def unhold_command(common: Common, names: tuple[str, ...], is_all: bool) -> None:
    """Let updates take these packages, or a commit, again."""
    if bool(names) == is_all:
        raise click.UsageError("Name packages or a commit, or give `--all`.")
    free = unhold_all if is_all else functools.partial(unhold, names=names)
    run_and_exit(common, Command("unhold"), lambda site, run, recovery: free(site))


@click.command("pause")
@click.argument("reason", nargs=-1)
@click.option("--for", "seconds", type=TIME, metavar="TIME", help="How long. Default: until `releaser resume`.")
@common_options(takes_lock=True)
def pause_command(common: Common, reason: tuple[str, ...], seconds: float | None) -> None:
    """Let updates do nothing for a time; REASON is shown."""
    run_and_exit(common, Command("pause"), lambda site, run, recovery: pause(site, seconds, " ".join(reason)))


@click.command("resume")
@common_options(takes_lock=True)
def resume_command(common: Common) -> None:
    """Let updates go on after a pause."""
    run_and_exit(common, Command("resume"), lambda site, run, recovery: resume(site))
