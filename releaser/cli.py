"""The command line: the commands, in the order of their help."""

from __future__ import annotations

import click

from releaser import __version__
from releaser.commands import keeping, questions, site


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="releaser", message="%(prog)s %(version)s")
def cli() -> None:
    """Keep the Python environment of a running site up to date, safely.

    A new venv is built beside the live one, tested with the project's own tests, and only then made live, by one atomic
    move of a symlink. Earlier venvs stay: going back is instant.
    """


for _command in (
    site.init,
    questions.check,
    site.update,
    site.rollback,
    site.rebuild,
    questions.list_releases,
    questions.show,
    questions.diff,
    questions.verify,
    questions.audit,
    questions.outdated,
    questions.status,
    questions.history,
    keeping.prune,
    keeping.pin,
    keeping.unpin,
    keeping.hold,
    keeping.unhold,
    site.run,
    questions.test_mail,
):
    cli.add_command(_command)
