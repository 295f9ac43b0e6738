"""`rollback`: flips to an existing release, earlier or later, without a build."""

from __future__ import annotations

import itertools
import logging
import re
from typing import TYPE_CHECKING

from releaser.capabilities import gather
from releaser.checkout.checks import lock_findings, repository_findings
from releaser.checkout.files import included_of
from releaser.checkout.pull import code_of_release, has_other_code
from releaser.checkout.staging import staging_tree
from releaser.core.adoption import adopter
from releaser.core.change import Deployment, do_ahead, find_problems
from releaser.core.target import Target
from releaser.errors import BuildError, Finding, NoSuchReleaseError, PreflightError, ToolError, refuse, refuse_any
from releaser.locks.changes import changes_between
from releaser.pipelines.deploy import deploy
from releaser.pipelines.recovery import undo_on_failure
from releaser.pipelines.session import PipelineResult, Request, run_session
from releaser.releases.integrity import (
    Damage,
    find_damage,
    find_interpreter_damage,
    find_rollback_damage,
    has_lost_python,
    without_python,
)
from releaser.releases.release import ADOPT, Release, find_moved_link, read_versions, refuse_moved
from releaser.releases.store import ReleaseStore, store_of
from releaser.report import Plan, RunLog, RunReport
from releaser.site import disk
from releaser.site.django_settings import StaticSettings
from releaser.site.supply import SupplyFacts
from releaser.system.expression import expression
from releaser.system.files import link_text
from releaser.system.reserve import free_bytes, make_room
from releaser.system.venv_environment import inside
from releaser.system.words import size
from releaser.tools.in_the_way import advise_in_the_way, describe_in_the_way

if TYPE_CHECKING:
    from collections.abc import Collection

    from releaser.core.run import Run
    from releaser.site.site import Site


logger = logging.getLogger(__name__)

# Bytes that journal, ledger, log, history and mail of a rollback take on a full disk.
_FOR_STATE = 256 * 1024
_KEEP_CODE = "to keep the code as it is, run `releaser rollback --keep-code`"
# Settings that say where releases lie, as findings name them.
_PLACES = expression(r"releaser[._](state_dir|venv)\b", re.IGNORECASE)


def rollback(
    request: Request, to: str | None = None, *, force: bool = False, keep_code: bool = False, leaves: str = ""
) -> RunReport:
    """Flip to release `to`, or to the previous good release, and to the commit that it was tested with.

    `keep_code` leaves the code as it is. `force` accepts other dependencies, and stays there whatever fails after the
    flip. With `leaves`, refuses if another release is live by then.
    """

    def pipeline(run: Run) -> PipelineResult:
        live = run.store.live_id() or "no release"
        if leaves and live != leaves:
            message = f"{live} is live now, not {leaves}, which was live when the rollback was requested"
            refuse("rollback-overtaken", message, f"Nothing was changed. To leave {live}, request a rollback again.")
        return roll_back(run, to=to, force=force, keep_code=keep_code)

    return run_session(request, pipeline, check=lambda site: choose(store_of(site), to))


