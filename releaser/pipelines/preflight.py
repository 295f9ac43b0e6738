"""The checks before anything is changed; one pass finds all problems."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from releaser.capabilities import gather
from releaser.checkout.checks import check_checkout, remote_findings
from releaser.checkout.publish import files_due
from releaser.errors import (
    Finding,
    Findings,
    PreflightError,
    ToolError,
    error_line,
    explain_unreadable,
    how_to_set,
    refuse,
)
from releaser.locks.lock import InvalidLockError, LockFile
from releaser.locks.versions import is_older, is_range
from releaser.releases.contents import look_at
from releaser.releases.journal import read_notes
from releaser.releases.release import Release, find_moved_link
from releaser.releases.store import store_of
from releaser.releases.venv import VenvFacts
from releaser.resolution.rules import read_limits
from releaser.site import conventions, disk
from releaser.site.conventions import test_group_findings
from releaser.site.project import declared_dependencies, first_lock
from releaser.site.pythons import Choice, choose, version_of
from releaser.site.site import Checkout, Site, SiteFacts
from releaser.system.frozen import Frozen, replace

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from releaser.report import RunLog
    from releaser.tools.git_state import CheckoutState
    from releaser.tools.uv import Uv


OLDEST_UV = "0.12"  # the oldest version that is tested; older ones lack options of `uv audit`


Question = Literal["remote", "django", "site"]


class Scope(Frozen):
    """The extent of a check, and the facts that are already known."""

    #: The slow checks: the remote and the installed programs, the static files of the site's Django, and the health of
    #: the live site. The first two run anyway if anything is wrong, so that the report is complete.
    asks: tuple[Question, ...] = ("django",)
    #: The interpreter to build with, as uv's `--python` takes it.
    python: str | None = None
    #: True if the site would stay on that interpreter; False for a release that is only tested.
    stays: bool = True
    #: A lock that is not in the checkout yet.
    lock: LockFile | None = None
    #: The fresh result of `git status`.
    state: CheckoutState | None = None
    #: The facts about the checkout, for the check of a staging tree.
    checkout: Checkout | None = None
    #: True to check the settings for other services, such as indexes.
    asks_others: bool = True


def preflight(site: Site, log: RunLog, scope: Scope | None = None) -> SiteFacts:
    """Check everything as a step of the run. Raises PreflightError with all problems.

    Most callers skip the site's Django, whose start is slow: a gate asks it later.
    """
    with log.step("preflight") as step:
        facts = check(site, store_of(site).live(), scope)
        if facts.unknown:
            step.warns(facts.unknown)
    return facts


def check(site: Site, live: Release | None = None, scope: Scope | None = None) -> SiteFacts:
    """Run every check and return the facts for the steps. Raises PreflightError with all problems."""
    scope = scope or Scope()
    findings = Findings(site.findings)
    _check_pyproject(site, findings)
    lock = scope.lock or findings.attempt(_lock, site)
    findings.attempt(read_limits, site)
    uv = findings.attempt(_find_working_uv, site, live, scope.python, stays=scope.stays)
    chosen_group = command = None
    if site.pyproject.content:
        chosen_group = findings.attempt(conventions.choose_dependency_group, site.settings, site.pyproject)
        source = site.sources.get("test_groups", "test_groups")
        findings.extend(test_group_findings(site.settings, site.pyproject, live=chosen_group, source=source))
    if lock is not None or site.settings.test_command:
        locked = lock.names if lock is not None else frozenset[str]()
        command = findings.attempt(conventions.choose_test_command, site.settings, site.project.root, locked=locked)
    unix_group = findings.attempt(conventions.choose_unix_group, site.settings, site.project.checkout)
    ignorable = read_notes(site.state_dir).untracked
    checkout = scope.checkout or check_checkout(site, findings, files_due(site, live), ignorable, scope.state)
    findings.extend(ignored_findings(site, checkout))
    if live is not None and live.manifest.commit:
        message = f"{site.project.root} was under git when {live.id} was built, but no .git exists here or above now"
        advice = f"Restore .git. To continue without git, {how_to_set('git', 'false')}."
        findings.extend(filter(None, [site.report_lost_git(Finding("git-gone", message, advice))]))
    asks_others = scope.asks_others and site.supply.asks_others
    for find in (*gather("checks"), *(gather("checks_of_others") if asks_others else ())):
        findings.extend(find(site))
    findings.extend(disk.state_findings(site.project))
    findings.extend(disk.venv_findings(site.project.venv))
    asked = gather("checks_of_django") if "django" in scope.asks or findings else ()
    unknown = "; ".join(filter(None, [ask(site, findings) for ask in asked]))
    slow = gather("checks_of_programs") if "remote" in scope.asks or findings else ()
    for find in (*slow, *(gather("checks_of_live") if "site" in scope.asks else ())):
        findings.extend(find(site))
    if checkout is not None and ("remote" in scope.asks or findings):
        findings.extend(remote_findings(site, checkout.remote))
    if findings or lock is None or uv is None or checkout is None or command is None or unix_group is None:
        raise PreflightError(*findings)
    return SiteFacts(
        uv=uv[0],
        choice=uv[1],
        lock=lock,
        group=chosen_group,
        test_command=command,
        unix_group=unix_group,
        checkout=checkout,
        unknown=unknown,
    )


def check_unmoved(site: Site, scope: Scope, *, beside: Iterable[Finding] = ()) -> SiteFacts:
    """Run every check. Raises PreflightError with all problems, including `beside` and a moved symlink."""
    store = store_of(site)
    moved = find_moved_link(store)
    findings = (*site.findings, *([moved] if moved else []), *beside)
    return check(replace(site, findings=findings), store.live(), scope)


def ignored_findings(site: Site, checkout: Checkout | None) -> Iterator[Finding]:
    """Check that a repository above the project has its code: else the tests would run on the live files."""
    path = site.project.pyproject
    is_staged = site.project.staged_from is not None
    if checkout is None or is_staged or checkout.layout.top == site.project.root:
        return
    top, head = checkout.layout.top, checkout.state.head
    if site.git.ignores(path.name) and (head is None or site.git.data(head, os.path.relpath(path, top)) is None):
        message = f"the repository {top} ignores {site.project.root}, so no commit has its code"
        advice = f"Run `git init` there, or let {top} track it. To continue without git, {how_to_set('git', 'false')}."
        yield Finding("project-ignored", message, advice)


def _check_pyproject(site: Site, findings: Findings) -> None:
    pyproject = site.pyproject
    if not pyproject.content:  # missing, unreadable or invalid: a finding exists already
        if not site.mentions(str(pyproject.path)):
            findings.append(Finding("pyproject-empty", f"{pyproject.path} is empty", "Add a [project] table."))
        return
    project = pyproject.table("project")
    if not project:
        message = f"{pyproject.path} has no [project] table"
        findings.append(
            Finding("pyproject-no-project", message, "Add one, with `name`, `version` and `requires-python`.")
        )
    elif not isinstance(project.get("requires-python"), str):
        findings.append(
            Finding(
                "requires-python-missing",
                f"{pyproject.path}: [project] has no requires-python",
                'Add it, for example requires-python = ">=3.11", so that uv locks for the right Python versions.',
            )
        )
    else:
        text = project["requires-python"]
        if not is_range(text):
            message = f"{pyproject.path}: requires-python is {text!r}, which is not a range of versions"
            findings.append(
                Finding("requires-python-invalid", message, 'Correct it: requires-python = ">=3.11", for example.')
            )


def _lock(site: Site) -> LockFile:
    path = site.project.lock
    try:
        return LockFile.read(path)
    except FileNotFoundError:
        message = f"{path} does not exist"
        venv = os.path.relpath(site.project.venv, site.project.root)
        is_of_uv = any(declared_dependencies(site.pyproject.content))
        own = "Create it with `releaser init --from-pyproject`, or with `uv lock`, and commit it."
        advice = own if is_of_uv else first_lock(site.project.root, venv)
        refuse("lock-missing", message, advice)
    except PermissionError as error:
        refuse("lock-unreadable", *explain_unreadable(path, error))
    except (OSError, InvalidLockError) as error:
        message = f"{path} is not a valid lock: {error}"
        refuse("lock-unreadable", message, "Restore it with `git checkout uv.lock`, or make a new lock with `uv lock`.")


def _find_working_uv(site: Site, live: Release | None, python: str | None, *, stays: bool) -> tuple[Uv, Choice] | None:
    uv = site.uv
    try:
        version = version_of(site, uv)
    except ToolError as error:
        message = f"{uv.executable} does not work: {': '.join(filter(None, (error.message, error_line(error.output))))}"
        refuse("uv-broken", message, error.advice or f"Install uv again, or {how_to_set('uv', '/path/to/uv')}.")
    if is_older(version, OLDEST_UV):
        message = f"{uv.executable} is uv {version}, which is too old (releaser needs {OLDEST_UV} or newer)"
        refuse(
            "uv-too-old",
            message,
            f"Run `uv self update` or `pip install --upgrade uv`, or {how_to_set('uv', '/path/to/uv')}.",
        )
    if not site.pyproject.content:  # uv would only repeat that finding
        return None
    was = VenvFacts.of(live.manifest).interpreter if live is not None and live.manifest.origin != "adopted" else None
    if live is not None and was is not None and was.version == live.manifest.python and look_at(was.seen) == was.seen:
        uv.remember_version(Path(was.executable), was.version)
    return uv, choose(site, uv, wanted=python, stays=stays)
