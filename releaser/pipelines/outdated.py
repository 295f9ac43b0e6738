"""The command `outdated`: what is newer, what the next update would bring, and what blocks each other version."""

from __future__ import annotations

import functools
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

import msgspec

from releaser.errors import BuildError, refuse, require
from releaser.live.outlook import foresee
from releaser.packages.blocked import (
    Blocked,
    Facts,
    block_otherwise,
    explain,
    find_needs,
    pin_others,
    read_answer,
    read_unfit,
)
from releaser.packages.changes import describe_changes, find_newest, name_bump
from releaser.packages.holds import Hold, Pause, find_pause
from releaser.packages.resolve import Plan
from releaser.packages.rules import Rules
from releaser.pipelines.decide import UpdateOptions, decide
from releaser.releases.release import PackageChange, Release
from releaser.releases.store import SiteRun, Store
from releaser.releases.venv import list_installed
from releaser.report.decision import Adopt, Paused, Refused, StillFailing, summarize
from releaser.site.site import Site
from releaser.system.process import Finished, failure
from releaser.system.run import UPDATE
from releaser.system.text import count, find_close

_MOST = 40  # versions that uv is asked about
#: With a Python that is newer than any, uv names the versions that need a newer one than the site allows.
_PYTHON, _ANY_PYTHON = re.compile(r"^requires-python = .*$", re.MULTILINE), 'requires-python = ">=3.99"'


_PINNED = re.compile(r"^([a-z0-9-]+)==(\S+)", re.MULTILINE)


class OutdatedRow(msgspec.Struct, frozen=True):
    """A package of which the index has a newer version than the live one; `tonight` is None if it stays."""

    name: str
    live: str
    tonight: str | None
    newest: str
    blocked: tuple[Blocked, ...] = ()


class Outdated(msgspec.Struct, frozen=True):
    """The answer of `outdated`; `decision` is what the next update does, and `changes` are its packages."""

    headline: str
    decision: str
    changes: tuple[PackageChange, ...] = ()
    packages: tuple[OutdatedRow, ...] = ()
    notes: tuple[str, ...] = ()


class _Tree(msgspec.Struct, frozen=True):
    """The tree of a decision, before it is deleted, with what is known there."""

    site: Site
    path: Path
    plan: Plan
    facts: Facts
    installed: Mapping[str, str]

    def find_index(self, name: str) -> str:
        """Return where a package comes from; empty if the lock does not have it."""
        return next((package.source.location for package in self.plan.lock.find(name)), "")

    def run_uv(self, *words: str) -> Finished:
        """Ask uv, whatever its exit code is."""
        return self.site.run_uv(*words, cwd=self.path, mark="outdated", check=False)


class _TreePackage(msgspec.Struct):
    name: str = ""
    latest_version: str | None = None


class _TreeReport(msgspec.Struct):
    resolution: dict[str, _TreePackage]


