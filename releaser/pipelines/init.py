"""Adopting a project, so that `.venv` becomes a symlink that can be flipped; and the first lock of one without any."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.utils import canonicalize_name

from releaser.candidate.build import build, seal
from releaser.candidate.migrations import look_at_migrations
from releaser.candidate.results import mark_good
from releaser.candidate.space import release_need
from releaser.candidate.testing import run_tests
from releaser.checkout.checks import take_snapshot
from releaser.checkout.pull import as_checked_out
from releaser.deployment.adopt import FirstLock, adopt, find_open_venv, find_unsynced, left_out, venv_kind
from releaser.deployment.change import Deployment
from releaser.errors import (
    BuildError,
    Finding,
    PreflightError,
    ResolutionError,
    ToolError,
    UsageError,
    error_line,
    refuse,
)
from releaser.gates import ask
from releaser.gates.base import Case, Refusal
from releaser.gates.live_health import judge_site
from releaser.locks.lock import LockFile
from releaser.locks.overrides import parse_overrides
from releaser.pipelines.deploy import deploy
from releaser.pipelines.preflight import Question, Scope, check, preflight, say_refusals
from releaser.pipelines.rebuild import build_from_checkout, open_workspace
from releaser.pipelines.repair import accept_link
from releaser.pipelines.session import PipelineResult, Request, run_session
from releaser.releases.contents import measure
from releaser.releases.journal import journal_of, make_entry
from releaser.releases.release import find_moved_link, flip
from releaser.releases.store import store_of
from releaser.report import Plan
from releaser.reporting.mail_setup import warnings
from releaser.resolution.exact_lock import (
    ANY_PYTHON,
    NARROWED,
    differences,
    lock_versions,
    refuse_other_files,
    refuse_other_versions,
    write_pyproject,
)
from releaser.resolution.requirements_file import exact_version
from releaser.resolution.resolve import Resolution
from releaser.resolution.unlocked import FirstLockRequest, installed_versions, read_environment
from releaser.serving.servers import unrestarted_warnings
from releaser.site.conventions import NO_GROUP, find_conventions, lacks_group
from releaser.site.project import Pyproject, read_pyproject
from releaser.site.pythons import Choice
from releaser.system.files import read_file
from releaser.system.words import plural, secrets_in_urls

if TYPE_CHECKING:
    from collections.abc import Sequence

    from releaser.candidate.build import Candidate
    from releaser.releases.release import Release
    from releaser.report import RunLog, RunReport
    from releaser.resolution.unlocked import UnlockedEnvironment
    from releaser.run import Run, Workspace
    from releaser.site.site import Site, SiteFacts


_NEVER = {"override": "was built for a trial", "built": "failed its tests", "adopted": "failed its tests"}
# Measured: a worker that a server from before forks while an update goes live imports from both releases.
_RESTART = "Restart the site once before the first update, so that each of its processes stays on one release."


def init(request: Request, *, force: bool = False) -> RunReport:
    """Adopt the project; without any venv, build one from the lock as it is. Doing it twice changes nothing.

    A venv that is not what the lock says is adopted by `force` alone.
    """
    return run_session(request, lambda run: _init(run, force=force))


def _init(run: Run, *, force: bool) -> PipelineResult:
    run.log.learn(chosen=find_conventions(run.site))
    facts = preflight(run.site, run.log)
    moved, what = find_moved_link(run.store), venv_kind(run.site)
    if moved is not None:  # in an emergency it need not be what the lock says
        kept = _adopt_moved(run.site, run.log, facts)
        run.log.about(kept, None)
        headline = f"{run.site.project.venv.name} stays where it leads, and {kept.id} counts as live from now on"
        advice = "Restart the site if that has not been done."
        return PipelineResult(result="activated", headline=headline, advice=advice)
    if what != "adopted":
        differences = () if force else find_unsynced(run.site)
        if findings := (*find_open_venv(run.site), *differences):
            raise PreflightError(*findings)
    run.log.note(*warnings(run.site), *unrestarted_warnings(run.site))
    release = adopt(run.site, run.log, facts)
    if release is not None:
        ask("resolved", Case(site=run.site, log=run.log), force=True)
    if what == "adopted" and release is not None:
        run.log.about(release, None)
        return PipelineResult(result="unchanged", headline=f"the project is already adopted; {release.id} is live")
    if release is None:
        deployment, snapshot = build_from_checkout(run.site, run.log, facts)
        release = deployment.release
        deploy(run.site, run.log, deployment, snapshot)
    run.log.about(release, None)
    headline = f"the project is adopted: {run.site.project.venv.name} leads to release {release.id}"
    return PipelineResult(result="activated", headline=headline, advice="" if what == "nothing" else _RESTART)


def _adopt_moved(site: Site, log: RunLog, facts: SiteFacts) -> Release:
    """Make what somebody has let the symlink lead to the live release, as somebody asks for that; nothing is moved.

    A release stays what it is; another venv becomes one. Raises PreflightError or BuildError.
    """
    link, store = site.project.venv, store_of(site)
    ours = Path(os.path.realpath(link)).parent
    if store.live_id() is None and store.get(ours.name) is not None and ours == store.directory.resolve() / ours.name:
        flip(link, store.path(ours.name) / "venv", staging=site.state_dir)  # the same, as we write it
    live = store.live()
    if live is not None and live.manifest.never_live:
        message = f"{link} leads to {live.id}, which {_NEVER[live.manifest.origin]}, so it cannot stay there"
        refuse(message, f"Go back: `releaser rollback {store.live_by_record()}`.")
    if live is None:
        live = adopt(site, log, facts)
        if live is None:
            raise PreflightError(find_moved_link(store) or Finding(f"{link} does not lead to a venv"))
        mark_good(site, live)
    accept_link(site)
    return live


def plan_init(site: Site, *, force: bool = False) -> Plan:
    """Say what adopting the project would do; `force` takes any venv. Raises PreflightError."""
    differences = tuple(find_unsynced(site))
    beside = (*find_open_venv(site), *(() if force else differences))
    check(replace(site, findings=(*site.findings, *beside)), store_of(site).live(), Scope(asks=("remote", "django")))
    told = (*differences, *left_out(site))
    return Plan(would=(*map(str, find_conventions(site)), *(one.message for one in told), _adoption(site)))


def _adoption(site: Site) -> str:
    link, live = site.project.venv, store_of(site).live()
    if find_moved_link(store_of(site)) is not None:
        return f"what {link.name} leads to now would become the live release"
    if live is not None:
        return f"the project is already adopted; {live.id} is live"
    if link.is_symlink() and (link / "pyvenv.cfg").is_file():
        return f"the venv that {link.name} leads to would become the first release"
    if link.is_dir():
        return f"{link.name} would become the first release, and a symlink to it"
    return "a first release would be built from uv.lock and tested"


# The first lock: what pip has installed, or what a requirements file asks for. All is made away from the checkout.
# pyproject.toml and uv.lock come into it after the flip, as the lock of an update does, and are taken back with it.


def create_first_lock(request: Request, wanted: FirstLockRequest) -> RunReport:
    """Give the project its first lock, with exactly the versions that it runs on, and adopt it with that."""
    return run_session(replace(request, creates_pyproject=True), lambda run: _create(run, wanted))


def read_request(
    venv: Path | None, requirements: Path | None, without: Sequence[str], given: Sequence[str]
) -> FirstLockRequest:
    """Read what the command line asks for; relative paths start at the current directory. Raises UsageError."""
    names = frozenset(canonicalize_name(name) for name in without)
    sources = parse_overrides(given, Path.cwd(), option="--with")
    for one in sources:
        if one.name in names:
            message = f"--with and --without both name {one.name}"
            raise UsageError(message, advice="Use only one of them.")
        if secrets_in_urls(one.url):
            message = f"--with {one.name} @ ... contains a password or a token, which git would keep"
            raise UsageError(
                message, advice="Let git ask for it, by a credential helper, or use ssh: git+ssh://git@..."
            )
        if not one.url and not re.fullmatch(r"===?[^*,]+", one.specifier):
            message = f"--with {one} does not say which version"
            raise UsageError(message, advice=f"Write '{one.name}==VERSION', '{one.name} @ URL' or '{one.name} @ PATH'.")
    try:
        places = [place and Path(os.path.abspath(place.expanduser())) for place in (venv, requirements)]
    except RuntimeError as error:
        message = f"a path of --from-venv or --from-requirements leads nowhere: {error}"
        raise UsageError(message, advice="Correct it.") from error
    return FirstLockRequest(venv=places[0], requirements=places[1], without=names, given=sources)


def _create(run: Run, wanted: FirstLockRequest) -> PipelineResult:
    log = run.log
    facts, found = _preflight(run.site, log, wanted)
    site = _site_to_be(run.site, found)
    before = venv_in_use(site, wanted, found)
    if before is not None:
        verdict = judge_site(site, log, venv=before)
        if isinstance(verdict, Refusal):
            raise verdict.error
    snapshot, target = take_snapshot(site), as_checked_out(facts)
    with open_workspace(site, log, facts, target) as work:
        lock = _lock(work, wanted, found)
        files = FirstLock(lock=lock.data, pyproject=read_file(work.site.project.pyproject))
        pyproject = read_pyproject(work.site.project.pyproject)
        work = replace(work, site=replace(work.site, pyproject=pyproject))
        site = replace(site, pyproject=replace(pyproject, path=site.project.pyproject))
        candidate = build(work, Resolution(lock=lock, diff=(), held_back=()))
        (candidate.directory / "pyproject.toml").write_bytes(files.pyproject)
        same = _compare(work, candidate, found)
        run_tests(work, candidate)
        candidate = look_at_migrations(work, candidate)
        ask("ready", Case(site=work.site, log=log, venv=candidate.venv), force=True)
        # Only now is anything done to the venv that the site runs on: it becomes the first release, to go back to.
        work = replace(work, live=adopt(site, log, facts, first_lock=files))
        journal_of(site).write(make_entry(log, "building", release=candidate.id))
        release = seal(work, replace(candidate, sequence=store_of(site).next_sequence()), tests="passed")
    deployment = Deployment(release=release, target=target, creates_pyproject=True)
    deploy(site, log, deployment, replace(snapshot, link=take_snapshot(site).link))
    link = site.project.venv
    return PipelineResult(
        result="activated",
        headline=f"the project is adopted: {link.name} leads to release {release.id}; {same}",
        advice=f"If the site still runs from {before}, point it to {link} now." if before not in (None, link) else "",
    )


def venv_in_use(site: Site, wanted: FirstLockRequest, found: UnlockedEnvironment) -> Path | None:
    """Return the venv, or the place of the Python, that the site runs on before it is adopted; None if nobody knows."""
    is_known = wanted.venv is not None or (site.project.venv / "pyvenv.cfg").is_file()
    return found.python.parent.parent if is_known else None


def _preflight(site: Site, log: RunLog, wanted: FirstLockRequest) -> tuple[SiteFacts, UnlockedEnvironment]:
    """Look at what is there and check everything, as if it were locked already. Raises PreflightError."""
    with log.step("survey") as step:
        found = read_environment(site, wanted)
        step.says(str(wanted))
    with log.step("preflight"):
        facts = check_environment(site, found)
        site = _site_to_be(site, found)
    log.learn(chosen=find_conventions(site, lock=facts.lock))
    log.note(*warnings(site), *unrestarted_warnings(site))
    return facts, found


def check_environment(site: Site, found: UnlockedEnvironment, asks: tuple[Question, ...] = ("django",)) -> SiteFacts:
    """Run every check on the project as it is to be. Raises PreflightError with all the problems.

    If an index that cannot be reached is the only one, it is a ResolutionError.
    """
    venv = found.python.parent.parent
    needed = measure(venv).size_bytes if (venv / "pyvenv.cfg").is_file() else 0
    lock = LockFile(data=b"", versions=found.versions)
    scope = Scope(asks=asks, lock=lock, needs=(release_need(site, size_bytes=needed),))
    try:
        facts = check(_site_to_be(site, found), None, scope)
    except PreflightError as error:
        beside = [found.unanswered.finding] if found.unanswered is not None else []
        raise PreflightError(*error.findings, *beside) from error
    if found.unanswered is not None:
        raise found.unanswered
    return replace(facts, choice=Choice(python=found.base, version=found.python_version))


def _site_to_be(site: Site, found: UnlockedEnvironment) -> Site:
    """Return the site as if it had its pyproject.toml, so that preflight tells of other things."""
    settings, missing = site.settings, f"{site.project.pyproject} does not exist"  # as the first lock creates it
    known = [one for one in site.findings if one.message != missing]
    if lacks_group(settings, site.pyproject):
        settings = replace(settings, group=NO_GROUP)
    project = {"requires-python": ANY_PYTHON, **site.pyproject.table("project")}
    pyproject = Pyproject(path=site.project.pyproject, content={**site.pyproject.content, "project": project})
    return replace(site, pyproject=pyproject, settings=settings, findings=(*known, *found.problems))


def _lock(work: Workspace, wanted: FirstLockRequest, found: UnlockedEnvironment) -> LockFile:
    """Lock exactly what was found, in a staging tree. Raises ResolutionError."""
    site, facts = work.site, work.facts
    with work.log.step("lock") as step:
        try:
            write_pyproject(site, facts, wanted, found)
            lock, narrowed = lock_versions(site, facts, found)
        except ValueError as error:
            message = f"{site.project.checkout / 'pyproject.toml'} cannot be added to: {error}"
            raise ResolutionError(message, advice="Correct it, then run it again.") from error
        except ToolError as error:
            message = f"no lock could be made with exactly these versions: {error.message}"
            advice = error.advice or "See uv's message; --with gives what no index has, and --without leaves it out."
            raise ResolutionError(message, advice=advice, output=error.output) from error
        refuse_other_versions(lock, facts, found)
        refuse_other_files(lock, found)
        step.says(f"{plural(len(found.versions), 'package')}{f', {NARROWED}' if narrowed else ''}")
    return lock


def _compare(work: Workspace, candidate: Candidate, found: UnlockedEnvironment) -> str:
    """See that the same is installed as before, name by name, by asking about the new venv; return it in words.

    Raises BuildError with all differences.
    """
    with work.log.step("compare") as step:
        try:
            after = installed_versions(work.facts.uv, candidate.venv / "bin" / "python")
        except ToolError as error:
            raise BuildError(error.message, advice="See what it says.", output=error_line(error.output)) from error
        own = {*found.own, canonicalize_name(str(work.site.pyproject.table("project").get("name", "")))}
        if others := differences(found, after, except_for=found.elsewhere | own):
            message = f"the new venv differs: {', '.join(others)}"
            raise BuildError(message, advice="Nothing is changed; see that the packages are those of this platform.")
        total = len(found.versions)
        same = f"{plural(total, 'package')}: the same {'name' if total == 1 else 'names'} and versions"
        pinned = {
            canonicalize_name(one.name) for line in found.lines if (one := line.requirement) and exact_version(one)
        }
        known = found.versions.keys() if found.is_installed else pinned
        if new := sorted(after.keys() - known - own):
            same += f"; besides, {', '.join(f'{name} {after[name]}' for name in new)}"
        step.says(same)
    return same


def plan_first_lock(site: Site, wanted: FirstLockRequest) -> Plan:
    """Say what would be locked; nothing is locked for it. Raises PreflightError."""
    found = read_environment(site, wanted)
    check_environment(site, found, ("remote", "django"))
    if wanted.requirements is not None:
        lines = [f"pyproject.toml would ask for what {wanted.requirements} asks for"]
    else:
        lines = [f"pyproject.toml would ask for {name}" for name in sorted(found.direct & found.versions.keys())]
    packages = [f"{name} {version}" for name, version in sorted(found.versions.items())]
    lines.append(f"{plural(len(found.versions), 'package')} would be locked as they are: {', '.join(packages)}")
    lines.append("a release would be built from that and tested, and go live if every version is the same")
    if venv := venv_in_use(site, wanted, found):
        lines += say_refusals(site, "init", venv=venv)
    if not site.project.venv.is_symlink() and site.project.venv.is_dir():
        lines.append(f"{site.project.venv.name} would become the first release, to go back to, and a symlink")
    return Plan(would=tuple(lines))
