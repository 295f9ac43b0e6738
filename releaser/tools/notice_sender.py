"""Sends one notice by Apprise. A separate process runs this text.

It reads `{"url": ..., "title": ..., "body": ..., "kind": ...}` from standard input, `kind` being one that Apprise
knows. It prints, on one line, why the notice was not accepted, or nothing. The library sets no time limit for the
network: hence the process, which has one.
"""

from __future__ import annotations

import json
import logging
import sys


def main() -> None:
    """Send the notice."""
    asked = json.load(sys.stdin)
    from apprise import Apprise, LogCapture, NotifyFormat

    with LogCapture(level=logging.WARNING, fmt="%(message)s") as answer:  # type: ignore[no-untyped-call]
        service = Apprise.instantiate(asked["url"])
        is_sent = service is not None and service.notify(
            title=asked["title"], body=asked["body"], notify_type=asked["kind"], body_format=NotifyFormat.TEXT
        )
        reason = " ".join(answer.getvalue().split())
    if not is_sent:
        unknown = "Apprise knows no such service, or a part of its URL is missing"
        print(reason or ("no reason was given" if service else unknown))  # noqa: T201 - the answer


if __name__ == "__main__":
    main()