def list_outdated(site: Site, name: str) -> Outdated:
    """Return what is newer than the live release, and what the next update would do; all versions of a named package.

    Writes nothing. Raises BuildError, and PreflightError where an update would be refused.
    """
    run, rows = SiteRun("outdated", UPDATE), list[OutdatedRow]()
    run.store = Store(site.paths)
    outlook = foresee(site, run.store)
    holds = tuple(hold for hold in outlook.holds if not isinstance(hold, Pause))
    decision = decide(
        site,
        run,
        UpdateOptions(dry_run=True),
        msgspec.structs.replace(outlook, holds=holds),
        functools.partial(_examine, rows, holds, outlook.store.find("live"), name),
    )
    if isinstance(decision, Refused):
        require(decision.problems)
    if isinstance(decision, Refused | Paused | Adopt):
        return Outdated(summarize(decision), decision.kind)
    changes, kind, refusal = decision.prospect.changes, decision.kind, None
    if (pause := find_pause(outlook.holds)) is not None:
        kind, refusal = Paused.kind, Blocked("", "pause", pause.sentence.rstrip("."), pause.undo)
    elif isinstance(decision, StillFailing):
        reason = f"release {decision.failed.id} with it failed: {decision.failed.manifest.failure}"
        allow = "`releaser update --force` tries again, `releaser hold NAME` goes without."
        refusal = Blocked("", "failed", reason, allow)
    if refusal is not None:
        rows, changes = [_refuse(row, refusal) for row in rows], ()
    notes = [f"First, an interrupted run is finished or undone ({outlook.interrupted})."] if outlook.interrupted else []
    notes += [f"{refusal.reason[0].upper()}{refusal.reason[1:]}."] if refusal else []
    live = outlook.store.find("live")
    stays = {(each.name, each.version): each.sentence for each in decision.prospect.skipped}
    notes += [f"{stays[package]}." for package in list_installed(live.venv).items() if package in stays]
    bring = f"The next update would bring {describe_changes(changes) or 'none'}."
    headline = f"{count(len(rows), 'package is', 'packages are')} outdated. {bring}" if rows else summarize(decision)
    return Outdated(headline, kind, changes, tuple(rows), tuple(notes))


def _refuse(row: OutdatedRow, refusal: Blocked) -> OutdatedRow:
    """Return the row of a package that stays, though rules and index would let it move."""
    blocked = [msgspec.structs.replace(refusal, version=row.tonight)] if row.tonight else []
    return msgspec.structs.replace(row, tonight=None, blocked=(*blocked, *row.blocked))


def _examine(  # noqa: PLR0913 - three of them are known before the decision
    rows: list[OutdatedRow],
    holds: tuple[Hold, ...],
    live: Release,
    name: str,
    site: Site,
    tree: Path,
    plan: Plan,
    rules: Rules,
) -> None:
    """Add a row for each package, or the one that is named, of which the index has a newer version."""
    installed = list_installed(live.venv)
    if name and name not in installed:
        close = find_close(name, installed)
        advice = f"Did you mean `{close}`?" if close else "Run `releaser run -- uv pip list`."
        raise refuse("not-installed", f"`{name}` is not in the live release.", advice)
    pyproject = tomllib.loads((tree / "pyproject.toml").read_text(encoding="utf-8"))
    facts = Facts(rules, (*holds, *plan.holds), plan.lock, plan.skipped, find_needs(pyproject, rules.constraints))
    place = _Tree(site, tree, plan, facts, installed)
    newest, tonight = _ask_newest(place), {change.name: change.new for change in plan.changes or ()}
    asked = list[str]()
    for each in [name] if name else plan.lock.names:
        label, next_label = installed.get(each, ""), tonight.get(each)
        skipped = [other.version for other in plan.skipped if other.name == each and other.version != label]
        top = find_newest([*newest.get(each, ()), *skipped, next_label or ""], label)
        if not label or (top == label and not next_label):
            continue
        versions, unfit = _list_versions(place, each) if name else ([top], [])
        versions = versions if top in versions or unfit else [top, *versions]
        blocked = list(unfit)
        for version in dict.fromkeys([*skipped, *versions]):
            if version == next_label or version in {entry.version for entry in blocked}:
                continue
            if next_label and name_bump(next_label, version) == "other":
                blocked.append(Blocked(version, "older", f"the next update takes {next_label}, which is newer"))
            else:
                blocked.append(_find_reason(place, each, version, asked))
        rows.append(OutdatedRow(each, label, next_label, top, tuple(blocked)))


