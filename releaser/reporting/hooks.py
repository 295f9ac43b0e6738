"""Hooks: a site's commands at fixed points of a run, which get the report so far on standard input."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from releaser.core.run import Run
from releaser.errors import (
    ActivationError,
    BuildError,
    Finding,
    Interrupted,
    ReleaserError,
    ToolError,
    error_line,
)
from releaser.releases.journal import report_json
from releaser.releases.store import store_of
from releaser.reporting.hook_settings import BuildSettings, HookSettings
from releaser.site.settings import HOOK_VARIABLES, Hook
from releaser.system.frozen import replace
from releaser.system.venv_environment import inside, neutral

if TYPE_CHECKING:
    from pathlib import Path

    from releaser.report import RunLog, RunReport
    from releaser.site.site import Site

_GOING_LIVE = ("update", "init", "rebuild", "rollback", "bundle install")  # commands that make a release live
_ENDED_WELL = (0, 7)  # exit codes


def run_hook(  # noqa: PLR0913 - a hook, its subject, and its defaults
    site: Site,
    log: RunLog,
    hook: Hook,
    venv: Path | None = None,
    report: RunReport | None = None,
    *,
    command: tuple[str, ...] = (),
) -> str:
    """Run the command of a hook, or else `command`, in the site's directory; return a line about it, or an empty text.

    The hook gets the `report`, or the one so far. The programs of its release, in `venv`, come first on its PATH.
    Raises ToolError.
    """
    words: tuple[str, ...] = getattr(site.settings, hook, None) or command
    if not words:
        return ""
    current = report or _report_so_far(site, log, hook, venv.parent.name if venv else None)
    return _run(site, hook, words, venv, report_json(current, site.redactor))


def _run(site: Site, hook: Hook, command: tuple[str, ...], venv: Path | None, content: bytes) -> str:
    runner, release = site.runner, venv.parent if venv else None
    environ = runner.site_environ if hook == "before_build" else runner.live_environ
    facts = (hook, str(release or ""), str(site.project.checkout))
    env = (inside(venv, environ) if venv else neutral(environ)) | dict(zip(HOOK_VARIABLES, facts, strict=True))
    limit = HookSettings.of(site).hook_timeout
    try:
        finished = runner.run(
            command, cwd=site.project.root, env=env, timeout=limit, input=content, may_leave_service=hook == "start"
        )
    except ToolError as error:
        message = f"{hook}: {error.message}"
        raise ToolError(
            message,
            error.advice or f"Read its output in the log. Correct the command, or the setting `{hook}`.",
            output=error.output,
            returncode=error.returncode,
            timed_out=error.timed_out,
        ) from error.__cause__ or error
    return ": ".join(filter(None, (os.path.basename(command[0]), error_line(finished.output))))


def _report_so_far(site: Site, log: RunLog, hook: Hook, release: str | None) -> RunReport:
    run = Run(site=site, log=log, log_file=str(site.project.logs / f"{log.run_id}.log"))
    changed = log.learned.live_changed
    report = run.report(result="updated" if changed else "no-changes", exit_code=0, headline=f"{log.command}: {hook}")
    if changed or release is None:
        return report
    return replace(report, release=release, previous=store_of(site).live_id())


def is_due(site: Site) -> bool:
    """True if `before_build` has to run in a staging tree, and has not run yet."""
    return (
        BuildSettings.of(site).before_build is not None and _prepared(site.git.layout.top) not in site.runner.remembered
    )


def run_before_build(site: Site, log: RunLog) -> str:
    """Run `before_build` in a staging tree; return a line for the step. Raises BuildError."""
    content = report_json(_report_so_far(site, log, "before_build", None), site.redactor).decode()
    site.runner.remembered[_prepared(site.git.layout.top)] = content
    return prepare_again(site)


def prepare_again(site: Site) -> str:
    """Run `before_build` in a new staging tree, if it ran in the one before. Raises BuildError."""
    content = site.runner.remembered.get(_prepared(site.git.layout.top))
    command = BuildSettings.of(site).before_build
    try:
        return _run(site, "before_build", command, None, content.encode()) if command and content is not None else ""
    except ToolError as error:
        raise BuildError(error.reason, error.advice, output=error.output) from error


def forget_tree(site: Site, top: Path) -> None:
    """Forget that `before_build` has run in a staging tree: it will be a new one."""
    site.runner.remembered.pop(_prepared(top), None)


def _prepared(top: Path) -> tuple[str, str]:
    return "before_build", str(top)


def run_on_rollback(site: Site, log: RunLog, venv: Path | None, reason: str) -> None:
    """Run `on_rollback` after an automatic rollback for this reason; a failure is only reported."""
    if HookSettings.of(site).on_rollback is not None:
        run = Run(site=site, log=log)
        code = ActivationError.exit_code
        _run_and_report(
            site, log, "on_rollback", venv, run.report(result="rolled-back", exit_code=code, headline=reason)
        )


def run_on_failure(run: Run, report: RunReport) -> RunReport:
    """Run `on_failure` if a run ended without making its release live; return the report with that step."""
    is_live = report.live_changed and not report.is_automatic_rollback
    wanted = HookSettings.of(run.site).on_failure is not None and report.command in _GOING_LIVE
    if not wanted or is_live or report.exit_code in _ENDED_WELL:
        return report
    try:
        _run_and_report(run.site, run.log, "on_failure", None, report)
    except (KeyboardInterrupt, Interrupted):
        run.log.note(Finding("hook-interrupted", "on_failure was interrupted"))
    return run.report(result=report.result, exit_code=report.exit_code, headline=report.headline, advice=report.advice)


def _run_and_report(site: Site, log: RunLog, hook: Hook, venv: Path | None, report: RunReport) -> None:
    with log.step(hook) as step:
        try:
            step.says(run_hook(site, log, hook, venv, report))
        except ToolError as error:
            step.warns(error.message)
            log.note_failure(ReleaserError(error.reason, error.advice, output=error.output), follow_up=False)
