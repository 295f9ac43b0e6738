"""Answers `--version` and `list` in a few milliseconds, without importing the command line.

Whatever is not exactly one of these two goes to the full command line, which gives the same answer.
"""

from __future__ import annotations

import os
import sys

from releaser import __version__


def answer(arguments: list[str]) -> bool:
    """Answer on standard output if this is a question for here; False otherwise, and nothing is printed."""
    if arguments == ["--version"]:
        sys.stdout.write(f"releaser {__version__}\n")
        return True
    if arguments[:1] != ["list"]:
        return False
    parsed = _list_options(arguments[1:])
    return parsed is not None and _list(*parsed)


def _list_options(words: list[str]) -> tuple[str, bool] | None:
    """Return the project and whether JSON is wanted; None for anything that is not quite plain."""
    project, as_json = os.environ.get("RELEASER_PROJECT") or ".", False
    rest = iter(words)
    for word in rest:
        if word == "--json":
            as_json = True
        elif word == "--project":
            project = next(rest, "")
        elif word.startswith("--project="):
            project = word[len("--project=") :]
        else:
            return None
    return (project, as_json) if project and not project.startswith("~") else None


def _list(project: str, as_json: bool) -> bool:
    if sys.stdout.isatty() and not as_json:
        return False  # people get the coloured table
    from releaser.project.location import PYPROJECT, find_project, quick_location

    start = os.path.realpath(project)
    root = find_project(start) if os.path.isdir(start) else None
    if root is None or not os.path.exists(os.path.join(root, PYPROJECT)):
        return False
    place = quick_location(root, os.environ)
    if place is None:
        return False
    from releaser.releases import listing

    try:
        found = listing.rows(*place)
    except PermissionError:
        return False
    if (found or not as_json) and not listing.is_in_order(place[0], root, place[1]):
        return False  # the whole command line says what is wrong
    sys.stdout.write((listing.as_json(found) if as_json else listing.as_text(found)) + "\n")
    return True
