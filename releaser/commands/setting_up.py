"""The commands that set up a site, and remove releaser from it."""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from releaser.commands.command import DIRECTORY, command
from releaser.commands.context import CommandContext, refuse_both
from releaser.errors import PreflightError, ReleaserError, UsageError, refuse_any
from releaser.serving.restarts import restart_words
from releaser.system.frozen import replace
from releaser.system.words import first_few

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from releaser.answers import SetUp
    from releaser.fleet.schedule import Kind
    from releaser.pipelines.setup import Plan as SetUpPlan
    from releaser.pipelines.wizard import Answer
    from releaser.site.site import Site

_KINDS = ("cron", "systemd", "none")


@command(section="Set up", example="releaser setup --admin ada@example.org --yes", changes=True)
@click.option("--environment", metavar="NAME", help="The environment of this host: staging, production or local.")
@click.option("--group", metavar="NAME", help="The dependency group to install.")
@click.option("--python", metavar="PYTHON", help="The interpreter of the site: a version or a path.")
@click.option("--test-command", metavar="COMMAND", help="The command that runs the tests.")
@click.option("--restart", metavar="HOW", help=f"How to restart the site: {', '.join(restart_words())}, or a command.")
@click.option("--health-check", metavar="URL", help="The URL that must answer after a restart, or a command.")
@click.option(
    "--admin", "admins", multiple=True, metavar="ADDRESS", help="An address that gets mails. May be repeated."
)
@click.option("--smtp-host", metavar="HOST", help="The mail server.")
@click.option("--mail-from", metavar="ADDRESS", help="The sender of mails.")
@click.option("--set", "others", multiple=True, metavar="NAME=VALUE", help="Any other setting. May be repeated.")
@click.option(
    "--into",
    type=click.Choice(["env", "pyproject"]),
    default="env",
    help="The file for new settings: .env, or [tool.releaser] in pyproject.toml.",
)
@click.option("--schedule", "kind", type=click.Choice(_KINDS), help="The scheduler of updates. Default: detected.")
@click.option("--at", metavar="TIME", help="The time of updates, such as 03:12.")
@click.option("--no-mail", is_flag=True, help="Send no test mail.")
@click.option("--yes", is_flag=True, help="Do not ask: use the options, and detected values for the rest.")
def setup(
    ctx: CommandContext,
    admins: tuple[str, ...],
    others: tuple[str, ...],
    into: str,
    kind: str | None,
    at: str | None,
    no_mail: bool,
    yes: bool,
    **given: str | None,
) -> None:
    """Ask for the settings of a new site, and schedule updates.

    It also sends a test mail, and checks the site.
    """
    from releaser.pipelines import setup as pipeline
    from releaser.pipelines import wizard
    from releaser.report import Plan
    from releaser.site.disk import find_unwritable_outer

    site, asks = ctx.site(), not (yes or ctx.dry_run)
    if asks:
        _refuse_without_terminal(ctx)
    wanted = {name: text for name, text in given.items() if text is not None} | dict(map(_split, others))
    wanted |= {"admins": pipeline.spell_addresses(admins)} if admins else {}
    ctx.output.redactor.learn(site.redactor.secrets | pipeline.secrets_in(wanted))

    def make_plan(wanted: Mapping[str, str], kind: str) -> SetUpPlan:
        return pipeline.Plan(
            edits=pipeline.find_edits(site, wanted, into=into),
            mail=not no_mail and pipeline.has_recipient(site, wanted),
            scheduler=pipeline.choose_scheduler(site, kind, at),
        )

    is_open = asks and kind is None and at is None
    refuse_any(find_unwritable_outer(site.project))
    into = _choose_file(ctx, site, into) if asks else into
    plan = make_plan(wanted, pipeline.NONE if is_open else kind or pipeline.usual_schedule(site))
    if ctx.dry_run:
        ctx.print_plan(Plan(would=plan.would))
        return
    for line in () if asks or ctx.output.json else wizard.introduce(site, "test_command"):
        ctx.output.note(line)
    questions = _Questions(ctx, site, wanted, kind, into)
    try:
        if asks:
            plan = questions.ask_until(make_plan)
        if not ctx.output.json:
            ctx.output.print_lines(line for one in plan.edits for line in one.diff)
            sys.stdout.flush()  # else a pipe would get it last
        if asks and not confirm(f"Next: {'; '.join(plan.others)}.\nContinue?", default=True):
            ctx.output.note("nothing was changed")
            questions.print_continuation()
            return
        done, failures = pipeline.set_up(ctx.project, os.environ, plan)
    except (ReleaserError, KeyboardInterrupt):
        questions.print_continuation()
        raise
    _check(ctx, done, failures)


