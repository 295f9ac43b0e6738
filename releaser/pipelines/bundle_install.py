"""`bundle install`: verifies a bundle, unpacks it, and makes its release live; also shows and compares bundles."""

from __future__ import annotations

import contextlib
import os
import shutil
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from releaser.bundles.archive import BundleArchive, open_archive
from releaser.bundles.code import exclude, make_checkout
from releaser.bundles.manifest import (
    LOCK,
    PYPROJECT,
    PYTHON_VERSION,
    WHEELS,
    BundleDetails,
    BundledFile,
    BundleDifference,
    BundleManifest,
)
from releaser.bundles.pool import Pool
from releaser.bundles.trust import Trust
from releaser.bundles.wheels import lacks
from releaser.checkout.files import place_included, sort_included
from releaser.errors import Finding, PreflightError, ToolError, how_to_set, reason_of, refuse, refuse_any
from releaser.locks.changes import changes_between
from releaser.locks.lock import LockFile
from releaser.pipelines.bundle_settings import BundleSettings
from releaser.pipelines.session import PipelineResult, Request, run_session
from releaser.pipelines.update import update_site
from releaser.releases.store import store_of
from releaser.report import Plan, RunReport
from releaser.resolution.resolve import diff_to
from releaser.site.conventions import choose_dependency_group, needed_groups
from releaser.site.loading import load
from releaser.site.ownership import Ownership, find_foreign_parent
from releaser.site.pythons import Choice, choose, refuse_named_program
from releaser.site.site import open_site
from releaser.site.supply import SupplyFacts
from releaser.sources.bundle import Bundle
from releaser.system.files import nearest_existing, read_file
from releaser.system.frozen import Frozen, replace
from releaser.system.process import Runner
from releaser.system.temporary import temporary_directory
from releaser.system.words import first_few, size

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from releaser.core.run import Run
    from releaser.site.site import Site
    from releaser.site.supply import Provenance


_MOST_NAMED = 8


class InstallRequest(Frozen):
    """The options of `bundle install`."""

    file: Path
    #: The file to use instead of `bundle_signers`; `unsigned` needs no signature.
    signers: Path | None = None
    unsigned: bool = False
    allow_older: bool = False
    tests: bool = True
    force: bool = False
    #: True to accept a release that tries packages of `update --override`, on a test host.
    for_tests: bool = False


def install_bundle(request: Request, wanted: InstallRequest) -> RunReport:
    """Make the release of a bundle live, as an update does, but without an index or remote."""
    return run_session(request, partial(install, wanted=wanted))


def check_out(environ: Mapping[str, str], into: Path, wanted: InstallRequest, *, dry_run: bool = False) -> Path:
    """Make the checkout of a bundle at `into`, completely or not at all, unless a project exists; return its path.

    A dry run only verifies the bundle. Raises PreflightError.
    """
    place = Path(os.path.abspath(into.expanduser()))
    if (place / "pyproject.toml").exists():
        return place
    if os.path.lexists(place) and (not place.is_dir() or any(place.iterdir())):
        refuse(
            "project-exists",
            f"{place} exists, but has no pyproject.toml",
            "Use a directory that is empty or does not exist.",
        )
    runner = Runner(environ=environ)
    with open_archive(wanted.file) as archive:
        verify_signature(runner, archive, wanted, _find_trust(place, environ, wanted))
        manifest = archive.manifest()
        _refuse_expired(manifest)
        _refuse_for_tests(manifest, wanted)
        archive.verify(manifest)
        if manifest.base is None:
            _refuse_empty_host(place, environ, archive, manifest, tests=wanted.tests)
        if not dry_run:
            make_checkout(archive, manifest, place, runner)
    return place


def _refuse_empty_host(
    place: Path, environ: Mapping[str, str], archive: BundleArchive, manifest: BundleManifest, *, tests: bool
) -> None:
    """Refuse a bundle that a host without the project could not install. Raises PreflightError."""
    is_next_to = place.parent.is_dir()  # where the settings of the project may be
    with temporary_directory(next_to=place if is_next_to else None) as scratch:
        sketch = scratch if is_next_to else scratch / place.name
        sketch.mkdir(exist_ok=True)
        for name in (PYPROJECT, PYTHON_VERSION):
            if (file := manifest.find(name)) is not None:
                (sketch / name).write_bytes(archive.read(file))
        site = open_site(sketch, environ)
        _refuse_platform(site, archive.read, manifest, choose(site, site.uv), tests=tests)


