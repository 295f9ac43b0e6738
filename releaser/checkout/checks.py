"""Checks of the checkout, before a run and again before a release goes live."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from releaser.checkout.publish import own_commits
from releaser.errors import Finding, ToolError, error_line, how_to_set, refuse_any
from releaser.site.project import local_sources
from releaser.site.site import Checkout
from releaser.site.staging_settings import StagingSettings
from releaser.site.state_dir import work_tree_dispute
from releaser.system.files import link_text, read_if_there
from releaser.system.frozen import Frozen, replace
from releaser.system.words import first_few, plural
from releaser.tools.code_files import CONFIGURES
from releaser.tools.git_reader import RENEW, asks_for_credentials
from releaser.tools.git_state import CheckoutState, Commit

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from releaser.errors import Findings
    from releaser.site.site import Site
    from releaser.tools.git_state import Layout, Listing


def check_checkout(
    site: Site,
    findings: Findings,
    pending: frozenset[str],
    ignorable: frozenset[str],
    state: CheckoutState | None = None,
) -> Checkout | None:
    """Check the checkout as `git status` shows it now, or in `state`; None if git does not work."""
    if not site.project.has_git:
        from releaser.site.shadow import missing_git

        findings.extend(filter(None, (*lock_findings(site), missing_git(site))))
        return Checkout(layout=site.git.layout, state=site.git.state(), remote=None)
    try:
        layout = site.git.layout
        state = state or site.git.state()
        remote = site.git.remote(site.branch) if (needs_remote := site.pulls or site.pushes) else None
    except ToolError as error:
        findings.append(_not_a_repository(site, error))
        return None
    findings.extend(_branch_findings(site, state, layout))
    findings.extend(repository_findings(layout))
    ours = own_paths(site, layout.top)
    filters = [*filter_findings(site, state.head)] if state.head else []
    # Without its filter, git takes a file for edited.
    dirty = [path for path in state.dirty if path not in pending and not filters]
    untracked = [path for path in state.untracked if path not in pending | ignorable and not is_below(path, ours)]
    # git takes a file that it cannot read for edited: another finding says what to do about it.
    dirty = [path for path in dirty if not (place := layout.top / path).is_file() or os.access(place, os.R_OK)]
    if found := dirty + untracked:
        message = f"{site.project.root}: the working tree is not clean: {first_few(found)}"
        advice = "Commit, ignore or remove these files: releaser runs committed code only. `git status` lists them."
        findings.append(Finding("git-dirty", message, advice))
    findings.extend(lock_findings(site))
    findings.extend(filters)
    above = layout.top.parent  # the directory of the staging tree
    if above != site.project.outer and not os.access(above, os.W_OK | os.X_OK):
        message = f"this user cannot write to {above}, so releaser cannot make the staging tree there"
        findings.append(Finding("staging-unwritable", message, f"Give this user write access to {above}."))
    findings.extend(filter(None, [work_tree_dispute(site.project, layout)]))
    findings.extend(_hidden_findings(site, state.listing))
    if remote is None and needs_remote:
        findings.append(
            Finding(
                "git-no-remote",
                f"{site.project.root}: git has no remote to pull from and push to",
                "Add a remote: `git remote add origin URL`. Without one, set `RELEASER_GIT_PULL=false` and"
                " `RELEASER_GIT_PUSH=false` in `../.env`.",
            )
        )
    return Checkout(layout=layout, state=state, remote=remote)


def repository_findings(layout: Layout) -> Iterator[Finding]:
    """Check that this user can write git's index, objects and references, as a move of the checkout does."""
    common = layout.common_directory
    for place in dict.fromkeys((layout.git_directory, common, common / "objects", common / "refs")):
        if os.access(place, os.W_OK | os.X_OK) or not place.exists():  # git itself reports missing directories
            continue
        try:
            is_mounted_so = bool(os.statvfs(place).f_flag & os.ST_RDONLY)
        except OSError:
            is_mounted_so = False
        advice = (
            f"The file system is mounted read-only. Run `mount -o remount,rw $(findmnt -no TARGET -T {place})`."
            if is_mounted_so
            else f"Run releaser as the owner of that directory, or give it to this user: `chown -R $(id -un) {common}`."
        )
        yield Finding("git-unwritable", f"this user cannot write to {place}, so git cannot work there", advice)
        return


