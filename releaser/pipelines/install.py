"""The command `bundle install`: a release that another host has made is tested and goes live here, without a network.

The rest of its way is that of an update: tests, gates, the change of what is live, and the way back.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from releaser.bundles.bundle import CODE, LOCK, MAKE_FULL, REQUIREMENTS, Bundle, Manifest, name_platform
from releaser.bundles.host import (
    find_changed,
    find_kept,
    find_misfit,
    is_kept,
    keep_files,
    list_wheels,
    name_minor,
    name_package,
    read_record,
)
from releaser.candidate.build import BundleInstaller
from releaser.candidate.identity import make_key
from releaser.candidate.shadow import make_shadow
from releaser.candidate.trial import Attempt, Trial, run_live_tests, seal, try_candidate
from releaser.checkout.move import find_obstacles
from releaser.checkout.products import find_deployed, find_unchanged_products
from releaser.checkout.repository import Repository, clone_bundle, open_repository
from releaser.checkout.snapshot import Snapshot
from releaser.checkout.target import Target, choose_bundled, site_for_commit
from releaser.errors import BuildError, Problem, ToolError, refuse, require
from releaser.live.change import make_entry
from releaser.live.hooks import run_before_live
from releaser.packages import complaints
from releaser.packages.hand_made import find_edited_venv, list_work
from releaser.packages.holds import Hold, PackageHold, VersionHold, find_held_code, find_pause, list_holds
from releaser.packages.lock import Lock, read_lock
from releaser.packages.resolve import Plan, choose_python, group_arguments, read_live_venv
from releaser.pipelines.checks import look
from releaser.pipelines.conclude import go_live
from releaser.pipelines.decide import make_workplace
from releaser.pipelines.init import ignore_link
from releaser.pipelines.prune import prune_releases
from releaser.releases.journal import Entry, write_entry
from releaser.releases.release import Release
from releaser.releases.store import SiteRun
from releaser.releases.venv import list_installed
from releaser.releases.verify import find_live_damage, list_faults
from releaser.report import outcomes
from releaser.report.outcomes import Outcome
from releaser.site.owners import Trust, find_strangers
from releaser.site.settings import PREFIX, load_settings
from releaser.site.site import Site, open_site, read_dotenv, require_own_place
from releaser.system.files import make_private_directory, name_temporary, remove_path, sync_file_system
from releaser.system.run import INSTALL, Run
from releaser.system.space import require_room
from releaser.system.text import join_few, word

_FIRST = {CODE, LOCK, REQUIREMENTS}  # by which it is decided what else is unpacked


class _Candidate(msgspec.Struct, frozen=True):
    """What a bundle would make live here: `changed` are the packages that are other builds of the live version.

    `commits` are new, `damage` and `edits` what was not as it was built in the live venv, and a person's work there.
    """

    attempt: Attempt
    commits: tuple[str, ...]
    changed: frozenset[str]
    damage: Sequence[str] = ()
    edits: Sequence[str] = ()


def install(site: Site, run: SiteRun, bundle: Bundle) -> Outcome:
    """Called by session.run_command(): the lock is held, recovery is done, `run.store` is read."""
    write_entry(site.paths, Entry("building", run.command.name, run.id))
    require(_find_refusals(site, run, bundle.manifest))
    live, was_good = run.store.live, any(release.state.state == "good" for release in run.store.releases)
    view = look(site, run.store, mark=run.id, is_first=run.store.link.kind == "missing" and not was_good)
    snapshot, repository = view.require_fit(), view.repository
    unpacked = name_temporary(site.paths.state / run.id)  # swept if this run is killed
    make_private_directory(unpacked)
    try:
        require_room(site.paths.state, sum(member.size for member in bundle.manifest.members.values()))
        bundle.unpack(unpacked, lambda digest: find_kept(run.store, digest), only=_FIRST)
        target = _fetch(site, run, repository, bundle.manifest, unpacked, snapshot.checkout.head)
        candidate = _choose(site, run, repository, bundle.manifest, target, unpacked)
        if live is not None and _is_live(live, candidate):
            return outcomes.make_unchanged(f"Release {live.id} is live already, with all that the bundle has.", live.id)
        trial = _try(run, repository, bundle, candidate, unpacked)
        was_failing = False
        if live is not None and not trial.tests.passed:  # if it fails, too, no bundle is to blame
            was_failing = not run_live_tests(site, run, repository, target.head, live).passed
        release = seal(trial, run, live, was_failing=was_failing)
        if trial.failed_gate:
            prune_releases(site, run, candidate.attempt.key)
            advice = _advise(trial, release, bundle.path)
            error = outcomes.explain_failure(release, trial.tests.output, advice, before=live)
            return outcomes.make_failed(error, release, candidate.commits, is_known=False)
        return _take_live(run, repository, candidate, release, snapshot)
    finally:
        remove_path(unpacked)  # at last: thousands of links take a while


def _find_refusals(site: Site, run: SiteRun, manifest: Manifest) -> list[Problem]:
    """Return a problem if a bundle is of another branch, or if a person has to decide something first."""
    if manifest.branch != site.settings.site.branch:
        message = f"The bundle has the branch `{manifest.branch}`, but this site is on `{site.settings.site.branch}`."
        return [Problem("other-branch", message, "Make a bundle of that branch, or set `branch`.")]
    if manifest.override:
        message = f"The bundle was made with `--override`, for tests: {join_few(manifest.override)}."
        return [Problem("override", message, "Run commands with it: `python3 FILE run -- COMMAND`.")]
    if not run.store.releases and run.store.link.kind == "foreign":
        message = f"`{site.paths.link}` was made by a person."
        advice = f"Run `releaser init`, which adopts it, or `mv {word(site.paths.link)} {word(site.paths.link)}.old`."
        return [Problem("foreign-link", message, advice)]
    if (pause := find_pause(list_holds(site))) is not None:
        return [Problem("paused", pause.sentence, "Run `releaser resume`, then install the bundle again.")]
    return []


def _fetch(site: Site, run: SiteRun, repository: Repository, manifest: Manifest, unpacked: Path, head: str) -> Target:
    """Return the commit of a bundle as what goes live, once the repository has it. Raises PreflightError."""
    with run.step("fetch"):
        target = _take_code(site, repository, manifest, unpacked, head)
        repository.keep_bundled(manifest.branch, manifest.commit)
    before = find_deployed(site, repository, run.store, head)
    products = find_unchanged_products(site.paths.top, before.directory if before else None)
    require(find_obstacles(repository, head, target.commit, products=products))
    return target


def _take_code(site: Site, repository: Repository, manifest: Manifest, unpacked: Path, head: str) -> Target:
    """Fetch the commit of a bundle into a repository and return it. Raises PreflightError."""
    if (unpacked / CODE).exists():
        try:
            repository.fetch_bundle(unpacked / CODE, manifest.branch)
        except ToolError as error:
            message = f"git cannot take the commits of the bundle: {error.message}"
            raise refuse("no-commit", message, MAKE_FULL if manifest.base else "Make the bundle again.") from error
    return choose_bundled(site, repository, head, manifest.commit, find_held_code(list_holds(site)))


def _choose(
    site: Site, run: SiteRun, repository: Repository, manifest: Manifest, target: Target, unpacked: Path
) -> _Candidate:
    """Return what a bundle would make live, on a Python that fits. Raises PreflightError."""
    site, live, lock = site_for_commit(site, repository, target), run.store.live, read_lock(unpacked / LOCK)
    faults = [*list_faults(site, live)] if live is not None else []
    if live is not None:
        require(find_edited_venv(live, faults))
    require(_find_held(list_holds(site), lock, live))
    require(_find_other_choice(site, manifest))
    with make_shadow(site, repository, site.paths.shadow(f"{run.id}-lock"), target.commit, mark=run.id) as shadow:
        if target.commit != target.head:
            require(complaints.find_problems(site, shadow.project, mark=run.id, commit=target.commit))
        python = _choose_python(site, shadow.project, manifest, live, mark=run.id)
    plan = Plan(lock, *python)
    lock_before = read_lock(live.lock) if live is not None else None
    return _Candidate(
        Attempt(target, site, plan, make_key(site, plan, target.code_key)),
        repository.describe_commits(target.head, target.commit),
        find_changed(manifest, lock, read_record(live), lock_before),
        find_live_damage(live, faults, is_lost=True) if live is not None else (),
        list_work(live, faults) if live is not None else (),
    )


def _find_held(holds: Sequence[Hold], lock: Lock, live: Release | None) -> list[Problem]:
    """Return a problem if a bundle brings what a person, the tests or a rollback have put on hold here."""
    installed = list_installed(live.venv) if live is not None else {}
    held = [
        hold
        for hold in holds
        if isinstance(hold, PackageHold | VersionHold)
        and hold.by in ("person", "tests", "rollback")
        and (labels := lock.versions.get(hold.name))
        and installed.get(hold.name) not in labels
        and (isinstance(hold, PackageHold) or hold.version in labels)
    ]
    names = " ".join(word(hold.name) for hold in held)
    message = f"The bundle brings what is on hold here: {join_few([f'{hold.label}, {hold.reason}' for hold in held])}."
    return [Problem("on-hold", message, f"Run `releaser unhold {names}` to try it again.")] if held else []


def _choose_python(site: Site, tree: Path, manifest: Manifest, live: Release | None, *, mark: str) -> tuple[str, str]:
    """Return the path and version of the Python for a bundle. Raises PreflightError if this host has none that fits."""
    venv = read_live_venv(site, live) if live is not None else None
    if not site.settings.site.python:
        site = site.with_settings("site", python=name_minor(manifest.python))
    try:
        path, version = choose_python(site, tree, venv, mark=mark)
    except BuildError as error:
        message = f"The bundle is for Python {manifest.python}. {error.message}"
        raise refuse("other-platform", message, error.advice) from error
    require(find_misfit(manifest, version, name_platform(version)))
    return path, version


def _find_other_choice(site: Site, manifest: Manifest) -> list[Problem]:
    """Return a problem if the settings of this site choose other packages of the lock than a bundle has."""
    ours, theirs = " ".join(group_arguments(site)), manifest.selection
    message = f"The bundle was made with `{theirs}`, but the settings of this site say `{ours}`."
    advice = f"Set `group` (or `environment`), `extras`, `members` and `default_groups` alike, in {site.paths.dotenv}."
    return [Problem("other-packages", message, advice)] if ours != theirs else []


def _is_live(live: Release, candidate: _Candidate) -> bool:
    """Return True if a bundle brings nothing: its code, lock and wheels are live and sound."""
    ours, theirs = live.manifest.key, candidate.attempt.key
    is_same = (ours.code_key, ours.lock_sha256, ours.python) == (theirs.code_key, theirs.lock_sha256, theirs.python)
    return is_same and not (candidate.changed or candidate.damage or candidate.attempt.target.moves_code)


def _try(run: SiteRun, repository: Repository, bundle: Bundle, candidate: _Candidate, unpacked: Path) -> Trial:
    """Build and test; what `before_build` would make comes with the bundle. Raises PreflightError and BuildError."""
    attempt, live, manifest = candidate.attempt, run.store.live, bundle.manifest
    site = attempt.site
    installed = list_installed(live.venv) if live is not None else {}
    spared = {
        name
        for name, (package, version) in ((name, name_package(name)) for name, _ in list_wheels(manifest))
        if name in manifest.omitted
        and bundle.base is None
        and find_kept(run.store, manifest.members[name].sha256) is None
        and package not in candidate.changed
        and installed.get(package) == version
    }
    others = {name for name in manifest.members if is_kept(name)} - _FIRST - spared
    bundle.unpack(unpacked, lambda digest: find_kept(run.store, digest), only=others)
    attempt = msgspec.structs.replace(attempt, site=site.with_settings("live", before_build=()))
    try:
        trial = try_candidate(run, repository, attempt, live, BundleInstaller(unpacked, candidate.changed))
    except BuildError as error:
        if not spared:
            raise
        names = join_few(sorted(spared))
        message = f"The bundle leaves out what this host does not have as a file: {names}. {error.message}"
        raise refuse("no-wheels", message, MAKE_FULL) from error
    keep_files(site.paths, manifest, unpacked, trial.directory)
    return trial


def _advise(trial: Trial, release: Release, path: Path) -> str:
    """Return what to do about a bundle that failed; empty where the reason says it."""
    again = f"`releaser bundle install {word(path)}`"
    if trial.advice:
        return trial.advice.replace("`releaser update`", again)
    return f"See {release.tests_log}. Correct it, and make another bundle; {again} tries this one again."


def _take_live(
    run: SiteRun, repository: Repository, candidate: _Candidate, release: Release, snapshot: Snapshot
) -> Outcome:
    """Make a release live that has passed its tests. Nothing is committed or pushed. Raises PreflightError."""
    site, target, live = candidate.attempt.site, candidate.attempt.target, run.store.live
    if site.settings.versions.audit == "refuse":
        run.note("Known vulnerabilities were not asked for: a bundle is installed without a network.")
    entry = make_entry(site, run, repository, release, snapshot.checkout, target.commit)
    run_before_live(site, run, repository, release, entry)
    ignore_link(site, repository)
    result, _ = go_live(site.with_settings("git", git_push=False), run, repository, snapshot, entry, candidate.edits)
    if result.rolled_back:
        return outcomes.make_rolled_back(release, result, candidate.commits)
    return outcomes.make_updated(release, result, "", new_commits=candidate.commits, before=live)


def choose_signers(place: Path, environ: Mapping[str, str]) -> Path:
    """Return the file of the setting `bundle_signers`: that of the site at a place, or, where none is yet, this host's.

    A bundle does not say itself whom to trust. Raises PreflightError without the setting.
    """
    place = Path(os.path.abspath(place))
    dotenv = place.parent / ".env"
    if place.is_dir() and os.listdir(place):
        site = open_site(place, environ)
        settings, place, dotenv = site.settings, site.paths.project, site.paths.dotenv
    else:
        require(find_strangers(Trust(os.geteuid(), os.geteuid()), [dotenv]))
        settings, wrong = load_settings(environ, read_dotenv(dotenv)[0], {})
        require(wrong)
    if name := settings.elsewhere.bundle_signers:
        return place / os.path.expanduser(name)
    message = "The setting `bundle_signers` is not set: nobody is known who may sign a bundle."
    advice = f"Set `{PREFIX}BUNDLE_SIGNERS` in {dotenv}, or, if you know where the file comes from, add `--unsigned`."
    raise refuse("no-signers", message, advice)


def make_checkout(bundle: Bundle, directory: Path, environ: Mapping[str, str]) -> Path:
    """Return the project in a directory: a checkout that is made of a bundle, or the one that is there.

    A directory of somebody else, or with anything else in it, is refused with PreflightError, and is left as it is.
    Raises ToolError.
    """
    directory, manifest = Path(os.path.realpath(directory)), bundle.manifest
    require_own_place(directory, environ)
    entries = os.listdir(directory) if directory.is_dir() else []
    is_other = os.path.lexists(directory) and not directory.is_dir()
    if is_other or (entries and ".git" not in entries):
        message = f"`{directory}` is not empty, and is no checkout of `{manifest.project}`. Nothing was touched."
        raise refuse("not-empty", message, "Name a new directory: `--into DIR`.")
    if not entries:
        if manifest.base is not None:
            raise refuse("delta", "The bundle is a delta, and this host has nothing of its base yet.", MAKE_FULL)
        place = next(parent for parent in directory.parents if parent.exists())
        if not os.access(place, os.W_OK):  # the state goes beside the checkout
            raise refuse(
                "not-writable", f"You may not write to `{place}`.", "Name a place of yours: `--into DIR/NAME`."
            )
        directory.parent.mkdir(parents=True, exist_ok=True)
        require_room(directory.parent, 4 * manifest.members[CODE].size)
        begun = name_temporary(directory)
        remove_path(begun)
        begun.mkdir()
        bundle.unpack(begun, only={CODE})
        try:
            clone_bundle(begun / CODE, begun / "checkout", manifest.branch, manifest.commit, environ)
            sync_file_system(begun)
            os.rename(begun / "checkout", directory)
        except ToolError as error:
            raise refuse("no-commit", f"git cannot read the code of the bundle: {error.message}") from error
        finally:
            remove_path(begun)
    else:  # of what another bundle, or a clone, has made
        site = open_site(directory / manifest.directory, environ)
        repository = open_repository(site)
        with make_workplace(site, repository, Run("preview", INSTALL), is_dry=True) as (site, copy, place):
            place.mkdir()
            bundle.unpack(place, only={CODE})
            _take_code(site, copy, manifest, place, repository.head())
    return directory / manifest.directory
