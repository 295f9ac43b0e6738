"""The commands that set a site up, and that leave it: setup, init, config, schedule and uninstall."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import get_args

import click
import msgspec

from releaser.cli import render
from releaser.cli.common import (
    Common,
    Group,
    Shell,
    common_options,
    completion_line,
    finish,
    preview_and_exit,
    run_and_exit,
)
from releaser.errors import refuse
from releaser.pipelines.check import check
from releaser.pipelines.init import init, init_lock, preview_init, preview_lock
from releaser.pipelines.setup import (
    Question,
    describe_site,
    list_questions,
    make_table,
    name_variable,
    set_settings,
    write_variables,
)
from releaser.pipelines.uninstall import describe_uninstall, preview_uninstall, uninstall
from releaser.report.outcomes import make_done
from releaser.site.crontab import install_line, make_line
from releaser.site.project import guess_environment
from releaser.site.settings import ALIASES, find_setting, list_settings, read_value
from releaser.site.site import Site
from releaser.site.timer import install_units, make_units
from releaser.system.run import INIT, INIT_LOCK, Command

_STARTUP_FILES = {"bash": "~/.bashrc", "zsh": "~/.zshrc", "fish": "~/.config/fish/config.fish"}


@click.command("setup")
@click.option("--yes", is_flag=True, help="Ask nothing: take what is detected.")
@click.option("--set", "pairs", multiple=True, metavar="KEY=VALUE", help="Change only this setting in `../.env`.")
@click.option(
    "--completion",
    "shell",
    type=click.Choice(get_args(Shell)),
    help="Only let this shell complete commands, by a line in its start-up file.",
)
@common_options(takes_lock=False)
def setup_command(common: Common, yes: bool, pairs: tuple[str, ...], shell: Shell | None) -> None:
    """Write the first settings of the site, by three questions at most; then check the site.

    Only `../.env` is written. An empty VALUE removes a setting from it.
    """
    if shell is not None:
        finish(common, make_done(_add_completion(shell)))
    values = dict(map(_read_pair, pairs))
    site = common.open_site()
    if values:
        finish(common, set_settings(site, values))
    if not yes and not (sys.stdin.isatty() and sys.stderr.isatty()):
        advice = "Run `releaser setup --yes` to take what is detected, or `releaser setup --set KEY=VALUE`."
        raise refuse(
            "no-terminal", "`releaser setup` asks questions, and has no terminal. Nothing was changed.", advice
        )
    if not common.quiet:
        render.print_sentences(*(f"{name:10} {text}" for name, text in describe_site(site).items()))
    questions = list_questions(site)
    answers = {each.name: each.detected if yes else _ask(each) for each in questions}
    written = {name_variable(name): value for name, value in answers.items() if value}
    notes = write_variables(site, written) if written else []
    site = common.open_site()
    answer = check(site, sends_mail=bool(site.settings.mail.recipients))
    headline = f"Wrote {', '.join(written)} to {site.paths.dotenv}." if written else "Nothing was written."
    line, table = _describe_schedule(site), make_table(answers)
    if common.as_json:
        found = {"headline": headline, "notes": notes, "written": [*written], "table": table, "schedule": line}
        render.print_answer(answer, **found)
    else:
        render.print_sentences(headline, *notes)
        if table:
            render.print_sentences("Settings for every host: move these to pyproject.toml, and commit it.")
            click.echo(table)
        render.print_check(answer, quiet=common.quiet)
        render.print_sentences("Updates each night: `releaser schedule cron --install`, or `systemd` for `cron`:")
        click.echo(line)
        render.print_sentences("Completion of commands: `releaser setup --completion bash`, `zsh` or `fish`.")
    sys.exit(answer.exit_code)


def _add_completion(shell: Shell) -> str:
    """Add the line to the start-up file of a shell, unless it is there; return what was done. Raises PreflightError."""
    path, line = Path(os.path.expanduser(_STARTUP_FILES[shell])), completion_line(shell)
    try:
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        if line in text.splitlines():
            return f"`{path}` has the line already."
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write("\n" * bool(text and text[-1] != "\n") + line + "\n")
    except (OSError, UnicodeDecodeError) as error:
        raise refuse("start-up file", f"`{path}` cannot be changed: {error}.", f"Add by hand: {line}") from error
    return f"Added to `{path}`, for the next shell: {line}"


def _read_pair(pair: str) -> tuple[str, str]:
    """Return the name of a setting, or the variable of another program, and its value."""
    key, equals, value = pair.partition("=")
    try:
        name = find_setting(key.strip())
        if not equals:
            raise ValueError(f"`{key}` has no value: write `--set {name}=VALUE`.")
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    try:
        read_value(name, value) if value else None
    except ValueError as error:
        raise click.UsageError(f"`{name}` must be {error}.") from error
    return (key if key in ALIASES else name), value


def _ask(question: Question) -> str:
    """Return a person's answer; a wrong one is asked for again."""

    def read(answer: str) -> str:
        try:
            return question.read(answer.strip())
        except ValueError as error:
            raise click.UsageError(f"It must be {error}.") from error

    answer: str = click.prompt(question.text, default=question.default, value_proc=read, err=True)
    return answer