def _hidden_findings(site: Site, listing: Listing | None) -> Iterator[Finding]:
    """Check that git hides no edits: visitors would get them, and the tests would run without them."""
    try:
        hidden = site.git.hidden_edits(listing)
    except ToolError as error:
        yield _not_a_repository(site, error)
        return
    if hidden:
        message = f"--skip-worktree or --assume-unchanged hides edits from `git status`: {first_few(hidden)}"
        yield Finding(
            "git-hidden-files",
            f"{site.project.root}: {message}",
            "Commit the edits, or move them to a file that git does not track. Then run"
            f" `git update-index --no-skip-worktree --no-assume-unchanged {hidden[0]}`.",
        )


def filter_findings(site: Site, commit: str) -> Iterator[Finding]:
    """Check that no file of a commit needs a filter that git may not start: the file would go live unfiltered."""
    if names := site.git.filters_of(commit):
        message = f"commit {commit[:12]} has files for git's filter {' and '.join(names)}"
        advice = (
            "`git config --get-regexp '^filter'` shows the program. To let git start it, add RELEASER_GIT_HOOKS=true"
        )
        env = site.project.outer / ".env"
        yield Finding("git-filter", f"{message}, but releaser does not let git start filters", f"{advice} to {env}.")


def lock_findings(site: Site) -> Iterator[Finding]:
    """Check that a uv.lock that is a symlink leads to a file in the repository, so that git can commit it."""
    link, lock = site.project.root / "uv.lock", site.project.lock
    with contextlib.suppress(ToolError):
        if link.is_symlink() and not lock.is_relative_to(site.git.layout.top):
            message = f"{link} is a symlink to {lock}, which is outside the repository"
            yield Finding(
                "lock-outside",
                message,
                "Replace it with a file, or with a symlink to a file in the repository or project.",
            )


def _not_a_repository(site: Site, error: ToolError) -> Finding:
    return Finding(
        "git-unusable",
        f"{site.project.root}: {': '.join(filter(None, (error.message, error_line(error.output))))}",
        "Run `git status` here, and correct the error that git reports; or run releaser as another user.",
    )


def _branch_findings(site: Site, state: CheckoutState, layout: Layout) -> Iterator[Finding]:
    wanted = site.branch
    waiting = layout.in_progress()
    if waiting is not None:
        message = f"{site.project.root}: {waiting} is in progress"
        yield Finding("git-in-progress", message, "Finish or abort it; `git status` shows how.")
    elif state.branch is None:
        yield Finding(
            "git-detached",
            f"{site.project.root}: HEAD is detached",
            f"Run `git switch {wanted}`.",
        )
    elif state.branch != wanted:
        message = f"{site.project.root}: the checkout is on {state.branch}, not {wanted}"
        yield Finding("git-other-branch", message, f"Run `git switch {wanted}`, or {how_to_set('branch', 'NAME')}.")
    if state.head is None:
        yield Finding(
            "git-no-commit",
            f"{site.project.root}: the repository has no commit yet",
            "Run `git add --all && git commit` first.",
        )


def own_paths(site: Site, top: Path) -> tuple[str, ...]:
    """List the paths that may be untracked in the work tree: releaser's own, and sources of local packages."""
    project = site.project
    sources = [project.root / source for source in local_sources(site.pyproject)]
    places = [project.venv, project.state_dir, *sources]
    return tuple(str(place.relative_to(top)) for place in places if place.is_relative_to(top) and place != top)


def is_below(path: str, places: tuple[str, ...]) -> bool:
    """True if a path is one of these places, or lies in one."""
    name = path.rstrip("/")
    return any(name == place or name.startswith(place + "/") for place in places)


