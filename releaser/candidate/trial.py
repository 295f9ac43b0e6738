"""A trial: one build and test of a candidate. Its result is a value, whatever the tests say; `seal` makes a release."""

from __future__ import annotations

import os
import shlex
from datetime import datetime
from pathlib import Path

import msgspec

from releaser.candidate.build import (
    Installer,
    Place,
    build_venv,
    close_venv,
    copy_venv,
    explain_rebuild,
    replace_shadow_paths,
)
from releaser.candidate.django import django_command, find_import_errors, is_django, list_migrations
from releaser.candidate.identity import NUMBER, explain_outdated
from releaser.candidate.namespace import can_mount
from releaser.candidate.products import find_changed, is_data, is_site_file, keep_products, list_files, put_back
from releaser.candidate.shadow import Shadow, fill_shadow, make_shadow, redirect_links
from releaser.candidate.tests import TestResult, run_tests
from releaser.checkout.own_files import make_export
from releaser.checkout.products import find_deployed
from releaser.checkout.repository import Repository
from releaser.checkout.target import Target
from releaser.errors import BuildError
from releaser.packages.changes import compare_releases
from releaser.packages.lock import Lock, read_lock
from releaser.packages.resolve import Plan
from releaser.releases.lease import install_startup_module, list_owners
from releaser.releases.release import BUILT, Key, Manifest, NoVerdict, Release, State, list_products
from releaser.releases.sealed import Sealed, find_differences
from releaser.releases.store import SiteRun, begin_release, seal_release, write_state
from releaser.releases.venv import find_python
from releaser.site.django import advise_on_variables, find_django
from releaser.site.owners import find_closed
from releaser.site.site import Site
from releaser.system.files import read_regular_file, replace_file
from releaser.system.run import Run, now
from releaser.system.text import count, escape_lines, join_few, word

_LOGGED = 256 * 1024  # characters of the output of tests that are kept
_WRITE_ELSEWHERE = "A release stays as it was built: let the tests write elsewhere, such as below `$TMPDIR`."


class Attempt(msgspec.Struct, frozen=True):
    """A commit to try: the site with the settings of that commit, its packages, and its identity."""

    target: Target
    site: Site
    plan: Plan
    key: Key


class Trial(msgspec.Struct, frozen=True):
    """The end of a build and test, in the directory of a release without manifest. It began at `began`.

    `sealed` is what was closed; `unapplied` are the migrations that the database lacks, `applied` those that it has;
    `advice` is for tests that wrote where they must not.
    """

    attempt: Attempt
    directory: Path
    began: datetime
    tests: TestResult
    sealed: Sealed
    unapplied: tuple[str, ...] = ()
    applied: tuple[str, ...] = ()
    advice: str = ""

    @property
    def failed_gate(self) -> str:
        """The gate that the candidate failed; empty if it passed."""
        is_waiting = self.unapplied and self.attempt.site.settings.live.migrations == "refuse"
        return "tests" if not self.tests.passed else "migrations" if is_waiting else ""

    @property
    def failure(self) -> str:
        """Why the gate failed, in a line."""
        is_waiting = self.failed_gate == "migrations"
        return f"migrations are not applied: {join_few(self.unapplied)}" if is_waiting else self.tests.reason


def try_candidate(
    run: SiteRun,
    repository: Repository,
    attempt: Attempt,
    live: Release | None,
    install: Installer,
    directory: Path | None = None,
) -> Trial:
    """Build and test a candidate, as the installer makes it, in a new `directory`. Failed tests are no error.

    Raises BuildError, ToolError and OSError.
    """
    site = attempt.site
    _require_startable(site, attempt.plan, live)
    directory, began = directory or begin_release(site.paths), now()
    with make_shadow(site, repository, site.paths.shadow(run.id), attempt.target.commit, mark=run.id) as shadow:
        (shadow.project / "uv.lock").write_text(attempt.plan.lock.text, encoding="utf-8")
        deployed = find_deployed(site, repository, run.store, attempt.target.head)
        shadow = _complete_shadow(site, shadow, directory / "venv", deployed)
        place = Place(site, shadow, directory / "venv", run.id, deployed)
        sealed = _build(run, repository, place, attempt.plan, live, install)
        trial = Trial(attempt, directory, began, TestResult(False, "", ""), sealed)
        trial = _test(run, repository, place, trial, live)
        if trial.tests.passed and not shadow.is_mounted:
            replace_shadow_paths(shadow, place.venv)
            trial = msgspec.structs.replace(trial, sealed=close_venv(place, attempt.plan))
    return trial


