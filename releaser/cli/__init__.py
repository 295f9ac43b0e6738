"""The command line: each command parses, calls one pipeline, and prints the answer."""

from releaser.cli import bundles, operations, queries, release_contents, setting_up  # whose commands join the group
from releaser.cli.command import cli

__all__ = ["bundles", "cli", "operations", "queries", "release_contents", "setting_up"]