def remote_findings(site: Site, remote: str | None) -> Iterator[Finding]:
    """Check without fetching that a pull would work; releaser's own unpushed commits do not count as a divergence."""
    if remote is None or not site.pulls:
        return
    branch = site.branch
    try:
        remote_head = site.git.remote_commit(remote, branch)
    except ToolError as error:
        yield unreachable(remote, error)
        return
    if remote_head is None:
        yield no_such_branch(remote, branch)
        return
    with contextlib.suppress(ToolError):  # a new commit can only be compared after a fetch
        ahead, behind = site.git.list_diverged(f"refs/heads/{branch}", remote_head)
        if ahead and behind and not {commit.id for commit in ahead} <= own_commits(site, ahead):
            yield describe_divergence(remote, branch)


def unreachable(remote: str, error: ToolError) -> Finding:
    """Explain why a remote does not answer: it asks for credentials, or cannot be reached."""
    if asked := asks_for_credentials(error):
        return Finding(
            "git-remote-asks",
            f"git remote {remote} asks for a password, a key or a trusted host key: {asked}",
            f"{RENEW}, or {how_to_set('git_pull', 'false')}.",
            output=error.output,
        )
    from releaser.tools.certificates import certificate_advice

    return Finding(
        "git-remote-unreachable",
        f"git remote {remote} cannot be read: {error_line(error.output) or error.message}",
        certificate_advice(error.output) or "Check the URL and the network. The next run tries again.",
        output=error.output,
    )


def no_such_branch(remote: str, branch: str) -> Finding:
    """Report that the remote lacks the branch."""
    message = f"git remote {remote} has no branch {branch}"
    advice = (  # a push first would bring back the earlier name, whose branch gets no commits
        f"If it was renamed there, run `git branch --move {branch} NAME`, and {how_to_set('branch', 'NAME')}."
        f" If it was never pushed, run `git push {remote} {branch}`."
    )
    return Finding("git-no-branch", message, advice)


def describe_rewrite(
    remote: str, branch: str, remote_head: str, lost: Sequence[Commit], *, moved_back: bool
) -> Finding:
    """Report that the remote branch lacks commits that it had before."""
    event = "was moved back" if moved_back else "was rewritten"
    count, is_are = plural(len(lost), "commit"), "is" if len(lost) == 1 else "are"
    newest = f"{lost[0].id[:12]} ({lost[0].subject})"
    return Finding(
        "git-rewritten",
        f"{branch} on {remote} {event} to {remote_head[:12]}: it lacks {count} that {is_are} live here, up to {newest}",
        (
            f"To test the remote head and make it live, run `releaser update --follow-remote`."
            f" To put the commits back, run `git push {remote} {branch}`."
        ),
    )


def describe_divergence(remote: str, branch: str) -> Finding:
    """Report that a pull would need a merge."""
    return Finding(
        "git-diverged",
        f"{branch} here and on {remote} have diverged, so releaser cannot fast-forward the checkout",
        f"Run `git pull --rebase {remote} {branch}`, then `git push {remote} {branch}`.",
    )


_NEXT = "Nothing went live. The next run tests the checkout as it is now."


class CheckoutSnapshot(Frozen):
    """The state of the checkout before a fetch or build; the content of a missing file is None."""

    #: The output of `git status`; None if git does not work.
    state: CheckoutState | None
    #: The lock, pyproject.toml, and the files of settings and variables, by their names in messages.
    files: Mapping[str, bytes | None]
    #: Configuration files of the checkout that git does not track, by name, relative to the top.
    untracked: Mapping[str, bytes | None]
    #: The text of the symlink `.venv`.
    link: str | None

    @property
    def head(self) -> str | None:
        """The commit that is checked out."""
        return self.state.head if self.state is not None else None

    @property
    def branch(self) -> str | None:
        """The branch that is checked out."""
        return self.state.branch if self.state is not None else None

    @property
    def configuration(self) -> Mapping[str, bytes | None]:
        """The untracked configuration files with which a release is tested, by name."""
        tracked = ("uv.lock", "pyproject.toml")
        own = {name: data for name, data in self.files.items() if os.path.basename(name) not in tracked}
        return {**own, **self.untracked}

    @property
    def dirty(self) -> frozenset[str]:
        """The tracked files with uncommitted changes, relative to the top of the work tree."""
        return frozenset(self.state.dirty if self.state is not None else ())


