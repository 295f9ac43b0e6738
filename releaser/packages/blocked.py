"""Why an update does not take a version, and how to allow it. All is pure: uv is asked elsewhere."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

import msgspec
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet

from releaser.packages.changes import name_bump, parse_version
from releaser.packages.holds import Hold, PackageHold, VersionHold
from releaser.packages.lock import Lock, Package, Source
from releaser.packages.rules import Rules, Skipped, explain_level
from releaser.site.settings import Level
from releaser.system.text import normalize_name

By = Literal[
    "pause", "hold", "level", "age", "constraint", "requirement", "python", "file", "yanked", "failed", "older", "uv"
]


PYPROJECT, CONSTRAINTS = "pyproject.toml", "`constraints`"


class Blocked(msgspec.Struct, frozen=True):
    """A version that the next update does not take: by what kind of thing, the reason, and how to allow it."""

    version: str
    by: By
    reason: str
    allow: str = ""


class Need(msgspec.Struct, frozen=True):
    """The versions of a package that something allows: `who` is a file, or a package with its version."""

    who: str
    name: str
    specifier: str

    def allows(self, version: str) -> bool:
        """Return True if the version fits, or if no rule can say."""
        parsed = parse_version(version)
        try:
            return parsed is None or SpecifierSet(self.specifier).contains(parsed, prereleases=True)
        except InvalidSpecifier:
            return True

    def block(self, version: str) -> Blocked:
        """Return that a version is blocked by it."""
        reason, who = f"{self.who} requires `{self.name}{self.specifier}`", self.who.partition(" ")[0]
        if who == CONSTRAINTS:
            return Blocked(version, "constraint", reason, "Change that file.")
        allow = f"It takes another version of {who}: `releaser outdated {who}`."
        if who == PYPROJECT:
            allow = "Change that requirement, run `uv lock`, and commit."
        return Blocked(version, "requirement", reason, allow)


class Facts(msgspec.Struct, frozen=True):
    """All that is known before uv is asked: the rules and holds of an update, its lock, and what it leaves out."""

    rules: Rules
    holds: tuple[Hold, ...]
    lock: Lock
    skipped: tuple[Skipped, ...]
    #: What is required of packages; grows by the answers of uv.
    needs: list[Need]


def find_needs(pyproject: Mapping[str, Any], constraints: Mapping[str, str]) -> list[Need]:
    """Return what pyproject.toml and constraints ask of packages, but for what depends on a marker."""
    project, uv = pyproject.get("project", {}), pyproject.get("tool", {}).get("uv", {})
    groups = [*project.get("optional-dependencies", {}).values(), *pyproject.get("dependency-groups", {}).values()]
    lists = [project.get("dependencies", []), *groups, uv.get("constraint-dependencies", [])]
    overridden = {need.name for need in _read_needs([uv.get("override-dependencies", [])])}
    own = [need for need in _read_needs(lists) if need.name not in overridden]
    return [*own, *(Need(CONSTRAINTS, name, specifier) for name, specifier in constraints.items())]


def _read_needs(lists: Iterable[Any]) -> Iterator[Need]:
    for text in (text for entries in lists for text in entries if isinstance(text, str)):
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue
        if requirement.marker is None and requirement.specifier:
            yield Need(PYPROJECT, normalize_name(requirement.name), str(requirement.specifier))


def explain(facts: Facts, name: str, version: str) -> Blocked | None:
    """Return what blocks a version, by rules and requirements; None if only uv can say."""
    for hold in facts.holds:
        if blocked := _explain_hold(hold, name, version):
            return blocked
    level = explain_level(facts.rules, facts.lock, Package(name, version, Source("registry", "")))
    if level:
        return Blocked(version, "level", level, _allow_level(facts.rules, facts.lock, name, version))
    needs = (need for need in facts.needs if need.name == name and not need.allows(version))
    if need := next(needs, None):
        return need.block(version)
    holding = (each for each in facts.skipped if (each.name, each.version) == (name, version) and each.holder)
    if skipped := next(holding, None):
        return Blocked(version, "hold", skipped.reason, _allow_holder(facts.holds, skipped.holder))
    return None


def _explain_hold(hold: Hold, name: str, version: str) -> Blocked | None:
    if isinstance(hold, PackageHold):
        is_held = hold.name == name
    elif isinstance(hold, VersionHold):
        is_older = hold.by != "index" and name_bump(hold.version, version) == "other"
        is_held = hold.name == name and (hold.version == version or is_older)
    else:
        is_held = False
    if not is_held:
        return None
    if hold.by == "index":
        return Blocked(version, "file", hold.reason, "Each update asks for it again.")
    reason = (
        hold.reason
        if hold.reason.startswith("by ")
        else f"by {'the ' if hold.by == 'tests' else ''}{hold.by}: {hold.reason}"
    )
    end = f" until {hold.until:%Y-%m-%d %H:%M} UTC" if hold.until else ""
    return Blocked(version, "hold", f"it is on hold {reason}{end}", _allow_holder([hold], name))


def _allow_holder(holds: Iterable[Hold], name: str) -> str:
    hold = next((hold for hold in holds if isinstance(hold, PackageHold | VersionHold) and hold.name == name), None)
    if hold is None:
        return ""
    return f"Take `{name}` out of `ignore`." if hold.by == "setting" else f"`releaser unhold {name}`"


def _allow_level(rules: Rules, lock: Lock, name: str, version: str) -> str:
    """Return the line of pyproject.toml that lets a package move so far."""
    bumps = {name_bump(before, version) for before in lock.versions.get(name, ())}
    level: Level = "all" if bumps & {"major", "other"} else "minor" if "minor" in bumps else "patch"
    levels = {**rules.levels, name: level}
    table = ", ".join(f'"{package}" = "{chosen}"' for package, chosen in sorted(levels.items()))
    return f"`upgrade_packages = {{ {table} }}` in `[tool.releaser]`"


_LAST = r"(?= and | , |,? we can| \(|$)"
#: The words of uv 0.13 about versions that cannot be installed, by the kind of thing, and how to allow them.
_UNFIT: tuple[tuple[By, str, str], ...] = (
    ("yanked", rf"(?:was|were) (yanked(?: \(.*?\))?){_LAST}", "uv takes it only where pyproject.toml names it: `==`."),
    ("file", rf"(?:has|have) (no (?:wheels|usable wheels|source)[^,]*?){_LAST}", "It takes a file for this host."),
    ("python", r"depends? on (Python[^\s,]+)", "`requires-python` and the site's Python must allow that."),
)
_BECAUSE: Mapping[By, str] = {"yanked": "it was ", "file": "it has ", "python": "it needs "}


def read_answer(facts: Facts, name: str, version: str, output: str) -> tuple[Blocked, Need | None]:
    """Return what blocks a version by the words of uv that has no solution with it; with the need that uv names."""
    text, me = " ".join(output.split()), re.escape(name)
    for who, marker, specifier in re.findall(rf"(\S+) depends? on {me}(\{{.*?\}})?([=<>!~]\S*)", text):
        other = re.split(r"[=<>!~\[{:]", who, maxsplit=1)[0]
        packages = facts.lock.find(other)
        label = f"{other} {packages[0].version}" if packages else PYPROJECT
        label = f"{PYPROJECT} of {other}" if other in facts.lock.local else label
        need = Need(label, name, specifier.rstrip(","))
        if not need.allows(version):
            return need.block(version), None if marker else need
    unfit = read_unfit(name, output)
    if blocked := next((each for each in unfit if each.by == "python" or each.version == version), None):
        return msgspec.structs.replace(blocked, version=version), None
    if match := re.search(rf"{me}=={re.escape(version)} depends on ([\w.-]+)(\S*)", text):
        reason = f"it needs {match[1]}{match[2].rstrip(',')}"
        if hold := _allow_holder(facts.holds, match[1]):
            return Blocked(version, "hold", f"{reason}, and {match[1]} is on hold", hold), None
        return Blocked(version, "requirement", reason, f"See `releaser outdated {match[1]}`."), None
    reason = text.partition("cause: ")[2] or text
    return Blocked(version, "uv", f"uv finds no solution with it: {reason[:300]}"), None


def read_unfit(name: str, output: str) -> list[Blocked]:
    """Return the versions, or ranges of them, that cannot be installed here, by the words of uv that rejects all."""
    text, blocked = " ".join(output.split()), dict[str, Blocked]()
    for by, words, allow in _UNFIT:
        for versions, reason in re.findall(rf"((?:{re.escape(name)}[=<>][^\s]* )+){words}", text):
            for label in (each.removeprefix(name).removeprefix("==").rstrip(",") for each in versions.split()):
                blocked.setdefault(label, Blocked(label, by, f"{_BECAUSE[by]}{reason}", allow))
    return list(blocked.values())


def pin_others(facts: Facts, installed: Mapping[str, str], name: str) -> list[str]:
    """Return the words of uv that lower no other package of the lock, and leave those on hold."""
    words = list[str]()
    for other in facts.lock.names:
        packages = facts.lock.find(other)
        if other == name or len(packages) != 1 or packages[0].source.kind != "registry":
            continue
        is_held = other in facts.rules.kept or other in facts.rules.skipped
        bound = f"=={installed[other]}" if is_held and other in installed else f">={packages[0].version}"
        words += ["-P", f"{other}{bound}"]
    return words


def block_otherwise(name: str, version: str, output: str) -> Blocked:
    """Return why a version was not chosen that fits: uv would change other packages for it, which `output` names."""
    moves = re.findall(r"^(?:Update|Add|Remove) .*", output, re.MULTILINE)
    others = [line.lower() for line in moves if line.split()[1] != name]
    reason = f"uv chose otherwise: with it, it would {', '.join(others)}" if others else "uv did not choose it"
    return Blocked(version, "uv", reason, f"`uv lock --upgrade-package '{name}=={version}'`, and commit.")
