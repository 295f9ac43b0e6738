"""Every command by section, with those that run something; the only place that turns errors into exit codes."""

from __future__ import annotations

import os
import re
import shlex
import sys
from pathlib import Path

import click

from releaser import __version__
from releaser.candidate.kept import open_kept, require_tested
from releaser.cli import bundles, daily, keep, look, render, setup
from releaser.cli.common import Common, Group, common_options, preview_and_exit, run_and_exit
from releaser.errors import PreflightError, Problem, ReleaserError, explain_error, refuse, require
from releaser.pipelines.rebuild import preview_rebuild, rebuild
from releaser.program.bootstrap import Program, read_source, write_starter
from releaser.releases.store import Store
from releaser.report.outcomes import Outcome, describe_outcome, make_error
from releaser.site.django import find_django
from releaser.site.project import find_project
from releaser.site.site import read_service
from releaser.system import process
from releaser.system.files import replace_file
from releaser.system.run import REBUILD


@click.command("run", context_settings={"ignore_unknown_options": True})
@click.option("--release", "name", metavar="ID", help="Use a candidate that passed its tests, with its code.")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="COMMAND…")
@common_options(takes_lock=False)
def run_command_in_release(common: Common, name: str | None, command: tuple[str, ...]) -> None:
    """Run COMMAND in the live release, with the service's environment.

    It runs in the project that `--project` names.
    """
    site = common.open_site()
    require(read_service(site)[1])
    store, here = Store(site.paths), Path.cwd()
    release = store.find(name or "live")
    if re.fullmatch(r"python[\d.]*", command[0]) and not os.access(release.venv / "bin" / command[0], os.X_OK):
        message = f"Release {release.id} has no `{command[0]}` that starts."
        raise refuse("no-python", message, "Run `releaser status`; another Python on PATH would not be that release.")
    try:
        if release is not store.live:
            require_tested(release)
            with open_kept(site, release) as (project, env):
                is_inside = common.project == Path() and here.is_relative_to(site.paths.project)
                place = project / here.relative_to(site.paths.project) if is_inside else project
                sys.exit(process.run_at_terminal(command, cwd=place if place.is_dir() else project, env=env))
        if common.project != Path():  # else the current directory is in the project
            os.chdir(site.paths.project)
        env = site.service_environment(release.venv) | find_django(site, site.paths.project).variables
        os.execvpe(command[0], command, env)  # noqa: S606 - this process becomes the command
    except OSError as error:
        raise click.UsageError(f"`{command[0]}` cannot be started: {error.strerror}.") from error


@click.command("rebuild")
@click.option("--python", default="", metavar="PYTHON", help="A version or the path of another Python, as for uv.")
@click.option("--dry-run", is_flag=True, help="Only say what would be built.")
@common_options(takes_lock=True)
def rebuild_command(common: Common, python: str, dry_run: bool) -> None:
    """Build the live release again, and take it live if its tests pass."""
    if "/" in python:
        python = os.path.abspath(python)
    if dry_run:
        preview_and_exit(common, lambda site: preview_rebuild(site, python))
    run_and_exit(common, REBUILD, lambda site, run, recovery: rebuild(site, run, python))


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


#: The commands by the section of `releaser --help`.
SECTIONS: dict[str, tuple[click.Command, ...]] = {
    "Daily": (
        daily.update_command, daily.rollback_command, daily.list_command, daily.status_command,
        daily.outdated_command, daily.check_command,
    ),
    "Set up": (
        setup.setup_command, setup.init_command, setup.config_command, setup.schedule_command,
        setup.uninstall_command,
    ),
    "Look": (
        look.show_command, look.diff_command, look.history_command, look.logs_command, look.audit_command,
        look.verify_command, look.report_command,
    ),
    "Keep": (
        keep.prune_command, keep.pin_command, keep.unpin_command, keep.hold_command, keep.unhold_command,
        keep.pause_command, keep.resume_command,
    ),
    "Run": (run_command_in_release, rebuild_command, exec_command, bootstrap_command),
    "Elsewhere": (bundles.bundle_group,),
}  # fmt: skip


@click.group(cls=Group, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="releaser")
@click.pass_context
def releaser(context: click.Context) -> None:
    """Keep the Python environment of a running site up to date, safely.

    Without COMMAND, `status` in a project.

    \b
    Exit codes: 0 done, 2 usage, 3 not fit, 4 not built, 5 tests failed,
    6 rolled back, 7 live with a problem, 8 locked, 9 no such release,
    10 needs attention.
    """
    if context.invoked_subcommand is not None:
        return
    try:
        find_project(Path(os.environ.get("RELEASER_PROJECT") or "."))
    except PreflightError:
        click.echo(context.get_help())
    else:
        daily.status_command.main([], prog_name="releaser status", standalone_mode=False)


releaser.sections = SECTIONS
for _command in (command for commands in SECTIONS.values() for command in commands):
    releaser.add_command(_command)


def main() -> None:
    """Run the command line; the only place that turns errors into exit codes."""
    render.open_closed_streams()
    try:
        releaser.main(standalone_mode=False)
    except click.exceptions.Exit as end:
        sys.exit(end.exit_code)
    except click.ClickException as wrong:
        wrong.show()
        if "--json" in sys.argv:
            problem = Problem("usage", wrong.format_message(), "Run `releaser --help`.")
            render.print_json(describe_outcome(Outcome("refused", 2, problem.message, problems=(problem,))))
        sys.exit(2)
    except click.Abort:
        sys.exit(130)
    except BrokenPipeError:
        render.drop_output()
        sys.exit(141)
    except (ReleaserError, OSError) as failure:
        if isinstance(failure, OSError):
            render.drop_output()
            failure = refuse("system", explain_error(failure), "Look at that path, or at standard output.")
        is_json = "--json" in sys.argv
        render.print_outcome(make_error(failure), as_json=is_json, verbose=True, quiet=False, may_change=False)
        sys.exit(failure.exit_code)
