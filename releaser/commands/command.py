"""The common parts of commands: options, the project, the output, and the exit codes of errors."""

from __future__ import annotations

import contextlib
import functools
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, ParamSpec, TypeVar

import click

from releaser import __version__
from releaser.capabilities import CAPABILITIES
from releaser.commands.context import Beginning, complete_installation
from releaser.commands.many import SELECTION, many_options, run_for_selected
from releaser.commands.output import Output
from releaser.commands.plain import PlainCommand, PlainOption, common_options
from releaser.errors import (
    UsageError,
)
from releaser.system.frozen import replace
from releaser.system.words import did_you_mean

P = ParamSpec("P")
T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


class NonEmptyPath(click.Path):
    """A path that refuses an empty text, such as from an unset variable in a script."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            self.fail("the path is empty", param, ctx)
        return super().convert(value, param, ctx)


FILE, DIRECTORY = NonEmptyPath(path_type=Path, dir_okay=False), NonEmptyPath(path_type=Path, readable=False)
_KINDS: dict[str, dict[str, Any]] = {
    "flag": {"is_flag": True},
    "directory": {"type": DIRECTORY},
    "file": {"type": FILE},
    "seconds": {"type": click.FloatRange(min=0)},
    "text": {},
}


#: The groups of options that the help of a command shows below its own options.
_SHARED = {
    "Many sites": SELECTION,
    "Common options": ("dry_run", "wait", "project", "as_json", "verbose", "quiet", "help"),
}


class Command(click.Command):
    """A command with its full name, such as `bundle create`; its help lists its own options first."""

    full_name: str = ""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, options in option_groups(self, ctx).items():
            with formatter.section(title):
                formatter.write_dl([record for one in options if (record := one.get_help_record(ctx))])


def option_groups(command: click.Command, ctx: click.Context) -> dict[str, list[click.Option]]:
    """Return the options of a command by the titles of the help: its own, for many sites, and the common ones."""
    places = {name: (number, title) for title, names in _SHARED.items() for number, name in enumerate(names)}
    groups: dict[str, list[tuple[int, click.Option]]] = {"Options": [], **{title: [] for title in _SHARED}}
    for one in command.get_params(ctx):
        if isinstance(one, click.Option):
            name = "help" if "--help" in one.opts else one.name or ""  # click gives it another name
            number, title = places.get(name, (0, "Options"))
            groups[title].append((number, one))
    found = {title: sorted(options, key=lambda one: one[0]) for title, options in groups.items() if options}
    return {title: [one for _, one in options] for title, options in found.items()}


#: The modules whose commands join the group, and the sections of the help, in this order.
_OWN = ("commands.operations", "commands.queries", "commands.release_contents", "commands.setting_up")
_MODULES = (*_OWN, *(name for one in CAPABILITIES for name in one.commands))
#: The commands that are first in their section; the others follow in the order of their modules.
_FIRST = ("update", "status", "list", "rollback", "outdated", "check", "setup", "init", "schedule", "config", "propose")
_SECTIONS: dict[str, list[Command]] = {
    name: [] for name in ("Daily use", "Set up", "Look closer", "Build and run", "Keep and hold", "Bundles")
}


def sections() -> dict[str, list[Command]]:
    """Return the groups of commands that the help shows."""
    modules = {import_module(f"releaser.{module}").__name__: number for number, module in enumerate(_MODULES)}
    places = {name: number for number, name in enumerate(_FIRST)}

    def place(one: Command) -> tuple[int, int]:
        return places.get(one.full_name, len(places)), modules.get(getattr(one.callback, "__module__", ""), 0)

    ordered = {name: sorted(found, key=place) for name, found in _SECTIONS.items()}
    return {name: found for name, found in ordered.items() if found}


def all_commands() -> dict[str, Command]:
    """Return all commands by their full names."""
    return {one.full_name: one for commands in sections().values() for one in commands}


_GROUPS = {
    "bundle": "Put a release into one signed file, and install it on hosts without a network.",
    "channel": "Point hosts to the bundle that they should run, with a signed file.",
}


@contextlib.contextmanager
def _rephrased_errors() -> Iterator[None]:
    """Print errors of click like all other errors, and exit."""
    try:
        yield
    except UsageError as refused:
        sys.exit(Output().print_error(refused))
    except click.UsageError as error:
        if isinstance(error, getattr(click.exceptions, "NoArgsIsHelpError", ())):  # click shows the help
            raise
        sys.exit(Output().print_error(_rephrase(error)))


def _rephrase(error: click.UsageError) -> UsageError:
    """Return an error of click with the word that the person may have meant."""
    message, meant = error.format_message().strip(), ""
    path, given = (error.ctx.command_path, error.ctx.command) if error.ctx else ("releaser", cli)
    if isinstance(error, click.NoSuchOption):
        message = f"`{path}` has no option `{error.option_name}`"
        meant = did_you_mean(error.option_name, _options_of(given))
        if isinstance(given, click.Group) and error.option_name in _options_of(*all_commands().values()):
            meant = f"Options follow the name of a command: `{path} COMMAND {error.option_name}`."
    elif isinstance(error, click.BadParameter) and isinstance(kind := getattr(error.param, "type", None), click.Choice):
        wrong = re.match(r"'([^']*)' is not", error.message)
        meant = did_you_mean(wrong[1], map(str, kind.choices)) if wrong else ""
    message = message[:1].lower() + message[1:].rstrip(".")
    return UsageError(message, f"{meant} See `{path} --help`.".lstrip())


def _options_of(*commands: click.Command) -> list[str]:
    return [name for one in commands for parameter in one.params for name in parameter.opts if name.startswith("-")]


class Group(click.Group):
    """A group of commands that knows what a person may have meant by a name that it lacks."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name.startswith("-") or ctx.resilient_parsing or self.get_command(ctx, name) is not None:
            return super().resolve_command(ctx, args)
        full, known = f"{ctx.command_path} {name}".partition(" ")[2], list(all_commands())
        parts = {one.rpartition(" ")[2]: one for one in known}
        meant = did_you_mean(full, known) or did_you_mean(parts.get(name, ""), known)
        message = f"there is no command `{full}`"
        raise UsageError(message, f"{meant} See `{ctx.command_path} --help`.".lstrip())


