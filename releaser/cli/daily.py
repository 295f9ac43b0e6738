"""The daily commands: update, rollback, list, status, outdated and check."""

from __future__ import annotations

import functools
import sys

import click

from releaser.cli import render
from releaser.cli.common import OVERRIDES, Common, common_options, complete_release, preview_and_exit, run_and_exit
from releaser.cli.every import sites_options
from releaser.pipelines.check import check, check_first_tests, check_tests, is_before_init
from releaser.pipelines.checks import look
from releaser.pipelines.decide import UpdateOptions
from releaser.pipelines.outdated import list_outdated
from releaser.pipelines.override import try_overrides
from releaser.pipelines.rollback import end_update, preview_rollback, rollback
from releaser.pipelines.update import preview_update, update
from releaser.releases.store import Store
from releaser.report.listing import list_releases
from releaser.report.status import make_status
from releaser.system.run import CHECK, OVERRIDE, ROLLBACK, UPDATE
from releaser.system.text import normalize_name


@click.command("update")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--force", is_flag=True, help="Try a failed candidate again; replace a venv that was edited by hand.")
@click.option("--prepare", is_flag=True, help="Stop when the release is ready; the next update makes it live.")
@click.option("--accept", "accepted", multiple=True, metavar="NAME", help="Take a package whose source has changed.")
@click.option("--follow-remote", is_flag=True, help="Follow a remote that moved back or was rewritten.")
@click.option("--only", type=click.Choice(["security"]), help="Take only the lowest versions that fix vulnerabilities.")
@OVERRIDES
@click.option("--dry-run", is_flag=True, help="Only say what would be updated.")
@common_options(takes_lock=True)
@sites_options
def update_command(
    common: Common,
    names: tuple[str, ...],
    force: bool,
    prepare: bool,
    accepted: tuple[str, ...],
    follow_remote: bool,
    only: str | None,
    overrides: tuple[tuple[str, str], ...],
    dry_run: bool,
) -> None:
    """Update packages and code: build, test, go live, restart, push.

    With NAMEs, no other packages are upgraded, but for what those need.
    """
    options = UpdateOptions(
        force=force,
        prepare=prepare,
        follow_remote=follow_remote,
        dry_run=dry_run,
        names=tuple(map(normalize_name, names)),
        accepted=tuple(map(normalize_name, accepted)),
        only_security=only == "security",
    )
    if overrides:
        if names or accepted or only or force or prepare or follow_remote or dry_run:
            raise click.UsageError("`--override` builds and tests alone: give it without names and other options.")
        run_and_exit(common, OVERRIDE, lambda site, run, recovery: try_overrides(site, run, dict(overrides)))
    if dry_run:
        preview_and_exit(common, lambda site: preview_update(site, options))
    run_and_exit(common, UPDATE, lambda site, run, recovery: update(site, run, options))


@click.command("rollback")
@click.argument("release", required=False, shell_complete=complete_release)
@click.option("--keep-code", is_flag=True, help="Leave the checkout as it is.")
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@common_options(takes_lock=True)
def rollback_command(common: Common, release: str | None, keep_code: bool, dry_run: bool) -> None:
    """Go back to RELEASE, or to the previous good release."""
    if dry_run:
        preview_and_exit(common, lambda site: preview_rollback(site, release, keep_code=keep_code))
    say = functools.partial(click.echo, err=True)
    end = functools.partial(end_update, name=release, keep_code=keep_code, say=say)
    go_back = functools.partial(rollback, name=release, keep_code=keep_code)
    run_and_exit(common, ROLLBACK, go_back, end)


@click.command("list")
@common_options(takes_lock=False)
def list_command(common: Common) -> None:
    """List the releases, newest first."""
    rows = list_releases(common.open_site())
    render.print_json(rows) if common.as_json else render.print_list(rows)


@click.command("status")
@common_options(takes_lock=False)
@sites_options
def status_command(common: Common) -> None:
    """Show the state of the site; exit 10 if it needs attention."""
    site = common.open_site()
    store = Store(site.paths)
    status = make_status(site, store, look(site, store).problems)
    render.print_answer(status, problems=status.attention) if common.as_json else render.print_status(status)
    sys.exit(0 if status.well else 10)


@click.command("outdated")
@click.argument("name", required=False)
@common_options(takes_lock=False)
@sites_options
def outdated_command(common: Common, name: str | None) -> None:
    """List newer versions, and what blocks them.

    With NAME, show all its newer versions.
    """
    answer = list_outdated(common.open_site(), normalize_name(name or ""))
    render.print_answer(answer) if common.as_json else render.print_outdated(answer)


@click.command("check")
@click.option(
    "--tests", is_flag=True, help="Run the tests once, with the live release, or before `init` with the venv."
)
@click.option("--mail", is_flag=True, help="Send a test mail to the admins.")
@click.option(
    "--live", is_flag=True, help="Ask the health check; name the settings of Django, groups and gates that apply."
)
@common_options(takes_lock=True)
@sites_options
def check_command(common: Common, tests: bool, mail: bool, live: bool) -> None:
    """Name every reason why an update would be refused or fail now.

    The remote and the indexes are asked.
    """
    if tests and mail:
        raise click.UsageError("Give one of `--tests` and `--mail`.")
    if tests and is_before_init(Store(common.open_site().paths)):
        preview_and_exit(common, check_first_tests)
    if tests:
        run_and_exit(common, CHECK, lambda site, run, recovery: check_tests(site, run))
    answer = check(common.open_site(), sends_mail=mail, asks_live=live)
    if common.as_json:
        render.print_answer(answer)
    else:
        render.print_check(answer, quiet=common.quiet)
    sys.exit(answer.exit_code)
