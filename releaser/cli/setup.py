"""The commands that set a site up, and that leave it: init and uninstall."""

from __future__ import annotations

import os

import click

from releaser.cli.common import Common, common_options, preview_and_exit, run_and_exit
from releaser.pipelines.init import init, preview_init
from releaser.pipelines.uninstall import describe_uninstall, preview_uninstall, uninstall
from releaser.site.site import open_site


@click.command("init")
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@common_options(takes_lock=True)
def init_command(common: Common, dry_run: bool) -> None:
    """Make the first release, or adopt the venv that exists."""
    if dry_run:
        preview_and_exit(common, preview_init)
    run_and_exit(common, "init", lambda site, run, recovery: init(site, run))


@click.command("uninstall")
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@common_options(takes_lock=True)
def uninstall_command(common: Common, dry_run: bool) -> None:
    """Leave the site: a plain venv stays, and nothing of releaser."""
    if dry_run:
        preview_and_exit(common, preview_uninstall)
    words = describe_uninstall(open_site(common.project, os.environ))
    if words and not common.quiet:
        click.echo(f"This will {words}.", err=True)
    run_and_exit(common, "uninstall", lambda site, run, recovery: uninstall(site, run))
