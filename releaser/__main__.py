"""Where the `releaser` command begins."""

from __future__ import annotations

import io
import sys

from releaser import quick


def main() -> None:
    """Answer what can be answered at once, and hand everything else to the command line."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # a locale that lacks a character must not end a run
        sys.stdout.reconfigure(errors="backslashreplace")
    if not quick.answer(sys.argv[1:]):
        from releaser.cli import cli

        cli()


if __name__ == "__main__":
    main()
