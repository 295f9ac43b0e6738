"""The command line: the commands, in the order of their help."""

from __future__ import annotations

import click

from releaser import __version__
from releaser.cli import maintenance, operations, queries


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="releaser", message="%(prog)s %(version)s")
def cli() -> None:
    """Keep the Python environment of a running site up to date, safely.

    A new venv is built beside the live one, tested with the project's own tests, and only then made live, by one atomic
    move of a symlink. Earlier venvs stay: going back is instant.
    """


for _command in (
    operations.init,
    queries.check,
    operations.update,
    operations.rollback,
    operations.rebuild,
    queries.list_releases,
    queries.show,
    queries.diff,
    queries.verify,
    queries.audit,
    queries.outdated,
    queries.status,
    queries.history,
    maintenance.prune,
    maintenance.pin,
    maintenance.unpin,
    maintenance.hold,
    maintenance.unhold,
    operations.run,
    queries.test_mail,
):
    cli.add_command(_command)