def _find_trust(place: Path, environ: Mapping[str, str], wanted: InstallRequest) -> Trust | None:
    """Return the trusted signers of a project that does not exist yet, by `.env` next to it. Raises PreflightError."""
    env_file = place.parent / ".env"
    refuse_any(find_foreign_parent(str(nearest_existing(place.parent)), str(place)) if not os.geteuid() else None)
    refuse_any(Ownership(root=str(place), owner=os.geteuid(), group=None).unsafe(env_file))
    loaded = load(table={}, pyproject=place / "pyproject.toml", env_file=env_file, environ=environ)
    return _trust(place, BundleSettings.of(loaded), wanted.signers)


def plan_install(site: Site, wanted: InstallRequest) -> Plan:
    """Verify a bundle, and say what `install_bundle` would do. Raises PreflightError."""
    with open_archive(wanted.file) as archive:
        manifest, _, choice = _verify(site, archive, wanted, Pool.of(site.state_dir))
        lock = next(file for file in manifest.files if file.path == LOCK)
        live = store_of(site).live()
        changes = diff_to(live, LockFile.parse(archive.read(lock)), python=choice.version) if not lock.in_base else ()
    tests = "test it" if wanted.tests else "skip its tests"
    python = f"Python {choice.version}"
    would = f"build the release of {manifest.release} with {python}, without a network, {tests}, and make it live"
    return Plan(would=(would,), changes=changes)


def install(run: Run, wanted: InstallRequest) -> PipelineResult:
    """Install a bundle within a run. Raises the errors of an update."""
    with run.log.step("verify bundle") as step, contextlib.ExitStack() as stack:
        archive = stack.enter_context(open_archive(wanted.file))
        state_dir = run.site.state_dir
        pool = Pool.of(state_dir)
        manifest, signer, choice = _verify(run.site, archive, wanted, pool)
        refuse_lack(sum(file.size for file in manifest.files if not file.in_base), state_dir)
        signed = f"signed by {signer}" if signer else "no signature required"
        step.says(f"{manifest.release}, {signed}; this host builds it with Python {choice.version}")
        with pool.locked():
            place = _unpack(run.site, pool, archive, manifest)
    source = Bundle(place, manifest, signer, runs_tests=wanted.tests)
    run.site = replace(run.site, given=source.supply(run.site))
    run.log.note(*sort_included(run.site, run.site.supply.included)[1])
    if not wanted.tests:
        run.log.say(f"The tests were skipped here; they passed where the bundle was created ({manifest.release}).")
    try:
        result = update_site(run, source, force=wanted.force, follow=wanted.allow_older)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    live = run.store.live()
    if result.result == "no-changes" and live is not None:  # files that were in the way may be gone
        place_included(run.site.outside, run.log, live)
    return result


def refuse_lack(needed: int, place: Path) -> None:
    """Refuse if fewer than `needed` bytes are free. Raises PreflightError and OSError."""
    free = shutil.disk_usage(place).free
    if needed > free:
        refuse(
            "disk-full",
            f"the bundle needs {size(needed)}, but only {size(free)} are free in {place}",
            "Free some disk space.",
        )


def _verify(
    site: Site, archive: BundleArchive, wanted: InstallRequest, pool: Pool
) -> tuple[BundleManifest, str, Choice]:
    """Check that a bundle is trusted, complete, and fit for this site; return its manifest, signer and Python.

    Raises PreflightError.
    """
    signer = verify_signature(site.runner, archive, wanted, trust_of(site, wanted.signers))
    manifest = archive.manifest()
    _refuse_unfit(site, manifest, allow_older=wanted.allow_older)
    _refuse_for_tests(manifest, wanted)
    lacking = find_missing(pool, manifest)
    if lacking and manifest.base is not None:
        names, whole = first_few([file.path for file in lacking], _MOST_NAMED), size(sum(file.size for file in lacking))
        message = (
            f"this delta needs {names} of the bundle of {manifest.base.release} ({whole}), which this host does "
            f"not have"
        )
        refuse("bundle-base-missing", message, "Install the full bundle: run `releaser bundle create` without --base.")
    archive.verify(manifest)

    def read(file: BundledFile) -> bytes:
        kept = pool.find(file.sha256) if file.in_base else None
        return read_file(kept) if kept is not None else archive.read(file)

    choice = _choose_python(site, read, manifest)
    _refuse_platform(site, read, manifest, choice, tests=wanted.tests)
    return manifest, signer, choice