def roll_back(
    run: Run, *, to: str | None, force: bool = False, keep_code: bool = False, holds_left: bool = True
) -> PipelineResult:
    """Roll back within a run. On a full disk, the reserved space is freed first.

    Without `holds_left`, updates may install the versions of the release that is left again.
    """
    is_full = make_room(run.site.state_dir)
    if to is None:
        refuse_moved(run.store)
    link = link_text(run.site.project.venv)
    live, moved = run.store.live(), find_moved_link(run.store)
    try:
        checked = {name for restore in gather("restorers") for name in restore(run.site, run.log, to)}
        target = choose(run.store, to, checked)
    except NoSuchReleaseError:
        _report_remedy(run.site, run.log, live)
        raise
    run.log.set_releases(target, live)
    run.log.note(*[] if to else describe_passed_over(run.store, target))
    if live is not None and target.id == live.id and moved is None:
        return PipelineResult(result="no-changes", headline=f"{target.id} is already live")
    run.log.note(*describe_other_python(target))
    with run.log.step("preflight"):
        refuse_any(*lock_findings(run.site))
        code = _code_of(run.site, run.log, target, keep_code=keep_code)
        if is_full and code.moves:
            _refuse_without_room(run.site, code)
        others = refuse_unwise(run.site, target, force=force or code.moves)
        run.log.note(*others)
    refuse_any(*find_problems(run.site, None if code.moves else target.venv, goes_back=True))
    run.log.learn(changes=changes_between(read_versions(live), read_versions(target)))
    if moved is not None and not run.site.project.venv.is_symlink():
        adopter().put_away(run.site, run.log)
        link = link_text(run.site.project.venv)
    with undo_on_failure(run.site, run.log):
        comes_with = (
            release for release in (target, live) if release is not None and included_of(release.directory).exists()
        )
        has_time = code.moves and not any(comes_with)
        done_ahead = _do_ahead(run.site, run.log, target, code) if has_time else ()
    deployment = Deployment(
        release=target, target=code, goes_back=True, holds_left=holds_left, stays=force, link=link, done=done_ahead
    )
    deploy(run.site, run.log, deployment)
    return PipelineResult(
        result="rolled-back" if holds_left else "updated", headline=_headline(run.site, target, live, code)
    )


def _code_of(site: Site, log: RunLog, target: Release, *, keep_code: bool) -> Target:
    """Return the commit to go back to with a release. If git does not work, only the packages go back."""
    try:
        head = site.git.head()
        code = Target(head=head, commit=head) if keep_code else code_of_release(site, target)
        if code.moves:
            _refuse_unwritable(site)
            _refuse_losses(site, code)
            site.git.keep(head)  # nothing that was committed is lost
        elif lost := _find_lost_code(site, target):
            log.note(lost)
        elif (keep_code or not head) and has_other_code(site, target):
            stays = f"stays at {head[:12]}" if head else "stays as it is"
            message = f"the code {stays}, and was never tested with the packages of {target.id}"
            log.note(
                Finding(
                    "code-stays",
                    message=message,
                    advice="Check the site. To test this combination, run `releaser update`.",
                )
            )
        return code
    except ToolError as error:
        log.note_failure(error)
        return Target(head="", commit="")


def _find_lost_code(site: Site, target: Release) -> Finding | None:
    if not target.manifest.commit:
        return None
    tested = f"commit {target.manifest.commit[:12]}, with which {target.id} was tested"
    message = f"the code stays as it is: without .git, releaser cannot restore {tested}"
    return site.require_git(Finding("code-lost", message, "Check the site. To roll back the code, do it yourself."))


def _refuse_without_room(site: Site, code: Target) -> None:
    """Refuse if the files of the earlier code do not fit on a full disk. Raises PreflightError and ToolError."""
    place = site.git.layout.top
    needed, free = site.git.bytes_to_write(code.head, code.commit), free_bytes(place)
    if needed + _FOR_STATE > free:
        message = f"the disk is full: the code of {code.commit[:12]} needs {size(needed)}, {place} has {size(free)}"
        refuse(
            "disk-full",
            message,
            "Nothing was changed. To roll back the packages only, run `releaser rollback --keep-code`. To free "
            "space, run"
            " `releaser prune`.",
        )


def _refuse_unwritable(site: Site) -> None:
    """Refuse if git cannot move the checkout back. Raises PreflightError."""
    for found in repository_findings(site.git.layout):
        refuse(
            found.code, found.message, f"{found.advice} To keep the code as it is, run `releaser rollback --keep-code`."
        )


