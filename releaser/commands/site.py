"""The commands that change what the site runs on, and the one that runs something on it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from releaser.commands.common import FORCE_HELP, Place, common, dry_run, say_plan, wait
from releaser.errors import UsageError

if TYPE_CHECKING:
    from releaser.commands.common import Call


@click.command()
@common
@dry_run
@wait
@click.option("--force", is_flag=True, help="Also adopt a .venv that is not what uv.lock says.")
@click.option(
    "--from-venv",
    type=Place(path_type=Path),
    metavar="PATH",
    help="Lock exactly what is installed in this venv, for a project without uv.lock.",
)
@click.option(
    "--from-requirements",
    type=Place(path_type=Path),
    metavar="FILE",
    help="Lock what this requirements file asks for, for a project without uv.lock.",
)
@click.option("--without", multiple=True, metavar="NAME", help="Leave this package out of the first lock.")
@click.option(
    "--with",
    "given",
    multiple=True,
    metavar="PACKAGE",
    help="Take this package from there ('NAME @ URL-or-path', 'NAME==VERSION').",
)
def init(
    call: Call,
    dry_run: bool,
    wait: float,
    force: bool,
    from_venv: Path | None,
    from_requirements: Path | None,
    without: tuple[str, ...],
    given: tuple[str, ...],
) -> None:
    """Adopt the project: its .venv becomes the first release, and a symlink to it. Safe to repeat."""
    if from_venv is not None or from_requirements is not None:
        if force:
            message = "--force has no meaning together with --from-venv or --from-requirements"
            raise UsageError(message, advice="Leave one of them out.")
        _cross(call, from_venv, from_requirements, without, given, dry_run=dry_run, wait=wait)
        return
    if without or given:
        message = f"{'--without' if without else '--with'} has no meaning without --from-venv or --from-requirements"
        raise UsageError(message, advice="A project with a uv.lock is adopted with that.")
    if dry_run:
        from releaser.rehearsal import rehearse_init

        say_plan(call, rehearse_init(call.site(), force=force))
        return
    from releaser.init import init as adopt

    report = adopt(call.request("init", wait=wait), force=force)
    call.say_chosen(report.chosen)
    call.end(report)


def _cross(
    call: Call,
    venv: Path | None,
    requirements: Path | None,
    without: tuple[str, ...],
    given: tuple[str, ...],
    *,
    dry_run: bool,
    wait: float,
) -> None:
    from releaser.crossing import cross, read_wanted

    wanted = read_wanted(venv, requirements, without, given)
    if dry_run:
        from releaser.rehearsal import rehearse_crossing

        say_plan(call, rehearse_crossing(call.site(founds=True), wanted))
        return
    report = cross(call.request("init", wait=wait), wanted)
    call.say_chosen(report.chosen)
    call.end(report)


@click.command()
@common
@dry_run
@wait
@click.option("--force", is_flag=True, help=FORCE_HELP)
@click.option(
    "--follow-remote", "follow", is_flag=True, help="Take a remote branch that was moved back or rewritten as it is."
)
@click.option(
    "--override",
    "overrides",
    multiple=True,
    metavar="PACKAGE",
    help="Build and test a candidate with this package instead ('NAME @ URL-or-path'), and never make it live.",
)
def update(call: Call, dry_run: bool, wait: float, force: bool, follow: bool, overrides: tuple[str, ...]) -> None:
    """Bring the site to the newest packages that pass its tests. This is the command for cron."""
    if overrides:
        if force or follow:
            message = f"{'--force' if force else '--follow-remote'} has no meaning together with --override"
            raise UsageError(message, advice="Leave one of them out.")
        _override(call, overrides, dry_run=dry_run, wait=wait)
        return
    if dry_run:
        from releaser.rehearsal import rehearse_update

        say_plan(call, rehearse_update(call.site(), force=force, follow=follow))
        return
    from releaser.update import update as run_update

    call.end(run_update(call.request("update", wait=wait, mails=True), force=force, follow=follow))


def _override(call: Call, values: tuple[str, ...], *, dry_run: bool, wait: float) -> None:
    from releaser.override import COMMAND, override, read_overrides

    overrides = read_overrides(call.project, os.environ, values)
    if dry_run:
        from releaser.rehearsal import rehearse_override

        say_plan(call, rehearse_override(call.site(), overrides))
        return
    call.end(override(call.request(COMMAND, wait=wait), overrides), answers=True)


@click.command()
@common
@dry_run
@wait
@click.option(
    "--force",
    is_flag=True,
    help="Also go to a release that was built for other dependencies, and stay there if its health check fails.",
)
@click.option("--keep-code", is_flag=True, help="Leave the code as it is, and go back to the packages alone.")
@click.argument("release", required=False)
def rollback(call: Call, release: str | None, dry_run: bool, wait: float, force: bool, keep_code: bool) -> None:
    """Go back to the last good release before the live one, or to RELEASE, with the commit that it was tested with."""
    if dry_run:
        from releaser.rehearsal import rehearse_rollback

        say_plan(call, rehearse_rollback(call.site(), release, force=force, keep_code=keep_code))
        return
    from releaser.rollback import rollback as run_rollback

    call.end(
        run_rollback(call.request("rollback", wait=wait, mails=True), to=release, force=force, keep_code=keep_code)
    )


@click.command()
@common
@dry_run
@wait
@click.option(
    "--python",
    metavar="PYTHON",
    help="Build with this interpreter: a version, or a path, as uv takes it. Nothing is downloaded.",
)
@click.option("--force", is_flag=True, help="Go on although the live site fails its health check.")
@click.argument("release", required=False)
def rebuild(call: Call, release: str | None, python: str | None, dry_run: bool, wait: float, force: bool) -> None:
    """Rebuild what is live from the same lock, test it, and make it live; or rebuild the earlier RELEASE."""
    wanted = _interpreter(python)
    if dry_run:
        from releaser.rehearsal import rehearse_rebuild

        say_plan(call, rehearse_rebuild(call.site(), release, python=wanted, force=force))
        return
    from releaser.rebuild import rebuild as run_rebuild

    request = call.request("rebuild", wait=wait, mails=True)
    call.end(run_rebuild(request, release=release, python=wanted, force=force))


def _interpreter(python: str | None) -> str | None:
    """Return what to ask uv for, which runs elsewhere than where a path was typed. Raises UsageError."""
    if python is not None and not python.strip():
        message = "--python is empty"
        raise UsageError(message, advice="Name a version, such as 3.12, or the path of an interpreter.")
    return os.path.abspath(Path(python).expanduser()) if python and "/" in python else python


@click.command(context_settings={"ignore_unknown_options": True})
@common
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def run(call: Call, command: tuple[str, ...]) -> None:
    """Run COMMAND in the live release, which stays the same for it whatever is flipped meanwhile."""
    from releaser.execute import execute

    execute(call.site(), command)
