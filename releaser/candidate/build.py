"""Building and sealing a candidate, with the start-up module in it."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from releaser.candidate.test_output import count_tests, fewer_tests
from releaser.errors import BuildError, ToolError
from releaser.releases import startup
from releaser.releases.contents import measure, others_may_read, share
from releaser.releases.fingerprint import seal_files
from releaser.releases.interpreter import ask_if_possible
from releaser.releases.journal import journal_of, make_entry
from releaser.releases.metadata import lead_elsewhere
from releaser.releases.release import OUTPUT, Manifest, Release
from releaser.releases.store import store_of
from releaser.site import disk
from releaser.site.conventions import kept_out
from releaser.system.environment import inside
from releaser.system.files import sync_file_system
from releaser.tools.uv import local_export_arguments, local_install_arguments, sync_arguments

if TYPE_CHECKING:
    from pathlib import Path

    from releaser.releases.quarantine import CandidateKey
    from releaser.releases.release import Tests
    from releaser.report import RunLog
    from releaser.resolution.resolve import Resolution
    from releaser.site.site import Site, SiteFacts


logger = logging.getLogger(__name__)

_LEVELS = ("-o", "0", "-o", "1", "-o", "2")  # as `python`, `python -O` and `python -OO` look for it
_TIMEOUT = 60.0  # seconds for an interpreter to compile one module


def fit(site: Site, venv: Path) -> None:
    """Put the start-up module into a venv, compiled, unless that is switched off. Raises OSError.

    It is compiled here because who starts the interpreter later may not be able to write there.
    """
    if not site.settings.pin:
        return
    for module in startup.put_into(venv):
        if module.parent.parent.name == _our_library():
            startup.compile_here(module)
        else:
            _compile_there(site, venv, module)
        startup.open_byte_code(module)


def _our_library() -> str:
    """Return the name of the library directory of Pythons that understand the byte code of this one."""
    major, minor = sys.version_info[:2]
    return f"python{major}.{minor}" if sys.implementation.name == "cpython" else ""


def _compile_there(site: Site, venv: Path, module: Path) -> None:
    with contextlib.suppress(ToolError):
        site.runner.run(
            # Without site, the module does not run yet.
            [venv / "bin" / "python", "-I", "-S", "-m", "compileall", "-q", *_LEVELS, module],
            cwd=venv,
            env=inside(venv, site.runner.environ),
            timeout=_TIMEOUT,
        )


def fit_if_possible(site: Site, venv: Path) -> str:
    """Do the same for a venv that somebody else has made; say why when it is not possible, as it does without."""
    try:
        fit(site, venv)
    except OSError as error:
        logger.warning("%s gets no start-up module: %s", venv, error)
        return f"its processes are neither pinned nor counted: {error}"
    return ""


# What building a package leaves beside its source, and nothing needs.
_HARMLESS = ("build", "dist", "__pycache__")
_MOST_NAMED = 3


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A release that is being made: built, but neither tested nor sealed."""

    id: str
    sequence: int
    created_at: datetime
    directory: Path
    key: CandidateKey
    resolution: Resolution
    #: The packages from elsewhere that it is built to try; such a one never goes live.
    overrides: tuple[str, ...] = ()
    #: How its files came out of uv's cache.
    link_mode: str = ""
    #: The migrations that it brings and that are not applied.
    migrations: tuple[str, ...] = ()

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


@dataclass(frozen=True, kw_only=True)
class Unbuildable:
    """A candidate that could not be built, or whose tests lack what only they need."""

    candidate: Candidate
    message: str
    advice: str
    #: What uv has printed.
    output: str

    def error(self) -> BuildError:
        """Return what ends a run that needs this candidate."""
        return BuildError(self.message, advice=self.advice, output=self.output)


def build(
    site: Site,
    log: RunLog,
    facts: SiteFacts,
    resolution: Resolution,
    key: CandidateKey,
    *,
    overrides: tuple[str, ...] = (),
) -> Candidate:
    """Build the venv of a new candidate, as `try_to_build` does. Raises BuildError."""
    built = try_to_build(site, log, facts, resolution, key, overrides=overrides)
    if isinstance(built, Unbuildable):
        raise built.error()
    return built


def try_to_build(
    site: Site,
    log: RunLog,
    facts: SiteFacts,
    resolution: Resolution,
    key: CandidateKey,
    *,
    overrides: tuple[str, ...] = (),
) -> Candidate | Unbuildable:
    """Build the venv of a new candidate; the journal names it before anything of it is there.

    Raises BuildError if the disk does not let it.
    """
    with log.step("build") as step:
        now = datetime.now(UTC)
        name, sequence = store_of(site).begin(now)
        candidate = Candidate(
            id=name,
            sequence=sequence,
            created_at=now,
            directory=store_of(site).path(name),
            key=key,
            resolution=resolution,
            overrides=overrides,
        )
        journal_of(site).write(make_entry(log, "building", target=name))
        try:
            candidate = replace(candidate, link_mode=_install(site, facts, candidate))
            fit(site, candidate.venv)
            share(
                candidate.directory,
                group=facts.unix_group,
                others=others_may_read(site.project.checkout),
            )
        except ToolError as error:
            what = "Make room" if "No space left" in error.output else "See what uv says"
            advice = error.advice or f"{what}; releaser tries again at the next run."
            message = f"the candidate could not be built: {error.message}"
            step.status, step.detail = "failed", message
            return Unbuildable(candidate=candidate, message=message, advice=advice, output=error.output)
        except OSError as error:
            message = f"the candidate could not be built: {error}"
            raise BuildError(message, advice="Check free space and permissions below state_dir.") from error
        step.says(name)
    return candidate


