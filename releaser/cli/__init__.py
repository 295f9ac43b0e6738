"""The command line: each command parses, calls one pipeline, and prints the answer."""

from releaser.cli import (  # whose commands join the group
    bundles,
    channels,
    operations,
    queries,
    release_contents,
    setting_up,
)
from releaser.cli.command import cli

__all__ = ["bundles", "channels", "cli", "operations", "queries", "release_contents", "setting_up"]
