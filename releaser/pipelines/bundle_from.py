"""A bundle of what a repository has, on a host that has no site of it: built and tested there, and live nowhere."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

from releaser.checkout.pull import as_checked_out
from releaser.errors import ToolError, UsageError, refuse
from releaser.pipelines.build_locked import build_as_locked, open_workspace
from releaser.pipelines.preflight import Scope, preflight
from releaser.pipelines.session import PipelineResult, Request, run_session
from releaser.run import close_journal
from releaser.system.process import Runner
from releaser.system.temporary import temporary_directory
from releaser.system.words import secrets_in_urls
from releaser.tools.git import Git
from releaser.tools.git_bundle import check_out

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from releaser.listener import Listener
    from releaser.report import RunReport
    from releaser.run import Run

_GIT_SECONDS = 1800.0
_SOURCE = re.compile(r"(?P<url>(?:[a-z][a-z0-9+.-]*://[^/]*/)?+.+?)(?:@(?P<ref>[^@:\s]+))?")  # a user has an @, too


@contextmanager
def build_from(source: str, environ: Mapping[str, str], listener: Listener) -> Iterator[tuple[Path, RunReport]]:
    """Build and test what `URL@REF` has, and yield the checkout and the report; all of it goes at the end.

    Nothing is restarted, pushed or mailed. Raises PreflightError and UsageError.
    """
    url, ref = parse_source(source)
    name = re.sub(r"[^\w-]", "", url.rstrip("/").rpartition("/")[2].removesuffix(".git")) or "project"
    with temporary_directory() as outer:
        place = outer / name
        place.mkdir()
        runner = Runner(environ=environ)
        runner.redactor.learn(secrets_in_urls(url))
        try:
            check_out(Git(runner=runner, root=place, timeout=_GIT_SECONDS), url, ref)
        except ToolError as error:
            refuse(f"{ref} of the repository cannot be checked out: {error.reason}", error.advice or "Check URL@REF.")
        own = {"RELEASER_GIT_PULL": "false", "RELEASER_GIT_PUSH": "false", "RELEASER_BRANCH": "main"}
        request = Request(path=place, environ={**environ, **own}, command="bundle create", listener=listener)
        yield place, run_session(request, _build)


def parse_source(source: str) -> tuple[str, str]:
    """Return the URL of a repository, and the branch or tag there, from `URL@REF`. Raises UsageError."""
    found = _SOURCE.fullmatch(source)
    if found is None or found["url"].startswith("-"):
        message = f"--from {source} is not a repository"
        raise UsageError(message, advice="Write it as URL@REF, with a branch or a tag.")
    return found["url"], found["ref"] or "HEAD"


def _build(run: Run) -> PipelineResult:
    facts = preflight(run.site, run.log, Scope(asks=()))
    with open_workspace(run.site, run.log, facts, as_checked_out(facts)) as work:
        release = build_as_locked(work)
    run.log.learn(release=release.id)
    close_journal(run.site, run.log)
    return PipelineResult(result="unchanged", headline=f"built {release.id}, which passed its tests")
