"""Runs the hooks of a person, in the live checkout: `before_live`, `before_restart`, `after_live` and `on_failure`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from releaser.candidate.shadow import make_shadow
from releaser.checkout.products import copy_product
from releaser.checkout.repository import Repository, open_repository
from releaser.errors import ChangeError, HookError, Problem, ToolError
from releaser.live.restart import find_missing_program
from releaser.packages.changes import compare_releases, describe_changes
from releaser.releases.journal import Entry
from releaser.releases.release import BUILT, Release, list_products
from releaser.releases.store import Store
from releaser.site.settings import PREFIX
from releaser.site.site import Site
from releaser.system import process, signals
from releaser.system.run import Run
from releaser.system.text import redact

_HOOKS = ("before_live", "before_restart", "after_live", "on_failure")
_NOT_YET = ("commits", "steps", "notes", "problems", "culprits", "suspects", "on_hold")
_WORDS = {"ready": "is ready", "updated": "is live", "rolled-back": "failed and is rolled back"}


class Moment(msgspec.Struct, frozen=True):
    """A change that has not ended: `release` is live now, or the next, `previous` the other one.

    `commits` are those that tell them apart; `reason` is why `previous` was left, on the way back.
    """

    result: str
    release: str
    previous: str | None
    commits: Sequence[str]
    reason: str = ""

    @property
    def variables(self) -> dict[str, str | None]:
        """The variables of a hook, without their prefix."""
        return {"RESULT": self.result, "RELEASE": self.release, "PREVIOUS": self.previous}

    def describe(self, site: Site, run: Run | None = None) -> dict[str, Any]:
        """Return the outcome as far as it is known, with the fields that `--json` prints."""
        store, failed = Store(site.paths), self.previous if self.reason else None
        new, old = store.get(failed or self.release), store.get(self.release if failed else self.previous)
        changes = compare_releases(old, new) if new is not None and new is not old else ()
        end = self.reason or f"{describe_changes(changes) or 'the same packages'}."
        fields = dict.fromkeys(_NOT_YET, ()) | {"failed_gate": "", "output": "", "decision": "", "exit_code": 0}
        fields |= {"headline": f"Release {failed or self.release} {_WORDS[self.result]}: {end}", "changes": changes}
        fields |= {"result": self.result, "release": self.release, "previous": self.previous, "failed_release": failed}
        fields |= {"steps": run.steps, "notes": run.notes, "problems": run.problems} if run is not None else {}
        return fields | {"new_commits": list(map(redact, self.commits))}


def find_problems(site: Site) -> list[Problem]:
    """Return a problem for each hook whose program does not exist."""
    commands = {name: site.settings.get(name) for name in _HOOKS}
    return [
        problem for name in _HOOKS if commands[name] for problem in find_missing_program(site, name, commands[name][0])
    ]


def run_before_live(site: Site, run: Run, release: Release, previous: str | None, commits: Sequence[str]) -> None:
    """Run the hook before a release replaces the `previous` one. Raises HookError: then nothing goes live.

    It has the release in its PATH, and the release's commit with its products in the directory `RELEASER_TREE`.
    """
    if not site.settings.live.before_live:
        return
    moment, source = Moment("ready", release.id, previous, commits), open_repository(site, run.id)
    place, commit = site.paths.shadow(f"{run.id}-before-live"), release.manifest.commit
    try:
        with make_shadow(site, source, place, commit, mark=run.id) as shadow:
            tree = shadow.map_path(site.paths.top)
            for path in list_products(release.directory):
                copy_product(release.directory / BUILT, tree, path)
            variables = {**moment.variables, "TREE": os.fspath(shadow.project)}
            run_hook(site, run, "before_live", variables, moment.describe(site, run), release.venv)
    except ToolError as error:
        reason = error.message.rstrip(".")
        message = f"Release {release.id} is ready, but `before_live` failed: {reason}."
        advice = "The next update tries again; `RELEASER_BEFORE_LIVE= releaser update` goes on without the hook."
        raise HookError(message, advice, output=error.output) from error


def run_before_restart(site: Site, repository: Repository, entry: Entry, *, back: bool) -> str:
    """Run the hook between static files and restart, and return words. May be repeated. Raises ChangeError."""
    moment = _make_moment(repository, entry, back=back)
    try:
        return _run(site, "before_restart", moment.variables, moment.describe(site), site.paths.link, entry.run)
    except ToolError as error:
        advice = "Correct the hook, or what it calls."
        raise ChangeError(f"`before_restart` failed: {error.message}", advice, output=error.output) from error


@signals.hurry_on_signals()
def run_after_live(site: Site, run: Run, repository: Repository, entry: Entry) -> None:
    """Run the hook after a change; its failure is reported, and the release stays live."""
    if not site.settings.live.after_live:
        return
    try:
        moment = _make_moment(repository, entry, back=False)
        run_hook(site, run, "after_live", moment.variables, moment.describe(site, run))
    except ToolError as error:
        run.add_problem("after_live", f"`after_live` failed: {error.message}", "Run by hand what is left of it.")


def _make_moment(repository: Repository, entry: Entry, *, back: bool) -> Moment:
    commits = repository.describe_commits(entry.head, entry.commit)
    if back:
        return Moment("rolled-back", str(entry.earlier), entry.release, commits, entry.reason)
    return Moment("updated", str(entry.release), entry.earlier, commits)


def run_hook(
    site: Site,
    run: Run,
    name: str,
    variables: Mapping[str, str | None],
    outcome: Mapping[str, Any],
    venv: Path | None = None,
) -> None:
    """Run a hook, if it is set, with `RELEASER_` variables and a venv, by default the live one, as a step.

    It reads the outcome as JSON. What it leaves running is ended. Raises ToolError.
    """
    if site.settings.get(name):
        with run.step(name) as detail:
            detail.append(f"ran {site.settings.get(name)[0]}")
            _run(site, name, variables, outcome, venv or site.paths.link, run.id)


def _run(
    site: Site, name: str, variables: Mapping[str, str | None], outcome: Mapping[str, Any], venv: Path, mark: str
) -> str:
    command = site.settings.get(name)
    env = site.service_environment(venv, mark)
    env |= {PREFIX + variable: value for variable, value in variables.items() if value is not None}
    with os.fdopen(os.memfd_create("outcome"), "w+b") as file:
        file.write(msgspec.json.encode(outcome) + b"\n")
        file.seek(0)
        timeout, stdin = site.settings.live.restart_timeout, file.fileno()
        try:
            process.run(command, cwd=site.paths.project, env=env, timeout=timeout, stdin=stdin)
        finally:
            process.end_marked(env[process.MARK])
    return f"ran {command[0]}"