def _refuse_losses(site: Site, code: Target) -> None:
    """Refuse if an uncommitted edit or an untracked file is in the way of the earlier code. Raises PreflightError."""
    own = site.own_files()
    edited = [path for path in site.git.edited(code.head, code.commit) if path not in own]
    if edited:
        message = f"{', '.join(edited)} in the checkout was edited, and differs in {code.commit[:12]}"
        refuse("checkout-edited", message, f"Commit or `git stash` the edits; or, {_KEEP_CODE}.")
    if paths := site.git.in_the_way(code.head, code.commit):
        advice = f"{advise_in_the_way(paths, site.git.layout.top)} Or, {_KEEP_CODE}."
        refuse("git-in-the-way", describe_in_the_way(paths, code.commit), advice)


def _do_ahead(site: Site, log: RunLog, target: Release, code: Target) -> tuple[str, ...]:
    """Collect the static files of the earlier code before the flip; return the actions that this finishes.

    Without a staging tree, for example on a full disk, they are collected after the flip. Raises PreflightError.
    """
    if not StaticSettings.of(site).asks(site.project.root):
        return ()
    try:
        with staging_tree(site, log, code.commit) as staged:
            done = do_ahead(staged, log, target)
    except (BuildError, PreflightError, ToolError, OSError, ValueError) as error:
        logger.warning("the static files are collected once %s is live: %s", target.id, error)
        return ()
    _refuse_losses(site, code)  # again, as collecting may have taken long
    return done


def _report_remedy(site: Site, log: RunLog, live: Release | None) -> None:
    """Report the command that helps if nothing can run on the live release, and no other can go live."""
    found = find_damage(live) if live is not None else None
    if found is None or not found.fatal:
        return
    advice = "Run `releaser update`: it rebuilds the release, tests it and makes it live."
    message = f"nothing can run on the live release: {found}"
    log.note(without_python(site, live) or Finding("live-cannot-run", message=message, advice=advice))


def choose(store: ReleaseStore, to: str | None, usable: Collection[str] = ()) -> Release:
    """Return the release to go to. Raises NoSuchReleaseError if there is none, or if it may not go live.

    Those that are `usable` are not compared with their seal: that was done just now, or they can be restored.
    """
    if to is None:
        order = store.snapshot().rollback_order()
        target = next((one for one in order if one.id in usable or find_rollback_damage(one) is None), None)
        if target is None:
            damaged = [
                (release, found)
                for release in store.snapshot().rollback_order()
                if (found := find_rollback_damage(release))
            ]
            words = [_describe_damage(one, found) for one, found in damaged]
            message = "; ".join(["no earlier good release exists to roll back to", *words])
            repair = next(filter(None, (_repair_advice(one, found) for one, found in damaged)), "")
            if not store.snapshot().releases:
                message = "the project has no release yet"
                raise NoSuchReleaseError(message, ADOPT)
            others = "Choose a release from `releaser list`, and run `releaser rollback RELEASE`."
            raise NoSuchReleaseError(message, f"{repair}{others}")
        return target
    target = store.find(to)
    never = {"failed": "failed its tests", "candidate": "has never been live"}.get(target.state)
    if target.manifest.origin == "override" and not target.live:
        never = f"was built to try {', '.join(SupplyFacts.of(target.manifest).overrides)}, and never goes live"
    if never is not None:
        message = f"{target.id} {never}"
        raise NoSuchReleaseError(message, "From `releaser list`, choose a release that was live.")
    found = find_rollback_damage(target) if not target.live and target.id not in usable else None
    if found is not None:
        other = store.snapshot().rollback_target()
        instead = f"To go to {other.id}, run `releaser rollback {other.id}`." if other else "See `releaser list`."
        raise NoSuchReleaseError(_describe_damage(target, found), _repair_advice(target, found) + instead)
    return target


def _repair_advice(release: Release, found: Damage) -> str:
    """Describe how to make a damaged release usable again; empty if that is impossible."""
    if not has_lost_python(release, found):
        return f"{found.remedy} ".lstrip()
    return f"To repair {release.id}, reinstall Python {release.manifest.python} at its former path. "


