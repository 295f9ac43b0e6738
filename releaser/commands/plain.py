"""Commands that cron and monitoring start: a plain command line is read without click, which is slow to import.

Everything else is left to click: other commands, options of several sites, wrong words, the help.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from releaser.commands.context import PROJECT, Beginning, complete_installation
from releaser.system.frozen import Frozen, field


class NotPlainError(Exception):
    """Only click can read these words."""


class PlainOption(Frozen):
    """An option that can be read without click."""

    names: tuple[str, ...]
    #: Its name in Python, and its other arguments for click.
    parameter: str
    kind: Literal["flag", "directory", "file", "seconds", "text"] = "flag"
    look: Mapping[str, Any] = field(default_factory=dict)

    def read(self, words: Iterator[str]) -> Any:
        """Return the value that the next words give. Raises NotPlainError if click must read them."""
        if self.kind == "flag":
            return True
        word = next(words, "")
        if self.kind == "directory" and os.access(word, os.R_OK):
            return Path(word)
        if self.kind == "seconds" and word.isdecimal():
            return float(word)
        if self.kind == "text" and word and not word.startswith("-"):
            return word
        raise NotPlainError(word)


def flag(*names: str, about: str) -> PlainOption:
    """Return an option without a value."""
    return PlainOption(names=names, parameter=names[-1].strip("-").replace("-", "_"), look={"help": about})


#: The options of all commands.
COMMON = (
    PlainOption(
        names=("--project",),
        parameter="project",
        kind="directory",
        look={
            "envvar": PROJECT,
            "default": Path(),
            "show_default": "the current directory",
            "show_envvar": True,
            "help": "The directory of the project, or a directory below it.",
        },
    ),
    PlainOption(names=("--json",), parameter="as_json", look={"help": "Print JSON."}),
    flag("-v", "--verbose", about="Print more, even without a terminal."),
    flag("-q", "--quiet", about="Print errors only."),
)
DRY_RUN = flag("--dry-run", about="Change nothing; print the planned changes.")
WAIT = PlainOption(
    names=("--wait",),
    parameter="wait",
    kind="seconds",
    look={
        "default": 0.0,
        "metavar": "SECONDS",
        "help": "Wait up to SECONDS for another run to end, instead of exiting at once with exit code 8.",
    },
)


def common_options(beginning: Beginning) -> tuple[PlainOption, ...]:
    """Return the options that a command has in common with others."""
    return (*COMMON, *[DRY_RUN] * beginning.has_dry_run, *[WAIT] * beginning.waits)


class PlainCommand(Frozen):
    """A command whose options are read without click if possible; `operations` or `queries` hand it to click, too."""

    beginning: Beginning
    #: Called with the context and those of `options` that are given; each has a default.
    function: Callable[..., None]
    options: tuple[PlainOption, ...] = ()

    def read(self, words: Sequence[str]) -> dict[str, Any]:
        """Return the options that the words give. Raises NotPlainError if click must read them."""
        known = {name: one for one in (*common_options(self.beginning), *self.options) for name in one.names}
        found, rest = dict[str, Any](), iter(words)
        for word in rest:
            if word not in known or known[word].parameter in found:
                raise NotPlainError(word)
            found[known[word].parameter] = known[word].read(rest)
        if place := os.environ.get(PROJECT):
            found.setdefault("project", known["--project"].read(iter([place])))
        return found


#: The module of each plain command, which has it as COMMAND.
_PLAIN = {"list": "listed", "status": "status", "update": "updates"}


def load_plain(name: str) -> PlainCommand:
    """Return a plain command."""
    found: PlainCommand = import_module(f"releaser.commands.{_PLAIN[name]}").COMMAND
    return found


def runs(words: Sequence[str]) -> bool:
    """Run a command with plain options, exactly as click does; return False for all other words."""
    if not words or words[0] not in _PLAIN or "_RELEASER_COMPLETE" in os.environ:  # for the completions of a shell
        return False
    try:
        with complete_installation():
            command = load_plain(words[0])
            try:
                options = command.read(words[1:])
            except NotPlainError:
                return False
            command.beginning.call(command.function, options)
    except BrokenPipeError:  # the reader has read enough
        nothing = os.open(os.devnull, os.O_WRONLY)
        for stream in (1, 2):  # Python writes the rest at its end
            os.dup2(nothing, stream)
        sys.exit(1)
    return True
