"""Everything that must be right before anything is changed; all problems are found in one go."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import Version

from releaser.errors import PreflightError, ToolError, Unfit, gist
from releaser.locking.lockfile import InvalidLockError, LockFile
from releaser.project import disk, group
from releaser.project.project import local_sources
from releaser.tools.git import CheckoutState, Layout, asks_for_credentials
from releaser.tools.uv import Uv
from releaser.tools.webserver import restart_file_in

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from releaser.project.site import Site

OLDEST_UV = Version("0.10")  # the first that lists local packages alone (`uv export --only-emit-local`)

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Fitness:
    """What preflight found out about a project that is fit, for the steps to come.

    `python` is the interpreter to build with, `group` the dependency group, `unix_group` a group id, `remote` the git
    remote (None: neither pull nor push), `restart_file` is None when there is nothing to touch.
    """

    uv: Uv
    python: Path
    lock: LockFile
    group: str | None
    test_command: tuple[str, ...]
    unix_group: int
    layout: Layout
    state: CheckoutState
    remote: str | None
    restart_file: Path | None


def check(
    site: Site,
    *,
    needed_bytes: int = 0,
    pending: frozenset[str] = frozenset(),
    litter: frozenset[str] = frozenset(),
    ask_remote: bool = False,
) -> Fitness:
    """Run every check and return what the steps need; PreflightError with all the problems otherwise.

    `needed_bytes` is the room that a release is expected to take; `pending` are files whose commit is still due, so
    that they do not count as somebody's uncommitted work; `litter` are untracked files that earlier runs left. A run
    that goes on to fetch need not `ask_remote`; when it will not come to that, the remote is asked all the same, so
    that the report is whole.
    """
    findings = Findings(site.findings)
    _check_pyproject(site, findings)
    lock = findings.collect(_lock, site)
    uv = findings.collect(_working_uv, site)
    chosen_group = findings.collect(_group, site)
    command = findings.collect(_test_command, site, lock)
    unix_group = findings.collect(group.unix_group, site.settings, site.project.root)
    restart_file = findings.collect(_restart_file, site)
    checkout = _check_checkout(site, findings, pending, litter)
    findings.extend(disk.state_findings(site.project))
    findings.extend(disk.venv_findings(site.project.venv))
    findings.extend(disk.room_findings(site.project, needed_bytes=needed_bytes))
    findings.extend(_admin_findings(site))
    if checkout is not None and (ask_remote or findings.problems):
        findings.extend(_remote_findings(site, checkout.remote))
    if findings.problems or lock is None or uv is None or checkout is None or command is None or unix_group is None:
        raise PreflightError(tuple(findings.problems))
    return Fitness(
        uv=uv[0],
        python=uv[1],
        lock=lock,
        group=chosen_group,
        test_command=command,
        unix_group=unix_group,
        layout=checkout.layout,
        state=checkout.state,
        remote=checkout.remote,
        restart_file=restart_file,
    )


class Findings:
    """Collects what is wrong, so that everything can be said at once."""

    def __init__(self, problems: Iterable[Unfit] = ()) -> None:
        self.problems = list(problems)

    def extend(self, problems: Iterable[Unfit]) -> None:
        """Note more problems."""
        self.problems.extend(problems)

    def collect(self, find: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
        """Return what `find` finds; what it raises as Unfit, or as the failure of a program, becomes a problem."""
        try:
            return find(*args, **kwargs)
        except Unfit as problem:
            self.problems.append(problem)
        except ToolError as error:
            message = ": ".join(filter(None, (error.message, gist(error.output))))
            self.problems.append(Unfit(message, advice=error.advice, output=error.output))
        return None


def _check_pyproject(site: Site, findings: Findings) -> None:
    pyproject = site.pyproject
    if not pyproject.content:  # missing, unreadable or invalid, which is a finding already
        if not _mentioned(site, str(pyproject.path)):
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


def _mentioned(site: Site, *words: str) -> bool:
    """Tell whether what is wrong with the files and settings is about one of these already."""
    return any(word in finding.message for finding in site.findings for word in words)


def _lock(site: Site) -> LockFile:
    path = site.project.lock
    try:
        return LockFile.read(path)
    except FileNotFoundError as error:
        message = f"{path} does not exist"
        raise Unfit(message, advice="Make and commit one: `uv lock`.") from error
    except (OSError, InvalidLockError) as error:
        message = f"{path} is not a lock that can be read: {error}"
        raise Unfit(message, advice="Restore it: `git checkout uv.lock`, or make a new one: `uv lock`.") from error


def _working_uv(site: Site) -> tuple[Uv, Path] | None:
    uv = site.uv()
    try:
        version = uv.version()
    except ToolError as error:
        message = f"{uv.executable} does not work: {': '.join(filter(None, (error.message, gist(error.output))))}"
        raise Unfit(message, advice=error.advice or "Mend it, or set `uv` to a working uv.") from error
    if Version(version) < OLDEST_UV:
        message = f"{uv.executable} is uv {version}, which is too old (releaser needs {OLDEST_UV} or newer)"
        raise Unfit(message, advice="Upgrade it, or set `uv` to a newer one.")
    if not site.pyproject.content:  # uv could only repeat what is known
        return None
    try:
        return uv, uv.find_python(site.project.root, site.project.venv, request=site.settings.python)
    except ToolError as error:
        message = f"uv finds no Python for this project: {gist(error.output) or error.message}"
        advice = error.advice or "Install one that requires-python admits, or set `python`."
        raise Unfit(message, advice=advice) from error


def _group(site: Site) -> str | None:
    return group.dependency_group(site.settings, site.pyproject) if site.pyproject.content else None


def _test_command(site: Site, lock: LockFile | None) -> tuple[str, ...] | None:
    if lock is None and not site.settings.test_command:
        return None
    return group.test_command(site.settings, site.project.root, locked=lock.names if lock else frozenset())


def _restart_file(site: Site) -> Path | None:
    """Find what to touch for `restart = "auto"`; None when there is nothing, or another way to restart is set."""
    first = site.settings.restart[0]
    if first == "passenger" and shutil.which("passenger-config", path=site.runner.environ.get("PATH")) is None:
        message = "restart is `passenger`, but passenger-config is not on PATH"
        raise Unfit(message, advice="Install it, or set `restart` to auto, to a command or to none.")
    if first != "auto":
        return None
    if site.settings.restart_file is None:
        return restart_file_in(site.project.root)
    path = site.project.root / site.settings.restart_file
    if not path.parent.is_dir():
        message = f"restart_file {path}: there is no directory {path.parent}"
        raise Unfit(message, advice="Make the directory, or correct `restart_file`.")
    return path


def _admin_findings(site: Site) -> Iterator[Unfit]:
    if site.settings.admins or group.environment(site.settings) == "local":
        return
    env_file = site.project.outer / ".env"
    keys = ("ADMINS_JSON", "RELEASER_ADMINS", "tool.releaser.admins")
    if not _mentioned(site, *keys, f"{env_file} cannot", f"{env_file}, line"):
        yield Unfit(
            f"nobody is set to be told about this project ({env_file}: ADMINS_JSON)",
            advice="""Set it, such as ADMINS_JSON='[["Ada", "ada@example.org"]]'.""",
        )


@dataclass(frozen=True, kw_only=True)
class _Checkout:
    layout: Layout
    state: CheckoutState
    remote: str | None


def _check_checkout(
    site: Site, findings: Findings, pending: frozenset[str], litter: frozenset[str]
) -> _Checkout | None:
    try:
        layout = site.git.layout
        state = site.git.state()
        remote = site.git.remote(site.settings.branch) if site.settings.git_pull or site.settings.git_push else None
    except ToolError as error:
        findings.problems.append(_not_a_repository(site, error))
        return None
    findings.extend(_branch_findings(site, state, layout))
    findings.extend(_dirt_findings(site, state, layout, pending, litter))
    if remote is None and (site.settings.git_pull or site.settings.git_push):
        findings.problems.append(
            Unfit(
                f"{site.project.root}: git has no remote to pull from and push to",
                advice="Add one (`git remote add origin URL`), or set git_pull and git_push to false.",
            )
        )
    return _Checkout(layout=layout, state=state, remote=remote)


def _not_a_repository(site: Site, error: ToolError) -> Unfit:
    return Unfit(
        f"{site.project.root}: {': '.join(filter(None, (error.message, gist(error.output))))}",
        advice="releaser needs a checkout in which git works, as this user.",
    )


def _branch_findings(site: Site, state: CheckoutState, layout: Layout) -> Iterator[Unfit]:
    wanted = site.settings.branch
    waiting = layout.in_progress()
    if waiting is not None:
        yield Unfit(
            f"{site.project.root}: {waiting} is in progress",
            advice="Finish or abort it; `git status` tells how.",
        )
    elif state.branch is None:
        yield Unfit(f"{site.project.root}: HEAD is detached", advice=f"Check out the branch: `git switch {wanted}`.")
    elif state.branch != wanted:
        yield Unfit(
            f"{site.project.root}: branch {state.branch} is checked out, not {wanted}",
            advice=f"`git switch {wanted}`, or set `branch`.",
        )
    if state.head is None:
        yield Unfit(f"{site.project.root}: there is no commit yet", advice="Commit the project first.")


def _dirt_findings(
    site: Site, state: CheckoutState, layout: Layout, pending: frozenset[str], litter: frozenset[str]
) -> Iterator[Unfit]:
    ours = own_paths(site, layout.top)
    dirty = [path for path in state.dirty if path not in pending]
    untracked = [path for path in state.untracked if path not in pending | litter and not is_below(path, ours)]
    found = dirty + untracked
    if found:
        shown = ", ".join(found[:5]) + (f" and {len(found) - 5} more" if len(found) > 5 else "")
        yield Unfit(
            f"{site.project.root}: the working tree is not clean: {shown}",
            advice="Commit, ignore or remove these; releaser runs only what is committed.",
        )


def own_paths(site: Site, top: Path) -> tuple[str, ...]:
    """List what may lie untracked in the work tree: releaser's own things, and where uv takes local packages from."""
    project = site.project
    sources = [project.root / source for source in local_sources(site.pyproject)]
    places = [project.venv, project.state_dir, project.scratch, *sources]
    return tuple(str(place.relative_to(top)) for place in places if place.is_relative_to(top) and place != top)