def _require_startable(site: Site, plan: Plan, live: Release | None) -> None:
    """Raise BuildError if a user whose processes run the live release may start its Python, but not the new one.

    Such as one that uv keeps in the home of its owner: the service would end with its restart.
    """
    if live is None or Path(plan.python).is_relative_to(live.venv):
        return
    earlier = Path(os.path.realpath(find_python(live.venv)))
    for user in sorted(list_owners(live.directory, site.paths.link) - {0, os.geteuid()}):
        place = find_closed(user, Path(plan.python))
        if place and not find_closed(user, earlier):
            message = f"The Python {plan.python_version} of the new release, `{plan.python}`, cannot be started by user"
            message += f" {user}, whose processes run the site: `{place}` is closed to it."
            advice = f"Run `chmod o+x {word(place)}`, or set `python` to one that everybody may start."
            raise BuildError(message, advice)


def _build(
    run: Run, repository: Repository, place: Place, plan: Plan, live: Release | None, install: Installer
) -> Sealed:
    """Build the venv, keep what that writes beside the source, and close the venv before a test sees it."""
    site, shadow, directory = place.site, place.shadow, place.venv.parent
    with run.step("build") as detail:
        tree = Repository(site, shadow.map_path(site.paths.top), mark=run.id)
        before, installed = list_files(tree.top), set[Path]()

        def install_watched(place: Place, *, has_project: bool = True) -> None:
            earlier = list_files(tree.top)
            install(place, has_project=has_project)
            installed.update(find_changed(earlier, list_files(tree.top)))

        build_venv(place, plan, live, install_watched)
        _refuse_edited_files(site, tree)
        tracked, live_tracked = tree.tracked_files(), repository.tracked_files()
        project, deployed = site.paths.project.relative_to(site.paths.top), place.deployed
        changed = find_changed(before, list_files(tree.top))
        changed = {path for path in changed if path.as_posix() not in tracked and not is_data(tree.top, path, project)}
        written = (path for path in sorted(changed) if path.as_posix() not in live_tracked)
        site_files = [path for path in written if is_site_file(site, deployed, path, by_installer=path in installed)]
        if site_files:
            paths = [str(site.paths.top / path) for path in site_files]
            run.note(
                "The build changed what lies untracked in the checkout and is no product of the live release: "
                f"{join_few([f'`{path}`' for path in paths])}. The site's file stays. If the build makes it, run "
                f"`rm {shlex.join(paths[:5])}`: the next release has it."
            )
            put_back(site, tree.top, before, site_files)
        if site_files and not shadow.is_mounted:
            redirect_links(shadow, site.paths.state)
        products = keep_products(tree.top, changed.difference(site_files), directory)
        for path in [] if shadow.is_mounted else products:
            shadow.replace_paths(directory / BUILT / path)
        replace_file(directory / "uv.lock", plan.lock.text.encode())
        make_export(site, shadow.project, directory, mark=run.id)
        detail += [f"made {join_few(products)}"] if products else []
        if reason := explain_rebuild(live, plan):
            detail.append(f"everything is built again: {reason}")
        if shadow.left_out:
            detail.append(f"tests do not see {join_few([path.name for path in shadow.left_out])}, too large to copy")
        if shadow.strange:
            names = join_few([path.name for path in shadow.strange])
            detail.append(f"tests do not see what other users may write: {names}")
        return close_venv(place, plan)