def _describe_schedule(site: Site) -> str:
    """Return the line of a crontab, or the command for a timer on a host without cron."""
    has_cron = shutil.which("crontab", path=site.environ["PATH"])
    return make_line(site) if has_cron else "releaser schedule systemd --install"


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
    site = common.open_site()
    detected = {"group": site.group, "state_dir": str(site.paths.state), "uv": str(site.uv)}
    rows = list_settings(site.settings, detected | {"environment": guess_environment()})
    row = next((row for row in rows if row.name == chosen), None)
    if common.as_json:
        fields = msgspec.structs.asdict(row) if row else {"settings": rows}
        render.print_facts(row.description if row else "All settings.", problems=site.problems, **fields)
    else:
        render.print_setting(row) if row else render.print_settings(rows)
    render.print_problems(site.problems)
    sys.exit(3 if site.problems else 0)


@click.group("schedule", cls=Group)
def schedule_command() -> None:
    """Let updates run by themselves: `schedule cron`, or `schedule systemd`."""


@schedule_command.command("cron")
@click.option("--install", is_flag=True, help="Add the line to your crontab.")
@common_options(takes_lock=False)
def schedule_cron_command(common: Common, install: bool) -> None:
    """Print the line of a crontab that updates the site each night."""
    site = common.open_site()
    line = make_line(site)
    result, line = install_line(site, line) if install else ("printed", line)
    headline = f"The line in your crontab: {result}."
    if common.as_json:
        render.print_facts(headline, line=line, result=result)
    else:
        click.echo(line)
    if install and not common.quiet:
        click.echo(headline, err=True)


@schedule_command.command("systemd")
@click.option("--install", is_flag=True, help="Write both units and start the timer.")
@click.option("--system", "is_of_system", is_flag=True, help="Units of the system; root has no others.")
@common_options(takes_lock=False)
def schedule_systemd_command(common: Common, install: bool, is_of_system: bool) -> None:
    """Print the service and the timer of systemd that update the site each night."""
    site = common.open_site()
    units = make_units(site, is_of_system=is_of_system or os.geteuid() == 0)
    timer = next(iter(units))
    result = install_units(site, units) if install else "printed"
    headline = f"The timer {timer.name}: {result}."
    if common.as_json:
        texts = {str(path): text for path, text in units.items()}
        render.print_facts(headline, timer=timer.name, units=texts, result=result)
    else:
        click.echo("\n".join(f"# {path}\n{text}" for path, text in units.items()), nl=False)
    if install and not common.quiet:
        click.echo(headline, err=True)
        if timer.parent.name == "user":
            click.echo("It runs without you after `sudo loginctl enable-linger $(id -un)`.", err=True)


@click.command("uninstall")
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@common_options(takes_lock=True)
def uninstall_command(common: Common, dry_run: bool) -> None:
    """Remove releaser: `.venv` becomes a plain directory."""
    if dry_run:
        preview_and_exit(common, preview_uninstall)
    words = describe_uninstall(common.open_site())
    if words and not common.quiet:
        click.echo(f"This will {words}.", err=True)
    run_and_exit(common, Command("uninstall"), lambda site, run, recovery: uninstall(site, run))
