"""The answers that sites share, seen from outside."""

import fcntl
from pathlib import Path


def is_asked(place: Path) -> bool:
    """True if a run asks one of the questions, so that others wait for its answer."""
    for name in place.iterdir():
        with name.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
    return False
