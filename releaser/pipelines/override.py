"""Builds and tests the live release with packages from elsewhere, such as a branch of git; that never goes live."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement

from releaser.candidate.build import LockInstaller
from releaser.candidate.identity import make_key
from releaser.candidate.shadow import make_shadow
from releaser.candidate.trial import Attempt, seal, try_candidate
from releaser.checkout.target import Target
from releaser.errors import BuildError, GateError, refuse
from releaser.packages.changes import compare_locks
from releaser.packages.lock import Lock, read_lock
from releaser.packages.resolve import Plan, choose_python, explain_resolution, read_live_venv
from releaser.packages.rules import Rules
from releaser.packages.sources import copy_sources
from releaser.pipelines import checks
from releaser.pipelines.decide import require_names
from releaser.releases.journal import Entry, write_entry
from releaser.releases.release import Release
from releaser.releases.store import SiteRun
from releaser.report.outcomes import Outcome, Payload, make_unchanged
from releaser.site.project import get_table
from releaser.site.site import Site
from releaser.system.text import clip_end, join_few, normalize_name

_TABLE = re.compile(r"^\[tool\.uv\][ \t]*(#.*)?$", re.MULTILINE)
_ENTRY = re.compile(r"^override-dependencies[ \t]*=[ \t]*\[", re.MULTILINE)


def read_override(text: str) -> tuple[str, str]:
    """Return the name of a package and the requirement `NAME @ URL`. Raises ValueError that says what it must be."""
    try:
        requirement = Requirement(text)
    except InvalidRequirement:
        requirement = Requirement("x")
    scheme, _, address = (requirement.url or "").partition("://")
    if not address:
        raise ValueError("`NAME @ URL`, such as `django @ git+https://HOST/REPOSITORY@BRANCH`")
    if "@" in address.partition("/")[0] and not scheme.endswith("ssh"):
        raise ValueError("without user and password: git and uv know where to look for them")
    return normalize_name(requirement.name), text


def try_overrides(site: Site, run: SiteRun, overrides: Mapping[str, str]) -> Outcome:
    """The command `update --override`: say whether the tests pass. Nothing but the release that was tested changes."""
    live = run.store.link.release
    try:
        release = build_overridden(site, run, overrides)
    except GateError as error:
        output = clip_end(error.output, 20, 2000)
        payload = Payload(output=output)
        return Outcome("failed", 5, error.message, live, payload, "heard", problems=error.problems)
    return make_unchanged(f"The tests pass with {_name(read_lock(release.lock), overrides)}. Nothing went live.", live)


def build_overridden(site: Site, run: SiteRun, overrides: Mapping[str, str]) -> Release:
    """Return a release with these packages, by name, on the code of HEAD, and else the lock of the live release.

    It has passed its tests, but is outdated from the beginning: neither `update` nor `rollback` takes it live, and
    `prune` deletes it. Raises PreflightError, BuildError, and GateError if it has not passed.
    """
    write_entry(site.paths, Entry("building", run.command.name, run.id))
    view, live = checks.look(site, run.store, mark=run.id, is_first=run.store.live is None), run.store.live
    head, repository = view.require_fit().checkout.head, view.repository
    copy_sources(site, run)
    with (
        make_shadow(site, repository, site.paths.shadow(f"{run.id}-lock"), head, mark=run.id) as shadow,
        run.step("resolve") as detail,
    ):
        if live is not None:
            (shadow.project / "uv.lock").write_bytes(live.lock.read_bytes())
        plan = _resolve(site, shadow.project, live, overrides, mark=run.id)
        names = _name(plan.lock, overrides)
        detail.append(names)
    code_key = repository.code_key(head, *site.committed_paths)
    attempt = Attempt(Target(head, head, code_key, publishes=False), site, plan, make_key(site, plan, code_key))
    trial = try_candidate(run, repository, attempt, live, LockInstaller(plan, live.venv if live else None))
    release = seal(trial, run, live, overrides=tuple(overrides.values()))
    if trial.failed_gate:
        message = f"The tests do not pass with {names}: {trial.failure}. Nothing went live."
        raise GateError(message, trial.advice or f"See {release.tests_log}.", output=trial.tests.output)
    return release


def _resolve(site: Site, tree: Path, live: Release | None, overrides: Mapping[str, str], *, mark: str) -> Plan:
    """Return the plan of the lock in a tree with other packages; the tree's pyproject.toml is changed for that."""
    path = tree / "pyproject.toml"
    before = read_lock(tree / "uv.lock")
    require_names(before, [*overrides])
    path.write_text(add_overrides(path.read_text(encoding="utf-8"), [*overrides.values()]), encoding="utf-8")
    python, version = choose_python(site, tree, read_live_venv(site, live) if live else None, mark=mark)
    finished = site.run_uv("lock", "--python", python, cwd=tree, mark=mark, check=False)
    if finished.status != 0:
        raise explain_resolution(finished, Rules())
    lock = read_lock(tree / "uv.lock")
    plan = Plan(lock, python, version, compare_locks(before, lock), renewed=frozenset(overrides))
    if strange := [name for name in overrides if any(each.source.kind == "registry" for each in lock.find(name))]:
        raise BuildError(
            f"uv does not take {join_few(strange)} from there.", "See `override-dependencies` in `uv.toml`."
        )
    return plan


def add_overrides(pyproject: str, entries: list[str]) -> str:
    """Return pyproject.toml with more `override-dependencies` of uv. Raises PreflightError."""
    words = ", ".join(map(json.dumps, entries))
    place = _ENTRY.search(pyproject) or _TABLE.search(pyproject)
    if place is None:
        text = f"{pyproject}\n[tool.uv]\noverride-dependencies = [{words}]\n"
    else:
        new = f"{words}, " if place.re is _ENTRY else f"\noverride-dependencies = [{words}]"
        text = pyproject[: place.end()] + new + pyproject[place.end() :]
    try:
        table = get_table(tomllib.loads(text), "tool", "uv")
    except tomllib.TOMLDecodeError:
        table = {}
    if not {*entries} <= {*table.get("override-dependencies", ())}:
        message = "The overrides cannot be written into pyproject.toml."
        raise refuse("wrong-override", message, "Write `[tool.uv]` as a table there, with a line of its own.")
    return text


def _name(lock: Lock, overrides: Mapping[str, str]) -> str:
    packages = [package for name in overrides for package in lock.find(name)]
    return join_few([f"{package.name} {package.label} from {package.source.place}" for package in packages])
