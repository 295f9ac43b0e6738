"""The start of the `releaser` command, which does without click for commands that programs start often."""

import sys

if __name__ == "__main__" and not sys.flags.safe_path:
    del sys.path[0]  # with `python -m`, the current directory, in which any user may have put files

import gc
import io
import os

from releaser import __version__


def main() -> None:
    """Start a program or run a plain command at once if possible, and hand everything else to click."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # closed by a caller: the next file would get its descriptor
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 - as long as the process
    if isinstance(sys.stdout, io.TextIOWrapper):  # a locale that lacks a character must not end a run
        sys.stdout.reconfigure(errors="backslashreplace")
    words = sys.argv[1:]
    gc.set_threshold(100_000)  # nearly all objects of a start stay
    try:
        if words == ["--version"]:
            sys.stdout.write(f"releaser {__version__}\n")
        elif not (_is_somewhere() and (_becomes_a_program(words) or _runs_a_plain_command(words))):
            from releaser.commands.command import cli

            cli()
    finally:
        gc.freeze()  # saves some 10 ms of collecting objects that end with the process


def _is_somewhere() -> bool:
    """True if the current directory still exists."""
    try:
        return bool(os.getcwd())  # noqa: PTH109 - pathlib takes long to import
    except FileNotFoundError:
        return False


def _becomes_a_program(words: list[str]) -> bool:
    """Become the program of `run` or `exec`, if that is simple; otherwise return False."""
    if words[:1] not in (["run"], ["exec"]):
        return False
    from releaser.launch import quickly

    return quickly(words)


def _runs_a_plain_command(words: list[str]) -> bool:
    """Run a command whose options can be read without click; otherwise return False."""
    from releaser.commands.plain import runs

    return runs(words)


if __name__ == "__main__":
    main()
