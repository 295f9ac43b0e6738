"""The commands that set a site up: init."""

from __future__ import annotations

import click

from releaser.cli.common import Common, common_options, preview_and_exit, run_and_exit
from releaser.pipelines.init import init, preview_init


@click.command("init")
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@common_options(takes_lock=True)
def init_command(common: Common, dry_run: bool) -> None:
    """Make the first release, or adopt the venv that exists."""
    if dry_run:
        preview_and_exit(common, preview_init)
    run_and_exit(common, "init", lambda site, run, recovery: init(site, run))
