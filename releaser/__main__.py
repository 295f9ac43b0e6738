"""Where the `releaser` command begins. The quick answers, and starting a program, do without the whole command line."""

import sys

if __name__ == "__main__" and not sys.flags.safe_path:
    del sys.path[0]  # by `python -m`, that is the current directory: what lies there may be anybody's

import gc
import io
import os

from releaser import __version__


def main() -> None:
    """Answer at once what can be, and hand everything else to the command line, which gives the same answers."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # a locale that lacks a character must not end a run
        sys.stdout.reconfigure(errors="backslashreplace")
    words = sys.argv[1:]
    # Nearly all that a start makes stays: it is not to be looked through again and again, and a list soon ends.
    gc.set_threshold(0 if words[:1] == ["list"] else 100_000)
    try:
        if words == ["--version"]:
            sys.stdout.write(f"releaser {__version__}\n")
        elif not (_is_somewhere() and (_answers_list(words) or _becomes_a_program(words))):
            from releaser.cli import cli

            cli()
    finally:
        gc.freeze()  # what goes with the process anyway is not looked through for that, which takes some 10 ms


def _is_somewhere() -> bool:
    """Whether the current directory is still there."""
    try:
        return bool(os.getcwd())  # noqa: PTH109 - pathlib takes long to import
    except FileNotFoundError:
        return False


def _becomes_a_program(words: list[str]) -> bool:
    """Become what `run` and `exec` start, if nothing is out of the ordinary; else, return False."""
    if words[:1] not in (["run"], ["exec"]):
        return False
    from releaser.launch import quickly

    return quickly(words)


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
    answer = _quick_list(os.path.realpath(project), as_json=as_json)
    if answer is None:
        return False
    sys.stdout.write(answer + "\n")
    return True


def _quick_list(start: str, *, as_json: bool) -> str | None:
    """Return what `releaser list` prints; None if the whole command line has more to say, or to find out."""
    from pathlib import Path

    from releaser.launch import is_plain
    from releaser.releases import listing
    from releaser.releases.store import ReleaseStore
    from releaser.site.location import DEFAULT_VENV, find_project
    from releaser.site.ownership import Ownership, foreign_state
    from releaser.site.project import Project
    from releaser.site.state_dir import OWNER, Owner, read_owner
    from releaser.system.files import UnreadableStateError

    root = find_project(start) if os.path.isdir(start) else None
    try:
        if root is None or Ownership.of(root).doubt():
            return None
        if not is_plain(root, "state_dir", "venv"):
            return None
        project = Project.at(Path(root), state_dir=None, venv=DEFAULT_VENV)
        if foreign_state(root, project.state_dir):
            return None
        store = ReleaseStore(state_dir=project.state_dir, link=project.venv, asks=False)
        rows = listing.rows(store)
        if rows or not as_json:  # the state must be this project's own, and the link lead where releaser has let it
            owner = read_owner(project.state_dir / OWNER)
            if owner != Owner(root=project.root, link=project.venv) or store.live_by_record() != store.live_id():
                return None
    except (OSError, UnreadableStateError):
        return None
    return listing.as_json(rows) if as_json else listing.as_text(rows)


if __name__ == "__main__":
    main()
