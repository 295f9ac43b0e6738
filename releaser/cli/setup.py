"""The commands that set a site up, and that leave it: init, config, schedule and uninstall."""

from __future__ import annotations

import os
import sys

import click
import msgspec

from releaser.cli import render
from releaser.cli.common import Common, common_options, preview_and_exit, run_and_exit
from releaser.pipelines.init import init, init_lock, preview_init, preview_lock
from releaser.pipelines.uninstall import describe_uninstall, preview_uninstall, uninstall
from releaser.site.crontab import install_line, make_line
from releaser.site.project import guess_environment
from releaser.site.settings import find_setting, list_settings
from releaser.site.site import open_site
from releaser.system.run import INIT, INIT_LOCK, Command


@click.command("init")
@click.option(
    "--from-venv",
    is_flag=False,
    flag_value="",
    metavar="[PATH]",
    help="Write pyproject.toml and uv.lock with the versions of the site's venv, or of the venv or Python at PATH.",
)
@click.option(
    "--from-requirements",
    metavar="FILE",
    help="Write them with the packages and versions of FILE; with --from-venv, the installed versions.",
)
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@common_options(takes_lock=True)
def init_command(common: Common, from_venv: str | None, from_requirements: str | None, dry_run: bool) -> None:
    """Make the first release, or adopt the venv that exists.

    A project without uv.lock gets it first, by one of the two `--from` options.
    """
    origin = (from_venv, from_requirements)
    if origin != (None, None):
        if dry_run:
            preview_and_exit(common, lambda site: preview_lock(site, *origin), makes_project=True)
        run_and_exit(common, INIT_LOCK, lambda site, run, recovery: init_lock(site, run, *origin))
    if dry_run:
        preview_and_exit(common, preview_init)
    run_and_exit(common, INIT, lambda site, run, recovery: init(site, run))


@click.command("config")
@click.argument("name", required=False)
@common_options(takes_lock=False)
def config_command(common: Common, name: str | None) -> None:
    """Show every setting, or NAME, with its value and source."""
    try:
        chosen = find_setting(name) if name else None
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    site = open_site(common.project, os.environ)
    detected = {"group": site.group, "state_dir": str(site.paths.state), "uv": str(site.uv)}
    rows = list_settings(site.settings, detected | {"environment": guess_environment()})
    row = next((row for row in rows if row.name == chosen), None)
    if common.as_json:
        answer = {"headline": row.description if row else "All settings.", "notes": [], "problems": site.problems}
        render.print_json({**answer, **(msgspec.structs.asdict(row) if row else {"settings": rows})})
    else:
        render.print_setting(row) if row else render.print_settings(rows)
    render.print_problems(site.problems)
    sys.exit(3 if site.problems else 0)


@click.group("schedule")
def schedule_command() -> None:
    """Let updates run by themselves: `schedule cron`."""


@schedule_command.command("cron")
@click.option("--install", is_flag=True, help="Add the line to your crontab.")
@common_options(takes_lock=False)
def schedule_cron_command(common: Common, install: bool) -> None:
    """Print the line of a crontab that updates the site each night."""
    site = open_site(common.project, os.environ)
    line = make_line(site)
    result, line = install_line(site, line) if install else ("printed", line)
    if common.as_json:
        answer = {"headline": f"The line in your crontab: {result}.", "notes": [], "problems": []}
        render.print_json({**answer, "line": line, "result": result})
    else:
        click.echo(line)
    if install and not common.quiet:
        click.echo(f"The line in your crontab: {result}.", err=True)


@click.command("uninstall")
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@common_options(takes_lock=True)
def uninstall_command(common: Common, dry_run: bool) -> None:
    """Remove releaser: `.venv` becomes a plain directory."""
    if dry_run:
        preview_and_exit(common, preview_uninstall)
    words = describe_uninstall(open_site(common.project, os.environ))
    if words and not common.quiet:
        click.echo(f"This will {words}.", err=True)
    run_and_exit(common, Command("uninstall"), lambda site, run, recovery: uninstall(site, run))
