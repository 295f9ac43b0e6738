"""A lock that keeps the installed versions on another Python; packages without a build for it change the least."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NoReturn

from releaser.core.source import KeptVersions
from releaser.errors import Finding, ResolutionError, ToolError
from releaser.locks.installed import Pin, has_build, list_installed, list_unbuildable, tags_of, versions_for
from releaser.locks.limits import exclude_newer
from releaser.locks.origins import OriginFacts
from releaser.locks.rules import Packages, Rules
from releaser.locks.versions import LEVELS, parse_version
from releaser.releases.acceptance import accept_or_refuse
from releaser.releases.blocks import read_blocks
from releaser.releases.journal import read_notes
from releaser.releases.release import lock_of, read_versions
from releaser.releases.venv import python_of
from releaser.resolution.another_python import needs_keeping
from releaser.resolution.resolve import TreeResolver, read_made_lock
from releaser.resolution.rules import rules_for, select_blocks
from releaser.site.conventions import default_groups
from releaser.site.pythons import minor
from releaser.system.frozen import Mutable, field, replace
from releaser.system.words import plural
from releaser.tools.uv import NoSolution

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from releaser.core.run import Workspace
    from releaser.locks.blocks import Block
    from releaser.locks.lock import LockFile
    from releaser.releases.release import Release
    from releaser.tools.uv_arguments import ExcludeNewer, Specifiers

    Versions = Mapping[str, str]

_ROUNDS = 6  # questions to uv, if its answers have no build, either
_OWN_MOVE = "the project requires another version there"
_BY_OTHERS = "the lock or another package requires it"


def keep_installed(work: Workspace, lock: LockFile) -> KeptVersions:
    """Return a lock with which the site keeps its versions on the Python of this run, made in the staging tree.

    It is `lock` itself, without a question to uv, if that installs the same versions on both Pythons. Otherwise
    packages with a build for this Python stay. Others go up as little as possible, within the rules of the site; a
    package without a solution stays, and fails in the build. Raises ResolutionError, which names the package and the
    rule, if a rule blocks a change; and PreflightError.
    """
    if work.live is None or not needs_keeping(work):
        return KeptVersions(lock=lock)
    move = _Move(work=work, live=work.live, lock=lock)
    if not work.site.supply.upgrades:
        if move.moved:
            _refuse_to_follow(move)
        return KeptVersions(lock=lock)
    unfit = move.find_unfit(lock)
    if not move.moved and not unfit:
        return KeptVersions(lock=lock)
    with work.log.step("lock") as step:
        try:
            kept = _keep(move)
        except ToolError as error:
            message = f"uv could not make a lock for Python {move.python}: {error.message}"
            advice = error.advice or "Check the network and the index. The next run tries again."
            raise ResolutionError(message, advice, output=error.output) from error
        changes = list(move.changes_in(kept))
        named = ", ".join(f"{name} {old} → {new}" for name, old, new in changes)
        step.says(f"for Python {move.python}: {named or 'the same versions'}")
    return KeptVersions(lock=kept, findings=tuple(_describe(move, changes)))


class _Move(Mutable):
    """The move of a site from one Python to another."""

    work: Workspace
    live: Release
    lock: LockFile
    #: The known reasons why packages cannot stay.
    why: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        before, now = self.before, versions_for(self.lock, self.python)
        kept = versions_for(self.lock, before) if self.leaves_python else now
        running = read_versions(self.live)
        noted = {  # versions from an earlier move; they stay until a commit changes the package
            difference.name: running[difference.name]
            for difference in read_notes(self.work.site.state_dir).lock_differences
            if difference.is_kept
            and difference.name in running
            and self.lock.versions.get(difference.name) == difference.committed
        }
        #: The versions that the lock installs on the previous Python, and that should stay.
        self.kept: Versions = {**kept, **noted}
        installed = self._installed(self.lock, self.before if self.leaves_python else self.python)
        #: The installed versions of packages for which the lock has other versions on this Python.
        self.moved: Versions = {
            name: version
            for name, version in self.kept.items()
            if name in installed
            and version != now[name]
            and parse_version(version) is not None
            and parse_version(now[name]) is not None
        }

    @property
    def before(self) -> str:
        """The Python of the live release."""
        return self.live.manifest.python

    @property
    def python(self) -> str:
        """The Python of this run."""
        return self.work.facts.choice.version

    @property
    def leaves_python(self) -> bool:
        """True if the Pythons differ; False if the live release is an adopted venv of unknown Python."""
        return self.before != self.python and re.match(r"\d+\.\d+", self.before) is not None

    def changes_in(self, lock: LockFile) -> Iterator[tuple[str, str, str]]:
        """Yield the packages that change with a lock, each with the installed and the new version."""
        now, installed = versions_for(lock, self.python), self._installed(lock, self.python)
        for name, old in sorted(self.kept.items()):
            if name in installed and now[name] != old and ", " not in old:
                yield name, old, now[name]

    def _installed(self, lock: LockFile, python: str) -> frozenset[str]:
        """Return the names of the third-party packages that a lock installs on a Python, in the groups that go live."""
        site, group = self.work.site, self.work.facts.group
        found = list_installed(lock, group=group, default_groups=default_groups(site), python=python)
        return frozenset(one.name for one in found)

    def find_unfit(self, lock: LockFile) -> dict[str, str]:
        """Return the packages of a lock whose installed version cannot stay on this Python, with that version."""
        found = dict[str, str]()
        if not self.leaves_python:
            return found
        for name, version in self.moved.items():
            if why := self._explain_unfit(name, version):
                found[name], self.why[name] = version, why
        for pin in self.list_unbuildable(lock):
            if self.kept.get(pin.name) == pin.version:
                found[pin.name] = pin.version
                self.why[pin.name] = f"{pin.version} has no build for Python {minor(self.python)}"
        return found

    def list_unbuildable(self, lock: LockFile) -> tuple[Pin, ...]:
        """List the packages that a lock installs here and that have no build for this Python."""
        site, group = self.work.site, self.work.facts.group
        return list_unbuildable(lock, group=group, default_groups=default_groups(site), python=self.python)

    def _explain_unfit(self, name: str, version: str) -> str:
        """Explain why an installed version does not fit this Python; empty if it does.

        uv ignores the upper bound in a package's `requires-python` (seen with uv 0.13).
        """
        from packaging.specifiers import InvalidSpecifier, SpecifierSet  # slow to import

        tags = tags_of(self.python)
        found = [
            package for package in self.lock.packages if (package["name"], package.get("version")) == (name, version)
        ]
        if tags and not any(has_build(one, tags) for one in found):
            return f"{version} has no build for Python {minor(self.python)}"
        required = python_of(self.live.venv, name, version)
        try:
            fits = SpecifierSet(required).contains(self.python, prereleases=True)
        except InvalidSpecifier:
            return ""
        return "" if fits else f"{version} requires Python {required}"


# Questions to uv


def _keep(move: _Move) -> LockFile:
    """Lock the installed versions, with the smallest changes that are needed. Raises ResolutionError and ToolError."""
    work, unfit = move.work, move.find_unfit(move.lock)
    base = _pin(move, {name: version for name, version in move.moved.items() if name not in unfit})
    unfit |= move.find_unfit(base)
    rules = _read_rules(move)
    for name in sorted(unfit):
        if name not in {one for one, _, _ in move.changes_in(base)}:  # else it changed with another package
            base = _move_up(move, TreeResolver.of(work, base), rules, name) or base
    site, files = work.site, OriginFacts.of(move.live.manifest).files
    site.project.lock.write_bytes(base.data)
    _refuse(move, rules, TreeResolver.of(work, move.lock), base)
    accept_or_refuse(site.state_dir, move.lock, base, files_before=files, root=site.project.root)
    return base


def _pin(move: _Move, pins: Versions) -> LockFile:
    """Lock these versions for all Pythons: all together, or as many as have a solution, added one by one."""
    if not pins:
        return move.lock
    resolver = TreeResolver.of(move.work, move.lock)
    if (whole := _ask(resolver, pins)) is not None:
        return whole
    kept, lock = dict[str, str](), move.lock
    for name, version in sorted(pins.items()):
        found = _ask(resolver, {**kept, name: version})
        if found is None:
            move.why[name] = _OWN_MOVE
        else:
            kept[name], lock = version, found
    return lock


def _ask(resolver: TreeResolver, pins: Versions) -> LockFile | None:
    return _lock(resolver, {name: f"=={version}" for name, version in pins.items()}, {})


def _lock(resolver: TreeResolver, specifiers: Specifiers, limits: ExcludeNewer) -> LockFile | None:
    """Lock within these specifiers and limits; other packages keep their versions. None without a solution."""
    everything: Specifiers = {**dict.fromkeys(resolver.lock.names), **specifiers}
    if isinstance(resolver.resolve(everything, limits), NoSolution):
        return None
    if limits and isinstance(resolver.drop_time_limits(), NoSolution):
        return None
    return read_made_lock(resolver.site.project.root)


def _read_rules(move: _Move) -> Rules:
    """Return the rules of the site, for upgrades from the installed versions."""
    work, live = move.work, lock_of(move.live)
    known, now = work.blocks or read_blocks(work.site.state_dir), work.log.started_at
    counting = select_blocks(work.site, known, python=move.python, now=now)
    installed, running = replace(move.lock, versions=move.kept), replace(live, versions=read_versions(move.live))
    return rules_for(work.site, installed, running, counting, python=move.python, now=now)


def _move_up(move: _Move, resolver: TreeResolver, rules: Rules, name: str) -> LockFile | None:
    """Lock the smallest upgrade with which a package has a build here: a patch, a minor, or any version.

    Returns None without any. Raises ResolutionError if only the rules block one.
    """
    only, allowed = replace(rules, only=frozenset([name])), LEVELS.index(rules.policy.upgrade.of(name))
    for level in reversed(LEVELS[allowed:]):
        upgrade = replace(rules.policy.upgrade, packages=((name, level), *rules.policy.upgrade.packages))
        asked = replace(only, policy=replace(rules.policy, upgrade=upgrade))
        found = _search(move, resolver, asked, rules, name)
        if found is not None:
            return found
    packages = Packages(locked=rules.packages.locked, local=rules.packages.local)
    free = Rules(packages=packages, only=frozenset([name]))
    found = _search(move, resolver, free, free, name)
    if found is not None:
        _refuse(move, rules, resolver, found)
    return None


def _search(move: _Move, resolver: TreeResolver, asked: Rules, rules: Rules, name: str) -> LockFile | None:
    """Lock within `asked`, and again without versions that have no build here or that `rules` block."""
    uploads = resolver.uploads()
    specifiers = asked.specifiers({}, uploads)
    for _ in range(_ROUNDS):
        lock = _lock(resolver, specifiers, exclude_newer(asked, (), uploads))
        if lock is None:
            return None
        uploads = resolver.uploads().merge(uploads)
        changes = {one: new for one, _, new in move.changes_in(lock)}
        if name not in changes:  # it stays, as `asked` permits nothing newer
            return None
        holds = {hold.name for hold in rules.find_holds(changes, uploads).values() if hold.by != "downgrade"}
        bad = {pin.name: pin.version for pin in move.list_unbuildable(lock) if pin.name in changes}
        bad |= {name: changes[name]} if name in holds else {}
        if not bad:
            return None if holds else lock
        for one, version in bad.items():
            specifiers[one] = ",".join(filter(None, [specifiers.get(one), f"!={version}"]))
    return None


# Refusals and findings


def _refuse(move: _Move, rules: Rules, resolver: TreeResolver, lock: LockFile) -> None:
    """Raise ResolutionError if a rule of the site blocks a change of a lock."""
    changes = {name: (old, new) for name, old, new in move.changes_in(lock)}
    uploads = resolver.uploads()
    found = rules.find_holds({name: new for name, (_, new) in changes.items()}, uploads)
    against = [block for block in found.values() if block.by != "downgrade"]  # the project itself asks for a downgrade
    if not against:
        return
    lines = []
    for hold in against:
        old, new = changes[hold.name]
        why = move.why.get(hold.name, _BY_OTHERS)
        lines.append(f"{hold.name} would go from {old} to {new} ({why}), {_describe_rule(hold)}")
    message = f"on Python {move.python}, {'; '.join(lines)}"
    levels = " and ".join(f'`{block.name} = "all"`' for block in against if block.by == "policy")
    wide = f"To permit it, add {levels} to the table `upgrade_packages`." if levels else ""
    others = dict.fromkeys(_advise(block) for block in against if block.by != "policy")
    advice = " ".join(filter(None, [wide, *others, _stay(move)]))
    raise ResolutionError(message, advice)


def _describe_rule(block: Block) -> str:
    if block.by == "person":
        return f"but {block.name} is on hold by you" + (f": {block.reason}" if block.reason else "")
    if block.by in ("policy", "age", "ignore", "constraint"):
        return f"but {block.reason}"
    return f"but {block.version} {'was rolled back' if block.by == 'rollback' else 'failed before'}: {block.reason}"


def _advise(block: Block) -> str:
    match block.by:
        case "ignore":
            return f"To permit it, remove {block.name} from `ignore`."
        case "age":
            return f"Wait until it is old enough, or add an exception for {block.name} to `min_age_packages`."
        case "constraint":
            return f"To permit it, change the line of {block.name} in `constraints`."
        case _:
            return f"To permit it, run `releaser unhold {block.name}`."


def _stay(move: _Move) -> str:
    """Advise to go back to the previous Python; empty if only its patch version differs."""
    return f"Or go back to Python {minor(move.before)}." if minor(move.before) != minor(move.python) else ""


def _refuse_to_follow(move: _Move) -> NoReturn:
    """Raise ResolutionError: the committed lock has other versions for this Python, which no person chose."""
    now = versions_for(move.lock, move.python)
    lines = ", ".join(f"{name} {now[name]}, and {old} is live" for name, old in sorted(move.moved.items()))
    takes = move.work.site.supply.takes
    message = f"for Python {move.python}, uv.lock has {lines}; this site takes {takes}, so releaser changes neither"
    pins = " ".join(f"--upgrade-package {name}=={old}" for name, old in sorted(move.moved.items()))
    advice = (
        f"To keep the live versions, run `uv lock {pins}` on your own machine, and push uv.lock. To install the "
        f"others, set"
        f' requires-python to ">={minor(move.python)}" there, run `uv lock`, and push both files. {_stay(move)}'
    )
    raise ResolutionError(message, advice.strip())


def _describe(move: _Move, changes: list[tuple[str, str, str]]) -> Iterator[Finding]:
    """Yield a finding with the packages that change with the move to another Python, and the reasons."""
    if not changes:
        return
    lines = "; ".join(f"{name} {old} → {new} ({move.why.get(name, _BY_OTHERS)})" for name, old, new in changes)
    message = f"the move to Python {move.python} changed {plural(len(changes), 'package')}: {lines}"
    advice = (
        "These upgrades follow the rules of this site. To go back, run `releaser rollback`; this needs Python"
        f" {minor(move.before)} installed."
    )
    yield Finding("python-moved-packages", message=message, advice=advice)
