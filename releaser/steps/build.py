"""Building a candidate in its final place: a venv cannot be moved."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from releaser.durable import sync_file_system
from releaser.errors import BuildError, ToolError
from releaser.project import disk
from releaser.releases.cost import measure
from releaser.releases.dedupe import dedupe
from releaser.releases.disk_use import note
from releaser.releases.editables import lead_elsewhere
from releaser.releases.interpreter import ask_if_possible
from releaser.releases.permissions import others_may_read, share
from releaser.releases.release import OUTPUT, Manifest, Release
from releaser.releases.seal import seal_files
from releaser.steps import startup
from releaser.steps.local_builds import refuse_built_files
from releaser.steps.runners import count_tests, fewer_tests
from releaser.steps.test_packages import kept_out

if TYPE_CHECKING:
    from pathlib import Path

    from releaser.project.preflight import Fitness
    from releaser.releases.quarantine import CandidateKey
    from releaser.releases.release import Tests
    from releaser.run import Run
    from releaser.steps.resolve import Resolution


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A release that is being made: built, but neither tested nor sealed.

    `overrides` are the packages from elsewhere that it is built to try; such a one never goes live. `instead_of` is the
    earlier release whose lock is rebuilt, and which it is to stand in for. `link_mode` is how its files came out of
    uv's cache; `saved` are the bytes that it had at first, and shares with the live release now.
    """

    id: str
    sequence: int
    created_at: datetime
    directory: Path
    key: CandidateKey
    resolution: Resolution
    overrides: tuple[str, ...] = ()
    instead_of: Release | None = None
    link_mode: str = ""
    saved: int = 0

    @property
    def venv(self) -> Path:
        """The environment itself."""
        return self.directory / "venv"

    @property
    def lock(self) -> Path:
        """The lock that it is built from."""
        return self.directory / "uv.lock"

    @property
    def output(self) -> str:
        """What its tests have printed so far; empty when there is none."""
        try:
            return (self.directory / OUTPUT).read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return ""


def build(
    run: Run,
    fitness: Fitness,
    resolution: Resolution,
    key: CandidateKey,
    *,
    overrides: tuple[str, ...] = (),
    instead_of: Release | None = None,
) -> Candidate:
    """Build the venv of a new candidate; the journal names it before anything of it is there.

    Raises BuildError.
    """
    with run.recorder.step("build") as step:
        now = datetime.now(UTC)
        name, sequence = run.store.begin(now)
        candidate = Candidate(
            id=name,
            sequence=sequence,
            created_at=now,
            directory=run.store.path(name),
            key=key,
            resolution=resolution,
            overrides=overrides,
            instead_of=instead_of,
        )
        run.journal.write(run.entry("building", target=name))
        try:
            candidate = replace(candidate, link_mode=_install(run, fitness, candidate))
            startup.fit(run, candidate.venv)
            share(
                candidate.directory,
                group=fitness.unix_group,
                others=others_may_read(run.site.project.checkout),
            )
            candidate = replace(candidate, saved=_dedupe(run, candidate))
        except ToolError as error:
            what = "Make room" if "No space left" in error.output else "See what uv says"
            advice = error.advice or f"{what}; releaser tries again at the next run."
            message = f"the candidate could not be built: {error.message}"
            raise BuildError(message, advice=advice, output=error.output) from error
        except OSError as error:
            message = f"the candidate could not be built: {error}"
            raise BuildError(message, advice="Check free space and permissions below state_dir.") from error
        step.says(name)
    return candidate


def _dedupe(run: Run, candidate: Candidate) -> int:
    """Share with the live release what is the same, before the tests, so that these see what goes live."""
    live = run.store.live()
    return 0 if live is None or candidate.link_mode != "clone" else dedupe(candidate.venv, live.venv)


def _install(run: Run, fitness: Fitness, candidate: Candidate) -> str:
    tree = candidate.resolution.tree
    candidate.lock.write_bytes(candidate.resolution.lock.data)
    mode = run.site.settings.link_mode or ("clone" if disk.can_clone(candidate.directory) else "copy")
    install(run, fitness, tree, candidate.venv, link_mode=mode)
    return mode


