"""The functions of releaser for Python programs. This module is quick to import.

Each function runs releaser in a separate process, for the project in `project` or above it; the default is
RELEASER_PROJECT, else the current directory. All raise errors of `releaser.errors`: LockedError while another run has
the lock, PreflightError if the project or its settings are unfit, NoSuchReleaseError, UsageError, and ReleaserError for
anything else that kept releaser from answering.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # importing `typing` would take a while
if TYPE_CHECKING:
    from typing import Any, TypeVar

    from releaser.answers import RunAnswer, Status
    from releaser.errors import ReleaserError
    from releaser.launch import Place
    from releaser.releases.listing import Row

    T = TypeVar("T")

__all__ = ["releases", "require", "rollback", "status", "update"]
_RESTARTED = "_RELEASER_REQUIRED"  # the process that `require` has restarted: it does so once
_ERRORS = {2: "UsageError", 3: "PreflightError", 8: "LockedError", 9: "NoSuchReleaseError"}


def update(*names: str, project: str | os.PathLike[str] = "") -> RunAnswer:
    """Update the site, or only the packages of these names and their requirements, and return the report.

    An update that was refused or rolled back has a report, too: see its `result`, `exit_code` and `problems`.
    """
    from releaser.answers import RunAnswer

    return _ask(RunAnswer, "update", *(["--", *names] if names else []), project=project)


def rollback(release: str | None = None, *, keep_code: bool = False, project: str | os.PathLike[str] = "") -> RunAnswer:
    """Go back to a release, or to the previous good one, and return the report.

    With `keep_code`, only the packages go back.
    """
    from releaser.answers import RunAnswer

    words = (*(["--keep-code"] if keep_code else []), *(["--", release] if release else []))
    return _ask(RunAnswer, "rollback", *words, project=project)


def releases(project: str | os.PathLike[str] = "") -> tuple[Row, ...]:
    """Return the releases that are kept, newest first."""
    from releaser.releases.listing import Row

    return _ask(tuple[Row, ...], "list", project=project)


def status(project: str | os.PathLike[str] = "") -> Status:
    """Return the status of the site."""
    from releaser.answers import Status

    return _ask(Status, "status", project=project)


def require(
    requirement: str, refresh: str | None = None, *, wait: str = "5m", project: str | os.PathLike[str] = ""
) -> str:
    """Return the version of a package, such as `name>=1`, that this program runs with.

    That is the version in the release of this program, or, for a program outside of the site's releases, in the live
    one. If it does not fit, and `refresh` is given, such as `daily`, the site is updated as by `releaser exec
    --refresh`, for at most `wait`, even if no look is due yet. A program in a release is restarted once in the live one
    if that fits, so call this before anything else. Raises RequirementError if no version fits.
    """
    from packaging.requirements import InvalidRequirement, Requirement

    from releaser.errors import RequirementError, UsageError
    from releaser.launch import look
    from releaser.system.durations import how_often, seconds_of

    try:
        wanted = Requirement(requirement)
        times = (how_often(refresh), seconds_of(wait)) if refresh else None
    except (InvalidRequirement, ValueError) as error:
        message = f"require({requirement!r}, {refresh!r}, wait={wait!r}): {str(error).splitlines()[0]}"
        raise UsageError(message, "Correct the call.") from error
    place = _place(project)
    own = _own_venv(f"{os.path.realpath(place.state_dir)}/releases")
    reason = ""
    for may_look in (True, False):
        live = f"{place.live}/venv" if place.live else ""
        found = _version(own or live, wanted.name)
        if found and wanted.specifier.contains(found, prereleases=True):
            return found
        newer = _version(live, wanted.name) if times and own else None
        if newer and wanted.specifier.contains(newer, prereleases=True):
            _restart(place, own)
        elif times and may_look:
            reason = look(place, *times, say=False, anyway=True)
    where = os.path.basename(os.path.dirname(own or live)) or "no release"
    message = (
        f"{requirement} is required, but {where} has {found or 'no version of it'}{f': {reason}' if reason else ''}"
    )
    advice = "Run `releaser update`; `releaser outdated` shows what blocks a version."
    raise RequirementError(message, advice)


def _own_venv(releases: str) -> str:
    """Return the venv of the release that this program runs in; empty outside of releases."""
    own = os.path.realpath(sys.prefix)
    if own.startswith(f"{releases}/") or not os.path.isdir(releases):
        return own if own.startswith(f"{releases}/") else ""
    venvs = (f"{releases}/{name}/venv" for name in os.listdir(releases))  # that of an adopted release may be a symlink
    return next((venv for venv in venvs if os.path.realpath(venv) == own), "")


def _version(venv: str, name: str) -> str | None:
    """Return the installed version of a package in a venv; None without one."""
    from pathlib import Path

    from releaser.locks.versions import normalize_name
    from releaser.releases.venv import versions_in

    return versions_in(Path(venv), name).get(normalize_name(name)) if venv else None


def _place(project: str | os.PathLike[str]) -> Place:
    from releaser.launch import Place, place_at

    if place := place_at(os.fspath(project)):
        return place
    from pathlib import Path

    from releaser.site.site import find_site

    return Place.of(find_site(Path(project or os.environ.get("RELEASER_PROJECT") or "."), os.environ))


def _restart(place: Place, own: str) -> None:
    """Become the same program in the live release, but only once."""
    from releaser.launch import become

    release = place.live
    if os.environ.get(_RESTARTED) == str(os.getpid()) or release is None or place.distrust(release):
        return
    os.environ[_RESTARTED] = str(os.getpid())
    venv = f"{release}/venv"
    words = sys.orig_argv[1:]
    for start in {own, sys.prefix, os.path.realpath(sys.prefix)}:
        words = [f"{venv}{word[len(start) :]}" if word.startswith(f"{start}/") else word for word in words]
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    become(place, release, [f"{venv}/bin/python", *words])


def _ask(kind: type[T], command: str, *words: str, project: str | os.PathLike[str]) -> T:
    """Run a command of releaser, and return its answer. Raises the error of its exit code without one."""
    import json

    from msgspec import convert

    from releaser.launch import run_releaser

    given = ["--project", os.fspath(project)] if project else []
    code, output, complaint = run_releaser([command, "--json", *given, *words], os.environ)
    answer = json.loads(output) if output else {}
    if not output or code in _ERRORS:
        raise _error(code, complaint, answer)
    return convert(answer, kind)


def _error(code: int, complaint: str, answer: dict[str, Any]) -> ReleaserError:
    from releaser import errors

    lines = complaint.splitlines()
    message = answer.get("headline") or next(iter(lines), "").removeprefix("releaser: ")
    advice = " ".join(line.partition("what to do: ")[2] for line in lines).strip()
    message = message or f"releaser ended with status {code}"
    if code == errors.ExitCode.PREFLIGHT:
        problems = answer.get("problems") or [message]
        codes = answer.get("codes") or ["several"] * len(problems)
        return errors.PreflightError(
            *(errors.Finding(*pair, advice=advice) for pair in zip(codes, problems, strict=False))
        )
    kind: type[ReleaserError] = getattr(errors, _ERRORS.get(code, "ReleaserError"))
    return kind(message, advice=advice, output=complaint)
