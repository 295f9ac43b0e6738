"""The commands that keep or let go: prune, pin, unpin, hold, unhold, pause and resume."""

from __future__ import annotations

import click

from releaser.cli.common import TIME, Common, common_options, preview_and_exit, run_and_exit
from releaser.pipelines.marks import hold, pause, resume, set_pinned, unhold
from releaser.pipelines.prune import preview_prune, prune


@click.command("prune")
@click.option("--dry-run", is_flag=True, help="Only say what would be deleted.")
@common_options(takes_lock=True)
def prune_command(common: Common, dry_run: bool) -> None:
    """Delete the releases that `keep` and `keep_within` do not protect."""
    if dry_run:
        preview_and_exit(common, preview_prune)
    run_and_exit(common, "prune", lambda site, run, recovery: prune(site, run))


@click.command("pin")
@click.argument("release")
@common_options(takes_lock=True)
def pin_command(common: Common, release: str) -> None:
    """Keep RELEASE from pruning."""
    run_and_exit(common, "pin", lambda site, run, recovery: set_pinned(site, release, pinned=True))


@click.command("unpin")
@click.argument("release")
@common_options(takes_lock=True)
def unpin_command(common: Common, release: str) -> None:
    """Let pruning delete RELEASE again."""
    run_and_exit(common, "unpin", lambda site, run, recovery: set_pinned(site, release, pinned=False))


@click.command("hold")
@click.argument("name")
@common_options(takes_lock=True)
def hold_command(common: Common, name: str) -> None:
    """Let updates leave package NAME at its live version."""
    run_and_exit(common, "hold", lambda site, run, recovery: hold(site, name))


@click.command("unhold")
@click.argument("names", nargs=-1, required=True, metavar="NAME…")
@common_options(takes_lock=True)
def unhold_command(common: Common, names: tuple[str, ...]) -> None:
    """Let updates take these packages again; `commit` stands for a commit."""
    run_and_exit(common, "unhold", lambda site, run, recovery: unhold(site, names))


@click.command("pause")
@click.argument("reason", nargs=-1)
@click.option("--for", "seconds", type=TIME, help="How long, such as `12h`. Default: until `releaser resume`.")
@common_options(takes_lock=True)
def pause_command(common: Common, reason: tuple[str, ...], seconds: float | None) -> None:
    """Let updates do nothing for a time; REASON is shown."""
    run_and_exit(common, "pause", lambda site, run, recovery: pause(site, seconds, " ".join(reason)))


@click.command("resume")
@common_options(takes_lock=True)
def resume_command(common: Common) -> None:
    """Let updates go on after a pause."""
    run_and_exit(common, "resume", lambda site, run, recovery: resume(site))
