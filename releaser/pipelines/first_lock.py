"""The first lock of a project that pip has installed: made in a staging tree, compared, and committed.

pyproject.toml and uv.lock change nothing for the running site. So they are committed first, and then the project is
adopted like any other.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.utils import canonicalize_name

from releaser.checkout.checks import CheckoutSnapshot, refuse_changes, take_snapshot
from releaser.checkout.move import move_without_build
from releaser.checkout.publish import list_unpushed, push_what_is_due
from releaser.checkout.pull import as_checked_out
from releaser.core.adoption import adopter, venv_kind
from releaser.core.follow_up import note_due
from releaser.core.run import Run, new_log
from releaser.errors import BuildError, Finding, ResolutionError, ToolError, UsageError
from releaser.locks.lock import LockFile
from releaser.locks.overrides import parse_overrides
from releaser.pipelines.init import adopt_project
from releaser.pipelines.preflight import Question, Scope, check
from releaser.pipelines.session import PipelineResult, Request, run_session
from releaser.pipelines.workspaces import open_aside, open_workspace
from releaser.report import Plan, RunLog, RunReport
from releaser.resolution.first_lock import FirstLockRequest, Survey, differences, make_first_lock, survey
from releaser.site.conventions import NO_GROUP, find_conventions, lacks_group
from releaser.site.project import Pyproject, read_pyproject
from releaser.system.files import read_file, replace_file
from releaser.system.frozen import replace
from releaser.system.words import plural, secrets_in_urls

if TYPE_CHECKING:
    from collections.abc import Sequence

    from releaser.site.site import Site, SiteFacts

_MESSAGE = "Lock the installed versions"
_FILES = ("uv.lock", "pyproject.toml")  # in this order: uv.lock has no effect before pyproject.toml


def read_request(
    venv: Path | None,
    requirements: Path | None,
    without: Sequence[str],
    given: Sequence[str],
    *,
    declared: bool = False,
) -> FirstLockRequest:
    """Read the options of the command line; relative paths start at the current directory. Raises UsageError."""
    names = frozenset(canonicalize_name(name) for name in without)
    sources = parse_overrides(given, Path.cwd(), option="--with")
    for one in sources:
        if one.name in names:
            message = f"--with and --without both name {one.name}"
            raise UsageError(message, "Use only one of them.")
        if secrets_in_urls(one.url):
            message = f"--with {one.name} @ ... contains a password or a token, which git would store"
            raise UsageError(message, "Give it to git by a credential helper, or use ssh: git+ssh://git@...")
        if not one.url and not re.fullmatch(r"===?[^*,]+", one.specifier):
            message = f"--with {one} names no version"
            raise UsageError(message, f"Write '{one.name}==VERSION', '{one.name} @ URL' or '{one.name} @ PATH'.")
    try:
        places = [place and Path(os.path.abspath(place.expanduser())) for place in (venv, requirements)]
    except RuntimeError as error:
        message = f"a path of --from-venv or --from-requirements does not exist: {error}"
        raise UsageError(message, "Correct the path.") from error
    return FirstLockRequest(venv=places[0], requirements=places[1], declared=declared, without=names, given=sources)


def create_first_lock(request: Request, wanted: FirstLockRequest, *, force: bool = False) -> RunReport:
    """Give the project its first lock, with the installed versions, and adopt the project.

    With `force`, the lock may have other versions, which a later update installs.
    """
    return run_session(replace(request, creates_pyproject=True), lambda run: _create(run, wanted, force=force))


def _create(run: Run, wanted: FirstLockRequest, *, force: bool) -> PipelineResult:
    site, log = run.site, run.log
    with log.step("survey") as step:
        found = survey(site, wanted)
        step.says(str(wanted))
    with log.step("preflight"):
        facts = _check(site, wanted, found)
    snapshot = take_snapshot(site)
    with open_workspace(site, log, facts, as_checked_out(snapshot)) as work:
        with log.step("lock") as step:
            lock = make_first_lock(work.site, work.facts, wanted, found)
            step.says(plural(len(lock.versions), "package"))
        with log.step("compare") as step:
            others = _compare(work.site, facts, wanted, found, lock)
            if others and not force:
                raise ResolutionError(_describe(others), _ADVICE)
            headline = _describe(others) if others else _describe_match(found)
            step.says(headline)
        _place(site, work.site, log, snapshot)
    log.note(*([Finding("first-lock", headline, "The next update installs the locked versions.")] if others else ()))
    run.site = site.reread()
    push_what_is_due(run.site, log)
    python = str(found.installed.python) if found.installed is not None else None
    result = adopt_project(run, force=True, python=python)
    return replace(result, headline=f"{result.headline}; {headline}")


_ADVICE = (
    "Nothing was changed. To add a package, use --with 'NAME==VERSION'; to skip one, use --without NAME. To "
    "accept the"
    " difference, add --force: the next update then installs the locked versions."
)


def _describe(others: Sequence[str]) -> str:
    return f"the lock differs from the installed packages: {', '.join(others)}"


def _describe_match(found: Survey) -> str:
    total = len(found.versions)
    if not total:
        return "the first lock was made"
    return f"{plural(total, 'package')}: the same {'name' if total == 1 else 'names'} and versions"


def _check(site: Site, wanted: FirstLockRequest, found: Survey, asks: tuple[Question, ...] = ("django",)) -> SiteFacts:
    """Run every check on the project as if it were locked already. Raises PreflightError with all problems."""
    settings, findings = site.settings, [finding for finding in site.findings if finding.code != "pyproject-missing"]
    if lacks_group(settings, site.pyproject):
        settings = replace(settings, group=NO_GROUP)
    project = {"requires-python": ">=3", **site.pyproject.table("project")}
    pyproject = Pyproject(path=site.project.pyproject, content={**site.pyproject.content, "project": project})
    venv = site.project.venv
    is_other = wanted.venv is not None and os.path.realpath(wanted.venv) != os.path.realpath(venv)
    if is_other and venv_kind(site) in ("directory", "symlink"):
        message = f"{venv} is already a venv, but --from-venv names another one"
        findings.append(Finding("venv-exists", message, f"Use --from-venv {venv}, or move that venv away."))
    site = replace(
        site, pyproject=pyproject, settings=settings, findings=(*findings, *found.problems, *adopter().find_open(site))
    )
    python = str(found.installed.python) if found.installed is not None else None
    return check(site, None, Scope(asks=asks, lock=LockFile(data=b"", versions=found.versions), python=python))


def _compare(staged: Site, facts: SiteFacts, wanted: FirstLockRequest, found: Survey, lock: LockFile) -> list[str]:
    own = read_pyproject(staged.project.pyproject).table("project").get("name", "")
    return [
        difference
        for difference in differences(lock, facts, wanted, found)
        if difference.split()[0] != canonicalize_name(str(own))
    ]


def _place(site: Site, staged: Site, log: RunLog, snapshot: CheckoutSnapshot) -> None:
    """Commit both files in the staging tree, and move the checkout to that commit; without git, copy them.

    Raises BuildError, and PreflightError if a person has edited a file of a project without git meanwhile.
    """
    if not site.project.has_git:
        refuse_changes(site, snapshot)
        for name in _FILES:
            replace_file(site.project.root / name, read_file(staged.project.root / name), staging=site.state_dir)
        return
    try:
        with log.step("commit") as step:
            staged.git.commit_only(_FILES, _MESSAGE)
            commit = staged.git.commit("HEAD")
            step.says(commit[:12])
        note_due(site, commits=(*list_unpushed(site), commit), push=site.pushes)
        move_without_build(site, log, replace(as_checked_out(snapshot), commit=commit))
    except ToolError as error:
        message = f"pyproject.toml and uv.lock could not be committed: {error.reason}"
        advice = error.advice or "Nothing was changed. See git's message."
        raise BuildError(message, advice, output=error.output) from error


def plan_first_lock(site: Site, wanted: FirstLockRequest, *, force: bool = False) -> Plan:
    """Say what would be locked, after trying it in the temporary directory. Raises PreflightError, ResolutionError."""
    found = survey(site, wanted)
    facts, log = _check(site, wanted, found, ("remote", "django")), new_log("init")
    with open_aside(site, log, facts) as work:
        staged, facts = work.site, work.facts
        lock = make_first_lock(staged, facts, wanted, found)
        others = _compare(staged, facts, wanted, found, lock)
        asked = read_pyproject(staged.project.pyproject).table("project").get("dependencies", [])
    lines = [str(convention) for convention in find_conventions(site, lock=lock)]
    lines += [f"pyproject.toml would require {package}" for package in asked]
    packages = [f"{name} {version}" for name, version in sorted(lock.versions.items())]
    lines.append(f"{plural(len(packages), 'package')} would be locked: {', '.join(packages)}")
    if others:
        lines.append(_describe(others) if force else f"the command would refuse: {_describe(others)}")
    if venv_kind(site) in ("directory", "symlink"):
        lines.append(f"{site.project.venv.name} would become the first release, and a symlink to it")
    else:
        lines.append("a first release would be built from the lock and tested")
    return Plan(would=tuple(lines))