def take_snapshot(site: Site, *, records: bool = True) -> CheckoutSnapshot:
    """Return the present state of the checkout.

    For a project without git, commits the code to the shadow repository first if `records`; raises PreflightError if
    that fails. An error in the project's own repository is left to preflight.
    """
    if records:
        site.git.record_code()
    project, environment = site.project, site.settings.environment_file
    files = {str(path): path for path in (project.lock, project.pyproject, project.outer / ".env")}
    if environment:
        files[f"environment_file {environment}"] = project.root / Path(environment).expanduser()
    state, listing = site.git.find_state(), None
    with contextlib.suppress(ToolError):
        listing = site.git.listing()
    return CheckoutSnapshot(
        state=state and replace(state, listing=listing),
        files={name: read_if_there(path) for name, path in files.items()},
        untracked=_read_untracked(site, listing),
        link=link_text(project.venv),
    )


def with_own_changes(
    site: Site, snapshot: CheckoutSnapshot, *, adopted: bool, committed: str | None
) -> CheckoutSnapshot:
    """Return the snapshot with releaser's own changes: an adopted venv, or a commit that was due. Raises ToolError."""
    if adopted:
        snapshot = replace(snapshot, link=link_text(site.project.venv))
    if committed and snapshot.state is not None and site.git.commit(f"{committed}^") == snapshot.head:
        snapshot = replace(snapshot, state=replace(snapshot.state, head=committed))
    return snapshot


def refuse_changes(site: Site, before: CheckoutSnapshot) -> None:
    """Raise PreflightError with the changes, if a person changed the checkout since a snapshot."""
    refuse_any(*find_changes(site, before))


def find_changes(site: Site, before: CheckoutSnapshot) -> tuple[Finding, ...]:
    """Return the changes by a person to the checkout since a snapshot."""
    try:
        return tuple(_changes(site, before, take_snapshot(site, records=False)))
    except ToolError as error:
        return (error.finding,)


def _changes(site: Site, before: CheckoutSnapshot, now: CheckoutSnapshot) -> Iterator[Finding]:
    if now.branch != before.branch:
        yield Finding(
            "checkout-moved",
            f"the checkout is on {now.branch or 'no branch'}, and was on {before.branch} when this run began",
            f"Nothing went live. Run `git switch {before.branch}`, then start the run again.",
        )
    elif now.head != before.head and now.head is not None:
        yield Finding(
            "checkout-commit",
            f"commit {now.head[:12]} ({site.git.subject(now.head)}) was checked out during this run, and was "
            f"not tested",
            _NEXT,
        )
    for name, data in now.files.items():
        if data != before.files.get(name):
            yield Finding(
                "checkout-changed",
                f"{name} was changed during this run, and the change is not tested",
                _NEXT,
            )
    project, top = site.project, site.git.layout.top
    reported = {os.path.relpath(path, top) for path in (project.lock, project.pyproject, project.outer / ".env")}
    if edited := sorted(now.dirty - before.dirty - reported):
        yield Finding("checkout-edited", f"edited during this run, and not tested: {first_few(edited)}", _NEXT)
    names = sorted({*now.untracked, *before.untracked})
    if changed := [name for name in names if now.untracked.get(name) != before.untracked.get(name)]:
        message = f"{changed[0]}, which git does not track, was changed during this run, and the change is not tested"
        yield Finding(
            "untracked-changed", message, f"{_NEXT} If the site itself writes this file, add it to `staging_omit`."
        )
    if now.link != before.link:
        where = f"leads to {now.link}" if now.link else "is not a symlink"
        yield Finding("venv-changed", f"{site.project.venv} was changed during this run: it {where} now", _NEXT)


def _read_untracked(site: Site, listing: Listing | None) -> dict[str, bytes | None]:
    """Read the untracked files that may configure the site; others, such as a database, the site itself may write.

    Files that `staging_omit` excludes, directly or by a directory above, are not tested, so they are ignored.
    """
    settings = StagingSettings.of(site)
    names = [name for name in listing.unknown if name.endswith(CONFIGURES)] if listing is not None else []
    places = {name: (name, *map(str, PurePosixPath(name).parents[:-1])) for name in names}
    counting = [name for name in names if not settings.omits_by_name(*places[name])]
    return {name: read_if_there(site.git.layout.top / name) for name in counting}
