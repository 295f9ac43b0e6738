"""The command `outdated`: what is newer, what the next update would bring, and what blocks each other version."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from releaser.errors import BuildError, ReleaserError, require
from releaser.live.outlook import foresee
from releaser.packages.blocked import Blocked, Facts, explain, read_answer, read_unfit
from releaser.packages.changes import describe_changes, find_newest, name_bump
from releaser.packages.lock import Package, Source, read_options
from releaser.packages.resolve import Plan, explain_python, read_live_venv
from releaser.packages.rules import Rules, Skipped, find_rule, is_pinnable
from releaser.pipelines.decide import UpdateOptions, decide, require_names
from releaser.releases.store import SiteRun, Store
from releaser.releases.venv import list_installed
from releaser.report.decision import Adopt, First, Paused, Refused, StillFailing, summarize
from releaser.report.listing import Outdated, OutdatedRow
from releaser.site.site import Site
from releaser.system.process import Finished, failure
from releaser.system.run import UPDATE
from releaser.system.text import count

_MOST = 40  # versions of a package
_TREE = "tree --outdated --frozen --universal --all-groups --format json"
_NEWEST = "pip compile newer.in --no-deps --no-header --no-annotate --quiet --prerelease disallow"
_PINNED = re.compile(r"^([a-z0-9-]+)==(\S+)", re.MULTILINE)


class _Tree(msgspec.Struct, frozen=True):
    """The tree of a decision, before it is deleted, with what is known there."""

    site: Site
    path: Path
    plan: Plan
    facts: Facts
    installed: Mapping[str, str]
    #: Why the next update changes the Python, and with it no version that has a build for it; empty if it does not.
    new_python: str

    def run_uv(self, *words: str) -> Finished:
        """Ask uv, whatever its exit code is."""
        return self.site.run_uv(*words, "--python", self.plan.python, cwd=self.path, mark="outdated", check=False)

    def find_newest(
        self, names: Sequence[str], bounds: str = "", age: Sequence[str] | None = None
    ) -> tuple[dict[str, str], Finished]:
        """Return the newest version of each package that can be installed here, whatever it needs itself.

        All are of one index, or of one directory: without uv's settings, which bound versions. `age` are options of uv
        about the age of versions, besides the project's own `exclude-newer`; without them, any age will do.
        """
        requirements = "\n".join(f"{name}{bounds}" for name in names)
        (self.path / "newer.in").write_text(requirements, encoding="utf-8")
        source, rules = self.plan.lock.find(names[0])[0].source, self.facts.rules
        # No code of what is on hold runs for that.
        more = [f"--only-binary={name}" for name in (*rules.kept, *rules.skipped)]
        if self.has_age and age is None:
            age = [f"--exclude-newer-package={name}=false" for name in names]
        more += age or ()
        if _is_url(source.location):
            more += ["--index", source.location]  # before those of the project, which may have that name, too
        elif source.kind == "registry":
            more += ["--no-config", "--no-index", "--find-links", source.location]
        finished = self.run_uv(*_NEWEST.split(), *more)
        return dict(_PINNED.findall(finished.stdout)), finished

    @property
    def has_age(self) -> bool:
        """Return True if the project has an `exclude-newer`, wherever that is set: uv writes it into the lock."""
        return "exclude-newer" in read_options(self.plan.lock.text)


def list_outdated(site: Site, name: str) -> Outdated:
    """Return what is newer than the live release, and what the next update would do; all versions of a named package.

    Writes nothing. Raises BuildError, and PreflightError where an update would be refused.
    """
    run, rows = SiteRun("outdated", UPDATE), list[OutdatedRow]()
    run.store = Store(site.paths)
    outlook = foresee(site, run.store)
    installed = list_installed(outlook.store.live.venv) if outlook.store.live else {}

    def examine(site: Site, path: Path, plan: Plan, rules: Rules) -> None:
        require_names(plan.lock, [name] if name else [])
        facts, live = Facts(rules, (*outlook.holds, *plan.holds), plan.lock), outlook.store.find("live")
        new_python = explain_python(live, read_live_venv(site, live), plan)
        rows.extend(_list_rows(_Tree(site, path, plan, facts, installed, new_python), name))

    decision = decide(site, run, UpdateOptions(dry_run=True), outlook, examine)
    if isinstance(decision, Refused):
        require(decision.problems)
    if isinstance(decision, Refused | Paused | Adopt | First):
        return Outdated(summarize(decision), decision.kind)
    changes = decision.prospect.changes
    words = f"The next update would bring {describe_changes(changes) or 'none'}."
    if isinstance(decision, StillFailing):
        changes, words = (), summarize(decision)
        rows = [_refuse(row, decision) for row in rows]
    headline = f"{count(len(rows), 'package is', 'packages are')} outdated. {words}" if rows else summarize(decision)
    if name and not rows:
        known = f"No version newer than {name} {installed.get(name)} is known."
        headline = known if name in installed else f"{name} is in uv.lock, but not installed here."
    return Outdated(headline, decision.kind, changes, tuple(rows))


def ask_outdated(site: Site) -> Outdated:
    """Return what is newer; an answer without packages says why nothing could be asked."""
    try:
        return list_outdated(site, "")
    except ReleaserError as error:
        return Outdated(f"Newer versions are not known: {error.message}", "refused")


def _refuse(row: OutdatedRow, decision: StillFailing) -> OutdatedRow:
    """Return the row of a package that stays, though rules and index would let it move."""
    if row.tonight is None:
        return row
    reason = f"is in release {decision.failed.id}, which failed: {decision.failed.manifest.failure}"
    allow = "`releaser update --force` tries again, `releaser hold NAME` goes without."
    blocked = (Blocked(row.tonight, "failed", reason, allow), *row.blocked)
    return msgspec.structs.replace(row, tonight=None, blocked=blocked)


def _list_rows(tree: _Tree, name: str) -> list[OutdatedRow]:
    """Return a row for each package, or the one that is named, of which the index has a newer version."""
    newest, rows = _ask_newest(tree), list[OutdatedRow]()
    tonight = {change.name: change.new for change in tree.plan.changes or ()}
    for each in sorted(tree.installed.keys() & {*([name] if name else tree.plan.lock.names)}):
        live, next_one = tree.installed[each], tonight.get(each)
        skipped = [other for other in tree.plan.skipped if other.name == each and other.version != live]
        top = find_newest([newest.get(each, ""), *(other.version for other in skipped), next_one or ""], live)
        versions, unfit = _list_versions(tree, each) if name else ([], [])
        if top == live and not (next_one or unfit):
            continue
        known = [*(explain(tree.facts, other) for other in skipped if other.by != "uv"), *unfit]
        blocked = {other.version: other for other in known}
        for version in versions or [top]:
            if version != next_one and version not in blocked:
                blocked[version] = _find_reason(tree, each, version, next_one)
        rows.append(OutdatedRow(each, live, next_one, top, tuple(blocked.values())))
    return rows


def _ask_newest(tree: _Tree) -> dict[str, str]:
    """Return the newest version of each package that the Pythons of the project may have."""
    finished = tree.run_uv(*_TREE.split())
    try:
        packages = msgspec.json.decode(finished.stdout)["resolution"].values()
        newest = {package["name"]: package.get("latest_version") or "" for package in packages if "name" in package}
    except (msgspec.MsgspecError, KeyError, TypeError) as error:
        message = f"uv did not say what is newer: {failure(finished).message if finished.status else error}"
        raise BuildError(message, "Run it again; see `uv tree --outdated`.") from error
    packages = [package for package in tree.plan.lock.packages if package.source.kind == "registry"]
    # `uv tree` (0.13) does not look into directories, and with `--frozen` not beyond the `exclude-newer` of the lock.
    places = {package.name: package.source.location for package in packages if package.name in tree.installed}
    for place in sorted({*places.values()}):
        if tree.has_age or not _is_url(place):
            found = _ask_place(tree, sorted(name for name in places if places[name] == place))
            newest |= {name: find_newest([newest.get(name, ""), found[name]], tree.installed[name]) for name in found}
    return newest


def _ask_place(tree: _Tree, names: Sequence[str]) -> dict[str, str]:
    """Return the newest version of each package of an index or directory, but for those of which it has none to take.

    uv names no version at all if it lacks one: then each half is asked alone.
    """
    found, finished = tree.find_newest(names)
    if finished.status != 1 or len(names) == 1:
        return found
    middle = len(names) // 2
    return _ask_place(tree, names[:middle]) | _ask_place(tree, names[middle:])


def _is_url(index: str) -> bool:
    return index.startswith(("http:", "https:"))


def _list_versions(tree: _Tree, name: str) -> tuple[list[str], list[Blocked]]:
    """Return the newer versions of a package that can be installed here, newest first, and still newer ones."""
    versions, live = list[str](), tree.installed[name]
    if any(package.source.kind != "registry" for package in tree.plan.lock.find(name)):
        return [], []
    while len(versions) < _MOST:
        found, _ = tree.find_newest([name], ",".join([f">{live}", *(f"!={version}" for version in versions)]))
        if name not in found:
            break
        versions.append(found[name])
    _, finished = tree.find_newest([name], f">{[*versions, live][0]}")
    return versions, [] if name in tree.facts.rules.kept else read_unfit(name, finished.stderr)


def _find_reason(tree: _Tree, name: str, version: str, next_one: str | None) -> Blocked:
    """Return what blocks a version: the next update, a rule, or what uv says of a lock with it."""
    if next_one and name_bump(next_one, version) == "other":
        return Blocked(version, "older", f"is older than {next_one}, which the next update takes")
    rules, lock, exactly = tree.facts.rules, tree.plan.lock, f"=={version}"
    if skipped := find_rule(rules, lock, Package(name, version, Source("registry", ""))):
        return explain(tree.facts, skipped)
    if rules.cutoff and not tree.find_newest([name], exactly, ["--exclude-newer", rules.cutoff.isoformat()])[0]:
        return explain(tree.facts, Skipped(name, version, "is too new for `min_age`", "age"))
    if tree.has_age and not tree.find_newest([name], exactly, [])[0]:
        allow = "Wait, or set a shorter `exclude-newer`."
        return Blocked(version, "age", "is too new for the project's `exclude-newer`", allow)
    if tree.new_python:
        return Blocked(version, "python", f"waits for the update after the next one: {tree.new_python.rstrip('.')}")
    others = {other: next(iter(lock.versions[other])) for other in lock.names if other != name}
    pins = [f"{other}=={locked}" for other, locked in others.items() if is_pinnable(lock, other, locked)]
    finished = tree.run_uv("lock", "--dry-run", *(f"-P={pin}" for pin in [*pins, f"{name}=={version}"]))
    if finished.status != 0:
        return read_answer(tree.facts, name, version, finished.stderr)
    allow = f"`uv lock --upgrade-package '{name}=={version}'`, and commit."
    return Blocked(version, "uv", "was not chosen by uv", allow)