def is_below(path: str, places: tuple[str, ...]) -> bool:
    """Tell whether a path is one of these places, or lies in one."""
    name = path.rstrip("/")
    return any(name == place or name.startswith(place + "/") for place in places)


def _remote_findings(site: Site, remote: str | None) -> Iterator[Unfit]:
    """Ask the remote whether it can be pulled from, without fetching anything."""
    if remote is None or not site.settings.git_pull:
        return
    branch = site.settings.branch
    try:
        theirs = site.git.remote_commit(remote, branch)
    except ToolError as error:
        yield unreachable(remote, error)
        return
    if theirs is None:
        yield no_such_branch(remote, branch)
        return
    with contextlib.suppress(ToolError):  # a commit that is not here yet can only be judged once it is fetched
        if min(site.git.apart(f"refs/heads/{branch}", theirs)) > 0:
            yield diverged(remote, branch)


def unreachable(remote: str, error: ToolError) -> Unfit:
    """Say why a remote does not answer: it wants credentials, or it is not there."""
    if asked := asks_for_credentials(error):
        return Unfit(
            f"git remote {remote} asks for a password, a key or a trusted host key: {asked}",
            advice="Give this user a key or a credential helper that works without a person, or set git_pull to false.",
            output=error.output,
        )
    return Unfit(
        f"git remote {remote} cannot be read: {gist(error.output) or error.message}",
        advice="Check the URL and the network; releaser tries again at the next run.",
        output=error.output,
    )


def no_such_branch(remote: str, branch: str) -> Unfit:
    """Say that the remote lacks the branch."""
    return Unfit(
        f"git remote {remote} has no branch {branch}",
        advice=f"`git push {remote} {branch}`, or set `branch`.",
    )


def diverged(remote: str, branch: str) -> Unfit:
    """Say that a pull would need a merge."""
    return Unfit(
        f"{branch} here and on {remote} have diverged, so a pull would not be a fast-forward",
        advice=f"Bring them together by hand, such as by `git pull --rebase {remote} {branch}`, then `git push`.",
    )
