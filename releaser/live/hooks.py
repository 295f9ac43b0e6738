"""Runs the hooks of a person, in the live checkout: `before_live`, `before_restart`, `after_live` and `on_failure`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import msgspec

from releaser.candidate.kept import put_release
from releaser.candidate.shadow import make_shadow
from releaser.checkout.repository import Repository
from releaser.errors import ChangeError, HookError, Problem, ToolError
from releaser.live.programs import find_missing_program
from releaser.packages.changes import compare_releases, describe_news
from releaser.releases.journal import Entry
from releaser.releases.release import Release
from releaser.releases.store import Store
from releaser.site.django import find_django
from releaser.site.settings import PREFIX
from releaser.site.site import Site
from releaser.system import process, signals
from releaser.system.run import Run
from releaser.system.text import redact

_HOOKS = ("before_live", "before_restart", "after_live", "on_failure")
_NOT_YET = ("removed_commits", "commits", "steps", "notes", "problems", "culprits", "suspects", "on_hold")
_WORDS = {"ready": "is ready", "updated": "is live", "rolled-back": "failed and is rolled back"}


def find_problems(site: Site) -> list[Problem]:
    """Return a problem for each hook whose program does not exist."""
    programs = [(name, words[0]) for name in _HOOKS if (words := site.settings.get(name))]
    return [problem for each in programs for problem in find_missing_program(site, *each)]


def describe_change(
    site: Site, repository: Repository, entry: Entry, result: str, run: Run | None = None
) -> dict[str, Any]:
    """Return the outcome of a change as far as it is known, with the fields that `--json` prints. Raises ToolError."""
    store, is_back = Store(site.paths), result == "rolled-back"
    old, new = store.get(entry.earlier), store.get(entry.release)
    changes = compare_releases(old, new) if new is not None and new is not old else ()
    commits = list(map(redact, repository.describe_commits(entry.head, entry.commit)))
    end = entry.reason or f"{describe_news(changes, commits)}."
    known = {"steps": run.steps, "notes": run.notes, "problems": run.problems} if run is not None else {}
    return {
        **dict.fromkeys(_NOT_YET, ()),
        **dict.fromkeys(("failed_gate", "output", "decision"), ""),
        "result": result,
        "news": "new",
        "exit_code": 6 if is_back else 0,
        "headline": f"Release {entry.release} {_WORDS[result]}: {end}",
        "release": entry.earlier if is_back else entry.release,
        "previous": None if is_back else entry.earlier,
        "failed_release": entry.release if is_back else None,
        "changes": changes,
        "new_commits": commits,
        **known,
    }


def run_before_live(site: Site, run: Run, repository: Repository, release: Release, entry: Entry) -> None:
    """Run the hook before a release replaces the live one. Raises HookError: then nothing goes live.

    It has the release in its PATH, and the release's commit, lock and products in the directory `RELEASER_TREE`.
    """
    if not site.settings.live.before_live:
        return
    place, commit = site.paths.shadow(f"{run.id}-before-live"), release.manifest.commit
    try:
        with make_shadow(site, repository, place, commit, mark=run.id) as shadow:
            put_release(site, shadow, release)
            variables = find_django(site, shadow.project).variables | {f"{PREFIX}TREE": os.fspath(shadow.project)}
            outcome = describe_change(site, repository, entry, "ready", run)
            run_hook(site, run, "before_live", outcome, site.service_environment(release.venv, run.id) | variables)
    except ToolError as error:
        reason = error.message.rstrip(".")
        message = f"Release {release.id} is ready, but `before_live` failed: {reason}."
        advice = "The next update tries again; `RELEASER_BEFORE_LIVE= releaser update` goes on without the hook."
        raise HookError(message, advice, output=error.output) from error


def run_before_restart(site: Site, repository: Repository, entry: Entry) -> str:
    """Run the hook between static files and restart, and return words. May be repeated. Raises ChangeError."""
    env = site.service_environment(site.paths.link, entry.run)
    try:
        outcome = describe_change(site, repository, entry, "rolled-back" if entry.goes_back else "updated")
        return _run(site, "before_restart", outcome, env)
    except ToolError as error:
        advice = "Correct the hook, or what it calls."
        raise ChangeError(f"`before_restart` failed: {error.message}", advice, output=error.output) from error


@signals.hurry_on_signals()
def run_after_live(site: Site, run: Run, repository: Repository, entry: Entry) -> None:
    """Run the hook after a change; its failure is reported, and the release stays live."""
    if not site.settings.live.after_live:
        return
    try:
        run_hook(site, run, "after_live", describe_change(site, repository, entry, "updated", run))
    except ToolError as error:
        run.add_problem("after_live", f"`after_live` failed: {error.message}", "Run by hand what is left of it.")


def run_hook(
    site: Site, run: Run, name: str, outcome: Mapping[str, Any], environment: Mapping[str, str] | None = None
) -> None:
    """Run a hook, if it is set, as a step; by default in the environment of the live release.

    It reads the outcome as JSON, and what it leaves running is ended. Raises ToolError.
    """
    if site.settings.get(name):
        with run.step(name) as detail:
            detail.append(f"ran {site.settings.get(name)[0]}")
            _run(site, name, outcome, environment or site.service_environment(site.paths.link, run.id))


def _run(site: Site, name: str, outcome: Mapping[str, Any], environment: Mapping[str, str]) -> str:
    """Run a hook with `RELEASER_` variables: a release that failed, or the one that is live, and the one before it."""
    command, failed = site.settings.get(name), outcome["failed_release"]
    release, previous = (failed, outcome["release"]) if failed else (outcome["release"], outcome["previous"])
    variables = {"RESULT": outcome["result"], "RELEASE": release, "PREVIOUS": previous}
    variables |= {"EXIT_CODE": str(outcome["exit_code"])}
    env = {**environment, **{PREFIX + key: value for key, value in variables.items() if value is not None}}
    with os.fdopen(os.memfd_create("outcome"), "w+b") as file:
        file.write(msgspec.json.encode(outcome) + b"\n")
        file.seek(0)
        timeout, stdin = site.settings.live.restart_timeout, file.fileno()
        try:
            process.run(command, cwd=site.paths.project, env=env, timeout=timeout, stdin=stdin, may_have_secrets=True)
        finally:
            process.end_marked(env[process.MARK])
    return f"ran {command[0]}"
