"""The commands for programs that keep themselves up to date: exec and bootstrap."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import click

from releaser.program.bootstrap import Program, read_source, write_starter
from releaser.system.files import replace_file


@click.command("exec", add_help_option=False)
@click.option("--refresh", default="daily", metavar="TIME", help="Least time between two looks for updates.")
@click.option("--wait", default="5s", metavar="TIME", help="How long to wait for an update, which then goes on.")
@click.option("--project", default=".", metavar="PATH", help="The project, or a directory below it.")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- COMMAND…")
@click.help_option("--help")
def exec_command(refresh: str, wait: str, project: str, command: tuple[str, ...]) -> None:
    """Update the project if that is due, and become COMMAND in the live release.

    TIME is hourly, daily, weekly, always, never, or such as 12h. A failed update is said, and stops no start.
    """
    raise AssertionError(f"releaser.cli starts {command}, before anything else is imported")


@click.command("bootstrap")
@click.argument("packages", nargs=-1, required=True, metavar="PACKAGE…")
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="Default: standard output.")
@click.option("--name", default="", help="Name of the program. Default: that of the first package.")
@click.option("--main", default="", metavar="COMMAND", help="The command of a release. Default: the name.")
@click.option("--source", "sources", multiple=True, metavar="PACKAGE=PLACE", help="Its only index, directory or s3://.")
@click.option("--verify", default="", metavar="COMMAND", help="Test of each release. Default: import what it starts.")
@click.option("--refresh", default="daily", metavar="TIME", help="Least time between two looks for updates.")
@click.option("--wait", default="5s", metavar="TIME", help="How long a start waits for an update.")
@click.option("--place", default="", metavar="DIRECTORY", help="Default: ~/.local/share/releaser/NAME.")
@click.option("--releaser", default="", metavar="COMMAND", help="Default: on PATH, else uv installs it.")
def bootstrap_command(
    packages: tuple[str, ...],
    output: Path | None,
    name: str,
    main: str,
    sources: tuple[str, ...],
    verify: str,
    refresh: str,
    wait: str,
    place: str,
    releaser: str,
) -> None:
    """Write one file that starts a program, and keeps it up to date. It needs Python 3.8 or newer.

    Its head has the program's own lines, and functions to edit.
    """
    program = Program(
        packages=list(packages),
        name=name,
        place=place,
        sources=dict(map(read_source, sources)),
        main=shlex.split(main),
        verify=shlex.split(verify),
        refresh=refresh,
        wait=wait,
        releaser=shlex.split(releaser),
    )
    text = write_starter(program)
    if output is None:
        sys.stdout.write(text)
    else:
        replace_file(output, text.encode(), mode=0o755)