def _test(run: Run, repository: Repository, place: Place, trial: Trial, live: Release | None) -> Trial:
    """Run the tests, and ask Django for migrations if they pass. A change of the venv is a failure of the tests.

    So is an application that cannot be imported, unless that of the live release fails alike.
    """
    site, shadow, plan = place.site, place.shadow, trial.attempt.plan
    with run.step("test") as detail:
        result = run_tests(site, shadow, place.venv, plan.lock, mark=run.id, is_candidate=True)
        if result.passed:
            result = _import_applications(run, repository, place, trial.attempt, live, result)
        asks = result.passed and site.settings.live.migrations != "ignore"
        asks = asks and is_django(site, shadow.project, plan.lock)
        unapplied, applied, forks = list_migrations(site, shadow, place.venv, mark=run.id) if asks else ([], [], [])
        advice = "" if result.passed else _advise_on_writes(place, result.output)
        if unapplied and forks:
            reason = f"the migrations {join_few(forks)} conflict: `python manage.py makemigrations --merge` joins them"
            result, unapplied = msgspec.structs.replace(result, passed=False, reason=reason), []
        elif unapplied:
            command = django_command(find_django(site, shadow.project), "migrate")
            advice = f"Run `releaser run --release {trial.directory.name} -- {command}`, then `releaser update`."
            advice += " Or `releaser setup --set migrations=run`: after the flip."
        if changes := find_differences(place.venv, trial.sealed):
            reasons = filter(None, [result.reason, f"the tests changed the venv: {join_few(changes)}"])
            result = msgspec.structs.replace(result, passed=False, reason="; ".join(reasons))
            advice = _WRITE_ELSEWHERE
        found = {"tests": result, "unapplied": tuple(unapplied), "applied": tuple(applied), "advice": advice}
        trial = msgspec.structs.replace(trial, **found)
        detail.append(trial.failure or "passed")
        detail.has_failed = bool(trial.failed_gate)
    replace_file(trial.directory / "tests.log", f"{escape_lines(result.output[-_LOGGED:])}\n".encode())
    return trial


def _import_applications(
    run: Run, repository: Repository, place: Place, attempt: Attempt, live: Release | None, result: TestResult
) -> TestResult:
    """Return passed tests with what importing the applications says; it is no failure if the live one fails alike.

    Nor is a new file beside all that the live one has, which no service uses yet, or a variable that only the service
    may have. That is a note, and in the output, so that it is not said again once the release is live.
    """
    site, mark, lock = place.site, run.id, attempt.plan.lock
    used, earlier = set[Path](), dict[Path, tuple[str, str]]()
    errors = find_import_errors(site, place.shadow, place.venv, lock, mark=mark)
    if errors and live:
        directory = site.paths.shadow(f"{run.id}-live")
        with make_shadow(site, repository, directory, attempt.target.head, mark=mark) as shadow:
            shadow = _complete_shadow(site, shadow, live.venv, live)
            known, files = (
                find_django(site, shadow.project).applications,
                {path: shadow.project / path for path in errors},
            )
            has_moved = not all((place.shadow.project / path).is_file() for path in known)
            used = {path for path, file in files.items() if has_moved or (file.is_file() and file.stat().st_size)}
            earlier = find_import_errors(site, shadow, live.venv, read_lock(live.lock), mark=mark)
    log = (read_regular_file(live.tests_log) or b"").decode(errors="replace") if live else ""
    for path, (reason, output) in errors.items():
        advice = advise_on_variables(output)
        is_news = NUMBER.sub("", reason) != NUMBER.sub("", earlier.get(path, ("", ""))[0])
        if path in used and is_news and not advice:
            reason = f"{path} cannot be imported: {reason}"
            return msgspec.structs.replace(result, passed=False, reason=reason, output=output)
        note = f"{path} cannot be imported here, so updates go on without that test: {reason.rstrip('.')}{advice}"
        if NUMBER.sub("", escape_lines(note)) not in NUMBER.sub("", log):
            run.note(note)
        result = msgspec.structs.replace(result, output=f"{result.output}\n{note}")
    return result


def _advise_on_writes(place: Place, output: str) -> str:
    """Return the advice for tests that wrote where they must not; empty if they did not."""
    refusals = "\n".join(line for line in output.splitlines() if "Read-only file system" in line)
    if str(place.venv) in refusals or str(place.site.paths.link) in refusals:
        return _WRITE_ELSEWHERE
    return place.shadow.advise_on_read_only(output)


