"""Everything that must be right before anything is changed; all problems are found in one go."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import Version

from releaser.errors import PreflightError, ToolError, Unfit, gist
from releaser.locking.dependencies import declared_already
from releaser.locking.lockfile import InvalidLockError, LockFile
from releaser.project import disk, group, live_site, room, serving
from releaser.project.checkout import Checkout, check_checkout, remote_findings
from releaser.project.findings import Findings
from releaser.project.project import first_lock
from releaser.project.pythons import Choice, choose
from releaser.project.static import check_static_files, without_django
from releaser.project.telling import admin_findings, sendmail_findings
from releaser.project.test_groups import test_group_findings
from releaser.tools.git import CheckoutState
from releaser.tools.git_layout import Layout
from releaser.tools.uv import Uv

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from releaser.project.room import Need
    from releaser.project.site import Site

OLDEST_UV = Version("0.10")  # the first that lists local packages alone (`uv export --only-emit-local`)


@dataclass(frozen=True, kw_only=True)
class Fitness:
    """What preflight found out about a project that is fit, for the steps to come.

    `python` is the interpreter to build with, `group` the dependency group, `unix_group` a group id, `remote` the git
    remote (None: neither pull nor push), `restart_file` is None when there is nothing to touch, `unknown` says why it
    is not known where static files go, empty when it is. `choice` tells why it is this interpreter.
    """

    uv: Uv
    python: Path
    choice: Choice
    lock: LockFile
    group: str | None
    test_command: tuple[str, ...]
    unix_group: int
    layout: Layout
    state: CheckoutState
    remote: str | None
    restart_file: Path | None
    unknown: str = ""

    @property
    def checkout(self) -> Checkout:
        """What is known of the checkout."""
        return Checkout(layout=self.layout, state=self.state, remote=self.remote)


def check(
    site: Site,
    *,
    lock: LockFile | None = None,
    needs: Sequence[Need] = (),
    pending: frozenset[str] = frozenset(),
    litter: frozenset[str] = frozenset(),
    beside: Iterable[Unfit] = (),
    ask_remote: bool = False,
    ask_django: bool = True,
    ask_site: bool = False,
    python: str | None = None,
    checkout: Checkout | None = None,
    own_commits: frozenset[str] = frozenset(),
) -> Fitness:
    """Run every check and return what the steps need; PreflightError with all the problems otherwise.

    `lock` is one that is not in the checkout yet. `needs` are what the run is expected to write, as far as that is
    known; `pending` are files whose commit is still due, so that they do not count as somebody's uncommitted work;
    `litter` are untracked files that earlier runs left; `beside` is what the caller has found.
    A run that goes on to fetch, and looks for programs before its
    flip, need not `ask_remote`, and one that asks later, if there is anything to do at all, need not `ask_django`; when
    it will not come to that, all is asked all the same, so that the report is whole. `checkout` is what is known of it
    already, where a staging tree of it is checked. With `ask_site`, the live site has to
    pass its health check. `own_commits` are those that give way to what the remote has.
    """
    findings = Findings((*site.findings, *beside))
    _check_pyproject(site, findings)
    lock = lock or findings.collect(_lock, site)
    uv = findings.collect(_working_uv, site, python)
    chosen_group = findings.collect(_group, site)
    findings.extend(_test_group_findings(site))
    command = findings.collect(_test_command, site, lock)
    unix_group = findings.collect(group.unix_group, site.settings, site.project.checkout)
    findings.extend(serving.findings(site))
    findings.extend(without_django(site))
    checkout = checkout or check_checkout(site, findings, pending, litter)
    findings.extend(disk.state_findings(site.project))
    findings.extend(disk.venv_findings(site.project.venv))
    findings.extend(room.findings(needs or (room.for_release(site.project.state_dir),)))
    findings.extend(admin_findings(site))
    findings.extend(sendmail_findings(site))
    unknown = check_static_files(site, findings) if ask_django or findings.problems else ""
    if site.project.venv.exists() and (ask_remote or findings.problems):  # a candidate may bring what is missing
        findings.extend(serving.program_findings(site, site.project.venv))
    if ask_site:
        findings.extend(live_site.live_findings(site))
    if checkout is not None and (ask_remote or findings.problems):
        findings.extend(remote_findings(site, checkout.remote, own_commits))
    if findings.problems or lock is None or uv is None or checkout is None or command is None or unix_group is None:
        raise PreflightError(tuple(findings.problems))
    return Fitness(
        uv=uv[0],
        python=uv[1].python,
        choice=uv[1],
        lock=lock,
        group=chosen_group,
        test_command=command,
        unix_group=unix_group,
        layout=checkout.layout,
        state=checkout.state,
        remote=checkout.remote,
        restart_file=serving.restart_file(site),
        unknown=unknown,
    )


def _check_pyproject(site: Site, findings: Findings) -> None:
    pyproject = site.pyproject
    if not pyproject.content:  # missing, unreadable or invalid, which is a finding already
        if not site.mentions(str(pyproject.path)):
            findings.problems.append(Unfit(f"{pyproject.path} is empty", advice="Write a [project] table."))
        return
    project = pyproject.table("project")
    if not project:
        findings.problems.append(Unfit(f"{pyproject.path} has no [project] table", advice="Add one: `uv init --bare`."))
    elif not isinstance(project.get("requires-python"), str):
        findings.problems.append(
            Unfit(
                f"{pyproject.path}: [project] has no requires-python",
                advice='Add it, such as requires-python = ">=3.11", so that locks are made for the right Pythons.',
            )
        )
    else:
        findings.collect(_check_specifier, pyproject.path, project["requires-python"])


def _check_specifier(path: Path, text: str) -> None:
    try:
        SpecifierSet(text)
    except InvalidSpecifier as error:
        message = f"{path}: requires-python is {text!r}, which is not a range of versions"
        raise Unfit(message, advice='Correct it: requires-python = ">=3.11", for example.') from error


def _lock(site: Site) -> LockFile:
    path = site.project.lock
    try:
        return LockFile.read(path)
    except FileNotFoundError as error:
        message = f"{path} does not exist"
        venv = os.path.relpath(site.project.venv, site.project.root)
        is_of_uv = any(declared_already(site.pyproject.content))
        advice = "Make one by `uv lock`, and commit it." if is_of_uv else first_lock(site.project.root, venv)
        raise Unfit(message, advice=advice) from error
    except (OSError, InvalidLockError) as error:
        message = f"{path} is not a lock that can be read: {error}"
        raise Unfit(message, advice="Restore it: `git checkout uv.lock`, or make a new one: `uv lock`.") from error


def _working_uv(site: Site, python: str | None) -> tuple[Uv, Choice] | None:
    uv = site.uv()
    try:
        version = uv.version()
    except ToolError as error:
        message = f"{uv.executable} does not work: {': '.join(filter(None, (error.message, gist(error.output))))}"
        raise Unfit(message, advice=error.advice or "Repair it, or set `uv` to a working uv.") from error
    if Version(version) < OLDEST_UV:
        message = f"{uv.executable} is uv {version}, which is too old (releaser needs {OLDEST_UV} or newer)"
        raise Unfit(message, advice="Upgrade it, or set `uv` to a newer one.")
    if not site.pyproject.content:  # uv could only repeat what is known
        return None
    return uv, choose(site, uv, wanted=python)


def _group(site: Site) -> str | None:
    return group.dependency_group(site.settings, site.pyproject) if site.pyproject.content else None


def _test_group_findings(site: Site) -> Iterable[Unfit]:
    source = site.sources.get("test_groups", "test_groups")
    return test_group_findings(site.settings, site.pyproject, source=source) if site.pyproject.content else ()


def _test_command(site: Site, lock: LockFile | None) -> tuple[str, ...] | None:
    if lock is None and not site.settings.test_command:
        return None
    return group.test_command(site.settings, site.project.root, locked=lock.names if lock else frozenset())
