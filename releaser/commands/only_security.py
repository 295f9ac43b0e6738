"""`--only security`."""

from __future__ import annotations

import click

from releaser.commands.run_options import RunOption
from releaser.core.due import OnlyFixes

OPTION = RunOption(
    option="--only",
    parameter="only_kind",
    look={
        "type": click.Choice(["security"]),
        "help": "Install only versions that fix known vulnerabilities, and their requirements.",
    },
    section=lambda value: OnlyFixes(only_security=bool(value)),
    plan="with --only security, nothing would go live without a fix",
)
