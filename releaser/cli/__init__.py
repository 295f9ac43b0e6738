"""The command line."""

import gc
import os
import signal
import sys

if sys.argv[1:2] == ["exec"] and "--help" not in sys.argv[:3]:  # at once: importing the rest takes longer than a start
    from releaser.program import execute

    execute.start(sys.argv[2:])
gc.disable()  # thousands of classes are made, and none is garbage: looking for some takes a tenth of the start
# Nothing has begun, so a signal meanwhile ends it at once, without the traceback of Ctrl-C.
_handlers = {
    number: signal.signal(number, lambda number, frame: os._exit(128 + number))
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
}

from releaser.cli.commands import main  # noqa: E402

for _number, _handler in _handlers.items():
    signal.signal(_number, _handler)
gc.freeze()
gc.enable()

__all__ = ["main"]
