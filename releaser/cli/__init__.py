"""The command line."""

from releaser.cli.commands import main

__all__ = ["main"]
