"""Sends one notice by Apprise. A process of its own runs this text.

It finds `{"url": ..., "title": ..., "body": ..., "kind": ...}` on its standard input, `kind` being one that Apprise
knows, and prints why the notice was not taken, in a line; nothing if it was. The library asks the network in its own
time: hence the process, with a limit.
"""

from __future__ import annotations

import json
import logging
import sys


def main() -> None:
    """Send it."""
    asked = json.load(sys.stdin)
    from apprise import Apprise, LogCapture, NotifyFormat

    with LogCapture(level=logging.WARNING, fmt="%(message)s") as said:  # type: ignore[no-untyped-call]
        service = Apprise.instantiate(asked["url"])
        is_sent = service is not None and service.notify(
            title=asked["title"], body=asked["body"], notify_type=asked["kind"], body_format=NotifyFormat.TEXT
        )
        reason = " ".join(said.getvalue().split())
    if not is_sent:
        unknown = "Apprise knows no such service, or a part of its URL is missing"
        print(reason or ("no reason was given" if service else unknown))  # noqa: T201 - the answer


if __name__ == "__main__":
    main()