def install(
    run: Run,
    fitness: Fitness,
    tree: Path,
    venv: Path,
    *,
    link_mode: str,
    compiled: bool = True,
) -> None:
    """Install third-party packages as locked in the staging tree, and local ones from its source.

    Editable packages lead into the staging tree until the release is sealed. Raises ToolError.
    """
    uv, group, without = fitness.uv, fitness.group, kept_out(run.site, tree / "uv.lock")
    uv.sync(tree, venv, python=fitness.python, group=group, link_mode=link_mode, compiled=compiled, without=without)
    local = uv.local_packages(tree, group=group, without=without)
    if not local.strip():
        return
    requirements = tree / ".releaser-local.txt"
    requirements.write_text(local, encoding="utf-8")
    before = set(run.site.git.unknown_files())
    uv.install_local(tree, venv, requirements, link_mode=link_mode, compiled=compiled)
    refuse_built_files(run.site, before)


def seal(run: Run, candidate: Candidate, *, tests: Tests) -> Release:
    """Make the candidate a release: flush its files, then rename its manifest in. Raises BuildError."""
    with run.recorder.step("seal"):
        live, earlier = run.store.live(), candidate.instead_of if tests == "passed" else None
        staged = run.staged
        if tests != "refused" or run.draft.pulled is None:  # else the checkout lacks the code that waits with it
            _lead_to_checkout(run, candidate)
        fingerprint = _fingerprint(candidate)
        cost = measure(candidate.directory)
        manifest = Manifest(
            id=candidate.id,
            sequence=candidate.sequence,
            created_at=candidate.created_at,
            origin="override" if candidate.overrides else "built",
            python=candidate.key.python,
            group=candidate.key.group,
            lock_sha256=candidate.resolution.lock.sha256,
            dependencies_key=run.site.pyproject.dependencies_key(),
            code_key=candidate.key.code_key,
            commit=staged.commit if staged else None,
            subject=staged.subject if staged else "",
            staging_copied=staged.copied if staged else (),
            staging_linked=staged.linked if staged else (),
            previous=live.id if live else None,
            tests=tests,
            changes=candidate.resolution.diff.changes,
            size_bytes=cost.size_bytes,
            fingerprint=fingerprint,
            overrides=candidate.overrides,
            interpreter=ask_if_possible(run.site.runner, candidate.venv),
            link_mode=candidate.link_mode,
            tests_run=count_tests(candidate.output),
        )
        run.draft.problems += filter(None, [fewer_tests(manifest, live.manifest if live else None)])
        if earlier is not None:
            manifest = _in_the_place_of(earlier.manifest, manifest)
        try:
            note(run.store, candidate.id, cost, saved=candidate.saved, like=live.id if live else None)
            sync_file_system(candidate.directory)
            return run.store.complete(manifest)
        except OSError as error:
            raise _not_sealed(error) from error


def _lead_to_checkout(run: Run, candidate: Candidate) -> None:
    """Let editable packages lead into the checkout, and no longer into the staging tree. Raises BuildError."""
    top = run.site.git.layout.top
    try:
        lead_elsewhere(candidate.venv, top, run.site.project.of_checkout(top))
    except OSError as error:
        raise _not_sealed(error) from error


def _in_the_place_of(earlier: Manifest, manifest: Manifest) -> Manifest:
    """Let a release stand where an earlier one stood, whose lock it has: it brings the same, at the same point."""
    return replace(
        manifest,
        sequence=earlier.sequence,
        dependencies_key=earlier.dependencies_key,
        previous=earlier.previous,
        changes=earlier.changes,
        replaces=earlier.id,
    )


def _fingerprint(candidate: Candidate) -> str:
    try:
        return seal_files(candidate.directory)
    except OSError as error:
        raise _not_sealed(error) from error


def _not_sealed(error: OSError) -> BuildError:
    message = f"the candidate could not be sealed: {error}"
    return BuildError(message, advice="Check free space and permissions below state_dir.")