def verify_signature(runner: Runner, archive: BundleArchive, wanted: InstallRequest, trust: Trust | None) -> str:
    """Return the signer of a bundle; empty if none is required. Raises PreflightError."""
    if wanted.unsigned:
        return ""
    if trust is None:
        message = "the signature cannot be verified: no trusted signers are set on this host"
        refuse(
            "signers-unset",
            message,
            f"To name an allowed_signers file, {how_to_set('bundle_signers', 'FILE')}. Or add --unsigned.",
        )
    return trust.verify(runner, archive.data, archive.signature)


def trust_of(site: Site, signers: Path | None = None) -> Trust | None:
    """Return the signers that a site trusts, or the signers in the file `signers`; None if no file is set."""
    return _trust(site.project.root, BundleSettings.of(site), signers)


def _trust(root: Path, settings: BundleSettings, signers: Path | None) -> Trust | None:
    named, revoked = signers or settings.bundle_signers, settings.bundle_revoked
    if named is None:
        return None
    return Trust(
        signers=root / Path(named).expanduser(), revoked=root / Path(revoked).expanduser() if revoked else None
    )


def _refuse_expired(manifest: BundleManifest) -> None:
    if manifest.has_expired(datetime.now(UTC)):
        refuse(
            "bundle-expired", f"the bundle of {manifest.release} expired at {manifest.expires}", "Create a new bundle."
        )


def _refuse_for_tests(manifest: BundleManifest, wanted: InstallRequest) -> None:
    """Refuse a release that tries packages, unless a person says that this is a test host. Raises PreflightError."""
    if manifest.overrides and not wanted.for_tests:
        refuse(
            "bundle-for-tests",
            f"the bundle of {manifest.release} tries {first_few(manifest.overrides)}, and is only for test hosts",
            "On a test host, run `releaser bundle install --for-tests`. For other hosts, release these packages, and"
            " bundle an update.",
        )


def _refuse_unfit(site: Site, manifest: BundleManifest, *, allow_older: bool) -> None:
    """Refuse a bundle that has expired, is of another project, or is older than the live one. Raises PreflightError."""
    _refuse_expired(manifest)
    if manifest.project not in names_of(site):
        refuse(
            "other-project",
            f"it is a bundle of {manifest.project}, but this project is {site.project.name}",
            "Install it in that project.",
        )
    before = bundle_before(site)
    if before is not None and manifest.sequence < before.sequence and not allow_older:
        message = f"the bundle of {manifest.release} is older than the live release, {before.release}"
        refuse(
            "bundle-older",
            message,
            "To go back, run `releaser rollback`. To install the older bundle, add --allow-older.",
        )


def bundle_before(site: Site) -> Provenance | None:
    """Return the bundle of the live release, or else the newest bundle installed before it; None without one."""
    live = store_of(site).live()
    if live is None:
        return None
    earlier = [release for release in store_of(site).all() if release.id <= live.id]
    bundles = {release.id: SupplyFacts.of(release.manifest).bundle for release in earlier}
    return bundles[live.id] or max(filter(None, bundles.values()), key=lambda bundle: bundle.sequence, default=None)


def names_of(site: Site) -> tuple[str, str]:
    """Return the names of a project that a bundle may have: of its directory, and in its pyproject.toml."""
    return site.project.name, str(site.pyproject.table("project").get("name") or site.project.name)


def _choose_python(site: Site, read: Callable[[BundledFile], bytes], manifest: BundleManifest) -> Choice:
    """Return the Python that the build will choose, by the files of the bundle's commit. Raises PreflightError."""
    checkout = site.project.checkout
    with temporary_directory(next_to=checkout) as scratch:
        for name in (PYPROJECT, PYTHON_VERSION):
            if (file := manifest.find(name)) is not None:
                (scratch / name).write_bytes(read(file))
        sketch = replace(site, project=replace(site.project, root=scratch, staged_from=checkout)).of_commit()
        if sketch.settings.python is None:
            refuse_named_program(scratch, scratch, checkout)
        return choose(sketch, sketch.uv)