def _ask_newest(place: _Tree) -> dict[str, list[str]]:
    """Return the newest versions of each package: for the Pythons of the project, and for any Python."""
    lockfile, newest = place.path / "uv.lock", dict[str, list[str]]()
    for text in (place.plan.lock_text, _PYTHON.sub(_ANY_PYTHON, place.plan.lock_text, count=1)):
        lockfile.write_text(text, encoding="utf-8")
        words = ("tree", "--outdated", "--frozen", "--universal", "--all-groups", "--format", "json")
        is_first = text == place.plan.lock_text
        finished = place.run_uv(*words, "--python", place.plan.python)
        try:
            report = msgspec.json.decode(finished.stdout, type=_TreeReport)
        except msgspec.MsgspecError as error:
            if is_first:
                message = f"uv did not say what is newer: {failure(finished).message if finished.status else error}"
                raise BuildError(message, "Run it again; see `uv tree --outdated`.") from error
            continue  # such as a lock that no newer Python fits
        for package in report.resolution.values():
            newest.setdefault(package.name, []).extend(filter(None, [package.latest_version]))
    lockfile.write_text(place.plan.lock_text, encoding="utf-8")
    packages = [package for package in place.plan.lock.packages if package.source.kind == "registry"]
    names = sorted({package.name for package in packages if not _is_url(package.source.location)} & {*place.installed})
    if names:  # `uv tree` does not look into directories
        found = _ask_for(place, names, "")[0] or {
            key: value for name in names for key, value in _ask_for(place, [name], "")[0].items()
        }
        for name, versions in found.items():
            newest.setdefault(name, []).extend(versions)
    return newest


def _list_versions(place: _Tree, name: str) -> tuple[list[str], list[Blocked]]:
    """Return the newer versions of a package that can be installed here, newest first, and those that cannot."""
    packages = place.plan.lock.find(name)
    if any(package.source.kind != "registry" for package in packages):
        return [], []
    versions = list[str]()
    while len(versions) < _MOST:
        bounds = [f"{name}>{place.installed[name]}", *(f"!={version}" for version in versions)]
        newest, finished = _ask_for(place, [",".join(bounds)], place.find_index(name))
        if name not in newest:
            is_held = name in place.facts.rules.kept
            return versions, [] if is_held else read_unfit(name, finished.stderr)
        versions += newest[name]
    return versions, []


def _ask_for(place: _Tree, requirements: list[str], index: str, *more: str) -> tuple[dict[str, list[str]], Finished]:
    """Return the newest version of each requirement that can be installed here, whatever it needs itself."""
    words = ["pip", "compile", "newer.in", "--no-deps", "--no-header", "--no-annotate", "--quiet"]
    words += ["--prerelease", "disallow", "--python", place.plan.python, *more]
    # No code of what is on hold runs for that.
    words += [f"--only-binary={name}" for name in (*place.facts.rules.kept, *place.facts.rules.skipped)]
    words += ["--default-index", index] if _is_url(index) else []
    (place.path / "newer.in").write_text("\n".join(requirements), encoding="utf-8")
    finished = place.run_uv(*words)
    return {name: [version] for name, version in _PINNED.findall(finished.stdout)}, finished


def _is_url(index: str) -> bool:
    return index.startswith(("http:", "https:"))


def _find_reason(place: _Tree, name: str, version: str, asked: list[str]) -> Blocked:
    """Return what blocks a version: by rules and requirements, else by what uv says of a lock with it."""
    if (blocked := explain(place.facts, name, version)) is not None:
        return blocked
    if len(asked) >= _MOST:
        return Blocked(version, "uv", "it was not chosen", f"`releaser outdated {name}` says more.")
    asked.append(name)
    cutoff = place.facts.rules.cutoff
    age = ["--exclude-newer", cutoff.isoformat()] if cutoff else []
    if age and not _ask_for(place, [f"{name}=={version}"], place.find_index(name), *age)[0]:
        return Blocked(
            version, "age", "it is too new for `min_age`", "It comes with time, or with a shorter `min_age`."
        )
    words = ["lock", "--dry-run", "-P", f"{name}=={version}", *pin_others(place.facts, place.installed, name)]
    finished = place.run_uv(*words, "--python", place.plan.python)
    if finished.status == 0:
        return block_otherwise(name, version, finished.stderr)
    blocked, need = read_answer(place.facts, name, version, finished.stderr)
    if need is not None:
        place.facts.needs.append(need)
    return blocked
