"""The command line."""

import gc
import signal

if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends a command without a traceback, as SIGTERM does
gc.disable()  # thousands of classes are made, and none is garbage: looking for some takes a tenth of the start

from releaser.cli.commands import main  # noqa: E402

gc.freeze()
gc.enable()

__all__ = ["main"]