def _choose_file(ctx: CommandContext, site: Site, into: str) -> str:
    """Return the file for new settings; ask if another project would get those in `.env`, too."""
    from releaser.pipelines.setup import find_neighbors

    others = find_neighbors(site.project)
    if into == "pyproject" or not others:
        return into
    ctx.output.note(
        f"{site.project.outer / '.env'} is also read by {', '.join(others)}, so setup does not change it. The settings "
        f"of {site.project.name} go into {site.project.pyproject}, for you to commit."
    )
    if not confirm("Continue?", default=True):
        ctx.output.note("nothing was changed")
        sys.exit(0)
    return "pyproject"


def _check(ctx: CommandContext, done: SetUp, failures: list[ReleaserError]) -> None:
    """Print the results, and check the site; raise the last error, and print those before it."""
    from releaser.commands.queries import run_check
    from releaser.releases.store import store_of

    if ctx.output.json:
        ctx.output.print_json(done)
    if done.mail and done.mail.sent:
        ctx.output.note(f"sent to {', '.join(done.mail.to)} by {done.mail.by}; check that it arrives")
    for advice in done.schedule.advice if done.schedule else ():
        ctx.output.note(advice)
    ctx.output.note(f"to do the same yourself: {'; '.join(done.by_hand)}")
    try:
        run_check(replace(ctx, output=replace(ctx.output, json=False, quiet=ctx.output.quiet or ctx.output.json)))
    except PreflightError as error:
        failures.append(error)
    if failures:
        ctx.output.note("The settings are written. Correct what follows, then run `releaser check`.")
    for failure in failures[:-1]:
        ctx.output.print_error(failure)
    if failures:
        raise failures[-1]
    adopted = store_of(ctx.site()).live() is not None
    ctx.output.note(f"next: {'' if adopted else '`releaser init` adopts the site, '}`releaser update` updates it")


@command(section="Set up", example="releaser schedule cron --install", changes=True, admits=False)
@click.option("--install", is_flag=True, help="Add the line to the crontab, or write and enable the units.")
@click.option("--remove", is_flag=True, help="Remove the line, or the units.")
@click.option(
    "--at",
    metavar="TIME",
    help="The time of updates, such as 03:12. Default: after 03:00, at a different minute for each site.",
)
@click.option(
    "--writable", multiple=True, metavar="PATH", help="Let the units also write to this path. May be repeated."
)
@click.argument("kind", type=click.Choice(["cron", "systemd"]))
def schedule(
    ctx: CommandContext, kind: Kind, install: bool, remove: bool, at: str | None, writable: tuple[str, ...]
) -> None:
    """Print or install the crontab line or systemd units for updates."""
    from releaser.fleet.schedule import find_scheduler
    from releaser.report import Plan

    if install and remove:
        refuse_both("--install", "--remove")
    found = find_scheduler(ctx.project, kind, os.environ, at=at, writable=writable)
    doing = (found.leftovers() if remove else found.changes()) if install or remove else ()
    if ctx.dry_run:
        would = tuple(f"would {one}" for one in doing)
        ctx.output.answer(Plan(would=would), lambda plan: (f"dry run: {one}" for one in plan.would or ("no change",)))
        return
    if doing:
        (found.remove if remove else found.install)()
    shown = replace(found.show(), changed=bool(doing))
    if ctx.output.json:
        ctx.output.print_json(shown)
    elif install or remove:
        ctx.output.note("; ".join(f"done: {one}" for one in doing) or "nothing to change")
    else:
        texts = [shown.line] if shown.line else [f"# {path}\n{text}" for path, text in shown.units.items()]
        ctx.output.print_lines("\n".join(texts).splitlines())
    for one in shown.advice if not remove and not ctx.output.json else ():
        ctx.output.note(one)


