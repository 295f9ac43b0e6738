"""`completion`: lets a shell complete commands, options, releases, packages and settings."""

from __future__ import annotations

import hashlib
import os
import shlex
import stat
import sys
from pathlib import Path
from typing import Literal, cast

import click
from click.shell_completion import get_completion_class

from releaser.commands.command import cli, command
from releaser.commands.context import CommandContext, refuse_both
from releaser.errors import UsageError, os_reason
from releaser.report import Plan
from releaser.system.files import read_if_there, replace_file
from releaser.system.frozen import Frozen

Shell = Literal["bash", "zsh", "fish"]
_MADE = "# Made by `releaser completion`. SHA-256 of the lines above: "
#: The file of each shell below the directory that the variable names, or its default below the home directory.
_PLACES = {
    "bash": ("XDG_DATA_HOME", ".local/share", "bash-completion/completions/releaser"),
    "zsh": ("XDG_DATA_HOME", ".local/share", "zsh/site-functions/_releaser"),
    "fish": ("XDG_CONFIG_HOME", ".config", "fish/completions/releaser.fish"),
}
_NEXT = {
    "bash": "Open a new shell. If nothing is completed there, install the package bash-completion.",
    "zsh": "Add `fpath=({directory} $fpath)` to ~/.zshrc, above the line with `compinit`, and open a new shell.",
    "fish": "Open a new shell.",
}


class ShellCompletion(Frozen):
    """The script that completes commands in a shell."""

    shell: Shell
    script: str
    #: The file that was written or removed; null if the script was only printed.
    path: str | None
    #: True if this command changed the file.
    changed: bool


#: The types of the answers with `--json`, see answers.py.
ANSWERS = {"completion": (ShellCompletion, Plan)}


@command("completion", section="Set up", example="releaser completion bash --install", changes=True, admits=False)
@click.option("--install", is_flag=True, help="Write the script to the file where the shell looks for it.")
@click.option("--remove", is_flag=True, help="Remove this file.")
@click.argument("shell", type=click.Choice([*_PLACES]))
def completion(ctx: CommandContext, shell: str, install: bool, remove: bool) -> None:
    """Print or install the completion of commands in a shell.

    A file that releaser did not write, or that was edited, is never overwritten or removed.
    """
    if install and remove:
        refuse_both("--install", "--remove")
    text = script_of(shell)
    place = find_place(shell) if install or remove else None
    wanted = _sealed(text) if install else None
    is_change = place is not None and _read_own(place) != wanted
    if ctx.dry_run and place:
        ctx.print_plan(Plan(would=(f"would {'write' if install else 'remove'} {place}",) if is_change else ()))
        return
    if place and is_change:
        _change(place, wanted)
    found = ShellCompletion(
        shell=cast("Shell", shell), script=text, path=str(place) if place else None, changed=is_change
    )
    if ctx.output.json:
        ctx.output.print_json(found)
    elif place is None:
        sys.stdout.write(text)
    else:
        ctx.output.note(f"{'wrote' if install else 'removed'} {place}" if is_change else "nothing to change")
        if install:
            ctx.output.note(_NEXT[shell].format(directory=shlex.quote(str(place.parent))))


def script_of(shell: str) -> str:
    """Return the script for a shell; unlike `source` of click, this does not start the shell to see its version."""
    kind = get_completion_class(shell)
    assert kind is not None, f"click knows no completion for {shell}"  # noqa: S101
    complete = kind(cli, {}, "releaser", "_RELEASER_COMPLETE")
    # Click's test holds only for the first completion of a zsh: later ones are calls of the function (`shfunc`).
    template = complete.source_template.replace("== loadautofunc ]]", "== (loadautofunc|shfunc) ]]")
    return template % complete.source_vars()


def find_place(shell: str) -> Path:
    """Return the file of this user in which a shell looks for the script. Raises UsageError."""
    variable, default, name = _PLACES[shell]
    given = os.environ.get(variable, "")
    if Path(given).is_absolute():
        return Path(given, name)
    try:
        return Path.home() / default / name
    except RuntimeError as error:
        message = "the home directory of this user is not known"
        raise UsageError(
            message, f"Set {variable}, or write the script to a file: `releaser completion {shell}`."
        ) from error


def _read_own(place: Path) -> str | None:
    """Return the contents of the file, or None without one. Raises UsageError for a file that is not releaser's."""
    try:
        if os.path.lexists(place) and not stat.S_ISREG(place.lstat().st_mode):
            message = f"{place} is not a file"
            raise UsageError(message, f"Rename or delete it: `rm {shlex.quote(str(place))}`.")
        found = read_if_there(place)
    except OSError as error:
        message = f"{place} cannot be read: {os_reason(error)}"
        raise UsageError(message, "Correct its permissions.") from error
    if found is None:
        return None
    text = found.decode("utf-8", errors="replace")
    if text != _sealed(text.rpartition(_MADE)[0]):
        message = f"{place} was edited, or releaser did not write it"
        raise UsageError(message, f"If you no longer need it, delete it: `rm {shlex.quote(str(place))}`.")
    return text


def _sealed(text: str) -> str:
    return f"{text}{_MADE}{hashlib.sha256(text.encode()).hexdigest()}\n"


def _change(place: Path, text: str | None) -> None:
    try:
        if text is None:
            place.unlink(missing_ok=True)
            return
        place.parent.mkdir(parents=True, exist_ok=True)
        replace_file(place, text.encode(), mode=0o644)
    except OSError as error:
        message = f"{place} cannot be changed: {os_reason(error)}"
        raise UsageError(message, "Correct the permissions of its directory.") from error
