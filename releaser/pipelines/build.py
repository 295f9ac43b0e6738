"""Builds and tests a candidate, and seals it as ready or failed."""

from __future__ import annotations

from pathlib import Path

import msgspec

from releaser.candidate.build import build_venv, seal_venv
from releaser.candidate.namespace import can_mount
from releaser.candidate.products import keep_products, list_files
from releaser.candidate.shadow import Shadow, fill_shadow, make_shadow
from releaser.candidate.tests import TestResult, run_tests
from releaser.checkout.products import list_products
from releaser.checkout.repository import Repository, hash_text
from releaser.checkout.target import Target
from releaser.errors import BuildError, GateError
from releaser.live.django import find_unapplied_migrations, is_django
from releaser.packages.changes import describe_changes
from releaser.packages.lock import read_lock
from releaser.packages.publishing import make_export
from releaser.packages.resolve import Plan, group_arguments
from releaser.pipelines import checks
from releaser.pipelines.conclude import compare_releases
from releaser.releases.journal import Entry, write_entry
from releaser.releases.release import BUILT, Key, Manifest, Release, State
from releaser.releases.store import Store, begin_release, seal_release
from releaser.report.outcome import Outcome
from releaser.site.site import Site
from releaser.system.files import replace_file
from releaser.system.run import Run, now
from releaser.system.text import clip_end, count, join_few

_LOGGED = 256 * 1024  # characters of the output of tests that are kept


def make_key(site: Site, plan: Plan, code: str) -> Key:
    """Return what identifies the candidate of a plan."""
    live = site.settings.live
    recipe = msgspec.json.encode((site.settings.tests, live.before_build, live.migrations, site.settings.site.python))
    selection = " ".join(group_arguments(site))
    return Key(code, plan.lock.sha256, plan.python_version, selection, hash_text(recipe.decode()))


def build_and_test(site: Site, run: Run, shadow: Shadow, target: Target, plan: Plan, *, live_site: Site) -> Release:
    """Return a tested release, ready to go live. `live_site` has the settings of the live code.

    Raises BuildError, or GateError after a failed one was sealed: it is kept, and not tried again.
    """
    directory = begin_release(site.paths)
    write_entry(site.paths, Entry(phase="building", command=run.command, run=run.id, target=directory.name))
    live = Store(site.paths).live
    venv, began = directory / "venv", now()
    with run.step("build") as detail:
        shadow = _complete_shadow(site, shadow, venv, live, run)
        repository = Repository(site, shadow.map_path(site.paths.top), mark=run.id)
        before = list_files(repository.top)
        build_venv(site, shadow, plan, venv, base=live, mark=run.id)
        _refuse_edited_files(site, repository)
        products = keep_products(repository.top, before, repository.tracked_files(), directory)
        for path in [] if shadow.is_mounted else products:
            shadow.replace_paths(directory / BUILT / path)
        replace_file(directory / "uv.lock", plan.lock_text.encode())
        make_export(site, shadow.project, directory, mark=run.id)
        detail += [f"made {join_few(products)}"] if products else []
        if shadow.left_out:
            detail.append(f"tests do not see {join_few([path.name for path in shadow.left_out])}, too large to copy")
    with run.step("test") as detail:
        result = run_tests(site, shadow, venv, plan.lock, mark=run.id, is_candidate=True)
        unapplied = _find_unapplied_migrations(site, shadow, venv, plan, run) if result.passed else []
        waiting = f"migrations are not applied: {join_few(unapplied)}" if unapplied else ""
        detail.append(result.reason or waiting or "passed")
        detail.has_failed = not result.passed or bool(unapplied)
    replace_file(directory / "tests.log", f"{result.output[-_LOGGED:]}\n".encode(errors="replace"))
    was_failing = not result.passed and live is not None and not test_live(live_site, run, live).passed
    seal_venv(site, shadow, venv)
    key = make_key(site, plan, target.code)
    draft = Release(directory, Manifest(directory.name, began, "built", key, target.commit), State("failed"))
    manifest = Manifest(
        id=directory.name, created_at=began, origin="built", key=key, commit=target.commit,
        changes=compare_releases(live, draft),
        failed_gate="migrations" if unapplied else "" if result.passed else "tests",
        failure=result.reason or waiting,
        was_failing=was_failing, run=run.id,
    )  # fmt: skip
    release = seal_release(directory, manifest, State("failed" if manifest.failed_gate else "ready"))
    if unapplied:
        raise _explain_migrations(release)
    if not result.passed:
        raise explain_failed_tests(release, result, shadow)
    return release