@command(section="Set up", example="releaser bootstrap -o shop.py --requirement shop", changes=True, admits=False)
@click.option("-o", "--output", "path", type=DIRECTORY, required=True, help="The file to write.")
@click.option(
    "-r",
    "--requirement",
    "requirements",
    multiple=True,
    metavar="PACKAGE",
    help="A package to install. May be repeated. Default: the name of the file.",
)
@click.option("--run", metavar="COMMAND", help="The program to start, such as '-m shop'. Default: the first package.")
@click.option("--index", metavar="URL", help="The package index, if it is not PyPI; `none` for no index.")
@click.option(
    "--find-links",
    multiple=True,
    metavar="PLACE",
    help="A directory of packages, relative to the file, or a bucket and prefix in S3. May be repeated.",
)
@click.option(
    "--state",
    metavar="DIRECTORY",
    help="The directory of the environment, relative to the directory of the file. Default: below ~/.local/share.",
)
@click.option("--refresh", metavar="INTERVAL", help="How often to update, if releaser is installed.")
@click.option("--limit", metavar="TIME", help="How long a start may wait for an update. Default: 5s.")
@click.option(
    "--test",
    metavar="COMMAND",
    help="The command that tests each update. Default: check that the first package is installed.",
)
@click.option("--min-age", metavar="TIME", help="The minimum age of versions at the first start. Default: 3d.")
@click.option("--build", is_flag=True, help="Let the first start build packages from source, which runs their code.")
@click.option("--force", is_flag=True, help="Overwrite the file even if it was edited.")
def bootstrap(
    ctx: CommandContext,
    path: Path,
    requirements: tuple[str, ...],
    find_links: tuple[str, ...],
    force: bool,
    build: bool,
    **given: str | None,
) -> None:
    """Write a file that installs an application at its first start.

    Later starts start the application, and may update it.
    """
    from releaser.answers import WrittenStarter
    from releaser.pipelines.bootstrap import Starter, refuse_edited, write_starter
    from releaser.report import Plan

    wanted = {name: value for name, value in given.items() if value is not None}
    packages = requirements or (path.stem,)
    text = Starter(name=path.stem, requirements=packages, find_links=find_links, build=build, **wanted).text()
    refuse_edited(path, force=force)
    if ctx.dry_run:
        ctx.output.answer(Plan(would=(f"write {path}",)), lambda _: text.splitlines())
        return
    write_starter(path, text)
    ctx.output.answer(WrittenStarter(path=str(path.absolute())), lambda found: (f"wrote {found.path}",))


@command(section="Set up", example="releaser uninstall --dry-run", changes=True, waits=True)
@click.option("--yes", is_flag=True, help="Do not ask for confirmation. Required without a terminal.")
@click.option("--keep-state", is_flag=True, help="Keep the state directory, with all releases.")
def uninstall(ctx: CommandContext, yes: bool, keep_state: bool) -> None:
    """Remove releaser: .venv becomes a plain directory again.

    The directory is a copy of the live release.
    """
    from releaser.pipelines import uninstall as pipeline

    if not (yes or ctx.dry_run):
        _refuse_without_terminal(ctx)
        ctx.output.print_lines(pipeline.plan_uninstall(ctx.site(), keep_state=keep_state).would)
        if not confirm("Continue?"):
            ctx.output.note("nothing was changed")
            return
    ctx.end(ctx.run(pipeline.plan_uninstall, pipeline.uninstall, keep_state=keep_state))


def _refuse_without_terminal(ctx: CommandContext) -> None:
    if ctx.output.json or not (sys.stdin.isatty() and sys.stderr.isatty()):
        message = f"{ctx.name} asks for confirmation, but there is no terminal"
        raise UsageError(
            message, f"Run `releaser {ctx.name} --dry-run` to see the changes, then `releaser {ctx.name} --yes`."
        )


def confirm(question: str, *, default: bool = False) -> bool:
    """Ask on the terminal. Raises KeyboardInterrupt."""
    try:
        return click.confirm(question, default=default, err=True)
    except click.Abort as error:
        raise KeyboardInterrupt from error