class Commands(Group):
    """The group of all commands; its help lists them in sections, each with its full first sentence."""

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        with _rephrased_errors():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        with complete_installation(), _rephrased_errors():
            return super().invoke(ctx)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Find a command, and import only the modules up to it: each run by cron pays for imports."""
        for module in _MODULES:
            if cmd_name in self.commands:
                break
            import_module(f"releaser.{module}")
        return super().get_command(ctx, cmd_name)

    def list_commands(self, ctx: click.Context) -> list[str]:
        sections()
        return super().list_commands(ctx)

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for section, commands in sections().items():
            with formatter.section(section):
                formatter.write_dl([(one.full_name, one.get_short_help_str(limit=10_000)) for one in commands])

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        self.format_commands(ctx, formatter)
        click.Command.format_options(self, ctx, formatter)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="releaser", message="%(prog)s %(version)s")
def cli() -> None:
    """Keep the Python environment of a running site up to date, safely.

    An update builds a new venv, tests it with the project's own tests, and only then makes it live, by one atomic move
    of a symlink. Earlier venvs are kept, so a rollback is instant.
    """


def command(
    name: str | None = None,
    *,
    section: str,
    example: str,
    changes: bool = False,
    waits: bool = False,
    mails: bool = False,
    admits: bool = True,
    many: Literal["", "all", "sites"] = "",
    **settings: Any,
) -> Callable[[Callable[..., None]], Command]:
    """Make a function a command with the common options, whose errors end it with their exit code.

    The help lists it in `section`, one of _SECTIONS, and ends with the `example`. With `changes` it has --dry-run, with
    `waits` --wait, with `mails` it mails its report. Without `admits`, it checks the owner of the project by itself.
    With `many` it can be run for many sites, by --all or by --sites alone.
    """

    def decorate(function: Callable[..., None]) -> Command:
        beginning = Beginning(
            name=name or function.__name__,
            has_dry_run=changes,
            waits=waits,
            mails=mails,
            changes_live=waits and section != "Keep and hold",
            admits=admits,
        )
        return _make(beginning, function, section=section, example=example, many=many, settings=settings)

    return decorate


def plain_command(
    plain: PlainCommand, *, section: str, example: str, many: Literal["", "all", "sites"] = ""
) -> Callable[[Callable[..., None]], Command]:
    """Make a function a command as `command` does, with the options that are read without click if possible."""

    def decorate(function: Callable[..., None]) -> Command:
        function = with_options(plain.options)(function)
        return _make(plain.beginning, function, section=section, example=example, many=many, settings={})

    return decorate


def _make(
    beginning: Beginning,
    function: Callable[..., None],
    *,
    section: str,
    example: str,
    many: str,
    settings: Mapping[str, Any],
) -> Command:
    beginning = replace(beginning, for_many=run_for_selected if many else None)

    @with_options(common_options(beginning))
    @_only(bool(many), partial(many_options, has_all=many == "all"))
    @functools.wraps(function)
    def call(**options: Any) -> None:
        beginning.call(function, options)

    group, _, last = beginning.name.rpartition(" ")
    made = click.command(name=last, cls=Command, epilog=f"Example: {example}", **settings)(call)
    _group(group).add_command(made)
    made.full_name = beginning.name
    _SECTIONS[section].append(made)
    return made


@functools.cache
def _group(name: str) -> click.Group:
    return cli.group(name, cls=Group, help=_GROUPS[name])(lambda: None) if name else cli


def _only(wanted: bool, option: Callable[[F], F]) -> Callable[[F], F]:
    return option if wanted else lambda function: function


def with_options(options: Sequence[PlainOption]) -> Callable[[F], F]:
    """Return the decorator that gives a command these options."""

    def decorate(function: F) -> F:
        for one in reversed(options):
            function = click.option(*one.names, one.parameter, **_KINDS[one.kind], **one.look)(function)
        return function

    return decorate
