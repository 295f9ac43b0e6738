"""Write docs/reference/settings.md and commands.md from the code; with --check, exit 1 if they are out of date."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import click

from releaser.cli import commands
from releaser.cli.common import Shell, completion_line
from releaser.site import settings
from releaser.site.settings import ALIASES, PREFIX, SECRETS, Seconds, Settings, format_duration

REFERENCE = Path(__file__).resolve().parents[1] / "docs/reference"
#: Options of nearly every command, described once.
COMMON = ("--project", "--json", "--verbose", "--quiet", "--wait", "--dry-run", "--help")


def write_settings() -> str:
    """Return the page of all settings, a list for each subject."""
    lines = [
        "# Settings", "",
        "Settings come from four places. A later one wins:", "",
        "1. the defaults, here in brackets; of several words the first",
        "2. `[tool.releaser]` in `pyproject.toml`",
        f"3. `.env` beside the project: `{PREFIX}` and the name in capitals, such as `{PREFIX}KEEP=3`",
        "4. the environment, by the same names", "",
        "A wrong value or an unknown name is refused, with the file and the nearest name. Times are written `90s`, "
        "`30m`, `12h` or `3d`. A command is text or a list of arguments; no shell runs it. In a variable, names are "
        'separated by commas or spaces, and a table is JSON, such as `{"NAME": "value"}`.', "",
    ]  # fmt: skip
    for subject, kind in settings._SUBJECTS.items():
        lines += [f"## {subject.capitalize()}", "", kind.__doc__.strip(), ""]
        for name, annotation in get_type_hints(kind, include_extras=True).items():
            value, description = get_args(annotation)
            meaning = description + (" Never printed." if name in SECRETS else "")
            default = _describe_default(value, getattr(Settings(), subject), name)
            lines.append(f"- **`{name}`**{f' ({default})' if default else ''}: {meaning}")
        lines.append("")
    lines += ["## Names that are read, too", ""]
    lines += [f"- `{alias}`: `{name}`" for alias, name in ALIASES.items()]
    lines.append(f"- `{settings._PORT_ALIAS}`: the port of `smtp_host`")
    return "\n".join(lines) + "\n"


def _describe_default(kind: Any, values: Any, name: str) -> str:
    value = getattr(values, name)
    if get_origin(kind) is Literal and value:
        return ", ".join(
            f"`{choice}`" for choice in sorted(get_args(kind), key=lambda choice: choice != value) if choice
        )
    if kind is Seconds and value:
        return f"`{format_duration(value)}`"
    if isinstance(value, bool):
        return "`true`" if value else "`false`"
    shown = " ".join(value) if isinstance(value, tuple) else value
    return f"`{shown}`" if shown or kind is int else ""


def write_commands() -> str:
    """Return the page of all commands, by the sections of `releaser --help`."""
    group, root = commands.releaser, click.Context(commands.releaser, info_name="releaser")
    lines = ["# Commands", "", "Every command has these options, where they make sense:", ""]
    common: dict[str, str] = {}
    for name in sorted(group.commands):
        for line in _list_options(group.commands[name], True):
            common.setdefault(line.partition(":")[0], line)
    lines += common.values()
    lines += ["", "RELEASE is an id or its beginning, `live`, `previous`, or `@1` for the newest but one.", ""]
    for title, members in commands.SECTIONS.items():
        lines += [f"## {title}", ""]
        for command in members:
            lines += _describe_command(command, click.Context(command, root, info_name=command.name))
    lines += ["## Completion", "", "A shell completes commands, options, releases, and the names of what is on hold."]
    lines += ["Add its line to `~/.bashrc`, `~/.zshrc` or `~/.config/fish/config.fish`:", "", "```sh"]
    lines += [f"{completion_line(shell)}  # {shell}" for shell in get_args(Shell)] + ["```"]
    return "\n".join(lines).rstrip() + "\n"


def _describe_command(command: click.Command, context: click.Context) -> Iterator[str]:
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            member = command.commands[name]
            yield from _describe_command(member, click.Context(member, context, info_name=name))
        return
    pieces = [word for word in command.collect_usage_pieces(context) if word != "[OPTIONS]"]
    if any(True for _ in _list_options(command, False)):
        pieces.insert(0, "[OPTIONS]")
    yield from (f"### {context.command_path}", "", f"`{' '.join([context.command_path, *pieces])}`", "")
    yield from ((command.help or "").partition("\b")[0].strip(), "")
    options = list(_list_options(command, False))
    yield from [*options, ""] if options else []


def _list_options(command: click.Command, is_common: bool) -> Iterator[str]:
    for option in command.params:
        if isinstance(option, click.Option) and not option.hidden and (option.opts[-1] in COMMON) is is_common:
            names = ", ".join([*option.opts, *option.secondary_opts])
            value = "" if option.is_flag or option.count else f" {option.metavar or option.name.upper()}"
            yield f"- `{names}{value}`: {option.help}"


def main() -> int:
    """Write the pages, or compare them."""
    pages = {REFERENCE / "settings.md": write_settings(), REFERENCE / "commands.md": write_commands()}
    old = [page.name for page, text in pages.items() if not page.is_file() or page.read_text(encoding="utf-8") != text]
    if "--check" not in sys.argv[1:]:
        for page, text in pages.items():
            page.write_text(text, encoding="utf-8")
    elif old:
        print(f"docs/reference/ is out of date ({', '.join(old)}). Run `make reference`, and commit it.")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
