"""Builds a candidate with the start-up module in it, describes its changes, and seals it as a release."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from releaser.candidate.install import install
from releaser.candidate.output import TestFacts, count_tests, fewer_tests
from releaser.capabilities import gather
from releaser.checkout.files import copy_included
from releaser.checkout.leftovers import renew_tree
from releaser.core.reuse import NOTHING, Taken, reuse
from releaser.errors import BuildError, Finding, ToolError, is_out_of_space
from releaser.listener import Gauge
from releaser.locks.lock import Graph
from releaser.locks.origins import OriginFacts, without_wheels_now
from releaser.locks.versions import uploads_in
from releaser.releases.acceptance import hash_files
from releaser.releases.contents import measure, others_may_read, seal_files, share
from releaser.releases.journal import journal_of, make_entry
from releaser.releases.lifecycle import digest_of
from releaser.releases.release import OUTPUT, Manifest, Release, lock_of
from releaser.releases.store import store_of
from releaser.releases.touched import note_installed
from releaser.releases.venv import VenvFacts, ask_if_possible, count_installed, link_of, repoint_editables
from releaser.resolution.resolve import candidate_key
from releaser.site import disk
from releaser.site.sealed_python import look_at_start, look_at_start_files
from releaser.system.files import read_text, sync_file_system
from releaser.system.frozen import Frozen, field, replace
from releaser.system.own_code import keep_all
from releaser.system.words import first_few

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from releaser.core.run import Workspace
    from releaser.core.source import Resolution
    from releaser.locks.changes import Change
    from releaser.locks.lock import LockFile
    from releaser.releases.key import ReleaseKey
    from releaser.releases.release import Tests


_MOST_ASKERS = 5


class Candidate(Frozen):
    """A release that is built, and not sealed yet."""

    id: str
    sequence: int
    created_at: datetime
    directory: Path
    key: ReleaseKey
    resolution: Resolution
    #: The link mode with which uv installed its files.
    link_mode: str = ""
    #: The files that it took from the live release.
    taken: Taken = NOTHING
    #: Returns the files of its venv that were changed after the installation.
    find_touched: Callable[[], list[str]] = list
    #: Fields of its manifest that gates provide.
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def venv(self) -> Path:
        """The virtual environment."""
        return self.directory / "venv"

    @property
    def lock(self) -> Path:
        """The lock that it is built from."""
        return self.directory / "uv.lock"

    @property
    def output(self) -> str:
        """The output of its tests so far; empty without any."""
        try:
            return read_text(self.directory / OUTPUT, errors="replace")
        except FileNotFoundError:
            return ""


class Unbuildable(Frozen):
    """A candidate that could not be built, or whose test packages could not be installed."""

    candidate: Candidate
    message: str
    advice: str
    #: The output of uv.
    output: str

    def error(self) -> BuildError:
        """Return the error for a run that needs this candidate."""
        return BuildError(self.message, self.advice, output=self.output)


def try_to_build(work: Workspace, resolution: Resolution) -> Candidate | Unbuildable:
    """Build the venv of a new candidate; the journal names the candidate before its first file exists.

    Raises BuildError on an OSError, and the error of a gate that refuses its lock.
    """
    for kind in ("endings", "sections"):  # their packages are not all loaded
        gather(kind)
    keep_all()
    site = work.site
    facts = work.examine_lock(work, resolution.lock)
    key = candidate_key(site, work.facts, resolution.lock)
    with work.log.step("build") as step:
        now = datetime.now(UTC)
        name, sequence = store_of(site).begin(now)
        candidate = Candidate(
            id=name,
            sequence=sequence,
            created_at=now,
            directory=store_of(site).path(name),
            key=key,
            resolution=resolution,
            facts=facts,
        )
        journal_of(site).write(make_entry(work.log, "building", release=name))
        try:
            renew_tree(site)
            candidate.lock.write_bytes(resolution.lock.data)
            copy_included(site, candidate.directory, work.live)
            mode = site.settings.link_mode or ("clone" if disk.can_clone(candidate.directory) else "copy")
            work.log.measure(Gauge(noun="package", read=partial(count_installed, candidate.venv)))
            taken = install(work.site, work.facts, candidate.venv, live=work.reusable, link_mode=mode)
            candidate = replace(candidate, link_mode=mode, taken=taken)
            for add in gather("additions"):
                add(site, candidate.venv)
            others, writable = others_may_read(site.project.checkout), site.settings.group_writable
            share(candidate.directory, group=work.facts.unix_group, others=others, writable=writable)
            reuse().protect(site, candidate.venv)
            candidate = replace(candidate, find_touched=note_installed(candidate.venv).find_touched)
        except ToolError as error:
            remedy = "Make room" if is_out_of_space(error.output) else "See uv's message"
            advice = error.advice or f"{remedy}; releaser tries again at the next run."
            message = f"the candidate could not be built: {error.message}"
            step.status, step.detail = "failed", message
            return Unbuildable(candidate=candidate, message=message, advice=advice, output=error.output)
        except OSError as error:
            message = f"the candidate could not be built: {error}"
            raise BuildError(message, "Check free space and permissions below state_dir.") from error
        step.says(name)
    return candidate


def seal(work: Workspace, candidate: Candidate, *, tests: Tests, facts: Mapping[str, Any] | None = None) -> Release:
    """Make the candidate a release: flush its files, then rename its manifest in. Raises BuildError.

    The manifest also gets the `facts` that gates provided after the tests.
    """
    site = work.site
    with work.log.step("seal"):
        try:
            if tests != "failed" and (touched := candidate.find_touched()):
                message = f"the candidate was changed after its tests: {first_few(touched, 3)}"
                raise BuildError(message, "Check which program writes there; the next run builds it again.")
            top = site.git.layout.top
            repoint_editables(candidate.venv, top, site.project.of_checkout(top))
            if tests != "failed":  # its files may be those of the tests
                reuse().share(site, work.reusable, candidate.directory, candidate.taken)
            manifest = replace(_manifest(work, candidate, tests), **candidate.facts, **(facts or {}))
            work.log.note(*filter(None, [fewer_tests(manifest, work.live.manifest if work.live else None)]))
            for name, old, new in without_wheels_now(lock_of(work.live), candidate.resolution.lock):
                message = (
                    f"{name} {new} is published as source only ({old} had wheels), so its own code ran to build it"
                )
                advice = f"Check the cause. `releaser hold {name}` keeps the live version until then."
                work.log.note(Finding("source-only", message, advice))
            sync_file_system(candidate.directory)
            tested_with = digest_of(work.configuration, candidate.id) if work.configuration is not None else ""
            return store_of(site).complete(manifest, configuration=tested_with)
        except (OSError, ValueError) as error:  # its tests may have left unusual files
            message = f"the candidate could not be sealed: {error}"
            raise BuildError(message, "Check free space and permissions below state_dir.") from error


def _manifest(work: Workspace, candidate: Candidate, tests: Tests) -> Manifest:
    site, live = work.site, work.live.manifest if work.live else None
    known, commit = VenvFacts.of(live).interpreter, site.git.name_of(site.tree.commit)
    installed = VenvFacts(
        fingerprint=seal_files(str(candidate.directory)),
        interpreter=ask_if_possible(site.runner, candidate.venv, known) if tests != "failed" else None,
        start=look_at_start(candidate.venv),
        start_files=look_at_start_files(candidate.venv),
        link_mode=candidate.link_mode,
    )
    files = hash_files(candidate.resolution.lock, site.project.root, OriginFacts.of(live).files)
    return Manifest(
        id=candidate.id,
        sequence=candidate.sequence,
        created_at=candidate.created_at,
        origin="built" if site.supply.goes_live else "override",
        python=candidate.key.python,
        group=candidate.key.group,
        lock_sha256=candidate.resolution.lock.sha256,
        dependencies_key=site.pyproject.dependencies_key(),
        code_key=candidate.key.code_key,
        commit=commit,
        subject=live.subject if live and live.commit == commit else site.outside.git.subject(commit) if commit else "",
        previous=live.id if live else None,
        tests=tests,
        changes=candidate.resolution.diff,
        installed_sha256=candidate.key.lock_sha256,
    ).with_facts(
        measure(candidate.directory),
        installed,
        site.tree.facts,
        site.supply.facts,
        TestFacts(tests_run=count_tests(candidate.output)),
        OriginFacts(files=files),
    )


# Facts about each change, in addition to the versions


def describe_changes_of(work: Workspace, candidate: Candidate) -> Candidate:
    """Add facts about the changes of a built candidate, for its manifest and for the report."""
    resolution = candidate.resolution
    return with_changes(work, candidate, describe_changes(resolution.diff, resolution.lock, candidate.venv))


def with_changes(work: Workspace, candidate: Candidate, changes: tuple[Change, ...]) -> Candidate:
    """Return a candidate with these changes, and put the changes into the report."""
    work.log.learn(changes=changes)
    return replace(candidate, resolution=replace(candidate.resolution, diff=changes))


def describe_changes(changes: tuple[Change, ...], lock: LockFile, venv: Path) -> tuple[Change, ...]:
    """Add facts to changes: from `lock`, which has the new versions, and from the metadata in `venv`, built from it."""
    graph = Graph.of(lock)
    times, found = uploads_in(lock, datetime.now(UTC)).times, []
    for change in changes:
        if not change.new:
            found.append(change)
            continue
        uploads = [times.get((change.name, version)) for version in change.introduced.split(", ")]
        youngest = max(filter(None, uploads), default=None)
        found.append(
            replace(
                change,
                direct=change.name in graph.direct,
                through=graph.askers.get(change.name, ())[:_MOST_ASKERS],
                released=youngest.astimezone(UTC).isoformat(timespec="seconds") if youngest else None,
                link=link_of(venv, change.name),
            )
        )
    return tuple(found)
