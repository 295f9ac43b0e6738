"""releaser for Python programs: `from releaser.api import require, update, rollback, status, releases`."""

from releaser.program.api import *  # noqa: F403 - what its `__all__` has
