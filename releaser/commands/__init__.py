"""The command line: each command parses, calls one pipeline, and prints the answer."""

from releaser.commands.command import cli

__all__ = ["cli"]
