"""The commands that look: show, diff, history, logs, audit, verify and report."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from releaser.checkout.repository import open_repository
from releaser.cli import render
from releaser.cli.common import Common, common_options, complete_release
from releaser.cli.every import sites_options
from releaser.packages.audit import audit_venv
from releaser.packages.changes import compare_releases
from releaser.pipelines.checks import look
from releaser.pipelines.outdated import ask_outdated
from releaser.pipelines.verify import verify_release
from releaser.releases.store import Store
from releaser.report.history import find_log, read_history
from releaser.report.listing import describe_release
from releaser.report.page import make_report, view_site, write_page
from releaser.system.run import now
from releaser.system.text import escape_lines


@click.command("show")
@click.argument("release", shell_complete=complete_release)
@common_options(takes_lock=False)
def show_command(common: Common, release: str) -> None:
    """Show RELEASE: its changes, steps, and the end of its tests."""
    details = describe_release(common.open_site(), release)
    render.print_answer(details) if common.as_json else render.print_details(details)


@click.command("diff")
@click.argument("before", metavar="A", shell_complete=complete_release)
@click.argument("after", metavar="[B]", default="live", shell_complete=complete_release)
@common_options(takes_lock=False)
def diff_command(common: Common, before: str, after: str) -> None:
    """Show the packages and commits that differ between two releases.

    B is the live release, if it is not given.
    """
    site = common.open_site()
    store = Store(site.paths)
    old, new = store.find(before), store.find(after)
    changes = compare_releases(old, new)
    if common.as_json:
        render.print_json(changes)
        return
    repository = open_repository(site)
    first, second = (repository.resolve(release.state.commit or release.manifest.commit) for release in (old, new))
    commits = []
    if first and second:
        commits += [f"+ {commit}" for commit in repository.describe_commits(first, second)]
        commits += [f"- {commit}" for commit in repository.describe_commits(second, first)]
    render.print_diff(changes, commits)


@click.command("history")
@click.option("--count", type=click.IntRange(min=1), default=20, metavar="N", help="Number of runs to show.")
@common_options(takes_lock=False)
def history_command(common: Common, count: int) -> None:
    """List the runs, newest first; `logs RUN` shows one."""
    records = read_history(common.open_site().paths)[:count]
    render.print_json(records) if common.as_json else render.print_history(records)


@click.command("verify")
@click.argument("release", default="live", shell_complete=complete_release)
@common_options(takes_lock=False)
def verify_command(common: Common, release: str) -> None:
    """Check that RELEASE, or the live one, is as it was built.

    Exit code 10 if it is not.
    """
    verification = verify_release(common.open_site(), release)
    if common.as_json:
        render.print_answer(verification, problems=verification.faults)
    else:
        render.print_verification(verification)
    sys.exit(0 if verification.well else 10)


@click.command("audit")
@click.argument("release", default="live", shell_complete=complete_release)
@common_options(takes_lock=False)
def audit_command(common: Common, release: str) -> None:
    """Look for known vulnerabilities in RELEASE, or the live release.

    Exit code 10 if there are any, 4 if the answer is not complete."""
    site = common.open_site()
    chosen = Store(site.paths).find(release)
    audit = audit_venv(site, chosen.venv, mark="audit")
    if common.as_json:
        render.print_answer(audit, release=chosen.id, problems=audit.problems)
    else:
        render.print_audit(audit)
    sys.exit(10 if audit.advisories else 4 if audit.unknown or audit.unasked else 0)


@click.command("logs")
@click.argument("run", required=False)
@common_options(takes_lock=False)
def logs_command(common: Common, run: str | None) -> None:
    """Print the log of RUN, or of the newest one."""
    path = find_log(common.open_site().paths, run)
    text = path.read_text(encoding="utf-8", errors="replace")
    if common.as_json:
        render.print_facts(f"The log of run {path.stem}.", run=path.stem, text=text)
    else:
        click.echo(escape_lines(text), nl=False)


@click.command("report")
@click.option("--html", "target", type=click.Path(path_type=Path), metavar="FILE", help="Write the page to FILE.")
@click.option("--outdated", "asks", is_flag=True, help="Ask the indexes what is newer, as `releaser outdated` does.")
@common_options(takes_lock=False)
@sites_options
def report_command(common: Common, target: Path | None, asks: bool) -> None:
    """Write a page about the site, or all sites: what needs a person, packages, releases and runs.

    Without `--outdated` it asks no network: newer versions are those of the last update's decision.
    """
    if target is None and not common.as_json:
        raise click.UsageError("Name the page: `--html FILE`.")
    site = common.open_site()
    store = Store(site.paths)
    report = make_report(site, store, look(site, store).problems, ask_outdated(site) if asks else None)
    if target is not None:
        write_page(target, [view_site(report, now())])
    if common.as_json:
        render.print_answer(report, problems=report.status.attention)
    elif common.verbose or (sys.stderr.isatty() and not common.quiet):
        click.echo(f"The page is `{target}`.", err=True)