def _find_unapplied_migrations(site: Site, shadow: Shadow, venv: Path, plan: Plan, run: Run) -> list[str]:
    if site.settings.live.migrations == "ignore" or not is_django(shadow.project, plan.lock):
        return []
    return find_unapplied_migrations(site, shadow, venv, mark=run.id)


def _explain_migrations(release: Release) -> GateError:
    message = f"Release {release.id} passed its tests, but {release.manifest.failure}. The live release is unchanged."
    commands = "`RELEASER_MIGRATIONS=ignore releaser update`, then `releaser run -- python manage.py migrate`"
    return GateError(message, f"If they can be applied after the flip: {commands}. Else apply them, and update again.")


def _complete_shadow(site: Site, shadow: Shadow, venv: Path, live: Release | None, run: Run) -> Shadow:
    """Return a shadow that is complete enough for programs."""
    repository = Repository(site, shadow.map_path(site.paths.top), mark=run.id)
    repository.run("clean", "--quiet", "-ffdx")  # what the resolution has written beside the source
    is_mounted = can_mount(site, shadow.root, shadow.original)
    products = frozenset(site.paths.top / path for path in list_products(live.directory if live else None))
    return fill_shadow(site, shadow, venv, is_mounted=is_mounted, products=products)


def _refuse_edited_files(site: Site, repository: Repository) -> None:
    edited = [
        path
        for path in repository.changed_tracked_files()
        if path != site.paths.lockfile_in_tree and not (repository.top / path).is_symlink()
    ]
    if edited:
        names = join_few([f"`{path}`" for path in edited])
        message = f"The build changed {count(len(edited), 'tracked file')}: {names}."
        raise BuildError(message, "Let the build write to files that git ignores.")


def check_tests(site: Site, run: Run) -> Outcome:
    """Run the tests of the project once, with the live release and the commit of the checkout; nothing is changed."""
    checks.require_ready(site)
    live = Store(site.paths).find("live")
    result = test_live(site, run, live)
    if result.passed:
        return Outcome("no-changes", 0, f"The tests pass with the live release, {live.id}.", live.id)
    headline = f"The live release, {live.id}, fails its tests: {result.reason}."
    error = GateError(headline, "Correct the site or its tests, then run `releaser check --tests`.")
    return Outcome("failed", 5, headline, live.id, problems=error.problems, output=clip_end(result.output, 40, 4000))


def test_live(site: Site, run: Run, live: Release) -> TestResult:
    """Run the tests with the live release: if it fails them, too, no candidate is to blame."""
    repository = Repository(site, site.paths.top, mark=run.id)
    directory = site.paths.shadow(f"{run.id}-live")
    with run.step("test") as detail, make_shadow(site, directory, repository.head(), mark=run.id) as shadow:
        shadow = _complete_shadow(site, shadow, live.venv, None, run)
        result = run_tests(site, shadow, live.venv, read_lock(live.lock), mark=run.id, is_candidate=False)
        detail.append(f"the live release: {result.reason or 'passed'}")
        detail.has_failed = not result.passed
    return result


def explain_failed_tests(release: Release, result: TestResult, shadow: Shadow) -> GateError:
    """Return the error for a candidate whose tests failed, with true blame."""
    manifest = release.manifest
    blame = "The live release is unchanged."
    advice = f"See {release.tests_log}. The next commit or version is tried; `releaser update --force` tries again."
    if manifest.was_failing:
        blame = "The live release fails its tests, too: the site was already failing."
        advice = f"Correct the site or its tests; see {release.tests_log}."
    changes = describe_changes(manifest.changes) or "new code"
    message = f"Release {release.id} ({changes}) failed its tests: {manifest.failure}. {blame}"
    advice = shadow.advise_on_read_only(result.output) or advice
    return GateError(message, advice, output=clip_end(result.output))
