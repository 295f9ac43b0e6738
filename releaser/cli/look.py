"""The commands that look: show and logs."""

from __future__ import annotations

import os

import click

from releaser.cli import render
from releaser.cli.common import Common, common_options
from releaser.report.details import describe_release, find_log
from releaser.site.site import open_site
from releaser.system.text import clean_terminal


@click.command("show")
@click.argument("release")
@common_options(takes_lock=False)
def show_command(common: Common, release: str) -> None:
    """Show RELEASE: its changes, steps, and the end of its tests."""
    details = describe_release(open_site(common.project, os.environ), release)
    render.print_json(details) if common.as_json else render.print_details(details)


@click.command("logs")
@click.argument("run", required=False)
@common_options(takes_lock=False)
def logs_command(common: Common, run: str | None) -> None:
    """Print the log of RUN, or of the newest one."""
    path = find_log(open_site(common.project, os.environ), run)
    text = path.read_text(encoding="utf-8", errors="replace")
    render.print_json({"run": path.stem, "text": text}) if common.as_json else click.echo(
        clean_terminal(text), nl=False
    )
