"""The commands that show the contents of a release."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from releaser.commands import completion
from releaser.commands.command import FILE, command
from releaser.commands.context import CommandContext, refuse_both
from releaser.commands.output import write_named
from releaser.errors import UsageError, os_reason, refuse
from releaser.system.words import one_line, secrets_in_urls


@command(section="Look closer", example="releaser packages --offline", many="all")
@click.option("--offline", is_flag=True, help="Do not look for newer versions or vulnerabilities.")
@click.argument("release", required=False, shell_complete=completion.releases)
def packages(ctx: CommandContext, offline: bool, release: str | None) -> None:
    """List the packages of a release: age, newer version, size.

    It also lists which packages need each one, and vulnerabilities. RELEASE is the live release by default.
    """
    from releaser.pipelines.release_contents import list_packages
    from releaser.reporting.changes import package_lines

    found, unknown = list_packages(ctx.site(), release, offline=offline)
    ctx.output.answer(found, package_lines, empty="no package is installed")
    if unknown:
        ctx.output.note(f"unknown: {one_line(unknown)}")


@command(section="Look closer", example="releaser export --requirements -o requirements.txt")
@click.option("--requirements", is_flag=True, help="Print a requirements file with hashes.")
@click.option("--constraints", is_flag=True, help="Print a constraints file, without hashes and extras.")
@click.option("--pylock", is_flag=True, help="Print a pylock.toml (PEP 751).")
@click.option(
    "-o",
    "--output",
    "file",
    type=FILE,
    metavar="FILE",
    help="Write to this file, atomically, instead of standard output.",
)
@click.argument("release", required=False, shell_complete=completion.releases)
def export(
    ctx: CommandContext, requirements: bool, constraints: bool, pylock: bool, file: Path | None, release: str | None
) -> None:
    """Print the lock of a release for other tools. RELEASE is the live release by default."""
    from releaser.pipelines.release_contents import Format, export_release

    forms: dict[Format, bool] = {"requirements": requirements, "constraints": constraints, "pylock": pylock}
    wanted = [form for form, on in forms.items() if on]
    if len(wanted) > 1:
        refuse_both(f"--{wanted[0]}", f"--{wanted[1]}")
    if not wanted:
        message = "export needs a format"
        raise UsageError(message, "Add --requirements, --constraints or --pylock.")
    found = export_release(ctx.site(), release, wanted[0])
    has_secrets = bool(secrets_in_urls(found.text))
    if has_secrets:
        click.echo("warning: the export contains passwords or tokens in URLs; do not publish it", err=True)
    if file is not None:
        try:
            write_named(file, found.text.encode(), private=has_secrets)
        except OSError as error:
            message = f"the export cannot be written: {os_reason(error)}"
            refuse("export-unwritable", message, "Correct the path after --output, or its permissions.")
        ctx.output.note(f"wrote {file}")
    if ctx.output.json:
        ctx.output.print_json(found)
    elif file is None:
        sys.stdout.write(found.text)
