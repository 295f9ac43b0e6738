"""Runs the hooks of a person, in the live checkout: `before_live`, `after_live` and `on_failure`."""

from __future__ import annotations

from releaser.errors import HookError, Problem, ToolError
from releaser.live.programs import find_missing_program
from releaser.releases.journal import Entry
from releaser.site.settings import PREFIX
from releaser.site.site import Site
from releaser.system import process, signals
from releaser.system.run import Run

_HOOKS = ("before_live", "after_live", "on_failure")


def find_problems(site: Site) -> list[Problem]:
    """Return a problem for each hook whose program does not exist."""
    commands = {name: site.settings.get(name) for name in _HOOKS}
    return [
        problem for name in _HOOKS if commands[name] for problem in find_missing_program(site, name, commands[name][0])
    ]


def run_before_live(site: Site, run: Run, release: str, previous: str | None) -> None:
    """Run the hook before a release replaces the `previous` one. Raises HookError: then nothing goes live."""
    try:
        run_hook(site, run, "before_live", {"RESULT": "ready", "RELEASE": release, "PREVIOUS": previous})
    except ToolError as error:
        reason = error.message.rstrip(".")
        message = f"Release {release} is ready, but `before_live` failed: {reason}."
        advice = "The next update tries again; `RELEASER_BEFORE_LIVE= releaser update` goes on without the hook."
        raise HookError(message, advice, output=error.output) from error


@signals.hurry_on_signals()
def run_after_live(site: Site, run: Run, entry: Entry) -> None:
    """Run the hook after a change; its failure is reported, and the release stays live."""
    variables = {"RESULT": "updated", "RELEASE": entry.release, "PREVIOUS": entry.earlier}
    try:
        run_hook(site, run, "after_live", variables)
    except ToolError as error:
        run.add_problem("after_live", f"`after_live` failed: {error.message}", "Run by hand what is left of it.")


def run_hook(site: Site, run: Run, name: str, variables: dict[str, str | None]) -> None:
    """Run a hook, if it is set, with `RELEASER_` variables, and end what it leaves running. Raises ToolError."""
    if not (command := site.settings.get(name)):
        return
    env = site.service_environment(site.paths.link, run.id)
    env |= {PREFIX + variable: value for variable, value in variables.items() if value is not None}
    with run.step(name) as detail:
        detail.append(f"ran {command[0]}")
        try:
            process.run(command, cwd=site.paths.project, env=env, timeout=site.settings.live.restart_timeout)
        finally:
            process.end_marked(env[process.MARK])
