"""`--all`: a command for every site of the sites file, in place of one project."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from releaser.cli import render
from releaser.cli.common import Common, add_options
from releaser.errors import Interrupted
from releaser.fleet.digest import send_digest
from releaser.fleet.every import (
    QUESTION_LIMIT,
    Answer,
    ask_all,
    find_worst,
    name_sites,
    summarize,
    update_all,
    view_answer,
)
from releaser.fleet.sites import SITES, read_sites
from releaser.report.page import write_page
from releaser.system.signals import raise_on_signals
from releaser.system.text import escape, redact

_OWN = ("every", "sites", "jobs", "project", "as_json", "verbose", "quiet", "target")


def sites_options(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command the option `--all`, with those that go with it; it stands right above `common_options`."""

    @functools.wraps(function)
    def call(common: Common, every: bool, sites: Path | None, jobs: int | None, **options: Any) -> None:
        if every:
            _run_all_and_exit(common, sites or SITES, jobs or 1)
        if sites or jobs:
            raise click.UsageError("`--sites` and `--jobs` go with `--all`.")
        function(common, **options)

    file, default = click.Path(path_type=Path), f"The sites file for `--all`. Default: {SITES}."
    options = (
        click.option("--all", "every", is_flag=True, help="Do it for every site of the sites file, as its owner."),
        click.option("--sites", type=file, metavar="FILE", help=default),
        click.option("--jobs", type=click.IntRange(1, 64), metavar="N", help="Sites that `--all` works on at once."),
    )
    return add_options(call, options)


def _run_all_and_exit(common: Common, path: Path, jobs: int) -> None:
    context = click.get_current_context()
    if context.get_parameter_source("project") is ParameterSource.COMMANDLINE:
        raise click.UsageError("Give one of `--all` and `--project`.")
    name, words = str(context.info_name), _list_words(context)
    sites, is_update = read_sites(path, os.environ), name == "update"
    limit = sites.limit if is_update else min(sites.limit, QUESTION_LIMIT)

    def report(answer: Answer) -> None:
        if sys.stderr.isatty() and not common.quiet:
            with contextlib.suppress(OSError):
                click.echo(escape(redact(f"{answer.site}: {summarize(answer).result}")), err=True)

    act = update_all if is_update else ask_all
    try:
        with raise_on_signals():
            answers = act(sites.sites, [name, *words], os.environ, jobs=jobs, limit=limit, on_answer=report)
    except Interrupted as error:
        advice = "Ask `releaser status --all` which sites it has reached."
        click.echo(f"`releaser {name} --all` was {error}. {advice}", err=True)
        sys.exit(error.exit_code)
    problem = send_digest(sites, answers, os.environ) if is_update and not context.params["dry_run"] else None
    code, page = find_worst(answers), context.params.get("target")
    if page is not None:
        names = name_sites(answers)
        write_page(page, [view_answer(answer, names[answer.site]) for answer in answers])
        answers = [answer for answer in answers if answer.exit_code]  # of others the page says all
    if common.as_json:
        render.print_json(answers)
    is_quiet = is_update and all(summarize(answer).news in ("quiet", "nothing") for answer in answers)
    is_silent = is_quiet or (page is not None and not answers)
    is_said = common.verbose or sys.stderr.isatty() or not is_silent
    if answers and not common.as_json and is_said and not (common.quiet and code == 0):
        render.print_answers(answers)
    render.print_problems([problem] if problem else [])
    sys.exit(code or (7 if problem else 0))


def _list_words(context: click.Context) -> list[str]:
    """Return the options and arguments of the command line, but for those that are not for a single site."""
    words, names = list[str](), list[str]()
    for parameter in context.command.params:
        value = context.params.get(parameter.name or "")
        if parameter.name in _OWN or value in (None, False, (), parameter.get_default(context)):
            continue
        values = [
            str(each[-1] if isinstance(each, tuple) else each)  # of an override the requirement, as it was given
            for each in (value if isinstance(value, tuple) else (value,))
        ]
        if isinstance(parameter, click.Argument):
            names += values
        elif value is True:
            words.append(parameter.opts[0])
        else:
            words += [f"{parameter.opts[0]}={each}" for each in values]
    return [*words, *(["--", *names] if names else [])]
