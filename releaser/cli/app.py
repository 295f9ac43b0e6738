"""The command line with all its commands, which join it as their modules are imported."""

from releaser.cli import operations, queries
from releaser.cli.options import cli

__all__ = ["cli", "operations", "queries"]