def describe_passed_over(store: ReleaseStore, target: Release) -> list[Finding]:
    """Return a finding for each damaged release that the rollback to `target` passes over."""
    problems = []
    for release in itertools.takewhile(lambda newer: newer.id != target.id, store.snapshot().rollback_order()):
        found = find_rollback_damage(release)
        if found is not None:
            advice = f"The rollback goes to {target.id} instead."
            problems.append(Finding("release-damaged", message=_describe_damage(release, found), advice=advice))
    return problems


def describe_other_python(target: Release) -> list[Finding]:
    """Return a finding if a release has another patch version or build of Python than when it was tested."""
    found = find_interpreter_damage(target)
    if found is None or found.fatal:
        return []
    message = f"{target.id} was tested with another Python: {found}"
    advice = "Check the site. The next `releaser update` rebuilds and tests the release, unless the same failed before."
    return [Finding("python-other", message, advice)]


def _describe_damage(release: Release, found: Damage) -> str:
    return f"release {release.id} is damaged: {found}"


def refuse_unwise(site: Site, target: Release, *, force: bool) -> list[Finding]:
    """Refuse a flip to `target` that is impossible or unwise; the checkout may be dirty. Raises PreflightError.

    Returns the findings about settings that can wait.
    """
    # Even in an emergency, the paths of releases must be right; all other settings can wait, and are reported.
    decisive = [finding for finding in site.findings if not site.pyproject.content or _PLACES.search(finding.message)]
    problems = [*decisive, *disk.state_findings(site.project), *disk.venv_findings(site.project.venv)]
    problems += lock_findings(site)
    try:
        env = inside(target.venv, site.runner.site_environ)
        python = target.venv / "bin" / "python"
        root = site.project.root
        site.runner.run([python, "-c", "pass"], cwd=root, env=env, timeout=60.0, merge=True, death_signal=None)
    except ToolError as error:
        problems.append(
            Finding("release-broken", f"{target.id} does not start: {error.message}", "Choose another release.")
        )
    if not force and target.manifest.dependencies_key != site.pyproject.dependencies_key():
        message = f"{target.id} was built for different dependencies than {site.pyproject.path} has now"
        problems.append(
            Finding(
                "dependencies-other",
                message,
                "Omit --keep-code, or restore the code of that release. To go there anyway, add --force.",
            )
        )
    refuse_any(*problems)
    return [finding for finding in site.findings if finding not in decisive]


def _headline(site: Site, target: Release, live: Release | None, code: Target) -> str:
    left = store_of(site).get(live.id) if live else None
    with_code = f" and to commit {code.commit[:12]}" if code.moves else ""
    if left is not None and left.state == "rolled-back":
        return f"rolled back from {left.id} to {target.id}{with_code}; updates now skip the versions of {left.id}"
    return f"switched to {target.id}{with_code}"


# The dry run


def plan_rollback(site: Site, to: str | None = None, *, force: bool = False, keep_code: bool = False) -> Plan:
    """Report where a rollback would go. Raises NoSuchReleaseError, PreflightError and ToolError."""
    store = store_of(site)
    if to is None:
        refuse_moved(store)
    restorable = {name: line for plan in gather("restorers") for name, line in plan(site, None, to).items()}
    live, target = store.live(), choose(store, to, restorable)
    if live is not None and live.id == target.id and find_moved_link(store) is None:
        return Plan(would=(f"{target.id} is already live",))
    code = None if keep_code else code_of_release(site, target)
    goes_back = code is not None and code.moves
    if code is not None and code.moves:
        _refuse_losses(site, code)
    refuse_unwise(site, target, force=force or goes_back)
    changes = changes_between(read_versions(live), read_versions(target))
    lines = [*restorable.values(), f"would go from {live.id if live else 'nothing'} to {target.id}"]
    if code is not None and goes_back:
        lines.append(f"the checkout would go from {code.head[:12]} to {code.commit[:12]}")
    if lost := _find_lost_code(site, target):
        lines.append(lost.message)
    lines += (finding.message for finding in describe_other_python(target))
    return Plan(would=tuple(lines), changes=changes)