def seal(
    trial: Trial,
    run: SiteRun,
    live: Release | None,
    *,
    was_failing: bool = False,
    no_verdict: NoVerdict = "",
    overrides: tuple[str, ...] = (),
) -> Release:
    """Make the release of a trial, ready or failed; `was_failing` says that the live one fails its tests, too.

    `no_verdict` says why its failure is none. One with `overrides` is outdated from the beginning. Raises OSError.
    """
    attempt, name = trial.attempt, trial.directory.name
    failed = [each for each in run.store.releases if each.manifest.failed_gate and live and each.age_key > live.age_key]
    migrations = [name for each in reversed(failed) for name in each.manifest.migrations if name in trial.applied]
    draft = Manifest(name, trial.began, "built", attempt.key, attempt.target.commit)
    state = State("outdated" if overrides else "failed" if trial.failed_gate else "ready")
    changes = compare_releases(live, Release(trial.directory, draft, state))
    manifest = msgspec.structs.replace(
        draft,
        changes=changes,
        failed_gate=trial.failed_gate,
        failure=trial.failure,
        was_failing=was_failing,
        no_verdict=no_verdict,
        migrations=tuple(dict.fromkeys([*migrations, *trial.unapplied])),
        run=run.id,
        overrides=overrides,
        project=str(attempt.site.paths.project),
        sealed=trial.sealed,
    )
    release = seal_release(trial.directory, manifest, state)
    run.store = run.store.having(release)
    return release


def run_live_tests(site: Site, run: Run, repository: Repository, head: str, release: Release) -> TestResult:
    """Run the tests with the live release and the code of HEAD: if they fail, too, no candidate is to blame."""
    directory = site.paths.shadow(f"{run.id}-live")
    return run_tests_alone(site, run, repository, head, directory, release.venv, read_lock(release.lock))


def run_tests_alone(  # noqa: PLR0913 - all that the tests of a venv need
    site: Site, run: Run, repository: Repository, head: str, directory: Path, venv: Path, lock: Lock
) -> TestResult:
    """Run the tests with a venv that exists and the code of HEAD, in a shadow."""
    with run.step("test") as detail, make_shadow(site, repository, directory, head, mark=run.id) as shadow:
        is_of_person = venv == site.paths.link
        name = "" if is_of_person else "the live release: "
        if is_of_person or not can_mount(site, shadow.root, shadow.original):  # the tests could write into it
            copy = shadow.root / ".releaser-venv"
            copy_venv(site, venv, copy, mark=run.id)
            install_startup_module(copy)
            for script in sorted((copy / "bin").iterdir()):  # those of an adopted venv start the Python of the link
                Shadow(site.paths.link, copy, copy).replace_paths(script)
            venv = copy
        shadow = _complete_shadow(site, shadow, venv, None)
        result = run_tests(site, shadow, venv, lock, mark=run.id, is_candidate=False)
        detail.append(f"{name}{result.reason or 'passed'}")
        detail.has_failed = not result.passed
    return result


def _complete_shadow(site: Site, shadow: Shadow, venv: Path, deployed: Release | None) -> Shadow:
    """Return a shadow that is complete enough for programs."""
    is_mounted = can_mount(site, shadow.root, shadow.original)
    products = frozenset(site.paths.top / path for path in list_products(deployed.directory if deployed else None))
    return fill_shadow(site, shadow, venv, is_mounted=is_mounted, products=products)


def _refuse_edited_files(site: Site, repository: Repository) -> None:
    changed = (path for path in repository.state().changed if path != site.paths.lockfile_in_tree)
    if edited := [path for path in changed if not (repository.top / path).is_symlink()]:
        names = join_few([f"`{path}`" for path in edited])
        message = f"The build changed {count(len(edited), 'tracked file')}: {names}."
        raise BuildError(message, "Let the build write to files that git ignores.")


def let_go_of_ready(run: SiteRun, attempt: Attempt, chosen: Release) -> None:
    """Let prune have the ready releases whose place another one takes, which is tested by now; the run says why."""
    for release in run.store.releases:
        if release.state.state == "ready" and release.id != chosen.id:
            reason = explain_outdated(attempt.site, release, attempt.key, attempt.target)
            reason = reason or ("the live one has the same" if chosen == run.store.live else "a newer one is")
            run.store = run.store.having(write_state(release, state="outdated"))
            run.note(f"Release {release.id} was prepared, but {reason}. It does not go live.")
