"""Where the `releaser` command begins. Starting a program does without the whole command line, as many starts wait."""

import sys

if __name__ == "__main__" and not sys.flags.safe_path:
    del sys.path[0]  # by `python -m`, that is the current directory: what lies there may be anybody's

import gc
import io
import os

from releaser import __version__


def main() -> None:
    """Start a program at once if that is all there is to do, and hand everything else to the command line."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # a locale that lacks a character must not end a run
        sys.stdout.reconfigure(errors="backslashreplace")
    words = sys.argv[1:]
    gc.set_threshold(100_000)  # nearly all that a start makes stays
    try:
        if words == ["--version"]:
            sys.stdout.write(f"releaser {__version__}\n")
        elif not (_is_somewhere() and _becomes_a_program(words)):
            from releaser.commands import cli

            cli()
    finally:
        gc.freeze()  # what goes with the process anyway is not looked through for that, which takes some 10 ms


def _is_somewhere() -> bool:
    """Whether the current directory is still there."""
    try:
        return bool(os.getcwd())  # noqa: PTH109 - pathlib takes long to import
    except FileNotFoundError:
        return False


def _becomes_a_program(words: list[str]) -> bool:
    """Become what `run` and `exec` start, if nothing is out of the ordinary; else, return False."""
    if words[:1] not in (["run"], ["exec"]):
        return False
    from releaser.launch import quickly

    return quickly(words)


if __name__ == "__main__":
    main()
