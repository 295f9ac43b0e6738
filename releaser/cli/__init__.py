"""The command line."""

import gc

gc.disable()  # thousands of classes are made, and none is garbage: looking for some takes a tenth of the start

from releaser.cli.commands import main  # noqa: E402

gc.freeze()
gc.enable()

__all__ = ["main"]
