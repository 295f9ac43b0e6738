"""The command line: each command parses, calls one pipeline, and prints the answer."""

from releaser.cli.command import cli

__all__ = ["cli"]
