"""What follows a flip so that the site runs on the new release: static files, restart, health check."""

from __future__ import annotations

import logging
import shlex
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from releaser.errors import ActivationError, PreflightError, ToolError, Unfit, gist
from releaser.tools import webserver
from releaser.tools.django import Manage, doubt, is_django
from releaser.tools.environment import inside

if TYPE_CHECKING:
    from collections.abc import Callable

    from releaser.releases.journal import Entry
    from releaser.report.recorder import Step
    from releaser.run import Run

log = logging.getLogger(__name__)

_OWN_WORDS = frozenset({"auto", "none", "passenger"})
_AFTERWARDS = (
    "See `releaser status` for what is left out of updates now; `releaser update --force` takes it all the same."
)


def settle(run: Run, entry: Entry, venv: Path) -> Entry:
    """Do each step that the journal does not have as done, and note it there; return the journal's last entry.

    Raises ActivationError, which names the step.
    """
    for name, act in (("collectstatic", collectstatic), ("restart", restart), ("health check", health_check)):
        if name in entry.done:
            continue
        with run.recorder.step(name) as step:
            try:
                act(run, venv, step)
            except ToolError as error:
                raise _failed(name, error, command=entry.command) from error
        entry = entry.moved(entry.phase, done=(*entry.done, name))
        try:
            run.journal.insist(entry)
        except OSError as error:  # after a crash the step would be done once more
            log.warning("%s is done, which cannot be noted: %s", name, error)
    return entry


def _failed(name: str, error: ToolError, *, command: str) -> ActivationError:
    reason = gist(error.output)
    because = f" ({reason[:200]})" if reason and reason not in error.message else ""
    advice = error.advice if command == "rollback" else f"{error.advice} {_AFTERWARDS}".strip()
    return ActivationError(f"{name} failed: {error.message}{because}", advice=advice, output=error.output)


def look_before(run: Run, venv: Path) -> None:
    """See that the commands of the steps behind the flip exist, before anything is flipped. Raises PreflightError."""
    settings, root = run.site.settings, run.site.project.root
    path = inside(venv, run.site.runner.environ)["PATH"]
    commands = {"restart": settings.restart[0] if settings.restart[0] not in _OWN_WORDS else None}
    if settings.health_check and not webserver.is_url(settings.health_check):
        commands["health_check"] = shlex.split(settings.health_check)[0]
    problems = [
        Unfit(f"{key}: there is no program {word!r}", advice=f"Correct `{key}`, or install the program.")
        for key, word in commands.items()
        if word is not None and shutil.which(root / word if "/" in word else word, path=path) is None
    ]
    if problems:
        raise PreflightError(tuple(problems))


def collectstatic(run: Run, venv: Path, step: Step) -> None:
    """Collect static files with the release's interpreter, if the project has any to collect. Raises ToolError."""
    settings, root = run.site.settings, run.site.project.root
    if settings.collectstatic == "off" or (settings.collectstatic == "auto" and not is_django(root)):
        step.skipped("switched off" if settings.collectstatic == "off" else "no manage.py")
        return
    manage = Manage(runner=run.site.runner, project=root, venv=venv, timeout=settings.collectstatic_timeout)
    static_root = manage.static_root()
    if settings.collectstatic == "auto" and static_root is None:
        step.skipped("staticfiles is not installed, or STATIC_ROOT is not set")
        return
    since = run.draft.cut_off_since
    if since is not None and static_root is not None and not root.is_relative_to(static_root):
        doubt(static_root, since=since.timestamp())
    lines = manage.collectstatic(static_root).stdout.strip().splitlines()
    step.says(lines[-1] if lines else "")


def restart(run: Run, venv: Path, step: Step) -> None:
    """Tell the web server to load the site anew, in the way that is set. Raises ToolError."""
    settings, root = run.site.settings, run.site.project.root
    match settings.restart:
        case ("none",):
            step.skipped("switched off")
        case ("auto",):
            _touch(run, step)
        case ("passenger",):
            _start(run, webserver.passenger_arguments(root), venv)
            step.says("passenger-config")
        case words:
            _start(run, list(words), venv)
            step.says(words[0])


def _touch(run: Run, step: Step) -> None:
    root, setting = run.site.project.root, run.site.settings.restart_file
    file = root / setting if setting else webserver.restart_file_in(root)
    if file is None:
        step.skipped("no config/tmp/ or tmp/ with a restart.txt")
        return
    webserver.touch(file)
    step.says(f"touched {file.relative_to(root) if file.is_relative_to(root) else file}")


def _start(run: Run, words: list[str], venv: Path) -> None:
    run.site.runner.run(
        words,
        cwd=run.site.project.root,
        env=inside(venv, run.site.runner.environ),
        timeout=run.site.settings.restart_timeout,
        stays=True,
    )


def health_check(run: Run, venv: Path, step: Step) -> None:
    """Ask the site until it is well, or until the patience that is set has run out. Raises ToolError."""
    settings = run.site.settings
    check = settings.health_check
    if check is None:
        step.skipped("none is set")
        return
    patience = webserver.Patience(
        timeout=settings.health_timeout, tries=settings.health_retries + 1, pause=settings.health_pause
    )
    step.says(webserver.until_good(_question(run, check, venv), patience))


def _question(run: Run, check: str, venv: Path) -> Callable[[], str]:
    timeout = run.site.settings.health_timeout
    if webserver.is_url(check):
        return lambda: webserver.ask_url(check, timeout=timeout)
    words = shlex.split(check)

    def ask() -> str:
        env = inside(venv, run.site.runner.environ)
        run.site.runner.run(words, cwd=run.site.project.root, env=env, timeout=timeout)
        return f"{words[0]} says yes"

    return ask
