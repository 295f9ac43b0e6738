"""The commands that only ask."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from releaser.commands.common import common
from releaser.errors import UsageError

if TYPE_CHECKING:
    from releaser.commands.common import Call


@click.command()
@common
def check(call: Call) -> None:
    """Check everything that an update needs; report all problems at once, change nothing."""
    from dataclasses import asdict

    from releaser.errors import PreflightError
    from releaser.project.chosen import chosen
    from releaser.project.site import find_site
    from releaser.rehearsal import rehearse_check
    from releaser.steps.unsynced import left_out, unsynced

    site = find_site(call.project, os.environ)
    found = chosen(site)
    call.say_chosen(found)
    told = {
        "damage": call.say_damage(site),
        "warnings": call.say_warnings(site, beside=left_out(site)),
        "chosen": [asdict(one) for one in found],
    }
    try:
        fitness = rehearse_check(site, beside=unsynced(site), ask_site=True)
    except PreflightError as error:
        if call.manner.json:
            from releaser.report.text import sentences

            problems = [sentences(problem.message, problem.advice) for problem in error.problems]
            call.manner.data({"fit": False, "problems": problems, **told})
        raise
    if fitness.unknown:
        call.manner.note(fitness.unknown)
    if call.manner.json:
        known = {"group": fitness.group, "tests": list(fitness.test_command)}
        call.manner.data({"fit": True, "problems": [], **told, **known})
    else:
        call.manner.note("everything is fit for an update")


@click.command("test-mail")
@common
def test_mail(call: Call) -> None:
    """Send one mail to all who get mails about the site, and say where it went."""
    from dataclasses import asdict

    from releaser.errors import MailError
    from releaser.testmail import send_test_mail

    sent = send_test_mail(call.site())
    if call.manner.json:
        call.manner.data(asdict(sent))
    if sent.problem:
        raise MailError(sent.problem, advice="Check the settings of mails, and the mail server.")
    if not call.manner.json:
        call.manner.note(f"sent to {', '.join(sent.to)} by {sent.by}; see that it arrives")


@click.command("list")
@common
def list_releases(call: Call) -> None:
    """List the kept releases, newest first."""
    import time

    from releaser.releases import listing

    site = call.site()
    rows = listing.rows(str(site.project.state_dir), str(site.project.venv))
    call.say_damage(site)
    if call.manner.json:
        call.manner.lines([listing.as_json(rows)])
    elif rows:
        call.manner.table(listing.COLUMNS, [listing.cells(row, time.time()) for row in rows])
        call.manner.lines(listing.notes(rows))
    else:
        call.manner.note("there are no releases yet; adopt the project with `releaser init`")


@click.command()
@common
@click.argument("release")
def show(call: Call, release: str) -> None:
    """Show one release whole: its facts, package changes, steps, and the end of its test output."""
    from releaser.queries import show as ask
    from releaser.report.text import release_text

    details = ask(call.site(), release).as_json()
    if call.manner.json:
        call.manner.data(details)
    else:
        call.manner.lines(release_text(details))


@click.command()
@common
@click.argument("a")
@click.argument("b", required=False)
def diff(call: Call, a: str, b: str | None) -> None:
    """Show the package changes from release A to release B (default: the live one)."""
    from dataclasses import asdict

    from releaser.queries import diff as ask

    changes = ask(call.site(), a, b)
    if call.manner.json:
        call.manner.data([asdict(change) for change in changes])
    elif changes:
        call.manner.changes(changes)
    else:
        call.manner.note("no package differs")


@click.command()
@common
@click.argument("release", required=False)
def audit(call: Call, release: str | None) -> None:
    """Ask what vulnerabilities are known of the packages of RELEASE (default: the live one)."""
    from releaser.queries import audit as ask
    from releaser.report.security import COLUMNS, cells

    found = ask(call.site(), release)
    if call.manner.json:
        call.manner.data(found.as_json())
    elif found.audit.vulnerabilities:
        call.manner.table(COLUMNS, cells(found.audit.vulnerabilities))
    failure = found.failure()
    if failure is not None:
        raise failure
    if not call.manner.json:
        call.manner.note(f"no vulnerability of {found.release} is known")


@click.command()
@common
@click.option("--all", "every", is_flag=True, help="Look at every release that is kept.")
@click.option("--check", is_flag=True, help="Also run the project's `manage.py check` in it.")
@click.option("--tests", is_flag=True, help="Also run the project's tests in it.")
@click.argument("release", required=False)
def verify(call: Call, release: str | None, every: bool, check: bool, tests: bool) -> None:
    """See whether RELEASE (default: the live one) still works and is what was sealed, file by file."""
    from releaser.report.verification import sound_text, verified_text
    from releaser.verify import failure, trial
    from releaser.verify import verify as ask

    if release and every:
        message = "--all has no meaning together with a release"
        raise UsageError(message, advice="Leave one of them out.")
    site = call.site()
    trials = [*([trial(site, "check")] if check else ()), *([trial(site, "tests")] if tests else ())]
    with call.manner.progress() as progress:
        found = ask(site, release, every=every, trials=trials, progress=progress)
    answers = [one.as_json() for one in found]
    if call.manner.json:
        call.manner.data(answers if every else answers[0])
    for answer in answers:
        if answer["ok"]:
            call.manner.note(sound_text(answer))
        elif not call.manner.json:
            call.manner.lines(verified_text(answer, whole=call.manner.verbose))
    error = failure(found)
    if error is not None:
        raise error


@click.command()
@common
def outdated(call: Call) -> None:
    """Show what is newer than what is locked, and what keeps it from coming in."""
    from releaser.outdated import outdated as ask
    from releaser.report.newer import outdated_text

    outlook = ask(call.site())
    if call.manner.verbose and outlook.elsewhere:
        call.manner.note(f"not asked about, as no index has them: {', '.join(outlook.elsewhere)}")
    if outlook.unknown:
        call.manner.note(f"the index has no version of: {', '.join(outlook.unknown)}")
    if call.manner.json:
        call.manner.data(outlook.as_json())
    elif outlook.newer:
        call.manner.lines(outdated_text(outlook.as_json()))
    else:
        call.manner.note("everything is at its newest version")


@click.command()
@common
def status(call: Call) -> None:
    """Show how the site stands: what is live, the last run, what is pending, held back or quarantined."""
    import time

    from releaser.queries import status as ask
    from releaser.releases.listing import age
    from releaser.report.text import status_text

    found = ask(call.site())
    if call.manner.json:
        call.manner.data(found.as_json())
        return
    old = age(_ago(found.live_age_seconds or 0.0), time.time())
    call.manner.lines(status_text(found.as_json(), age=old))


def _ago(seconds: float) -> str:
    from datetime import UTC, datetime, timedelta

    return (datetime.now(UTC) - timedelta(seconds=seconds)).isoformat()


@click.command()
@common
@click.option("-n", "--number", type=click.IntRange(min=1), default=20, show_default=True, help="How many runs.")
def history(call: Call, number: int) -> None:
    """List the runs, newest first: when, what, the result, how long."""
    from releaser.report import history as records
    from releaser.report.text import history_text

    runs = records.read(call.site().project.state_dir)[:number]
    if call.manner.json:
        call.manner.data(runs)
    elif runs:
        call.manner.lines(history_text(runs))
    else:
        call.manner.note("there have been no runs yet")