def _refuse_platform(
    site: Site, read: Callable[[BundledFile], bytes], manifest: BundleManifest, choice: Choice, *, tests: bool
) -> None:
    """Refuse a bundle without a wheel of each package for this Python and host, by ABI, system and libc."""
    (text,) = (file for file in manifest.files if file.path == LOCK)
    python = choice.version
    wheels = [file.path.removeprefix(WHEELS) for file in manifest.below(WHEELS)]
    here = None
    with contextlib.suppress(PreflightError):  # reported when the release is built
        here = choose_dependency_group(site.settings, site.pyproject)
    try:
        lock = LockFile.parse(read(text))
        lacking = lacks(lock, needed_groups(site, lock, manifest.group, here, tests=tests), python, wheels)
    except ValueError as error:  # of the lock, or of a version or marker in it
        refuse("bundle-lock-unreadable", f"its lock cannot be read: {error}", "Create the bundle again.")
    if lacking:
        targets = first_few(map(str, manifest.targets))
        message = (
            f"the bundle has no wheel of {first_few(lacking)} for Python {python} on this host; it is for {targets}"
        )
        refuse("wheel-missing", message, "Create it for this host with --target, or set `python` to another version.")


def find_missing(pool: Pool, manifest: BundleManifest) -> list[BundledFile]:
    """Return the files of its base that a delta needs and this host lacks, except releaser's own wheels."""
    return [file for file in manifest.unpacked if file.in_base and pool.find(file.sha256) is None]


def _unpack(site: Site, pool: Pool, archive: BundleArchive, manifest: BundleManifest) -> Path:
    """Unpack the files where uv and git find them, as hard links into the pool. Raises PreflightError."""
    message = f"{site.project.root} is not under git, but the bundle of {manifest.release} contains commits"
    advice = "Install it in a new directory: --into DIRECTORY."
    refuse_any(site.require_git(Finding("needs-git", message, advice)))
    try:
        pool.prepare()
        for file in manifest.unpacked:
            kept = pool.extract(file, archive.extract)
            target = pool.unpacked / file.path
            target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            os.link(kept, target)
        exclude(site.git, manifest)
        pool.remember(manifest)
    except (OSError, ToolError) as error:
        refuse(
            "bundle-not-unpacked",
            f"the bundle cannot be unpacked: {reason_of(error)}",
            f"Check free space and permissions of {pool.directory}.",
        )
    return pool.unpacked


def show_bundle(file: Path) -> BundleDetails:
    """Return the details of a bundle, without verifying them. Raises PreflightError."""
    with open_archive(file) as archive:
        return BundleDetails.of(archive.manifest(), signer=None, path=str(file), size=file.stat().st_size)


def verify_bundle(site: Site, wanted: InstallRequest) -> BundleDetails:
    """Verify the signature of a bundle and the hash of each of its files. Raises PreflightError."""
    with open_archive(wanted.file) as archive:
        signer = verify_signature(site.runner, archive, wanted, trust_of(site, wanted.signers))
        manifest = archive.manifest()
        archive.verify(manifest)
        return BundleDetails.of(manifest, signer=signer, path=str(wanted.file), size=wanted.file.stat().st_size)


def compare_bundles(before: Path, after: Path) -> BundleDifference:
    """Describe what changes from one bundle to another. Raises PreflightError."""
    with open_archive(before) as old, open_archive(after) as new:
        old_manifest, new_manifest = old.manifest(), new.manifest()
        locks = [
            LockFile.parse(one.read(found)).versions if (found := it.find(LOCK)) and not found.in_base else None
            for one, it in ((old, old_manifest), (new, new_manifest))
        ]
        known = {(file.path, file.sha256) for file in old_manifest.files}
        return BundleDifference(
            before=old_manifest.release,
            after=new_manifest.release,
            commits=(old_manifest.commit, new_manifest.commit),
            changes=changes_between(locks[0], locks[1]) if locks[0] is not None and locks[1] is not None else (),
            new_bytes=sum(file.size for file in new_manifest.files if (file.path, file.sha256) not in known),
        )
