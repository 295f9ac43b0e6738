"""Where the `releaser` command begins. The version and a plain list are answered without the whole command line."""

from __future__ import annotations

import io
import os
import sys

from releaser import __version__


def main() -> None:
    """Answer at once what can be, and hand everything else to the command line, which gives the same answers."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # a locale that lacks a character must not end a run
        sys.stdout.reconfigure(errors="backslashreplace")
    words = sys.argv[1:]
    if words == ["--version"]:
        sys.stdout.write(f"releaser {__version__}\n")
    elif not _answers_list(words):
        from releaser.cli import cli

        cli()


def _answers_list(words: list[str]) -> bool:
    """Print the list if that is all there is to say; False for anything that is not quite plain."""
    project, as_json = os.environ.get("RELEASER_PROJECT") or ".", False
    if words[:1] != ["list"]:
        return False
    match words[1:]:
        case []:
            pass
        case ["--json"]:
            as_json = True
        case ["--project", project] | ["--project", project, "--json"] | ["--json", "--project", project]:
            as_json = len(words) == 4
        case _:
            return False
    if not project or project.startswith("~") or (sys.stdout.isatty() and not as_json):
        return False  # at a terminal, people get the coloured table
    from releaser.quick import list_of

    answer = list_of(os.path.realpath(project), as_json=as_json)
    if answer is None:
        return False
    sys.stdout.write(answer + "\n")
    return True


if __name__ == "__main__":
    main()