def _install(site: Site, facts: SiteFacts, candidate: Candidate) -> str:
    tree = candidate.resolution.tree
    candidate.lock.write_bytes(candidate.resolution.lock.data)
    mode = site.settings.link_mode or ("clone" if disk.can_clone(candidate.directory) else "copy")
    install(site, facts, tree, candidate.venv, link_mode=mode)
    return mode


def install(
    site: Site,
    facts: SiteFacts,
    tree: Path,
    venv: Path,
    *,
    link_mode: str,
    compiled: bool = True,
) -> None:
    """Install third-party packages as locked in the staging tree, and local ones from its source.

    Editable packages lead into the staging tree until the release is sealed. Raises ToolError.
    """
    uv, group, without = facts.uv, facts.group, kept_out(site, tree / "uv.lock")
    words = sync_arguments(group=group, link_mode=link_mode, compiled=compiled, without=without)
    uv.sync(tree, venv, words, python=facts.python)
    local = uv.run(local_export_arguments(group=group, without=without), tree=tree)
    if not local.strip():
        return
    requirements = tree / ".releaser-local.txt"
    requirements.write_text(local, encoding="utf-8")
    before = set(site.git.unknown_files())
    python = venv / "bin" / "python"
    words = local_install_arguments(python=python, requirements=requirements, link_mode=link_mode, compiled=compiled)
    uv.run(words, tree=tree)
    _refuse_built_files(site, before)


def _refuse_built_files(site: Site, before: set[str]) -> None:
    """Refuse a build that has written files into the staging tree which the packages need and the checkout lacks.

    Compiled extensions of editable packages are such files, and generated version modules. `before` is what git did
    not track there before the build. Raises ToolError.
    """
    top = site.git.layout.top
    checkout = site.project.of_checkout(top)
    made = sorted(path for path in set(site.git.unknown_files()) - before if _is_needed(path, checkout))
    if made:
        more = f" and {len(made) - _MOST_NAMED} more" if len(made) > _MOST_NAMED else ""
        shown = ", ".join(made[:_MOST_NAMED]) + more
        message = f"building the project's own packages writes files that the checkout lacks: {shown}"
        advice = (
            "Let uv install that package as a wheel (`editable = false` in tool.uv.sources), or build it once in the"
            " checkout, by hand."
        )
        raise ToolError(message, advice=advice)


def _is_needed(path: str, checkout: Path) -> bool:
    name = path.rstrip("/").rpartition("/")[2]
    if name in _HARMLESS or name.endswith((".egg-info", ".pyc")) or name.startswith(".releaser-"):
        return False
    return name.endswith(".so") or not os.path.lexists(checkout / path)


def seal(site: Site, log: RunLog, candidate: Candidate, *, tests: Tests) -> Release:
    """Make the candidate a release: flush its files, then rename its manifest in. Raises BuildError."""
    with log.step("seal"):
        live, staged = store_of(site).live(), site.staged
        if tests != "refused" or site.pulled is None:  # else the checkout lacks the code that waits with it
            _lead_to_checkout(site, candidate)
        fingerprint = _fingerprint(candidate)
        usage = measure(candidate.directory)
        manifest = Manifest(
            id=candidate.id,
            sequence=candidate.sequence,
            created_at=candidate.created_at,
            origin="override" if candidate.overrides else "built",
            python=candidate.key.python,
            group=candidate.key.group,
            lock_sha256=candidate.resolution.lock.sha256,
            dependencies_key=site.pyproject.dependencies_key(),
            code_key=candidate.key.code_key,
            commit=staged.commit if staged else None,
            subject=staged.subject if staged else "",
            staging_copied=staged.copied if staged else (),
            staging_linked=staged.linked if staged else (),
            previous=live.id if live else None,
            tests=tests,
            changes=candidate.resolution.diff.changes,
            size_bytes=usage.size_bytes,
            own_bytes=usage.own_bytes,
            inodes=usage.inodes,
            fingerprint=fingerprint,
            overrides=candidate.overrides,
            interpreter=ask_if_possible(site.runner, candidate.venv),
            link_mode=candidate.link_mode,
            tests_run=count_tests(candidate.output),
            migrations=candidate.migrations,
        )
        log.note(*filter(None, [fewer_tests(manifest, live.manifest if live else None)]))
        try:
            sync_file_system(candidate.directory)
            return store_of(site).complete(manifest)
        except OSError as error:
            raise _not_sealed(error) from error


def _lead_to_checkout(site: Site, candidate: Candidate) -> None:
    """Let editable packages lead into the checkout, and no longer into the staging tree. Raises BuildError."""
    top = site.git.layout.top
    try:
        lead_elsewhere(candidate.venv, top, site.project.of_checkout(top))
    except OSError as error:
        raise _not_sealed(error) from error


def _fingerprint(candidate: Candidate) -> str:
    try:
        return seal_files(str(candidate.directory))
    except OSError as error:
        raise _not_sealed(error) from error


def _not_sealed(error: OSError) -> BuildError:
    message = f"the candidate could not be sealed: {error}"
    return BuildError(message, advice="Check free space and permissions below state_dir.")