def _split(text: str) -> tuple[str, str]:
    name, is_set, value = text.partition("=")
    if not is_set:
        message = f"--set {text} is not of the form NAME=VALUE"
        raise UsageError(message, "Write the setting as NAME=VALUE, such as `--set keep=3`.")
    return name.strip().lower(), value


class _Questions:
    """The questions of `setup`, and the answers so far; settings that options `given` are not asked for."""

    def __init__(self, ctx: CommandContext, site: Site, given: Mapping[str, str], kind: str | None, into: str) -> None:
        self.ctx, self.site, self.given, self.kind, self.into = ctx, site, given, kind, into
        #: For each question, the answer as typed, and the settings that it means.
        self.answers: dict[str, tuple[str, Mapping[str, str]]] = {}

    @property
    def settings(self) -> dict[str, str]:
        """The settings from answers and options."""
        return {name: text for _, found in self.answers.values() for name, text in found.items()} | {**self.given}

    def ask_until(self, make_plan: Callable[[Mapping[str, str], str], SetUpPlan]) -> SetUpPlan:
        """Ask until the answers fit together; earlier answers are offered again. Raises KeyboardInterrupt."""
        self.ctx.output.note("Enter takes the answer in brackets. Nothing is written before you confirm it.")
        while True:
            kind = self._ask_all()
            try:
                return make_plan(self.settings, kind)
            except (PreflightError, UsageError) as error:
                self.ctx.output.print_error(error)
                if not confirm("Your answers are kept. Change them?", default=True):
                    raise

    def _ask_all(self) -> str:
        """Ask every question once, and return the scheduler."""
        from releaser.pipelines import setup as pipeline
        from releaser.pipelines import wizard

        for name, question in wizard.QUESTIONS.items():
            if name in self.given:
                continue
            earlier = self.answers.pop(name, None)
            site = wizard.with_answers(self.site, self.settings)
            proposal = wizard.propose(site, name)
            if proposal is None and name in wizard.ONLY_DETECTED:
                continue
            for line in (*wizard.introduce(site, name), *((f"Detected: {proposal.reason}.",) if proposal else ())):
                self.ctx.output.note(line)
            current = pipeline.find_default(site, name)
            usual = earlier[0] if earlier else proposal.answer if proposal else current
            check = partial(wizard.check_answer, site, name, proposal=proposal, into=self.into)
            self.answers[name] = self._ask(question, usual, check, current)
        if self.kind is not None:
            return self.kind
        usual = self.answers["schedule"][0] if "schedule" in self.answers else pipeline.usual_schedule(self.site)
        check = partial(wizard.check_schedule, self.site)
        self.answers["schedule"] = self._ask("Scheduler of updates (cron, systemd or none)", usual, check, "none")
        return self.answers["schedule"][0]

    def _ask(
        self, question: str, usual: str, check: Callable[[str], Answer], current: str
    ) -> tuple[str, Mapping[str, str]]:
        """Ask on the terminal until an answer is right, or is given again. `usual` is the answer of Enter.

        If that one is wrong, the next is `current`. Raises KeyboardInterrupt.
        """
        doubted = None
        while True:
            shown = self.ctx.output.redactor.shown(usual)
            try:
                text = click.prompt(f"{question} [{shown or 'none'}]", default=usual, show_default=False, err=True)
            except click.Abort as error:
                raise KeyboardInterrupt from error
            text = text.strip() or usual  # spaces alone are no answer, either
            found = check(text)
            if not found.problem or (found.may_stay and text == doubted):
                return text, found.settings
            keep = " To keep this answer, give it again." if found.may_stay else ""
            self.ctx.output.note(f"{found.problem}{keep}")
            may_repeat = found.may_stay and text != usual
            usual, doubted = found.suggestion or (text if may_repeat else current), text

    def print_continuation(self) -> None:
        """Print the command that repeats the answers so far, without secrets."""
        from releaser.pipelines.setup import spell_command

        if any(found for _, found in self.answers.values()):
            clean = self.ctx.output.redactor.clean
            settings = {name: text for name, text in self.settings.items() if clean(text) == text}
            secret = first_few(sorted(self.settings.keys() - settings.keys()))
            add = f" Add {secret}: secrets are not shown." if secret else ""
            self.ctx.output.note(f"To continue with your answers: `{spell_command(settings)}`.{add}")
